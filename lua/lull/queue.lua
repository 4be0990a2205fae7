-- Queues between tasks: first in first out, by priority, last in first out.
--
-- An item stays in its store until the task that gets it runs.  Who waits for an item is
-- not given the item but a promise of one, and a promise that is refused, because its
-- task was cancelled, goes to the next in line: so items are never under way, where they
-- could be lost or lose their place.  What is promised no longer counts in the size.
local class = require "lull.class"
local core = require "lull.core"

local enter, new_lot, fail, compare = core.enter, core.lot, core.fail, core.compare
local EVERYBODY = math.maxinteger
local DISMISSED = false -- granted to those who wait when a queue is closed

-- stored: how many items there are; promised: how many of them wait for the task that
-- will get them; unfinished: for join; getters, putters, joiners: lots of those who wait.
-- While anybody waits to get nothing is free; while anybody waits to put, no room is.
local Queue = {}

local function count_free(queue)
  return queue.stored - queue.promised
end

local function is_full(queue)
  return queue.stored - queue.promised >= queue.limit
end

-- An item has become free: the first in line is promised it.
local function promise(queue)
  if queue.getters:wake() == 1 then queue.promised = queue.promised + 1 end
end

local function insert(queue, v)
  queue:push(v)
  queue.stored = queue.stored + 1
  queue.unfinished = queue.unfinished + 1
  if queue.getters then promise(queue) end
end

-- Nobody is left waiting for an item of a closed queue that will not come.
local function dismiss(queue)
  if queue.getters and queue.stored == 0 then queue.getters:wake(EVERYBODY, DISMISSED) end
end

local function remove(queue)
  local v = queue:pop()
  queue.stored = queue.stored - 1
  if queue.closed then dismiss(queue) end
  return v
end

-- The item of the first who waits to put is let in; where that fails it is his failure.
local function admit(queue)
  local v = queue.putters:peek()
  if v ~= nil then
    local ok, err = pcall(insert, queue, v)
    queue.putters:wake(1, ok or type(err) ~= "boolean" and err or tostring(err))
  end
end

local function remove_free(queue)
  local v = remove(queue)
  if queue.putters and not is_full(queue) then admit(queue) end
  return v
end

local function refuse_nil(method)
  error(("bad argument #1 to '%s' (nil is no item)"):format(method), 3)
end

local function closed()
  return fail("EPIPE", "queue is closed")
end

-- ---- putting and getting --------------------------------------------------------------

-- A put that waits and is let in has happened, though it be cancelled in that moment.
function Queue:put(v)
  if v == nil then refuse_nil "put" end
  enter()
  if self.closed then return closed() end
  if not is_full(self) then
    insert(self, v)
    return true
  end
  self.putters = self.putters or new_lot()
  local granted = self.putters:park(true, v)
  if granted == true then return true end
  if granted == DISMISSED then return closed() end
  error(granted, 0)
end

function Queue:try_put(v)
  if v == nil then refuse_nil "try_put" end
  if self.closed then return closed() end
  if is_full(self) then return false end
  insert(self, v)
  return true
end

local function make_getters(queue)
  queue.refuse = function(granted)
    if granted == DISMISSED then return end
    queue.promised = queue.promised - 1
    promise(queue)
  end
  queue.getters = new_lot()
end

-- Returns nil when the queue is closed and empty.
function Queue:get()
  enter()
  if count_free(self) > 0 then return remove_free(self) end
  if self.closed and self.stored == 0 then return nil end
  if not self.getters then make_getters(self) end
  if self.getters:park(self.refuse) == DISMISSED then return nil end
  self.promised = self.promised - 1
  return remove(self)
end

function Queue:try_get()
  if count_free(self) > 0 then return remove_free(self) end
  return nil
end

-- for v in q:items() do: until the queue is closed and empty.
function Queue:items()
  return self.get, self
end

-- ---- the rest -------------------------------------------------------------------------

function Queue:size()
  return count_free(self)
end

function Queue:empty()
  return count_free(self) == 0
end

function Queue:full()
  return is_full(self)
end

function Queue:task_done()
  if self.unfinished == 0 then
    error("'task_done' was called more often than items have come", 2)
  end
  self.unfinished = self.unfinished - 1
  if self.unfinished == 0 and self.joiners then self.joiners:wake(EVERYBODY) end
end

-- Waits until task_done has been called for every item that has come.
function Queue:join()
  enter()
  if self.unfinished > 0 then
    self.joiners = self.joiners or new_lot()
    self.joiners:park()
  end
end

function Queue:close()
  if self.closed then return end
  if self.putters then self.putters:wake(EVERYBODY, DISMISSED) end
  dismiss(self)
  self.closed = true -- last: who has failed for want of memory may try again
