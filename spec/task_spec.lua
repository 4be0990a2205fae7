-- Tasks: when they run, how they end, who waits for their end, what they tell of
-- themselves.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("spawn", function()
  it("runs tasks at the next turn, in the order in which they were spawned", function()
    run(function()
      local log = {}
      for i = 1, 5 do lull.spawn(function() log[#log + 1] = i end) end
      assert.same({}, log)
      lull.sleep(0)
      assert.same({1, 2, 3, 4, 5}, log)
    end)
  end)

  it("hands arguments in and results out", function()
    run(function()
      local task = lull.spawn(function(...) return select("#", ...), ... end, nil, 2, nil)
      assert.same({3, nil, 2, nil}, {task:await()})
      assert.same({n = 0}, table.pack(lull.spawn(function() end):await()))
      local many = table.pack(lull.spawn(table.unpack, {}, 1, 200):await())
      assert.equal(200, many.n)
    end)
  end)

  it("runs C functions and callable objects", function()
    run(function()
      assert.equal(3, lull.spawn(math.max, 1, 3, 2):await())
      assert.equal("s", lull.spawn(lull.await, lull.spawn(tostring, "s")):await())
      local function call(_, x) lull.sleep(1) return x end
      local callable = setmetatable({}, {__call = call})
      assert.equal("x", lull.spawn(callable, "x"):await())
    end)
  end)

  it("refuses what cannot be called", function()
    run(function()
      assert.is_false(pcall(lull.spawn))
      assert.is_false(pcall(lull.spawn, 1))
      assert.is_false(pcall(lull.spawn, "print"))
    end)
  end)

  it("raises where no loop runs", function()
    local ok, err = pcall(lull.spawn, print)
    assert.is_false(ok)
    assert.matches("loop", err)
  end)

  it("belongs to no scope of the caller", function()
    run(function()
      local task
      lull.scope(1, function()
        task = lull.spawn(function() lull.sleep(5) return "whole" end)
        lull.sleep(10)
      end)
      local parent = lull.spawn(function()
        return lull.spawn(function() lull.sleep(5) return "child" end)
      end)
      local child = parent:await()
      parent:cancel()
      assert.equal("whole", task:await())
      assert.equal("child", child:await())
    end)
  end)

  it("keeps a task alive that nobody holds", function()
    run(function()
      local ended = 0
      for _ = 1, 10 do
        lull.spawn(function()
          lull.sleep(1)
          lull.future() -- some garbage
          lull.sleep(1)
          ended = ended + 1
        end)
      end
      for _ = 1, 5 do
        lull.sleep(0.5)
        collectgarbage()
      end
      assert.equal(10, ended)
    end)
  end)

  it("keeps no ended task alive", function()
    run(function()
      local weak = setmetatable({}, {__mode = "k"})
      for _ = 1, 10 do
        weak[lull.spawn(function() lull.sleep(1) return {} end)] = true
        weak[lull.spawn(function() pcall(error, {}) end)] = true
      end
      lull.sleep(2)
      helper.turns(2)
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
    end)
  end)

  it("can be done ten thousand times at once", function()
    run(function()
      local sum = 0
      for i = 1, 10000 do
        lull.spawn(function() lull.sleep(i % 7) sum = sum + i end)
      end
      lull.sleep(7)
      assert.equal(50005000, sum)
    end)
  end)
end)

describe("a task that ends", function()
  it("with an error raises the same object in all who await it", function()
    run(function()
      for _, err in ipairs {{}, "text", 7, false, setmetatable({}, {})} do
        local task = lull.spawn(function() lull.sleep(1) error(err, 0) end)
        assert.equal(err, select(2, pcall(task.await, task)))
        assert.equal(err, select(2, pcall(lull.await, task)))
        assert.equal(err, select(2, pcall(task.result, task)))
        assert.equal(err, task:error())
        assert.equal("finished", task:status())
      end
    end)
  end)

  it("by error(nil) has an error that says so", function()
    run(function()
      local task = lull.spawn(error)
      local ok, err = pcall(task.await, task)
      assert.is_false(ok)
      assert.is_string(err)
      assert.matches("nil", err)
      assert.equal(err, task:error())
    end)
  end)

  it("cannot be settled from outside", function()
    run(function()
      local task = lull.spawn(lull.sleep, 1)
      assert.is_false(pcall(task.set_result, task, 1))
      assert.is_false(pcall(task.set_error, task, "x"))
      task:await()
      assert.is_false(pcall(task.set_result, task, 1))
    end)
  end)

  it("is a future: status, done, result", function()
    run(function()
      local task = lull.spawn(function() lull.sleep(1) return 1, nil, 3 end)
      assert.equal("pending", task:status())
      assert.is_false(task:done())
      assert.is_false(pcall(task.result, task))
      lull.sleep(2)
      assert.equal("finished", task:status())
      assert.is_true(task:done())
      assert.is_false(task:cancelled())
      assert.same({1, nil, 3}, {task:result()})
    end)
  end)
end)

describe("task:cancel", function()
  it("before the first run: the body never runs", function()
    run(function()
      local ran = false
      local task = lull.spawn(function() ran = true end)
      assert.is_true(task:cancel "early")
      local ok, err = pcall(task.await, task)
      assert.is_false(ok)
      assert.matches("ECANCELED: early", tostring(err))
      lull.sleep(1)
      assert.is_false(ran)
      assert.equal("cancelled", task:status())
      assert.is_true(task:cancelled())
    end)
  end)

  it("interrupts what the task waits for, with the reason", function()
    run(function()
      local caught
      local start = lull.now()
      local task = lull.spawn(function()
        local _
        _, caught = pcall(lull.sleep, 10)
        error(caught, 0)
      end)
      lull.sleep(1)
      assert.is_true(task:cancel "no longer needed")
      assert.is_false(pcall(task.await, task))
      assert.equal(start + 1, lull.now())
      assert.is_true(lull.is_cancelled(caught))
      assert.equal("no longer needed", caught.reason)
      assert.matches("no longer needed", tostring(caught))
      assert.equal("cancelled", task:status())
      assert.equal("ECANCELED: no longer needed", task:error())
    end)
  end)

  it("lets a body finish that catches it: its results stand", function()
    run(function()
      local task = lull.spawn(function()
        pcall(lull.sleep, 10)
        return "in spite of it"
      end)
      lull.sleep(1)
      task:cancel()
      assert.equal("in spite of it", task:await())
      assert.equal("finished", task:status())
    end)
  end)

  it("lets another error of the cleanup be the error of the task", function()
    run(function()
      local err = {}
      local task = lull.spawn(function()
        local _ <close> = helper.closer(function() error(err) end)
        lull.sleep(10)
      end)
      lull.sleep(1)
      task:cancel()
      assert.equal(err, select(2, pcall(task.await, task)))
      assert.equal("finished", task:status())
    end)
  end)

  it("returns false once the task has ended", function()
    run(function()
      local task = lull.spawn(function() return 1 end)
      lull.sleep(1)
      assert.is_false(task:cancel())
      assert.equal(1, task:result())
    end)
  end)

  it("of the running task is raised at its next wait", function()
    run(function()
      local reached = false
      local task = lull.spawn(function()
        lull.current():cancel "myself"
        reached = true
        lull.sleep(0)
        reached = "too far"
      end)
      pcall(task.await, task)
      assert.is_true(reached)
      assert.equal("ECANCELED: myself", task:error())
    end)
  end)
end)

describe("task:close", function()
  it("cancels, waits for the cleanup, and does not raise", function()
    run(function()
      local log = {}
      local task = lull.spawn(function()
        local _ <close> = helper.closer(function()
          lull.shield(lull.sleep, 2)
          log[#log + 1] = "cleaned"
        end)
        lull.sleep(100)
      end)
      lull.sleep(1)
      local start = lull.now()
      task:close()
      assert.equal(2, lull.now() - start)
      assert.same({"cleaned"}, log)
      task:close()
    end)
  end)

  it("counts as taking the error", function()
    local reports = {}
    run(function()
      local failed = lull.spawn(error, "failed before")
      local failing = lull.spawn(function()
        pcall(lull.sleep, 10)
        error "in cleanup"
      end)
      lull.sleep(0)
      assert.is_true(failed:done())
      failed:close()
      failing:close()
      assert.is_true(failing:done())
      lull.sleep(5)
    end, {reports = reports})
    assert.same({}, reports)
  end)

  it("of the running task is refused, and nothing happens", function()
    run(function()
      assert.is_false(pcall(lull.current().close, lull.current()))
      lull.sleep(1)
    end)
  end)

  it("is what <close> does", function()
    run(function()
      local ended = false
      do
        local _ <close> = lull.spawn(function()
          pcall(lull.sleep, 100)
          ended = true
        end)
        lull.sleep(1)
      end
      assert.is_true(ended)
    end)
  end)
end)
