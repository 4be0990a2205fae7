-- Python's asyncio as a foreign peer, plain and under TLS, in direct and callback style.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local net = require "lull.net"
local peers = require "spec.peers"
local process = require "lull.process"
local protocol = require "lull.protocol"
local certificates

local function on(fn)
  return function() return run(fn, {real = true}) end
end

local BLOB = ""
for i = 0, 255 do BLOB = BLOB .. string.char(i) end
BLOB = BLOB:rep(8192)

-- What the client of Python expects: an echo that shouts back what begins with a "!".
local direct = {}

function direct.listen(opts)
  return peers.listen(function(stream)
    repeat
      local data = lull.check(stream:read_some())
      if data then stream:write(data:sub(1, 1) == "!" and data:upper() or data) end
    until not data or data == "!bye\n"
  end, opts)
end

local callbacks = {}

function callbacks.listen(opts)
  local listener = assert(protocol.listen(function()
    local p = {buffer = ""}
    function p:connection_made(transport) self.transport = transport end
    function p:data_received(data)
      if data:sub(1, 1) ~= "!" then return self.transport:write(data) end
      self.transport:write(data:upper())
      if data == "!bye\n" then self.transport:close() end
    end
    function p:pause_writing() self.transport:pause_reading() end
    function p:resume_writing() self.transport:resume_reading() end
    return p
  end, "127.0.0.1", 0, opts))
  local _, port = listener:local_address()
  return math.tointeger(port), listener
end

-- The server of Python, and its port.
local function start(...)
  local server = assert(process.spawn({"python3", "spec/peers/server.py", ...},
    {stdout = "pipe"}))
  return server, math.tointeger(tonumber(server.stdout:read()))
end

describe("asyncio", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  for name, style in pairs {["direct style"] = direct, callbacks = callbacks} do
    it("is a client of ours, in " .. name, on(function()
      local port, _ <close> = style.listen()
      assert.equal("well\n", peers.run {"python3", "spec/peers/client.py",
        tostring(port)})
    end))

    it("is a client of ours under TLS, in " .. name, on(function()
      local port, _ <close> = style.listen {tls = certificates "server"}
      assert.equal("well\n", peers.run {"python3", "spec/peers/client.py",
        tostring(port), certificates.ca})
    end))
  end

  for _, secure in ipairs {false, true} do
    local under = secure and " under TLS" or ""

    local function connect(command)
      local words = {}
      if secure then
        words = {certificates.path "server.pem", certificates.path "server.key"}
      end
      local server, port = start(table.unpack(words))
      local opts = secure and {tls = {ca_file = certificates.ca}} or nil
      return server, command, port, opts
    end

    it("is a server for streams" .. under, on(function()
      local server <close>, _, port, opts = connect()
      local stream <close> = assert(net.connect("localhost", port, opts))
      stream:write("echo\n", "one\n", BLOB)
      assert.equal("one", stream:read())
      assert.is_true(stream:read(#BLOB) == BLOB)
      if not secure then -- asyncio knows no half-closed connections under TLS
        stream:write "the rest"
        stream:shutdown "write"
        assert.equal("the rest", stream:read "a")
        local counted <close> = assert(net.connect("localhost", port))
        counted:write("count\n", BLOB)
        counted:shutdown "write"
        assert.equal(#BLOB, counted:read "n")
      end
      local flooded <close> = assert(net.connect("localhost", port, opts))
      flooded:write "flood\n"
      assert.is_true(flooded:read "a" == BLOB)
      assert.is_truthy(server)
    end))

    it("resets, which is no end" .. under, on(function()
      local server <close>, _, port, opts = connect()
      local stream <close> = assert(net.connect("localhost", port, opts))
      stream:write "reset\n"
      assert.equal("before", stream:read())
      stream:write "now\n"
      local text, _, code = stream:read()
      assert.is_nil(text)
      assert.equal("ECONNRESET", code)
      assert.is_truthy(server)
    end))

    it("is a server for protocols" .. under, on(function()
      local server <close>, _, port, opts = connect()
      local p = {parts = {}, size = 0, lost = lull.future()}
      function p:connection_made(transport)
        self.transport = transport
        transport:write("echo\n", BLOB, BLOB)
      end
      function p:data_received(data)
        table.insert(self.parts, data)
        self.size = self.size + #data
        if self.size == 2 * #BLOB then self.transport:close() end
      end
      function p:connection_lost(err) self.lost:set_result(err) end
      assert(protocol.connect(function() return p end, "localhost", port, opts))
      assert.is_nil(p.lost:await())
      assert.is_true(table.concat(p.parts) == BLOB .. BLOB)
      assert.is_truthy(server)
    end))
  end
end)
