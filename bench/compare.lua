-- bench/run --peers: lull beside what else one could take, all in one run, in turn.  Two
-- kinds of rows: echo servers under the same load, and micro rows, each runtime's own way
-- of doing the same.  Peers that are not installed are left out, with a line.

package.path = "bench/?.lua;" .. package.path
local measure = require "measure"
local format = require "format"

local median, number = format.median, format.number
local options = require "options".read { command = "bench/run --peers", rounds = 5,
  quick = 1, save = false, list = false,
  about = "lull beside what else one could take: echo servers and micro rows." }
local scale <const> = options.quick and 0.2 or 1

-- ---- rows -----------------------------------------------------------------------------

-- A row takes a sample of a peer: a figure (smaller is better) and details, or nil and
-- why there is none.
local rows = {}

-- What a row shows besides: a key of the details, and its title.
local SEEN <const> = { { "pace", "requests/s" }, { "p50_us", "p50 µs" },
  { "p99_us", "p99" }, { "p999_us", "p99.9" } }

local function echo(id, title, size, connections, cores, greedy)
  rows[#rows + 1] = { id = "echo-" .. id, title = title, command = "echo",
    missing = measure.obstacle(cores or 2, connections),
    unit = greedy and "µs p50" or (connections > 1 and cores ~= 1) and "µs CPU"
      or "µs wall", columns = SEEN,
    sample = function(peer)
      local seconds = 2 * scale
      local core = cores == 1 and measure.cores[1] or measure.cores[#measure.cores]
      local d = measure.load(peer.echo, core,
        ("--connections %d --size %d --greedy %d --warmup %.2f --seconds %.2f"):format(
          connections, size, greedy or 0, seconds / 4, seconds))
      if greedy then return d.p50_us, d end
      return (connections > 1 and cores ~= 1) and d.cpu_us or 1e6 / d.pace, d
    end }
end

echo("64x1-onecore", "echo 64 B, 1 connection, one core for both", 64, 1, 1)
echo("64x1", "echo 64 B, 1 connection", 64, 1)
echo("64x64", "echo 64 B, 64 connections", 64, 64)
echo("64x1000", "echo 64 B, 1000 connections", 64, 1000)
echo("16kx1-onecore", "echo 16 KiB, 1 connection, one core for both", 16384, 1, 1)
echo("16kx64", "echo 16 KiB, 64 connections", 16384, 64)
echo("16kx1000", "echo 16 KiB, 1000 connections", 16384, 1000)

echo("fair", "echo 64 B, 64 connections beside a greedy one", 64, 64, nil, 1)

rows[#rows + 1] = { id = "idle", title = "idle connection, RSS", unit = "bytes",
  command = "echo", rounds = 1, missing = measure.obstacle(1, 900),
  sample = function(peer)
    return measure.load(peer.echo, measure.cores[#measure.cores],
      ("--idle 1 --connections %d"):format(scale < 1 and 500 or 900)).bytes
  end }

-- What each runtime calls the row where its name differs; false: it has no such thing.
local names = {
  epoll = { spawn = "respawn", timer = "start", sleepers = "memory" },
  lull = { spawn = "respawn", sleepers = "memory" },
  luv = { trip = false, queue = false, message = false },
  node = { call = false },
  cqueues = { timer = false, queue = false },
}

local function micro(id, title, count, key, unit, command)
  command = command or "micro"
  rows[#rows + 1] = { id = id, title = title, unit = unit or "ns", command = command,
    sample = function(peer)
      local name = (names[peer.id] or {})[id]
      if name == false then return nil end
      local n = math.tointeger(math.max(count * scale, 10000) // 100 * 100)
      local result = measure.program(measure.cores[1],
        ("env %s %s %d"):format(peer[command], name or id, n))
      return result[key or "ns"] or result.rss
    end }
end

micro("switch", "task switch", 1e6)
micro("spawn", "task spawned and ended", 5e5)
micro("trip", "future round trip between two tasks", 5e5)
micro("queue", "queue hand-off between two tasks", 5e5)
micro("timer", "timer started and stopped", 5e5, "ns", "ns", "timers")
micro("call", "empty function called on a thread", 2e4, "ns", "ns wall", "threads")
micro("message", "message to a thread and its answer", 5e4, "ns", "ns wall", "threads")
micro("sleepers", "sleeping task, RSS", 1e5, "bytes", "bytes")

-- Whoever needs longer to put them all to bed gets longer days.
rows[#rows + 1] = { id = "million", title = "a million sleepers: CPU time of each",
  unit = "ns", command = "million", rounds = 1,
  columns = { { "spawn", "spawn" }, { "noon", "wake at once" }, { "random", "at random" },
    { "bytes", "bytes" }, { "stall", "stall, ms" }, { "stall_random", "at random, ms" } },
  sample = function(peer)
    local n = math.tointeger(1e6 * scale)
    for _, day in ipairs { 8, 16, 32 } do
      local d = measure.program(measure.cores[1],
        ("env %s %d %d"):format(peer.million, n, day))
      if not d.late then return d.ns, d end
    end
    error("too slow for days of half a minute", 0)
  end }

local function startup(id, title, key, unit)
  rows[#rows + 1] = { id = id, title = title, unit = unit, command = "hello", rounds = 1,
    sample = function(peer)
      return measure.program(measure.cores[1],
        ("%s/bench/startup 20 %s"):format(measure.build, peer.hello))[key]
    end }
end

startup("start-up", "start and end of an empty program", "ms", "ms")
startup("size", "memory of an empty program", "kib", "KiB")

-- ---- who is here ---------------------------------------------------------------------

local chosen, peers = require "options".choose(rows, options), {}
for _, peer in ipairs(require "peers") do
  if not peer.needs or measure.succeeds(peer.needs) then
    peers[#peers + 1] = peer
  else
    print(("%s: skipped, %s is missing"):format(peer.title, peer.package))
  end
end

-- ---- measuring ------------------------------------------------------------------------

local function measure_row(row)
  local outcome = { row = row, samples = {}, details = {}, void = {} }
  for round = 1, math.min(options.rounds, row.rounds or options.rounds) do
    for _, peer in ipairs(peers) do
      local id = peer.id
      if peer[row.command] and not outcome.void[id] then
        io.stderr:write(("\r\27[K%s %d, %s"):format(row.id, round, id))
        local ok, value, details = pcall(row.sample, peer)
        if ok and value then
          outcome.samples[id] = outcome.samples[id] or {}
          outcome.details[id] = outcome.details[id] or {}
          table.insert(outcome.samples[id], value)
          table.insert(outcome.details[id], details)
        else
          outcome.void[id] = ok and "has none" or tostring(value):match "[^\n]*"
        end
      end
    end
  end
  io.stderr:write "\r\27[K"
  return outcome
end

-- The figures of a row, one for each peer that has it, with the ratios to the reference
-- and to the best of those who are neither in C nor ours.
local function figures(outcome)
  local list, best, reference = {}, nil, nil
  for _, peer in ipairs(peers) do
    local samples = outcome.samples[peer.id]
    local value = samples and median(samples)
    if value then
      list[#list + 1] = { peer = peer, value = value, details = outcome.details[peer.id],
        title = outcome.row.command ~= "echo" and peer.name or peer.title }
      if peer.reference then reference = value end
      if not peer.c and not peer.ours then best = math.min(best or value, value) end
    end
  end
  for _, entry in ipairs(list) do
    entry.to_c = reference and entry.value / reference
    entry.to_best = best and entry.value / best
  end
  return list
end

local function column(details, key)
  local values = {}
  for _, d in ipairs(details or {}) do values[#values + 1] = d[key] end
  return median(values)
end

local function print_row(outcome)
  local lines, columns = {}, outcome.row.columns or {}
  for i, entry in ipairs(figures(outcome)) do
    lines[i] = { entry.title, number(entry.value), number(entry.to_c),
      number(entry.to_best) }
    for _, extra in ipairs(columns) do
      table.insert(lines[i], number(column(entry.details, extra[1])))
    end
    if columns == SEEN then
      table.insert(lines[i], ("%.0f %%"):format(column(entry.details, "busy") * 100))
    end
  end
  local head = { outcome.row.title, outcome.row.unit, "× C", "× best peer" }
  for _, extra in ipairs(columns) do head[#head + 1] = extra[2] end
  if columns == SEEN then head[#head + 1] = "busy" end
  format.print_table(head, lines)
  for _, peer in ipairs(peers) do
    local why = outcome.void[peer.id]
    if why and why ~= "has none" then print(peer.title .. ": void, " .. why) end
  end
end

-- ---- for the plot -------------------------------------------------------------------

-- Of those who are here: "Node.js v20.20.2, lua-luv 1.44.2-0-1".
local function versions()
  local list, seen = {}, {}
  for _, peer in ipairs(peers) do
    local version = peer.version and measure.line(peer.version)
    if version and version ~= "?" and not seen[version] then
      list[#list + 1], seen[version] = version, true
    end
  end
  return table.concat(list, ", ")
end

local function save(file, outcomes)
  local out = measure.save(file, "bench/run --peers", { peers = versions() })
  for _, outcome in ipairs(outcomes) do
    local row = outcome.row
    out:write(("  { id = %q, title = %q, unit = %q, columns = {"):format(row.id,
      row.title, row.unit))
    for _, extra in ipairs(row.columns or {}) do
      out:write((" { %q, %q },"):format(extra[1], extra[2]))
    end
    out:write " },\n"
    for _, entry in ipairs(figures(outcome)) do
      local d, peer = entry.details, entry.peer
      out:write(("    { %q, %.6g, ours = %s, c = %s"):format(entry.title, entry.value,
        tostring(peer.ours or false), tostring(peer.c or false)))
      for _, key in ipairs { "to_c", "to_best" } do
        if entry[key] then out:write((", %s = %.4g"):format(key, entry[key])) end
      end
      for _, extra in ipairs(row.columns or {}) do
        local x = column(d, extra[1])
        if x then out:write((", %s = %.6g"):format(extra[1], x)) end
      end
      out:write " },\n"
    end
    out:write "  },\n"
  end
  out:write "}\n"
  out:close()
end

-- ---- the whole of it -----------------------------------------------------------------

local outcomes = {}
for _, row in ipairs(chosen) do
  if row.missing then
    print(("%s: skipped, %s\n"):format(row.title, row.missing))
  else
    outcomes[#outcomes + 1] = measure_row(row)
    print_row(outcomes[#outcomes])
  end
end
if options.save then save(options.save, outcomes) end
print(measure.command "bench/run --peers")
print("load average: " .. measure.line "cut -d' ' -f1-3 /proc/loadavg")
