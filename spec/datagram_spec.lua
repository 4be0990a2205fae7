-- Datagrams: borders, empty ones, what is cut, who refuses, both families, groups; and
-- what becomes of those who wait.
local helper = require "spec.helper"
local core = require "lull.core"
local lull = require "lull"
local net = require "lull.net"
local run = helper.run

local real = {real = true}

local function udp(host, opts)
  local datagram = assert(net.udp(host or "127.0.0.1", 0, opts))
  return datagram, select(2, datagram:local_address())
end

local has_inet6 = helper.has_inet6()

-- Spawns fn and lets it come to its wait.
local function waiting(fn, ...)
  local task = lull.spawn(fn, ...)
  helper.turns(2)
  return task
end

for _, backend in helper.backends() do
  local there = {selector = backend, real = true}

  describe("a datagram on " .. backend, function()
    it("arrives with the address of who sent it", function()
      run(function()
        local a <close>, a_port = udp()
        local b <close>, b_port = udp()
        assert.same({true}, {a:sendto("hello", "127.0.0.1", b_port)})
        assert.same({"hello", "127.0.0.1", a_port}, {b:recvfrom()})
        assert.same({true}, {b:sendto("hi", "localhost", a_port)})
        assert.same({"hi", "127.0.0.1", b_port}, {a:recvfrom()})
      end, there)
    end)

    it("keeps its borders, also when it is empty", function()
      run(function()
        local a <close> = udp()
        local b <close>, port = udp()
        for _, data in ipairs {"one", "", "", ("x"):rep(60000), ""} do
          assert.is_true(a:sendto(data, "127.0.0.1", port))
        end
        for _, size in ipairs {3, 0, 0, 60000, 0} do
          assert.equal(size, #b:recvfrom())
        end
        b:settimeout(0)
        assert.equal("ETIMEDOUT", select(3, b:recvfrom()))
      end, there)
    end)

    it("is waited for", function()
      run(function()
        local a <close> = udp()
        local b <close>, port = udp()
        for _, data in ipairs {"late", ""} do
          local reader = waiting(b.recvfrom, b)
          assert.is_false(reader:done())
          a:sendto(data, "127.0.0.1", port)
          assert.equal(data, (reader:await()))
        end
      end, there)
    end)

    it("says that it was cut", function()
      run(function()
        local a <close>, a_port = udp()
        local b <close>, port = udp()
        a:sendto("cut off", "127.0.0.1", port)
        assert.same({"cut", "127.0.0.1", a_port, "truncated"}, {b:recvfrom(3)})
        a:sendto("fit", "127.0.0.1", port)
        assert.same({"fit", "127.0.0.1", a_port}, {b:recvfrom(3)})
      end, there)
    end)

    it("goes to one of several readers, and each reader gets one", function()
      run(function()
        local a <close> = udp()
        local b <close>, port = udp()
        local readers, got = {}, {}
        for i = 1, 5 do readers[i] = waiting(b.recvfrom, b) end
        for i = 1, 5 do a:sendto("n" .. i, "127.0.0.1", port) end
        for i = 1, 5 do got[i] = readers[i]:await() end
        table.sort(got)
        assert.same({"n1", "n2", "n3", "n4", "n5"}, got)
      end, there)
    end)

    it("comes back as ECONNREFUSED where nobody is, and the next one may go", function()
      run(function()
        local gone = udp()
        local _, port = gone:local_address()
        gone:close()
        local a <close> = udp()
        assert.is_true(a:connect("127.0.0.1", port))
        assert.same({"127.0.0.1", port}, {a:peer()})
        assert.is_true(a:send "anybody?")
        local data, message, code = a:recvfrom()
        assert.is_nil(data)
        assert.equal("ECONNREFUSED", code)
        local text = "ECONNREFUSED: connection refused (127.0.0.1:%d)"
        assert.equal(text:format(port), message)
        assert.is_true(a:send "anybody?")
        assert.equal("ECONNREFUSED", select(3, a:send "this was not sent"))
        local back <close> = assert(net.udp("127.0.0.1", port))
        assert.is_true(a:send "now")
        assert.equal("now", (back:recvfrom()))
      end, there)
    end)

    it("tells a reader that is waiting of the refusal", function()
      run(function()
        local gone = udp()
        local _, port = gone:local_address()
        gone:close()
        local a <close> = udp()
        a:connect("127.0.0.1", port)
        local reader = waiting(a.recvfrom, a)
        a:send "anybody?"
        assert.equal("ECONNREFUSED", select(3, reader:await()))
      end, there)
    end)

    it("comes from the peer only, once connected", function()
      run(function()
        local a <close>, a_port = udp()
        local b <close>, b_port = udp()
        local c <close> = udp()
        a:connect("127.0.0.1", b_port)
        c:sendto("from c", "127.0.0.1", a_port)
        b:sendto("from b", "127.0.0.1", a_port)
        assert.equal("from b", (a:recvfrom()))
        a:settimeout(0)
        assert.equal("ETIMEDOUT", select(3, a:recvfrom()))
      end, there)
    end)

    it("waits for room to be sent", function()
      run(function() -- a Unix one: UDP on the loopback drops instead
        local a, b = core.pair "dgram"
        local n, piece = 0, ("x"):rep(1000)
        local sender = lull.spawn(function()
          for _ = 1, 1000 do
            assert(a:send(piece))
            n = n + 1
          end
        end)
        helper.turns(50)
        assert.is_false(sender:done())
        local got = 0
        while got < 1000 do
          assert.equal(1000, #b:recv())
          got = got + 1
        end
        sender:await()
        a:close()
        b:close()
      end, {selector = backend})
    end)

    it("wakes all who wait when it is closed", function()
      run(function()
        local a = udp()
        local readers = {}
        for i = 1, 3 do readers[i] = waiting(a.recvfrom, a) end
        a:close()
        a:close()
        for i = 1, 3 do assert.equal("ECANCELED", select(3, readers[i]:await())) end
        assert.error_matches(function() a:recvfrom() end, "closed")
        assert.equal("datagram (closed)", tostring(a))
      end, there)
    end)

    it("times out, call by call", function()
      run(function()
        local a <close> = udp()
        assert.equal(a, a:settimeout(0.5))
        local start = lull.now()
        local data, message, code = a:recvfrom()
        assert.is_nil(data)
        assert.equal("ETIMEDOUT", code)
        assert.matches("^ETIMEDOUT: ", message)
        assert.equal(0.5, lull.now() - start)
        a:settimeout(nil)
        assert.equal("ETIMEDOUT", select(3, lull.timeout(0.5, a.recvfrom, a)))
      end, {selector = backend})
    end)
  end)
end

describe("a datagram", function()
  it("is no bigger than it can be", function()
    run(function()
      local a <close> = udp()
      local b <close>, port = udp()
      local ok, message, code = a:sendto(("x"):rep(65536), "127.0.0.1", port)
      assert.is_nil(ok)
      assert.equal("EMSGSIZE", code)
      assert.equal(("EMSGSIZE: message too long (127.0.0.1:%d)"):format(port), message)
      assert.is_true(a:sendto(("x"):rep(65507), "127.0.0.1", port))
      assert.equal(65507, #b:recvfrom())
    end, real)
  end)

  it("needs somebody to go to", function()
    run(function()
      local a <close> = udp()
      assert.equal("EDESTADDRREQ", select(3, a:send "x"))
      assert.equal("ENOTCONN", select(3, a:peer()))
      assert.equal("EAI_NONAME", select(3, a:sendto("x", "not a name", 1)))
      assert.equal("EAI_ADDRFAMILY", select(3, a:sendto("x", "::1", 1)))
      assert.error_matches(function() a:sendto("x", "127.0.0.1", 65536) end, "port num")
      assert.error_matches(function() a:sendto(nil, "127.0.0.1", 1) end, "string exp")
    end, real)
  end)

  it("can be cancelled while it is waited for, and is not lost", function()
    run(function()
      local a <close> = udp()
      local b <close>, port = udp()
      for i = 0, 6 do
        local reader = lull.spawn(b.recvfrom, b)
        helper.turns(i % 3)
        a:sendto("kept", "127.0.0.1", port)
        if i % 2 == 0 then helper.turns(1) end
        reader:cancel()
        pcall(reader.await, reader)
        local first = reader:status() == "finished" and reader:result() or b:recvfrom()
        assert.equal("kept", first)
      end
    end, real)
  end)

  it("is collected when nobody has it, but not while somebody waits", function()
    run(function()
      local fd
      do
        local a = udp()
        fd = a:fileno()
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(core.descriptors()[fd])

      local port
      local reader = lull.spawn(function()
        local mine
        mine, port = udp()
        return mine:recvfrom()
      end)
      helper.turns(2)
      collectgarbage()
      collectgarbage()
      local b <close> = udp()
      b:sendto("still there", "127.0.0.1", port)
      assert.equal("still there", (reader:await()))
    end, real)
  end)

  it("says what it is", function()
    run(function()
      local a <close>, port = udp()
      assert.equal(("datagram %d (inet dgram 127.0.0.1:%d)"):format(a:fileno(), port),
                   tostring(a))
    end)
  end)

  it("belongs to a task that can suspend", function()
    assert.error_matches(function() net.udp("127.0.0.1", 0) end, "outside of a task")
    run(function()
      local a <close> = udp()
      assert.error_matches(function()
        table.sort({1, 2, 3}, function() a:recvfrom() end)
      end, "sort")
    end)
  end)
end)

describe("net.udp", function()
  it("binds where it is told to", function()
    run(function()
      local a <close>, port = udp "localhost"
      assert.is_true(port > 0)
      local none, message, code = net.udp("127.0.0.1", port)
      assert.is_nil(none)
      assert.equal("EADDRINUSE", code)
      assert.matches(("^EADDRINUSE: .* %%(127.0.0.1:%d%%)$"):format(port), message)
      assert.equal("EADDRNOTAVAIL", select(3, net.udp("192.0.2.1", 0)))
      assert.equal("EAI_NONAME", select(3, net.udp("not a name", 0)))
      assert.equal("127.0.0.1", (a:local_address()))
    end)
  end)

  it("shares a port where it is told to", function()
    run(function()
      local a <close>, port = udp(nil, {reuse_port = true})
      local b <close> = assert(net.udp("127.0.0.1", port, {reuse_port = true}))
      assert.is_true(b:getoption "reuseport")
      local c <close>, other = udp(nil, {reuse_address = true})
      local d <close> = assert(net.udp("127.0.0.1", other, {reuse_address = true}))
      assert.same({false, true}, {a:getoption "reuseaddr", d:getoption "reuseaddr"})
      assert(c)
    end)
  end)

  it("sets the options it is given", function()
    run(function()
      local a <close> = udp(nil, {
        broadcast = true, ttl = 7, multicast_ttl = 3, multicast_loop = false,
        multicast_interface = "lo", rcvbuf = 20000, sndbuf = 30000,
      })
      assert.is_true(a:getoption "broadcast")
      assert.equal(7, a:getoption "ttl")
      assert.equal(3, a:getoption "multicast_ttl")
      assert.is_false(a:getoption "multicast_loop")
      assert.is_true(a:getoption "rcvbuf" >= 20000)
      assert.is_true(a:getoption "sndbuf" >= 30000)
      local before = #tostring(core.descriptors())
      assert.equal("EINVAL", select(3, net.udp("127.0.0.1", 0, {ttl = 1000})))
      assert.error_matches(function() udp(nil, {ttl = "x"}) end, "number expected")
      assert.error_matches(function() udp(nil, {multicast_interface = "none0"}) end,
                           "no such interface")
      assert(before)
    end)
  end)

  it("needs leave to broadcast", function()
    run(function()
      local a <close> = udp "*"
      local refusal = select(3, a:sendto("x", "255.255.255.255", 9))
      assert.is_true(refusal == "EACCES" or refusal == "ENETUNREACH") -- a lonely machine
      a:setoption("broadcast", true)
      local _, _, code = a:sendto("x", "255.255.255.255", 9)
      assert.not_equal("EACCES", code) -- whether there is a way or not
    end)
  end)

  if has_inet6 then
    it("speaks both families where it may", function()
      run(function()
        local both <close>, port = udp "*"
        local four <close>, four_port = udp "127.0.0.1"
        local six <close>, six_port = udp "::1"
        four:sendto("4", "127.0.0.1", port)
        assert.same({"4", "127.0.0.1", four_port}, {both:recvfrom()})
        six:sendto("6", "::1", port)
        assert.same({"6", "::1", six_port}, {both:recvfrom()})
        assert.is_true(both:sendto("to 4", "127.0.0.1", four_port))
        assert.equal("to 4", (four:recvfrom()))
        assert.is_true(both:sendto("to 6", "::1", six_port))
        assert.equal("to 6", (six:recvfrom()))
        assert.is_true(both:connect("127.0.0.1", four_port))
        assert.same({"127.0.0.1", four_port}, {both:peer()})
      end, real)
    end)

    it("speaks IPv6 only where it is told to", function()
      run(function()
        local a <close> = udp("::", {ipv6_only = true})
        assert.is_true(a:getoption "v6only")
        assert.equal("ENETUNREACH", select(3, a:sendto("x", "127.0.0.1", 9)))
      end, real)
    end)

    it("joins a group of IPv6", function()
      run(function()
        local a <close>, port = udp("::", {ipv6_only = true})
        assert.is_true(a:join("ff02::1234", "lo"))
        local b <close> = udp("::1", {multicast_interface = "lo"})
        if b:sendto("to all", "ff02::1234%lo", port) then
          assert.equal("to all", (a:recvfrom()))
        end
        assert.is_true(a:leave("ff02::1234", "lo"))
        assert.equal("EADDRNOTAVAIL", select(3, a:leave("ff02::1234", "lo")))
      end, real)
    end)
  end

  it("joins and leaves a group", function()
    run(function()
      local a <close>, port = udp("0.0.0.0")
      local b <close> = udp("127.0.0.1", {multicast_interface = "lo"})
      assert.is_true(a:join("239.1.2.3", "lo"))
      assert.equal("EADDRINUSE", select(3, a:join("239.1.2.3", "lo")))
      assert.is_true(b:sendto("to all", "239.1.2.3", port))
      assert.equal("to all", (a:recvfrom()))
      assert.is_true(a:leave("239.1.2.3", "lo"))
      a:settimeout(0)
      assert.equal("ETIMEDOUT", select(3, a:recvfrom()))
      local none, message, code = a:leave("239.1.2.3", "lo")
      assert.is_nil(none)
      assert.equal("EADDRNOTAVAIL", code)
      assert.matches("%(239.1.2.3%)$", message)
      assert.equal("EAI_NONAME", select(3, a:join "a.group"))
      assert.equal("EINVAL", select(3, a:join("127.0.0.1", "lo")))
      assert.error_matches(function() a:join("239.1.2.3", "none0") end, "no such")
    end, real)
  end)
end)

describe("ENOBUFS", function()
  -- A sendto that finds no buffers every third time, put before the system's own.
  local shim = [[
    #include <dlfcn.h>
    #include <errno.h>
    #include <sys/socket.h>
    ssize_t sendto(int fd, const void *p, size_t n, int flags, const struct sockaddr *to,
                   socklen_t size)
    {
        static int calls;
        static ssize_t (*real)(int, const void *, size_t, int, const struct sockaddr *,
                               socklen_t);
        if (calls++ % 3 == 0) {
            errno = ENOBUFS;
            return -1;
        }
        if (!real)
            *(void **)&real = dlsym((void *)-1L, "sendto");
        return real(fd, p, n, flags, to, size);
    }
    ssize_t send(int fd, const void *p, size_t n, int flags)
    {
        return sendto(fd, p, n, flags, 0, 0);
    }
  ]]

  it("is told, and is no end: a datagram goes, a name is asked for again", function()
    if not os.execute "command -v cc >/dev/null" then return end
    local dir <close> = helper.tempdir()
    local source, library = dir:write("shim.c", shim), dir.path .. "/shim.so"
    local _, trouble, failed = helper.execute {
      "cc", "-shared", "-fPIC", "-w", "-o", library, source,
    }
    assert.equal(0, failed, trouble)
    local script = dir:write("script.lua", [[
      local net = require "lull.net"
      local ns = dofile "spec/nameserver.lua"
      local a <close> = net.udp("127.0.0.1", 0)
      local b <close> = net.udp("127.0.0.1", 0)
      local _, port = b:local_address()
      print(a:sendto("one", "127.0.0.1", port))
      print(a:sendto("one", "127.0.0.1", port))
      print((b:recvfrom()))
      local server <close> = ns.start {["a.test"] = {A = {"192.0.2.1"}}}
      print(net.resolve("a.test", {servers = {server.address}, family = "inet",
            attempts = 20})[1].host)
    ]])
    local out, err = helper.execute {
      "env", "LD_PRELOAD=" .. library, helper.interpreter(), "--virtual-clock", script,
    }
    if err:find "ASan runtime" then return end -- it would have to come first
    assert.equal("", err)
    assert.matches("^nil\tENOBUFS: no buffer space available %(127.0.0.1:%d+%)\t" ..
                   "ENOBUFS\ntrue\none\n192.0.2.1\n$", out)
  end)
end)
