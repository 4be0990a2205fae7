-- lull.every: a ticker without drift.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.every", function()
  it("counts from one, the first tick after one period", function()
    run(function()
      local start = lull.now()
      local expected = 0
      for n in lull.every(2) do
        expected = expected + 1
        assert.equal(expected, n)
        assert.equal(start + 2 * n, lull.now())
        if n == 5 then break end
      end
      assert.equal(5, expected)
    end)
  end)

  it("does not drift, however long its body takes", function()
    run(function()
      local start = lull.now()
      for n in lull.every(1) do
        assert.is_true(math.abs(start + n - lull.now()) < 1e-6)
        lull.sleep(0.1 * (n % 10))
        if n == 50 then break end
      end
    end)
  end)

  it("lets missed ticks collapse into one that comes at once", function()
    run(function()
      local start, times = lull.now(), {}
      for _ in lull.every(1) do
        times[#times + 1] = lull.now() - start
        if #times == 1 then lull.sleep(3.5) end -- misses those at 2, 3 and 4
        if #times == 4 then break end
      end
      assert.same({1, 4.5, 5, 6}, times)
    end)
  end)

  it("goes back to its grid after a tick that came late", function()
    run(function()
      local loop, start, times = lull.loop(), lull.now(), {}
      -- Computes for 0.25 s right before the second tick: the clock is 2.125 then.
      loop:call_later(1.875, loop.advance, loop, 0.25)
      for n in lull.every(1) do
        times[n] = lull.now() - start
        if n == 4 then break end
      end
      assert.same({1, 2.125, 3, 4}, times)
    end)
  end)

  it("tickers of their own do not disturb each other", function()
    run(function()
      local start, log = lull.now(), {}
      local function tick(name, period, count)
        for n in lull.every(period) do
          log[#log + 1] = name .. (lull.now() - start)
          if n == count then break end
        end
      end
      local slow, fast = lull.spawn(tick, "s", 2, 2), lull.spawn(tick, "f", 1.5, 3)
      slow:await()
      fast:await()
      assert.same({"f1.5", "s2.0", "f3.0", "s4.0", "f4.5"}, log)
    end)
  end)

  it("raises the cancellation in the loop", function()
    run(function()
      local ticks = 0
      local _, _, code = lull.timeout(3.5, function()
        for n in lull.every(1) do ticks = n end
      end)
      assert.same({3, "ETIMEDOUT"}, {ticks, code})
    end)
  end)

  it("is refused outside of tasks, and for no period", function()
    assert.is_false(pcall(function()
      for n in lull.every(1) do
        if n then break end
      end
    end))
    run(function()
      assert.is_false(pcall(lull.every, 0))
      assert.is_false(pcall(lull.every, -1))
      assert.is_false(pcall(lull.every))
    end)
  end)
end)
