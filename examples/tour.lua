-- tour.lua: what lull does, shown and measured in a few seconds.
--
--   ./run examples/tour.lua
--
-- Each chapter is a function that runs in the main task; they stand in the order in which
-- they are shown.  Everything happens in one thread.

local lull = require "lull"
local net = require "lull.net"

-- Showing ----------------------------------------------------------------------------

local terminal = os.execute("test -t 1") == true
local figures = {}                           -- the lines of the summary

local function figure(what, format, ...)
  figures[#figures + 1] = {what, format:format(...)}
end

local function title(text)
  print(terminal and "\n\27[1m" .. text .. "\27[0m" or "\n" .. text)
end

local function say(format, ...) print("   " .. format:format(...)) end

-- 1234567 -> "1 234 567"
local function grouped(n)
  local text = ("%.0f"):format(n):reverse():gsub("%d%d%d", "%0 "):reverse()
  return (text:gsub("^ ", ""))
end

-- Redraws a line ten times a second until it is cancelled; on a terminal only.
local function progress(share)
  if not terminal then return end
  local _ <close> = lull.defer(io.write, "\r\27[K")
  for _ in lull.every(0.1) do
    local width = math.floor(50 * share())
    io.write(("\r   [%-50s] %3.0f %%"):format(("="):rep(width), 100 * share()))
    io.flush()
  end
end

-- Measuring --------------------------------------------------------------------------

-- What time it is.  The loop looks at its clock once a turn, so a turn is taken first.
local function clock()
  lull.sleep(0)
  return lull.now()
end

-- Seconds that fn(...) takes, then its results.
local function timed(fn, ...)
  local start = clock()
  local results = table.pack(fn(...))
  return clock() - start, table.unpack(results, 1, results.n)
end

-- Runs fn(1) ... fn(n) in tasks of their own and waits for all; raises the first error.
local function together(n, fn)
  local tasks, failed, failure = {}, false, nil
  for i = 1, n do tasks[i] = lull.spawn(fn, i) end
  for i = 1, n do
    local ok, err = lull.pcall(tasks[i].await, tasks[i])
    if not ok and not failed then failed, failure = true, err end
  end
  if failed then error(failure, 0) end
end

-- Two descriptors for each client is what this process may open.
local function affordable()
  local shell <close> = io.popen("ulimit -Hn")
  return ((tonumber(shell:read("a")) or math.huge) - 50) // 2
end

-- Bytes that this process holds: its resident memory, where the system tells.
local function memory()
  collectgarbage()
  local file <close> = io.open("/proc/self/status")
  local resident = file and file:read("a"):match("VmRSS:%s*(%d+)")
  return (tonumber(resident) or collectgarbage("count")) * 1024
end

-- Chapters ---------------------------------------------------------------------------

local function sleepers()
  title "Ten tasks sleep half a second each"
  local function sleeper() lull.sleep(0.5) end
  local seconds = timed(together, 10, sleeper)
  say("one after another that takes 5 s; at once it took %.2f s", seconds)

  title "Ten thousand do the same"
  local before, count, asleep = memory(), 10000, 0
  seconds = timed(together, count, function()
    asleep = asleep + 1
    if asleep == count then asleep = memory() end
    lull.sleep(0.5)
  end)
  say("it took %.2f s", seconds)
  figure("memory of a sleeping task", "%s bytes", grouped((asleep - before) / count))
end

local function clients()
  local count, rounds = math.min(1000, affordable()), 50
  title(("A server and %d clients on the loopback"):format(count))
  local listener <close> = assert(net.listen("127.0.0.1", 0, {backlog = count}))
  local host, port = listener:local_address()

  local _ <close> = lull.spawn(listener.serve, listener, function(stream)
    for line in stream:lines() do stream:write(line:upper(), "\n") end
  end)

  local connected, answers, everybody = 0, 0, lull.future()
  local function client(i)
    local stream <close>, err = net.connect(host, port)
    connected = connected + (stream and 1 or 0)
    if not stream then everybody:cancel(err) end
    if connected == count then everybody:set_result(lull.now()) end
    everybody:await()                        -- nobody asks before all are there
    for round = 1, rounds do
      stream:write("client ", i, " round ", round, "\n")
      assert(stream:read() == ("CLIENT %d ROUND %d"):format(i, round), "a wrong answer")
      answers = answers + 1
    end
  end

  local bar <close> = lull.spawn(progress, function()
    return answers / (count * rounds)
  end)
  local start = lull.now()
  together(count, client)
  local complete = everybody:result()
  local seconds = lull.now() - complete
  bar:close()
  say("%d were connected at once after %.2f s", connected, complete - start)
  say("%s answers came, all of them right, in %.2f s", grouped(answers), seconds)
  figure("requests", "%s per second", grouped(answers / seconds))
end

local function timeout()
  title "A timeout around whatever takes too long"
  local here <close>, other = net.pair()
  local there <close> = other
  local seconds, line, err = timed(lull.timeout, 0.25, here.read, here)
  say("a read from a silent peer gave %s, %q after %.2f s", line, err, seconds)
  there:write("late\n")
  say("nothing was lost by it, the next read gives %q", here:read())
end

local function cancellation()
  title "A cancellation, with a cleanup that waits"
  local here <close>, other = net.pair()
  local there <close> = other
  local worker = lull.spawn(function()
    local _ <close> = lull.defer(lull.shield, function()
      here:write("I must go\n")
      say("the worker was cancelled, but it hears out %q", here:read())
    end)
    lull.sleep(3600)
  end)
  lull.spawn(function()
    there:read()
    lull.sleep(0.25)                         -- the peer takes its time
    there:write("farewell\n")
  end)

  lull.sleep(0)                              -- let it begin
  worker:cancel("time to leave")
  local _, err = pcall(worker.await, worker)
  say("then it ends: %s", err)
end

local function costs()
  title "What things cost"
  local n, rounds = 100, 2000
  local seconds = timed(together, n, function()
    for _ = 1, rounds do coroutine.yield() end
  end)
  figure("task switches", "%s per second", grouped(n * rounds / seconds))

  local function nothing() end
  seconds = timed(function()
    for _ = 1, rounds do together(n, nothing) end
  end)
  figure("a task spawned, run and awaited", "%.0f ns", seconds / (n * rounds) * 1e9)

  local loop = lull.loop()
  seconds = timed(function()
    for _ = 1, n * rounds do loop:call_later(60, nothing):cancel() end
  end)
  figure("a timer started and stopped", "%.0f ns", seconds / (n * rounds) * 1e9)

  for _, line in ipairs(figures) do say("%-34s %s", line[1], line[2]) end
end

print(("lull %s, %s, selector %s"):format(lull.version, _VERSION, lull.selector))
local seconds = timed(function()
  sleepers()
  clients()
  timeout()
  cancellation()
  costs()
end)
print(("\nThat was the tour: %.1f seconds in one thread."):format(seconds))
