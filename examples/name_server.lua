-- name_server.lua: a name server in thirty lines, and net.resolve asking it.
--
--   ./run examples/name_server.lua
--
-- A question is a head of twelve bytes, the name as labels with their length before them,
-- and the type: 1 for an IPv4 address, 28 for IPv6.  The answer repeats it, and adds
-- records.  What net.resolve asks whom is told by its options, see docs/names.md.

local lull = require "lull"
local net = require "lull.net"

local zone = {
  ["one.test"] = {"192.0.2.1"}, ["many.test"] = {"192.0.2.2", "192.0.2.3"},
  ["empty.test"] = {},
}

local function parse(packet)
  local labels, at = {}, 13
  repeat
    local label
    label, at = string.unpack("s1", packet, at)
    labels[#labels + 1] = label ~= "" and label or nil
  until label == ""
  local type = string.unpack(">I2", packet, at)
  return table.concat(labels, "."):lower(), type, packet:sub(13, at + 3)
end

local function answer(packet)
  local name, type, question = parse(packet)
  local addresses = zone[name]
  local records = {}
  for _, address in ipairs(type == 1 and addresses or {}) do
    local bytes = string.char(address:match "(%d+)%.(%d+)%.(%d+)%.(%d+)")
    records[#records + 1] = string.pack(">I2 I2 I2 I4 s2", 0xC00C, 1, 1, 60, bytes)
  end
  local flags = addresses and 0x8180 or 0x8183 -- 3: there is no such name
  return packet:sub(1, 2) .. string.pack(">I2 I2 I2 I2 I2", flags, 1, #records, 0, 0) ..
    question .. table.concat(records)
end

local server = assert(net.udp("127.0.0.1", 0))
lull.spawn(function()
  while true do
    local packet, host, port = server:recvfrom()
    if not packet then return end
    local ok, reply = pcall(answer, packet) -- whatever it was that came
    if ok then server:sendto(reply, host, port) end
  end
end):daemon()

local _, port = server:local_address()
for _, name in ipairs {"one.test", "many.test", "empty.test", "gone.test", "no name"} do
  local list, message = net.resolve(name, {servers = {"127.0.0.1:" .. port}})
  print(name .. ":")
  if not list then print("", message) end
  for _, address in ipairs(list or {}) do print("", address.host) end
end
