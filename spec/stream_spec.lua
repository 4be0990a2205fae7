-- Streams: what they are connected to, how they end, and relays.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local net = require "lull.net"
local core = require "lull.core"
local probe = require "probe"
local failure = cast.failure

-- Two ends of a TCP connection.  When it is full the kernel takes its time, for which a
-- virtual clock does not wait: for much data there is net.pair.
local function tcp(opts)
  local a, b = probe.tcp()
  return core.stream(a, opts), core.stream(b, opts)
end

for _, backend in helper.backends() do
  describe("a stream on " .. backend, function()
    local function on(fn)
      return function() return run(fn, {selector = backend}) end
    end

    it("knows both addresses", on(function()
      local s, peer = tcp()
      local host, port = s:local_address()
      assert.equal("127.0.0.1", host)
      assert.same({host, port}, {peer:peer()})
      assert.same({s:peer()}, {peer:local_address()})
      assert.equal("integer", math.type(port))
      assert.matches("^stream %d+ %(127%.0%.0%.1:" .. port .. " %-> 127%.0%.0%.1:%d+%)$",
                     tostring(s))
      assert.equal("integer", math.type(s:fileno()))
      assert.not_equal(s:fileno(), peer:fileno())
    end))

    it("ends with nil when the peer has closed, with data before", on(function()
      local s, peer = tcp()
      peer:write "last words"
      peer:close()
      assert.equal("last words", s:read_some())
      assert.is_nil(s:read_some())
      assert.is_nil(s:read())
      s:close()
    end))

    it("that is closed with unread data still ends well for the peer", on(function()
      for _, make in ipairs {tcp, net.pair} do
        local s, peer = make()
        peer:write "question\nmore that nobody reads"
        assert.equal("question", s:read())
        peer:write(("x"):rep(10000))
        s:write "answer"
        s:close()
        assert.equal("answer", peer:read "a")
      end
    end))

    it("can be half-closed, both ways", on(function()
      local s, peer = tcp()
      s:write "question"
      s:shutdown "write"
      assert.equal("question", peer:read "a")
      assert.is_nil(peer:read_some())
      peer:write "answer"
      lull.sleep(1)
      assert.equal("answer", s:read(6))
      peer:shutdown "write"
      assert.is_nil(s:read_some())
    end))

    it("tells of a reset, each time, and who it was", on(function()
      local s, peer = tcp()
      local host, port = s:peer()
      local reader = lull.spawn(s.read, s)
      lull.sleep(1)
      peer:abort()
      local code, message = failure(reader:await())
      assert.equal("ECONNRESET", code)
      assert.is_truthy(message:find("(" .. host .. ":" .. port .. ")", 1, true))
      assert.equal("ECONNRESET", failure(s:read_some()))
      assert.equal("ECONNRESET", failure(s:read "a"))
      assert.same({host, port}, {s:peer()})
      assert.is_nil((s:write "x"))
    end))

    it("gives what has been received before a reset", on(function()
      local s, peer = tcp()
      peer:write "a\nbc"
      assert.equal("a", s:read())
      peer:abort()
      assert.equal("ECONNRESET", failure(s:read()))
      assert.equal("ECONNRESET", failure(s:read_exactly(3)))
      assert.equal("ECONNRESET", failure(s:read "a"))
      assert.equal("bc", s:read_some())
      assert.equal("ECONNRESET", failure(s:read_some()))
    end))

    it("that was reset tells all who wait to write", on(function()
      local s, peer = tcp()
      local writers = {}
      for i = 1, 3 do writers[i] = lull.spawn(s.write, s, ("x"):rep(8 << 20)) end
      lull.sleep(1)
      peer:abort()
      for i = 1, 3 do
        local code = failure(writers[i]:await())
        assert.is_true(code == "ECONNRESET" or code == "EPIPE")
      end
    end))

    it("may be read and written by different tasks at once", on(function()
      local s, peer = net.pair()
      local echo = lull.spawn(function()
        local n = peer:relay(peer)
        peer:shutdown "write"
        return n
      end)
      local text = ("0123456789"):rep(100000)
      local writer = lull.spawn(function()
        s:write(text)
        s:shutdown "write"
      end)
      assert.is_true(text == s:read "a")
      assert.equal(#text, echo:await())
      writer:await()
    end))

    it("refuses everything but close once it is closed", on(function()
      local s = tcp()
      s:close()
      s:close()
      s:abort()
      for _, name in ipairs {
        "read", "read_some", "lines", "write", "try_write", "flush", "peer", "fileno",
        "local_address", "settimeout", "shutdown",
      } do
        local ok, err = pcall(s[name], s, "read")
        assert.is_false(ok)
        assert.matches("attempt to use a closed stream", err)
      end
      assert.is_false(pcall(s.read_exactly, s, 1))
      assert.is_false(pcall(s.read_until, s, "x"))
      assert.is_false(pcall(s.relay, s, s))
      assert.matches("^stream %d+ %(closed%)$", tostring(s))
    end))

    describe("relay", function()
      it("copies until the end; the other stays open", on(function()
        local a, b = net.pair()
        local c, d = net.pair()
        local relay = lull.spawn(b.relay, b, c)
        local text = ("0123456789abcdef"):rep(1 << 16)
        local writer = lull.spawn(function()
          a:write("head\n", text)
          a:close()
        end)
        assert.equal("head", d:read())
        assert.is_true(text == d:read(#text))
        assert.equal(#text + 5, relay:await())
        writer:await()
        c:write "more"
        assert.equal("more", d:read_some())
        assert.equal(0, b:relay(c))
      end))

      it("copies n bytes and no more", on(function()
        local a, b = tcp()
        local c, d = tcp()
        a:write "0123456789"
        assert.equal("01", b:read(2))
        assert.equal(3, b:relay(c, 3))
        assert.equal("234", d:read(3))
        assert.equal(0, b:relay(c, 0))
        assert.equal("56789", b:read(5))
        a:write "ab"
        a:close()
        assert.equal(2, b:relay(c, 3))
        assert.equal("ab", d:read(2))
      end))

      it("is slowed down by the reader", on(function()
        local a, b = net.pair()
        local c, d = net.pair()
        local relay = lull.spawn(b.relay, b, c)
        local sent = 0
        local writer = lull.spawn(function()
          for _ = 1, 64 do
            a:write(("x"):rep(1 << 20))
            sent = sent + 1
          end
          a:close()
        end)
        lull.sleep(1)
        assert.is_true(sent < 64)
        assert.equal(64 << 20, #d:read(64 << 20))
        assert.equal(64 << 20, relay:await())
        writer:await()
      end))

      it("that is cancelled has written what it has read", on(function()
        local a, b = net.pair()
        local c, d = net.pair()
        local relay = lull.spawn(b.relay, b, c)
        local text = {}
        for i = 1, 100000 do text[i] = ("%9d\n"):format(i) end
        text = table.concat(text)
        a:write(text:sub(1, 500000))
        lull.sleep(1)
        relay:close()
        local writer = lull.spawn(function()
          a:write(text:sub(500001))
          a:close()
        end)
        local rest = lull.spawn(function()
          while true do
            local data = b:read_some()
            if not data then break end
            c:write(data)
          end
          c:close()
        end)
        assert.is_true(text == d:read "a")
        writer:await()
        rest:await()
      end))

      it("tells of failures of either", on(function()
        local a, b = tcp()
        local c, d = tcp()
        local relay = lull.spawn(b.relay, b, c)
        lull.sleep(1)
        a:abort()
        assert.equal("ECONNRESET", failure(relay:await()))
        a, b = tcp()
        d:abort()
        relay = lull.spawn(b.relay, b, c)
        for _ = 1, 3 do
          a:write "x"
          lull.sleep(1)
        end
        local code = failure(relay:await())
        assert.is_true(code == "EPIPE" or code == "ECONNRESET")
        assert.is_false(pcall(b.relay, b, io.stdout))
        assert.is_false(pcall(b.relay, b, c, -1))
      end))

      it("has a time limit like any call", on(function()
        local a, b = net.pair()
        local c, d = net.pair()
        b:settimeout(2)
        lull.spawn(function()
          for i = 1, 3 do
            a:write(i)
            lull.sleep(0.9)
          end
        end)
        assert.equal("ETIMEDOUT", failure(b:relay(c)))
        assert.equal("123", d:read(3))
        b:settimeout(0)
        assert.equal("ETIMEDOUT", failure(b:relay(c)))
        a:write "x"
        assert.equal("ETIMEDOUT", failure(b:relay(c)))
        assert.equal("x", d:read_some())
      end))
    end)
  end)
end

describe("a stream", function()
  it("is small while it is idle", function()
    run(function()
      local streams = {}
      for i = 1, 200 do streams[i] = false end
      collectgarbage()
      collectgarbage()
      local before = collectgarbage "count"
      for i = 1, 200, 2 do streams[i], streams[i + 1] = net.pair() end
      for i = 1, 200, 2 do
        streams[i]:write "a line\n"
        streams[i + 1]:read()
      end
      collectgarbage()
      collectgarbage()
      local each = (collectgarbage "count" - before) * 1024 / 200
      assert.is_true(each < 400, "bytes: " .. each)
      for i = 1, 200 do streams[i]:close() end
    end)
  end)

  it("takes a socket or a descriptor, and owns it then", function()
    run(function()
      local a, b = core.pair()
      local s = core.stream(a)
      assert.is_false(pcall(a.send, a, "x"))
      assert.is_false(pcall(core.stream, a))
      s:write "x"
      assert.equal("x", b:recv(1))
      assert.is_false(pcall(core.stream, -1))
      assert.is_false(pcall(core.stream, "x"))
      assert.is_false(pcall(core.stream))
    end)
  end)

  it("is recognised, and other things are not", function()
    run(function()
      local read = core.methods.Stream.read
      local things = {false, 1, "x", {}, print, io.stdout, lull.future()}
      for _, thing in ipairs(things) do
        local ok, err = pcall(read, thing)
        assert.is_false(ok)
        assert.matches("Stream expected", err)
      end
    end)
  end)
end)
