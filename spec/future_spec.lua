-- A word given once: states, results and errors, who waits, the loop that it is bound to.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local finished, failed, cancelled = cast.finished, cast.failed, cast.cancelled

describe("a future's state", function()
  it("is pending at first", function()
    run(function()
      local future = lull.future()
      assert.equal("pending", future:status())
      assert.is_false(future:done())
      assert.is_false(future:cancelled())
      assert.is_nil(future:error())
      assert.is_false(pcall(future.result, future))
    end)
  end)

  it("is finished with any number of values", function()
    run(function()
      for _, values in ipairs {{n = 0}, {"a", n = 1}, {n = 1}, {nil, 2, false, n = 4}} do
        local future = finished(table.unpack(values, 1, values.n))
        assert.equal("finished", future:status())
        assert.is_true(future:done())
        assert.is_false(future:cancelled())
        assert.is_nil(future:error())
        assert.same(values, table.pack(future:result()))
        assert.same(values, table.pack(future:await()))
        assert.same(values, table.pack(future:result())) -- as often as one likes
      end
    end)
  end)

  it("is finished with an error, which stays the same object", function()
    run(function()
      for _, err in ipairs {{}, "text", 42, false, print, setmetatable({}, {})} do
        local future = failed(err)
        assert.equal("finished", future:status())
        assert.is_true(future:done())
        assert.equal(err, future:error())
        assert.equal(err, select(2, pcall(future.result, future)))
        assert.equal(err, select(2, pcall(future.await, future)))
      end
    end)
  end)

  it("is cancelled once, and says why", function()
    run(function()
      local future = lull.future()
      assert.is_true(future:cancel "enough")
      assert.is_false(future:cancel "again")
      assert.equal("cancelled", future:status())
      assert.is_true(future:done())
      assert.is_true(future:cancelled())
      assert.equal("ECANCELED: enough", future:error())
      assert.matches("^ECANCELED: .", cancelled():error())
    end)
  end)

  it("raises an ordinary error when it is cancelled and awaited", function()
    run(function()
      local future = cancelled "enough"
      for _, call in ipairs {future.await, future.result, lull.await} do
        local ok, err = pcall(call, future)
        assert.is_false(ok)
        assert.matches("ECANCELED: enough", tostring(err))
        assert.is_false(lull.is_cancelled(err))
        assert.equal("ECANCELED", lull.code(err))
      end
      lull.sleep(1) -- this task was not cancelled
    end)
  end)

  it("cannot be settled twice", function()
    run(function()
      for _, future in ipairs {finished(1), cancelled()} do
        assert.is_false(pcall(future.set_result, future, 2))
        assert.is_false(pcall(future.set_error, future, "late"))
        assert.is_false(future:cancel())
      end
      assert.equal(1, finished(1):result())
      local future = failed "first"
      assert.is_false(pcall(future.set_error, future, "second"))
      assert.equal("first", future:error())
    end)
  end)

  it("refuses nil as an error", function()
    run(function()
      local future = lull.future()
      assert.is_false(pcall(future.set_error, future, nil))
      assert.is_false(pcall(future.set_error, future))
      assert.equal("pending", future:status())
    end)
  end)

  it("shows in tostring", function()
    run(function()
      assert.matches("future.*pending", tostring(lull.future()):lower())
      assert.matches("future.*finished", tostring(finished()):lower())
      assert.matches("future.*cancelled", tostring(cancelled()):lower())
    end)
  end)
end)

