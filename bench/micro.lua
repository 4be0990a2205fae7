-- The micro rows on lull's side.  lull bench/micro.lua ROW N measures N operations and
-- prints one line, row=ROW ns=...; the references are in switch_lua.c and keep to the
-- same numbers of coroutines.  The row `resume` needs nothing of lull: a stock Lua runs
-- it too.

local RING <const> = 100 -- tasks that take turns, or are alive at once
local MANY <const> = 20000 -- alive at once in the row "burst"

local lull = lull -- nil in a stock Lua
local sleep, spawn = lull and lull.sleep, lull and lull.spawn
local future = lull and lull.future
local clock = os.clock

-- Each row makes n operations and may return a replacement for the time it took.
local rows = {}

-- A ring of tasks that make n operations together.
local function ring(n, body)
  local tasks = {}
  for i = 1, RING do tasks[i] = spawn(body, n // RING) end
  for i = 1, RING do tasks[i]:await() end
end

function rows.switch(n)
  ring(n, function(turns)
    for _ = 1, turns do sleep(0) end
  end)
end

function rows.yield(n)
  local yield <const> = coroutine.yield
  ring(n, function(turns)
    for _ = 1, turns do yield() end
  end)
end

-- The awaiting code stands in a coroutine within the task.
function rows.nested(n)
  ring(n, function(turns)
    coroutine.wrap(function()
      for _ = 1, turns do sleep(0) end
    end)()
  end)
end

-- Tasks in the pool's size: their threads are used again.
function rows.respawn(n)
  local function body() end
  for _ = 1, n // RING do
    for _ = 1, RING do spawn(body) end
    sleep(0)
  end
end

-- A body that asks who it is lets its thread escape: the next task needs a new one.
local function spawned(n, batch)
  local running <const> = coroutine.running
  local function body() running() end
  for _ = 1, n // batch do
    for _ = 1, batch do spawn(body) end
    sleep(0)
  end
end

function rows.spawn(n) spawned(n, RING) end
function rows.burst(n) spawned(n, MANY) end

function rows.future(n)
  for i = 1, n do
    local f = future()
    f:set_result(i)
    f:result()
  end
end

-- One task makes a future and awaits it, the other sets it and gives way.
function rows.trip(n)
  local box
  local asker = spawn(function()
    for _ = 1, n do
      box = future()
      box:await()
    end
  end)
  spawn(function()
    for i = 1, n do
      box:set_result(i)
      sleep(0)
    end
  end)
  asker:await()
end

-- There and back over two futures: both tasks set one and await the other.
function rows.pingpong(n)
  local there, back = future(), nil
  local other = spawn(function()
    for _ = 1, n do
      local v = there:await()
      there = future()
      back:set_result(v)
    end
  end)
  for i = 1, n do
    back = future()
    there:set_result(i)
    back:await()
  end
  other:await()
end

-- A task feeds another through a bounded queue.
function rows.queue(n)
  local q = lull.queue(16)
  local feeder = spawn(function()
    for i = 1, n do q:put(i) end
  end)
  for _ = 1, n do q:get() end
  feeder:await()
end

-- A lock that nobody else wants.
function rows.lock(n)
  local lock = lull.lock()
  for _ = 1, n do
    local _ <close> = lock:acquire()
  end
end

-- Groups of a thousand children that end at once: the cost of one child.
function rows.group(n)
  local function body() end
  for _ = 1, n, 1000 do
    lull.group(function(g)
      for _ = 1, 1000 do g:spawn(body) end
    end)
  end
end

-- A call under a time limit that it does not need.
function rows.timeout(n)
  local timeout <const> = lull.timeout
  local function body() end
  for _ = 1, n do timeout(60, body) end
end

-- A timer that is started and stopped, as most are.
function rows.timer(n)
  local loop = lull.loop()
  local function due() end
  for _ = 1, n do loop:call_later(60, due):cancel() end
end

-- A function that does nothing is called on a thread; each call waits for the one before.
function rows.call(n)
  local call <const> = require "lull.thread".call
  local function body() end
  call(body)
  local began = lull.now()
  for _ = 1, n do call(body) end
  return lull.now() - began
end

-- A message to a thread, and its answer.
function rows.message(n)
  local echo = require "lull.thread".spawn(function()
    local thread = require "lull.thread"
    for v in thread.receive do thread.send(v) end
  end)
  echo:send(0)
  echo:receive()
  local began = lull.now()
  for i = 1, n do
    echo:send(i)
    echo:receive()
  end
  local took = lull.now() - began
  echo:finish()
  return took
end

function rows.resume(n)
  local resume <const>, yield <const> = coroutine.resume, coroutine.yield
  local co = coroutine.create(function()
    while true do yield() end
  end)
  for _ = 1, n do resume(co) end
end

local function resident()
  for line in io.lines("/proc/self/smaps_rollup") do
    local kib = line:match("^Rss:%s*(%d+) kB")
    if kib then return tonumber(kib) * 1024 end
  end
end

local function size()
  collectgarbage()
  return collectgarbage("count") * 1024, resident()
end

-- n tasks asleep, of one closure.  They are left asleep: os.exit ends at once.
function rows.memory(n)
  local function body() sleep(1e6) end
  local bytes, rss = size()
  for _ = 1, n do spawn(body) end
  sleep(0)
  local bytes_after, rss_after = size()
  print(("row=memory bytes=%.1f rss=%.1f"):format((bytes_after - bytes) / n,
    (rss_after - rss) / n))
  os.exit(0)
end

-- See million.lua.
function rows.million(n)
  dofile "bench/million.lua" (n, { now = lull.now, sleep = sleep, spawn = spawn,
    resident = resident })
  sleep(1e6)
end

-- The longest time that one small allocation takes while 10 000 tasks (or so many) are
-- asleep and garbage is made: the collector's longest pause, in CPU time.
function rows.pause(n)
  local function body() sleep(1e6) end
  for _ = 1, tonumber(arg[3]) or 10000 do spawn(body) end
  sleep(0)
  local longest, last = 0, clock()
  for i = 1, n do
    local _ = { i }
    local t = clock()
    if t - last > longest then longest = t - last end
    last = t
  end
  print(("row=pause ns=%.0f"):format(longest * 1e9))
  os.exit(0)
end

local row, n = arg[1], tonumber(arg[2])
if not rows[row] or not n then
  io.stderr:write("usage: lull bench/micro.lua ROW N\n")
  os.exit(2)
end
local began = clock()
local took = rows[row](n)
local cpu = (clock() - began) / n * 1e9
print(("row=%s ns=%.3f cpu_ns=%.3f"):format(row, took and took / n * 1e9 or cpu, cpu))
