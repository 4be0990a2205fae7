-- gather: several things at once, all results or the first error, and nothing left over.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local after = cast.after

local function failing(seconds, err)
  return function()
    lull.sleep(seconds)
    error(err, 0)
  end
end

-- A function that runs until it is cancelled, cleans up for some seconds, and notes it.
local function stubborn(log, seconds)
  return function()
    local _ <close> = helper.closer(function(_, err)
      lull.shield(lull.sleep, seconds)
      log[#log + 1] = lull.is_cancelled(err)
    end)
    lull.sleep(1000)
  end
end

describe("lull.gather", function()
  it("runs functions at once and returns the first result of each, in order", function()
    run(function()
      local start = lull.now()
      assert.same({"a", "b", nil, "d"}, {
        lull.gather(after(3, "a", "dropped"), after(1, "b"), after(2), after(0, "d")),
      })
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("takes futures and tasks as well", function()
    run(function()
      local future = lull.future()
      lull.loop():call_later(1, function() future:set_result("f", "dropped") end)
      local task = lull.spawn(after(2, "t", "dropped"))
      assert.same({"f", "x", "t", "f"}, {
        lull.gather(future, after(0, "x"), task, future),
      })
    end)
  end)

  it("given one table returns one with the same keys", function()
    run(function()
      local start = lull.now()
      local got = lull.gather {
        after(2, "first"), after(1, "second"), name = after(1, "named"), none = after(0),
        [lull] = lull.spawn(after(1, "task")),
      }
      assert.same({"first", "second", name = "named", [lull] = "task"}, got)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("of nothing is nothing", function()
    run(function()
      assert.equal(0, select("#", lull.gather()))
      assert.same({}, lull.gather {})
    end)
  end)

  it("starts its functions in their order", function()
    run(function()
      local log = {}
      local list = {}
      for i = 1, 10 do list[i] = function() log[#log + 1] = i end end
      lull.gather(list)
      assert.same({1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, log)
    end)
  end)

  it("raises the first error, the same object", function()
    run(function()
      local err = {}
      local start = lull.now()
      local ok, got = pcall(lull.gather, after(5), failing(1, err), after(9))
      assert.is_false(ok)
      assert.equal(err, got)
      assert.equal(start + 1, lull.now())
    end)
  end)

  it("cancels what it owns when one fails, and waits for it", function()
    run(function()
      local log, start = {}, lull.now()
      assert.same({false, "E"}, {
        pcall(lull.gather, stubborn(log, 3), failing(1, "E"), stubborn(log, 2)),
      })
      assert.same({true, true}, log)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("does not cancel futures and tasks that it was given", function()
    run(function()
      local future, task = lull.future(), lull.spawn(after(5, "whole"))
      assert.is_false(pcall(lull.gather, future, task, failing(1, "E")))
      assert.equal("pending", future:status())
      assert.equal("whole", task:await())
    end)
  end)

  it("fails with a future that fails, and with one that is cancelled", function()
    run(function()
      local err, log = {}, {}
      local future, gone = lull.future(), lull.future()
      lull.loop():call_later(1, function() future:set_error(err) end)
      assert.equal(err, select(2, pcall(lull.gather, future, stubborn(log, 1))))
      gone:cancel "gone"
      local ok, message = pcall(lull.gather, gone, stubborn(log, 1))
      assert.is_false(ok)
      assert.matches("ECANCELED: gone", tostring(message))
      assert.is_false(lull.is_cancelled(message))
      assert.is_true(#log <= 2) -- the second one may never have begun
    end)
  end)

  it("takes nil, message, code of an owned function for a failure", function()
    run(function()
      local log = {}
      local refused = after(1, nil, "ECONNREFUSED: no", "ECONNREFUSED")
      local ok, err = pcall(lull.gather, stubborn(log, 1), refused)
      assert.is_false(ok)
      assert.equal("ECONNREFUSED: no", err)
      assert.same({true}, log)
      assert.equal("ECONNREFUSED", lull.code(err))
      -- but a task of somebody else has simply returned nil
      assert.same({nil, 1}, {lull.gather(lull.spawn(refused), after(1, 1))})
    end)
  end)

  it("takes all failures; later ones of its own go to on_unhandled", function()
    local reports, first, second = {}, {"first"}, {"second"}
    run(function()
      local function fails_in_cleanup()
        local _ <close> = helper.closer(function() error(second) end)
        lull.sleep(1000)
      end
      local function fails_the_same()
        local _ <close> = helper.closer(function() error(first) end)
        lull.sleep(1000)
      end
      local ok, err = pcall(lull.gather,
        fails_in_cleanup, failing(1, first), fails_the_same)
      assert.is_false(ok)
      assert.equal(first, err)
      lull.sleep(5)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal(second, reports[1].err)
  end)

  it("counts as taking the futures that it was given", function()
    local reports = {}
    run(function()
      local one, two = lull.future(), lull.future()
      one:set_error "one"
      two:set_error "two"
      assert.is_false(pcall(lull.gather, one, two))
      lull.sleep(5)
    end, {reports = reports})
    assert.same({}, reports)
  end)

  it("cancelled from outside cancels what it owns, waits for it, then raises", function()
    run(function()
      local log, start = {}, lull.now()
      local task = lull.spawn(after(9, "whole"))
      assert.equal("ETIMEDOUT", select(3,
        lull.timeout(1, lull.gather, stubborn(log, 3), task, stubborn(log, 2))))
      assert.same({true, true}, log)
      assert.equal(start + 4, lull.now())
      assert.equal("whole", task:await())
    end)
  end)

  it("raises on entry in a cancelled scope, and runs nothing", function()
    run(function()
      local ran = false
      assert.is_nil(lull.scope(function(s)
        s:cancel()
        lull.gather(function() ran = true end)
      end))
      lull.sleep(1)
      assert.is_false(ran)
    end)
  end)

  it("may be nested", function()
    run(function()
      local function both(a, b)
        return function()
          local x, y = lull.gather(after(1, a), after(2, b))
          return x .. y
        end
      end
      local start = lull.now()
      assert.same({"ab", "cd"}, {lull.gather(both("a", "b"), both("c", "d"))})
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("awaits inside nested coroutines", function()
    run(function()
      local gen = coroutine.wrap(function()
        for i = 1, 2 do coroutine.yield((lull.gather(after(1, i), after(1)))) end
      end)
      assert.same({1, 2}, {gen(), gen()})
    end)
  end)

  it("refuses other values before anything runs", function()
    run(function()
      local ran = false
      local function fn() ran = true end
      assert.is_false(pcall(lull.gather, fn, 1))
      assert.is_false(pcall(lull.gather, {fn, "x"}))
      assert.is_false(pcall(lull.gather, nil))
      lull.sleep(1)
      assert.is_false(ran)
    end)
  end)

  it("of a thousand functions is done in one sleep", function()
    run(function()
      local list, start = {}, lull.now()
      for i = 1, 1000 do list[i] = after(1, i) end
      local got = lull.gather(list)
      assert.equal(1000, #got)
      assert.equal(1000, got[1000])
      assert.equal(start + 1, lull.now())
    end)
  end)
end)
