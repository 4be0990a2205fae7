-- The fine print of locks, conditions, semaphores, barriers and queues: what is under way
-- between a wake-up and the next step of its task.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

describe("a lock under way", function()
  it("is released by its guard or by hand, whichever comes first", function()
    run(function()
      local lock = lull.lock()
      local guard = lock:acquire()
      assert.equal("guard (holds)", tostring(guard))
      guard:close()
      guard:close()
      assert.equal("guard (released)", tostring(guard))
      assert.is_false(lock:locked())
      assert.is_false(pcall(lock.release, lock))
    end)
  end)

  it("cannot be released a second time before the next holder runs", function()
    run(function()
      local lock = lull.lock()
      lock:acquire()
      local tasks = line_up(2, function() lock:acquire() lull.sleep(1) lock:release() end)
      lock:release()
      assert.is_false(pcall(lock.release, lock))
      assert.is_true(lock:locked())
      assert.is_nil(lock:try_acquire())
      await_all(tasks)
      assert.is_false(lock:locked())
    end)
  end)

  it("is free again when all who waited have refused it", function()
    run(function()
      local lock = lull.lock()
      lock:acquire()
      local tasks = line_up(3, function() lock:acquire() end)
      lock:release()
      for i = 1, 3 do tasks[i]:cancel() end
      await_all(tasks)
      assert.is_false(lock:locked())
      assert.is_truthy(lock:try_acquire())
    end)
  end)

  it("may be released by a callback and by another task", function()
    run(function()
      local lock, log = lull.lock(), {}
      lock:acquire()
      local tasks = line_up(2, function(i)
        lock:acquire()
        log[i] = lull.now()
      end)
      local start = lull.now()
      lull.loop():call_later(1, lock.release, lock)
      lull.loop():call_later(2, lock.release, lock)
      await_all(tasks)
      assert.same({start + 1, start + 2}, log)
    end)
  end)
end)

