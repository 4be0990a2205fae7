-- Semaphores and barriers: permits and arrivals, none of them lost; task locals.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

describe("a semaphore", function()
  it("lets so many in at once, in order of arrival", function()
    run(function()
      local semaphore, log, inside = lull.semaphore(2), {}, 0
      await_all(line_up(6, function(i)
        local _ <close> = semaphore:acquire()
        inside = inside + 1
        assert(inside <= 2)
        log[#log + 1] = i
        lull.sleep(1)
        inside = inside - 1
      end))
      assert.same({1, 2, 3, 4, 5, 6}, log)
      assert.equal(2, semaphore:value())
    end)
  end)

  it("can be tried, and tells its value", function()
    run(function()
      local semaphore = lull.semaphore(1)
      assert.equal(1, semaphore:value())
      local guard = semaphore:try_acquire()
      assert.is_truthy(guard)
      assert.equal(0, semaphore:value())
      assert.is_nil(semaphore:try_acquire())
      semaphore:release()
      assert.equal(1, semaphore:value())
      getmetatable(guard).__close(guard)
      assert.is_true(semaphore:value() <= 2)
      assert.matches("semaphore", tostring(semaphore):lower())
    end)
  end)

  it("may begin with none, and be released n at once", function()
    run(function()
      local semaphore, log = lull.semaphore(0), {}
      local tasks = line_up(4, function(i)
        semaphore:acquire()
        log[#log + 1] = i
      end)
      semaphore:release(3)
      lull.sleep(1)
      assert.same({1, 2, 3}, log)
      semaphore:release()
      await_all(tasks)
      assert.equal(0, semaphore:value())
    end)
  end)

  it("without a maximum is unbounded; past it release raises", function()
    run(function()
      local open, bounded = lull.semaphore(1), lull.semaphore(1, 2)
      open:release(10)
      assert.equal(11, open:value())
      bounded:release()
      assert.is_false(pcall(bounded.release, bounded))
      assert.equal(2, bounded:value())
      bounded:acquire()
      assert.is_false(pcall(bounded.release, bounded, 2))
      assert.equal(1, bounded:value())
    end)
  end)

  it("is not overtaken by a try or an acquire while others wait", function()
    run(function()
      local semaphore, log = lull.semaphore(0), {}
      local tasks = line_up(1, function()
        semaphore:acquire()
        log[#log + 1] = "first"
      end)
      semaphore:release()
      assert.is_nil(semaphore:try_acquire())
      await_all(tasks)
      assert.same({"first"}, log)
    end)
  end)

  it("passes a permit on when the one it was granted to is cancelled", function()
    run(function()
      local semaphore, log = lull.semaphore(0), {}
      local tasks = line_up(3, function(i)
        semaphore:acquire()
        log[#log + 1] = i
      end)
      semaphore:release(2) -- to 1 and 2
      tasks[1]:cancel()
      lull.sleep(1)
      assert.same({2, 3}, log)
      assert.equal(0, semaphore:value())
    end)
  end)

  it("has the permit back when nobody else waits", function()
    run(function()
      local semaphore = lull.semaphore(0)
      local tasks = line_up(1, function() semaphore:acquire() end)
      semaphore:release()
      tasks[1]:close()
      assert.equal(1, semaphore:value())
    end)
  end)

  it("refuses numbers that are no counts", function()
    run(function()
      assert.is_false(pcall(lull.semaphore))
      assert.is_false(pcall(lull.semaphore, -1))
      assert.is_false(pcall(lull.semaphore, 3, 2))
      local semaphore = lull.semaphore(1)
      assert.is_false(pcall(semaphore.release, semaphore, -1))
    end)
  end)
end)

describe("a barrier", function()
  it("lets all go when the last has come, with the order of arrival", function()
    run(function()
      local barrier, log = lull.barrier(3), {}
      local tasks = line_up(2, function(i) log[i] = barrier:wait() end)
      lull.sleep(1)
      assert.same({}, log)
      assert.equal(3, barrier:wait())
      await_all(tasks)
      assert.same({1, 2}, log)
      assert.matches("barrier", tostring(barrier):lower())
    end)
  end)

  it("can be used again and again", function()
    run(function()
      local barrier, log = lull.barrier(2), {}
      local other = lull.spawn(function()
        for _ = 1, 3 do barrier:wait() end
      end)
      for round = 1, 3 do
        barrier:wait()
        log[round] = true
      end
      other:await()
      assert.same({true, true, true}, log)
    end)
  end)

  it("of one holds nobody", function()
    run(function() assert.equal(1, lull.barrier(1):wait()) end)
  end)

  it("a cancelled waiter has not arrived", function()
    run(function()
      local barrier, log = lull.barrier(2), {}
      lull.timeout(1, barrier.wait, barrier)
      local tasks = line_up(1, function() log[1] = barrier:wait() end)
      lull.sleep(1)
      assert.same({}, log)
      assert.equal(2, barrier:wait())
      await_all(tasks)
      assert.same({1}, log)
    end)
  end)

  it("aborted wakes the waiters and refuses later ones until it is reset", function()
    run(function()
      local barrier, got = lull.barrier(3), {}
      local tasks = line_up(2, function(i) got[i] = table.pack(barrier:wait()) end)
      barrier:abort()
      await_all(tasks)
      got[3] = table.pack(barrier:wait())
      for i = 1, 3 do
        assert.is_nil(got[i][1])
        assert.matches("^ECANCELED: .", got[i][2])
        assert.same({"ECANCELED", 3}, {got[i][3], got[i].n})
      end
      barrier:reset()
      tasks = line_up(2, function(i) got[i] = barrier:wait() end)
      assert.equal(3, barrier:wait())
      await_all(tasks)
      assert.same({1, 2}, {got[1], got[2]})
    end)
  end)

  it("reset wakes the waiters, and counts from one again", function()
    run(function()
      local barrier, code = lull.barrier(2), nil
      local tasks = line_up(1, function() code = select(3, barrier:wait()) end)
      barrier:reset()
      await_all(tasks)
      assert.equal("ECANCELED", code)
      tasks = line_up(1, function() return barrier:wait() end)
      assert.equal(2, barrier:wait())
      assert.equal(1, tasks[1]:await())
    end)
  end)

  it("refuses a count that is none", function()
    run(function()
      assert.is_false(pcall(lull.barrier))
      assert.is_false(pcall(lull.barrier, 0))
    end)
  end)
end)

describe("a task local", function()
  it("has its default, and what was set; set returns the old value", function()
    run(function()
      local var, bare = lull.task_local "default", lull.task_local()
      assert.equal("default", var:get())
      assert.is_nil(bare:get())
      assert.equal("default", var:set "mine")
      assert.equal("mine", var:set(false))
      assert.is_false(var:get())
      assert.is_nil(bare:set(1))
      assert.equal(1, bare:get())
    end)
  end)

  it("is inherited by copy at spawn", function()
    run(function()
      local var = lull.task_local "default"
      var:set "parent"
      local child = lull.spawn(function()
        local inherited = var:get()
        var:set "child"
        lull.sleep(2)
        return inherited, var:get()
      end)
      var:set "changed later"
      lull.sleep(1)
      assert.equal("changed later", var:get())
      assert.same({"parent", "child"}, {child:await()})
      assert.equal("changed later", var:get())
    end)
  end)

  it("is inherited by the tasks of groups, gather and race too", function()
    run(function()
      local var = lull.task_local()
      var:set "x"
      local function get() lull.sleep(1) return var:get() end
      assert.same({"x", "x"}, {lull.gather(get, get)})
      assert.same({1, "x"}, {lull.race(get)})
      lull.group(function(g) assert.equal("x", g:spawn(get):await()) end)
    end)
  end)

  it("is the same in nested coroutines", function()
    run(function()
      local var = lull.task_local()
      var:set "outer"
      local gen = coroutine.wrap(function()
        lull.sleep(1)
        coroutine.yield(var:get())
        var:set "inner"
      end)
      assert.equal("outer", gen())
      gen()
      assert.equal("inner", var:get())
    end)
  end)

  it("has the default outside of tasks", function()
    local var = lull.task_local "default"
    run(function() var:set "in a task" end)
    assert.equal("default", var:get())
  end)
end)
