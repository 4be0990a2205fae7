-- The table of bench/run: measures the chosen rows (rows.lua) round by round, reference
-- and lull in turn, and prints medians, ratios, spread and verdicts.

package.path = "bench/?.lua;" .. package.path
local measure = require "measure"
local format = require "format"

local sorted, median, number = format.sorted, format.median, format.number
local print_table = format.print_table

local options = require "options".read { command = "bench/run", rounds = 7, quick = 3,
  list = false, about = [[
One table: lull beside its references, measured in one run.
Other tables: bench/run --peers, --scale or --kv, each with a --help of its own.]] }
local scale <const> = options.quick and 0.1 or 1

-- ---- statistics ---------------------------------------------------------------------

local function ratio(row, reference, lull)
  if not reference or not lull then return nil end
  return row.pace and reference / lull or lull / reference
end

-- ---- measuring ----------------------------------------------------------------------

local TRIES <const> = 10

-- A sample that the row accepts; rejected ones are counted, and repeated.
local function sample(row, side, outcome)
  for _ = 1, TRIES do
    local value, details = row.sample(side, scale)
    if value then
      table.insert(outcome[side], value)
      table.insert(outcome.details[side], details)
      return
    end
    outcome.rejected = outcome.rejected + 1
  end
  error(("the server was not busy, %d times in a row"):format(TRIES), 0)
end

local function measure_row(row)
  local outcome = { row = row, rejected = 0, reference = {}, lull = {},
    details = { reference = {}, lull = {} } }
  local rounds = math.min(options.rounds, row.rounds or options.rounds)
  local ok, message = pcall(function()
    for round = 1, rounds do
      io.stderr:write(("\r\27[K%s %d/%d"):format(row.id, round, rounds))
      if not row.alone then sample(row, "reference", outcome) end
      sample(row, "lull", outcome)
    end
  end)
  outcome.void = not ok and tostring(message):match("[^\n]*") or nil
  return outcome
end

-- ---- printing -----------------------------------------------------------------------

local function spread(list, write)
  local s = sorted(list)
  return #s > 0 and write(s[1]) .. ".." .. write(s[#s]) or "–"
end

local function two_digits(x) return ("%.2f"):format(x) end

-- What the aim of a row speaks of: the ratio, or lull's own figure.
local function verdict(row, value, quotient)
  if row.least then
    return quotient >= row.least, ("≥ %.2f"):format(row.least)
      .. (row.better and (", aim %.2f"):format(row.better) or "")
  elseif row.ratio then
    return quotient <= row.ratio, ("≤ %.2f"):format(row.ratio)
  elseif row.most then
    return value <= row.most, ("≤ %g %s"):format(row.most, row.unit)
  end
  return nil, "–"
end

local function cells(outcome)
  local row = outcome.row
  local reference, lull = median(outcome.reference), median(outcome.lull)
  local quotient, quotients = ratio(row, reference, lull), {}
  for i = 1, math.min(#outcome.reference, #outcome.lull) do
    quotients[i] = ratio(row, outcome.reference[i], outcome.lull[i])
  end
  local reached, aim, word
  if outcome.void then
    word = "void"
  else
    reached, aim = verdict(row, lull, quotient)
    word = reached == nil and "–" or reached and "reached" or "short"
  end
  local relative = not row.alone and not row.most
  return { row.title, row.unit, number(reference), number(lull),
    quotient and two_digits(quotient) or "–",
    relative and spread(quotients, two_digits) or spread(outcome.lull, number),
    aim or "–", word }
end

local function print_main(outcomes)
  local lines = {}
  for i, outcome in ipairs(outcomes) do lines[i] = cells(outcome) end
  print_table({ "row", "unit", "reference", "lull", "ratio", "spread", "aim", "verdict" },
    lines)
end

-- The echo rows once more: what a client sees, and how busy the server was.
local function print_details(outcomes)
  local lines = {}
  for _, outcome in ipairs(outcomes) do
    for _, side in ipairs { "reference", "lull" } do
      local list = outcome.details[side]
      if list[1] then
        local function column(key)
          local values = {}
          for i, details in ipairs(list) do values[i] = details[key] end
          return median(values)
        end
        lines[#lines + 1] = { outcome.row.title, side == "lull" and "lull" or "C",
          ("%.0f"):format(column "pace"), two_digits(column "cpu_us"),
          ("%.0f %%"):format(column "busy" * 100), number(column "p50_us"),
          number(column "p99_us"), number(column "p999_us"),
          side == "lull" and ("%d"):format(outcome.rejected) or "" }
      end
    end
  end
  if #lines == 0 then return end
  print_table({ "echo in detail (medians)", "", "requests/s", "CPU µs/request", "busy",
    "p50 µs", "p99", "p99.9", "rejected" }, lines)
end

local function print_foot(began)
  local program = measure.build .. "/lull"
  print("ratio: echo reference / lull, so 1.00 is the pace of C; else lull / reference; "
    .. "other runtimes: bench/run --peers")
  print(measure.command "bench/run")
  print(("machine: %s, %d of its cores, Linux %s"):format(
    measure.line("sed -n 's/^model name[^:]*: //p' /proc/cpuinfo"), #measure.cores,
    measure.line("uname -r")))
  print(("%s; %s; commit %s; %s"):format(measure.line(program .. " -v"),
    measure.line("lua5.4 -v"), measure.line("git describe --always --dirty"),
    os.date("%Y-%m-%d %H:%M")))
  print(("load average of the machine: %s before, %s after (two of it may be ours)")
    :format(began, measure.line("cut -d' ' -f1 /proc/loadavg")))
end

-- ---- the whole of it ----------------------------------------------------------------

local chosen = require "options".choose(require "rows", options)
local began = measure.line("cut -d' ' -f1 /proc/loadavg")
local outcomes, skipped = {}, {}
for _, row in ipairs(chosen) do
  if row.missing then
    skipped[#skipped + 1] = row.title .. ": skipped, " .. row.missing
  else
    outcomes[#outcomes + 1] = measure_row(row)
  end
end
io.stderr:write("\r\27[K")
if #outcomes > 0 then print_main(outcomes) end
print_details(outcomes)
for _, outcome in ipairs(outcomes) do
  if outcome.void then print(outcome.row.title .. ": void, " .. outcome.void) end
end
for _, line in ipairs(skipped) do print(line) end
print_foot(began)
