-- What is agreed on in a handshake: versions, ciphers, protocols, sessions; how long it
-- may take, and whom it keeps waiting.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local core = require "lull.core"
local net = require "lull.net"
local certificates

local failure, refused = cast.failure, cast.refused

local real = {real = true}

local function echo(stream)
  for line in stream:lines() do stream:write(line, "\n") end
end

local function serving(tls, handler, opts)
  local errors, seen = {}, {}
  opts = opts or {}
  opts.on_error = function(err, stream)
    errors[#errors + 1] = err
    errors.stream = stream
  end
  local listener = assert(net.listen("127.0.0.1", 0, {tls = certificates("server", tls)}))
  local task = lull.spawn(listener.serve, listener, function(stream)
    seen[#seen + 1] = stream:tls_info()
    return (handler or echo)(stream)
  end, opts)
  local _, port = listener:local_address()
  return port, helper.closer(function()
    listener:close()
    task:close()
  end), seen, errors
end

local function connect(port, more, opts)
  opts = opts or {}
  opts.tls = {ca_file = certificates.ca}
  for key, value in pairs(more or {}) do opts.tls[key] = value end
  return net.connect("localhost", port, opts)
end

-- Speaks to the server, which is also what brings tickets, and closes.
local function visit(port, more)
  local stream <close> = assert(connect(port, more))
  stream:write "hello\n"
  assert.equal("hello", stream:read())
  return stream:tls_info()
end

describe("a TLS handshake", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  it("works for every backend, over TCP and Unix sockets", function()
    for _, backend in helper.backends() do
      run(function()
        local port, _ <close> = serving()
        assert.equal("TLSv1.3", visit(port).version)
        local name = "\0lull-tls-" .. backend .. math.random(1 << 60)
        local listener <close> = assert(net.listen_unix(name, {
          tls = certificates "server",
        }))
        local client = lull.spawn(net.connect_unix, name, {tls = {
          ca_file = certificates.ca, server_name = "localhost",
        }})
        local stream = assert(listener:accept())
        stream:write "hello\n"
        assert.equal("hello", assert(client:await()):read())
      end, {real = true, selector = backend})
    end
  end)

  it("agrees on a version", function()
    run(function()
      local port, _ <close>, seen, errors = serving {max_version = "1.2"}
      local info = visit(port)
      assert.equal("TLSv1.2", info.version)
      assert.equal(info.cipher, seen[1].cipher)
      refused("alert protocol version", connect(port, {min_version = "1.3"}))
      assert.matches("^ETLS: unsupported protocol", errors[1])
      local newer, _ <close> = serving {min_version = "1.3"}
      assert.equal("TLSv1.3", visit(newer).version)
      refused("alert protocol version", connect(newer, {max_version = "1.2"}))
    end, real)
  end)

  it("agrees on a cipher", function()
    run(function()
      local port, _ <close> = serving {
        ciphers = "TLS_CHACHA20_POLY1305_SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
      }
      assert.equal("TLS_CHACHA20_POLY1305_SHA256", visit(port).cipher)
      local old = visit(port, {max_version = "1.2"})
      assert.equal("ECDHE-ECDSA-AES256-GCM-SHA384", old.cipher)
      refused("alert handshake failure", connect(port, {
        max_version = "1.2", ciphers = "ECDHE-ECDSA-CHACHA20-POLY1305",
      }))
    end, real)
  end)

  it("agrees on a protocol, in the server's order", function()
    run(function()
      local port, _ <close>, seen = serving {alpn = {"b", "a"}}
      assert.equal("b", visit(port, {alpn = {"a", "b", "c"}}).alpn)
      assert.equal("a", visit(port, {alpn = {"a", "c"}}).alpn)
      assert.is_nil(visit(port).alpn)
      assert.same({"b", "a"}, {seen[1].alpn, seen[2].alpn})
      refused("alert no application protocol", connect(port, {alpn = {"c"}}))
      local indifferent, _ <close> = serving()
      assert.is_nil(visit(indifferent, {alpn = {"a"}}).alpn)
    end, real)
  end)

  describe("resumes a session", function()
    it("of the same host, in either version", function()
      for _, version in ipairs {"1.2", "1.3"} do
        run(function()
          local port, _ <close>, seen = serving {max_version = version}
          for i = 1, 4 do
            local info = visit(port)
            assert.equal(i > 1, info.resumed)
            assert.equal(i > 1, seen[i].resumed)
            assert.is_true(info.verified)
            assert.is_string(info.peer_certificate)
            assert.equal("localhost", info.server_name)
            assert.equal("localhost", seen[i].server_name)
          end
        end, real)
      end
    end)

    it("of a client who has shown his certificate", function()
      run(function()
        local port, _ <close>, seen = serving {verify = true, ca_file = certificates.ca}
        for i = 1, 3 do
          assert.equal(i > 1, visit(port, certificates "client").resumed)
          assert.is_true(seen[i].verified)
          assert.is_string(seen[i].peer_certificate)
        end
        -- not for somebody else
        assert.is_nil(assert(connect(port)):read())
      end, real)
    end)

    it("for nobody who asked for something else", function()
      run(function()
        local port, _ <close> = serving()
        local other, _ <close> = serving()
        visit(port)
        assert.is_false(visit(other).resumed)
        assert.is_false(visit(port, {server_name = "a.wild.example"}).resumed)
        assert.is_false(visit(port, {verify = false}).resumed)
        assert.is_false(visit(port, {alpn = {"x"}}).resumed)
        assert.is_true(visit(port).resumed)
        assert.is_true(visit(port, {verify = false}).resumed)
      end, real)
    end)

    it("for many at once, each ticket once", function()
      run(function()
        local port, _ <close>, seen = serving()
        visit(port)
        local visits = {}
        for i = 1, 20 do visits[i] = function() return visit(port) end end
        local resumed = 0
        for _, info in ipairs(lull.gather(visits)) do
          resumed = resumed + (info.resumed and 1 or 0)
        end
        assert.is_true(resumed >= 2 and resumed < 20, resumed)
        assert.equal(21, #seen)
      end, real)
    end)

    it("for so many hosts that old ones are forgotten", function()
      run(function()
        local port, _ <close> = serving {max_version = "1.2"}
        for i = 1, 300 do visit(port, {server_name = i .. ".wild.example"}) end
        assert.is_true(visit(port, {server_name = "300.wild.example"}).resumed)
        assert.is_false(visit(port, {server_name = "1.wild.example"}).resumed)
      end, real)
    end)
  end)

  describe("has its time", function()
    it("within that of connect", function()
      run(function()
        local listener <close> = assert(net.listen("127.0.0.1", 0)) -- says nothing
        local _, port = listener:local_address()
        helper.collect()
        local before = core.descriptors()
        local code, message = failure(connect(port, nil, {timeout = 0.05}))
        assert.equal("ETIMEDOUT", code)
        assert.matches("%(127%.0%.0%.1:" .. port .. "%)$", message)
        helper.collect()
        local left = 0
        for _ in pairs(core.descriptors()) do left = left + 1 end
        for _ in pairs(before) do left = left - 1 end
        assert.is_true(left <= 0)
      end, real)
    end)

    it("of ten seconds in serve", function()
      run(function()
        local name = "\0lull-tls-patience" .. math.random(1 << 60)
        local listener <close> = assert(net.listen_unix(name, {
          tls = certificates "server",
        }))
        local failures = {}
        local server <close> = lull.spawn(listener.serve, listener, error, {
          on_error = function(err, stream) failures[#failures + 1] = {err, stream} end,
        })
        local client = assert(net.connect_unix(name, {timeout = false}))
        local start = lull.now()
        assert.is_nil(client:read())
        assert.equal(10, lull.now() - start)
        assert.matches("^ETIMEDOUT: ", failures[1][1])
        assert.matches("^stream", tostring(failures[1][2]))
        assert.is_false(server:done())
      end)
    end)

    it("of handshake_timeout seconds, where that is given", function()
      run(function()
        local port, _ <close>, _, errors = serving(nil, nil, {handshake_timeout = 0.02})
        local silent <close> = assert(net.connect("127.0.0.1", port))
        assert.is_nil(silent:read())
        assert.matches("^ETIMEDOUT: ", errors[1])
        assert.has_error(function()
          assert(net.listen("127.0.0.1", 0)):serve(echo, {handshake_timeout = 0})
        end)
      end, real)
    end)

    it("and takes none of the handler's", function()
      run(function()
        local port, _ <close> = serving(nil, function(stream)
          lull.sleep(100)
          echo(stream)
        end, {handshake_timeout = 50})
        local stream <close> = assert(connect(port))
        lull.sleep(200)
        stream:write "hello\n"
        assert.equal("hello", stream:read())
      end, {guard = false})
    end)
  end)

  it("that does not come holds up nobody", function()
    run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0, {
        tls = certificates "server",
      }))
      local _, port = listener:local_address()
      local silent <close> = assert(net.connect("127.0.0.1", port))
      local first <close> = assert(listener:accept())
      assert.is_nil(first:tls_info())
      local client = lull.spawn(connect, port)
      local second <close> = assert(listener:accept())
      second:write "hello\n"
      assert.equal("hello", assert(client:await()):read())
      assert.equal("127.0.0.1", (silent:peer()))
    end, real)
  end)

  it("that fails is told to serve's on_error, and else to nobody", function()
    local reports = {}
    run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0, {
        tls = certificates "server",
      }))
      local _, port = listener:local_address()
      local server <close> = lull.spawn(listener.serve, listener, echo)
      local stranger <close> = assert(net.connect("127.0.0.1", port))
      stranger:write "GET / HTTP/1.0\r\n\r\n"
      stranger:read()
      refused("verify failed", net.connect("127.0.0.1", port, {tls = true}))
      visit(port)
      assert.is_false(server:done())
    end, {real = true, reports = reports})
    assert.same({}, reports)
  end)

  it("leaves nothing when its connect is cancelled", function()
    run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      local task = lull.spawn(connect, port)
      local server <close> = assert(listener:accept())
      assert.matches("^\x16\x03\x01", server:read_some())
      task:cancel()
      assert.is_false(pcall(task.await, task))
      assert.is_nil(server:read())
    end, real)
  end)

  it("is not needed for starttls to say who it was", function()
    run(function()
      local port, _ <close> = serving()
      local plain <close> = assert(net.connect("127.0.0.1", port))
      local stream = assert(plain:starttls {
        ca_file = certificates.ca, server_name = "localhost",
      })
      assert.equal(plain, stream)
      stream:write "hello\n"
      assert.equal("hello", stream:read())
      assert.is_true(stream:tls_info().verified)
      assert.matches("127%.0%.0%.1:" .. port, tostring(stream))
    end, real)
  end)

  it("can be done by a server that connects", function()
    run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      local tls = certificates("server", {server = true})
      local task = lull.spawn(net.connect, "127.0.0.1", port, {tls = tls})
      local client <close> = assert(listener:accept())
      assert(client:starttls {ca_file = certificates.ca, server_name = "127.0.0.1"})
      local server <close> = assert(task:await())
      server:write "hello\n"
      assert.equal("hello", client:read())
    end, real)
  end)
end)
