-- A crowd: N tasks at once, and what each of them costs.
--   lull --virtual-clock bench/crowd.lua N     for the curves; crowd.c is the reference
-- Prints nanoseconds of CPU time per task: spawn (with the first run and the first wait),
-- future (all are woken by one), switch (sleep(0) among all), noon (having gone to sleep
-- one after the other all are due at once), random (each at its own moment; some hundred
-- are due at a time), finish (woken by a future, in that order, and the end); and bytes,
-- what the process grew by.  The clock is virtual: nothing is counted but work.

local TIMES <const>, DENSE <const> = 1000000, 100 -- as in bench.h
local NOON <const>, SPAN <const> = 1000, 1000000

local n = math.tointeger(tonumber(arg[1])) or error "usage: crowd.lua N"
local rounds = math.max(2, TIMES // n)
local sleep, random = lull.sleep, math.random
local began, evening, dawn = lull.future(), lull.future(), lull.future()
local loop, ended = lull.loop(), 0

local function body(i)
  began:await()
  for _ = 1, rounds do sleep(0) end
  sleep(NOON + i * 1e-6)
  evening:await()
  sleep(random() * SPAN)
  dawn:await()
  ended = ended + 1
end

local function resident()
  for line in io.lines "/proc/self/smaps_rollup" do
    local kib = line:match "^Rss:%s*(%d+) kB"
    if kib then return tonumber(kib) * 1024 end
  end
end

local figures = {}

-- What fn takes for each of `count` operations.
local function measure(name, count, fn)
  local start = os.clock()
  fn()
  figures[#figures + 1] = ("%s=%.3f"):format(name, (os.clock() - start) / count * 1e9)
end

collectgarbage()
local before = resident()
measure("spawn", n, function()
  for i = 1, n do lull.spawn(body, i) end
  sleep(0)
end)
figures[1] = ("bytes=%.1f "):format((resident() - before) / n) .. figures[1]
measure("future", n, function()
  began:set_result()
  sleep(0)
end)
-- Those who are ready take turns, we among them.
measure("switch", n * (rounds - 1), function()
  for _ = 2, rounds do sleep(0) end
end)
sleep(0) -- all have gone to sleep
measure("noon", n, function()
  loop:advance(2 * NOON)
  sleep(0)
  sleep(0)
end)
evening:set_result()
sleep(0)
measure("random", n, function()
  local step = SPAN / math.max(1, n // DENSE)
  for _ = 1, math.max(1, n // DENSE) + 1 do
    loop:advance(step)
    sleep(0)
  end
  sleep(0)
end)
measure("finish", n, function()
  dawn:set_result()
  sleep(0)
end)
assert(ended == n, "a task was forgotten")
print(("row=crowd %s"):format(table.concat(figures, " ")))
io.stdout:flush()
os.exit(0)
