-- Listeners: accept and what becomes of those who wait.  Serving is in net_spec.lua.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local net = require "lull.net"
local core = require "lull.core"
local probe = require "probe"
local failure = cast.failure

local function listen(opts)
  local listener = assert(net.listen("127.0.0.1", 0, opts))
  local _, port = listener:local_address()
  return listener, port
end

for _, backend in helper.backends() do
  describe("a listener on " .. backend, function()
    -- TCP takes its time, also over the loopback device.
    local function on(fn, clock)
      local opts = {selector = backend, real = clock ~= "virtual"}
      return function() return run(fn, opts) end
    end

    it("knows where it listens", on(function()
      local l, port = listen()
      assert.same({"127.0.0.1", port}, {l:local_address()})
      assert.matches("^listener %d+ %(127%.0%.0%.1:" .. port .. "%)$", tostring(l))
      assert.equal("integer", math.type(l:fileno()))
    end))

    it("accepts those who are there, and waits for those who come", on(function()
      local l, port = listen()
      local first = assert(net.connect("127.0.0.1", port))
      local a = l:accept()
      assert.same({first:local_address()}, {a:peer()})
      local waiting = lull.spawn(l.accept, l)
      helper.turns(2)
      local second = assert(net.connect("127.0.0.1", port))
      local b = waiting:await()
      assert.same({second:local_address()}, {b:peer()})
      b:write "hello"
      assert.equal("hello", second:read_some())
    end))

    it("lets many wait, each of whom gets another", on(function()
      local l, port = listen()
      local waiting, clients, peers = {}, {}, {}
      for i = 1, 10 do waiting[i] = lull.spawn(l.accept, l) end
      helper.turns(2)
      for i = 1, 10 do clients[i] = assert(net.connect("127.0.0.1", port)) end
      for i = 1, 10 do
        local _, peer_port = waiting[i]:await():peer()
        peers[peer_port] = true
      end
      for i = 1, 10 do
        local _, own = clients[i]:local_address()
        assert.is_true(peers[own])
      end
    end))

    it("try_accept never waits", on(function()
      local l, port = listen()
      assert.is_false(l:try_accept())
      assert.is_false(l:try_accept())
      local client = net.connect("127.0.0.1", port)
      local server
      repeat
        server = l:try_accept()
        lull.sleep(0)
      until server
      assert.same({client:local_address()}, {server:peer()})
      assert.is_false(l:try_accept())
    end))

    it("has a time limit for each call", on(function()
      local l, port = listen()
      l:settimeout(2)
      local began = lull.now()
      assert.equal("ETIMEDOUT", failure(l:accept()))
      assert.equal(2, lull.now() - began)
      l:settimeout(0)
      assert.equal("ETIMEDOUT", failure(l:accept()))
      local _ <close> = net.connect("127.0.0.1", port, {timeout = false})
      l:settimeout(nil)
      assert.is_truthy(l:accept())
      local waiting = lull.spawn(l.accept, l)
      lull.sleep(20)
      assert.equal("pending", waiting:status())
      waiting:close()
    end, "virtual"))

    it("wakes who waits when it is closed, and refuses then", on(function()
      local l, port = listen()
      local a, b = lull.spawn(l.accept, l), lull.spawn(l.accept, l)
      helper.turns(2)
      l:close()
      l:close()
      assert.equal("ECANCELED", failure(a:await()))
      assert.equal("ECANCELED", failure(b:await()))
      for _, name in ipairs {
        "accept", "try_accept", "local_address", "fileno", "settimeout",
      } do
        local ok, err = pcall(l[name], l)
        assert.is_false(ok)
        assert.matches("attempt to use a closed listener", err)
      end
      assert.matches("closed", tostring(l))
      assert.equal("ECONNREFUSED", failure(net.connect("127.0.0.1", port)))
    end))

    it("closes with its variable and when it is collected", on(function()
      local l, port = listen()
      do local _ <close> = l end
      assert.equal("ECONNREFUSED", failure(net.connect("127.0.0.1", port)))
      l, port = listen()
      assert.is_truthy(l)
      l = nil
      collectgarbage()
      collectgarbage()
      assert.is_nil(l)
      assert.equal("ECONNREFUSED", failure(net.connect("127.0.0.1", port)))
    end))

    it("loses no connection when an accept is cancelled", on(function()
      local l, port = listen()
      local waiting = lull.spawn(l.accept, l)
      helper.turns(2)
      local client = net.connect("127.0.0.1", port)
      waiting:cancel()
      local won, stream = pcall(waiting.await, waiting)
      if not won then stream = l:accept() end
      assert.same({client:local_address()}, {stream:peer()})
    end))

    it("gives its options to its streams", on(function()
      local l, port = listen {limit = 5, high_water = 100}
      local client = net.connect("127.0.0.1", port)
      local s = l:accept()
      client:write "123456\n"
      assert.equal("EMSGSIZE", failure(s:read()))
    end))

    it("says that descriptors have run out, and goes on later", on(function()
      local l, port = listen()
      local client = net.connect("127.0.0.1", port)
      local spare, last = {}
      local limit = probe.files(client:fileno() + 8)
      repeat
        last = probe.dup(client:fileno())
        spare[#spare + 1] = last
      until not last
      local code = failure(l:accept())
      for _, fd in ipairs(spare) do probe.close_fd(fd) end
      probe.files(limit)
      assert.equal("EMFILE", code)
      assert.same({client:local_address()}, {l:accept():peer()})
    end))

    it("accepts on Unix sockets", on(function()
      local dir <close> = helper.tempdir()
      local path = dir.path .. "/socket"
      local l = assert(net.listen_unix(path))
      assert.equal(path, l:local_address())
      assert.is_truthy(tostring(l):find(path, 1, true))
      local client = assert(net.connect_unix(path))
      local s = l:accept()
      client:write "x"
      assert.equal("x", s:read_some())
      assert.equal(path, client:peer())
      assert.is_truthy(tostring(client):find(path, 1, true))
    end))
  end)
end

describe("a listener", function()
  it("wants a socket", function()
    run(function()
      assert.is_false(pcall(core.listener))
      assert.is_false(pcall(core.listener, "x"))
      assert.is_false(pcall(core.methods.Listener.accept, io.stdout))
    end)
  end)

  it("does not accept outside of a task", function()
    local l
    run(function() l = listen() end)
    assert.is_false(pcall(l.accept, l))
    l:close()
  end)
end)
