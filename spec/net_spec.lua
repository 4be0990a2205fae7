-- Connecting, listening and serving, against good luck and bad: peers that refuse, reset,
-- never read or never come, servers that end in every way, descriptors that run out.
local helper = require "spec.helper"
local lull = require "lull"
local net = require "lull.net"
local run = helper.run

local real = {real = true} -- TCP takes its time, also over the loopback device

local function listen(opts)
  local listener = assert(net.listen("127.0.0.1", 0, opts))
  local _, port = listener:local_address()
  return listener, port
end

-- A port where nobody listens, as long as the block lasts.
local function deaf()
  local s = assert(net.socket "inet")
  assert(s:bind("127.0.0.1", 0))
  local _, port = s:local_address()
  return port, s
end

local function connect(port, opts)
  return assert(net.connect("127.0.0.1", port, opts))
end

-- Gives others turns until condition() holds.
local function until_(condition)
  while not condition() do lull.sleep(0) end
end

-- A server in a task of its own; the block that made it ends it.
local function serving(handler, opts)
  local listener, port = listen()
  local task = lull.spawn(listener.serve, listener, handler, opts)
  return port, listener, task, helper.closer(function()
    listener:close()
    task:close()
  end)
end

local function echo(stream)
  for line in stream:lines() do stream:write(line, "\n") end
end

local function ask(stream, line)
  stream:write(line, "\n")
  return stream:read()
end

describe("connect", function()
  it("reaches a number and a name", function()
    run(function()
      local port, _, _, _ <close> = serving(echo)
      for _, host in ipairs {"127.0.0.1", "localhost"} do
        local stream <close> = assert(net.connect(host, port))
        assert.equal("hello", ask(stream, "hello"))
        assert.same({"127.0.0.1", port}, {stream:peer()})
      end
      local stream <close> = assert(net.connect("127.0.0.1", tostring(port)))
      assert.equal("a port may be digits", ask(stream, "a port may be digits"))
    end, real)
  end)

  it("tells who refused", function()
    run(function()
      local port, _ <close> = deaf()
      local stream, message, code = net.connect("127.0.0.1", port)
      assert.is_nil(stream)
      assert.equal("ECONNREFUSED", code)
      assert.equal(("ECONNREFUSED: connection refused (127.0.0.1:%d)"):format(port),
                   message)
      assert.equal("ECONNREFUSED", select(3, net.connect("localhost", port)))
    end, real)
  end)

  it("tells that there is no such name", function()
    run(function()
      local stream, message, code = net.connect("not a name", 80)
      assert.is_nil(stream)
      assert.matches("^EAI_", code)
      assert.matches("not a name", message)
    end, real)
  end)

  it("gives up after its time", function()
    run(function()
      -- No accept, and a full backlog: the system drops what comes.
      local s <close> = assert(net.socket "inet")
      assert(s:bind("127.0.0.1", 0))
      assert(s:listen(0))
      local _, port = s:local_address()
      for _ = 1, 3 do
        lull.spawn(net.connect, "127.0.0.1", port, {timeout = false}):daemon()
      end
      helper.turns(5)
      local stream, message, code = net.connect("127.0.0.1", port, {timeout = 0.05})
      assert.is_nil(stream)
      assert.equal("ETIMEDOUT", code)
      assert.matches("127.0.0.1:" .. port, message, 1, true)
      local waiting = lull.spawn(net.connect, "127.0.0.1", port)
      helper.turns(5)
      waiting:cancel()
      helper.turns(2)
      assert.is_true(waiting:cancelled())
    end, real)
  end)

  it("comes from where it is told to", function()
    run(function()
      local port, _, _, _ <close> = serving(function(stream)
        stream:write((stream:peer()))
      end)
      local stream <close> = connect(port, {bind = "127.0.0.2"})
      assert.equal("127.0.0.2", stream:read "a")
      stream:close()
      local other <close> = connect(port, {bind = {"127.0.0.3", 0}})
      assert.equal("127.0.0.3", other:read "a")
      assert.equal("EADDRNOTAVAIL",
                   select(3, net.connect("127.0.0.1", port, {bind = "192.0.2.1"})))
    end, real)
  end)

  it("leaves no descriptor behind when it fails or is cancelled", function()
    run(function()
      local port, _ <close> = deaf()
      local function lowest()
        local s <close> = assert(net.socket "inet")
        return s:fileno()
      end
      local before = lowest()
      for _ = 1, 5 do
        net.connect("127.0.0.1", port)
        local task = lull.spawn(net.connect, "127.0.0.1", port)
        helper.turns(1)
        task:close()
      end
      assert.equal(before, lowest())
    end, real)
  end)

  it("says what is wrong with its arguments", function()
    run(function()
      local function complains(pattern, ...)
        local args = table.pack(...)
        assert.error_matches(function() net.connect(table.unpack(args)) end, pattern)
      end
      complains("bad argument #1 to 'connect' %(string expected, got no value%)")
      complains("bad argument #2 to 'connect' %(port number expected, got no", "::1")
      complains("not a port number", "::1", 65536)
      complains("not a port number", "::1", -1)
      complains("port number expected, got string", "::1", "http")
      complains("table expected, got number", "::1", 1, 1)
      complains("bad option 'timeout'", "::1", 1, {timeout = -1})
    end)
    assert.error_matches(function() net.connect("127.0.0.1", 1) end, "outside of a task")
  end)
end)

