-- Protocols and transports: who is called when, how often, and where.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local core = require "lull.core"
local net = require "lull.net"
local protocol = require "lull.protocol"
local probe = require "probe"

local NAMES = {
  "connection_made", "data_received", "eof_received", "connection_lost",
  "pause_writing", "resume_writing", "datagram_received", "error_received",
}

-- A protocol that notes what it is called with; methods in `more` are called as well.
-- p.log: {"connection_made", "data_received x", ...}; p.t the transport; p.lost a future.
local function recorder(more)
  local p = {log = {}, data = "", lost = lull.future()}
  for _, name in ipairs(NAMES) do
    p[name] = function(self, ...)
      if name == "connection_made" then self.t = ... end
      if name == "data_received" then self.data = self.data .. ... end
      local what = name == "data_received" and " " .. (...) or ""
      table.insert(self.log, name .. what)
      if name == "connection_lost" and not self.lost:done() then
        self.lost:set_result(...)
      end
      if more and more[name] then return more[name](self, ...) end
    end
  end
  return p
end

local function count(p, name)
  local n = 0
  for _, entry in ipairs(p.log) do
    if entry == name or entry:sub(1, #name + 1) == name .. " " then n = n + 1 end
  end
  return n
end

local function last(p)
  return p.log[#p.log]
end

local function wrap(p, stream)
  local transport, made = protocol.wrap(function() return p end, stream)
  assert.equal(p, made)
  return transport
end

-- A recorder at one end of a socket pair, a stream at the other.
local function ends(more)
  local p = recorder(more)
  local a, b = assert(net.pair())
  return p, b, wrap(p, a)
end

-- The same where the system keeps little.
local function narrow(more, opts)
  local p = recorder(more)
  local a, b = assert(core.pair())
  a:setoption("sndbuf", 1)
  b:setoption("sndbuf", 1)
  local stream, peer = core.stream(a, opts), core.stream(b)
  return p, peer, wrap(p, stream)
end

local function listen(factory, opts)
  local listener = assert(protocol.listen(factory, "127.0.0.1", 0, opts))
  local _, port = listener:local_address()
  return listener, port
end

local BIG = ("0123456789abcdef"):rep(65536) -- 1 MiB

for _, backend in helper.backends() do
  describe("a protocol on " .. backend, function()
    local function on(fn, opts)
      opts = opts or {}
      opts.selector = backend
      return function() return run(fn, opts) end
    end

    -- ---- order --------------------------------------------------------------------

    it("hears of connection, data, end and loss, in this order, each once", on(function()
      local p, peer = ends()
      peer:write "one"
      lull.sleep(1)
      peer:write "two"
      peer:shutdown "write"
      assert.is_nil(p.lost:await())
      lull.sleep(1)
      assert.same({
        "connection_made", "data_received one", "data_received two", "eof_received",
        "connection_lost",
      }, p.log)
      assert.is_nil(peer:read())
    end))

    it("hears of the connection before of what had been sent by then", on(function()
      local a, b = assert(net.pair())
      b:write "early"
      b:close()
      local p = recorder()
      wrap(p, a)
      p.lost:await()
      assert.same({"connection_made", "data_received early", "eof_received",
        "connection_lost"}, p.log)
    end))

    it("is given what the stream had received by then", on(function()
      local a, b = assert(net.pair())
      b:write "a line\nand more"
      assert.equal("a line", a:read())
      local p = recorder()
      wrap(p, a)
      lull.sleep(1)
      assert.equal("and more", p.data)
    end))

    it("receives all of much, in order", on(function()
      local p, peer = ends()
      local writing = lull.spawn(peer.write, peer, BIG)
      writing:await()
      peer:close()
      p.lost:await()
      assert.is_true(p.data == BIG)
    end))

    it("needs none of its methods", on(function()
      local a, b = assert(net.pair())
      local t = protocol.wrap(function() return {} end, a)
      b:write "x"
      lull.sleep(1)
      t:write(BIG)
      assert.is_true(b:read(#BIG) == BIG)
      b:close()
      lull.sleep(1)
      assert.is_true(t:is_closing())
    end))

    it("may find its methods through a metatable", on(function()
      local class = recorder()
      local p = setmetatable({log = class.log}, {__index = class})
      local a, b = assert(net.pair())
      wrap(p, a)
      b:close()
      p.lost:await()
      assert.equal("connection_lost", last(p))
    end))

    it("is connected and listens", on(function()
      local server = recorder {
        data_received = function(p, data) p.t:write(data:upper()) end,
      }
      local listener <close>, port = listen(function() return server end)
      local client = recorder()
      local t, made = protocol.connect(function() return client end, "127.0.0.1", port)
      assert.equal(client, made)
      assert.equal(client.t, t)
      assert.equal("connection_made", client.log[1])
      t:write("hel", "lo")
      local heard = lull.future()
      client.data_received = function(_, data) heard:set_result(data) end
      assert.equal("HELLO", heard:await())
      t:close()
      assert.is_nil(client.lost:await())
      assert.is_nil(server.lost:await())
      assert.equal("eof_received", server.log[#server.log - 1])
      assert.is_truthy(listener)
    end, {real = true}))

    -- ---- outside of tasks ---------------------------------------------------------

    it("is called outside of any task, where nothing can suspend", on(function()
      local where = {}
      local function look(name, result)
        return function()
          local ok, err = pcall(lull.sleep, 0)
          where[name] = {lull.current(), ok, tostring(err):match "cannot suspend.*"}
          return result
        end
      end
      local more = {}
      for _, name in ipairs(NAMES) do more[name] = look(name, name == "eof_received") end
      local p, peer = narrow(more)
      peer:write "x"
      peer:shutdown "write"
      lull.sleep(1)
      p.t:write(BIG) -- from a task
      assert.is_truthy(lull.current())
      assert.is_true(peer:read(#BIG) == BIG)
      lull.sleep(1)
      p.t:close()
      p.lost:await()
      for i = 1, 6 do
        assert.same({nil, false, "cannot suspend outside of a task"}, where[NAMES[i]],
          NAMES[i])
      end
    end))

    it("has its factory called there, too", on(function()
      local _, err = pcall(protocol.wrap, function() lull.sleep(0) end, (net.pair()))
      assert.matches("cannot suspend outside of a task", err)
    end))

    it("spawns whoever has to wait", on(function()
      local p, peer = ends {data_received = function(p, data)
        lull.spawn(function()
          lull.sleep(5)
          p.t:write("later: " .. data)
        end)
      end}
      local start = lull.now()
      peer:write "x"
      assert.equal("later: x", peer:read_some())
      assert.is_true(lull.now() - start >= 5)
      assert.is_false(p.lost:done())
    end))

    it("cannot yield either", on(function()
      local reports = {}
      lull.loop():on_unhandled(function(err) reports[#reports + 1] = err end)
      local p, peer = ends {data_received = function() coroutine.yield() end}
      peer:write "x"
      assert.matches("yield", p.lost:await())
      assert.matches("yield", reports[1])
    end))

    -- ---- errors -------------------------------------------------------------------

    for i = 1, 7 do
      local name = NAMES[i]
      if name ~= "connection_lost" and name ~= "datagram_received" then
        it("that fails in " .. name .. " is reported, and aborted", on(function()
          local reports = {}
          lull.loop():on_unhandled(function(err, traceback, task)
            reports[#reports + 1] = {err, traceback, task}
          end)
          local mistake = setmetatable({}, {__tostring = function() return "mine" end})
          local p, peer = narrow {[name] = function() error(mistake) end}
          if p.t:is_closing() then
            assert.equal("connection_made", name)
            assert.equal(1, #p.log) -- connection_lost comes later
          else
            peer:write "x"
            lull.sleep(1)
            p.t:write(BIG)
            if name ~= "eof_received" and name ~= "resume_writing" then
              peer:read_some()
            elseif name == "resume_writing" then
              repeat peer:read_some() until p.lost:done()
            else
              peer:shutdown "write"
            end
          end
          assert.equal(mistake, p.lost:await())
          lull.sleep(1)
          assert.equal(1, #reports)
          assert.equal(mistake, reports[1][1])
          assert.matches("protocol_spec", reports[1][2])
          assert.is_nil(reports[1][3])
          assert.equal(1, count(p, "connection_lost"))
          assert.equal("connection_lost", last(p))
          assert.is_true(p.t:is_closing())
          assert.equal(0, p.t:get_write_buffer_size())
        end))
      end
    end

    it("that fails in connection_lost is reported", on(function()
      local reports = {}
      lull.loop():on_unhandled(function(err) reports[#reports + 1] = err end)
      local p = ends {connection_lost = function() error("last words", 0) end}
      p.t:close()
      p.lost:await()
      lull.sleep(1)
      assert.same({"last words"}, reports)
      assert.equal(1, count(p, "connection_lost"))
    end))

    it("that fails to be made is an error of connect; nothing stays open", on(function()
      local a, b = assert(net.pair())
      local mistake = {}
      local ok, err = pcall(protocol.wrap, function() error(mistake) end, a)
      assert.is_false(ok)
      assert.equal(mistake, err)
      assert.is_nil(b:read())
      ok, err = pcall(protocol.wrap, function() return 7 end, (net.pair()))
      assert.is_false(ok)
      assert.equal("the factory has made no protocol, but a value of type number", err)
    end))

    it("of a listener that fails to be made is reported; others come", on(function()
      local reports, n = {}, 0
      lull.loop():on_unhandled(function(err) reports[#reports + 1] = err end)
      local listener <close>, port = listen(function()
        n = n + 1
        if n == 1 then error("not today", 0) end
        return recorder {connection_made = function(p) p.t:write "welcome" end}
      end)
      local first <close> = assert(net.connect("127.0.0.1", port))
      assert.is_nil((first:read()))
      local second <close> = assert(net.connect("127.0.0.1", port))
      assert.equal("welcome", second:read_some())
      assert.same({"not today"}, reports)
      assert.is_truthy(listener)
    end, {real = true}))

    -- ---- closing ------------------------------------------------------------------

    it("is told of the loss when all is sent that was written before close", on(function()
      local p, peer, t = narrow()
      t:write(BIG)
      t:close()
      assert.is_true(t:is_closing())
      assert.is_false(t:is_reading())
      t:write "ignored"
      t:writelines {"ignored", "too"}
      t:write_eof()
      t:close()
      lull.sleep(1)
      assert.equal(0, count(p, "connection_lost"))
      assert.is_true(peer:read "a" == BIG)
      assert.is_nil(p.lost:await())
      assert.equal(1, count(p, "connection_lost"))
    end))

    it("hears nothing of what comes after close", on(function()
      local p, peer, t = narrow()
      t:write(BIG)
      t:close()
      peer:write "too late"
      assert.is_true(peer:read "a" == BIG)
      p.lost:await()
      assert.equal("", p.data)
      assert.equal(0, count(p, "eof_received"))
    end))

    it("does not wait for ever for a peer that does not read", on(function()
      local p, peer, t = narrow(nil, {linger = 3})
      t:write(BIG)
      local start = lull.now()
      t:close()
      local err = p.lost:await()
      assert.equal("ETIMEDOUT", lull.code(err))
      assert.equal(3, math.floor(lull.now() - start))
      assert.is_true(#(peer:read "a" or "") < #BIG)
    end))

    it("aborts: what was not sent is dropped", on(function()
      local p, peer, t = narrow()
      t:write(BIG)
      assert.is_true(t:get_write_buffer_size() > 0)
      t:abort()
      t:abort()
      assert.is_true(t:is_closing())
      assert.equal(0, count(p, "connection_lost"))
      assert.is_nil(p.lost:await())
      assert.is_true(#(peer:read "a" or "") < #BIG)
      assert.equal(1, count(p, "connection_lost"))
      assert.equal(0, t:get_write_buffer_size())
    end))

    it("aborts what is being closed", on(function()
      local p, _, t = narrow()
      t:write(BIG)
      t:close()
      lull.sleep(1)
      t:abort()
      assert.is_nil(p.lost:await())
      assert.equal(1, count(p, "connection_lost"))
    end))

    it("resets a TCP connection by abort", on(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local p = recorder()
      local t = protocol.connect(function() return p end, listener:local_address())
      local peer <close> = listener:accept()
      t:abort()
      local _, _, code = peer:read()
      assert.equal("ECONNRESET", code)
      assert.is_nil(p.lost:await())
    end, {real = true}))

    for i = 1, 6 do
      for _, method in ipairs {"close", "abort"} do
        local name = NAMES[i]
        it(("may %s in %s"):format(method, name), on(function()
          local done
          local p, peer = narrow {[name] = function(p)
            done = true
            p.t[method](p.t)
            p.t:write "no more"
            return true
          end}
          lull.spawn(function()
            peer:write "x"
            lull.sleep(1)
            p.t:set_write_buffer_limits {high = 1000, low = 10}
            p.t:write(BIG)
            lull.sleep(1)
            peer:shutdown "write"
            peer:read "a"
            if name == "connection_lost" then p.t:close() end
          end)
          if name == "connection_lost" then
            lull.sleep(2)
            p.t:abort()
          end
          assert.is_nil(p.lost:await())
          lull.sleep(20)
          assert.is_true(done)
          assert.equal(1, count(p, "connection_lost"))
          assert.equal("connection_lost", last(p))
        end))
      end
    end

    it("is told why the connection is lost", on(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local p = recorder()
      protocol.connect(function() return p end, listener:local_address())
      local peer = listener:accept()
      peer:abort()
      local err = p.lost:await()
      assert.equal("ECONNRESET", lull.code(err))
      assert.matches("^ECONNRESET: .* %(127%.0%.0%.1:%d+%)$", err)
      assert.equal(0, count(p, "eof_received"))
    end, {real = true}))

    it("is told of the loss when writing, too, without reading", on(function()
      local p, peer, t = narrow()
      t:pause_reading()
      t:write "x"
      peer:close()
      t:write(BIG)
      assert.is_true(t:is_closing())
      local code = lull.code(p.lost:await())
      assert.is_true(code == "EPIPE" or code == "ECONNRESET", code)
      t:write "ignored"
      assert.equal(1, count(p, "connection_lost"))
    end))

    it("is told of the loss while much waits to be sent", on(function()
      local p, peer, t = narrow()
      t:pause_reading()
      t:write(BIG)
      lull.sleep(1)
      peer:close()
      local code = lull.code(p.lost:await())
      assert.is_true(code == "EPIPE" or code == "ECONNRESET", code)
      assert.equal(0, count(p, "resume_writing"))
    end))

    it("is told that somebody has closed the stream below", on(function()
      local a, b = assert(net.pair())
      local p = recorder()
      wrap(p, a)
      lull.sleep(1)
      a:close()
      assert.equal("ECANCELED", lull.code(p.lost:await()))
      assert.is_nil(b:read())
    end))

    -- ---- half-close ---------------------------------------------------------------

    it("keeps the connection where eof_received returns true", on(function()
      local p, peer, t = ends {eof_received = function() return true end}
      peer:write "question"
      peer:shutdown "write"
      lull.sleep(1)
      assert.is_false(t:is_closing())
      assert.is_false(t:is_reading())
      t:resume_reading()
      t:write "answer"
      assert.equal("answer", peer:read_some())
      lull.sleep(1)
      assert.equal(1, count(p, "eof_received"))
      t:close()
      assert.is_nil(p.lost:await())
    end))

    it("ends its own side, and goes on receiving", on(function()
      local p, peer, t = narrow()
      t:write(BIG)
      t:write_eof()
      t:write_eof()
      assert.has_error(function() t:write "x" end, "attempt to write after write_eof")
      assert.is_true(peer:read "a" == BIG)
      assert.is_false(t:is_closing())
      peer:write "still here"
      lull.sleep(1)
      assert.equal("still here", p.data)
      peer:close()
      assert.is_nil(p.lost:await())
      t:write_eof()
      t:write "ignored by now"
    end))

    -- ---- pausing ------------------------------------------------------------------

    it("is told once when too much waits, and once when it is sent", on(function()
      local p, peer, t = narrow()
      t:set_write_buffer_limits {high = 20000, low = 5000}
      t:write(("x"):rep(19000))
      local sizes = {}
      p.resume_writing = function(self)
        table.insert(self.log, "resume_writing")
        table.insert(sizes, t:get_write_buffer_size())
      end
      for _ = 1, 10 do t:write(("x"):rep(10000)) end
      assert.equal(1, count(p, "pause_writing"))
      assert.equal(0, count(p, "resume_writing"))
      local got = 0
      while t:get_write_buffer_size() > 5000 do
        assert.equal(0, count(p, "resume_writing"))
        got = got + #peer:read_some()
        lull.sleep(1)
      end
      assert.equal(1, count(p, "resume_writing"))
      assert.is_true(sizes[1] <= 5000)
      while got < 119000 do got = got + #peer:read_some() end
      lull.sleep(1)
      assert.equal(1, count(p, "pause_writing"))
      assert.equal(1, count(p, "resume_writing"))
      t:write(BIG)
      assert.equal(2, count(p, "pause_writing"))
    end))

    it("may write as long as it is not told to pause", on(function()
      local sent, rounds = 0, 0
      local function pump(p)
        p.paused = false
        while not p.paused and rounds < 300 do
          rounds = rounds + 1
          sent = sent + 5000
          p.t:write(("y"):rep(5000))
        end
        if rounds == 300 then p.t:close() end
      end
      local p, peer = narrow {
        connection_made = pump,
        resume_writing = pump,
        pause_writing = function(p) p.paused = true end,
      }
      assert.is_true(rounds < 300)
      assert.equal(300 * 5000, #peer:read "a")
      assert.is_nil(p.lost:await())
      assert.equal(300 * 5000, sent)
      assert.is_true(count(p, "resume_writing") > 3)
    end))

    it("has limits that make sense", on(function()
      local p, peer, t = narrow()
      t:set_write_buffer_limits {high = 0}
      t:write(BIG:sub(1, 300000))
      assert.equal(1, count(p, "pause_writing"))
      t:set_write_buffer_limits {low = 10 << 20} -- high: 40 MiB
      lull.sleep(1)
      assert.equal(1, count(p, "resume_writing"))
      t:set_write_buffer_limits()
      assert.equal(2, count(p, "pause_writing"))
      assert.has_error(function() t:set_write_buffer_limits {low = 2, high = 1} end)
      assert.has_error(function() t:set_write_buffer_limits {high = -1} end)
      assert.has_error(function() t:set_write_buffer_limits {high = "much"} end)
      assert.has_error(function() t:set_write_buffer_limits(7) end)
      t:close()
      assert.equal(300000, #peer:read "a")
      p.lost:await()
      t:set_write_buffer_limits {high = 1}
      assert.equal(2, count(p, "pause_writing"))
    end))

    it("receives nothing while it has paused", on(function()
      local p, peer, t = ends {connection_made = function(p)
        p.t:pause_reading()
      end}
      assert.is_false(t:is_reading())
      peer:write "one"
      lull.sleep(5)
      assert.equal("", p.data)
      t:pause_reading()
      t:resume_reading()
      t:resume_reading()
      assert.is_true(t:is_reading())
      lull.sleep(1)
      assert.equal("one", p.data)
      p.data_received = function(self, data)
        self.data = self.data .. data
        t:pause_reading()
      end
      lull.spawn(peer.write, peer, BIG)
      lull.sleep(5)
      assert.is_true(#p.data <= 3 + 65536)
      for _ = 1, 1000 do
        t:resume_reading()
        lull.sleep(0)
      end
      assert.equal(3 + #BIG, #p.data)
      t:resume_reading()
      t:pause_reading()
      t:resume_reading()
      peer:close()
      p.lost:await()
      t:pause_reading()
      t:resume_reading()
    end))

    it("is not told of the end while it has paused", on(function()
      local p, peer, t = ends()
      t:pause_reading()
      peer:write "last"
      peer:close()
      lull.sleep(5)
      assert.same({"connection_made"}, p.log)
      t:resume_reading()
      p.lost:await()
      assert.same({"connection_made", "data_received last", "eof_received",
        "connection_lost"}, p.log)
    end))

    it("lets others have their turn though a peer never stops", on(function()
      local p, peer = ends()
      local writing = lull.spawn(function()
        for _ = 1, 40 do peer:write(BIG) end
      end)
      local turns = 0
      repeat
        lull.sleep(0)
        turns = turns + 1
      until #p.data > 2 * #BIG or p.lost:done()
      assert.is_true(turns >= 2)
      writing:close()
    end))

    -- ---- the rest -----------------------------------------------------------------

    it("writes lists and numbers, and nothing else", on(function()
      local _, peer, t = ends()
      t:writelines {"a", 1, "b"}
      t:writelines {}
      t:write()
      t:write("c", 2)
      t:write ""
      assert.equal("a1bc2", peer:read(5))
      assert.has_error(function() t:write {} end)
      assert.has_error(function() t:write(nil) end)
      assert.has_error(function() t:writelines "abc" end)
      assert.has_error(function() t:writelines {"a", {}} end,
        "bad argument #1 to 'writelines' (item 2 is no string)")
      assert.has_error(function() t.write("x") end)
    end))

    it("knows who is connected, also when that is over", on(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local host, port = listener:local_address()
      local p = recorder()
      local t = protocol.connect(function() return p end, host, port)
      local peer <close> = listener:accept()
      local function look()
        assert.same({host, port}, {t:get_extra_info "peername"})
        assert.same({peer:peer()}, {t:get_extra_info "sockname"})
        assert.is_nil(t:get_extra_info "tls")
        assert.is_nil(t:get_extra_info "weather")
        local text = "^transport %d+ %(127%.0%.0%.1:%d+ %-> 127%.0%.0%.1:" .. port
        assert.matches(text, tostring(t))
      end
      look()
      assert.is_nil(tostring(t):find "clos")
      t:close()
      assert.matches(", closing%)$", tostring(t))
      p.connection_lost = look
      lull.sleep(0.001)
      look()
      assert.matches(", closed%)$", tostring(t))
    end, {real = true}))

    it("lives though nobody keeps it, and goes when it is lost", on(function()
      local kept = setmetatable({}, {__mode = "k"})
      local answered = 0
      local peers = {}
      for i = 1, 20 do
        local p, peer = ends {data_received = function(p, data)
          answered = answered + 1
          p.t:write(data)
        end}
        p.lost = lull.future()
        kept[p.t], peers[i] = true, peer
      end
      collectgarbage()
      for i, peer in ipairs(peers) do
        peer:write(i)
        collectgarbage "step"
      end
      for i, peer in ipairs(peers) do
        assert.equal(tostring(i), peer:read_some())
        peer:close()
      end
      lull.sleep(1)
      collectgarbage()
      collectgarbage()
      assert.equal(20, answered)
      assert.is_nil(next(kept))
    end))

    it("has its stream for itself", on(function()
      local a, peer = assert(net.pair())
      local reading <close> = lull.spawn(a.read, a)
      lull.sleep(1)
      assert.has_error(function() wrap(recorder(), a) end, "another task is reading")
      reading:close()
      peer:close()
      local b = assert(net.pair())
      b:close()
      assert.has_error(function() wrap(recorder(), b) end)
    end))

    -- ---- listening and the end ----------------------------------------------------

    it("goes on when its listener is closed", on(function()
      local server = recorder {data_received = function(p, data) p.t:write(data) end}
      local listener, port = listen(function() return server end)
      local peer <close> = assert(net.connect("127.0.0.1", port))
      peer:write "a"
      assert.equal("a", peer:read_some())
      listener:close()
      local refused, _, code = net.connect("127.0.0.1", port)
      assert.is_nil(refused)
      assert.equal("ECONNREFUSED", code)
      peer:write "b"
      assert.equal("b", peer:read_some())
      peer:close()
      server.lost:await()
    end, {real = true}))

    it("waits in the backlog while there are too many", on(function()
      local made, most, now = 0, 0, 0
      local listener <close>, port = listen(function()
        return {
          connection_made = function(self, t)
            self.t = t
            made, now = made + 1, now + 1
            most = math.max(most, now)
          end,
          data_received = function(self, data) self.t:write(data) end,
          connection_lost = function() now = now - 1 end,
        }
      end, {max_connections = 2})
      local tasks = {}
      for i = 1, 7 do
        tasks[i] = lull.spawn(function()
          local s <close> = assert(net.connect("127.0.0.1", port))
          s:write(i)
          assert.equal(tostring(i), s:read_some())
        end)
      end
      for _, task in ipairs(tasks) do task:await() end
      assert.equal(7, made)
      assert.equal(2, most)
      assert.is_truthy(listener)
    end, {real = true}))

    it("listens on a path, too", on(function()
      local dir <close> = helper.tempdir()
      local path = dir.path .. "/socket"
      local server = recorder {data_received = function(p, data) p.t:write(data) end}
      local listener <close> =
        assert(protocol.listen_unix(function() return server end, path))
      local client = recorder()
      local t = assert(protocol.connect_unix(function() return client end, path))
      assert.equal(path, t:get_extra_info "peername")
      t:write "x"
      t:write_eof()
      client.lost:await()
      assert.equal("x", client.data)
      assert.is_truthy(listener)
    end))

    it("tells of failures as connect and listen do", on(function()
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      local factory = function() error "not called" end
      local t, message, code = protocol.listen(factory, "127.0.0.1", port)
      assert.is_nil(t)
      assert.equal("EADDRINUSE", code)
      assert.matches("^EADDRINUSE: ", message)
      listener:close()
      t, message, code = protocol.connect(factory, "127.0.0.1", port)
      assert.is_nil(t)
      assert.equal("ECONNREFUSED", code)
      assert.matches("^ECONNREFUSED: ", message)
      assert.has_error(function() protocol.connect(nil, "127.0.0.1", port) end,
        "bad argument #1 to 'connect' (function expected, got no value)")
    end, {real = true}))
  end)
end

-- A run on a loop of one's own, for what comes at its end.
local function on_loop(fn, opts)
  local loop <close> = lull.new_loop {clock = "virtual"}
  local results = table.pack(loop[opts and opts.method or "run"](loop, fn))
  return loop, table.unpack(results, 1, results.n)
end

describe("at the end of the loop a protocol", function()
  it("is closed: it sends what was written, and is told", function()
    local p, parts, fd, raw = recorder(), {}, probe.pair()
    on_loop(function()
      wrap(p, core.stream(fd))
      p.t:write(BIG)
      lull.loop():add_reader(raw, function()
        parts[#parts + 1] = probe.read(raw)
      end)
    end)
    while #table.concat(parts) < #BIG do parts[#parts + 1] = assert(probe.read(raw)) end
    probe.close_fd(raw)
    assert.equal("connection_lost", last(p))
    assert.is_true(table.concat(parts) == BIG)
    assert.is_nil(p.lost:result())
  end)

  it("keeps nothing running by itself, nor does its listener", function()
    local p, lost
    on_loop(function()
      p = ends()
      p.connection_lost = function() lost = true end
      listen(recorder)
    end)
    assert.is_true(lost)
  end)

  it("goes on from one run to the next, and ends with the loop", function()
    local loop = lull.new_loop {clock = "virtual"}
    local p, peer
    loop:run_until_complete(function() p, peer = ends() end)
    assert.is_false(p.t:is_closing())
    p.t:write "between runs"
    loop:run_until_complete(function()
      assert.equal("between runs", peer:read_some())
      peer:write "x"
      lull.sleep(1)
    end)
    assert.equal("x", p.data)
    assert.equal(0, count(p, "connection_lost"))
    loop:close()
    assert.equal(1, count(p, "connection_lost"))
    p.t:write "ignored"
    p.t:close()
    p.t:abort()
    p.t:resume_reading()
    p.t:set_write_buffer_limits {high = 0}
    assert.equal(0, p.t:get_write_buffer_size())
    assert.is_true(p.t:is_closing())
  end)

  it("ends with a loop that is dropped", function()
    local transports, peers = setmetatable({}, {__mode = "k"}), {}
    local p = recorder()
    do
      local loop = lull.new_loop {clock = "virtual"}
      loop:run_until_complete(function()
        for _ = 1, 3 do
          local _, peer, t = ends()
          transports[t], peers[#peers + 1] = true, peer
        end
        local a = assert(net.pair())
        wrap(p, a)
      end)
    end
    collectgarbage()
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(transports))
    assert.is_true(p.t:is_closing())
    assert.equal(0, count(p, "connection_lost"))
    assert.equal("transport", tostring(p.t):match "^%l+")
  end)

  it("may begin another connection, which ends as well", function()
    local lost = 0
    on_loop(function()
      local function again(n)
        return recorder {connection_lost = function()
          lost = lost + 1
          if n > 0 then wrap(again(n - 1), (net.pair())) end
        end}
      end
      wrap(again(3), (net.pair()))
    end)
    assert.equal(4, lost)
  end)

  it("needs a loop", function()
    local out, err, code = helper.child([[
      local lull = require "lull"
      local protocol = require "lull.protocol"
      print(pcall(protocol.listen, function() end, "127.0.0.1", 0))]], "--plain")
    assert.equal("", err)
    assert.matches("^false", out)
    assert.equal(0, code)
  end)

  it("is told in a script, too", function()
    local out, err, code = helper.child [[
      local net = require "lull.net"
      local protocol = require "lull.protocol"
      local p = {}
      function p:connection_lost(err) print("lost", err) end
      protocol.wrap(function() return p end, (net.pair()))]]
    assert.equal("", err)
    assert.equal("lost\tnil\n", out)
    assert.equal(0, code)
  end)

  it("that failed makes the exit code 1", function()
    local out, err, code = helper.child [[
      local net = require "lull.net"
      local protocol = require "lull.protocol"
      local p = {}
      function p:connection_made() error "oh" end
      function p:connection_lost(err) print("lost", err) end
      protocol.wrap(function() return p end, (net.pair()))]]
    assert.matches("lull: callback: .*script.lua:4: oh\nstack traceback:", err)
    assert.matches("^lost\t.*script.lua:4: oh\n$", out)
    assert.equal(1, code)
  end)
end)

describe("transport methods", function()
  it("are ready for objects of other classes", function()
    run(function()
      local _, _, t = ends()
      local stream = net.pair()
      for _, name in ipairs {"write", "writelines", "write_eof", "close", "abort",
        "is_closing", "pause_reading", "resume_reading", "is_reading",
        "set_write_buffer_limits", "get_write_buffer_size", "get_extra_info"} do
        assert.is_false(pcall(t[name], stream, "x"))
        assert.is_false(pcall(t[name]))
      end
    end)
  end)
end)
