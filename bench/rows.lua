-- The rows of bench/run, in the order in which they are printed.  A row has
--   id, title, unit, sample(side, scale) -> value, details | nothing if it is to be void
--   pace = true     the ratio is reference / lull (1 is C's pace), else lull / reference
--   alone = true    there is no reference
--   least, better   the ratio to reach, and the one hoped for
--   ratio, most     at most this ratio; at most this figure of lull's own
--   rounds          at most so many (for figures that hardly vary)
--   missing         why it cannot be measured here

local measure = require "measure"

local build, cores = measure.build, measure.cores
local lull = build .. "/lull"
local servers = {
  reference = build .. "/bench/echo_epoll",
  lull = lull .. " bench/echo.lua",
}
local BUSY <const> = 0.7 -- of the wall time, or the round does not count

local no_uring = not measure.succeeds(lull .. " --selector=io_uring -e ''")
  and "there is no io_uring here" or nil

local rows = {}

local function row(r) rows[#rows + 1] = r end

-- ---- echo ---------------------------------------------------------------------------

-- With one core for both sides, or with one connection (where the server must wait for
-- its client), the time of a round trip is compared; else the server's CPU time.
local function echo(r)
  local one_core = r.cores == 1
  local by_pace = one_core or r.connections == 1 or r.greedy
  r.pace, r.unit = true, by_pace and "µs wall" or "µs CPU"
  r.missing = r.missing or measure.obstacle(one_core and 1 or 2, r.connections)
  function r.sample(side, scale)
    local seconds = scale < 1 and 0.3 or 2
    local server, core = r[side] or servers[side], one_core and cores[1] or cores[2]
    local details = measure.load(server, core,
      ("--connections %d --size %d --greedy %d --warmup %.2f --seconds %.2f"):format(
        r.connections, r.size, r.greedy or 0, seconds / 4, seconds))
    local busy = details.busy + (one_core and details.load_busy or 0)
    if busy < BUSY and (one_core or not by_pace) then return nil end
    if r.greedy then return details.p50_us, details end
    return by_pace and 1e6 / details.pace or details.cpu_us, details
  end
  row(r)
end

echo { id = "echo-64x1-onecore", title = "echo 64 B, 1 connection, one core for both",
  size = 64, connections = 1, cores = 1, least = 0.94 }
echo { id = "echo-64x1", title = "echo 64 B, 1 connection", size = 64, connections = 1 }
echo { id = "echo-64x1-spin", title = "echo 64 B, 1 connection, spin of 100 µs",
  size = 64, connections = 1, lull = lull .. " --spin=0.0001 bench/echo.lua" }
echo { id = "echo-64x1-spin-uring", title = "echo 64 B, 1 connection, spin, io_uring",
  size = 64, connections = 1, missing = no_uring,
  lull = lull .. " --selector=io_uring --spin=0.0001 bench/echo.lua" }
echo { id = "echo-64x64", title = "echo 64 B, 64 connections", size = 64,
  connections = 64, least = 0.92, better = 0.95 }
echo { id = "echo-64x1000", title = "echo 64 B, 1000 connections", size = 64,
  connections = 1000, least = 0.87 }
echo { id = "echo-16kx64", title = "echo 16 KiB, 64 connections", size = 16384,
  connections = 64, least = 0.75 }

echo { id = "fair-64", title = "echo 64 B, 64 connections and a greedy one: p50",
  size = 64, connections = 64, greedy = 1 }

echo { id = "relay", title = "relay 1 MiB, 8 connections", size = 1 << 20,
  connections = 8, least = 0.95, lull = lull .. " bench/relay.lua" }
echo { id = "io_uring-64x64", title = "echo 64 B, 64 connections, io_uring", size = 64,
  connections = 64, missing = no_uring, least = 1,
  lull = lull .. " --selector=io_uring bench/echo.lua" }
echo { id = "io_uring-64x1000", title = "echo 64 B, 1000 connections, io_uring",
  size = 64, connections = 1000, missing = no_uring,
  lull = lull .. " --selector=io_uring bench/echo.lua" }

row { id = "idle-connection", title = "idle connection, RSS of the server",
  unit = "bytes", rounds = 3, missing = measure.obstacle(1, 5000),
  sample = function(side, scale)
    local n = scale < 1 and 1000 or 5000
    return measure.load(servers[side], cores[#cores],
      ("--idle 1 --connections %d"):format(n)).bytes
  end }

-- ---- TLS ----------------------------------------------------------------------------

-- A certificate and a file, in a directory that goes when the table is printed.
local FOLDER_SCRIPT <const> = [[
set -e
d=$(mktemp -d)
cd "$d"
openssl req -x509 -days 2 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \
  -subj /CN=localhost -keyout server.key -out server.pem 2>/dev/null
dd if=/dev/zero of=bulk bs=1M count=64 2>/dev/null
printf x >tiny
echo "$d"
]]
local folder

local function tls_folder()
  if not folder then
    local path = measure.line(FOLDER_SCRIPT)
    folder = setmetatable({ path = path }, { __gc = function()
      os.execute("rm -rf " .. path)
    end })
  end
  return folder.path
end

local PORT <const> = 16381 -- s_server does not tell which one it has

local tls_servers = {
  reference = function(path)
    return ("sh -c 'cd %s; echo port %d; exec openssl s_server -quiet -WWW "
      .. "-accept 127.0.0.1:%d -cert server.pem -key server.key 2>/dev/null'"):format(
      path, PORT, PORT)
  end,
  lull = function(path) return ("%s bench/tls.lua %s"):format(lull, path) end,
}

-- CPU time of the server for a connection, or for a MiB.
local function tls(r)
  r.unit = r.key == "cpu_us" and "µs CPU" or "µs CPU/MiB"
  r.missing = not measure.have "openssl" and "openssl is missing"
    or not measure.have(build .. "/bench/load_tls") and "libssl-dev is missing" or nil
  function r.sample(side, scale)
    local n = math.tointeger(math.max(1, r.connections * scale // 1))
    local d = measure.load(tls_servers[side](tls_folder()), cores[#cores],
      ("--connections %d %s"):format(n, r.options), "load_tls")
    if r.resumes and d.resumed < d.connections then
      error(("%d of %d sessions were taken up"):format(d.resumed, d.connections), 0)
    end
    return d[r.key]
  end
  row(r)
end

tls { id = "tls-handshake", title = "TLS connection, full handshake, vs openssl s_server",
  key = "cpu_us", connections = 1000, options = "" }
tls { id = "tls-resumed", title = "TLS connection, resumed", key = "cpu_us",
  connections = 1000, options = "--resume 1", resumes = true }
tls { id = "tls-bulk", title = "TLS transfer of 64 MiB, AES-128-GCM", key = "cpu_us_mib",
  connections = 10, options = "--resume 1 --bulk 1" }

-- ---- micro --------------------------------------------------------------------------

-- Both sides are programs that take a count and print ns=, bytes= or rss=.
local function micro(r)
  r.key, r.unit = r.key or "ns", r.unit or "ns"
  r.alone = not r.commands.reference
  function r.sample(side, scale)
    local n = math.tointeger(math.max(r.count * scale, r.smallest or 0) // 1)
    local result = measure.program(cores[1],
      ("%s %d %s"):format(r.commands[side], n, r.argument or ""))
    if result.late then error("noon came before all were asleep", 0) end
    return result[r.key] / (r.divisor or 1)
  end
  row(r)
end

local function bare(mode) return build .. "/bench/switch_lua " .. mode end
local function task(mode) return lull .. " bench/micro.lua " .. mode end
local function core(mode) return build .. "/bench/core_lull " .. mode end
local function heap(mode) return build .. "/bench/timers " .. mode end

micro { id = "switch", title = "task switch, sleep(0), vs bare coroutines", count = 5e6,
  ratio = 1.15, commands = { reference = bare "switch", lull = task "switch" } }
micro { id = "yield", title = "task switch, coroutine.yield()", count = 5e6,
  commands = { reference = bare "switch", lull = task "yield" } }
micro { id = "nested", title = "await through one nested coroutine", count = 3e6,
  most = 100, commands = { reference = bare "switch", lull = task "nested" } }
micro { id = "resume", title = "coroutine.resume in a task, vs stock", count = 3e6,
  ratio = 1.10,
  commands = { reference = bare "run bench/micro.lua resume", lull = task "resume" } }
micro { id = "resume-plain", title = "coroutine.resume, lull --plain vs lua5.4",
  count = 3e6, ratio = 1.10, commands = { reference = "lua5.4 bench/micro.lua resume",
    lull = lull .. " --plain bench/micro.lua resume" } }
micro { id = "spawn-recycled", title = "spawn + finish, recycled thread", count = 2e6,
  most = 180, commands = { reference = bare "respawn", lull = task "respawn" } }
micro { id = "spawn-new", title = "spawn + finish, new thread", count = 1e6,
  most = 400, commands = { reference = bare "spawn", lull = task "spawn" } }
micro { id = "spawn-burst", title = "spawn + finish, 20 000 at once, cold", count = 2e4,
  smallest = 2e4, commands = { reference = bare "burst", lull = task "burst" } }
micro { id = "sleeper-bytes", title = "sleeping task, Lua + C", count = 1e5, rounds = 3,
  most = 1350, key = "bytes", unit = "bytes",
  commands = { reference = bare "memory", lull = build .. "/bench/memory_lull" } }
micro { id = "sleeper-rss", title = "sleeping task, RSS", count = 1e5, rounds = 3,
  most = 1500, key = "rss", unit = "bytes",
  commands = { reference = bare "memory", lull = task "memory" } }
micro { id = "timer-start", title = "timer start + stop", count = 2e7, most = 12,
  commands = { reference = heap "start", lull = core "start" } }
micro { id = "timer-restart", title = "timer restart, random, of 1e6 live", count = 3e6,
  most = 120, commands = { reference = heap "restart", lull = core "restart" } }
micro { id = "future", title = "future made + set + read", count = 2e6, most = 130,
  commands = { lull = task "future" } }
micro { id = "future-trip", title = "future round trip between two tasks", count = 2e6,
  most = 260, commands = { reference = bare "trip", lull = task "trip" } }
micro { id = "future-pingpong", title = "there and back over two futures", count = 1e6,
  commands = { reference = bare "trip", lull = task "pingpong" } }
micro { id = "queue", title = "queue hand-off between two tasks", count = 2e6,
  commands = { reference = bare "queue", lull = task "queue" } }
micro { id = "lock", title = "uncontended lock, acquired and closed", count = 1e6,
  commands = { reference = bare "switch", lull = task "lock" } }
micro { id = "group", title = "child of a group of 1000, spawned and joined", count = 1e6,
  smallest = 1e4, commands = { reference = bare "respawn", lull = task "group" } }
micro { id = "timeout", title = "timeout around a call", count = 1e6,
  commands = { lull = task "timeout" } }
micro { id = "thread-call", title = "thread.call of an empty function", count = 5e3,
  unit = "ns wall", commands = { reference = build .. "/bench/threads call",
    lull = task "call" } }
micro { id = "thread-message", title = "message to a thread and its answer", count = 5e4,
  unit = "ns wall", commands = { reference = build .. "/bench/threads message",
    lull = task "message" } }
micro { id = "gc-pause", title = "longest collector pause, 10 000 tasks", count = 3e6,
  smallest = 1e6, most = 5, unit = "ms", divisor = 1e6,
  commands = { lull = task "pause" } }
micro { id = "gc-pause-100k", title = "longest collector pause, 100 000 tasks",
  count = 6e6, smallest = 6e6, rounds = 3, unit = "ms", divisor = 1e6, argument = 100000,
  commands = { lull = task "pause" } }
micro { id = "million", title = "a million sleepers, spawned, woken twice, ended",
  count = 1e6, smallest = 1e5, rounds = 1,
  commands = { reference = build .. "/bench/crowd", lull = task "million" } }
micro { id = "million-stall", title = "the loop stands while a million wake",
  count = 1e6, smallest = 1e5, rounds = 1, unit = "ms", key = "stall",
  commands = { lull = task "million" } }

-- ---- instructions -------------------------------------------------------------------

local missing = not measure.have "valgrind" and "valgrind is missing" or nil

row { id = "instructions-switch", title = "task switch, user space",
  unit = "instr.", rounds = 1, missing = missing, most = 500,
  sample = function(side)
    return measure.instructions(side == "lull" and task "switch" or bare "switch", 20000)
  end }
row { id = "instructions-echo", title = "echo 64 B, 64 connections, user space",
  unit = "instr.", rounds = 1, missing = missing,
  sample = function(side)
    return measure.server_instructions(servers[side], "--connections 64", 4000)
  end }
row { id = "instructions-echo-16k", title = "echo 16 KiB, 64 connections, user space",
  unit = "instr.", rounds = 1, missing = missing,
  sample = function(side)
    local options = "--connections 64 --size 16384"
    return measure.server_instructions(servers[side], options, 2000)
  end }

return rows
