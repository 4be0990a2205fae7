-- Moments: never early, in order, the virtual clock and its jumps, and the seeded order
-- of what is ready.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.sleep", function()
  it("sleeps as long as it is told, whoever else sleeps", function()
    run(function()
      local start, tasks = lull.now(), {}
      for i = 1, 100 do
        tasks[i] = lull.spawn(function()
          local seconds = (i * 37 % 100) / 8
          lull.sleep(seconds)
          assert.equal(start + seconds, lull.now())
        end)
      end
      for i = 1, 100 do tasks[i]:await() end
      assert.equal(start + 99 / 8, lull.now())
    end)
  end)

  it("of no time gives the others one turn", function()
    run(function()
      for _, seconds in ipairs {0, -1, -0.0, -math.huge} do
        local turns <close> = helper.counter()
        local start = lull.now()
        for n = 1, 5 do
          lull.sleep(seconds)
          assert.equal(n, turns())
        end
        assert.equal(start, lull.now())
      end
    end)
  end)

  it("returns nothing", function()
    run(function() assert.equal(0, select("#", lull.sleep(1))) end)
  end)

  it("refuses what is no number", function()
    run(function()
      local ok, err = pcall(lull.sleep, "soon")
      assert.is_false(ok)
      assert.matches("number expected, got string", err)
      assert.is_false(pcall(lull.sleep))
      assert.is_false(pcall(lull.sleep, 0 / 0))
    end)
  end)

  it("bears very short and very long times", function()
    run(function()
      local start = lull.now()
      lull.sleep(1e-9)
      assert.is_true(lull.now() > start)
      lull.sleep(1e-300)
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, lull.sleep, 1e18)))
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, lull.sleep, math.huge)))
    end)
  end)
end)

describe("limits that begin after a computation", function()
  -- Three tenths of a second, on the real clock that no limit below may have read before.
  local function compute()
    lull.now()
    local stop = os.clock() + 0.3
    repeat until os.clock() > stop
  end

  local function few_turns()
    for _ = 1, 3 do
      lull.now() -- what is due by now is seen in the next turn
      lull.sleep(0)
    end
    return "in time"
  end

  -- A machine that is busy may need longer; that is looked up where the loop does not.
  local function not_early(start, result)
    assert.is_true(result == "in time" or lull.time() - start >= 0.25)
  end

  it("do not end early", function()
    run(function()
      compute()
      not_early(lull.time(), (lull.timeout(0.25, few_turns)))
      compute()
      not_early(lull.time(), (lull.scope(0.25, few_turns)))
      local start
      local result = lull.scope(function(s)
        compute()
        start = lull.time()
        s:timeout(0.25)
        return few_turns()
      end)
      not_early(start, result)
    end, {real = true})
  end)

  it("leave a sleep and a call as long as they should be", function()
    run(function()
      compute()
      local start, called = lull.now(), nil
      lull.loop():call_later(0.002, function() called = lull.now() end)
      lull.sleep(0.001)
      assert.is_true(lull.now() >= start + 0.001)
      while not called do lull.sleep(0) end
      assert.is_true(called >= start + 0.002)
    end, {real = true})
  end)
end)

