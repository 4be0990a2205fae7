-- The echo server of the echo rows, as a user of lull would write it.
-- lull bench/echo.lua [port]      prints "port N" and serves until killed

local net = require "lull.net"

local function echo(stream)
  while true do
    local data = stream:read_some()
    if not data then return end
    stream:write(data)
  end
end

local listener = assert(net.listen("127.0.0.1", tonumber(arg[1]) or 0))
local _, port = listener:local_address()
print("port " .. port)
io.stdout:flush()
listener:serve(echo, { max_connections = 1000000 })
