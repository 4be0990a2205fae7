-- Writing to streams: what is taken is sent, in order, whatever becomes of the writer.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local net = require "lull.net"
local core = require "lull.core"
local probe = require "probe"
local failure, pattern, fill = cast.failure, cast.pattern, cast.fill

local HIGH_WATER = 64 * 1024

local function ends(opts)
  return assert(net.pair(opts))
end

for _, backend in helper.backends() do
  describe("writing on " .. backend, function()
    local function on(fn, opts)
      opts = opts or {}
      opts.selector = backend
      return function() return run(fn, opts) end
    end

    it("takes strings and numbers, and returns the stream", on(function()
      local s, peer = ends()
      assert.equal(s, s:write("a", 1, 2.5, "", "\0", -3))
      assert.equal(s, s:write())
      assert.equal(s, s:write "")
      assert.equal(s, s:try_write("b", 7))
      assert.equal("a12.5\0-3b7", peer:read_some())
    end))

    it("goes out in one piece", on(function()
      local s, peer = ends()
      local piece = pattern(3000)
      s:write(piece, "x", piece)
      assert.is_true(piece .. "x" .. piece == peer:read_some())
    end))

    it("keeps order and wholeness among many writers, small and large", on(function()
      local s, peer = ends()
      local sizes = {
        1, 10, 100, 5000, 8191, 8192, 60000, 65536, 70000, 300000, 1 << 20, 8 << 20,
      }
      local parts, tasks = {}, {}
      for i, size in ipairs(sizes) do
        local text = pattern(size, string.char(96 + i))
        parts[#parts + 1] = text .. i .. text
        tasks[i] = lull.spawn(s.write, s, text, i, text)
      end
      lull.spawn(function()
        for _, task in ipairs(tasks) do task:await() end
        s:close()
      end)
      assert.is_true(table.concat(parts) == peer:read "a")
    end))

    it("is not affected by the string being collected", on(function()
      local s, peer = ends()
      local writer = lull.spawn(function()
        s:write(pattern(4 << 20), pattern(4 << 20))
      end)
      lull.sleep(1)
      collectgarbage()
      local text = peer:read(8 << 20)
      assert.is_true(pattern(4 << 20) .. pattern(4 << 20) == text)
      writer:await()
    end))

    it("waits only while more than high_water waits to be sent", on(function()
      local s, peer = ends {high_water = 1000}
      local text = fill(s)
      assert.is_nil(s:try_write "x")
      local done
      local writer = lull.spawn(function()
        s:write "last"
        done = true
      end)
      lull.sleep(1)
      assert.is_nil(done)
      assert.is_true(text .. "last" == peer:read(#text + 4))
      writer:await()
      assert.is_true(done)
      assert.equal(s, s:try_write "x")
    end))

    it("takes all of it, also beyond high_water, also when it is cancelled", on(function()
      local s, peer = ends()
      local text = fill(s)
      local first = lull.spawn(s.write, s, "first", pattern(100000))
      local second = lull.spawn(s.write, s, "second")
      lull.sleep(1)
      first:close()
      assert.equal("pending", second:status())
      s:settimeout(1)
      assert.equal("ETIMEDOUT", failure(s:write "third"))
      local all = text .. "first" .. pattern(100000) .. "second" .. "third"
      assert.is_true(all == peer:read(#all))
      second:await()
    end))

    it("has not happened when it raises the cancellation on entry", on(function()
      local s, peer = ends()
      lull.scope(function(scope)
        scope:cancel()
        assert.is_false(pcall(s.write, s, "lost"))
      end)
      s:write "x"
      assert.equal("x", peer:read_some())
    end))

    it("with settimeout(0) does what can be done now", on(function()
      local s, peer = ends()
      s:settimeout(0)
      assert.equal(s, s:write "a")
      assert.equal("a", peer:read_some())
      local text = fill(s)
      assert.equal("ETIMEDOUT", failure(s:write "b"))
      assert.equal("ETIMEDOUT", failure(s:flush()))
      assert.is_true(text .. "b" == peer:read(#text + 1))
      assert.equal(s, s:flush())
    end))

    describe("flush", function()
      it("waits until all is with the system", on(function()
        local s, peer = ends()
        assert.equal(s, s:flush())
        local text = fill(s)
        local flushed
        local flusher = lull.spawn(function()
          assert.equal(s, s:flush())
          flushed = true
        end)
        lull.sleep(1)
        assert.is_nil(flushed)
        local got = {}
        while not flushed do
          got[#got + 1] = assert(peer:read_some())
          lull.sleep(0)
        end
        flusher:await()
        s:close()
        assert.is_true(text == table.concat(got) .. peer:read "a")
      end))

      it("does not wait for what others write later", on(function()
        local s, peer = ends()
        fill(s)
        local flusher = lull.spawn(s.flush, s)
        lull.sleep(0)
        local writing = true
        local writer = lull.spawn(function()
          while writing do s:write(pattern(100000)) end
        end)
        local reader = lull.spawn(function() while peer:read_some() do end end)
        flusher:await()
        writing = false
        writer:await()
        reader:close()
        s:abort()
      end))
    end)

    describe("to a peer that is gone", function()
      it("gives EPIPE, again and again", on(function()
        local s, peer = ends()
        peer:close()
        assert.equal("EPIPE", failure(s:write "x"))
        assert.equal("EPIPE", failure(s:write "x"))
        assert.equal("EPIPE", failure(s:try_write "x"))
        assert.equal("EPIPE", failure(s:flush()))
        assert.is_nil(s:read())
      end))

      it("wakes those who wait", on(function()
        local s, peer = ends()
        fill(s)
        local writer, flusher = lull.spawn(s.write, s, "x"), lull.spawn(s.flush, s)
        lull.sleep(1)
        peer:close()
        assert.equal("EPIPE", failure(writer:await()))
        assert.equal("EPIPE", failure(flusher:await()))
        assert.equal("EPIPE", failure(s:try_write "x"))
      end))
    end)

    describe("shutdown", function()
      it("ends the writing side after what is pending", on(function()
        local s, peer = ends()
        local text = fill(s)
        assert.equal(s, s:shutdown "write")
        assert.equal(s, s:shutdown "write")
        assert.equal("EPIPE", failure(s:write "x"))
        assert.is_true(text == peer:read "a")
        peer:write "answer"
        peer:close()
        assert.equal("answer", s:read "a")
        assert.equal(s, s:flush())
      end))

      it("at once where nothing is pending", on(function()
        local s, peer = ends()
        s:write "x"
        s:shutdown "write"
        assert.equal("x", peer:read "a")
        peer:write "y"
        assert.equal("y", s:read_some())
      end))

      it("ends the reading side, for who waits too", on(function()
        local s, peer = ends()
        local reader = lull.spawn(s.read, s)
        lull.sleep(1)
        assert.equal(s, s:shutdown "read")
        assert.is_nil(reader:await())
        assert.is_nil(s:read())
        s:write "x"
        assert.equal("x", peer:read_some())
      end))

      it("ends both", on(function()
        local s, peer = ends()
        s:write "x"
        s:shutdown "both"
        assert.is_nil(s:read())
        assert.equal("x", peer:read "a")
        assert.equal("EPIPE", failure(s:write "x"))
      end))
    end)

    describe("close", function()
      it("sends in the background what is pending", on(function()
        local s, peer = ends()
        local text = fill(s) .. pattern(1 << 20)
        s:settimeout(0)
        s:write(pattern(1 << 20))
        s:close()
        s:close()
        assert.has_error(function() s:write "x" end, "attempt to use a closed stream")
        collectgarbage()
        assert.is_true(text == peer:read "a")
      end))

      it("tells those who wait, though their data is still sent", on(function()
        local s, peer = ends()
        local text = fill(s)
        local writer, flusher = lull.spawn(s.write, s, "x"), lull.spawn(s.flush, s)
        lull.sleep(1)
        s:close()
        assert.equal("ECANCELED", failure(writer:await()))
        assert.equal("ECANCELED", failure(flusher:await()))
        assert.is_true(text .. "x" == peer:read "a")
      end))

      it("gives up after opts.linger seconds", on(function()
        local s, peer = ends {linger = 3}
        local text = fill(s)
        s:close()
        lull.sleep(4)
        assert.is_true(#peer:read "a" < #text)
      end))

      it("gives up at once with linger 0", on(function()
        local s, peer = ends {linger = 0}
        local text = fill(s)
        s:close()
        assert.is_true(#peer:read "a" < #text)
      end))

      it("resets a connection that it could not send everything on", on(function()
        local listener <close> = assert(net.listen("127.0.0.1", 0, {linger = 1}))
        local client <close> = assert(net.connect(listener:local_address()))
        local server = assert(listener:accept())
        assert.equal(server, server:try_write(("x"):rep(32 << 20)))
        server:close()
        lull.sleep(2)
        local got, part, code = 0
        repeat
          part, _, code = client:read_some()
          got = got + #(part or "")
        until not part
        assert.equal("ECONNRESET", code)
        assert.is_true(got < 32 << 20)
      end))

      it("is waited for at the end of a run", function()
        local mine, yours = probe.pair()
        local got, text = {}, nil
        run(function()
          local s, loop = core.stream(mine), lull.loop()
          local function read_slowly()
            got[#got + 1] = probe.read(yours)
            if got[#got] ~= "" then loop:call_later(0.01, read_slowly) end
          end
          text = fill(s)
          loop:call_later(1, read_slowly)
          s:close()
        end, {selector = backend})
        repeat got[#got + 1] = probe.read(yours) until got[#got] == ""
        assert.is_true(text == table.concat(got))
        probe.close_fd(yours)
      end)

      it("is done at the end of a run for who has forgotten it", function()
        local mine, yours = probe.pair()
        local got, text = {}, nil
        run(function()
          local s, loop = core.stream(mine), lull.loop()
          local function read_slowly()
            got[#got + 1] = probe.read(yours)
            if got[#got] ~= "" then loop:call_later(0.01, read_slowly) end
          end
          text = fill(s)
          loop:call_later(1, read_slowly)
        end, {selector = backend})
        repeat got[#got + 1] = probe.read(yours) until got[#got] == ""
        assert.is_true(text == table.concat(got))
        probe.close_fd(yours)
      end)

      it("ends a run at the latest when it lingers out", function()
        local s, peer, time
        run(function()
          s, peer = ends()
          fill(s)
          s:close()
          time = lull.now()
          lull.loop():call_later(9.9, function() time = nil end)
        end, {selector = backend})
        assert.is_nil(time)
        assert.is_truthy(peer)
      end)

      it("works through close variables and collection", on(function()
        local s, peer = ends()
        do local _ <close> = s end
        assert.matches("closed", tostring(s))
        assert.is_nil(peer:read())
        ends()
        local other = select(2, ends())
        collectgarbage()
        collectgarbage()
        assert.is_nil(other:read())
      end))
    end)

    describe("abort", function()
      it("drops what is pending and wakes who waits", on(function()
        local s, peer = ends()
        local text = fill(s)
        local writer, reader = lull.spawn(s.write, s, "x"), lull.spawn(s.read, s)
        lull.sleep(1)
        s:abort()
        s:abort()
        s:close()
        assert.equal("ECANCELED", failure(writer:await()))
        assert.equal("ECANCELED", failure(reader:await()))
        assert.is_true(#peer:read "a" < #text)
      end))

      it("ends the lingering of a closed stream", on(function()
        local s, peer = ends()
        local text = fill(s)
        s:close()
        s:abort()
        assert.is_true(#peer:read "a" < #text)
      end))
    end)

    it("try_write works outside of tasks, from callbacks", on(function()
      local s, peer = ends()
      local sent
      lull.loop():call_soon(function() sent = s:try_write("a", "b") end)
      assert.equal("ab", peer:read(2))
      assert.equal(s, sent)
    end))

    it("a never-reading peer does not make memory grow", on(function()
      local s, peer = ends()
      local writer = lull.spawn(function()
        while s:write(pattern(1000)) do end
      end)
      lull.sleep(1)
      assert.equal("pending", writer:status())
      local text = peer:read_exactly(HIGH_WATER)
      assert.equal(HIGH_WATER, #text)
      writer:close()
      s:abort()
    end))

    it("is fair to others while the peer takes everything", on(function()
      local s, peer = ends()
      local turns <close> = helper.counter()
      local reader = lull.spawn(function() while peer:read_some() do end end)
      for _ = 1, 2000 do s:write "x" end
      assert.is_true(turns() >= 10)
      reader:close()
    end))
  end)
end

describe("writing", function()
  it("refuses wrong arguments and takes nothing of them", function()
    run(function()
      local s, peer = ends()
      for _, call in ipairs {s.write, s.try_write} do
        assert.is_false(pcall(call, s, "x", {}))
        assert.is_false(pcall(call, s, nil))
        assert.is_false(pcall(call, s, true))
      end
      assert.is_false(pcall(s.shutdown, s, "x"))
      assert.is_false(pcall(s.shutdown, s))
      for _, opts in ipairs {{high_water = "x"}, {high_water = -1}, {limit = {}},
                             {linger = 0 / 0}, {linger = -1}} do
        assert.is_false(pcall(net.pair, opts))
      end
      s:write "y"
      assert.equal("y", peer:read_some())
    end)
  end)

  it("raises outside of a task", function()
    local s
    run(function() s = ends() end)
    assert.is_false(pcall(s.write, s, "x"))
    assert.is_false(pcall(s.flush, s))
    s:close()
  end)
end)
