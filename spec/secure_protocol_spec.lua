-- Protocols and transports under TLS: the same callbacks over other streams.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local net = require "lull.net"
local protocol = require "lull.protocol"
local certificates

local BIG = ("0123456789abcdef"):rep(65536) -- 1 MiB

local function recorder(more)
  local p = {log = {}, data = {}, lost = lull.future()}
  for _, name in ipairs {"connection_made", "data_received", "eof_received",
    "connection_lost", "pause_writing", "resume_writing"} do
    p[name] = function(self, ...)
      if name == "connection_made" then self.t = ... end
      if name == "data_received" then table.insert(self.data, (...)) end
      if name ~= self.log[#self.log] then table.insert(self.log, name) end
      if name == "connection_lost" then self.lost:set_result(...) end
      if more and more[name] then return more[name](self, ...) end
    end
  end
  return p
end

local function listen(factory, opts)
  opts = opts or {}
  opts.tls = certificates("server", opts.tls)
  local listener = assert(protocol.listen(factory, "127.0.0.1", 0, opts))
  local _, port = listener:local_address()
  return listener, port
end

local function trusting()
  return {tls = {ca_file = certificates.ca}}
end

local function connect(p, port)
  return protocol.connect(function() return p end, "localhost", port, trusting())
end

describe("a protocol under TLS", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  local function on(fn)
    return function() return run(fn, {real = true}) end
  end

  it("talks, and knows what it talks over", on(function()
    local server = recorder {
      data_received = function(p, data) p.t:write(data:upper()) end,
    }
    local _ <close>, port = listen(function() return server end)
    local client = recorder {data_received = function(p)
      if table.concat(p.data) == "HELLO" then p.t:close() end
    end}
    local t = assert(connect(client, port))
    assert.is_true(t:get_extra_info "tls".verified)
    assert.matches("^TLSv1", t:get_extra_info "tls".version)
    t:write("hel", "lo")
    assert.is_nil(client.lost:await())
    assert.is_nil(server.lost:await())
    assert.same({"connection_made", "data_received", "connection_lost"}, client.log)
    assert.same({"connection_made", "data_received", "eof_received", "connection_lost"},
      server.log)
    assert.is_nil(t:get_extra_info "tls")
    assert.equal("127.0.0.1", (t:get_extra_info "peername"))
  end))

  it("sends and receives much, with pauses", on(function()
    local server = recorder {
      data_received = function(p, data) p.t:write(data) end,
      pause_writing = function(p) p.t:pause_reading() end,
      resume_writing = function(p) p.t:resume_reading() end,
    }
    local _ <close>, port = listen(function() return server end)
    local size = 0
    local client = recorder {
      data_received = function(p, data)
        size = size + #data
        if size == 4 * #BIG then p.t:close() end
      end,
    }
    local t = assert(connect(client, port))
    for _ = 1, 4 do t:write(BIG) end
    assert.equal("pause_writing", client.log[2])
    assert.is_nil(client.lost:await())
    assert.is_true(table.concat(client.data) == BIG:rep(4))
    server.lost:await()
  end))

  it("closes when all is sent, and half-closes", on(function()
    local server = recorder {eof_received = function(p)
      p.t:write(BIG)
      p.t:close()
      return true
    end}
    local _ <close>, port = listen(function() return server end)
    local client = recorder()
    local t = assert(connect(client, port))
    t:write "question"
    t:write_eof()
    assert.is_nil(client.lost:await())
    assert.equal("question", table.concat(server.data))
    assert.is_true(table.concat(client.data) == BIG)
    assert.equal("eof_received", client.log[#client.log - 1])
    assert.is_nil(server.lost:await())
  end))

  it("is told of an end that was cut short", on(function()
    local server = recorder()
    local _ <close>, port = listen(function() return server end)
    local stream = assert(net.connect("localhost", port, trusting()))
    stream:write "x"
    while not server.data[1] do lull.sleep(0.001) end
    stream:abort()
    local code = lull.code(server.lost:await())
    assert.is_true(code == "ECONNRESET" or code == "ETLS", code)
    assert.equal("connection_lost", server.log[#server.log])
    assert.equal(2, #server.log - 1)
  end))

  it("is not made for one that shakes no hands; nor are others held up", on(function()
    local made = {}
    local listener <close>, port = listen(function()
      made[#made + 1] = recorder {data_received = function(p, data) p.t:write(data) end}
      return made[#made]
    end, {handshake_timeout = 3, max_connections = 3})
    local silent <close> = assert(net.connect("127.0.0.1", port))
    local liar <close> = assert(net.connect("127.0.0.1", port))
    liar:write "GET / HTTP/1.0\r\n\r\n"
    local stream <close> = assert(net.connect("localhost", port, trusting()))
    stream:write "x"
    assert.equal("x", stream:read_some())
    assert.equal(1, #made)
    assert.is_nil((silent:read_some())) -- dropped in time
    liar:read "a"
    local more = {}
    for i = 1, 2 do -- none of them counts any more
      more[i] = assert(net.connect("localhost", port, trusting()))
      more[i]:write "y"
      assert.equal("y", more[i]:read_some())
    end
    for i = 1, 2 do more[i]:close() end
    assert.is_truthy(listener)
  end))

  it("is not made for whom it does not trust", on(function()
    local _ <close>, port = listen(function() error "not called" end)
    local t, message, code = protocol.connect(function() error "not called" end,
      "localhost", port, {tls = true})
    assert.is_nil(t)
    assert.equal("ETLS", code)
    assert.matches("certificate verify failed", message)
  end))

  it("goes where its handshake goes, when everything ends", on(function()
    local loop = lull.new_loop {clock = "virtual"}
    local silent
    loop:run(function()
      local _, port = listen(function() error "not called" end)
      silent = assert(net.connect("127.0.0.1", port))
      lull.sleep(0)
      lull.sleep(0)
    end)
    loop:close()
    silent:close()
  end))
end)
