-- reverse_proxy.lua: passes HTTP requests on to a server behind it.
--
--   ./run examples/reverse_proxy.lua [upstream-host upstream-port [host [port]]]
--                                    (default: 127.0.0.1 8000 127.0.0.1 8080)
--
-- Each connection has one of its own to the server; requests and answers go through one
-- after the other.  Bodies are never in Lua: relay copies them in C, no faster than the
-- slower side takes them.

local lull = require "lull"
local net = require "lull.net"

-- The lines of a head without the last, empty one, and its headers; nil: the end.
local function read_head(stream)
  local lines, headers = {}, {}
  for line in stream:lines() do
    if line == "" and lines[1] then return lines, headers end
    if line ~= "" then lines[#lines + 1] = line end
    local name, value = line:match "^([^:%s]+):%s*(.-)%s*$"
    if name then headers[name:lower()] = value end
    assert(#lines <= 100, "EMSGSIZE: too many headers")
  end
end

local function relay(from, to, n)
  assert(assert(from:relay(to, n)) == n, "EOF: a body ended too early")
end

local function relay_body(from, to, headers, until_end)
  local length = tonumber(headers["content-length"])
  if headers["transfer-encoding"] == "chunked" then
    repeat
      local line = lull.check(from:read "L") or error "EOF: a body ended too early"
      local size = tonumber(line:match "^%x+", 16)
      to:write(line)
      if size > 0 then relay(from, to, size + 2) end
    until size == 0
    repeat -- trailers
      local line = lull.check(from:read "L") or error "EOF: a body ended too early"
      to:write(line)
    until line == "\r\n"
  elseif length then
    relay(from, to, length)
  elseif until_end then
    assert(from:relay(to))
  end
end

local function send_head(to, lines, more)
  to:write(table.concat(lines, "\r\n"), "\r\n", more or "", "\r\n")
end

local function serve(client, host, port)
  local server <close> = net.connect(host, port)
  if not server then return client:write "HTTP/1.1 502 Bad Gateway\r\n\r\n" end
  for request, asked in read_head, client do
    send_head(server, request, ("X-Forwarded-For: %s\r\n"):format(client:peer()))
    local uploading <close> = lull.spawn(relay_body, client, server, asked)
    local answer, told
    repeat
      answer, told = read_head(server)
      if not answer then return end
      send_head(client, answer)
    until not answer[1]:find "^%S+ 1%d%d" -- 100 Continue is no answer yet
    local status = answer[1]:match "^%S+ (%d+)"
    local bare = status == "204" or status == "304" or request[1]:find "^HEAD "
    if not bare then relay_body(server, client, told, true) end
    uploading:await()
    local framed = bare or told["content-length"] or told["transfer-encoding"]
    if not framed or told.connection == "close" then return end
  end
end

local upstream, upstream_port = arg[1] or "127.0.0.1", arg[2] or 8000
local listener <close> = assert(net.listen(arg[3] or "127.0.0.1", arg[4] or 8080))
print(("reverse proxy listens on %s port %d"):format(listener:local_address()))
listener:serve(function(client) serve(client, upstream, upstream_port) end)