describe("call_later and call_at", function()
  it("call in the order of their times, at one time in the order of calls", function()
    run(function()
      local loop, log = lull.loop(), {}
      local now = loop:time()
      local function note(name) log[#log + 1] = name end
      loop:call_later(3, note, "d")
      loop:call_later(1, note, "a")
      loop:call_at(now + 2, note, "b")
      loop:call_later(2, note, "c")
      loop:call_at(now + 3, note, "e")
      lull.sleep(2.5)
      assert.same({"a", "b", "c"}, log)
      lull.sleep(1)
      assert.same({"a", "b", "c", "d", "e"}, log)
    end)
  end)

  it("call soon when their time is past, in a later turn", function()
    run(function()
      local loop, calls = lull.loop(), 0
      local function count() calls = calls + 1 end
      loop:call_later(0, count)
      loop:call_later(-5, count)
      loop:call_at(loop:time() - 100, count)
      assert.equal(0, calls)
      helper.turns(2)
      assert.equal(3, calls)
    end)
  end)

  it("find the time to be the one they asked for", function()
    run(function()
      local loop = lull.loop()
      local start, times = loop:time(), {}
      for i = 1, 10 do
        loop:call_later(i / 4, function() times[i] = loop:time() - start end)
      end
      lull.sleep(5)
      for i = 1, 10 do assert.equal(i / 4, times[i]) end
    end)
  end)

  it("keep a thousand timers in order, half of them cancelled", function()
    run(function()
      local loop, last, calls, handles = lull.loop(), 0, 0, {}
      for i = 1, 1000 do
        local due = i * 7919 % 1000
        handles[i] = loop:call_later(due, function()
          assert(last <= due and i % 2 == 1)
          last, calls = due, calls + 1
        end)
      end
      for i = 2, 1000, 2 do handles[i]:cancel() end
      lull.timeout(1000, lull.sleep, 2000)
      assert.equal(500, calls)
    end, {guard = false})
  end)

  it("refuse what is no number or no function", function()
    run(function()
      local loop = lull.loop()
      assert.is_false(pcall(loop.call_later, loop, "x", print))
      assert.is_false(pcall(loop.call_later, loop, 1))
      assert.is_false(pcall(loop.call_later, loop, 0 / 0, print))
      assert.is_false(pcall(loop.call_at, loop, nil, print))
      assert.is_false(pcall(loop.call_soon, loop, 1))
    end)
  end)
end)

describe("the virtual clock", function()
  it("stands still while somebody is ready", function()
    run(function()
      local start = lull.now()
      helper.turns(1000)
      assert.equal(start, lull.now())
    end)
  end)

  it("is what lull.now and loop:time read", function()
    run(function()
      for _ = 1, 3 do
        assert.equal(lull.now(), lull.loop():time())
        lull.sleep(0.3)
      end
    end)
  end)

  it("can be advanced by hand, which makes due what is due", function()
    run(function()
      local loop, log = lull.loop(), {}
      local start = lull.now()
      loop:call_later(5, function() log[#log + 1] = lull.now() - start end)
      loop:call_later(50, function() log[#log + 1] = "late" end)
      local sleeper = lull.spawn(function() lull.sleep(3) log[#log + 1] = "woke" end)
      lull.sleep(0)
      loop:advance(10)
      assert.equal(start + 10, lull.now())
      assert.same({}, log)
      helper.turns(2)
      assert.same({"woke", 10}, log)
      sleeper:await()
      assert.is_false(pcall(loop.advance, loop, "x"))
    end)
  end)

  it("lets those who are due run in the next turn, whoever looks at it", function()
    run(function()
      local loop, log = lull.loop(), {}
      loop:call_later(5, function() log[#log + 1] = "called" end)
      local sleeper = lull.spawn(function() lull.sleep(3) log[#log + 1] = "woke" end)
      lull.sleep(0)
      loop:advance(2)
      lull.sleep(0)
      assert.same({}, log)
      loop:advance(8)
      lull.sleep(0)
      assert.same({"woke", "called"}, log)
      sleeper:await()
      local ok, _, code = lull.timeout(2, function()
        loop:advance(3)
        lull.sleep(0)
        return true
      end)
      assert.same({nil, "ETIMEDOUT"}, {ok, code})
    end)
  end)

  it("can be advanced while the loop is not running", function()
    local loop <close> = lull.new_loop {clock = "virtual"}
    local start = loop:time()
    loop:advance(100)
    assert.equal(start + 100, loop:time())
  end)

  it("the real clock cannot be advanced", function()
    local loop <close> = lull.new_loop()
    assert.is_false(pcall(loop.advance, loop, 1))
  end)

  it("never goes back", function()
    run(function()
      local loop = lull.loop()
      local start = lull.now()
      pcall(loop.advance, loop, -5)
      assert.is_true(lull.now() >= start)
    end)
  end)

  it("lets a day pass in no time", function()
    run(function()
      local start, clock = lull.now(), os.clock()
      for _ = 1, 24 do lull.sleep(3600) end
      assert.equal(start + 86400, lull.now())
      assert.is_true(os.clock() - clock < 1)
    end, {guard = false})
  end)
end)

describe("a seed", function()
  -- The order in which twenty tasks run.
  local function order(seed)
    return run(function()
      local log, tasks = {}, {}
      for i = 1, 20 do
        tasks[i] = lull.spawn(function()
          log[#log + 1] = i
          lull.sleep(0)
          log[#log + 1] = i
          lull.sleep(1)
          log[#log + 1] = i
        end)
      end
      for i = 1, 20 do tasks[i]:await() end
      return table.concat(log, " ")
    end, {seed = seed})
  end

  it("gives the same order each time it is used", function()
    for seed = 1, 5 do assert.equal(order(seed), order(seed)) end
  end)

  it("gives other orders than other seeds, and than none", function()
    local seen, count = {}, 0
    for seed = 1, 20 do
      local o = order(seed)
      count = count + (seen[o] and 0 or 1)
      seen[o] = true
    end
    assert.is_true(count >= 19, count .. " orders")
    assert.is_nil(seen[order(nil)])
  end)

  it("absent means first come, first served", function()
    local sequence = {}
    for i = 1, 20 do sequence[i] = i end
    sequence = table.concat(sequence, " ")
    assert.equal(sequence .. " " .. sequence .. " " .. sequence, order(nil))
  end)
end)
