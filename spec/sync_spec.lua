-- Lock and event: in order of arrival, and nothing lost however waiters are cancelled.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

describe("a lock", function()
  it("is held by one at a time, in order of arrival", function()
    run(function()
      local lock, log, inside = lull.lock(), {}, 0
      await_all(line_up(5, function(i)
        local g <close> = lock:acquire()
        assert(g)
        inside = inside + 1
        assert.equal(1, inside)
        lull.sleep(1)
        inside = inside - 1
        log[#log + 1] = i
      end))
      assert.same({1, 2, 3, 4, 5}, log)
      assert.is_false(lock:locked())
    end)
  end)

  it("knows whether it is locked, and can be tried", function()
    run(function()
      local lock = lull.lock()
      assert.is_false(lock:locked())
      local guard = lock:try_acquire()
      assert.is_truthy(guard)
      assert.is_true(lock:locked())
      assert.is_nil(lock:try_acquire())
      lock:release()
      assert.is_false(lock:locked())
      assert.matches("lock", tostring(lock):lower())
    end)
  end)

  it("does not suspend when it is free", function()
    run(function()
      local ran = false
      lull.spawn(function() ran = true end)
      local lock = lull.lock()
      lock:acquire()
      assert.is_false(ran)
      lock:release()
    end)
  end)

  it("its guard releases once, and not what somebody else has locked since", function()
    run(function()
      local lock = lull.lock()
      do
        local guard <close> = lock:acquire()
        assert.is_truthy(guard)
        lock:release()
        lock:acquire() -- another holder, whose lock the old guard must not release
      end
      assert.is_true(lock:locked())
      lock:release()
    end)
  end)

  it("cannot be released when it is free", function()
    run(function() assert.is_false(pcall(lull.lock().release, lull.lock())) end)
  end)

  it("is handed over: who comes later does not overtake", function()
    run(function()
      local lock, log = lull.lock(), {}
      lock:acquire()
      local waiting = line_up(1, function()
        lock:acquire()
        log[#log + 1] = "waiter"
        lock:release()
      end)
      lock:release()
      assert.is_nil(lock:try_acquire())
      lock:acquire()
      log[#log + 1] = "late"
      lock:release()
      await_all(waiting)
      assert.same({"waiter", "late"}, log)
    end)
  end)

  it("passes on when the one it was handed to is cancelled before it runs", function()
    run(function()
      local lock, log = lull.lock(), {}
      lock:acquire()
      local tasks = line_up(3, function(i)
        local _ <close> = lock:acquire()
        log[#log + 1] = i
      end)
      lock:release() -- grants it to 1
      tasks[1]:cancel()
      await_all(tasks)
      assert.same({2, 3}, log)
      assert.is_false(lock:locked())
    end)
  end)

  it("forgets waiters that are cancelled", function()
    run(function()
      local lock, log = lull.lock(), {}
      lock:acquire()
      local tasks = line_up(4, function(i)
        local _ <close> = lock:acquire()
        log[#log + 1] = i
      end)
      tasks[2]:close()
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, lock.acquire, lock)))
      lock:release()
      await_all(tasks)
      assert.same({1, 3, 4}, log)
      assert.is_false(lock:locked())
    end)
  end)

  it("raises on entry in a cancelled scope, and stays free", function()
    run(function()
      local lock = lull.lock()
      lull.scope(function(s)
        s:cancel()
        assert.is_false(pcall(lock.acquire, lock))
        lock:acquire()
      end)
      assert.is_false(lock:locked())
    end)
  end)

  it("that nobody will release is a deadlock", function()
    local err = helper.failure(function()
      local lock = lull.lock()
      lock:acquire()
      lock:acquire()
    end, {guard = false})
    assert.matches("deadlock", tostring(err))
    assert.matches("lock", tostring(err))
  end)
end)

describe("an event", function()
  it("wakes all who wait, with its values", function()
    run(function()
      local event, got = lull.event(), {}
      local tasks = line_up(3, function(i) got[i] = table.pack(event:wait()) end)
      assert.is_false(event:is_set())
      event:set("a", nil, 3)
      assert.is_true(event:is_set())
      await_all(tasks)
      for i = 1, 3 do assert.same({"a", nil, 3, n = 3}, got[i]) end
      assert.same({"a", nil, 3}, {event:wait()}) -- set: at once
      assert.matches("event", tostring(event):lower())
    end)
  end)

  it("cleared makes wait again, set anew has other values", function()
    run(function()
      local event = lull.event()
      event:set(1)
      event:clear()
      assert.is_false(event:is_set())
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, event.wait, event)))
      event:set(2)
      assert.equal(2, event:wait())
      event:set(3)
      assert.is_truthy(event:wait())
    end)
  end)

  it("set and cleared at once has woken who waited, with the values", function()
    run(function()
      local event, got = lull.event(), {}
      local tasks = line_up(3, function(i) got[i] = event:wait() end)
      event:set "seen"
      event:clear()
      await_all(tasks)
      assert.same({"seen", "seen", "seen"}, got)
      assert.is_false(event:is_set())
    end)
  end)

  it("pulsed wakes those who wait now, and nobody else", function()
    run(function()
      local event, got = lull.event(), {}
      local tasks = line_up(2, function(i) got[i] = table.pack(event:wait()) end)
      event:pulse("p", nil)
      assert.is_false(event:is_set())
      await_all(tasks)
      assert.same({{"p", nil, n = 2}, {"p", nil, n = 2}}, got)
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, event.wait, event)))
    end)
  end)

  it("gives each pulse to whoever waited for that one", function()
    run(function()
      local event, log = lull.event(), {}
      local task = lull.spawn(function()
        for _ = 1, 3 do log[#log + 1] = (event:wait()) end
      end)
      for n = 1, 3 do
        lull.sleep(1)
        event:pulse(n)
        event:pulse "nobody waits for this one"
      end
      task:await()
      assert.same({1, 2, 3}, log)
    end)
  end)

  it("does not wake a waiter that was cancelled", function()
    run(function()
      local event, start = lull.event(), lull.now()
      local task = lull.spawn(function()
        lull.timeout(1, event.wait, event)
        lull.sleep(5)
      end)
      lull.sleep(2)
      event:set()
      task:await()
      assert.equal(start + 6, lull.now())
    end)
  end)

  it("may be made where no loop runs, and binds to the loop of its first wait", function()
    local event = lull.event()
    run(function() lull.timeout(1, event.wait, event) end)
    run(function()
      local ok, err = pcall(event.wait, event)
      assert.is_false(ok)
      assert.matches("loop", err)
    end)
  end)
end)
