-- Sockets one system call thin, on every selector: what each call gives, what becomes
-- of those who wait when the socket is closed or they are cancelled, and that no byte is
-- lost.
local helper = require "spec.helper"
local lull = require "lull"
local net = require "lull.net"
local run = helper.run

local real = {real = true}

-- A listening TCP socket and its port.
local function listening(backlog)
  local s = assert(net.socket "inet")
  assert(s:bind("127.0.0.1", 0))
  assert(s:listen(backlog))
  local _, port = s:local_address()
  return s, port
end

-- Two sockets, and what closes them when the block is left.
local function both(a, b)
  return a, b, helper.closer(function()
    a:close()
    b:close()
  end)
end

-- Two ends of a TCP connection.
local function connected()
  local listener <close>, port = listening()
  local client = assert(net.socket "inet")
  local accepted = lull.spawn(listener.accept, listener)
  assert(client:connect("127.0.0.1", port))
  return both(client, assert(accepted:await()))
end

-- Two ends of a Unix socket pair, which on a virtual clock are as quick as thought.
local function pair(kind)
  return both(require "lull.core".pair(kind))
end

-- A name in the abstract space that nobody else has.
local names = 0
local function abstract()
  names = names + 1
  return ("\0lull-spec-%p-%d"):format(names, names) .. os.time() .. math.random(1 << 30)
end

