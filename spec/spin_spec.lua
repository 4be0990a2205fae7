-- Looking for a while before sleeping.  Time is a clock that goes on by TICK whenever the
-- loop reads it, so what is counted is how often the kernel was asked, and how: nothing
-- here depends on how fast anything is.
local helper = require "spec.helper"
local probe = require "probe"
local lull = helper.lull

local TICK <const> = 1000 -- ns, for each reading of the clock
local SPIN <const> = 20000

local function closing(fn)
  return setmetatable({}, {__close = fn})
end

-- it(name, fn(l, fd, w, selector)): on each backend, with a loop that spins, and the ends
-- of a pipe whose reading end is descriptor 1 of the loop.
local function each(fn, options)
  return function()
    for _, name in ipairs(probe.backends()) do
      local o = {selector = name, spin = SPIN, tick = TICK}
      for key, value in pairs(options or {}) do o[key] = value end
      local l = assert(probe.loop(o))
      local r, w = probe.pipe()
      local _ <close> = closing(function()
        l:shut(1)
        probe.close_fd(r)
        probe.close_fd(w)
        assert.equal(0, l:close())
      end)
      l:open(1, r)
      l:asked()
      fn(l, r, w, name)
    end
  end
end

-- Waits for one byte that comes just before the n-th look (-1: before the first that may
-- sleep); how often was the kernel asked, and how often to sleep?
local function wait_once(l, w, n)
  l:await(1, "r", 1)
  l:asked()
  l:write_at(n, w)
  assert.equal(0, l:run(1))
  assert.equal("x", l:recv(1, 1))
  local _, looks, sleeps = l:asked()
  return looks, sleeps
end

-- Waits for nothing but a timer that is due after so long; the same.
local function sleep_once(l, time)
  l:asked()
  l:start(2, l:now() + time)
  assert.equal(0, l:run(1))
  assert.equal(0, l:early())
  local _, looks, sleeps = l:asked()
  return looks, sleeps
end

describe("a loop that spins", function()
  it("finds what comes while it looks, without sleeping", each(function(l, _, w)
    for n = 1, 10 do
      local looks, sleeps = wait_once(l, w, n)
      assert.equal(0, sleeps)
      assert.is_true(looks >= n)
    end
  end))

  it("looks for as long as it was told, then sleeps", each(function(l, _, w)
    local n = SPIN // TICK
    local looks, sleeps = wait_once(l, w, -1)
    assert.equal(1, sleeps)
    assert.is_true(looks - sleeps >= n - 2, looks .. " looks")
    assert.is_true(looks - sleeps <= n + 2, looks .. " looks")
  end))

  it("meets a timer that is due before that without sleeping", each(function(l)
    for _ = 1, 10 do
      local looks, sleeps = sleep_once(l, SPIN // 2)
      assert.equal(0, sleeps)
      assert.is_true(looks > 1 and looks <= SPIN // TICK)
    end
  end))

  it("tries ever more rarely what was in vain", each(function(l)
    local attempts = 0
    for _ = 1, 500 do
      local looks, sleeps = sleep_once(l, 3 * SPIN)
      assert.is_true(sleeps > 0)
      if looks > sleeps then attempts = attempts + 1 end
    end
    assert.is_true(attempts >= 2, attempts .. " attempts")
    assert.is_true(attempts <= 10, attempts .. " attempts")
  end))

  it("tries again and again what was not", each(function(l, _, w)
    repeat -- until it has given up for a while
      local looks, sleeps = sleep_once(l, 3 * SPIN)
    until looks == sleeps
    local slept = 0
    for _ = 1, 100 do
      -- A spin finds it at the second look; else it is there when it goes to sleep.
      local looks, sleeps = wait_once(l, w, 1)
      slept = slept + (sleeps > 0 and 1 or 0)
      assert.is_true(looks >= 1)
    end
    assert.is_true(slept < 50, slept .. " times it slept")
  end))

  it("takes what other threads post", each(function(l)
    assert.equal(0, l:threads(2, 200, true))
  end, {tick = 0}))

  it("does not in a turn that is not to sleep", each(function(l)
    l:await(1, "r", 1)
    l:asked()
    assert.equal(0, l:turn())
    local _, looks, sleeps = l:asked()
    assert.same({1, 0}, {looks, sleeps})
  end))

  it("does not on the virtual clock", each(function(l)
    l:start(2, l:now() + 10 * SPIN)
    l:asked()
    assert.equal(0, l:run(1))
    local _, looks, sleeps = l:asked()
    assert.is_true(looks <= 2, looks .. " looks")
    assert.equal(0, sleeps)
  end, {virtual = true, tick = 0}))

  it("still says that nothing can wake anybody", each(function(l)
    l:wait(1)
    assert.same({nil, "EDEADLK"}, {l:run()})
  end))

  it("still sees a stop, and what a signal has posted", each(function(l)
    l:ref()
    l:alarm(1, 1000)
    assert.equal(0, l:run(1))
    assert.is_true((l:alarm(1, 0)))
    l:unref()
  end, {tick = 0, spin = 10000000000}))
end)

describe("a loop that does not spin", function()
  it("asks the kernel once", each(function(l, _, w)
    local looks, sleeps = wait_once(l, w, 1)
    assert.same({1, 1}, {looks, sleeps})
  end, {spin = 0}))
end)

describe("spin", function()
  it("is an option of loops, in seconds", function()
    for _, backend in helper.backends() do
      local loop <close> = lull.new_loop {spin = 0.01, selector = backend}
      assert.equal("x", loop:run_until_complete(function()
        local a, b = lull.net.pair()
        local answer = lull.spawn(function() return a:read(1) end)
        lull.sleep(0.001)
        b:write "x"
        local got = answer:await()
        a:close()
        b:close()
        return got
      end))
    end
    for _, wrong in ipairs {-1, "soon", 0 / 0, {}} do
      local ok, err = pcall(lull.new_loop, {spin = wrong})
      assert.is_false(ok)
      assert.matches("spin must be a number of seconds", err)
    end
  end)

  it("is an option of the interpreter", function()
    local program = helper.interpreter()
    local out = helper.execute {program, "--spin=0.0001", "-e", "lull.sleep(0) print 'x'"}
    assert.equal("x\n", out)
    for _, wrong in ipairs {"", "x", "-1", "1x", "nan"} do
      local _, err, code = helper.execute {program, "--spin=" .. wrong, "-e", ""}
      assert.equal(1, code)
      assert.equal("unrecognized option '--spin=" .. wrong .. "'", err:match ": ([^\n]*)")
    end
  end)
end)
