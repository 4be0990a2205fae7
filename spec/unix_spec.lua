-- Unix sockets: names without a file, datagrams, and descriptors passed along, none of
-- which may be lost or left open.
local helper = require "spec.helper"
local core = require "lull.core"
local lull = require "lull"
local net = require "lull.net"
local run = helper.run

local names = 0
local function abstract()
  names = names + 1
  return ("\0lull-unix-%p-%d"):format(helper, names) .. os.time()
end

local function open_now()
  helper.collect()
  local n = 0
  for _ in pairs(core.descriptors()) do n = n + 1 end
  return n
end

-- A pair of sockets that is closed with the block.
local function pair(kind)
  local a, b = assert(core.pair(kind))
  return a, b, helper.closer(function()
    a:close()
    b:close()
  end)
end

local function waiting(fn, ...)
  local task = lull.spawn(fn, ...)
  helper.turns(2)
  return task
end

describe("a name without a file", function()
  it("is listened at and connected to", function()
    run(function()
      local name = abstract()
      local listener <close> = assert(net.listen_unix(name))
      assert.equal(name, listener:local_address())
      local client <close> = assert(net.connect_unix(name))
      assert.equal(name, client:peer())
      local server <close> = assert(listener:accept())
      client:write "hello\n"
      assert.equal("hello", server:read())
    end)
  end)

  it("is free again when its listener is closed, and not before", function()
    run(function()
      local name = abstract()
      local listener = assert(net.listen_unix(name))
      local none, message, code = net.listen_unix(name)
      assert.is_nil(none)
      assert.equal("EADDRINUSE", code)
      assert.matches("%(@lull%-unix", message)
      listener:close()
      assert(net.listen_unix(name)):close()
      assert.equal("ECONNREFUSED", select(3, net.connect_unix(name)))
    end)
  end)

  it("is not taken over, nor is a file of that name", function()
    run(function()
      local dir <close> = helper.tempdir()
      local path = dir:write("file", "precious")
      local name = "\0" .. path
      local bound <close> = assert(net.socket "unix") -- bound, and nobody listens
      assert(bound:bind(name))
      assert.equal("EADDRINUSE", select(3, net.listen_unix(name)))
      assert.equal("EINVAL", select(3, core.unbind(name)))
      assert.equal("precious", assert(io.open(path)):read "a")
    end)
  end)

  it("may hold any byte, and as many as there are", function()
    run(function()
      local name = "\0" .. ("\0\1\xff"):rep(35) .. "\0"
      local listener <close> = assert(net.listen_unix(name))
      assert.equal(name, listener:local_address())
      assert(net.connect_unix(name)):close()
      assert.equal("ENAMETOOLONG", select(3, net.listen_unix("\0" .. ("x"):rep(108))))
      assert.equal("ENAMETOOLONG", select(3, net.connect_unix(("x"):rep(108))))
      assert.equal("EINVAL", select(3, net.connect_unix ""))
      assert.equal("EINVAL", select(3, net.connect_unix "a\0b"))
    end)
  end)
end)

describe("a Unix datagram", function()
  it("comes with the name of who sent it", function()
    run(function()
      local a <close> = net.socket("unix", "dgram")
      local b <close> = net.socket("unix", "dgram")
      local a_name, b_name = abstract(), abstract()
      assert(a:bind(a_name))
      assert(b:bind(b_name))
      assert.equal(5, a:sendto("hello", b_name))
      assert.same({"hello", a_name}, {b:recvfrom()})
      assert(b:connect(a_name))
      assert.equal(2, b:send "hi")
      assert.same({"hi", b_name}, {a:recvfrom()})
      local c <close> = net.socket("unix", "dgram")
      c:sendto("nameless", b_name)
      assert.equal("ECONNREFUSED", select(3, c:sendto("x", abstract())))
    end)
  end)

  it("says that it was cut", function()
    run(function()
      local a, b, _ <close> = pair "dgram"
      a:send "cut off"
      assert.same({"cut", "", "truncated"}, {b:recvfrom(3)})
    end)
  end)
end)