describe("listen", function()
  it("picks a port, and says so when one is taken", function()
    run(function()
      local listener <close>, port = listen()
      assert.is_true(port > 0)
      assert.matches("^listener %d+ %(127.0.0.1:" .. port .. "%)$", tostring(listener))
      local again, message, code = net.listen("127.0.0.1", port)
      assert.is_nil(again)
      assert.equal("EADDRINUSE", code)
      assert.matches("127.0.0.1:" .. port, message, 1, true)
    end, real)
  end)

  it("takes a port again that a connection has just left", function()
    run(function()
      local listener, port = listen()
      local client <close> = connect(port)
      local server = assert(listener:accept())
      server:close()
      listener:close()
      assert.equal("", client:read "a")
      local again <close> = assert(net.listen("127.0.0.1", port))
      assert.is_not_nil(again)
    end, real)
  end)

  it("shares a port where all agree", function()
    run(function()
      local one <close>, port = listen {reuse_port = true}
      local two <close> = assert(net.listen("127.0.0.1", port, {reuse_port = true}))
      assert.is_not_nil(one and two)
    end, real)
  end)

  it("listens on every address of this machine", function()
    run(function()
      local listener <close> = assert(net.listen("*", 0))
      local _, port = listener:local_address()
      for _, host in ipairs {"127.0.0.1", "127.0.0.5"} do
        local client <close> = assert(net.connect(host, port))
        local server <close> = assert(listener:accept())
        assert.is_not_nil(client and server)
      end
    end, real)
  end)

  it("tells that an address is not this machine's", function()
    run(function()
      assert.equal("EADDRNOTAVAIL", select(3, net.listen("192.0.2.1", 0)))
    end, real)
  end)
end)

