-- The core from inside: waiters, the turn, and the things to wait for, on every backend,
-- with memory that runs out at the worst moment.
local helper = require "spec.helper"
local probe = require "probe"

local MS = 1000000 -- nanoseconds

-- A loop, by default with the virtual clock; closed when the block is left, and then all
-- memory must have come back.
local function loop(opts)
  local l = assert(probe.loop(opts or {virtual = true}))
  return l, setmetatable({}, {__close = function()
    l:check()
    assert.equal(0, l:close())
  end})
end

local function each_backend(fn)
  return function()
    for _, name in ipairs(probe.backends()) do
      fn(name)
    end
  end
end

local function close(...)
  for _, fd in ipairs {...} do
    probe.close_fd(fd)
  end
end

describe("waiter", function()
  it("is run once for several wakes, with the status of the first", function()
    local l, _ <close> = loop()
    l:wait(1)
    assert.is_true(l:wake(1, -110))
    assert.is_false(l:wake(1, 0))
    assert.equal(1, l:turn())
    assert.is_false(l:wake(1, 0))
    assert.same({"1:ETIMEDOUT"}, l:log())
  end)

  it("runs in the order of wakes", function()
    local l, _ <close> = loop()
    for _, w in ipairs {3, 1, 2} do
      l:wait(w)
    end
    for _, w in ipairs {2, 3, 1} do
      l:wake(w)
    end
    l:turn()
    assert.same({"2", "3", "1"}, l:log())
  end)

  it("does not run when it was forgotten in time", function()
    local l, _ <close> = loop()
    for w = 1, 3 do
      l:wait(w)
      l:wake(w)
    end
    l:on(1, function() l:forget(3) end)
    l:forget(2)
    l:turn()
    assert.same({"1"}, l:log())
    assert.is_false(l:wake(3))
  end)

  it("that becomes ready during a batch waits for the next turn", function()
    local l, _ <close> = loop()
    l:wait(1)
    l:on(1, function()
      l:wait(1)
      l:wake(1)
    end)
    l:wake(1)
    assert.equal(1, l:turn())
    assert.equal(1, l:turn())
    assert.same({"1", "1"}, l:log())
  end)

  it("is freed with the loop while it waits", function()
    local l = probe.loop {}
    local r, w = probe.pipe()
    l:open(1, r)
    assert(l:await(1, "r", 1))
    l:future_wait(1, 2)
    l:start(3, 5)
    l:wait(4)
    l:wake(4)
    l:post(1)
    assert.equal(0, l:close())
    close(r, w)
  end)
end)

describe("loop", function()
  it("says when nobody can be woken any more", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local r, w = probe.pipe()
    assert.same({nil, "EDEADLK"}, {l:run()})
    l:future_wait(1, 1)
    assert.same({nil, "EDEADLK"}, {l:run()})
    l:post(1)
    assert.same({0}, {l:run(1)})
    l:open(1, r)
    l:await(1, "r", 2)
    probe.write(w, "x")
    assert.same({0}, {l:run(1)})
    assert.same({nil, "EDEADLK"}, {l:run()})
    close(r, w)
  end))

  it("refuses to run inside itself", function()
    local l, _ <close> = loop()
    l:wait(1)
    l:on(1, function()
      assert.same({nil, "EBUSY"}, {l:run()})
      assert.same({nil, "EBUSY"}, {l:turn()})
    end)
    l:wake(1)
    assert.same({0}, {l:run(1)})
  end)

  it("orders the ready by its seed, always alike", function()
    local orders = {}
    for seed = 1, 20 do
      local runs = {}
      for i = 1, 2 do
        local l, _ <close> = loop {virtual = true, seed = seed}
        for w = 1, 9 do
          l:wait(w)
          l:wake(w)
        end
        l:turn()
        runs[i] = table.concat(l:log(), " ")
      end
      assert.equal(runs[1], runs[2])
      orders[runs[1]] = true
    end
    local n = 0
    for _ in pairs(orders) do
      n = n + 1
    end
    assert.is_true(n > 15)
  end)

  it("knows the selectors it is asked for, and only those", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    assert.equal(0, l:turn())
    assert.same({nil, "ENOSYS"}, {probe.loop {selector = "abacus"}})
  end))

  it("asks the selector now and then while others are always ready", function()
    local l, _ <close> = loop {}
    local r, w = probe.pipe()
    l:open(1, r)
    l:await(1, "r", 1)
    l:wait(2)
    l:on(2, function()
      l:wait(2)
      l:wake(2)
    end)
    l:wake(2)
    probe.write(w, "x")
    l:asked()
    l:run(200)
    local _, looks = l:asked()
    assert.is_true(looks >= 2 and looks <= 4)
    local log = l:log()
    table.sort(log)
    assert.equal("1", log[1])
    close(r, w)
  end)
