-- toy_loop.lua: lull in miniature, in 130 lines of Lua.
--
--   ./run examples/toy_loop.lua
--
-- docs/how-it-works.md goes through it part by part, beside the C that does the same.  Of
-- lull this toy uses a selector, a clock, and streams with the timeout 0, which do what
-- can be done now and never wait.  The rest is tables and plain coroutines.

local lull = require "lull"
local net = require "lull.net"

local clock = lull.time -- lull.now() belongs to the loop underneath

-- Rings: a list is a link, a link that is in no list points at itself.

local function new_link(link)
  link.prev, link.next = link, link
  return link
end

local function is_empty(list) return list.next == list end

local function remove(link)
  link.prev.next, link.next.prev = link.next, link.prev
  new_link(link)
end

local function push(list, link)
  link.prev, link.next = list.prev, list
  link.prev.next, list.prev = link, link
end

-- The waiter: run is what it does when it runs, status is how its wait has ended.

local PENDING = "pending"
local ready, timers = new_link {}, {} -- timers: waiter -> moment

local function wake(waiter, status)
  if waiter.status ~= PENDING then return false end -- of several wakes the first counts
  waiter.status = status
  remove(waiter)
  push(ready, waiter)
  return true
end

local function wake_all(list, status)
  while not is_empty(list) do wake(list.next, status) end
end

-- The selector tells which descriptors can be read.

local selector = lull.selectors.default()

local function new_io(stream)
  stream:settimeout(0)
  return { stream = stream, readers = new_link {}, armed = false }
end

local function arm(io)
  if not io.armed then selector:register(io.stream:fileno(), "r", io) end
  io.armed = true
end

local function collect(timeout)
  for _, fact in ipairs(selector:select(timeout)) do
    local io = fact.data
    if is_empty(io.readers) then -- an event that nobody waited for
      selector:unregister(fact.fd)
      io.armed = false
    end
    wake_all(io.readers, "ready")
  end
end

-- The loop: sleep, collect, expire, run the batch.

local function patience()
  local first = is_empty(ready) and math.huge or 0
  for _, moment in pairs(timers) do first = math.min(first, moment) end
  return first < math.huge and math.max(0, first - clock()) or nil
end

local function expire()
  local now = clock()
  for waiter, moment in pairs(timers) do
    if moment <= now then
      timers[waiter] = nil
      wake(waiter, "time")
    end
  end
end

local function turn()
  collect(patience())
  expire()
  local batch = ready
  ready = new_link {} -- those who are woken from now on wait a turn
  while not is_empty(batch) do
    local waiter = batch.next
    remove(waiter)
    waiter:run()
  end
end

-- The future: a word that is given once, and who waits for it.

local function new_future() return { waiters = new_link {} } end

local function settle(future, value)
  future.done, future.value = true, value
  wake_all(future.waiters, "settled")
end

-- The task: a coroutine with a waiter around it.  To run the waiter is to resume.

local CANCELLED = {}
local current, alive = nil, 0

local function step(task)
  timers[task] = nil
  current = task
  assert(coroutine.resume(task.thread))
  current = nil
end

local function spawn(fn)
  local task = new_link { run = step, status = PENDING, future = new_future() }
  task.thread = coroutine.create(function()
    local ok, value = pcall(fn)
    assert(ok or value == CANCELLED, value)
    alive = alive - 1
    settle(task.future, value)
  end)
  alive = alive + 1
  wake(task, "spawned")
  return task
end

local function cancel(task)
  task.cancelled = true -- a state, not an event: it stays
  wake(task, "cancelled")
end

-- The coroutine: how it comes to stand still, and how it goes on.

local function enter()
  if current.cancelled then error(CANCELLED) end
end

local function park()
  coroutine.yield() -- to step(), and so to turn(), which runs the others
  enter()
end

local function sleep(seconds)
  enter()
  current.status, timers[current] = PENDING, clock() + seconds
  park()
end

local function await(future)
  enter()
  if not future.done then
    current.status = PENDING
    push(future.waiters, current)
    park()
  end
  return future.value
end

local function receive(io)
  enter()
  local data, _, code = io.stream:read_some() -- try first
  if code ~= "ETIMEDOUT" then return data end
  arm(io)
  current.status = PENDING
  push(io.readers, current)
  park()
  return receive(io)
end

-- A program for it: somebody waits for a word, somebody for bytes, two for moments.

local here <close>, other = net.pair()
local there <close> = other
local io, word = new_io(here), new_future()

local guest = spawn(function()
  print "guest: waits for somebody's word"
  print("guest: is told " .. await(word))
end)

spawn(function()
  print "cook: waits for bytes"
  local bytes = receive(io)
  print("cook: has read " .. bytes)
  settle(word, bytes)
end)

local ticks = 0
local clockwork = spawn(function()
  local _ <close> = lull.defer(print, "clockwork: is cancelled")
  while true do
    sleep(0.01)
    ticks = ticks + 1
  end
end)

spawn(function()
  print "world: waits for a moment"
  sleep(0.05)
  there:write "tea"
  await(guest.future)
  cancel(clockwork)
end)

while alive > 0 do turn() end
selector:close()
assert(ticks > 0, "the clockwork stood still")
print "everybody has ended"
