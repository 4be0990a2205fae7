-- The server of the TLS rows: to who asks for /bulk a file of that name is sent, to all
-- others a line.
-- lull bench/tls.lua DIRECTORY     prints "port N" and serves until killed

local net = require "lull.net"

local folder = assert(arg[1], "where are the certificate and the file?")
local file <close> = assert(io.open(folder .. "/bulk", "rb"))
local bulk = file:read "a"
local OK <const> = "HTTP/1.0 200 ok\r\nContent-type: text/plain\r\n\r\n"

local function serve(stream)
  local request = stream:read()
  repeat local line = stream:read() until not line or line == ""
  stream:write(OK, request:find("/bulk", 1, true) and bulk or "x")
end

local listener = assert(net.listen("127.0.0.1", 0, { tls = {
  cert_file = folder .. "/server.pem", key_file = folder .. "/server.key" } }))
local _, port = listener:local_address()
print("port " .. port)
io.stdout:flush()
listener:serve(serve)
