-- HTTP by hand: a server that says what it was asked.  serve(stream) answers requests
-- until the connection ends:
--   /big?n      n bytes, their length told before
--   /chunked?n  the same in chunks
--   /until?n    the same, ended by the end of the connection
--   else        method, path, and length and sum of the body
local lull = require "lull"
local peers = require "spec.peers"

local http = {}

-- Its length, and a number that tells whether any byte is missing or out of order.
local function sum(text)
  local n = 0
  for at = 1, #text - 7, 8 do n = (n << 1 | n >> 63) ~ ("<i8"):unpack(text, at) end
  for at = #text // 8 * 8 + 1, #text do n = n * 31 + text:byte(at) end
  return ("%d bytes, %x"):format(#text, n)
end
http.sum = sum

local function read_head(stream)
  local line = stream:read()
  if not line then return nil end
  local request = {headers = {}}
  request.method, request.path = line:match "^(%u+) (%S+) HTTP/1%.[01]$"
  if not request.method then return nil end
  for header in stream:lines() do
    if header == "" then return request end
    local name, value = header:match "^([^:]+):%s*(.-)%s*$"
    request.headers[name:lower()] = value
  end
  return nil
end
http.read_head = read_head

local function read_chunks(stream)
  local parts = {}
  while true do
    local size = tonumber(lull.check(stream:read()):match "^%x+", 16)
    if size == 0 then break end
    parts[#parts + 1] = lull.check(stream:read_exactly(size))
    assert(stream:read() == "")
  end
  assert(stream:read() == "")
  return table.concat(parts)
end

local function read_body(stream, request)
  if request.headers.expect == "100-continue" then
    stream:write "HTTP/1.1 100 Continue\r\n\r\n"
    request.continued = true
  end
  if request.headers["transfer-encoding"] == "chunked" then return read_chunks(stream) end
  local length = tonumber(request.headers["content-length"])
  return length and lull.check(stream:read_exactly(length)) or ""
end

local function answer_chunked(stream, text)
  stream:write "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
  for at = 1, #text, 10000 do
    local part = text:sub(at, at + 9999)
    stream:write(("%x\r\n"):format(#part), part, "\r\n")
  end
  stream:write "0\r\n\r\n"
end

local function answer(stream, request, body)
  local kind, n = request.path:match "^/(%l+)%?(%d+)$"
  local text = n and peers.pattern(tonumber(n))
    or ("%s %s %s\n"):format(request.method, request.path, sum(body))
  if kind == "chunked" then return answer_chunked(stream, text) end
  if kind == "until" then
    stream:write("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", text)
    return true
  end
  local head = ("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"):format(#text)
  stream:write(head, request.method == "HEAD" and "" or text)
end

-- requests: a table that each request is put into.
function http.serve(stream, requests)
  for request in read_head, stream do
    table.insert(requests or {}, request)
    local ends = answer(stream, request, read_body(stream, request))
    if ends or request.headers.connection == "close" then return end
  end
end

return http