-- Reads until the end.
local function all(socket)
  local parts = {}
  while true do
    local data, message = socket:recv()
    if not data then return table.concat(parts), message end
    parts[#parts + 1] = data
  end
end

-- Spawns fn and lets it come to its wait.
local function waiting(fn, ...)
  local task = lull.spawn(fn, ...)
  helper.turns(2)
  return task
end

for _, backend in helper.backends() do
  local here = {selector = backend}
  local there = {selector = backend, real = true}

  describe("socket on " .. backend, function()
    it("carries bytes both ways", function()
      run(function()
        local a, b, _ <close> = connected()
        assert.equal(5, a:send "hello")
        assert.equal("hello", b:recv(100))
        assert.is_true(b:sendall "world")
        assert.equal("wor", a:recv(3))
        assert.equal("ld", a:recv(3))
      end, there)
    end)

    it("waits for what is not there yet", function()
      run(function()
        local a, b, _ <close> = pair()
        local reader = waiting(a.recv, a, 10)
        b:send "late"
        assert.equal("late", reader:await())
      end, here)
    end)

    it("sends all of a large string to a slow reader", function()
      run(function()
        local a, b, _ <close> = connected()
        local data = ("0123456789abcdef"):rep(1 << 17)
        local sender = lull.spawn(function()
          assert(a:sendall(data))
          assert(a:shutdown "write")
        end)
        assert.is_true(data == all(b))
        sender:await()
      end, there)
    end)

    it("gives a bare nil at the end, again and again", function()
      run(function()
        local a, b, _ <close> = connected()
        b:close()
        for _ = 1, 3 do
          assert.same({n = 1}, table.pack(a:recv()))
        end
      end, there)
    end)

    it("still reads when its own side is shut down", function()
      run(function()
        local a, b, _ <close> = connected()
        a:shutdown "write"
        assert.is_nil(b:recv())
        b:sendall "the answer"
        b:close()
        assert.equal("the answer", (all(a)))
      end, there)
    end)

    it("says that the connection was reset", function()
      run(function()
        local a, b, _ <close> = connected()
        a:send "never read"
        local reader = lull.spawn(a.recv, a)
        helper.turns(1)
        assert.equal("never", b:recv(5)) -- it has come
        b:close() -- with bytes unread: a reset
        local data, message, code = reader:await()
        assert.is_nil(data)
        assert.equal("ECONNRESET", code)
        assert.matches("^ECONNRESET: connection reset by peer", message)
      end, there)
    end)

    it("says that the connection was refused", function()
      run(function()
        local unheard <close> = assert(net.socket "inet")
        assert(unheard:bind("127.0.0.1", 0))
        local _, port = unheard:local_address()
        local s <close> = assert(net.socket "inet")
        local ok, message, code = s:connect("127.0.0.1", port)
        assert.is_nil(ok)
        assert.equal("ECONNREFUSED", code)
        assert.equal(("ECONNREFUSED: connection refused (127.0.0.1:%d)"):format(port),
                     message)
      end, there)
    end)

    it("lets any number of tasks accept", function()
      run(function()
        local listener <close>, port = listening()
        local tasks = {}
        for i = 1, 3 do tasks[i] = lull.spawn(listener.accept, listener) end
        helper.turns(2)
        local clients = {}
        for i = 1, 3 do
          clients[i] = assert(net.socket "inet")
          assert(clients[i]:connect("127.0.0.1", port))
        end
        for i = 1, 3 do
          assert.matches("^socket %d+", tostring(assert(tasks[i]:await())))
        end
      end, there)
    end)

    it("lets any number of tasks read, each gets what it asked for first", function()
      run(function()
        local a, b, _ <close> = pair()
        local tasks = {}
        for i = 1, 3 do tasks[i] = waiting(a.recv, a, 2) end
        b:send "aabbcc"
        local got = {}
        for i = 1, 3 do got[i] = tasks[i]:await() end
        assert.same({"aa", "bb", "cc"}, got)
      end, here)
    end)

    it("keeps the borders of datagrams, the empty one too", function()
      run(function()
        local a, b, _ <close> = both(net.socket("inet", "dgram"),
                                     net.socket("inet", "dgram"))
        assert(a:bind("127.0.0.1", 0))
        assert(b:bind("127.0.0.1", 0))
        local _, a_port = a:local_address()
        local _, b_port = b:local_address()
        for _, data in ipairs {"one", "", "three"} do
          assert.equal(#data, a:sendto(data, "127.0.0.1", b_port))
        end
        for _, data in ipairs {"one", "", "three"} do
          assert.same({data, "127.0.0.1", a_port}, {b:recvfrom(100)})
        end
        local reader = waiting(b.recv, b, 3)
        a:sendto("cut off", "127.0.0.1", b_port)
        assert.equal("cut", reader:await())
      end, there)
    end)

    it("connects over a path and an abstract name", function()
      run(function()
        local dir <close> = helper.tempdir()
        for _, name in ipairs {dir.path .. "/socket", abstract()} do
          local listener <close> = assert(net.socket "unix")
          assert(listener:bind(name))
          assert(listener:listen())
          assert.equal(name, listener:local_address())
          local client <close> = assert(net.socket "unix")
          assert(client:connect(name))
          assert.equal(name, client:peer())
          local server <close> = assert(listener:accept())
          client:send "x"
          assert.equal("x", server:recv())
        end
      end, here)
    end)

    it("waits for room in the backlog of a Unix listener", function()
      run(function()
        local name = abstract()
        local listener <close> = assert(net.socket "unix")
        assert(listener:bind(name))
        assert(listener:listen(0))
        local tasks = {}
        for i = 1, 4 do
          local s = assert(net.socket "unix")
          tasks[i] = waiting(s.connect, s, name)
        end
        assert.is_false(tasks[4]:done())
        for _ = 1, 4 do assert(listener:accept()) end
        for i = 1, 4 do assert.is_true(tasks[i]:await()) end

        local s <close> = assert(net.socket "unix")
        s:settimeout(0)
        for _ = 1, 3 do
          waiting(function() net.socket("unix"):connect(name) end):daemon()
        end
        assert.equal("ETIMEDOUT", select(3, s:connect(name)))
        s:settimeout(0.5)
        local start = lull.now()
        assert.equal("ETIMEDOUT", select(3, s:connect(name)))
        assert.is_true(lull.now() - start >= 0.5)
      end, here)
    end)

    it("wakes all who wait when it is closed", function()
      run(function()
        local a, b, _ <close> = pair()
        local full = ("x"):rep(1 << 20)
        local tasks = {
          waiting(a.recv, a), waiting(a.recvfrom, a), waiting(a.sendall, a, full),
        }
        a:close()
        for i, task in ipairs(tasks) do
          assert.equal("ECANCELED", select(3, task:await()), i)
        end
        local listener = listening()
        local acceptor = waiting(listener.accept, listener)
        listener:close()
        assert.equal("ECANCELED", select(3, acceptor:await()))
        assert.is_not_nil(b)
      end, here)
    end)

    it("wakes a reader that was ready already with the same", function()
      run(function()
        local a, b, _ <close> = pair()
        local reader = waiting(a.recv, a)
        b:send "too late"
        lull.spawn(a.close, a)
        local data, _, code = reader:await()
        assert.is_true(data == "too late" or code == "ECANCELED")
      end, here)
    end)

    it("gives up after its time", function()
      run(function()
        local a, b, _ <close> = pair()
        a:settimeout(2)
        local start = lull.now()
        local data, message, code = a:recv()
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", code)
        assert.matches("^ETIMEDOUT: ", message)
        assert.near(2, lull.now() - start, 0.1)
        b:send "x"
        assert.equal("x", a:recv())
        a:settimeout(nil)
        local reader = waiting(a.recv, a)
        lull.sleep(30)
        assert.is_false(reader:done())
        b:send "y"
        assert.equal("y", reader:await())
      end, here)
    end)

    it("takes what is there now when it may not wait", function()
      run(function()
        local a, b, _ <close> = pair()
        a:settimeout(0)
        for i = 1, 3 do
          assert.equal("ETIMEDOUT", select(3, a:recv()))
          b:send(tostring(i))
          assert.equal(tostring(i), a:recv())
        end
      end, here)
    end)

    it("loses nothing to a cancellation that comes with the data", function()
      run(function()
        local a, b, _ <close> = pair()
        for i = 1, 20 do
          local reader = waiting(a.recv, a)
          if i % 2 == 0 then b:send "data" end
          reader:cancel()
          if i % 2 == 1 then b:send "data" end
          helper.turns(2)
          assert.is_true(reader:cancelled())
          assert.equal("data", a:recv())
        end
      end, here)
    end)

    it("loses no connection to a cancelled accept", function()
      run(function()
        local name = abstract()
        local listener <close> = assert(net.socket "unix")
        assert(listener:bind(name))
        assert(listener:listen())
        local acceptor = waiting(listener.accept, listener)
        local client <close> = assert(net.socket "unix")
        assert(client:connect(name))
        acceptor:cancel()
        local server <close> = assert(listener:accept())
        server:send "here"
        assert.equal("here", client:recv())
        helper.turns(1)
        assert.is_true(acceptor:cancelled())
      end, here)
    end)

    it("can be cancelled in every wait", function()
      run(function()
        local a, b, _ <close> = pair()
        local d, e, _ <close> = pair "dgram"
        local listener <close> = listening()
        local full = ("x"):rep(1 << 20)
        repeat a:settimeout(0) until not a:send(full)
        repeat d:settimeout(0) until not d:send "x"
        a:settimeout(nil)
        d:settimeout(nil)
        for _, task in ipairs {
          waiting(a.recv, a), waiting(a.recvfrom, a), waiting(a.send, a, "x"),
          waiting(a.sendall, a, full), waiting(d.send, d, "x"),
          waiting(listener.accept, listener),
        } do
          assert.is_false(task:done())
          task:cancel()
          helper.turns(2)
          assert.is_true(task:cancelled())
        end
        assert.is_not_nil(b and e)
      end, here)
    end)

    it("is fair to others while it never has to wait", function()
      run(function()
        local a, b, _ <close> = pair()
        local turns <close> = helper.counter()
        for _ = 1, 2000 do
          a:send "x"
          b:recv()
        end
        assert.is_true(turns() > 10)
      end, here)
    end)
  end)
end

describe("socket", function()
  it("raises outside of a task, also where it need not wait", function()
    local a, b, _ <close> = pair()
    assert.error_matches(function() b:send "x" end, "cannot suspend outside of a task")
    assert.error_matches(function() a:recv() end, "cannot suspend outside of a task")
    run(function() assert(b:send "x") end)
    assert.error_matches(function() a:recv() end, "cannot suspend outside of a task")
    assert.equal("x", run(function() return a:recv() end))
  end)

  it("is used on one loop after the other", function()
    local a, b, _ <close> = pair()
    for i = 1, 3 do
      run(function()
        local reader = waiting(a.recv, a)
        b:send(tostring(i))
        assert.equal(tostring(i), reader:await())
      end)
    end
  end)

  it("raises when it is used after its end, but may be closed twice", function()
    run(function()
      local s = assert(net.socket "inet")
      s:close()
      s:close()
      assert.equal("socket (closed)", tostring(s))
      for _, name in ipairs {"recv", "listen", "accept", "peer", "fileno"} do
        assert.error_matches(function() s[name](s) end, "attempt to use a closed socket")
      end
    end)
  end)

  it("is closed when its block is left", function()
    run(function()
      local a, b, _ <close> = pair()
      do local _ <close> = a end
      assert.is_nil(b:recv())
    end)
  end)

  it("is closed when it is collected", function()
    run(function()
      local a, b = require "lull.core".pair()
      assert.is_not_nil(a)
      a = nil
      collectgarbage()
      collectgarbage()
      assert.is_nil(b:recv(), a)
      b:close()
    end)
  end)

  it("gives its descriptor away", function()
    run(function()
      local a, b, _ <close> = pair()
      local fd = a:fileno()
      assert.equal(fd, a:detach())
      assert.equal("socket (closed)", tostring(a))
      local stream <close> = require "lull.core".stream(fd)
      b:send "still open"
      assert.equal("still open", stream:read(10))
    end)
  end)

  it("has options", function()
    run(function()
      local s <close> = assert(net.socket "inet")
      for _, name in ipairs {"reuseaddr", "reuseport", "nodelay", "keepalive"} do
        assert.is_false(s:getoption(name), name)
        assert.is_true(s:setoption(name, true))
        assert.is_true(s:getoption(name), name)
        assert.is_true(s:setoption(name, false))
        assert.is_false(s:getoption(name), name)
      end
      assert(s:setoption("rcvbuf", 65536))
      assert.is_true(s:getoption "rcvbuf" >= 65536)
      assert.equal(0, s:getoption "error")
      local d <close> = assert(net.socket("inet", "dgram"))
      assert.is_true(d:setoption("broadcast", true))
      assert.is_true(d:getoption "broadcast")
      local _, _, code = d:setoption("nodelay", true)
      assert.is_string(code)
      assert.error_matches(function() s:setoption("error", 1) end, "can only be read")
      assert.error_matches(function() s:setoption("colour", 1) end, "invalid option")
      assert.error_matches(function() s:setoption "nodelay" end, "value expected")
    end)
  end)

  it("knows its addresses", function()
    run(function()
      local listener <close>, port = listening()
      local client <close> = assert(net.socket "inet")
      assert.equal("ENOTCONN", select(3, client:peer()))
      assert(client:connect("127.0.0.1", port))
      assert.same({"127.0.0.1", port}, {client:peer()})
      local server <close> = assert(listener:accept())
      assert.same({client:local_address()}, {server:peer()})
      assert.same({server:local_address()}, {client:peer()})
      assert.equal(("socket %d (inet stream 127.0.0.1:%d)"):format(client:fileno(), port),
                   tostring(client))
    end, real)
  end)

  it("is told by name where to connect and bind", function()
    run(function()
      local listener <close> = assert(net.socket "inet")
      assert(listener:bind("localhost", 0))
      assert(listener:listen())
      local _, port = listener:local_address()
      local client <close> = assert(net.socket "inet")
      assert.is_true(client:connect("localhost", port))
      local a <close> = assert(net.socket("inet", "dgram"))
      assert(a:bind("localhost", 0))
      _, port = a:local_address()
      assert.equal(2, a:sendto("hi", "localhost", port))
      assert.same({"hi", "127.0.0.1", port}, {a:recvfrom()})
      assert.matches("^EAI_", (select(3, client:connect("no such name", 1))))
    end, real)
  end)

  it("says what is wrong with its arguments", function()
    run(function()
      local s <close> = assert(net.socket "inet")
      assert.error_matches(function() net.socket "ipx" end, "invalid option 'ipx'")
      assert.error_matches(function() net.socket("inet", "raw") end, "invalid option")
      assert.error_matches(function() s:connect("127.0.0.1") end, "number expected")
      assert.error_matches(function() s:connect("::1", 65536) end, "not a port number")
      assert.error_matches(function() s:recv(0) end, "must be positive")
      assert.error_matches(function() s:send() end, "string expected")
      assert.error_matches(function() s:settimeout(-1) end, "must not be negative")
      assert.error_matches(function() s.recv(io.stdout) end, "Socket expected")
      local u <close> = assert(net.socket "unix")
      assert.equal("ENAMETOOLONG", select(3, u:bind(("x"):rep(200))))
      assert.equal("EINVAL", select(3, u:bind ""))
      assert.equal("EINVAL", select(3, u:bind "a\0b"))
      assert.equal("ENOENT", select(3, u:connect "/no/such/socket"))
    end)
  end)
end)
