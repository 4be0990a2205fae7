-- Transports over datagrams, and their protocols.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local core = require "lull.core"
local protocol = require "lull.protocol"

-- A protocol that notes what it receives: p.got: {{data, host, port}, ...}; p.log the
-- names of the other callbacks; p.lost, a future.
local function recorder(more)
  local p = {got = {}, log = {}, errors = {}}
  p.lost, p.arrived = lull.future(), lull.event()
  for _, name in ipairs {"connection_made", "pause_writing", "resume_writing"} do
    p[name] = function(self, ...)
      table.insert(self.log, name)
      if name == "connection_made" then self.t = ... end
      if more and more[name] then more[name](self, ...) end
    end
  end
  function p:datagram_received(...)
    table.insert(self.got, {...})
    self.arrived:pulse()
    if more and more.datagram_received then more.datagram_received(self, ...) end
  end
  function p:error_received(err)
    table.insert(self.errors, err)
    self.arrived:pulse()
    if more and more.error_received then more.error_received(self, err) end
  end
  function p:connection_lost(err)
    table.insert(self.log, "connection_lost")
    self.lost:set_result(err)
  end
  -- until n datagrams and errors have come
  function p:wait(n)
    while #self.got + #self.errors < n do self.arrived:wait() end
  end
  return p
end

local function open(more, opts, host)
  local p = recorder(more)
  host = host or "127.0.0.1"
  return p, (assert(protocol.datagram(function() return p end, host, 0, opts)))
end

-- Two ends of a pair of Unix datagram sockets, where the system keeps little and says so.
local function pair(more)
  local a, b = assert(core.pair "dgram")
  a:setoption("sndbuf", 1)
  local p = recorder(more)
  return p, core.packets(a, p), b
end

