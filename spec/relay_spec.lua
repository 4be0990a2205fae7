-- Relays of much: what is poured through a pipe arrives as it was sent, whatever becomes
-- of the two sides meanwhile.  Relays as such are in stream_spec.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local net = require "lull.net"
local core = require "lull.core"
local probe = require "probe"

local MIB = 1024 * 1024

-- No two parts of it are alike.
local long
local function pattern(n, seed)
  if not long then
    local piece = {}
    for i = 1, 14 * MIB // 64 do piece[i] = ("%-63d "):format(i) end
    long = table.concat(piece)
  end
  return long:sub(seed * 7, seed * 7 + n - 1)
end

-- A relay between two pairs: what is written to the first comes out of the second.
local function relayed(n)
  local source, a = assert(net.pair())
  local b, sink = assert(net.pair())
  local relay = lull.spawn(a.relay, a, b, n)
  return source, sink, relay, a, b
end

for _, backend in helper.backends() do
  describe("a relay of much on " .. backend, function()
    local function on(fn)
      return function() return run(fn, {selector = backend}) end
    end

    it("passes on what was sent", on(function()
      local source, sink, relay, a, b = relayed()
      local text = pattern(12 * MIB + 77, 1)
      lull.spawn(function()
        source:write(text)
        source:shutdown "write"
      end)
      local got = {}
      for part in function() return sink:read_some() end do
        got[#got + 1] = part
        if relay:done() then break end
      end
      assert.equal(#text, relay:await())
      b:shutdown "write"
      got[#got + 1] = sink:read "a"
      assert.is_true(text == table.concat(got))
      for _, s in ipairs {source, sink, a, b} do s:close() end
    end))

    it("keeps to the number of bytes that it was given", on(function()
      local n = 3 * MIB + 1
      local source, sink, relay, a = relayed(n)
      local text = pattern(5 * MIB, 2)
      local writer = lull.spawn(source.write, source, text)
      assert.is_true(text:sub(1, n) == sink:read_exactly(n))
      assert.equal(n, relay:await())
      assert.is_true(text:sub(n + 1) == a:read_exactly(#text - n))
      writer:await()
    end))

    it("waits for a reader that is slow, and holds little meanwhile", on(function()
      local source, sink, relay = relayed()
      local text = pattern(8 * MIB, 3)
      lull.spawn(function()
        source:write(text)
        source:close()
      end)
      lull.sleep(1)
      local before = collectgarbage "count"
      lull.sleep(1)
      assert.is_true(collectgarbage "count" - before < 1100)
      local got, size = {}, 0
      while size < #text do
        got[#got + 1] = sink:read_some(100000)
        size = size + #got[#got]
        if #got % 16 == 0 then lull.sleep(0.001) end
      end
      assert.is_true(text == table.concat(got))
      assert.equal(#text, relay:await())
    end))

    it("that is cancelled has written what it had read", on(function()
      for moment = 1, 16 do
        local source, sink, relay, a, b = relayed()
        local text = pattern(3 * MIB, moment)
        local writer = lull.spawn(source.write, source, text)
        local reader = lull.spawn(function()
          local got = {}
          for part in function() return sink:read_some() end do got[#got + 1] = part end
          return table.concat(got)
        end)
        helper.turns(moment)
        relay:close()
        b:close()
        local rest = lull.spawn(a.read, a, "a")
        writer:await()
        source:close()
        assert.is_true(text == reader:await() .. rest:await())
        a:close()
        sink:close()
      end
    end))

    it("fails when the other side is gone, and others go on", on(function()
      local source, sink, relay = relayed()
      local other_source, other_sink, other = relayed()
      local text = pattern(4 * MIB, 4)
      local writer = lull.spawn(source.write, source, text)
      local second = lull.spawn(other_source.write, other_source, text)
      sink:read_exactly(MIB)
      sink:abort()
      local n, _, code = relay:await()
      assert.is_nil(n)
      assert.is_true(code == "EPIPE" or code == "ECONNRESET", code)
      assert.is_true(text == other_sink:read_exactly(#text))
      second:await()
      other:close()
      writer:close()
    end))

    it("may end where it came from, and go through pipes", on(function()
      local near, far = assert(net.pair())
      local echo = lull.spawn(far.relay, far, far)
      local text = pattern(3 * MIB, 5)
      local writer = lull.spawn(near.write, near, text)
      assert.is_true(text == near:read_exactly(#text))
      writer:await()
      echo:close()

      local r, w = probe.pipe()
      local from, to = core.stream(r), core.stream(w)
      local source, a = assert(net.pair())
      local b, sink = assert(net.pair())
      lull.spawn(a.relay, a, to):daemon()
      lull.spawn(from.relay, from, b):daemon()
      writer = lull.spawn(source.write, source, text)
      assert.is_true(text == sink:read_exactly(#text))
      writer:await()
    end))
  end)
end
