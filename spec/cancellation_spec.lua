-- Cancellation is a state of a scope: it is raised on entry, again and again, until the
-- scope is left; it wins over a wake-up that has not been consumed; nobody survives it.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local within_cancelled, finished = cast.within_cancelled, cast.finished

describe("the cancellation error", function()
  it("is known by lull.is_cancelled, and carries its reason", function()
    run(function()
      local ok, err
      within_cancelled(function() ok, err = pcall(lull.sleep, 1) end)
      assert.is_false(ok)
      assert.is_true(lull.is_cancelled(err))
      assert.equal("over", err.reason)
      assert.matches("over", tostring(err))
      assert.matches("ECANCELED", tostring(err))
      assert.equal("ECANCELED", lull.code(err))
    end)
  end)

  it("is not to be confused with other values", function()
    for _, value in ipairs {"ECANCELED: over", {reason = "over"}, 1, true, print} do
      assert.is_false(lull.is_cancelled(value))
    end
    assert.is_false(lull.is_cancelled(nil))
  end)

  it("takes any value as its reason", function()
    run(function()
      local why = {}
      local err
      lull.scope(function(s)
        s:cancel(why)
        err = select(2, pcall(lull.sleep, 1))
      end)
      assert.equal(why, err.reason)
      assert.is_string(tostring(err))
    end)
  end)
end)

