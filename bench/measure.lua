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

-- Everything runs with all the descriptors it may have, on one core, and dies with us.
local function placed(core, command)
  return ("ulimit -n $(ulimit -Hn); exec setpriv --pdeathsig KILL taskset -c %d %s")
    :format(core, command)
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
  local pipe = assert(io.popen(placed(core, command)))
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

-- One run of the load against a fresh server.
function M.load(server, core, options)
  return M.with_server(server, function(port, pid)
    return M.program(core, ("%s/bench/load --port %s --pid %d %s")
      :format(M.build, port, pid, options))
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

function M.have(program)
  return os.execute(("command -v %s >/dev/null"):format(program)) == true
end

function M.line(command)
  local pipe = assert(io.popen(command .. " 2>/dev/null"))
  local line = pipe:read("l")
  pipe:close()
  return line or "?"
end

return M
