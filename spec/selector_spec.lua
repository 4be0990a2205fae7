-- What every backend promises, on descriptors of every kind: facts hold as long as they
-- are true, hang-up and error count as everything that was asked for, and nobody is
-- forgotten.  First the backends themselves, then lull.selectors on top of them.
local probe = require "probe"
local selectors = require "lull".selectors

local MS = 1000000 -- nanoseconds
local SOON = 2000 * MS -- a limit for what must come without waiting

-- Closes descriptors when the block is left, also those that are gone already.
local function closing(...)
  local list = {...}
  return setmetatable(list, {__close = function()
    for _, fd in ipairs(list) do
      probe.close_fd(fd)
    end
  end})
end

-- A selector and what to close it with.
local function selector(name)
  local s = assert(probe.selector(name))
  return s, setmetatable({}, {__close = function() assert.equal(0, s:close()) end})
end

local function each(fn)
  return function()
    for _, name in ipairs(probe.backends()) do
      local s, _ <close> = selector(name)
      fn(s, name)
    end
  end
end

-- What is ready now: "r", "w", "rw", or nil where fd is not.
local function now(s, fd)
  return (s:wait(0)[fd])
end

-- The same, but may take until it has come over the loopback device, or through a
-- terminal; others may be ready before.
local function soon(s, fd)
  local give_up <const> = os.time() + 10
  local ready
  repeat
    ready = s:wait(SOON)
  until ready[fd] or not next(ready) or os.time() > give_up
  return ready[fd]
end

