-- A million sleepers, for micro.lua and for those of its peers that are Lua: n tasks
-- sleep until the same moment, then each until one of its own within a second, and end.
-- Prints CPU time per task in nanoseconds: spawn (until it sleeps), noon (woken with all
-- the others, and asleep again), random (woken at its own moment, and ended), ns (all of
-- that); bytes, what the process grew by; and the longest CPU time for which the loop did
-- not turn, seen by a task that wakes every millisecond: stall and stall_random, in ms.
-- The clock is real.  Who has not gone to bed before noon prints late=1, and should be
-- given longer days: microseconds for each task, arg[3].
--   rt has  now ()   sleep (seconds, me)   spawn (fn), which calls fn (me)   resident ()

local SPAN <const> = 1e-6 -- seconds, for each of the n
local clock, random = os.clock, math.random

return function(n, rt)
  local now, sleep, spawn = rt.now, rt.sleep, rt.spawn
  local day = n * (tonumber(arg[3]) or 8) * 1e-6
  local noon, evening = now() + day, now() + 2 * day
  local woken, stall, ticked = 0, 0, nil
  local marks, stalls, bytes = {}, {}, rt.resident()

  local function tick()
    local t = clock()
    stall, ticked = math.max(stall, t - ticked), t
  end

  local function mark()
    tick()
    marks[#marks + 1], stalls[#stalls + 1], stall = ticked, stall * 1e3, 0
  end

  local function wake()
    woken = woken + 1
    if woken % n == 0 then mark() end
  end

  local function sleeper(me)
    sleep(noon - now(), me)
    wake()
    sleep(evening + random() * n * SPAN - now(), me)
    wake()
  end

  local function leave()
    io.stdout:flush()
    os.exit(0)
  end

  local function report()
    local function per(from, to) return (marks[to] - marks[from]) / n * 1e9 end
    print(("row=million spawn=%.1f noon=%.1f random=%.1f ns=%.1f bytes=%.1f stall=%.2f "
      .. "stall_random=%.2f"):format(per(1, 2), per(2, 3), per(3, 4), per(1, 4), bytes,
      stalls[3], stalls[4]))
    leave()
  end

  ticked = clock()
  mark()
  for _ = 1, n do spawn(sleeper) end
  spawn(function(me)
    bytes = (rt.resident() - bytes) / n
    mark()
    if now() > noon then
      print "row=million late=1"
      leave()
    end
    while woken < 2 * n do
      sleep(0.001, me)
      tick()
    end
    report()
  end)
end