end)

describe("timer", function()
  it("falls due in the order of deadlines, then of starting", function()
    local l, _ <close> = loop()
    for i, deadline in ipairs {30, 10, 20, 10} do
      l:start(i, deadline * MS)
    end
    l:run(4)
    assert.same({"2:ETIMEDOUT", "4:ETIMEDOUT", "3:ETIMEDOUT", "1:ETIMEDOUT"}, l:log())
    assert.equal(30 * MS, l:now())
    assert.equal(0, l:early())
  end)

  it("does not fall due when it was stopped, or before it was moved to", function()
    local l, _ <close> = loop()
    for i = 1, 3 do
      l:start(i, i * MS)
    end
    l:stop_timer(1)
    l:stop_timer(1)
    l:start(2, 9 * MS)
    assert.equal(9 * MS, l:timer(2))
    assert.is_nil(l:timer(1))
    l:run(2)
    assert.same({"3:ETIMEDOUT", "2:ETIMEDOUT"}, l:log())
  end)

  it("is never early, on every backend", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    math.randomseed(11)
    local count = 0
    for i = 1, 100 do
      l:start(i, probe.time() + math.random(0, 3 * MS))
      l:on(i, function()
        count = count + 1
        if count <= 200 then
          l:start(i, probe.time() + math.random(0, 100) * math.random(0, 20000))
        end
      end)
    end
    l:run(300)
    assert.equal(0, l:early())
  end))

  it("in the past or infinitely far does no harm", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    l:start(1, math.mininteger)
    l:start(2, math.maxinteger)
    l:start(3, probe.time() + MS)
    l:run(2)
    assert.same({"1:ETIMEDOUT", "3:ETIMEDOUT"}, l:log())
  end))

  it("obeys a clock that is moved by hand", function()
    local l, _ <close> = loop()
    l:start(1, 5 * MS)
    assert(l:advance(2 * MS))
    assert.equal(2 * MS, l:now())
    assert(l:advance(math.maxinteger))
    assert.equal(math.maxinteger, l:now())
    assert.same({nil, "EINVAL"}, {l:advance(-1)})
    assert.equal(1, l:turn())
    local real, _ <close> = loop {}
    assert.same({nil, "EINVAL"}, {real:advance(1)})
  end)
end)

