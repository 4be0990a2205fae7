-- The server of the relay row: what comes from a client goes back to it, without strings.
-- lull bench/relay.lua [port]     prints "port N" and serves until killed

local net = require "lull.net"

local listener = assert(net.listen("127.0.0.1", tonumber(arg[1]) or 0))
local _, port = listener:local_address()
print("port " .. port)
io.stdout:flush()
listener:serve(function(stream) stream:relay(stream) end, { max_connections = 100000 })