end
Queue.__close = Queue.close

function Queue:__tostring()
  local size = count_free(self)
  local state = { size == 1 and "1 item" or size .. " items" }
  if self.closed then state[2] = "closed" end
  for _, what in ipairs { "get", "put" } do
    local lot = self[what .. "ters"]
    local n = lot and lot:count() or 0
    if n > 0 then state[#state + 1] = ("%d waiting to %s"):format(n, what) end
  end
  return ("%s (%s): %p"):format(self.name, table.concat(state, ", "), self)
end

-- ---- stores ---------------------------------------------------------------------------

-- A queue with the store that push and pop keep in it.
local function new_class(name)
  local queue = class(name)
  queue.name = name
  for key, value in pairs(Queue) do queue[key] = value end
  return queue
end

-- A window that moves through a table, back to its beginning whenever it is empty.
local Fifo = new_class "queue"

function Fifo:push(v)
  local last = self.last + 1
  self.store[last] = v
  self.last = last
end

function Fifo:pop()
  local store, first = self.store, self.first
  local v = store[first]
  store[first] = nil
  if first == self.last then
    self.first, self.last = 1, 0
  else
    self.first = first + 1
  end
  return v
end

local Lifo = new_class "lifo_queue"

Lifo.push = Fifo.push

function Lifo:pop()
  local last = self.last
  local v = self.store[last]
  self.store[last] = nil
  self.last = last - 1
  return v
end

-- A binary heap, and beside it the number of each item, for ties.  Comparing may raise,
-- so first the way of an item is found and then it is gone.
local Priority = new_class "priority_queue"

local function is_less(a, b)
  return a < b
end

local function before(queue, v, number, place)
  local w = queue.store[place]
  if queue.less(v, w) then return true end
  return not queue.less(w, v) and number < queue.numbers[place]
end

-- Where v belongs on the way from a free place up to the root.
local function find_above(queue, v, number, place)
  while place > 1 and before(queue, v, number, place // 2) do place = place // 2 end
  return place
end

-- The places that move up when the root is free and v, which was last, looks for one.
local function find_below(queue, v, number, last)
  local way, place = {}, 2
  while place <= last do
    local right = place < last and place + 1
    if right and before(queue, queue.store[right], queue.numbers[right], place) then
      place = right
    end
    if before(queue, v, number, place) then break end
    way[#way + 1] = place
    place = place * 2
  end
  return way
end

local function set(queue, place, v, number)
  queue.store[place], queue.numbers[place] = v, number
end

function Priority:push(v)
  local last, number = self.last + 1, self.number + 1
  local place, goal = last, compare(find_above, self, v, number, last)
  while place > goal do
    local above = place // 2
    set(self, place, self.store[above], self.numbers[above])
    place = above
  end
  set(self, goal, v, number)
  self.last, self.number = last, number
end

function Priority:pop()
  local last, top = self.last, self.store[1]
  local v, number = self.store[last], self.numbers[last]
  local ok, way = xpcall(compare, core.handler, find_below, self, v, number, last - 1)
  if not ok then
    if self.getters then promise(self) end -- the item stays: it is the next one's turn
    error(way, 0)
  end
  local place = 1
  for _, below in ipairs(way) do
    set(self, place, self.store[below], self.numbers[below])
    place = below
  end
  set(self, place, v, number)
  set(self, last)
  self.last = last - 1
  return top
end

-- ---- making them ----------------------------------------------------------------------

local function new(kind, limit)
  local integer = math.tointeger(limit == nil and 0 or tonumber(limit))
  if type(limit) == "string" or not integer or integer < 0 then
    error(("bad argument #1 to '%s' (a size, 0 or more, expected)"):format(kind.name), 3)
  end
  return setmetatable({
    limit = integer > 0 and integer or math.huge,
    stored = 0, promised = 0, unfinished = 0, closed = false,
    store = {}, first = 1, last = 0,
  }, kind)
end

local queues = {}

function queues.queue(maxsize)
  local queue = new(Fifo, maxsize) -- no tail call: a mistake is told of our caller
  return queue
end

function queues.lifo_queue(maxsize)
  local queue = new(Lifo, maxsize)
  return queue
end

-- less(a, b): a comes before b; a < b unless told otherwise.  It cannot suspend.
function queues.priority_queue(maxsize, less)
  local queue = new(Priority, maxsize)
  if less ~= nil and type(less) ~= "function" then
    error("bad argument #2 to 'priority_queue' (a function expected)", 2)
  end
  queue.less, queue.numbers, queue.number = less or is_less, {}, 0
  return queue
end

return queues
