-- https_client.lua: fetches pages over HTTPS, by hand, several at once.
--
--   ./run examples/https_client.lua [URL ...]
--
-- Without a URL it fetches from examples/https_server.lua, which it starts itself, and
-- shows what is refused: a name that the certificate does not have, a signer whom nobody
-- knows.

local lull = require "lull"
local net = require "lull.net"

-- The body of an answer without "Transfer-Encoding: chunked", and its status.
local function fetch(url, tls)
  local host, port, path = url:match "^https://([^/:]+):?(%d*)(.*)$"
  if not host then return nil, "EINVAL: no https URL (" .. url .. ")", "EINVAL" end
  local stream <close>, message, code = net.connect(host, port == "" and 443 or port, {
    tls = tls or true, timeout = 10,
  })
  if not stream then return nil, message, code end
  stream:settimeout(10)
  path = path == "" and "/" or path
  stream:write("GET ", path, " HTTP/1.0\r\nHost: ", host, "\r\n\r\n")
  local status, length = stream:read(), nil
  if not status then return nil, "EOF: no answer", "EOF" end
  for header in stream:lines() do
    if header == "" then break end
    length = tonumber(header:lower():match "^content%-length:%s*(%d+)") or length
  end
  -- Without a length the end of the stream is that of the body: over TLS it can be told
  -- from a connection that was cut off, which is nil, "ETLS: ... truncated", "ETLS" here.
  local body, why, reason = stream:read(length or "a")
  if not body then return nil, why or "EOF: the body is too short", reason or "EOF" end
  return body, status
end

local function show(url, body, status)
  print(url, body and status or "refused")
  print("  " .. (body and body:match "[^\n]*" or status))
end

local function fetch_all(urls, tls)
  local jobs = {}
  for i, url in ipairs(urls) do jobs[i] = lull.spawn(fetch, url, tls) end
  for i, url in ipairs(urls) do show(url, jobs[i]:await()) end
end

if #arg > 0 and arg[0]:find "https_client" then return fetch_all(arg) end

local CA = "examples/localhost.pem" -- has signed for itself

local web = dofile "examples/https_server.lua"
local listener <close> = assert(web.listen("127.0.0.1", 0, CA))
local _, port = listener:local_address()
local _ <close> = lull.spawn(listener.serve, listener, web.handle)

-- A port that is not the same each time would spoil the output.
local function print_without_port(...)
  print((table.concat({...}, "  "):gsub(":" .. port, ":8443")))
end

local function demonstrate(name, path, tls)
  local url = ("https://%s:%d%s"):format(name, port, path)
  local body, status = fetch(url, tls)
  print_without_port(url, body and status or "refused")
  print_without_port("  ", (body or status):match "[^\n]*")
end

local trusting = {ca_file = CA, alpn = {"http/1.1"}}
for _, path in ipairs {"/", "/who", "/slow", "/nowhere"} do
  demonstrate("localhost", path, trusting)
end
demonstrate("127.0.0.1", "/who", trusting)
demonstrate("localhost", "/", {ca_file = CA, server_name = "example.org"})
demonstrate("localhost", "/")