describe("a descriptor", function()
  it("is passed along, and works", function()
    run(function()
      local a, b, _ <close> = pair()
      local r, w = net.pair()
      assert.equal(5, a:sendmsg("hello", {r}))
      r:close()
      local data, fds, cut = b:recvmsg()
      assert.equal("hello", data)
      assert.equal(1, #fds)
      assert.is_nil(cut)
      local mine <close> = assert(net.adopt(fds[1]))
      w:write "over there\n"
      assert.equal("over there", mine:read())
      w:close()
    end)
  end)

  it("may be any that an object has, or a number", function()
    run(function()
      local a, b, _ <close> = pair()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local udp <close> = assert(net.udp("127.0.0.1", 0))
      local one, two = net.pair()
      a:sendmsg("x", {listener, udp, one, a, 0, {fileno = function() return 1 end}})
      local _, fds = b:recvmsg()
      assert.equal(6, #fds)

      local other <close> = assert(net.adopt(fds[1]))
      local _, port = listener:local_address()
      listener:close()
      local client <close> = assert(net.connect("127.0.0.1", port))
      assert.matches("^listener", tostring(other))
      assert(other:accept()):close()
      assert.is_nil(client:read())

      local packets <close> = assert(net.adopt(fds[2]))
      assert.matches("^datagram %d+ %(inet dgram 127", tostring(packets))
      assert.same({udp:local_address()}, {packets:local_address()})
      for i = 3, 6 do assert(net.adopt(fds[i])):close() end
      one:close()
      two:close()
    end, {real = true})
  end)

  it("is close-on-exec, and not ours before it is adopted", function()
    run(function()
      local a, b, _ <close> = pair()
      a:sendmsg("x", {1})
      local _, fds = b:recvmsg()
      local flags = assert(io.open("/proc/self/fdinfo/" .. fds[1])):read "a"
      assert.is_true(tonumber(flags:match "flags:%s*(%d+)", 8) & 0x80000 ~= 0)
      assert.is_false(pcall(net.adopt, a:fileno()))
      local mine = assert(net.adopt(fds[1]))
      assert.error_matches(function() net.adopt(fds[1]) end, "has it already")
      mine:close()
      assert.equal("EBADF", select(3, net.adopt(fds[1])))
    end)
  end)

  it("comes with its bytes, once", function()
    run(function()
      local a, b, _ <close> = pair()
      a:sendmsg("one", {0})
      a:send "two"
      local data, fds = b:recvmsg(2)
      assert.equal("on", data)
      assert.equal(1, #fds)
      net.adopt(fds[1]):close()
      data, fds = b:recvmsg()
      assert.same({}, fds)
      assert.is_true(data == "e" or data == "etwo")
      a:close()
      while data do data = b:recvmsg() end
      assert.same({n = 1}, table.pack(b:recvmsg()))
    end)
  end)

  it("is closed when there are more than were asked for", function()
    run(function()
      local a, b, _ <close> = pair()
      local before = open_now()
      a:sendmsg("x", {0, 0, 0, 0, 0})
      local data, fds, cut = b:recvmsg(10, 2)
      assert.equal("x", data)
      assert.equal(2, #fds)
      assert.equal("truncated", cut)
      assert.equal(before + 2, open_now())
      for _, fd in ipairs(fds) do net.adopt(fd):close() end
      a:sendmsg("x", {0, 0, 0})
      assert.same({"x", {}, "truncated"}, {b:recvmsg(10, 0)})
      assert.equal(before, open_now())
    end)
  end)

  it("is closed by the system when nobody asks for it", function()
    run(function()
      local a, b, _ <close> = pair()
      local before = open_now()
      a:sendmsg("for recv", {0, 0})
      assert.equal("for recv", b:recv())
      a:sendmsg("for nobody", {0, 0})
      local x, y, _ <close> = pair()
      y:close()
      assert.equal("EPIPE", select(3, x:sendmsg("x", {0})))
      assert.equal(before + 1, open_now())
    end)
  end)

  it("is passed in datagrams too, many at a time", function()
    run(function()
      local a, b, _ <close> = pair "dgram"
      local before = open_now()
      local list = {}
      for i = 1, 253 do list[i] = 0 end
      assert.equal(1, a:sendmsg("x", list))
      local data, fds = b:recvmsg(10, 253)
      assert.equal("x", data)
      assert.equal(253, #fds)
      assert.equal(before + 253, open_now())
      for _, fd in ipairs(fds) do net.adopt(fd):close() end
      list[254] = 0
      assert.error_matches(function() a:sendmsg("x", list) end, "too many")
      a:sendmsg("cut off", {0})
      data, fds = b:recvmsg(3)
      assert.equal("cut", data)
      net.adopt(fds[1]):close()
    end)
  end)

  it("is waited for, and the wait can be cancelled", function()
    run(function()
      local a, b, _ <close> = pair()
      local before = open_now()
      for i = 0, 5 do
        local reader = lull.spawn(b.recvmsg, b)
        helper.turns(i % 3)
        a:sendmsg("kept", {0})
        if i % 2 == 0 then helper.turns(1) end
        reader:cancel()
        pcall(reader.await, reader)
        local data, fds
        if reader:status() == "finished" then data, fds = reader:result() end
        if not data then data, fds = b:recvmsg() end
        assert.equal("kept", data)
        assert.equal(1, #fds)
        net.adopt(fds[1]):close()
      end
      assert.equal(before, open_now())

      local reader = waiting(b.recvmsg, b)
      b:close()
      assert.equal("ECANCELED", select(3, reader:await()))
    end)
  end)

  it("waits for room to be sent", function()
    run(function()
      local a, b, _ <close> = pair "dgram"
      a:setoption("sndbuf", 1)
      local sender = lull.spawn(function()
        for _ = 1, 50 do assert(a:sendmsg(("x"):rep(500), {0})) end
      end)
      helper.turns(100)
      assert.is_false(sender:done())
      local before = open_now()
      for _ = 1, 50 do
        local _, fds = b:recvmsg()
        net.adopt(fds[1]):close()
      end
      sender:await()
      assert.equal(before, open_now())
    end)
  end)

  it("is refused where there is none", function()
    run(function()
      local a, _, _ <close> = pair()
      for message, list in pairs {
        ["not a descriptor"] = {-1}, ["a list of"] = {true},
        ["closed"] = {(function()
          local s = net.socket "unix"
          s:close()
          return s
        end)()},
      } do
        assert.error_matches(function() a:sendmsg("x", list) end, message)
      end
      assert.equal("EBADF", select(3, a:sendmsg("x", {9999})))
      assert.error_matches(function() a:sendmsg("", {0}) end, "need a byte")
      assert.error_matches(function() a:sendmsg("x", 0) end, "table expected")
      local inet <close> = net.socket "inet"
      assert.error_matches(function() inet:sendmsg("x", {0}) end, "not a Unix socket")
      assert.error_matches(function() inet:recvmsg() end, "not a Unix socket")
      assert.error_matches(function() a:recvmsg(1, 254) end, "out of range")
      assert.error_matches(function() a:recvmsg(0) end, "must be positive")
    end)
  end)
end)
