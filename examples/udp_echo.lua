-- udp_echo.lua: datagrams there and back, some of which get lost.
--
--   ./run examples/udp_echo.lua
--
-- UDP promises nothing, so the client waits a while for each answer, and asks again.  The
-- server drops every third datagram, as a bad network would.

local lull = require "lull"
local net = require "lull.net"

local server = assert(net.udp("127.0.0.1", 0))
local host, port = server:local_address()

local function serve()
  local n = 0
  while true do
    local data, from, from_port = server:recvfrom()
    if not data then return end
    n = n + 1
    if n % 3 ~= 0 then server:sendto(data:upper(), from, from_port) end
  end
end

-- ask(socket, text) -> answer, how many times it was asked
local function ask(socket, text)
  for attempt = 1, 5 do
    assert(socket:send(text))
    local answer = lull.timeout(0.5, socket.recvfrom, socket)
    if answer then return answer, attempt end
  end
  error("nobody answers " .. text)
end

lull.spawn(serve):daemon()
local client <close> = assert(net.udp("127.0.0.1", 0))
assert(client:connect(host, port))
for _, word in ipairs {"one", "two", "three", "four", "five"} do
  local answer, attempts = ask(client, word)
  print(word .. " -> " .. answer .. (attempts > 1 and " (asked again)" or ""))
end