describe("unix sockets", function()
  it("connect over a path", function()
    run(function()
      local dir <close> = helper.tempdir()
      local path = dir.path .. "/socket"
      local listener <close> = assert(net.listen_unix(path))
      assert.equal(path, listener:local_address())
      local client <close> = assert(net.connect_unix(path))
      local server <close> = assert(listener:accept())
      client:write "x"
      assert.equal("x", server:read(1))
    end)
  end)

  it("connect over an abstract name", function()
    run(function()
      local name = ("\0lull-net-%p-%d"):format(run, math.random(1 << 30))
      local listener <close> = assert(net.listen_unix(name))
      local client <close> = assert(net.connect_unix(name))
      local server <close> = assert(listener:accept())
      server:write "x"
      assert.equal("x", client:read(1))
      assert.equal("EADDRINUSE", select(3, net.listen_unix(name)))
    end)
  end)

  it("take over the path of a server that is gone, and of no other", function()
    run(function()
      local dir <close> = helper.tempdir()
      local path = dir.path .. "/socket"
      assert(net.listen_unix(path)):close()
      local opts = {reuse_address = false}
      assert.equal("EADDRINUSE", select(3, net.listen_unix(path, opts)))
      local listener <close> = assert(net.listen_unix(path))
      assert.equal("EADDRINUSE", select(3, net.listen_unix(path)))
      local file = dir:write("file", "precious")
      assert.equal("EADDRINUSE", select(3, net.listen_unix(file)))
      assert.is_not_nil(io.open(file))
      assert.is_not_nil(listener)
    end)
  end)

  it("fail with the path", function()
    run(function()
      local stream, message, code = net.connect_unix "/no/such/socket"
      assert.is_nil(stream)
      assert.equal("ENOENT", code)
      assert.equal("ENOENT: no such file or directory (/no/such/socket)", message)
      assert.equal("ENAMETOOLONG", select(3, net.listen_unix(("x"):rep(200))))
    end)
  end)

  it("come in pairs", function()
    run(function()
      local a, b = assert(net.pair())
      a:write "to b"
      b:write "to a"
      assert.same({"to b", "to a"}, {b:read(4), a:read(4)})
      a:close()
      assert.is_nil(b:read())
      b:close()
    end)
  end)
end)

describe("accept", function()
  it("waits in any number of tasks", function()
    run(function()
      local listener <close>, port = listen()
      local tasks = {}
      for i = 1, 3 do tasks[i] = lull.spawn(listener.accept, listener) end
      local clients = {}
      for i = 1, 3 do clients[i] = connect(port) end
      for i = 1, 3 do assert(tasks[i]:await()):close() end
      for i = 1, 3 do clients[i]:close() end
    end, real)
  end)

  it("ends when the listener is closed", function()
    run(function()
      local listener = listen()
      local task = lull.spawn(listener.accept, listener)
      helper.turns(1)
      listener:close()
      local stream, message, code = task:await()
      assert.is_nil(stream)
      assert.equal("ECANCELED", code)
      assert.matches("^ECANCELED: ", message)
      assert.error_matches(function() listener:accept() end, "closed")
    end)
  end)

  it("gives up after its time", function()
    run(function()
      local listener <close> = listen()
      listener:settimeout(3)
      local start = lull.now()
      assert.equal("ETIMEDOUT", select(3, listener:accept()))
      assert.near(3, lull.now() - start, 0.1)
      listener:settimeout(0)
      assert.equal("ETIMEDOUT", select(3, listener:accept()))
    end)
  end)
end)

describe("accepts", function()
  it("gives connections until the listener is closed by anybody", function()
    for _, late in ipairs {false, true} do
      run(function()
        local listener, port = listen()
        local clients = {connect(port), connect(port), connect(port)}
        local n = 0
        if late then
          lull.spawn(function()
            until_(function() return n == 3 end)
            listener:close()
          end)
        end
        for stream in listener:accepts() do
          n = n + 1
          stream:close()
          if n == 3 and not late then listener:close() end
        end
        assert.equal(3, n)
        assert.equal("", clients[3]:read "a")
      end, real)
    end
  end)

  it("raises what goes wrong", function()
    run(function()
      local listener <close> = listen()
      listener:settimeout(0.5)
      assert.error_matches(function() for _ in listener:accepts() do error "none" end end,
                           "^ETIMEDOUT: ")
    end)
  end)
end)

