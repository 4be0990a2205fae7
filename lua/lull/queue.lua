-- How queues between tasks are made, and the order of those by priority.  All else is in
-- C: queuelib.c.
local core = require "lull.core"

local new_queue, compare = core.new_queue, core.compare

-- ---- by priority ----------------------------------------------------------------------

-- A binary heap, and beside it the number of each item, for ties.  Comparing may raise,
-- so first the way of an item is found and then it is gone.
local function is_less(a, b)
  return a < b
end

local function before(heap, v, number, place)
  local w = heap.store[place]
  if heap.less(v, w) then return true end
  return not heap.less(w, v) and number < heap.numbers[place]
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

local function push(heap, v)
  local last, number = heap.last + 1, heap.number + 1
  local place, goal = last, compare(find_above, heap, v, number, last)
  while place > goal do
    local above = place // 2
    set(heap, place, heap.store[above], heap.numbers[above])
    place = above
  end
  set(heap, goal, v, number)
  heap.last, heap.number = last, number
end

local function pop(heap)
  local last, top = heap.last, heap.store[1]
  local v, number = heap.store[last], heap.numbers[last]
  local way = compare(find_below, heap, v, number, last - 1)
  local place = 1
  for _, below in ipairs(way) do
    set(heap, place, heap.store[below], heap.numbers[below])
    place = below
  end
  set(heap, place, v, number)
  set(heap, last)
  heap.last = last - 1
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
  local heap = { less = less or is_less, store = {}, numbers = {}, last = 0, number = 0 }
  return new_queue("priority_queue", size, heap, push, pop)
end

return queues
