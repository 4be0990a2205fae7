-- bench/run --scale: what an operation costs among ten times as many, and ten times more.
-- Each curve has a reference that is measured in turn with lull: growth that both show is
-- the machine's (caches, page tables, the kernel), growth of lull's alone is ours.  All
-- figures are CPU time, or memory.

package.path = "bench/?.lua;" .. package.path
local measure = require "measure"
local format = require "format"

local LIMIT <const> = 350 -- seconds for everything; what would take longer is left out
local build, core = measure.build, measure.cores[1]
local lull = build .. "/lull"
local options = require "options".read { command = "bench/run --scale", quick = 1,
  save = false, list = false,
  about = "What an operation costs among ten times as many, and ten times more." }

-- ---- the curves ---------------------------------------------------------------------

-- A curve has
--   id, title, c                what the reference is called
--   points, quick               numbers of things; with --quick the first so many
--   sample(side, n) -> values   of lull or c
--   impossible(n) -> why        or nothing
--   figures                     { key of the values, title, unit }
local curves = {}

local function decades(first, last)
  local list = {}
  for exponent = first, last do list[#list + 1] = math.tointeger(10 ^ exponent) end
  return list
end

local servers = { lull = lull .. " bench/echo.lua", c = build .. "/bench/echo_epoll" }
local descriptors = measure.raise_descriptors()

-- One core has both sides: no side waits for another core, and no other for it.
local function served(side, form, ...)
  return measure.load(servers[side], core, form:format(...))
end

local function too_many_descriptors(n)
  if n + 64 > descriptors then
    return ("a process may have %d descriptors here"):format(descriptors)
  end
end

curves[#curves + 1] = { id = "active", title = "active connections", c = "C, epoll",
  points = decades(0, 4), quick = 3, impossible = too_many_descriptors,
  figures = { { "cpu_us", "a request of 64 B", "µs" } },
  sample = function(side, n)
    local seconds = options.quick and 0.2 or n > 1000 and 1.5 or 0.8
    return served(side, "--connections %d --warmup %.2f --seconds %.2f", n, seconds / 2,
      seconds)
  end }

-- 100 000 where that may be, and what else is possible.
local function idle_points()
  local list = decades(2, 5)
  local most = (descriptors - 64) // 1000 * 1000
  if most < list[#list] and most > list[#list - 1] then
    table.insert(list, #list, most)
  end
  return list
end

curves[#curves + 1] = { id = "idle", title = "idle connections", c = "C, epoll",
  points = idle_points(), quick = 2, impossible = too_many_descriptors,
  figures = { { "accept_us", "accepted and served once", "µs" },
    { "cpu_us", "a request of another one meanwhile", "µs" },
    { "bytes", "resident memory", "bytes" } },
  sample = function(side, n)
    local form = "--idle 1 --connections %d --active 1 --warmup 0.1 --seconds %.1f"
    return served(side, form, n, options.quick and 0.2 or 0.5)
  end }

local function room_for(bytes)
  return function(n)
    local free = measure.memory_available()
    if n * bytes + (1 << 30) > free then
      return ("%.1f GiB of memory are free, it takes %.1f"):format(free / (1 << 30),
        n * bytes / (1 << 30) + 1)
    end
  end
end

curves[#curves + 1] = { id = "timers", title = "timers", c = "C, binary heap",
  points = decades(3, 7), quick = 3, impossible = room_for(130),
  figures = { { "start", "start and stop, behind all others", "ns" },
    { "restart", "restart, a random one", "ns" },
    { "fire", "falling due at random moments", "ns" } },
  sample = function(side, n)
    local program = side == "lull" and "core_lull" or "timers"
    return measure.program(core, ("%s/bench/%s scale %d"):format(build, program, n))
  end }

curves[#curves + 1] = { id = "tasks", title = "tasks", c = "bare coroutines",
  points = decades(3, 7), quick = 3, impossible = room_for(1600),
  figures = { { "spawn", "spawned, run for the first time", "ns" },
    { "switch", "switch among all, ready", "ns" },
    { "future", "woken by one future", "ns" },
    { "noon", "sleepers, all due at once", "ns" },
    { "random", "sleepers, due at random moments", "ns" },
    { "finish", "woken and ended, at random", "ns" },
    { "bytes", "resident memory", "bytes" } },
  sample = function(side, n)
    local program = side == "lull" and lull .. " --virtual-clock bench/crowd.lua"
      or build .. "/bench/crowd"
    return measure.program(core, program .. " " .. n)
  end }

-- ---- measuring ------------------------------------------------------------------------

local function rounds(curve, n)
  if options.quick then return 1 end
  local many = n / curve.points[#curve.points]
  return many >= 1 and 1 or many >= 0.1 and 2 or 3
end

-- Medians, by key.
local function medians(samples)
  local values = {}
  for key in pairs(samples[1]) do
    local list = {}
    for j, sample in ipairs(samples) do list[j] = tonumber(sample[key]) end
    values[key] = format.median(list)
  end
  return values
end

-- Both sides at one point, and how long a round took: { lull =, c =, seconds = }.
local function measure_point(curve, n)
  local samples, began, many = { lull = {}, c = {} }, os.time(), rounds(curve, n)
  for round = 1, many do
    for _, side in ipairs { "c", "lull" } do
      io.stderr:write(("\r\27[K%s %d, %s, round %d"):format(curve.id, n, side, round))
      table.insert(samples[side], curve.sample(side, n))
    end
  end
  return { n = n, lull = medians(samples.lull), c = medians(samples.c),
    seconds = (os.time() - began) / many }
end

local started = os.time()

-- Why a point cannot be, or may not for it would take too long.
local function obstacle(curve, n, before)
  local why = curve.impossible(n)
  local guess = before and before.seconds * n / before.n or 0
  if not why and os.time() - started + guess > LIMIT then why = "the time is over" end
  return why
end

local function measure_curve(curve)
  local outcome = { curve = curve, notes = {} }
  for j, n in ipairs(curve.points) do
    if options.quick and j > curve.quick then break end
    local why = obstacle(curve, n, outcome[#outcome])
    local ok, point = not why, nil
    if ok then ok, point = pcall(measure_point, curve, n) end
    if ok then
      outcome[#outcome + 1] = point
    else
      outcome.notes[#outcome.notes + 1] = ("%s, %s: left out, %s"):format(curve.title,
        format.power(n), why or tostring(point):match "[^\n]*")
    end
  end
  io.stderr:write "\r\27[K"
  return outcome
end

-- ---- printing -------------------------------------------------------------------------

local function quotient(a, b)
  return a and b and b > 0 and ("%.2f"):format(a / b) or "–"
end

local function print_figure(outcome, figure)
  local key, title, unit = table.unpack(figure)
  local lines = {}
  for j, point in ipairs(outcome) do
    local before = outcome[j - 1]
    local x, c = point.lull[key], point.c[key]
    lines[j] = { format.power(point.n), format.number(x),
      quotient(x, before and before.lull[key]), format.number(c),
      quotient(c, before and before.c[key]), quotient(x, c) }
  end
  print(("%s: %s, %s"):format(outcome.curve.title, title, unit))
  format.print_table({ "", "lull", "× before", outcome.curve.c, "× before", "lull / C" },
    lines)
end

local function print_curve(outcome)
  for _, figure in ipairs(#outcome > 0 and outcome.curve.figures or {}) do
    print_figure(outcome, figure)
  end
  for _, note in ipairs(outcome.notes) do print(note .. "\n") end
end

-- ---- for the plot ---------------------------------------------------------------------

local function list_of(outcome, side, key)
  local list = {}
  for j, point in ipairs(outcome) do
    list[j] = point[side][key] and ("%.6g"):format(point[side][key]) or "false"
  end
  return table.concat(list, ", ")
end

local function save(file, outcomes)
  local out = measure.save(file, "bench/run --scale", { kind = "scale" })
  for _, outcome in ipairs(outcomes) do
    local points, curve = {}, outcome.curve
    for j, point in ipairs(outcome) do points[j] = point.n end
    out:write(("  { id = %q, title = %q, c = %q, points = { %s },\n"):format(curve.id,
      curve.title, curve.c, table.concat(points, ", ")))
    for _, figure in ipairs(curve.figures) do
      local lull_list, c_list = list_of(outcome, "lull", figure[1]),
        list_of(outcome, "c", figure[1])
      out:write(("    { title = %q, unit = %q, lull = { %s },\n      c = { %s } },\n")
        :format(figure[2], figure[3], lull_list, c_list))
    end
    for j, note in ipairs(outcome.notes) do
      out:write(("    note%d = %q,\n"):format(j, note))
    end
    out:write "  },\n"
  end
  out:write "}\n"
  out:close()
end

-- ---- the whole of it ------------------------------------------------------------------

measure.patience = 200
local outcomes = {}
for _, curve in ipairs(require "options".choose(curves, options)) do
  outcomes[#outcomes + 1] = measure_curve(curve)
  print_curve(outcomes[#outcomes])
end
if options.save then save(options.save, outcomes) end
print(("%s, %d seconds"):format(measure.command "bench/run --scale",
  os.time() - started))
print("load average: " .. measure.line "cut -d' ' -f1-3 /proc/loadavg")