describe("io", function()
  it("wakes all who wait for it, in order", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local r, w = probe.pipe()
    l:open(1, r)
    for waiter = 1, 3 do
      assert(l:await(1, "r", waiter))
    end
    probe.write(w, "x")
    l:run(3)
    assert.same({"1", "2", "3"}, l:log())
    close(r, w)
  end))

  it("makes no change of interest in the steady state", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local a, b = probe.pair()
    l:open(1, a)
    l:on(1, function()
      assert.equal("ping", l:recv(1))
      assert.same({nil, "EAGAIN"}, {l:recv(1)}) -- known without a call
      assert.equal(4, l:send(1, "pong"))
      assert(l:await(1, "r", 1))
    end)
    l:asked()
    assert(l:await(1, "r", 1))
    for _ = 1, 50 do
      probe.write(b, "ping")
      l:run(1)
      assert.equal("pong", probe.read(b))
    end
    assert.equal(1, (l:asked()))
    close(a, b)
  end))

  it("is disarmed by an event that nobody waits for", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local a, b = probe.pair()
    l:open(1, a)
    l:await(1, "r", 1)
    l:await(1, "w", 2)
    l:run(1)
    assert.equal("rw", l:armed(1))
    l:turn()
    assert.equal("r", l:armed(1))
    l:forget(1)
    l:turn()
    assert.equal("r", l:armed(1))
    probe.close_fd(b)
    l:turn()
    assert.equal("", l:armed(1))
    l:asked()
    l:turn()
    assert.equal(0, (l:asked()))
    l:shut(1)
    close(a)
  end))

  it("that closes wakes all with ECANCELED, once, in order", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local a, b = probe.pair()
    l:open(1, a)
    l:await(1, "r", 1)
    l:await(1, "r", 2)
    probe.fill(a)
    l:await(1, "w", 3)
    l:shut(1)
    l:shut(1)
    close(a, b)
    l:turn()
    assert.same({"1:ECANCELED", "2:ECANCELED", "3:ECANCELED"}, l:log())
    local c, d = probe.pair() -- the same numbers again
    l:open(1, c)
    assert(l:await(1, "r", 1))
    probe.write(d, "x")
    l:run(1)
    assert.same({"1"}, l:log())
    close(c, d)
  end))

  it("of a regular file is always ready, to its end", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local path = os.tmpname()
    local f <close> = assert(io.open(path, "w"))
    f:write(("x"):rep(5000)):flush()
    local fd = assert(probe.open(path))
    os.remove(path)
    l:open(1, fd)
    local got, ends = 0, 0
    local function step()
      local data, code = l:recv(1)
      if data == "" then
        ends = ends + 1
      elseif data then
        got = got + #data
        return step()
      else
        assert.equal("EAGAIN", code)
        assert(l:await(1, "r", 1))
      end
    end
    l:on(1, step)
    assert(l:await(1, "r", 1))
    for _ = 1, 10 do
      l:turn()
    end
    assert.same({5000, 1}, {got, ends})
    l:shut(1)
    close(fd)
  end))

  it("serves more descriptors than one look reports", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local ends, want = {}, {}
    for i = 1, 100 do
      local a, b = probe.pair()
      ends[i] = {a, b}
      l:open(i, a)
      assert(l:await(i, "r", i))
      probe.write(b, "x")
      want[i] = tostring(i)
    end
    l:run(100)
    local log = l:log()
    table.sort(log)
    table.sort(want)
    assert.same(want, log)
    for _, pair in ipairs(ends) do
      close(table.unpack(pair))
    end
  end))

  it("refuses what is not open", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    local r, w = probe.pipe()
    close(r, w)
    l:open(1, r)
    assert.same({nil, "EBADF"}, {l:await(1, "r", 1)})
    assert.is_false(l:wake(1))
  end))
end)

describe("future", function()
  it("wakes all who wait, in order, and takes one word only", function()
    local l, _ <close> = loop()
    for w = 1, 3 do
      assert(l:future_wait(1, w))
    end
    l:forget(2)
    assert(l:settle(1))
    assert.same({nil, "EALREADY"}, {l:settle(1)})
    assert.same({nil, "EALREADY"}, {l:future_wait(1, 2)})
    l:turn()
    assert.same({"1", "3"}, l:log())
  end)
end)

describe("scope", function()
  local function state(l, s)
    return (l:scope_state(s))
  end

  it("cancels what is below it, but not what is shielded", function()
    local l, _ <close> = loop()
    l:scope(1, 0)
    l:scope(2, 1, 2)
    l:scope(3, 1, 3, true)
    l:scope(4, 3, 4)
    for w = 2, 4 do
      l:wait(w)
    end
    assert.is_true(l:scope_cancel(1))
    assert.is_false(l:scope_cancel(1))
    l:turn()
    assert.same({"2:ECANCELED"}, l:log())
    assert.same({true, true, false, false},
      {state(l, 1), state(l, 2), state(l, 3), state(l, 4)})
    l:scope(5, 2)
    assert.is_true(state(l, 5))
    for s = 5, 1, -1 do
      l:scope_close(s)
    end
  end)

  it("agrees with looking up the tree, whatever is done to it", function()
    math.randomseed(5)
    local l, _ <close> = loop()
    local COUNT, parent, own, shield = 12, {}, {}, {}
    local function culprit(s)
      local found
      while s do
        if own[s] then
          found = s
        end
        s = not shield[s] and parent[s] or nil
      end
      return found
    end
    local function above(s, top)
      return s == top or (parent[s] and above(parent[s], top)) or false
    end
    for s = 1, COUNT do
      l:scope(s, 0)
    end
    for _ = 1, 4000 do
      local s, t, what = math.random(COUNT), math.random(COUNT), math.random(10)
      if what == 1 then
        assert.equal(not own[s], l:scope_cancel(s))
        own[s] = true
      elseif what <= 3 then
        l:scope_detach(s)
        parent[s] = nil
      elseif what <= 6 and not above(t, s) then
        l:scope_detach(s)
        l:scope_attach(s, t)
        parent[s] = t
      elseif what <= 8 then
        l:scope_close(s)
        for child in pairs(parent) do
          if parent[child] == s then
            parent[child] = nil
          end
        end
        shield[s], own[s], parent[s] = math.random(3) == 1, nil, nil
        if s ~= t and not above(t, s) then
          parent[s] = t
        end
        l:scope(s, parent[s] or 0, 0, shield[s])
      end
      for i = 1, COUNT do
        local cancelled, who = l:scope_state(i)
        assert.equal(culprit(i), who)
        assert.equal(who ~= nil, cancelled)
      end
    end
  end)
end)

