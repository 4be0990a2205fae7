-- https_server.lua: a small web server, HTTP by hand over a stream under TLS.
--
--   ./run examples/https_server.lua [host [port [certificate]]]
--                                   (default: 127.0.0.1 8443 examples/localhost.pem)
--   curl --cacert examples/localhost.pem https://localhost:8443/who
--
-- Only `tls =` tells it from a server without: serve does the handshake before it calls
-- the handler, ten seconds at most, and a stream under TLS is a stream.

local lull = require "lull"
local net = require "lull.net"

local MAX_HEADERS = 100

local pages = {
  ["/"] = function() return "lull over TLS\n" end,
  ["/who"] = function(stream)
    local info = stream:tls_info()
    return ("%s, %s, asked for as %s\n"):format(info.version, info.alpn or "no protocol",
                                                info.server_name or "a number")
  end,
  ["/slow"] = function()
    lull.sleep(0.2)
    return "slow, but nobody waits for it but you\n"
  end,
}

-- Method and path of the next request, and whether another may follow; nil: no more.
local function read_request(stream)
  local line = lull.check(stream:read())
  if not line then return nil end
  local method, path, version = line:match "^(%u+) (%S+) HTTP/1%.(%d)$"
  local close, length, count = version == "0", 0, 0
  for header in stream:lines() do
    if header == "" then break end
    count = count + 1
    assert(count <= MAX_HEADERS, "EMSGSIZE: too many headers")
    local name, value = header:lower():match "^([^:]+):%s*(.-)%s*$"
    if name == "content-length" then length = math.tointeger(value) or 0 end
    if name == "connection" and value == "close" then close = true end
  end
  if length > 0 then assert(stream:read_exactly(math.min(length, 1 << 20))) end
  return method or "BAD", path, not close and method ~= nil
end

local function answer(stream, status, body, more)
  stream:write("HTTP/1.1 ", status, "\r\nContent-Type: text/plain\r\nContent-Length: ",
               #body, more and "" or "\r\nConnection: close", "\r\n\r\n", body)
end

local function handle(stream)
  stream:settimeout(30) -- for each read and write
  for method, path, more in read_request, stream do
    local page = pages[path]
    if method == "BAD" then
      answer(stream, "400 Bad Request", "what?\n", false)
    elseif page and method == "GET" then
      answer(stream, "200 OK", page(stream), more)
    else
      answer(stream, "404 Not Found", "there is no such page\n", more)
    end
    if not more then return end
  end
end

local function listen(host, port, certificate)
  return net.listen(host, port, {tls = {cert_file = certificate, alpn = {"http/1.1"}}})
end

if arg and arg[0] and arg[0]:find "https_server" then
  local listener <close> = assert(listen(arg[1] or "127.0.0.1", tonumber(arg[2] or 8443),
                                         arg[3] or "examples/localhost.pem"))
  print(("https server listens on %s port %d"):format(listener:local_address()))
  assert(listener:serve(handle))
end

return {listen = listen, handle = handle}
