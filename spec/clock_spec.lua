-- Clocks that can be paused, scaled and turned (by a host: embed_await.c).
local lull = require "lull"
local helper = require "spec.helper"
local run = helper.run

local function near(expected, value)
  assert.is_true(math.abs(expected - value) < 1e-6, value .. ", not " .. expected)
end

describe("clock", function()
  it("goes as the loop does, from 0 on", function()
    run(function()
      lull.sleep(3)
      local clock = lull.clock()
      assert.equal(0.0, clock:now())
      lull.sleep(1.5)
      near(1.5, clock:now())
      clock:sleep(0.5)
      near(2, clock:now())
    end)
  end)

  it("sleeps through a pause", function()
    run(function()
      local clock, start = lull.clock(), lull.now()
      lull.spawn(function() lull.sleep(1) clock:pause() lull.sleep(10) clock:resume() end)
      clock:sleep(2)
      near(12, lull.now() - start)
      near(2, clock:now())
    end)
  end)

  it("lets who sleeps wake as its speed changes", function()
    run(function()
      local clock, start = lull.clock{scale = 2}, lull.now()
      lull.spawn(function() lull.sleep(1) clock:scale(0.5) end)
      clock:sleep(3)
      near(1 + 1 / 0.5, lull.now() - start)
      assert.equal(0.5, clock:scale())
    end)
  end)

  it("never wakes anybody too early", function()
    run(function()
      for _, scale in ipairs {0.3, 0.7, 1.1, 3, 7.7, 1000, 0.1} do
        local clock = lull.clock{scale = scale}
        for i = 1, 20 do
          local due = clock:now() + i * 0.0137
          clock:sleep(i * 0.0137)
          assert.is_true(clock:now() >= due - 1e-9)
          assert.is_true(clock:now() < due + 1e-3 * scale)
        end
      end
    end)
  end)

  it("wakes in order, those of a moment as they came", function()
    run(function()
      local clock, order = lull.clock(), {}
      for i, seconds in ipairs {3, 1, 2, 1} do
        lull.spawn(function() clock:sleep(seconds) order[#order + 1] = i end)
      end
      clock:sleep(4)
      assert.same({2, 4, 3, 1}, order)
    end)
  end)

  it("is turned forward, also while it is paused", function()
    run(function()
      local clock, woke = lull.clock{paused = true}, 0
      for i = 1, 3 do
        lull.spawn(function() clock:sleep(i) woke = woke + 1 end):daemon()
      end
      lull.sleep(20)
      assert.equal(0, woke)
      clock:advance(2)
      lull.sleep(0.001)
      assert.equal(2, woke)
      assert.equal(2.0, clock:now())
      assert.is_true(clock:paused())
    end)
  end)

  it("has deadlines", function()
    run(function()
      local clock = lull.clock()
      local start = lull.now()
      lull.spawn(function() clock:pause() lull.sleep(5) clock:resume() end)
      lull.sleep(0)
      assert.same({nil, "ETIMEDOUT: timed out", "ETIMEDOUT"},
        {clock:timeout(1, lull.sleep, 100)})
      near(6, lull.now() - start)
      assert.same({1, nil, 3},
        {clock:timeout(1, function(...) return ... end, 1, nil, 3)})
      assert.equal("inner", (clock:timeout(9, function()
        clock:timeout(1, lull.sleep, 5)
        return "inner"
      end)))
      assert.has_error(function() clock:timeout(1, error, "x", 0) end, "x")
      clock:sleep(20) -- nothing of them is left to fire
    end)
  end)

  it("lets a sleeper be cancelled, and sleep again", function()
    run(function()
      local clock = lull.clock()
      local task = lull.spawn(function()
        pcall(clock.sleep, clock, 10)
        lull.shield(clock.sleep, clock, 1)
        return clock:now()
      end)
      lull.sleep(1)
      task:cancel()
      near(2, task:await())
      clock:sleep(10)
    end)
  end)

  it("keeps no loop busy on which nobody sleeps", function()
    local loop <close> = lull.new_loop{clock = "virtual"}
    local ok, message = pcall(loop.run, loop, function()
      local clock = lull.clock()
      lull.spawn(clock.sleep, clock, 5):close()
      lull.timeout(1, clock.timeout, clock, 5, lull.sleep, 5)
      clock:pause()
      clock:sleep(1)
    end)
    assert.is_false(ok)
    assert.matches("^deadlock: ", message)
  end)

  it("is one for nested coroutines too", function()
    run(function()
      local clock = lull.clock()
      local f = coroutine.wrap(function() clock:sleep(1) coroutine.yield(clock:now()) end)
      near(1, f())
    end)
  end)

  it("gives a turn for 0 or less", function()
    run(function()
      local clock, turns = lull.clock{paused = true}, 0
      lull.spawn(function() turns = turns + 1 end)
      clock:sleep(0) clock:sleep(-1)
      assert.equal(1, turns)
    end)
  end)

  it("refuses what makes no sense", function()
    run(function()
      local clock = lull.clock()
      assert.has_error(function() clock:scale(0) end)
      assert.has_error(function() clock:scale(-1) end)
      assert.has_error(function() clock:scale(0 / 0) end)
      assert.has_error(function() clock:advance(-1) end)
      assert.has_error(function() clock:sleep() end)
      assert.has_error(function() clock:sleep(0 / 0) end)
      assert.has_error(function() clock.now {} end)
      assert.matches("clock %(%d+%.%d+, going%): ", tostring(clock))
    end)
  end)

  it("stands until a loop has seen it, and belongs to that", function()
    local clock = lull.clock()
    assert.equal(0.0, clock:now())
    assert.error_matches(function() clock:sleep(1) end, "outside of a task")
    run(function() clock:sleep(1) end)
    run(function()
      assert.error_matches(function() clock:sleep(1) end, "another loop")
    end)
  end)

  it("survives that it is forgotten while somebody sleeps", function()
    run(function()
      for _ = 1, 10 do lull.spawn(function() lull.clock():sleep(1) end) end
      lull.sleep(0)
      collectgarbage() collectgarbage()
      lull.sleep(2)
      local task = lull.spawn(function() lull.clock():sleep(20) end)
      lull.sleep(0)
      task:close()
      collectgarbage() collectgarbage()
      lull.sleep(30)
    end)
  end)
end)
