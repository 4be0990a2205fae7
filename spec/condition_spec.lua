-- Conditions: the lock and its release, notifications and predicates.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

describe("a condition", function()
  it("releases its lock while it waits, and has it again afterwards", function()
    run(function()
      local condition, log = lull.condition(), {}
      local task = lull.spawn(function()
        local _ <close> = condition:acquire()
        log[#log + 1] = "waits"
        condition:wait()
        log[#log + 1] = "woken"
      end)
      lull.sleep(0)
      do
        local _ <close> = condition:acquire()
        log[#log + 1] = "holds"
        condition:notify()
        lull.sleep(1)
        log[#log + 1] = "leaves"
      end
      task:await()
      assert.same({"waits", "holds", "leaves", "woken"}, log)
    end)
  end)

  it("notifies one, some, all, in order of arrival", function()
    run(function()
      local condition, log = lull.condition(), {}
      local tasks = line_up(6, function(i)
        local _ <close> = condition:acquire()
        condition:wait()
        log[#log + 1] = i
      end)
      local function notify(method, ...)
        condition:acquire()
        condition[method](condition, ...)
        condition:release()
        lull.sleep(1)
      end
      notify "notify"
      assert.same({1}, log)
      notify("notify", 2)
      assert.same({1, 2, 3}, log)
      notify "notify_all"
      assert.same({1, 2, 3, 4, 5, 6}, log)
      notify "notify_all"
      await_all(tasks)
    end)
  end)

  it("waits for a predicate, whose value it returns", function()
    run(function()
      local condition, value = lull.condition(), nil
      local task = lull.spawn(function()
        local _ <close> = condition:acquire()
        return condition:wait_for(function() return value end)
      end)
      for n = 1, 3 do
        lull.sleep(1)
        local _ <close> = condition:acquire()
        value = n == 3 and "ready" or false
        condition:notify_all()
      end
      assert.equal("ready", task:await())
      local _ <close> = condition:acquire()
      assert.equal(7, condition:wait_for(function() return 7 end))
    end)
  end)

  it("holds the lock again when its wait is cancelled", function()
    run(function()
      local lock = lull.lock()
      local condition = lull.condition(lock)
      local held
      local task = lull.spawn(function()
        local _ <close> = lock:acquire()
        local _ <close> = helper.closer(function() held = lock:locked() end)
        condition:wait()
      end)
      lull.sleep(1)
      assert.is_false(lock:locked())
      lock:acquire()
      task:cancel()
      lull.sleep(1)
      assert.is_nil(held) -- it waits for the lock first
      lock:release()
      pcall(task.await, task)
      assert.is_true(held)
      assert.is_false(lock:locked())
    end)
  end)

  it("loses no notification when the notified one is cancelled", function()
    run(function()
      local condition, log = lull.condition(), {}
      local tasks = line_up(2, function(i)
        local _ <close> = condition:acquire()
        condition:wait()
        log[#log + 1] = i
      end)
      condition:acquire()
      condition:notify()
      tasks[1]:cancel()
      condition:release()
      await_all {tasks[1]}
      lull.sleep(1)
      assert.same({2}, log)
    end)
  end)

  it("refuses to wait or notify without the lock", function()
    run(function()
      local condition = lull.condition()
      assert.is_false(pcall(condition.wait, condition))
      assert.is_false(pcall(condition.notify, condition))
      assert.is_false(pcall(condition.release, condition))
    end)
  end)
end)
