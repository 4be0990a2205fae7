-- Scopes: where a cancellation ends, who wins when they nest, time limits that move, the
-- block form, blocks left open, and scopes of coroutines that are paused.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.scope(fn)", function()
  it("hands its scope to fn and returns the results", function()
    run(function()
      local s
      assert.same({1, nil, 3}, {lull.scope(function(...)
        assert.equal(1, select("#", ...))
        s = ...
        lull.sleep(1)
        return 1, nil, 3
      end)})
      assert.is_false(s:cancelled())
      assert.is_nil(s:remaining())
      assert.matches("scope", tostring(s):lower())
    end)
  end)

  it("lets errors pass, the same object", function()
    run(function()
      local err = {}
      local ok, got = pcall(lull.scope, function() lull.sleep(1) error(err) end)
      assert.is_false(ok)
      assert.equal(err, got)
    end)
  end)

  it("ends its own cancellation here", function()
    run(function()
      local reached = false
      assert.same({nil, "ECANCELED: enough", "ECANCELED"}, {lull.scope(function(s)
        s:cancel "enough"
        assert.is_true(s:cancelled())
        lull.sleep(1)
        reached = true
      end)})
      assert.is_false(reached)
      local _, message, code = lull.scope(function(s) s:cancel() lull.sleep(1) end)
      assert.matches("^ECANCELED: .", message)
      assert.equal("ECANCELED", code)
      lull.sleep(1)
    end)
  end)

  it("can be cancelled by another task and by a callback", function()
    run(function()
      local start = lull.now()
      local s1
      lull.spawn(function() lull.sleep(1) s1:cancel "task" end)
      assert.same({nil, "ECANCELED: task", "ECANCELED"}, {lull.scope(function(s)
        s1 = s
        lull.sleep(10)
      end)})
      assert.same({nil, "ECANCELED: callback", "ECANCELED"}, {lull.scope(function(s)
        lull.loop():call_later(1, function() s:cancel "callback" end)
        lull.future():await()
      end)})
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("does not care about cancellation once it has been left", function()
    run(function()
      local kept
      lull.scope(function(s) kept = s end)
      kept:cancel()
      lull.sleep(1)
      kept:timeout(1)
      lull.sleep(5)
    end)
  end)

  it("lets a body that catches and returns finish", function()
    run(function()
      assert.equal("mine", lull.scope(function(s)
        s:cancel()
        pcall(lull.sleep, 1)
        return "mine"
      end))
    end)
  end)

  it("does not cancel what is awaited in it", function()
    run(function()
      local task = lull.spawn(function() lull.sleep(3) return "whole" end)
      assert.is_nil(lull.scope(1, function() task:await() end))
      assert.equal("whole", task:await())
    end)
  end)
end)

describe("nested scopes", function()
  it("an inner cancellation ends at the inner scope", function()
    run(function()
      assert.equal("outer", lull.scope(function()
        assert.is_nil(lull.scope(function(s) s:cancel() lull.sleep(1) end))
        lull.sleep(1)
        return "outer"
      end))
    end)
  end)

  it("an outer cancellation passes the inner one", function()
    run(function()
      local after = false
      assert.same({nil, "ECANCELED: outer", "ECANCELED"}, {lull.scope(function(outer)
        lull.scope(function()
          outer:cancel "outer"
          lull.sleep(1)
        end)
        after = true
      end)})
      assert.is_false(after)
    end)
  end)

  it("the outer one wins, whichever was cancelled first", function()
    run(function()
      for _, order in ipairs {"inner first", "outer first"} do
        local after = false
        local _, message = lull.scope(function(outer)
          lull.scope(function(inner)
            if order == "inner first" then inner:cancel "inner" end
            outer:cancel "outer"
            inner:cancel "inner"
            lull.sleep(1)
          end)
          after = true
        end)
        assert.is_false(after, order)
        assert.equal("ECANCELED: outer", message)
      end
    end)
  end)

  it("the outer one wins over an error that the inner one has raised already", function()
    run(function()
      local _, message = lull.scope(function(outer)
        lull.scope(function(inner)
          inner:cancel "inner"
          local _ <close> = helper.closer(function() outer:cancel "outer" end)
          lull.sleep(1)
        end)
        lull.sleep(1)
      end)
      assert.equal("ECANCELED: outer", message)
    end)
  end)

  it("the cancellation of the task is the outermost of all", function()
    run(function()
      local task = lull.spawn(function()
        lull.scope(function(s)
          s:cancel "inner"
          lull.current():cancel "task"
          lull.sleep(1)
        end)
        return "survived"
      end)
      pcall(task.await, task)
      assert.equal("ECANCELED: task", task:error())
    end)
  end)

  it("two limits that end at one moment: the outer one has timed out", function()
    run(function()
      local after = false
      local _, _, code = lull.scope(1, function()
        lull.scope(1, function() lull.sleep(10) end)
        after = true
      end)
      assert.equal("ETIMEDOUT", code)
      assert.is_false(after)
    end)
  end)

  it("go fifty deep, each with its own end", function()
    run(function()
      local function nest(n)
        if n == 0 then return lull.sleep(100) end
        local _, _, code = lull.scope(n, function() nest(n - 1) end)
        assert.equal("ETIMEDOUT", code)
        error "only the innermost one may end here"
      end
      -- Scope n ends after n seconds: the innermost is the first, and its function fails.
      assert.matches("innermost", select(2, pcall(nest, 50)))
    end)
  end)
end)

describe("a scope with a time limit", function()
  it("returns ETIMEDOUT when the limit comes", function()
    run(function()
      local start = lull.now()
      local value, message, code = lull.scope(2, function() lull.sleep(10) end)
      assert.is_nil(value)
      assert.matches("^ETIMEDOUT: .", message)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("knows what remains", function()
    run(function()
      lull.scope(5, function(s)
        assert.equal(5, s:remaining())
        lull.sleep(2)
        assert.equal(3, s:remaining())
      end)
      lull.scope(function(s) assert.is_nil(s:remaining()) end)
    end)
  end)

  it("can be given another limit, from now on", function()
    run(function()
      local start = lull.now()
      local _, _, code = lull.scope(2, function(s)
        for _ = 1, 5 do
          lull.sleep(1)
          s:timeout(2)
          assert.equal(2, s:remaining())
        end
        lull.sleep(10)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 7, lull.now())
      assert.equal("early", lull.scope(function(s)
        s:timeout(100)
        s:timeout(1)
        assert.is_false(pcall(lull.sleep, 50))
        assert.equal(start + 8, lull.now())
        return "early"
      end))
    end)
  end)

  it("can lose its limit", function()
    run(function()
      assert.equal("slept", lull.scope(1, function(s)
        s:timeout(nil)
        assert.is_nil(s:remaining())
        lull.sleep(10)
        return "slept"
      end))
    end)
  end)

  it("leaves no timer behind", function()
    -- A timer is somebody who can wake the waiter: no deadlock until it falls due.
    local start, stop
    helper.failure(function()
      start = lull.now()
      lull.scope(50, function() end)
      pcall(lull.await, lull.future())
      stop = lull.now()
    end, {guard = false})
    assert.equal(start, stop)
  end)

  it("is cancelled by hand with another code than by time", function()
    run(function()
      local _, message, code = lull.scope(5, function(s)
        s:cancel "hand"
        lull.sleep(9)
      end)
      assert.same({"ECANCELED: hand", "ECANCELED"}, {message, code})
    end)
  end)
end)

describe("a scope that is used from elsewhere", function()
  it("keeps to its own loop when code of a loop within sets its limit", function()
    run(function()
      local start = lull.now()
      local _, _, code = lull.scope(5, function(s)
        local loop <close> = lull.new_loop {clock = "virtual"}
        loop:run_until_complete(function()
          lull.sleep(100)
          assert.equal(5, s:remaining())
          s:timeout(3)
          assert.equal(3, s:remaining())
          lull.sleep(100)
        end)
        assert.equal(3, s:remaining())
        lull.sleep(10)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("can be cancelled by code of a loop within", function()
    run(function()
      assert.equal("ECANCELED: inner", select(2, lull.scope(function(s)
        local loop <close> = lull.new_loop {clock = "virtual"}
        loop:run_until_complete(function()
          s:cancel "inner"
          lull.sleep(1) -- which it does not bind
        end)
        lull.sleep(1)
      end)))
    end)
  end)

  it("is harmless when its loop is gone", function()
    local kept
    run(function()
      coroutine.wrap(function()
        lull.scope(5, function(s)
          kept = s
          coroutine.yield()
        end)
      end)()
    end)
    for _, method in ipairs {"timeout", "remaining", "cancel", "cancelled"} do
      pcall(kept[method], kept, 1)
    end
    assert.is_string(tostring(kept))
  end)
end)
