-- The echo server with lull's protocols.  lull echo_lull_protocol.lua [port]

local protocol = require "lull.protocol"

local Echo = {}
Echo.__index = Echo

function Echo:connection_made(transport)
  self.transport = transport
end

function Echo:data_received(data)
  self.transport:write(data)
end

local listener = assert(protocol.listen(function()
  return setmetatable({}, Echo)
end, "127.0.0.1", tonumber(arg[1]) or 0, { max_connections = 100000 }))
local _, port = listener:local_address()
print("port " .. port)
io.stdout:flush()
lull.sleep(math.huge)
