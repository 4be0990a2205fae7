-- The micro rows with luv, whose tasks are coroutines that callbacks resume.
-- lua5.4 micro_luv.lua ROW N

local uv = require "luv"

local RING <const> = 100
local rows = {}

local function sleep(timer, ms)
  local co = coroutine.running()
  timer:start(ms, 0, function() coroutine.resume(co) end)
  return coroutine.yield()
end

function rows.switch(n)
  for _ = 1, RING do
    coroutine.wrap(function()
      local timer = uv.new_timer()
      for _ = 1, n // RING do sleep(timer, 0) end
      timer:close()
    end)()
  end
  uv.run()
end

function rows.spawn(n)
  local function body() end
  for _ = 1, n do coroutine.wrap(body)() end
end

function rows.timer(n)
  local timer = uv.new_timer()
  local function due() end
  for _ = 1, n do
    timer:start(60000, 0, due)
    timer:stop()
  end
end

-- A function that does nothing is called on a thread; each call waits for the one before.
function rows.call(n)
  local took
  coroutine.wrap(function()
    local co = coroutine.running()
    local work = uv.new_work(function() end, function() coroutine.resume(co) end)
    work:queue()
    coroutine.yield()
    local began = uv.hrtime()
    for _ = 1, n do
      work:queue()
      coroutine.yield()
    end
    took = (uv.hrtime() - began) / 1e9
  end)()
  uv.run()
  return took
end

local function resident()
  return uv.resident_set_memory()
end

function rows.sleepers(n)
  collectgarbage()
  local before = resident()
  for _ = 1, n do
    coroutine.wrap(function()
      local timer = uv.new_timer()
      sleep(timer, 1e9)
    end)()
  end
  uv.run "nowait"
  collectgarbage()
  print(("row=sleepers bytes=%.1f"):format((resident() - before) / n))
  os.exit(0)
end

function rows.million(n)
  local function spawn(fn)
    coroutine.wrap(function()
      local timer = uv.new_timer()
      fn(timer)
      timer:close()
    end)()
  end
  dofile "bench/million.lua" (n, { now = function() return uv.now() / 1000 end,
    sleep = function(seconds, timer)
      return sleep(timer, math.max(0, math.floor(seconds * 1000)))
    end, spawn = spawn, resident = resident })
  uv.run()
end

local row, n = arg[1], tonumber(arg[2])
local began = os.clock()
local took = rows[row](n)
local cpu = (os.clock() - began) / n * 1e9
print(("row=%s ns=%.3f cpu_ns=%.3f"):format(row, took and took / n * 1e9 or cpu, cpu))