describe("waiting for a future", function()
  it("hands its values to every task that awaits it, in their order", function()
    run(function()
      local future, log, tasks = lull.future(), {}, {}
      for i = 1, 5 do
        tasks[i] = lull.spawn(function() log[i] = {i, future:await()} end)
      end
      lull.sleep(1)
      assert.same({}, log)
      local order = {}
      for i = 1, 5 do tasks[i]:add_done_callback(function() order[#order + 1] = i end) end
      future:set_result("tea", 2)
      assert.same({}, log) -- they run in a later turn
      for i = 1, 5 do
        tasks[i]:await()
        assert.same({i, "tea", 2}, log[i])
      end
      lull.sleep(0)
      assert.same({1, 2, 3, 4, 5}, order)
    end)
  end)

  it("does not suspend when it is done already", function()
    run(function()
      local ran = false
      local future = finished "now"
      lull.spawn(function() ran = true end)
      assert.equal("now", future:await())
      assert.is_false(ran)
    end)
  end)

  it("raises its error in every task, the same object", function()
    run(function()
      local future, err = lull.future(), {}
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = lull.spawn(pcall, future.await, future)
      end
      lull.sleep(1)
      future:set_error(err)
      for i = 1, 3 do assert.same({false, err}, {tasks[i]:await()}) end
    end)
  end)

  it("wakes who waits when it is cancelled", function()
    run(function()
      local future = lull.future()
      local task = lull.spawn(function() return pcall(future.await, future) end)
      lull.sleep(1)
      future:cancel "gone"
      local ok, err = task:await()
      assert.is_false(ok)
      assert.matches("ECANCELED: gone", tostring(err))
      assert.is_false(lull.is_cancelled(err))
    end)
  end)

  it("does not cancel what it awaits", function()
    run(function()
      local future = lull.future()
      local sleeper = lull.spawn(function() lull.sleep(5) return "slept" end)
      local one = lull.spawn(future.await, future)
      local two = lull.spawn(sleeper.await, sleeper)
      lull.sleep(1)
      one:close()
      two:close()
      assert.equal("pending", future:status())
      assert.equal("slept", sleeper:await())
    end)
  end)

  it("leaves no wake-up behind for a waiter that was cancelled", function()
    run(function()
      local future = lull.future()
      local woke
      local task = lull.spawn(function()
        lull.timeout(1, future.await, future)
        lull.sleep(10)
        woke = lull.now()
      end)
      lull.sleep(2)
      local now = lull.now()
      future:set_result()
      task:await()
      assert.equal(now + 9, woke)
    end)
  end)
end)

describe("a future and its loop", function()
  it("may be made and settled where no loop runs", function()
    local future = finished("early", nil)
    assert.same({"early", nil}, {future:result()})
    assert.equal("early", run(function() return future:await() end))
  end)

  it("may be made where no loop runs, and be awaited later", function()
    local future = lull.future()
    local got = run(function()
      lull.loop():call_later(1, function() future:set_result "there" end)
      return future:await()
    end)
    assert.equal("there", got)
  end)

  it("are bound by the first wait: another loop raises", function()
    local future = lull.future()
    run(function() lull.timeout(1, future.await, future) end)
    run(function()
      local ok, err = pcall(future.await, future)
      assert.is_false(ok)
      assert.matches("loop", err)
      assert.is_false(pcall(future.set_result, future, 1))
    end)
  end)

  it("are bound by the settlement: another loop raises", function()
    local future = lull.future()
    run(function() future:set_result(1) end)
    run(function()
      local ok, err = pcall(future.await, future)
      assert.is_false(ok)
      assert.matches("loop", err)
    end)
  end)

  it("is known by more than its metatable", function()
    run(function()
      local file <close> = io.tmpfile()
      local plain = getmetatable(file)
      debug.setmetatable(file, getmetatable(lull.future()))
      local _ <close> = lull.defer(debug.setmetatable, file, plain)
      for _, other in ipairs {file, {}, "a string of some length", 12, print} do
        local ok, err = pcall(lull.future().set_result, other, 1)
        assert.is_false(ok)
        assert.matches("Future expected", err)
      end
      local future = debug.setmetatable(lull.future(), nil)
      lull.future().set_result(future, 7)
      assert.equal(7, lull.await(future))
    end)
  end)
end)