describe("selector", function()
  it("reports a pipe as long as there is something in it", each(function(s)
    local r, w = probe.pipe()
    local _ <close> = closing(r, w)
    assert(s:arm(r, "r"))
    assert(s:arm(w, "w"))
    assert.same({[w] = "w"}, (s:wait(0)))
    probe.write(w, "ab")
    for _ = 1, 3 do
      assert.same({[r] = "r", [w] = "w"}, (s:wait(0)))
    end
    assert.equal("a", s:recv(r, 1))
    assert.equal("r", now(s, r))
    assert.equal("b", s:recv(r))
    assert.is_nil(now(s, r))
    assert.same({nil, "EAGAIN"}, {s:recv(r)})
    probe.fill(w)
    assert.is_nil(now(s, w))
  end))

  it("reports only what is armed, and nothing when that is nothing", each(function(s)
    local a, b = probe.pair()
    local _ <close> = closing(a, b)
    probe.write(b, "x")
    for _, events in ipairs {"r", "w", "rw", "w", "r"} do
      assert(s:arm(a, events))
      assert.equal(events, now(s, a))
    end
    assert(s:arm(a, ""))
    assert(s:arm(a, ""))
    assert.is_nil(now(s, a))
    probe.close_fd(b)
    assert.is_nil(now(s, a))
    assert(s:arm(a, "r"))
    assert.equal("r", now(s, a))
  end))

  it("counts hang-up and error as every event that is armed", each(function(s)
    local r, w = probe.pipe()
    local r2, w2 = probe.pipe()
    local a, b = probe.pair()
    local _ <close> = closing(r, w2, a)
    assert(s:arm(r, "r"))
    probe.close_fd(w)
    assert.equal("r", now(s, r))
    assert.equal("", s:recv(r))
    probe.fill(w2)
    assert(s:arm(w2, "w"))
    probe.close_fd(r2)
    assert.equal("w", now(s, w2))
    probe.fill(a)
    assert(s:arm(a, "rw"))
    assert.is_nil(now(s, a))
    probe.close_fd(b)
    assert.equal("rw", now(s, a))
    assert(s:arm(a, "w"))
    assert.equal("w", now(s, a))
  end))

  it("reports data and the end of a connection that come together", each(function(s)
    local a, b = probe.tcp()
    local _ <close> = closing(a)
    assert(s:arm(a, "r"))
    probe.write(b, "last words")
    probe.shutdown(b)
    probe.close_fd(b)
    assert.equal("r", soon(s, a))
    assert.equal("last ", s:recv(a, 5))
    assert.equal("r", now(s, a))
    assert.equal("words", s:recv(a))
    assert.equal("r", soon(s, a))
    assert.equal("", s:recv(a))
    assert.equal("r", now(s, a))
  end))

  it("reports a reset to readers and writers", each(function(s)
    local a, b = probe.tcp()
    local _ <close> = closing(a)
    assert(s:arm(a, "rw"))
    assert.equal("w", now(s, a))
    assert(s:arm(a, "r"))
    probe.reset(b)
    assert.equal("r", soon(s, a))
    assert(s:arm(a, "rw"))
    assert.equal("rw", now(s, a))
    assert.same({nil, "ECONNRESET"}, {s:recv(a)})
    assert.same({nil, "EPIPE"}, {s:send(a, "x")}) -- and no SIGPIPE
  end))

  it("neither hangs nor spins on urgent data", each(function(s)
    local a, b = probe.tcp()
    local _ <close> = closing(a, b)
    assert(s:arm(a, "r"))
    probe.write(b, "before")
    assert.equal("r", soon(s, a))
    assert.equal("before", s:recv(a))
    probe.urgent(b, "!")
    assert.equal(1, probe.await_urgent(a))
    assert.is_nil(now(s, a))
    assert.same({nil, "EAGAIN"}, {s:recv(a)})
    probe.write(b, "after")
    assert.equal("r", soon(s, a))
    assert.equal("after", s:recv(a))
    probe.write(b, "one")
    probe.urgent(b, "!")
    probe.write(b, "two")
    local got = ""
    repeat
      assert.equal("r", soon(s, a))
      got = got .. s:recv(a) -- stops at the mark
    until got == "onetwo"
    assert.is_nil(now(s, a))
  end))

  it("reports a descriptor that was passed", each(function(s)
    local a, b = probe.pair()
    local _ <close> = closing(a, b)
    assert(s:arm(a, "r"))
    probe.pass(b, b)
    assert.equal("r", now(s, a))
    assert.equal("!", s:recv(a))
    assert.is_nil(now(s, a))
    probe.pass(b, b)
    probe.shutdown(b)
    assert.equal("r", now(s, a))
    assert.equal("!", s:recv(a, 1))
    assert.equal("r", now(s, a))
    assert.equal("", s:recv(a))
  end))

  it("reports terminals, line by line and at their end", each(function(s)
    local master, slave = probe.pty()
    local _ <close> = closing(master)
    assert(s:arm(master, "r"))
    assert(s:arm(slave, "r"))
    assert.is_nil(now(s, slave))
    probe.write(master, "a line\nand the next\n")
    assert.equal("r", soon(s, slave))
    assert.equal("a line\n", s:recv(slave)) -- not a socket: read(2), found out in passing
    assert.equal("r", soon(s, slave))
    assert.equal("and the next\n", s:recv(slave))
    assert.is_nil(now(s, slave))
    assert.equal(6, s:send(slave, "answer"))
    local heard = ""
    repeat
      assert.equal("r", soon(s, master))
      heard = heard .. s:recv(master)
    until heard:find "answer"
    assert(s:arm(slave, ""))
    probe.close_fd(slave)
    assert.equal("r", soon(s, master))
    assert.same({nil, "EIO"}, {s:recv(master)})
  end))

  it("keeps datagrams apart", each(function(s)
    local a, b = probe.pair "dgram"
    local _ <close> = closing(a, b)
    assert(s:arm(a, "r"))
    s:send(b, "one")
    s:send(b, "two")
    assert.equal("one", s:recv(a))
    assert.equal("r", now(s, a))
    assert.equal("two", s:recv(a))
    assert.is_nil(now(s, a))
  end))

  it("refuses files, which are always ready", each(function(s)
    for _, path in ipairs {"/etc/passwd", "/tmp"} do
      local fd = assert(probe.open(path))
      local _ <close> = closing(fd)
      assert.same({nil, "EPERM"}, {s:arm(fd, "r")})
      assert.same({nil, "EPERM"}, {s:arm(fd, "r")})
    end
  end))

  it("refuses what is not open, and one descriptor for two watches", each(function(s)
    local r, w = probe.pipe()
    local _ <close> = closing(r, w)
    probe.close_fd(r)
    assert.same({nil, "EBADF"}, {s:arm(r, "r")})
    assert(s:arm(w, "w"))
    s:forge(w)
    assert.same({nil, "EEXIST"}, {s:arm(w, "w")})
  end))

  it("survives a descriptor that is closed behind its back", each(function(s, name)
    local r, w = probe.pipe()
    local r2, w2 = probe.pipe()
    local _ <close> = closing(w, r2, w2)
    assert(s:arm(r, "r"))
    assert(s:arm(r2, "r"))
    probe.write(w2, "x")
    probe.close_fd(r)
    for _ = 1, 3 do
      local facts = s:wait(0)
      assert.is_true(facts[r2] == "r" or name == "select" and facts[r] == "r")
    end
    assert(s:arm(r, ""))
    assert.equal("r", now(s, r2))
    local r3, w3 = probe.pipe() -- the number again
    local _ <close> = closing(r3, w3)
    assert.equal(r, r3)
    assert(s:arm(r3, "r"))
    assert.is_nil(now(s, r3))
    probe.write(w3, "x")
    assert.equal("r", now(s, r3))
    probe.close_fd(r3) -- and once more, without a word
    local r4, w4 = probe.pipe()
    local _ <close> = closing(r4, w4)
    assert.equal(r3, r4)
    assert(s:arm(r4, "rw"))
    probe.write(w4, "x")
    assert.equal("r", now(s, r4))
  end))

  it("ends its sleep at a signal, with nothing to report", each(function(s)
    local r, w = probe.pipe()
    local _ <close> = closing(r, w)
    assert(s:arm(r, "r"))
    probe.alarm(1000)
    local forever, long = {s:wait(-1)}, {s:wait(30000 * MS)}
    probe.alarm(0)
    assert.same({{}, 0}, forever)
    assert.same({{}, 0}, long)
  end))

  it("forgets nobody when it reports one at a time", each(function(s)
    local all <close> = closing()
    local left = 0
    for _ = 1, 50 do
      local a, b = probe.pair()
      table.move({a, b}, 1, 2, #all + 1, all)
      assert(s:arm(a, "rw"))
      left = left + 1
    end
    local seen = {}
    for _ = 1, 50 do
      local facts, n = s:wait(0, 1)
      assert.equal(1, n)
      local fd = next(facts)
      assert.is_nil(seen[fd])
      seen[fd] = true
      left = left - 1
    end
    assert.equal(0, left)
  end))

  -- Of many that are ready a turn serves more than a few, else they wait behind each turn
  -- of one who is greedy.
  it("sees sixty that became ready at once", each(function(s)
    local all <close> = closing()
    for i = 1, 60 do
      local a, b = probe.pair()
      all[2 * i - 1], all[2 * i] = a, b
      s:own(a)
      assert(s:arm(a, "r"))
    end
    assert.same({{}, 0}, {s:wait(0)})
    for i = 1, 60 do probe.write(all[2 * i], "x") end
    assert.equal(60, (select(2, s:wait(0))))
    for i = 1, 60 do
      assert.equal("x", s:recv(all[2 * i - 1]))
      assert(s:arm(all[2 * i - 1], ""))
      s:forge(all[2 * i - 1])
    end
  end))

  -- What only lull reads may be told a look later, and must not stand before the rest.
  it("tells of everybody in turn, whoever owns them", each(function(s)
    for _, room in ipairs {1, 2, 5} do
      local all <close> = closing()
      local times = {}
      for i = 1, 24 do
        local a, b = probe.pair()
        table.move({a, b}, 1, 2, #all + 1, all)
        if i > 4 then s:own(a) end
        assert(s:arm(a, "w"))
        times[a] = 0
      end
      for _ = 1, 24 * 6 do
        local facts, n = s:wait(0, room)
        assert.equal(room, n)
        for fd in pairs(facts) do times[fd] = times[fd] + 1 end
      end
      for i = 1, #all, 2 do
        assert.is_true(times[all[i]] >= 2 * room, times[all[i]] .. " times")
        assert(s:arm(all[i], ""))
        s:forge(all[i])
      end
    end
  end))

  it("holds many descriptors, and lets any of them go", each(function(s)
    math.randomseed(8)
    local all <close> = closing()
    local armed = {}
    for i = 1, 300 do
      local fd = probe.dup(0)
      probe.close_fd(fd)
      local a, b = probe.pair()
      all[#all + 1], all[#all + 2] = a, b
      probe.write(i % 2 == 0 and b or a, "x")
      for _, x in ipairs {a, b} do
        assert(s:arm(x, "r"))
        armed[x] = (x == b) == (i % 2 == 1)
      end
    end
    for _ = 1, 600 do
      local fd = all[math.random(#all)]
      if math.random(2) == 1 and armed[fd] ~= nil then
        assert(s:arm(fd, ""))
        armed[fd] = nil
      end
    end
    local expected, facts = {}, {}
    for fd, ready in pairs(armed) do
      expected[fd] = ready and "r" or nil
    end
    for _ = 1, 10 do -- more than one look reports
      for fd, events in pairs((s:wait(0))) do
        facts[fd] = events
      end
    end
    assert.same(expected, facts)
  end))

  it("says so when a descriptor is beyond it", each(function(s, name)
    local before = probe.files(4096)
    if not before then
      return pending "cannot have that many files here"
    end
    local r, w = probe.pipe()
    local high = assert(probe.dup(r, 2000))
    local _ <close> = closing(r, w, high)
    probe.files(before)
    local ok, code = s:arm(high, "r")
    if name == "select" then
      assert.same({nil, "EMFILE"}, {ok, code})
    else
      assert(ok, code)
    end
  end))

  it("reports lack of memory and goes on", function()
    for _, name in ipairs(probe.backends()) do
      for fail = 1, 4 do
        local s, code = probe.selector(name, fail)
        if not s then
          assert.equal("ENOMEM", code)
        else
          local all <close> = closing()
          for _ = 1, 40 do
            local a, b = probe.pair()
            all[#all + 1], all[#all + 2] = a, b
            local ok, why = s:arm(a, "w")
            assert(ok or why == "ENOMEM", why)
            assert(s:arm(a, "w"))
          end
          assert.equal(40, (select(2, s:wait(0))))
          assert.equal(0, s:close())
        end
      end
    end
  end)
end)

describe("the calls of a backend", function()
  it("accept a connection, which is then non-blocking", each(function(s)
    local listener, port = probe.listen()
    local client = probe.socket "inet"
    local _ <close> = closing(listener, client)
    assert.same({nil, "EAGAIN"}, {s:accept(listener)})
    s:connect(client, port)
    assert(s:arm(listener, "r"))
    assert.equal("r", soon(s, listener))
    local fd, size = s:accept(listener)
    local _ <close> = closing(fd)
    assert.equal(16, size)
    assert.same({nil, "EAGAIN"}, {s:recv(fd)})
    assert.same({nil, "EAGAIN"}, {s:accept(listener)})
  end))

  it("connect in two steps, and say how it went", each(function(s)
    local listener, port = probe.listen()
    local _ <close> = closing(listener)
    local client = probe.socket "inet"
    local _ <close> = closing(client)
    local ok, code, begun = s:connect(client, port)
    while not ok do
      assert.same({"EAGAIN", true}, {code, begun})
      assert(s:arm(client, "w"))
      assert.equal("w", soon(s, client))
      ok, code, begun = s:connect(client, port)
    end
    assert.equal(4, s:send(client, "ping"))
    assert(s:arm(client, ""))
    probe.close_fd(listener)
    local other = probe.socket "inet"
    local _ <close> = closing(other)
    ok, code, begun = s:connect(other, port)
    while code == "EAGAIN" do
      assert.is_true(begun)
      assert(s:arm(other, "w"))
      assert.equal("w", soon(s, other))
      ok, code, begun = s:connect(other, port)
    end
    assert.same({nil, "ECONNREFUSED", false}, {ok, code, begun})
  end))

  it("do not take a connection under way for one that stands", each(function(s)
    local path = os.tmpname()
    os.remove(path)
    local listener = assert(probe.listen(path, 0))
    local all <close> = closing(listener)
    local begun, code
    for _ = 1, 10 do -- until the backlog is full
      local client = probe.socket "unix"
      all[#all + 1] = client
      local _
      _, code, begun = s:connect(client, path)
      if code then
        break
      end
    end
    os.remove(path)
    assert.same({"EAGAIN", false}, {code, begun}) -- nothing begun: to be tried again
  end))

  it("say what is wrong with a descriptor", each(function(s)
    local r, w = probe.pipe()
    local _ <close> = closing(r, w)
    assert.same({nil, "ENOTSOCK"}, {s:accept(r)})
    assert.same({nil, "ENOTSOCK", false}, {s:connect(r, 1)})
    assert.same({nil, "EBADF"}, {s:recv(w)})
    probe.close_fd(r)
    assert.same({nil, "EBADF"}, {s:recv(r)})
  end))
end)

describe("lull.selectors", function()
  local function each_kind(fn)
    return function()
      for _, name in ipairs(selectors.available()) do
        local s <close> = assert(selectors[name]())
        fn(s, name)
      end
    end
  end

  it("tells what is available, best first, and makes the best by default", function()
    local names = selectors.available()
    assert.is_true(#names >= 2)
    local s <close> = selectors.default()
    assert.equal("selector " .. names[1] .. " (0 registered)", tostring(s))
  end)

  it("answers ENOSYS for what this machine has not", function()
    local have = {}
    for _, name in ipairs(selectors.available()) do
      have[name] = true
    end
    for _, name in ipairs {"epoll", "io_uring", "kqueue", "poll", "select"} do
      local s, message, code = selectors[name]()
      if not have[name] then
        assert.is_nil(s)
        assert.is_string(message)
        assert.is_string(code)
      end
    end
  end)

  it("reports who is ready, for what, and the data", each_kind(function(s)
    local a, b = probe.pair()
    local _ <close> = closing(a, b)
    local data = {}
    assert.equal(s, s:register(a, "r", data))
    assert.equal(s, s:register(b, "w"))
    assert.same({{fd = b, events = "w"}}, s:select(0))
    probe.write(b, "x")
    assert(s:unregister(b))
    for _ = 1, 2 do
      local list = s:select()
      assert.equal(1, #list)
      assert.same({a, "r"}, {list[1].fd, list[1].events})
      assert.equal(data, list[1].data)
    end
    assert(s:modify(a, "rw", "other"))
    assert.same({{fd = a, events = "rw", data = "other"}}, s:select(-1))
    assert(s:modify(a, "w"))
    assert.same({{fd = a, events = "w", data = "other"}}, s:select(1))
    assert(s:modify(a, "w", nil))
    assert.same({{fd = a, events = "w"}}, s:select(1))
    probe.close_fd(b)
    assert.same({{fd = a, events = "w"}}, s:select(1))
    s:unregister(a)
    assert.same({}, s:select(0))
  end))

  it("finds files always ready", each_kind(function(s)
    local r, w = probe.pipe()
    local fd, other = probe.open "/etc/passwd", probe.open "/etc/group"
    local _ <close> = closing(r, w, fd, other)
    assert(s:register(fd, "r", "file"))
    assert(s:register(other, "rw"))
    assert(s:register(r, "r", "pipe"))
    probe.write(w, "x")
    local list = s:select()
    table.sort(list, function(x, y) return x.fd < y.fd end)
    assert.same({
      {fd = r, events = "r", data = "pipe"},
      {fd = fd, events = "r", data = "file"},
      {fd = other, events = "rw"},
    }, list)
    assert(s:modify(fd, "w"))
    s:unregister(other)
    s:unregister(r)
    assert.same({{fd = fd, events = "w", data = "file"}}, s:select(60))
    s:unregister(fd)
    assert.same({}, s:select(0))
  end))

  it("comes back from a signal", each_kind(function(s)
    probe.alarm(1000)
    local list = s:select()
    probe.alarm(0)
    assert.same({}, list)
  end))

  it("returns failures of the kernel", each_kind(function(s)
    local r, w = probe.pipe()
    local _ <close> = closing(w)
    probe.close_fd(r)
    local ok, message, code = s:register(r, "r")
    assert.same({nil, "EBADF: bad file descriptor", "EBADF"}, {ok, message, code})
    local r2, w2 = probe.pipe()
    local _ <close> = closing(r2, w2)
    assert(s:register(r2, "r")) -- the same number: nothing stayed behind
  end))

  it("raises on misuse", each_kind(function(s)
    local r, w = probe.pipe()
    local _ <close> = closing(r, w)
    assert(s:register(r, "r"))
    assert.has_error(function() s:register(r, "w") end,
      ("descriptor %d is registered already"):format(r))
    assert.has_error(function() s:modify(w, "w") end,
      ("descriptor %d is not registered"):format(w))
    assert.has_error(function() s:unregister(w) end,
      ("descriptor %d is not registered"):format(w))
    for _, bad in ipairs {"", "x", "wr", 1, false} do
      assert.is_false(pcall(s.register, s, w, bad))
    end
    for _, bad in ipairs {-1, 1.5, "fd", math.maxinteger} do
      assert.is_false(pcall(s.register, s, bad, "r"))
    end
    assert.is_false(pcall(s.select, s, 0 / 0))
    assert.is_false(pcall(s.select, s, "soon"))
    assert.is_false(pcall(s.select, {}, 0))
  end))

  it("is closed by hand, by its block or by the collector", each_kind(function(s, name)
    local r, w = probe.pipe()
    local _ <close> = closing(r, w)
    s:register(r, "r")
    assert.equal("selector " .. name .. " (1 registered)", tostring(s))
    s:close()
    s:close()
    assert.equal("selector " .. name .. " (closed)", tostring(s))
    assert.has_error(function() s:select(0) end, "the selector is closed")
    assert.has_error(function() s:unregister(r) end, "the selector is closed")
    for _ = 1, 200 do
      local another, message, code = selectors[name]()
      if code == "ENOMEM" then break end -- who is not root may not lock much
      assert(another, message):register(r, "r")
    end
    collectgarbage()
  end))
end)