describe("in a cancelled scope", function()
  it("every suspending call raises, again and again", function()
    run(function()
      within_cancelled(function()
        for _ = 1, 50 do
          assert.is_true(lull.is_cancelled(select(2, pcall(lull.sleep, 1))))
          assert.is_true(lull.is_cancelled(select(2, pcall(lull.sleep, 0))))
          assert.is_true(lull.is_cancelled(select(2, pcall(coroutine.yield))))
          assert.is_true(lull.is_cancelled(select(2, pcall(lull.await, finished()))))
        end
      end)
      lull.sleep(1) -- outside of it all is well
    end)
  end)

  it("calls raise on entry, also where they could have completed at once", function()
    run(function()
      within_cancelled(function()
        local future, started = finished(1), false
        assert.is_false(pcall(future.await, future))
        assert.is_false(pcall(lull.await, future))
        assert.is_false(pcall(lull.await_callback, function(done)
          started = true
          done()
        end))
        assert.is_false(started) -- nothing of the operation has happened
      end)
    end)
  end)

  it("lull.await does not call __await", function()
    run(function()
      local called = false
      local x = setmetatable({}, {__await = function() called = true end})
      within_cancelled(function() assert.is_false(pcall(lull.await, x)) end)
      assert.is_false(called)
    end)
  end)

  local awaits = {
    ["await"] = function(future) return future:await() end,
    ["lull.await"] = function(future) return lull.await(future) end,
    ["yield"] = function(future) return coroutine.yield(future) end,
    ["gather"] = function(future) return lull.gather(future) end,
    ["race"] = function(future) return lull.race(future) end,
    ["wait"] = function(future) return lull.wait {future} end,
  }

  for name, await in pairs(awaits) do
    it("a failed future has not been taken by the refused " .. name, function()
      local reports, err = {}, {}
      run(function()
        local future = lull.future()
        future:set_error(err)
        within_cancelled(function() assert.is_false(pcall(await, future)) end)
        lull.sleep(5)
      end, {reports = reports})
      assert.equal(1, #reports)
      assert.equal(err, reports[1].err)
    end)
  end

  it("calls that do not suspend work as ever", function()
    run(function()
      local task
      assert.equal("done", within_cancelled(function()
        local future = finished(1)
        assert.equal(1, future:result())
        task = lull.spawn(function() lull.sleep(1) return 2 end)
        assert.equal(3, lull.scope(function() return 3 end))
        assert.equal(4, lull.timeout(1, function() return 4 end))
        assert.equal(5, lull.shield(function() return 5 end))
        return "done"
      end))
      assert.equal(2, task:await())
    end)
  end)

  it("the first delivery takes no turn, each repeated one takes one", function()
    run(function()
      local turns <close> = helper.counter()
      lull.sleep(0)
      within_cancelled(function()
        local before = turns()
        pcall(lull.sleep, 1)
        assert.equal(before, turns())
        for n = 1, 20 do
          pcall(lull.sleep, 1)
          assert.equal(before + n, turns())
        end
      end)
    end)
  end)

  it("awaited cleanup raises too, and the first error object goes on", function()
    run(function()
      local seen = {}
      local task = lull.spawn(function()
        local _ <close> = helper.closer(function(_, err)
          seen[1] = err
          lull.sleep(1)
        end)
        lull.sleep(10)
      end)
      lull.sleep(1)
      task:cancel "over"
      pcall(task.await, task)
      assert.is_true(lull.is_cancelled(seen[1]))
      assert.equal("cancelled", task:status())
    end)
  end)

  it("a body that finishes in spite of it has finished", function()
    run(function()
      assert.same({"my", nil, "results"}, {within_cancelled(function()
        pcall(lull.sleep, 1)
        return "my", nil, "results"
      end)})
    end)
  end)
end)

describe("a task that has been woken but has not run yet", function()
  it("is cancelled: that wins over the result of a future", function()
    run(function()
      local future, got = lull.future(), nil
      local task = lull.spawn(function()
        got = table.pack(pcall(future.await, future))
      end)
      lull.sleep(1)
      future:set_result "granted"
      task:cancel()
      task:await()
      assert.is_false(got[1])
      assert.is_true(lull.is_cancelled(got[2]))
      assert.equal("granted", future:result())
    end)
  end)

  it("is cancelled: that wins over a sleep that is over", function()
    run(function()
      local ended, task
      lull.loop():call_later(1, function() task:cancel() end) -- of one moment, the first
      task = lull.spawn(function() ended = pcall(lull.sleep, 1) end)
      lull.sleep(2)
      assert.is_false(ended)
    end)
  end)

  it("wakes only once when it is cancelled first", function()
    run(function()
      local future, woke = lull.future(), nil
      local task = lull.spawn(function()
        pcall(lull.scope, function(s)
          lull.loop():call_later(1, function()
            s:cancel()
            future:set_result()
          end)
          future:await()
        end)
        lull.sleep(5)
        woke = lull.now()
      end)
      local start = lull.now()
      task:await()
      assert.equal(start + 6, woke)
    end)
  end)
end)

describe("the cancellation of a task in a nested coroutine", function()
  it("is raised where it waits, and passes out through the resumes", function()
    run(function()
      local log = {}
      local task = lull.spawn(function()
        local deep = coroutine.wrap(function()
          local inner = coroutine.wrap(function()
            log[1] = lull.is_cancelled(select(2, pcall(lull.sleep, 10)))
            lull.sleep(10)
          end)
          local ok, err = pcall(inner)
          log[2] = not ok and lull.is_cancelled(err)
          lull.sleep(10)
        end)
        deep()
      end)
      lull.sleep(1)
      task:cancel()
      pcall(task.await, task)
      assert.same({true, true}, log)
      assert.equal("cancelled", task:status())
    end)
  end)

  it("closes the coroutine that dies of it at once, where nothing suspends", function()
    run(function()
      local log = {}
      local task = lull.spawn(function()
        local co = coroutine.create(function()
          local _ <close> = helper.closer(function(_, err)
            log.saw = lull.is_cancelled(err)
            log.refused = not pcall(lull.shield, lull.sleep, 1)
          end)
          lull.sleep(10)
        end)
        local ok, err = coroutine.resume(co)
        log.ok, log.err = ok, lull.is_cancelled(err)
        log.status = coroutine.status(co)
      end)
      lull.sleep(1)
      task:close()
      assert.same({
        saw = true, refused = true, ok = false, err = true, status = "dead",
      }, log)
    end)
  end)
end)
