-- lull.timeout: a scope that ends by itself.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.timeout", function()
  it("hands arguments in and results out", function()
    run(function()
      assert.same({3, nil, 2, nil}, {lull.timeout(1, function(...)
        lull.sleep(0.5)
        return select("#", ...), ...
      end, nil, 2, nil)})
      assert.equal(0, select("#", lull.timeout(1, function() end)))
    end)
  end)

  it("gives nil, a message and ETIMEDOUT when the time is over", function()
    run(function()
      local start = lull.now()
      local results = table.pack(lull.timeout(1.5, lull.sleep, 10))
      assert.equal(3, results.n)
      assert.is_nil(results[1])
      assert.matches("^ETIMEDOUT: .", results[2])
      assert.equal("ETIMEDOUT", results[3])
      assert.equal(start + 1.5, lull.now())
      assert.equal("ETIMEDOUT", lull.code(results[2]))
    end)
  end)

  it("lets errors pass, the same object", function()
    run(function()
      local err = {}
      assert.equal(err, select(2, pcall(lull.timeout, 1, function() error(err) end)))
      assert.equal(err, select(2, pcall(lull.timeout, 1, function()
        local _ <close> = helper.closer(function() error(err) end)
        lull.sleep(10)
      end)))
    end)
  end)

  it("raises a cancellation inside that one can see", function()
    run(function()
      local err
      lull.timeout(1, function()
        err = select(2, pcall(lull.sleep, 10))
        lull.sleep(1)
      end)
      assert.is_true(lull.is_cancelled(err))
      assert.matches("ETIMEDOUT", tostring(err))
    end)
  end)

  it("lets the results of a body stand that finishes in spite of it", function()
    run(function()
      assert.equal("late", lull.timeout(1, function()
        pcall(lull.sleep, 10)
        return "late"
      end))
    end)
  end)

  it("of no time runs the body up to its first wait", function()
    run(function()
      for _, seconds in ipairs {0, -1} do
        assert.equal("at once", lull.timeout(seconds, function() return "at once" end))
        local ran = false
        local _, _, code = lull.timeout(seconds, function()
          ran = true
          lull.sleep(1)
        end)
        assert.is_true(ran)
        assert.equal("ETIMEDOUT", code)
      end
    end)
  end)

  it("refuses wrong arguments", function()
    run(function()
      assert.is_false(pcall(lull.timeout, "soon", print))
      assert.is_false(pcall(lull.timeout, 1))
      assert.is_false(pcall(lull.timeout, 0 / 0, print))
    end)
  end)

  it("does not cancel what the body awaits", function()
    run(function()
      local task = lull.spawn(function() lull.sleep(5) return "whole" end)
      assert.is_nil(lull.timeout(1, task.await, task))
      assert.equal("whole", task:await())
    end)
  end)

  it("bounds a body in a nested coroutine, and one that opens one", function()
    run(function()
      local start = lull.now()
      local inside = coroutine.wrap(function() return lull.timeout(1, lull.sleep, 10) end)
      assert.equal("ETIMEDOUT", select(3, inside()))
      local _, _, code = lull.timeout(1, function()
        coroutine.wrap(function() lull.sleep(10) end)()
      end)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("bounds a body that never waits for long", function()
    run(function()
      local turns = 0
      local start = lull.now()
      local _, _, code = lull.timeout(1, function()
        while true do
          lull.sleep(0.125)
          turns = turns + 1
        end
      end)
      assert.equal("ETIMEDOUT", code)
      assert.is_true(turns == 7 or turns == 8)
      assert.equal(start + 1, lull.now())
    end)
  end)

  it("may be nested: the shorter one ends first, and only that", function()
    run(function()
      local start = lull.now()
      local _, _, inner = nil, nil, nil
      local _, _, outer = lull.timeout(3, function()
        _, _, inner = lull.timeout(1, lull.sleep, 10)
        assert.equal(start + 1, lull.now())
        lull.sleep(10)
      end)
      assert.same({"ETIMEDOUT", "ETIMEDOUT"}, {inner, outer})
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("passes the longer inner one when the outer one ends", function()
    run(function()
      local after = false
      local _, _, code = lull.timeout(1, function()
        lull.timeout(3, lull.sleep, 10)
        after = true
      end)
      assert.equal("ETIMEDOUT", code)
      assert.is_false(after)
    end)
  end)

  it("gives way to the cancellation of its task", function()
    run(function()
      local task = lull.spawn(function()
        lull.timeout(5, lull.sleep, 10)
        return "survived"
      end)
      lull.sleep(1)
      task:cancel "task"
      pcall(task.await, task)
      assert.equal("ECANCELED: task", task:error())
    end)
  end)

  it("leaves no timer behind", function()
    local start, stop
    helper.failure(function()
      start = lull.now()
      lull.timeout(50, function() end)
      pcall(lull.timeout, 50, error)
      pcall(lull.await, lull.future())
      stop = lull.now()
    end, {guard = false})
    assert.equal(start, stop)
  end)

  it("can be opened ten thousand times at once", function()
    run(function()
      local ended, out = 0, 0
      for i = 1, 10000 do
        lull.spawn(function()
          local ok = lull.timeout(i % 100, function() lull.sleep(50) return true end)
          if ok then ended = ended + 1 else out = out + 1 end
        end)
      end
      lull.sleep(51)
      assert.equal(10000, ended + out)
      assert.is_true(ended >= 4900 and ended <= 5000)
    end)
  end)
end)

describe("a scope around a call, used again,", function()
  it("knows nothing of the time limit that it had", function()
    run(function()
      assert.equal("quick", lull.timeout(1, function() return "quick" end))
      local start = lull.now()
      assert.equal("slow", lull.timeout(60, function()
        lull.sleep(5)
        return "slow"
      end))
      lull.timeout(1, lull.sleep, 0)
      lull.shield(lull.sleep, 5)
      assert.equal(start + 10, lull.now())
      assert.equal("ETIMEDOUT", (select(3, lull.timeout(2, lull.sleep, 5))))
      assert.equal(start + 12, lull.now())
    end)
  end)

  it("is no shield any more, nor the other way round", function()
    run(function()
      for _ = 1, 3 do
        lull.shield(function() end)
        local cut = select(3, lull.timeout(1, function()
          return lull.timeout(5, lull.sleep, 3)
        end))
        assert.equal("ETIMEDOUT", cut)
        assert.equal("ETIMEDOUT", (select(3, lull.timeout(1, function()
          lull.shield(lull.sleep, 3)
          lull.sleep(1)
        end))))
      end
    end)
  end)

  it("is not taken for the one that a kept cancellation was of", function()
    run(function()
      local kept
      lull.timeout(1, function() kept = select(2, pcall(lull.sleep, 5)) end)
      assert.is_true(lull.is_cancelled(kept))
      for _ = 1, 40 do
        local ok, err = pcall(lull.timeout, 1, function()
          pcall(lull.sleep, 5)
          error(kept, 0)
        end)
        assert.is_false(ok)
        assert.equal(kept, err)
      end
    end)
  end)

  it("serves many at once, nested, and those who give up", function()
    run(function()
      local function nest(depth)
        if depth == 0 then
          lull.sleep(1)
          return "bottom"
        end
        return lull.timeout(100 - depth, nest, depth - 1)
      end
      for _ = 1, 3 do
        local tasks = {}
        for i = 1, 50 do tasks[i] = lull.spawn(nest, i % 7) end
        for i = 1, 50, 3 do tasks[i]:cancel() end
        local give_up = coroutine.wrap(function() lull.timeout(9, coroutine.yield) end)
        give_up()
        give_up = nil -- luacheck: ignore
        collectgarbage()
        for i = 1, 50 do
          local ok, back = pcall(tasks[i].await, tasks[i])
          assert.equal(i % 3 ~= 1, ok)
          if ok then assert.equal("bottom", back) end
        end
        assert.equal("failed", (select(2, pcall(lull.timeout, 1, error, "failed"))))
      end
    end)
  end)
end)
