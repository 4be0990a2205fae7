-- ticker.lua: how late a ticker comes while the pool works, beside the same ticker alone.
--
--   ./run bench/ticker.lua [seconds]
--
-- A task wants to wake every 10 ms and notes how late it does, on the real clock: first
-- alone, then while other tasks have the pool look up names, read files and compute.  The
-- latter two share the machine with it, so its lateness is also the scheduler's of the
-- system; what must not be in there is the length of a job (a call computes for 50 ms).
local lull = require "lull"
local net = require "lull.net"
local fs = require "lull.fs"
local thread = require "lull.thread"

local SECONDS = tonumber(arg and arg[1]) or 3
local PERIOD = 0.01

-- Lateness of each tick, sorted, for so many seconds.
local function tick(seconds)
  local late, start = {}, lull.now()
  for n = 1, math.floor(seconds / PERIOD) do
    lull.sleep(start + n * PERIOD - lull.now())
    late[n] = lull.now() - (start + n * PERIOD)
  end
  table.sort(late)
  return late
end

local function compute(seconds)
  local sum, stop = 0.0, os.clock() + seconds -- of the process: all threads count
  repeat
    for i = 1, 1000 do sum = sum + math.sin(i) end
  until os.clock() >= stop
  return sum
end

local counts = { names = 0, files = 0, calls = 0 }

local function forever(kind, fn)
  while true do
    fn()
    counts[kind] = counts[kind] + 1
  end
end

-- Has every lane of the pool busy while fn runs.
local function at_work(fn, ...)
  local path = os.tmpname()
  local _ <close> = lull.defer(os.remove, path)
  assert(fs.write_file(path, ("x"):rep(1 << 20)))
  local g <close> = lull.group()
  for _ = 1, 4 do
    g:spawn(forever, "names", function()
      net.resolve("localhost", { resolver = "system" })
    end):daemon()
    g:spawn(forever, "files", function() assert(fs.read_file(path)) end):daemon()
    g:spawn(forever, "calls", function() thread.call(compute, 0.05) end):daemon()
  end
  local result = fn(...)
  g:cancel()
  return result
end

local function report(name, late)
  local function at(part) return late[math.max(1, math.ceil(#late * part))] * 1000 end
  print(("%-22s %6d ticks   median %6.2f ms   99 %% %6.2f ms   worst %6.2f ms"):format(
    name, #late, at(0.5), at(0.99), at(1)))
end

report("the ticker alone", tick(SECONDS))
local ok, late = pcall(at_work, tick, SECONDS)
if not ok then error(late, 0) end
report("while the pool works", late)
print(("meanwhile: %d names looked up, %d files of 1 MiB read, %d calls that compute")
  :format(counts.names, counts.files, counts.calls))
