-- worker_threads.lua: what computes goes to other threads, what waits stays here.
--
--   ./run examples/worker_threads.lua
--
-- A task that computes keeps all the others waiting.  On the pool the same function runs
-- beside them, in a Lua state of its own: it gets copies of its arguments, and its
-- results are copied back.  A thread that was spawned lives longer: one can talk to it,
-- and it may run a loop of its own.

local lull = require "lull"
local thread = require "lull.thread"

-- Needs nothing but its argument: no local of this file, only globals like math.
local function count_primes(limit)
  local composite, count = {}, 0
  for n = 2, limit do
    if not composite[n] then
      count = count + 1
      for multiple = n * n, limit, n do composite[multiple] = true end
    end
  end
  return count
end

-- Runs fn beside a ticker, and returns its result and how often that has ticked.
local function beside_ticker(fn)
  local ticks = 0
  return lull.group(function(g)
    g:spawn(function()
      for n in lull.every(0.001) do ticks = n end
    end):daemon()
    lull.sleep(0)
    local before = ticks
    local result = fn()
    return result, ticks - before
  end)
end

local LIMIT = 300000

local primes, ticks = beside_ticker(function() return count_primes(LIMIT) end)
print(("here:        %d primes, %s"):format(primes,
  ticks == 0 and "and the ticker stood still" or "and the ticker ticked"))

primes, ticks = beside_ticker(function() return thread.call(count_primes, LIMIT) end)
print(("on the pool: %d primes, %s"):format(primes,
  ticks == 0 and "and the ticker stood still" or "and the ticker ticked"))

-- Two threads, each with its own loop, in which tasks of their own sleep and receive.
local function worker(name, pause)
  local here = require "lull" -- the one of this thread
  return here.run(function()
    local beats, done = 0, 0
    here.spawn(function()
      for n in here.every(pause) do beats = n end
    end):daemon()
    for job in here.thread.receive do
      here.sleep(pause * 2)
      here.thread.send { from = name, answer = job * job }
      done = done + 1
    end
    return ("%s: %d jobs done, its own loop was %s"):format(name, done,
      beats > 0 and "alive" or "dead")
  end)
end

local a <close> = thread.spawn(worker, "a", 0.002)
local b <close> = thread.spawn(worker, "b", 0.003)

for i = 1, 3 do
  a:send(i)
  b:send(10 * i)
end
a:finish() -- there is no more
b:finish()

for _, t in ipairs { a, b } do
  for message in t.receive, t do print(message.from, message.answer) end
end
print(a:await())
print(b:await())

-- A call that takes too long is given up, and its code is interrupted.
local _, message = lull.timeout(0.02, thread.call, function() while true do end end)
print("endless:", message)
