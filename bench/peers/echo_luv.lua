-- The echo server with luv (libuv for Lua), in callbacks.  lua5.4 echo_luv.lua [port]

local uv = require "luv"

local server = uv.new_tcp()
assert(server:bind("127.0.0.1", tonumber(arg[1]) or 0))
assert(server:listen(4096, function(err)
  assert(not err, err)
  local client = uv.new_tcp()
  server:accept(client)
  client:nodelay(true)
  client:read_start(function(failure, data)
    if failure or not data then
      client:close()
    elseif client:try_write(data) ~= #data then
      -- What was not taken at once goes to the queue; how much that is try_write told.
      error "the load reads what it is sent"
    end
  end)
end))
print("port " .. server:getsockname().port)
io.stdout:flush()
uv.run()
