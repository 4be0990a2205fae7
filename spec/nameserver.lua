-- A small name server for specs, in Lua on the loop of the spec, over UDP and TCP on one
-- port of the loopback:
--
--     local server <close> = nameserver.start {["a.test"] = {A = {"192.0.2.1"}}}
--     net.resolve("a.test", {servers = {server.address}})
--
-- A zone maps names to records: A and AAAA are lists of addresses, CNAME is a name, and
-- rcode = "SERVFAIL" an error; a name that is absent does not exist.  In place of the
-- zone fn(query) gives the bytes of the answer, several answers in a list, or nothing;
-- query is {id=, name=, type=, tcp=, question=, packet=, host=, port=}, and what a good
-- server would say is nameserver.reply(query, records).  server.log lists what was asked.
local lull = require "lull"
local net = require "lull.net"

local nameserver = {}

local types = {A = 1, CNAME = 5, AAAA = 28}
local type_names = {[1] = "A", [5] = "CNAME", [28] = "AAAA"}
local rcodes = {FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5}

local QR, TC, RD, RA = 0x8000, 0x0200, 0x0100, 0x0080

-- "a.test" as it is written in packets.
local function encode(name)
  local labels = name:gsub("([^.]+)%.?", function(label)
    return string.pack("s1", label)
  end)
  return labels .. "\0"
end

local function decode(packet, at)
  local labels = {}
  while packet:byte(at) ~= 0 do
    local label
    label, at = string.unpack("s1", packet, at)
    labels[#labels + 1] = label
  end
  return table.concat(labels, "."):lower(), at + 1
end

local function parse(packet, tcp)
  if #packet < 17 then return nil end
  local id = string.unpack(">I2", packet)
  local name, at = decode(packet, 13)
  local kind = string.unpack(">I2", packet, at)
  return {
    id = id, name = name, type = type_names[kind] or kind, tcp = tcp,
    question = packet:sub(13, at + 3), packet = packet,
  }
end

local function address_bytes(text)
  if not text:find(":", 1, true) then
    return string.char(text:match "(%d+)%.(%d+)%.(%d+)%.(%d+)")
  end
  local head, tail = text:match "^(.-)::(.*)$"
  local function words(part)
    local list = {}
    for word in part:gmatch "%x+" do
      list[#list + 1] = string.pack(">I2", tonumber(word, 16))
    end
    return table.concat(list)
  end
  if not head then return words(text) end
  head, tail = words(head), words(tail)
  return head .. ("\0"):rep(16 - #head - #tail) .. tail
end

-- One record of an answer; its name is where the question has its own unless another is
-- given.
function nameserver.record(kind, data, name)
  local bytes = kind == "CNAME" and encode(data) or address_bytes(data)
  return (name and encode(name) or "\xC0\x0C") ..
    string.pack(">I2 I2 I4 s2", types[kind], 1, 60, bytes)
end

-- An answer from its parts: flags and rcode, a list of records.
function nameserver.packet(query, records, flags)
  return string.pack(">I2 I2 I2 I2 I2 I2", query.id, QR | RD | RA | (flags or 0), 1,
    #records, 0, 0) .. query.question .. table.concat(records)
end

-- What the records {A=, AAAA=, CNAME=, rcode=}, or nil, answer to the query.
function nameserver.reply(query, records)
  if not records then return nameserver.packet(query, {}, rcodes.NXDOMAIN) end
  local list = {}
  if records.CNAME then list[1] = nameserver.record("CNAME", records.CNAME) end
  for _, data in ipairs(records[query.type] or {}) do
    list[#list + 1] = nameserver.record(query.type, data, records.CNAME)
  end
  local packet = nameserver.packet(query, list, rcodes[records.rcode])
  if #packet > 512 and not query.tcp then
    return nameserver.packet(query, {}, TC)
  end
  return packet
end

local function answers(server, packet, tcp, host, port)
  local query = parse(packet, tcp)
  if not query then return {} end
  query.host, query.port = host, port
  table.insert(server.log, query)
  local zone = server.zone
  local result
  if type(zone) == "table" then
    result = nameserver.reply(query, zone[query.name])
  else
    result = zone(query)
  end
  return type(result) == "table" and result or {result}
end

local function serve_udp(server, socket)
  while true do
    local packet, host, port = socket:recvfrom()
    if not packet then return end
    lull.spawn(function()
      for _, answer in ipairs(answers(server, packet, false, host, port)) do
        if not server.closed then socket:sendto(answer, host, port) end
      end
    end):daemon()
  end
end

local function serve_tcp(server, stream)
  while true do
    local head = stream:read_exactly(2)
    local packet = head and stream:read_exactly((string.unpack(">I2", head)))
    if not packet then return end
    for _, answer in ipairs(answers(server, packet, true)) do
      stream:write(string.pack(">s2", answer))
    end
  end
end

local Server = {}
Server.__index = Server

function Server:close()
  self.closed = true
  self.socket:close()
  self.listener:close()
  for _, task in ipairs(self.tasks) do task:close() end
end
Server.__close = Server.close

-- How often a name (of a type) was asked for.
function Server:asked(name, kind)
  local n = 0
  for _, query in ipairs(self.log) do
    if query.name == name and (not kind or query.type == kind) then n = n + 1 end
  end
  return n
end

-- The same port for both: one that the system picks for UDP may be taken for TCP.
local function bind(host)
  local listener, message
  for _ = 1, 100 do
    local socket = assert(net.socket(host:find ":" and "inet6" or "inet", "dgram"))
    assert(socket:bind(host, 0))
    local _, port = socket:local_address()
    listener, message = net.listen(host, port)
    if listener then return socket, listener, port end
    socket:close()
  end
  error("no port is free for both: " .. message)
end

function nameserver.start(zone, host)
  host = host or "127.0.0.1"
  local socket, listener, port = bind(host)
  local server = setmetatable({
    zone = zone, log = {}, socket = socket, listener = listener, port = port,
    address = host:find ":" and ("[%s]:%d"):format(host, port) or host .. ":" .. port,
  }, Server)
  server.tasks = {
    lull.spawn(serve_udp, server, socket):daemon(),
    lull.spawn(function()
      listener:serve(function(stream) serve_tcp(server, stream) end)
    end):daemon(),
  }
  return server
end

return nameserver
