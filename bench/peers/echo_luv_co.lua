-- The echo server with luv (libuv for Lua), in coroutines, as one would write them around
-- its callbacks.  lua5.4 echo_luv_co.lua [port]

local uv = require "luv"

local function read(client)
  local co = coroutine.running()
  client:read_start(function(err, data)
    client:read_stop()
    coroutine.resume(co, not err and data or nil)
  end)
  return coroutine.yield()
end

local function write(client, data)
  local co = coroutine.running()
  client:write(data, function(err) coroutine.resume(co, not err) end)
  return coroutine.yield()
end

local function echo(client)
  while true do
    local data = read(client)
    if not data or not write(client, data) then break end
  end
  client:close()
end

local server = uv.new_tcp()
assert(server:bind("127.0.0.1", tonumber(arg[1]) or 0))
assert(server:listen(4096, function(err)
  assert(not err, err)
  local client = uv.new_tcp()
  server:accept(client)
  client:nodelay(true)
  coroutine.wrap(echo)(client)
end))
print("port " .. server:getsockname().port)
io.stdout:flush()
uv.run()