describe("post", function()
  it("hands messages over in the order of posting", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    for m = 1, 5 do
      l:post(m)
    end
    l:run(5)
    assert.same({"-1", "-2", "-3", "-4", "-5"}, l:log())
  end))

  it("keeps the order of each of many threads", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    assert(l:threads(4, 5000))
    assert(l:threads(3, 2000, "slowly")) -- each waits for its answer: no wake is lost
  end))

  it("wakes a loop that sleeps for ever", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    for _ = 1, 20 do
      assert(l:threads(1, 1))
    end
  end))

  -- The thread sanitizer keeps signals back until a call that it knows, and does not know
  -- epoll_pwait2: the loop would sleep for ever.
  local raced = (os.getenv "LULL_BUILD" or ""):find "tsan"
  local it_unless_raced = raced and pending or it

  it_unless_raced("may be called in a signal handler", each_backend(function(name)
    local l, _ <close> = loop {selector = name}
    l:ref()
    for i = 1, 50 do
      local polite = l:alarm(1, i * 10)
      assert.is_true(i == 1 or polite)
      l:run(1)
      assert.same({"-1"}, l:log())
    end
    l:unref()
  end))

  it("costs one descriptor event however often it is called", function()
    local l, _ <close> = loop {}
    l:asked()
    for _ = 1, 100 do
      l:wakeup()
    end
    l:ref()
    l:wait(1)
    l:start(1, probe.time() + MS)
    l:run(1)
    l:unref()
    local _, looks = l:asked()
    assert.is_true(looks <= 3)
  end)
end)

describe("memory that runs out", function()
  -- One of everything; whatever fails must fail with ENOMEM and leave all else working.
  local function must(result, code)
    return result or error(code, 0)
  end

  local function scenario(l, a, b)
    for i = 1, 40 do
      must(l:start(i, probe.time() + i * 1000))
    end
    l:open(1, a)
    must(l:await(1, "r", 100))
    must(l:await(1, "w", 101))
    must(l:future_wait(1, 102))
    probe.write(b, "x")
    must(l:settle(1))
    l:post(1)
    l:run(44)
    assert.equal("x", l:recv(1))
    assert.equal(0, l:early())
    l:check()
  end

  it("is told at every allocation, and nothing is lost by it", each_backend(function(name)
    local a, b = probe.pair()
    local fail, passed = 0, false
    repeat
      fail = fail + 1
      local l, code = probe.loop {selector = name, fail = fail}
      if l then
        local err
        passed, err = pcall(scenario, l, a, b)
        assert(passed or err == "ENOMEM", err)
        l:shut(1)
        l:check()
        assert(l:start(1, 0)) -- it lives on
        l:log()
        assert(l:run(1))
        assert.equal(0, l:close())
        while probe.read(a) do end
      else
        assert.equal("ENOMEM", code)
      end
    until passed
    assert.is_true(fail > 4)
    close(a, b)
  end))

  it("and descriptors that run out leave nothing behind", each_backend(function(name)
    helper.collect() -- so that nobody gives one back meanwhile
    local held = {}
    local before = assert(probe.files(64))
    repeat
      local fd = probe.dup(0)
      held[#held + 1] = fd
    until not fd
    assert.same({nil, "EMFILE"}, {probe.loop {selector = name}})
    close(table.remove(held))
    local l = probe.loop {selector = name} -- may or may not do with one
    if l then
      assert.equal(0, l:close())
    end
    close(table.unpack(held))
    probe.files(before)
    assert(probe.loop {selector = name}):close()
  end))
end)
