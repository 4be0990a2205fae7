-- The echo server with cqueues.  lua5.4 echo_cqueues.lua [port]

local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local server = assert(socket.listen { host = "127.0.0.1", port = tonumber(arg[1]) or 0,
  nodelay = true })
assert(server:listen())
local _, _, port = server:localname()
print("port " .. math.tointeger(port))
io.stdout:flush()

local loop = cqueues.new()

local function echo(client)
  client:onerror(function(_, _, code) return code end)
  client:setmode("bn", "bn")
  client:setvbuf("no", 65536)
  while true do
    local data = client:read(-65536)
    if not data or not client:write(data) then break end
  end
  client:close()
end

loop:wrap(function()
  for client in server:clients() do
    client:setvbuf("full", 65536)
    loop:wrap(echo, client)
  end
end)
assert(loop:loop())
