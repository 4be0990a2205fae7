-- TLS with peers and networks that misbehave: whatever comes, both sides come to an end,
-- and nobody takes for the truth what is not.  On the virtual clock.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local core = require "lull.core"
local meddler = require "spec.meddler"
local net = require "lull.net"
local certificates

local HELLO = "hello, server\n"
local ANSWER = ("and a good day to you, client "):rep(20) .. "\n"

local names = 0

local codes = {ETLS = true, ECONNRESET = true, EPIPE = true, ETIMEDOUT = true}

local function start_server(...) return certificates.serve(...) end
local function start_client(...) return certificates.meet(...) end

-- What one side says: it asserts that nothing wrong was read, returns how it ended.
local function converse(stream, start, say, expect, more)
  stream:settimeout(5)
  local ok, message, code = start(stream, more)
  if ok then ok, message, code = stream:write(say) end
  local got
  if ok then
    got, message, code = stream:read "L"
    assert(got == nil or got == expect, got)
  end
  if got then
    stream:shutdown "write"
    local rest
    rest, message, code = stream:read "a"
    assert(rest == nil or rest == "", rest)
    if rest then code = "end" end
  elseif not code then
    code = "end"
  end
  assert(code == "end" or codes[code], message)
  stream:close()
  return code, message
end

-- Both sides over a meddler: how each of them ended, and how much it has passed on.
-- Under a name that nobody has had, for a session that is resumed goes other ways.
local function conversation(n, fn, version)
  names = names + 1
  local name = {server_name = names .. ".wild.example", max_version = version}
  local passed = {up = 0, down = 0}
  local function count(direction, at, data)
    if fn then data = fn(direction, at, data) end
    if data then passed[direction] = at + #data end
    return data
  end
  local a, b = meddler(n, count)
  local server = lull.spawn(converse, b, start_server, ANSWER, HELLO)
  local client = converse(a, start_client, HELLO, ANSWER, name)
  return client, server:await(), passed
end

describe("TLS", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  for _, version in ipairs {"1.2", "1.3"} do
    describe("version " .. version, function()
      it("goes through undisturbed", function()
        run(function()
          local client, server, passed = conversation(7, nil, version)
          assert.equal("end", client)
          assert.equal("end", server)
          assert.is_true(passed.up > 300 and passed.down > 500)
        end)
      end)

      it("survives to be cut off at every point", function()
        run(function()
          local _, _, passed = conversation(4096, nil, version)
          helper.collect()
          local kept = core.descriptors()
          for _, direction in ipairs {"up", "down"} do
            for cut = 0, passed[direction] - 1, 13 do
              local is_cut = false
              local client, server = conversation(1, function(way, at, data)
                is_cut = is_cut or way == direction and at >= cut
                return (way ~= direction or at < cut) and data or nil
              end, version)
              -- who has not got everything must not believe it; (signatures differ in
              -- length, so the last cut may come behind the end)
              local loser = direction == "up" and server or client
              assert(not is_cut or loser ~= "end", direction .. " " .. cut)
            end
          end
          helper.collect()
          assert.same(kept, core.descriptors())
        end, {guard = false})
      end)

      it("believes nothing that was changed on the way", function()
        run(function()
          local _, _, passed = conversation(4096, nil, version)
          for _, direction in ipairs {"up", "down"} do
            for where = 0, passed[direction] - 1, 31 do
              conversation(4096, function(way, at, data)
                local i = where - at
                if way ~= direction or i < 0 or i >= #data then return data end
                local byte = string.char(data:byte(i + 1) ~ 1)
                return data:sub(1, i) .. byte .. data:sub(i + 2)
              end, version)
            end
          end
        end, {guard = false})
      end)

      it("gives up a handshake that stands still", function()
        run(function()
          for _, direction in ipairs {"up", "down"} do
            for limit = 0, 250, 50 do
              local client, server = conversation(50, function(way, at, data)
                return (way ~= direction or at < limit) and data or ""
              end, version)
              assert.is_true(client == "ETIMEDOUT" or server == "ETIMEDOUT")
            end
          end
        end, {guard = false})
      end)
    end)
  end

  describe("tells a server's client", function()
    -- What becomes of a side that gets this in place of a handshake.
    local function given(start, text, stays)
      local a, b = assert(net.pair())
      a:write(text)
      if not stays then a:shutdown "write" end
      b:settimeout(5)
      local value, message, code = start(b)
      assert.is_nil(value)
      assert.has_error(function() b:read() end, "attempt to use a closed stream")
      return code, message, a
    end

    it("that it speaks something else", function()
      run(function()
        for text, reason in pairs {
          ["GET / HTTP/1.1\r\n\r\n"] = "http request",
          ["PROXY TCP4 1.1.1.1 2.2.2.2 1 2\r\n"] = "wrong version number",
          [("\0"):rep(100)] = "wrong version number",
          ["\x16\x03\x01\x00\x05hello"] = "unexpected message",
          ["\x16\x03\x01\xff\xff"] = "length",
        } do
          local code, message = given(start_server, text, true)
          assert.equal("ETLS", code)
          assert.matches(reason, message)
        end
      end)
    end)

    it("by an alert, which arrives", function()
      run(function()
        local code, _, peer = given(start_server, "\x16\x03\x01\x00\x05hello", true)
        assert.equal("ETLS", code)
        assert.matches("^\x15\x03", peer:read_some())
      end)
    end)

    it("what its alerts say", function()
      run(function()
        local code, message = given(start_client, "\x15\x03\x03\x00\x02\x02\x28", true)
        assert.equal("ETLS", code)
        assert.matches("alert handshake failure", message)
        code, message = given(start_client, "\x15\x03\x03\x00\x02\x01\x00", true)
        assert.equal("ETLS", code)
        assert.matches("^ETLS: .*handshake", message)
      end)
    end)

    it("that it has hung up", function()
      run(function()
        for _, start in ipairs {start_client, start_server} do
          for _, text in ipairs {"", "\x16", "\x16\x03\x01\x02\x00\x01\x00"} do
            local code, message = given(start, text)
            assert.equal("ETLS", code)
            assert.matches("handshake truncated", message)
          end
        end
      end)
    end)

    it("nothing, for ever", function()
      run(function()
        for _, start in ipairs {start_client, start_server} do
          local _, b = assert(net.pair())
          b:settimeout(5)
          local now = lull.now()
          assert.equal("ETIMEDOUT", (select(3, start(b))))
          assert.equal(5, lull.now() - now)
          assert.equal("ETIMEDOUT", (select(3, b:read())))
          b:close()
        end
      end)
    end)
  end)

  it("keeps no end of answers for those who do not read", function()
    run(function()
      local a, b = assert(core.pair())
      b:setoption("sndbuf", 1)
      local stream = core.stream(b)
      local server = lull.spawn(start_server, stream)
      -- warnings, each of which could be answered
      lull.spawn(function()
        for _ = 1, 10000 do
          if not a:sendall "\x15\x03\x03\x00\x02\x01\x5a" then return end
        end
      end)
      local value, message = server:await()
      assert.is_nil(value)
      assert.matches("^ETLS: ", message)
      a:close()
    end)
  end)
end)
