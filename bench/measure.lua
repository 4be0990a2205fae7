-- How one sample is taken: programs started on a chosen core, their line of key=value
-- read, servers begun and ended around a load.  Knows nothing of rows and of tables.

local M = {}

M.build = assert(os.getenv("BENCH_BUILD"), "start this through bench/run")

-- The processors that we may use: the server gets the first, the load the second.
local function allowed()
  local list = {}
  for line in io.lines("/proc/self/status") do
    local ranges = line:match("^Cpus_allowed_list:%s*(.*)")
    for first, last in (ranges or ""):gmatch("(%d+)%-?(%d*)") do
      for n = first, tonumber(last) or first do list[#list + 1] = math.tointeger(n) end
    end
  end
  return list
end

M.cores = allowed()

local DEATH <const> = "setpriv --pdeathsig KILL "

-- Everything runs with all the descriptors it may have, on one core, and dies with us.
local function placed(core, command)
  return ("ulimit -n $(ulimit -Hn); exec %staskset -c %d %s"):format(DEATH, core, command)
end

M.patience = 600 -- seconds that a program may take

-- The same for what is to end by itself, and is killed if it does not.
local function limited(core, command)
  return placed(core, ("timeout -s KILL %d %s%s"):format(M.patience, DEATH, command))
end

local function parse(line)
  local values = {}
  for key, value in line:gmatch("(%w[%w_]*)=(%S+)") do
    values[key] = tonumber(value) or value
  end
  return values
end

-- Runs a program to its end; returns what its last line says.
function M.program(core, command)
  local pipe = assert(io.popen(limited(core, command)))
  local last
  for line in pipe:lines() do last = line end
  if not pipe:close() or not last then
    error(("failed: %s\n%s"):format(command, last or ""), 0)
  end
  return parse(last)
end

-- Runs fn(port, pid) while a server is up that prints "port N" when it is ready.
function M.with_server(command, fn)
  local pipe = assert(io.popen("echo $$; " .. placed(M.cores[1], command)))
  local pid = pipe:read("n")
  local port = pid and pipe:read("l") and (pipe:read("l") or ""):match("^port (%d+)")
  local ok, result = false, "the server did not start: " .. command
  if port then ok, result = pcall(fn, port, pid) end
  if pid then os.execute(("kill %d 2>/dev/null"):format(pid)) end
  pipe:close()
  if not ok then error(result, 0) end
  return result
end

-- One run of the load (or of another program like it) against a fresh server.
function M.load(server, core, options, program)
  return M.with_server(server, function(port, pid)
    return M.program(core, ("%s/bench/%s --port %s --pid %d %s")
      :format(M.build, program or "load", port, pid, options))
  end)
end

-- Instructions executed in user space, counted by valgrind: the same on a busy machine.
local function counted(command)
  return "valgrind --tool=callgrind --callgrind-out-file=/dev/null " .. command .. " 2>&1"
end

local function collected(text)
  return tonumber(text:match("Collected : (%d+)")) or error("no count:\n" .. text, 0)
end

-- Instructions per operation: of 2n operations, less those of n and of starting up.
function M.instructions(command, n)
  local function count(operations)
    local pipe = assert(io.popen(counted(command .. " " .. operations)))
    local text = pipe:read("a")
    pipe:close()
    return collected(text)
  end
  return (count(2 * n) - count(n)) / n
end

-- The same for a request to a server.
function M.server_instructions(server, options, n)
  local function count(requests)
    local pipe = assert(io.popen("echo $$; exec " .. counted(server)))
    local pid, port = pipe:read("n"), nil
    for line in pipe:lines() do
      port = line:match("^port (%d+)")
      if port then break end
    end
    if not port then error("the server did not start: " .. server, 0) end
    local load = ("%s/bench/load --port %s --requests %d %s")
      :format(M.build, port, requests, options)
    local ok, message = pcall(M.program, M.cores[#M.cores], load)
    os.execute(("kill %d 2>/dev/null"):format(pid))
    local text = pipe:read("a")
    pipe:close()
    return ok and collected(text) or error(message, 0)
  end
  return (count(2 * n) - count(n)) / n
end

-- Why what takes so many cores and connections cannot be measured here, or nothing.
function M.obstacle(cores, connections)
  local descriptors = tonumber(M.line "ulimit -Hn") or math.huge
  if #M.cores < cores then return "there is one core only" end
  if connections + 64 > descriptors then
    return ("a process may have %d descriptors here"):format(descriptors)
  end
end

-- Has a process more descriptors if root asks for it?  Where that is allowed all that we
-- start has them.  Returns how many.
function M.raise_descriptors()
  local limit = "ulimit -Hn 1000000"
  if os.execute("(" .. limit .. ") 2>/dev/null") then
    local plain = placed
    placed = function(core, command) return limit .. "; " .. plain(core, command) end
    return 1000000
  end
  return tonumber(M.line "ulimit -Hn") or 1 << 20
end

-- Bytes that may be used without taking them from anybody.
function M.memory_available()
  local line = M.line "grep ^MemAvailable: /proc/meminfo"
  return tonumber(line:match "%d+") * 1024
end

-- What was typed, for the last lines of a table.
function M.command(mode)
  return ("command: %s%s%s"):format(mode, #arg > 0 and " " or "", table.concat(arg, " "))
end

-- Begins a file of figures, a Lua table, with what it says of where they are from.
function M.save(file, command, more)
  local facts = { date = os.date "%Y-%m-%d", command = command,
    machine = M.line "sed -n 's/^model name[^:]*: //p' /proc/cpuinfo",
    cores = tostring(#M.cores), kernel = M.line "uname -r | cut -d. -f1-2",
    lull = M.line(M.build .. "/lull -v") }
  for key, value in pairs(more) do facts[key] = value end
  local out = assert(io.open(file, "w"))
  out:write "return {\n"
  for key, value in pairs(facts) do out:write(("  %s = %q,\n"):format(key, value)) end
  return out
end

function M.succeeds(command)
  return os.execute(("(%s) >/dev/null 2>&1"):format(command)) == true
end

function M.have(program) return M.succeeds("command -v " .. program) end

function M.line(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local line = pipe:read("l")
  pipe:close()
  return line or "?"
end

return M