describe("a notification under way", function()
  it("is his who has been woken by it, though he is cancelled at the lock", function()
    run(function()
      local condition, log = lull.condition(), {}
      local task = lull.spawn(function()
        local _ <close> = condition:acquire()
        condition:wait()
        log[#log + 1] = "notified"
        lull.sleep(1)
        log[#log + 1] = "not reached"
      end)
      lull.sleep(0)
      condition:acquire()
      condition:notify()
      lull.sleep(1) -- now he waits for the lock
      task:cancel()
      lull.sleep(1)
      assert.same({}, log)
      condition:release()
      await_all {task}
      assert.same({"notified"}, log)
      assert.is_true(task:cancelled())
      assert.is_false(condition.lock:locked())
    end)
  end)

  it("notify(0) wakes nobody, and more than there are is no mistake", function()
    run(function()
      local condition, count = lull.condition(), 0
      local tasks = line_up(2, function()
        local _ <close> = condition:acquire()
        condition:wait()
        count = count + 1
      end)
      do
        local _ <close> = condition:acquire()
        condition:notify(0)
      end
      lull.sleep(1)
      assert.equal(0, count)
      do
        local _ <close> = condition:acquire()
        condition:notify(10)
      end
      await_all(tasks)
      assert.equal(2, count)
    end)
  end)

  it("leaves the guard valid that was there before the wait", function()
    run(function()
      local condition = lull.condition()
      local task = lull.spawn(function()
        local guard <close> = condition:acquire()
        condition:wait()
        assert.equal("guard (holds)", tostring(guard))
      end)
      lull.sleep(0)
      condition:acquire()
      condition:notify()
      condition:release()
      task:await()
      assert.is_false(condition.lock:locked())
    end)
  end)

  it("can share a lock with another condition, and nothing else", function()
    run(function()
      local lock = lull.lock()
      local a, b = lull.condition(lock), lull.condition(lock)
      a:acquire()
      assert.is_nil(lock:try_acquire())
      b:notify()
      b:release()
      assert.is_false(lock:locked())
      assert.is_false(pcall(lull.condition, {}))
      assert.is_false(pcall(lull.condition, lull.semaphore(1)))
    end)
  end)

  it("lets the error of a predicate pass, with the lock held", function()
    run(function()
      local condition, err = lull.condition(), {}
      condition:acquire()
      local ok, got = pcall(condition.wait_for, condition, function() error(err) end)
      assert.is_false(ok)
      assert.equal(err, got)
      condition:release()
    end)
  end)
end)

describe("permits under way", function()
  it("go to the next, or back, when they are refused", function()
    run(function()
      local semaphore, log = lull.semaphore(0), {}
      local tasks = line_up(3, function(i)
        semaphore:acquire()
        log[#log + 1] = i
      end)
      semaphore:release(2) -- to 1 and 2
      tasks[1]:cancel()
      tasks[2]:cancel()
      await_all(tasks)
      assert.same({3}, log)
      assert.equal(1, semaphore:value())
    end)
  end)

  it("are given back once by their guards", function()
    run(function()
      local semaphore = lull.semaphore(2, 2)
      local permit = semaphore:acquire()
      assert.equal("permit (held)", tostring(permit))
      permit:close()
      permit:close()
      assert.equal("permit (released)", tostring(permit))
      assert.equal(2, semaphore:value())
      assert.is_false(pcall(semaphore.release, semaphore))
    end)
  end)

  it("are whole, and no less than none", function()
    for _, n in ipairs {-1, 0.5, "1", {}} do
      assert.is_false(pcall(lull.semaphore, n))
      assert.is_false(pcall(lull.barrier, n))
      assert.is_false(pcall(lull.semaphore(1).release, lull.semaphore(1), n))
    end
    assert.is_false(pcall(lull.semaphore))
    assert.is_false(pcall(lull.semaphore, 3, 2))
    assert.equal(3, lull.semaphore(3.0):value())
  end)
end)

describe("a barrier under way", function()
  it("numbers those who have stayed, in order of arrival", function()
    run(function()
      local barrier, log = lull.barrier(3), {}
      local tasks = line_up(2, function(i) log[i] = barrier:wait() end)
      tasks[1]:cancel()
      tasks[3] = line_up(1, function() log[3] = barrier:wait() end)[1]
      assert.equal(3, barrier:wait())
      await_all(tasks)
      assert.same({nil, 1, 2}, log)
    end)
  end)

  it("has let through who is cancelled afterwards, the others are not held up", function()
    run(function()
      local barrier, log = lull.barrier(3), {}
      local tasks = line_up(2, function(i) log[i] = barrier:wait() end)
      assert.equal(3, barrier:wait())
      tasks[1]:cancel()
      await_all(tasks)
      assert.same({nil, 2}, log)
    end)
  end)

  it("aborted or reset when it has let go does not call anybody back", function()
    run(function()
      local barrier, log = lull.barrier(2), {}
      local tasks = line_up(1, function(i) log[i] = barrier:wait() end)
      barrier:wait()
      barrier:abort()
      await_all(tasks)
      assert.same({1}, log)
      assert.matches("reset", select(2, lull.scope(function(s)
        barrier:reset()
        lull.loop():call_later(1, barrier.reset, barrier)
        lull.loop():call_later(2, s.cancel, s)
        return barrier:wait()
      end)))
    end)
  end)
end)

describe("items under way", function()
  it("keep their order when all who were promised them refuse", function()
    run(function()
      local q = lull.queue()
      local tasks = line_up(3, function() q:get() end)
      for v = 1, 5 do q:put(v) end
      assert.equal(2, q:size())
      for i = 3, 1, -1 do tasks[i]:cancel() end
      await_all(tasks)
      assert.equal(5, q:size())
      for v = 1, 5 do assert.equal(v, (q:get())) end
    end)
  end)

  it("leave room for others, and none is lost when they come back", function()
    run(function()
      local q = lull.queue(1)
      local tasks = line_up(1, function() q:get() end)
      q:put "promised"
      assert.is_true(q:empty())
      assert.is_true(q:try_put "second")
      assert.is_true(q:full())
      tasks[1]:close()
      assert.equal(2, q:size()) -- for once more than the maximum
      local putter = line_up(1, function() q:put "third" end)
      assert.equal("promised", q:get())
      assert.equal(1, q:size()) -- there is no room yet
      assert.equal("second", q:get())
      assert.equal("third", q:get())
      await_all(putter)
    end)
  end)

  it("of a closed queue go to those who wait, when they are refused", function()
    run(function()
      local q, log = lull.queue(), {}
      local tasks = line_up(3, function(i) log[i] = table.pack(q:get()) end)
      q:put "item"
      q:close()
      assert.is_false(tasks[2]:done())
      tasks[1]:cancel()
      await_all(tasks)
      assert.same({nil, {"item", n = 1}, {n = 1}}, log)
    end)
  end)

  it("of a closed queue are waited for as long as they are under way", function()
    run(function()
      for _, cancelled in ipairs {true, false} do
        local q = lull.queue()
        local tasks = line_up(1, function() q:get() end)
        q:put "item"
        q:close()
        if cancelled then tasks[1]:cancel() end
        local v = q:get()
        assert.equal(cancelled and "item" or nil, v)
        await_all(tasks)
      end
    end)
  end)

  it("may come while those who were let in have not returned", function()
    run(function()
      local q, log = lull.queue(2), {}
      q:put(1)
      q:put(2)
      local tasks = line_up(3, function(i)
        q:put(i + 2)
        log[#log + 1] = i
      end)
      local got = {}
      for v = 1, 5 do got[v] = q:try_get() end
      assert.same({1, 2, 3, 4, 5}, got)
      await_all(tasks)
      assert.same({1, 2, 3}, log)
    end)
  end)

  it("that cannot be compared are the failure of who puts them", function()
    run(function()
      local q = lull.priority_queue(2)
      q:put(1)
      q:put(2)
      local ok, err
      local tasks = line_up(2, function(i)
        if i == 1 then ok, err = pcall(q.put, q, "text") else q:put(0) end
      end)
      assert.equal(1, q:get()) -- would let "text" in, and lets in who comes next
      await_all {tasks[1]}
      assert.is_false(ok)
      assert.matches("compare", err)
      assert.equal(0, q:get())
      assert.equal(2, q:get())
      await_all(tasks)
      assert.is_true(q:empty())
    end)
  end)

  it("of one rank keep the order of their arrival, however many there are", function()
    run(function()
      local q = lull.priority_queue(0, function(a, b) return a.rank < b.rank end)
      local random, last = 1, {rank = 0, i = 0}
      for i = 1, 200 do
        random = random * 1103515245 + 12345 & 0x7fffffff
        q:put {rank = random // 65536 % 4, i = i}
        if i % 3 == 0 then q:try_get() end
      end
      for _ = 1, q:size() do
        local v = q:try_get()
        assert.is_true(v.rank > last.rank or v.rank == last.rank and v.i > last.i)
        last = v
      end
    end)
  end)

  it("that can no longer be compared stay, and everybody is told", function()
    run(function()
      local broken = false
      local q = lull.priority_queue(0, function(a, b)
        if broken then error "broken" end
        return a < b
      end)
      local codes = {}
      local tasks = line_up(4, function(i) codes[i] = pcall(q.get, q) end)
      for v = 1, 3 do q:put(v) end
      broken = true
      await_all(tasks)
      assert.same({false, false, false, false}, codes)
      assert.equal(3, q:size())
      broken = false
      for v = 1, 3 do assert.equal(v, (q:get())) end
    end)
  end)

  it("are compared by functions that cannot suspend", function()
    run(function()
      local slow = true
      local q = lull.priority_queue(0, function(a, b)
        if slow then lull.sleep(0) end
        return a < b
      end)
      q:put(1)
      local ok, err = pcall(q.put, q, 2)
      assert.is_false(ok)
      assert.matches("cannot suspend inside", err)
      assert.equal(1, q:size())
      slow = false
      q:put(2)
      q:put(3)
      slow = true
      ok, err = pcall(q.get, q)
      assert.is_false(ok)
      assert.matches("cannot suspend inside", err)
      assert.equal(3, q:size())
      assert.is_false(pcall(lull.priority_queue, 0, "less"))
    end)
  end)

  it("are counted until they are done, whoever got them", function()
    run(function()
      local q = lull.queue()
      for v = 1, 2 do q:put(v) end
      local tasks = line_up(2, function() q:join() end)
      q:get()
      q:task_done()
      q:task_done() -- the second was not even got: it is the count that counts
      await_all(tasks)
      assert.is_false(pcall(q.task_done, q))
      q:close()
      q:join()
    end)
  end)
end)
