-- The echo server with copas (on luasocket and select).  lua5.1 echo_copas.lua [port]

local copas = require "copas"
local socket = require "socket"

local server = assert(socket.bind("127.0.0.1", tonumber(arg[1]) or 0, 4096))
local _, port = server:getsockname()
print("port " .. port)
io.stdout:flush()

copas.addserver(server, function(client)
  client:setoption("tcp-nodelay", true)
  repeat
    local data, err, part = copas.receivePartial(client, 65536)
    data = data or part
  until err == "closed" or not copas.send(client, data)
  client:close()
end)
copas.loop()