for _, backend in helper.backends() do
  describe("datagrams on " .. backend, function()
    local function on(fn, opts)
      opts = opts or {real = true}
      opts.selector = backend
      return function() return run(fn, opts) end
    end
    local virtual = {}

    it("come one by one, with their sender", on(function()
      local a, t = open()
      local b, u = open()
      t:sendto("one", u:get_extra_info "sockname")
      t:sendto("", u:get_extra_info "sockname")
      t:sendto(("x"):rep(60000), u:get_extra_info "sockname")
      b:wait(3)
      local host, port = t:get_extra_info "sockname"
      assert.same({"one", host, port}, b.got[1])
      assert.same({"", host, port}, b.got[2])
      assert.equal(60000, #b.got[3][1])
      assert.same({"connection_made"}, a.log)
      assert.is_nil((t:get_extra_info "peername"))
    end))

    it("are answered from the callback", on(function()
      local _, echo = open {datagram_received = function(p, data, host, port)
        assert(lull.current() == nil)
        p.t:sendto(data:upper(), host, port)
      end}
      local b, u = open()
      u:sendto("hello", echo:get_extra_info "sockname")
      b:wait(1)
      assert.equal("HELLO", b.got[1][1])
    end))

    it("have one peer when they are connected", on(function()
      local a, t = open()
      local _, stranger = open()
      local b, u = open(nil, {remote = {t:get_extra_info "sockname"}})
      assert.same({t:get_extra_info "sockname"}, {u:get_extra_info "peername"})
      u:sendto "to you"
      a:wait(1)
      assert.equal("to you", a.got[1][1])
      stranger:sendto("not for you", u:get_extra_info "sockname")
      t:sendto("for you", u:get_extra_info "sockname")
      b:wait(1)
      assert.equal("for you", b.got[1][1])
    end))

    it("tell of errors and go on", on(function()
      local gone, t = open()
      local address = {t:get_extra_info "sockname"}
      t:close()
      gone.lost:await()
      local b, u = open(nil, {remote = address})
      u:sendto "is anybody there?"
      b:wait(1)
      assert.equal("ECONNREFUSED", lull.code(b.errors[1]))
      assert.is_false(u:is_closing())
      local c, v = open()
      v:sendto(("x"):rep(70000), u:get_extra_info "sockname")
      assert.equal("EMSGSIZE", lull.code(c.errors[1]))
      assert.is_false(v:is_closing())
    end))

    it("go over IPv6, too", on(function()
      if not helper.has_inet6() then return end
      local a, t = open(nil, nil, "::1")
      t:sendto("six", t:get_extra_info "sockname")
      a:wait(1)
      assert.same({"six", t:get_extra_info "sockname"}, a.got[1])
      t:sendto("x", "127.0.0.1", 1)
      assert.equal("ENETUNREACH", lull.code(a.errors[1]))
    end))

    it("go to both families from a socket for both", on(function()
      if not helper.has_inet6() then return end
      local a, t = open(nil, nil, "*")
      local _, port = t:get_extra_info "sockname"
      local _, six = open({connection_made = function(p)
        p.t:sendto("six", "::1", port)
      end}, nil, "::1")
      local four, u = open({connection_made = function(p)
        p.t:sendto("four", "127.0.0.1", port)
      end}, nil, "127.0.0.1")
      a:wait(2)
      local from = {}
      for _, packet in ipairs(a.got) do from[packet[1]] = packet[2] end
      assert.same({six = "::1", four = "127.0.0.1"}, from)
      t:sendto("back", u:get_extra_info "sockname")
      four:wait(1)
      assert.same({"back", "127.0.0.1", port}, four.got[1])
      assert.is_truthy(six)
      local failed, message, code = protocol.datagram(error, "192.0.2.1", 0)
      assert.is_nil(failed)
      assert.equal("EADDRNOTAVAIL", code)
      assert.matches("^EADDRNOTAVAIL: ", message)
    end))

    it("look their one peer up by its name", on(function()
      local a, t = open()
      local _, port = t:get_extra_info "sockname"
      local _, u = open(nil, {remote = {"localhost", port}})
      u:sendto "by name"
      a:wait(1)
      assert.equal("by name", a.got[1][1])
    end))

    it("wait where the system takes no more, and go out in order", on(function()
      local a, t, peer = pair()
      t:set_write_buffer_limits {high = 3000, low = 500}
      local n = 0
      repeat
        n = n + 1
        t:sendto(("%03d"):format(n) .. ("x"):rep(200))
      until a.log[#a.log] == "pause_writing"
      assert.is_true(t:get_write_buffer_size() > 3000)
      t:sendto "the last"
      assert.same({"connection_made", "pause_writing"}, a.log)
      for i = 1, n do
        assert.equal(("%03d"):format(i), peer:recv(1000):sub(1, 3))
      end
      assert.equal("the last", peer:recv(1000))
      lull.sleep(1)
      assert.same({"connection_made", "pause_writing", "resume_writing"}, a.log)
      assert.equal(0, t:get_write_buffer_size())
      assert.same({}, a.errors)
    end, virtual))

    it("count though they are empty", on(function()
      local a, t, peer = pair()
      t:set_write_buffer_limits {high = 200}
      for _ = 1, 100000 do
        t:sendto ""
        if a.log[2] then break end
      end
      assert.equal("pause_writing", a.log[2])
      peer:close()
    end, virtual))

    it("are sent though it closes, and dropped when it aborts", on(function()
      for _, method in ipairs {"close", "abort"} do
        local a, t, peer = pair()
        for i = 1, 100 do t:sendto(i .. (" "):rep(500)) end
        local waiting = t:get_write_buffer_size()
        assert.is_true(waiting > 0)
        t[method](t)
        t:sendto "ignored"
        local n = 0
        if method == "abort" then assert.is_nil(a.lost:await()) end
        peer:settimeout(1)
        while peer:recv(1000) do n = n + 1 end
        assert.is_nil(a.lost:await())
        assert.equal(method == "close", n == 100)
        assert.equal("connection_lost", a.log[#a.log])
      end
    end, virtual))

    it("are lost in the end where nobody takes them", on(function()
      local a, t, peer = pair()
      for i = 1, 100 do t:sendto(i .. (" "):rep(500)) end
      t:close()
      assert.equal("ETIMEDOUT", lull.code(a.lost:await()))
      peer:close()
    end, virtual))

    it("go with the peer", on(function()
      local a, t, peer = pair()
      for i = 1, 100 do t:sendto(i .. (" "):rep(500)) end
      peer:close()
      a:wait(1)
      assert.equal("ECONNREFUSED", lull.code(a.errors[1]))
      lull.sleep(1)
      assert.equal(0, t:get_write_buffer_size())
      t:close()
      assert.is_nil(a.lost:await())
    end, virtual))

    it("come not while it has paused", on(function()
      local a, t, peer = pair {datagram_received = function(p)
        if #p.got == 2 then p.t:pause_reading() end
      end}
      for i = 1, 4 do peer:send(tostring(i)) end
      lull.sleep(1)
      assert.equal(2, #a.got)
      t:resume_reading()
      lull.sleep(1)
      assert.equal(4, #a.got)
    end, virtual))

    for _, name in ipairs {"datagram_received", "error_received", "connection_made"} do
      it("end with a protocol that fails in " .. name, on(function()
        local reports = {}
        lull.loop():on_unhandled(function(err) reports[#reports + 1] = err end)
        local a, t, peer = pair {[name] = function() error("oh", 0) end}
        if name == "datagram_received" then peer:send "x" end
        if name == "error_received" then
          peer:close()
          t:sendto "x"
        end
        assert.equal("oh", a.lost:await())
        assert.same({"oh"}, reports)
      end, virtual))

      it("end with one that closes in " .. name, on(function()
        local a, t, peer = pair {[name] = function(p) p.t:close() end}
        if name == "datagram_received" then peer:send "x" end
        if name == "error_received" then
          peer:close()
          t:sendto "x"
        end
        assert.is_nil(a.lost:await())
      end, virtual))
    end

    it("are sent to numbers", on(function()
      local _, t = open()
      assert.has_error(function() t:sendto("x", "localhost", 1) end,
        "bad argument #2 to 'sendto' (numeric address expected: see net.resolve)")
      assert.has_error(function() t:sendto("x", "127.0.0.1", 65536) end)
      assert.has_error(function() t:sendto "x" end)
      assert.has_error(function() t:sendto({}, "127.0.0.1", 1) end)
      assert.has_error(function() t:write "x" end)
    end))
  end)
end

describe("datagrams at the end of the loop", function()
  it("end with it", function()
    local p
    run(function() p = pair() end)
    assert.equal("connection_lost", p.log[#p.log])
  end)

  it("may be forgotten with it", function()
    local kept = setmetatable({}, {__mode = "k"})
    do
      local loop = lull.new_loop {clock = "virtual"}
      loop:run_until_complete(function()
        for _ = 1, 3 do
          local _, t = pair()
          for i = 1, 100 do t:sendto(i .. (" "):rep(500)) end
          kept[t] = true
        end
      end)
    end
    for _ = 1, 3 do collectgarbage() end
    assert.is_nil(next(kept))
  end)
end)
