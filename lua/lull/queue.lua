-- How queues between tasks are made, and the order of those by priority.  All else is in
-- C: queuelib.c.
local core = require "lull.core"

local new_queue, compare = core.new_queue, core.compare

local PATIENCE = 100 -- ways that are looked for because somebody used the queue meanwhile

-- ---- by priority ----------------------------------------------------------------------

-- A binary heap, and beside it the number of each item, for ties: how often the heap had
-- been used when it came.  Comparing may raise, so first the way of an item is found and
-- then it is gone.  Comparing also runs any code, finalizers too, and those may use the
-- queue: then the way is looked for again.
local function is_less(a, b)
  return a < b
end

local function before(heap, v, number, place)
  local w, other = heap.store[place], heap.numbers[place]
  if v == nil or w == nil then return false end -- it was taken meanwhile
  if heap.less(v, w) then return true end
  return not heap.less(w, v) and number < other
end

-- Where v belongs on the way from a free place up to the root.
local function find_above(heap, v, number, place)
  while place > 1 and before(heap, v, number, place // 2) do place = place // 2 end
  return place
end

-- The places that move up when the root is free and v, which was last, looks for one.
local function find_below(heap, v, number, last)
  local way, place = {}, 2
  while place <= last do
    local right = place < last and place + 1
    if right and before(heap, heap.store[right], heap.numbers[right], place) then
      place = right
    end
    if before(heap, v, number, place) then break end
    way[#way + 1] = place
    place = place * 2
  end
  return way
end

local function set(heap, place, v, number)
  heap.store[place], heap.numbers[place] = v, number
end

-- Has nobody used the heap while a way was looked for?
local function is_settled(heap, uses, tries)
  if tries > PATIENCE then error("comparing the items of a queue uses that queue", 0) end
  return heap.uses == uses
end

local function push(heap, v)
  local tries, uses, last, goal = 0
  repeat
    tries, uses, last = tries + 1, heap.uses, heap.last + 1
    goal = compare(find_above, heap, v, uses, last)
  until is_settled(heap, uses, tries)
  local place = last
  while place > goal do
    local above = place // 2
    set(heap, place, heap.store[above], heap.numbers[above])
    place = above
  end
  set(heap, goal, v, uses)
  heap.last, heap.uses = last, uses + 1
end

local function pop(heap)
  local tries, uses, last, way = 0
  repeat
    tries, uses, last = tries + 1, heap.uses, heap.last
    way = compare(find_below, heap, heap.store[last], heap.numbers[last], last - 1)
  until is_settled(heap, uses, tries)
  local top, v, number = heap.store[1], heap.store[last], heap.numbers[last]
  local place = 1
  for _, below in ipairs(way) do
    set(heap, place, heap.store[below], heap.numbers[below])
    place = below
  end
  set(heap, place, v, number)
  set(heap, last)
  heap.last, heap.uses = last - 1, uses + 1
  return top
end

-- ---- making them ----------------------------------------------------------------------

-- What is a size, as an integer; 0 for none.
local function check_size(name, size)
  local integer = math.tointeger(size == nil and 0 or tonumber(size))
  if type(size) == "string" or not integer or integer < 0 then
    error(("bad argument #1 to '%s' (a size, 0 or more, expected)"):format(name), 3)
  end
  return integer
end

local queues = {}

function queues.queue(maxsize)
  return new_queue("queue", check_size("queue", maxsize))
end

function queues.lifo_queue(maxsize)
  return new_queue("lifo_queue", check_size("lifo_queue", maxsize))
end

-- less(a, b): a comes before b; a < b unless told otherwise.  It cannot suspend.
function queues.priority_queue(maxsize, less)
  local size = check_size("priority_queue", maxsize)
  if less ~= nil and type(less) ~= "function" then
    error("bad argument #2 to 'priority_queue' (a function expected)", 2)
  end
  local heap = { less = less or is_less, store = {}, numbers = {}, last = 0, uses = 0 }
  return new_queue("priority_queue", size, heap, push, pop)
end

return queues
