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
