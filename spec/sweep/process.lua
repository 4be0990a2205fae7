-- Scenarios for spec/sweep/check.lua: children and signals.  Whoever is cancelled: no
-- child is left running, none unreaped, no descriptor open; and no signal is lost.  A
-- child that runs keeps the virtual clock from jumping, so all of them end by themselves
-- or are ended.
local lull = require "lull"
local process = require "lull.process"
local signal = require "lull.signal"

local function spawn(argv, opts)
  return assert(process.spawn(argv, opts))
end

-- Is there a process of this number, running or not reaped?
local function exists(pid)
  local f <close> = io.open(("/proc/%d/stat"):format(pid))
  return f ~= nil
end

-- When all has ended, these are gone.
local function gone(case, pids)
  case:finally(function()
    for _, pid in ipairs(pids) do
      assert(not exists(pid), "a child is left: " .. pid)
    end
  end)
end

local function swap(pidfd)
  return pidfd and "" or ", with a thread"
end

local scenarios = {}

local function add(name, fn)
  scenarios[#scenarios + 1] = {name, fn}
end

for _, pidfd in ipairs {true, false} do
  add("a child that is spoken to" .. swap(pidfd), function(case)
    local pids = {}
    gone(case, pids)
    local p <close> = spawn({"cat"}, {stdin = "pipe", stdout = "pipe", pidfd = pidfd})
    pids[1] = p:pid()
    p.stdin:write "hello\n"
    assert(p.stdout:read() == "hello")
    p.stdin:close()
    assert(p:wait() == 0)
  end)
end

add("several who wait for one child", function(case)
  local pids, ends = {}, 0
  gone(case, pids)
  local p <close> = spawn({"cat"}, {stdin = "pipe", stdout = "null"})
  pids[1] = p:pid()
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = lull.spawn(function()
      local code, how = p:wait()
      assert(code == 0 or how == "SIGTERM" and case.cancelled)
      ends = ends + 1
    end)
  end
  lull.sleep(0)
  p.stdin:close()
  lull.wait(tasks)
  assert(ends == 3 or case.cancelled)
end)

add("input and output at once", function()
  local text = ("0123456789abcdef"):rep(10000)
  local r, message = process.run({"cat"}, {input = text})
  if not r then error(message, 0) end
  assert(r.stdout == text and r.code == 0)
end)

add("a race of children", function(case)
  local pids = {}
  gone(case, pids)
  local function run(input)
    local p <close> = spawn({"cat"}, {stdin = "pipe", stdout = "pipe"})
    pids[#pids + 1] = p:pid()
    if input then p.stdin:write(input, "\n") end
    return p.stdout:read()
  end
  local winner, line = lull.race({quick = function() return run "hello" end,
                                  never = function() return run() end})
  assert(winner == "quick" and line == "hello")
end)

add("a signal for three", function(case)
  local heard = 0
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = lull.spawn(function()
      assert(signal.wait("SIGUSR1", "SIGUSR2") == "SIGUSR1")
      heard = heard + 1
    end)
  end
  lull.sleep(1)
  signal.raise "SIGUSR1"
  lull.wait(tasks)
  assert(heard == 3 or case.cancelled)
end)

add("signals one after the other", function(case)
  local heard = 0
  local _, _, _, _ <close> = signal.each("SIGUSR1", "SIGUSR2") -- else they kill
  local listener = lull.spawn(function()
    for name in signal.each("SIGUSR1", "SIGUSR2") do
      assert(name == (heard % 2 == 0 and "SIGUSR1" or "SIGUSR2"))
      heard = heard + 1
      lull.sleep(1)
    end
  end):daemon()
  for i = 1, 6 do
    lull.sleep(2)
    signal.raise(i % 2 == 1 and "SIGUSR1" or "SIGUSR2")
  end
  lull.sleep(2)
  assert(heard == 6 or listener:done() and case.cancelled)
end)

return scenarios