describe("serve", function()
  it("runs a handler for each connection, all at once", function()
    run(function()
      local port, _, _, _ <close> = serving(echo)
      local clients = {}
      for i = 1, 50 do clients[i] = connect(port) end
      for round = 1, 3 do
        for i = 50, 1, -1 do
          assert.equal(i .. " " .. round, ask(clients[i], i .. " " .. round))
        end
      end
      for i = 1, 50 do clients[i]:close() end
    end, real)
  end)

  it("does so on every selector, in whatever order the tasks run", function()
    for _, backend in helper.backends() do
      for seed = 1, 5 do
        run(function()
          local port, listener, task = serving(echo, {max_connections = 4})
          local tasks = {}
          for i = 1, 10 do
            tasks[i] = lull.spawn(function()
              local client <close> = connect(port)
              for round = 1, 3 do
                local line = i .. "." .. round
                assert.equal(line, ask(client, line))
              end
            end)
          end
          for i = 1, 10 do tasks[i]:await() end
          listener:close()
          assert.is_true(task:await())
        end, {selector = backend, seed = seed, real = true})
      end
    end
  end)

  it("closes the stream when the handler returns", function()
    run(function()
      local port, _, _, _ <close> = serving(function(stream) stream:write "bye" end)
      local client <close> = connect(port)
      assert.equal("bye", client:read "a")
    end, real)
  end)

  it("returns true when the listener is closed and the handlers have ended", function()
    run(function()
      local port, listener, task = serving(echo)
      local client <close> = connect(port)
      assert.equal("one", ask(client, "one"))
      listener:close()
      assert.equal("two", ask(client, "two"))
      assert.is_false(task:done())
      client:close()
      assert.same({true, n = 1}, table.pack(task:await()))
    end, real)
  end)

  it("waits no longer than grace for the handlers", function()
    run(function()
      local cancelled
      local port, listener, task = serving(function(stream)
        local ok, err = pcall(stream.read, stream)
        cancelled = not ok and lull.is_cancelled(err)
        error(err, 0)
      end, {grace = 0.05})
      local client <close> = connect(port)
      until_(function() return #lull.tasks() == 3 end)
      helper.turns(1)
      local start = lull.now()
      listener:close()
      assert.is_true(task:await())
      assert.is_true(cancelled)
      assert.is_true(lull.now() - start >= 0.05)
      assert.equal("", client:read "a")
    end, real)
  end)

  it("cancelled, cancels the handlers and waits for them", function()
    run(function()
      local steps = {}
      local port, listener, task = serving(function(stream)
        local _ <close> = lull.defer(function()
          lull.shield(lull.sleep, 0.01)
          steps[#steps + 1] = "cleaned up"
        end)
        stream:read()
      end)
      local client <close> = connect(port)
      until_(function() return #lull.tasks() == 3 end)
      helper.turns(1)
      task:cancel "enough"
      local ok, err = pcall(task.await, task)
      steps[#steps + 1] = "ended"
      assert.is_false(ok)
      assert.equal("ECANCELED: enough", err)
      assert.same({"cleaned up", "ended"}, steps)
      assert.equal("", client:read "a")
      connect(port):close() -- the listener is still open
      listener:close()
    end, real)
  end)

  it("cancelled, leaves the handlers their grace", function()
    run(function()
      local port, listener, task = serving(echo, {grace = 5})
      local client <close> = connect(port)
      assert.equal("one", ask(client, "one"))
      task:cancel()
      helper.turns(3)
      assert.equal("two", ask(client, "two"))
      assert.is_false(task:done())
      client:close()
      assert.is_false(pcall(task.await, task))
      listener:close()
    end, real)
  end)

  it("ends with the scope that it is in", function()
    run(function()
      local listener <close>, port = listen()
      local client <close> = connect(port)
      local _, _, code = lull.timeout(0.05, listener.serve, listener, echo)
      assert.equal("ETIMEDOUT", code)
      assert.equal("", client:read "a")
    end, real)
  end)

  it("closes what it accepted for a task that never ran", function()
    run(function()
      local listener <close>, port = listen()
      local client <close> = connect(port)
      local ran = false
      local task = lull.spawn(listener.serve, listener, function() ran = true end)
      until_(function() return #lull.tasks() == 3 end)
      for _, other in ipairs(lull.tasks()) do
        if other ~= task and other ~= lull.current() then other:cancel() end
      end
      task:cancel()
      assert.is_false(pcall(task.await, task))
      assert.is_false(ran)
      assert.equal("", client:read "a")
    end, real)
  end)

  it("closes it at once when nothing else is going on", function()
    run(function()
      local listener <close>, port = listen()
      local client <close> = connect(port)
      local task <close> = lull.spawn(listener.serve, listener, error)
      until_(function() return #lull.tasks() == 3 end)
      for _, other in ipairs(lull.tasks()) do
        if other ~= task and other ~= lull.current() then other:cancel() end
      end
      assert.equal("", client:read "a")
      assert.is_false(task:done())
    end, real)
  end)

  it("gets rid of handlers that do not want to end", function()
    local reports = {}
    run(function()
      local port, listener, task = serving(function()
        while true do pcall(lull.sleep, 100) end
      end)
      local client <close> = connect(port)
      until_(function() return #lull.tasks() == 3 end)
      helper.turns(1)
      task:cancel "enough"
      assert.is_false(pcall(task.await, task))
      assert.equal("", client:read "a")
      listener:close()
    end, {real = true, reports = reports})
    assert.equal(1, #reports)
    assert.matches("ignored its cancellation", reports[1].err)
  end)

  it("keeps connections beyond the limit waiting", function()
    run(function()
      local now, most, served = 0, 0, 0
      local port, _, _, _ <close> = serving(function(stream)
        now = now + 1
        most = math.max(most, now)
        stream:read()
        now, served = now - 1, served + 1
      end, {max_connections = 3})
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = lull.spawn(function()
          local client <close> = connect(port)
          helper.turns(3)
          return ask(client, "go")
        end)
      end
      for i = 1, 20 do tasks[i]:await() end
      assert.equal(3, most)
      assert.equal(20, served)
    end, real)
  end)

  it("notices at its limit that the listener is closed", function()
    run(function()
      local port, listener, task = serving(echo, {max_connections = 1, grace = 0.01})
      local client <close> = connect(port)
      assert.equal("x", ask(client, "x"))
      helper.turns(2)
      listener:close()
      assert.is_true(task:await())
    end, real)
  end)

  it("tells on_error of a handler that fails, and goes on", function()
    run(function()
      local seen = {}
      local port, _, _, _ <close> = serving(function(stream)
        local line = stream:read()
        if line == "table" then error {line} end
        error(line, 0)
      end, {on_error = function(err, stream)
        seen[#seen + 1] = err
        stream:write "sorry"
      end})
      for _, line in ipairs {"table", "string"} do
        local client <close> = connect(port)
        client:write(line, "\n")
        assert.equal("sorry", client:read "a")
      end
      assert.same({{"table"}, "string"}, seen)
    end, real)
  end)

  it("tells on_error of a handler that fails with nil", function()
    local reports = {}
    run(function()
      local seen = {}
      local port, _, _, _ <close> = serving(function(stream)
        if stream:read() == "nil" then error() end
      end, {on_error = function(err) seen[#seen + 1] = err end})
      for _, line in ipairs {"nil", "well", "nil"} do
        local client <close> = connect(port)
        client:write(line, "\n")
        assert.equal("", client:read "a")
      end
      local text = "nil (error without a value)"
      assert.same({text, text}, seen)
    end, {real = true, reports = reports})
    assert.same({}, reports)
  end)

  it("reports a failing handler with its traceback, but not what peers do", function()
    local reports = {}
    run(function()
      local port, _, _, _ <close> = serving(function(stream)
        error(stream:read(), 0)
      end)
      for _, line in ipairs {"boom", "ECONNRESET: x", "EPIPE: x", "ETIMEDOUT: x"} do
        local client <close> = connect(port)
        client:write(line, "\n")
        assert.equal("", client:read "a")
      end
    end, {real = true, reports = reports})
    assert.equal(1, #reports)
    assert.equal("boom", reports[1].err)
    assert.matches("net_spec.lua:%d+", reports[1].traceback)
    assert.matches("^task %d+", tostring(reports[1].task))
  end)

  it("reports an on_error that fails", function()
    local reports = {}
    run(function()
      local port, _, _, _ <close> = serving(function() error("one", 0) end,
                                            {on_error = function() error("two", 0) end})
      local client <close> = connect(port)
      assert.equal("", client:read "a")
    end, {real = true, reports = reports})
    assert.equal(1, #reports)
    assert.equal("two", reports[1].err)
  end)

  it("does not change the exit code", function()
    local out, err, code = helper.child([[
      local net = require "lull.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      lull.spawn(function()
        local client = assert(net.connect("127.0.0.1", port))
        client:read "a"
        listener:close()
      end)
      print(listener:serve(function() error "boom" end))
    ]], "--real")
    assert.equal("true\n", out)
    assert.matches("script.lua:9: boom", err)
    assert.equal(0, code)
  end)

  it("keeps no program running when it is a daemon", function()
    local out, err, code = helper.child([[
      local net = require "lull.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      lull.spawn(listener.serve, listener, function(stream)
        local _ <close> = lull.defer(print, "handler ends")
        stream:read "a"
      end):daemon()
      client = assert(net.connect("127.0.0.1", port))
      while #lull.tasks() < 3 do lull.sleep(0) end
      lull.sleep(0)
      print "main ends"
    ]], "--real")
    assert.equal("main ends\nhandler ends\n", out)
    assert.equal("", err)
    assert.equal(0, code)
  end)

  it("is not held up by a peer that never reads", function()
    run(function()
      local data = ("x"):rep(1 << 22)
      local port, _, _, _ <close> = serving(function(stream)
        if stream:read() == "flood" then stream:write(data) end
        stream:write "hello"
      end)
      local deaf_one <close> = connect(port)
      deaf_one:write "flood\n"
      for _ = 1, 5 do
        local client <close> = connect(port)
        client:write "\n"
        assert.equal("hello", client:read "a")
      end
    end, real)
  end)

  it("waits and goes on when descriptors run out", function()
    local out, err, code = helper.child([[
      if not arg[1] then
        local line = ("ulimit -n 50; exec '%s' '%s' again"):format(arg[-1], arg[0])
        os.exit(select(3, os.execute(line)))
      end
      local net = require "lull.net"
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      local server = lull.spawn(listener.serve, listener, function(stream)
        for line in stream:lines() do stream:write(line, "\n") end
      end)
      for round = 1, 3 do
        local clients, code = {}
        repeat
          local client
          client, _, code = net.connect("127.0.0.1", port)
          clients[#clients + 1] = client
        until not client
        assert(code == "EMFILE", code)
        assert(#clients > 16)
        -- The first are served; the others are when those have gone.
        for i = 1, 10 do
          assert(clients[i]:write "x\n")
          assert(clients[i]:read() == "x")
        end
        for i = 1, 10 do clients[i]:close() end
        for i = 11, #clients do
          assert(clients[i]:write "y\n")
          assert(clients[i]:read() == "y")
          clients[i]:close()
        end
      end
      listener:close()
      print(server:await())
    ]], "--real")
    assert.equal("", err)
    assert.equal("true\n", out)
    assert.equal(0, code)
  end)

  it("says what is wrong with its arguments", function()
    run(function()
      local listener = listen()
      local function complains(pattern, ...)
        local args = table.pack(...)
        assert.error_matches(function() listener:serve(table.unpack(args)) end, pattern)
      end
      complains "bad argument #1 to 'serve'"
      complains("bad option 'max_connections'", echo, {max_connections = 0})
      complains("bad option 'grace'", echo, {grace = -1})
      listener:close()
      complains("closed", echo)
    end)
  end)
end)
