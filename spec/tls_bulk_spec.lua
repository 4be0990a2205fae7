-- Much through TLS: checksums equal, memory bounded.  In a process of its own, so that
-- what both ends need together can be told.
local helper = require "spec.helper"

local sanitized = os.getenv "ASAN_OPTIONS" or (os.getenv "LULL_BUILD" or ""):find "asan"
local MEGABYTES = sanitized and 32 or 256
local RSS = 60000 -- kB at the peak

local SCRIPT = [[
local lull, net = require "lull", require "lull.net"
local pem, megabytes = ...
megabytes = math.tointeger(tonumber(megabytes))

local function peak()
  for line in io.lines "/proc/self/status" do
    local kb = line:match "^VmHWM:%s+(%d+)"
    if kb then return math.tointeger(kb) end
  end
end

local piece = {}
for i = 1, 1 << 16 do piece[i] = ("%16d"):format(i * 2654435761 % (1 << 40)) end
piece = table.concat(piece)

-- Some of the bytes of each block, in their order.
local function fold(sum, data)
  for i = 1, #data - 3, 1021 do
    sum = (sum * 31 + (("<I4"):unpack(data, i))) % 9007199254740881
  end
  return sum
end

local listener = assert(net.listen("127.0.0.1", 0, {tls = {cert_file = pem}}))
local _, port = listener:local_address()
local server = lull.spawn(function()
  local stream <close> = assert(listener:accept())
  local bytes, sum = 0, 0
  while true do
    local data = lull.check(stream:read(1 << 20))
    if not data then break end
    bytes, sum = bytes + #data, fold(sum, data)
  end
  stream:write(("%d %d\n"):format(bytes, sum))
end)
local client <close> = assert(net.connect("127.0.0.1", port, {tls = {ca_file = pem}}))
local sum = 0
for _ = 1, megabytes do
  assert(client:write(piece))
  sum = fold(sum, piece)
end
client:shutdown "write"
print(client:read() == ("%d %d"):format(megabytes << 20, sum), peak())
server:await()
]]

describe("much through TLS", function()
  it("arrives whole, in little memory", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("bulk.lua", SCRIPT)
    local out, err = helper.execute {
      helper.interpreter(), script, "examples/localhost.pem", tostring(MEGABYTES),
    }
    assert.equal("", err)
    local equal, rss = out:match "^(%a+)\t(%d+)\n$"
    assert.equal("true", equal, out)
    io.write(("%d MiB through TLS, peak RSS %d kB\n"):format(MEGABYTES, rss))
    assert.is_true(tonumber(rss) < RSS or sanitized ~= nil, rss)
  end)
end)
