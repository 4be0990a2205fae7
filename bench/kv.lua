-- bench/run --kv: examples/kv_server.lua beside redis-server, driven by redis-benchmark
-- with 50 connections, a request at a time and sixteen at a time.  Compared is the CPU
-- time of the server, which leaves out how quick the load is.

package.path = "bench/?.lua;" .. package.path
local measure = require "measure"
local format = require "format"

local options = require "options".read { command = "bench/run --kv", requests = 200000,
  rounds = 3, quick = 1, list = false,
  about = "examples/kv_server.lua beside redis-server." }
local REQUESTS <const> = options.quick and 20000 or options.requests
local PORT <const> = 16380

local servers = {
  { "redis-server", ("redis-server --port %d --save '' --appendonly no"):format(PORT) },
  { "lull", ("%s/lull examples/kv_server.lua 127.0.0.1 %d"):format(measure.build, PORT) },
  { "lull, io_uring", ("%s/lull --selector=io_uring examples/kv_server.lua 127.0.0.1 %d")
    :format(measure.build, PORT) },
}

local function shell(command, ...)
  local pipe = assert(io.popen(command:format(...)))
  local text = pipe:read "a"
  pipe:close()
  return text
end

-- CPU time of a process: the 14th and the 15th field, in hundredths of a second.
local function cpu_seconds(pid)
  local f <close> = assert(io.open(("/proc/%d/stat"):format(pid)))
  local n, sum = 2, 0
  for field in f:read "a":match "%)(.*)":gmatch "%S+" do
    n = n + 1
    if n == 14 or n == 15 then sum = sum + tonumber(field) end
  end
  return sum / 100
end

local function start(program)
  local core = measure.cores[1]
  local pid = tonumber(shell("taskset -c %d %s >/dev/null 2>&1 & echo $!", core, program))
  for _ = 1, 200 do
    if shell("redis-cli -p %d ping 2>/dev/null", PORT):find "PONG" then return pid end
    os.execute "sleep 0.05"
  end
  error("the server did not start: " .. program)
end

-- One test: requests per second, CPU µs per request.
local function sample(program, test, pipeline)
  local pid = start(program)
  local began = cpu_seconds(pid)
  local out = shell("taskset -c %d redis-benchmark -p %d -t %s -c 50 -n %d -P %d --csv",
    measure.cores[#measure.cores], PORT, test, REQUESTS, pipeline)
  local used = cpu_seconds(pid) - began
  local command = "kill %d; while kill -0 %d 2>/dev/null; do sleep 0.02; done"
  os.execute(command:format(pid, pid))
  return tonumber(out:match '"%u+","([%d.]+)"'), used / REQUESTS * 1e6
end

local rows = {
  { id = "set", title = "SET, 1 at a time", test = "set", pipeline = 1 },
  { id = "get", title = "GET, 1 at a time", test = "get", pipeline = 1 },
  { id = "set-16", title = "SET, 16 at a time", test = "set", pipeline = 16 },
  { id = "get-16", title = "GET, 16 at a time", test = "get", pipeline = 16 },
}
rows = require "options".choose(rows, options)

if not measure.have "redis-server" or not measure.have "redis-benchmark" then
  print "skipped: redis-server or redis-tools is missing"
  os.exit(0)
end

for _, row in ipairs(rows) do
  local lines, reference = {}, nil
  local paces, costs = {}, {}
  for _ = 1, options.rounds do
    for i, server in ipairs(servers) do
      paces[i], costs[i] = paces[i] or {}, costs[i] or {}
      local pace, cost = sample(server[2], row.test, row.pipeline)
      table.insert(paces[i], pace)
      table.insert(costs[i], cost)
    end
  end
  for i, server in ipairs(servers) do
    local cost = format.median(costs[i])
    reference = reference or cost
    lines[i] = { server[1], format.number(cost), ("%.2f"):format(cost / reference),
      ("%.0f"):format(format.median(paces[i])) }
  end
  format.print_table({ row.title, "µs CPU", "× redis", "requests/s" }, lines)
end
print(measure.command "bench/run --kv")
