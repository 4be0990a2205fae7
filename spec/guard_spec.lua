-- Guards and permits, whatever becomes of them: an old one releases nothing, one that is
-- dropped does no harm, and each keeps alive what it is of.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

local function collect()
  collectgarbage()
  collectgarbage()
end

describe("a guard", function()
  it("releases the lock once, and never what another holds", function()
    run(function()
      local lock = lull.lock()
      local first = lock:acquire()
      first:close()
      local second = lock:acquire()
      first:close()
      assert.equal("guard (released)", tostring(first))
      assert.equal("guard (holds)", tostring(second))
      assert.is_true(lock:locked())
      lock:release()
      assert.equal("guard (released)", tostring(second))
      lock:try_acquire()
      second:close()
      first:close()
      assert.is_true(lock:locked())
    end)
  end)

  it("that has been taken back after a wait is the only one", function()
    run(function()
      local lock = lull.lock()
      local condition, other = lull.condition(lock), nil
      local waiter = line_up(1, function()
        local guard = lock:acquire()
        condition:wait()
        assert.equal("guard (holds)", tostring(guard))
        other:close()
        assert.is_true(lock:locked())
        guard:close()
        assert.is_false(lock:locked())
        local third <close> = lock:acquire()
        guard:close()
        other:close()
        assert.equal("guard (holds)", tostring(third))
      end)
      other = lock:acquire()
      condition:notify()
      other:close()
      await_all(waiter)
      assert.is_false(lock:locked())
    end)
  end)

  it("may be dropped, and keeps its lock alive", function()
    run(function()
      local lock = lull.lock()
      lock:acquire()
      collect()
      assert.is_true(lock:locked())
      lock:release()
      local guard = lull.lock():acquire()
      collect()
      assert.equal("guard (holds)", tostring(guard))
      guard:close()
      assert.equal("guard (released)", tostring(guard))
    end)
  end)

  it("is one, also where a finalizer takes the lock while the guard is made", function()
    local lock, kept, wrong = lull.lock(), nil, 0
    local mt = {__gc = function() kept = kept or lock:try_acquire() end}
    for _ = 1, 20000 do
      setmetatable({}, mt)
      local guard = lock:try_acquire()
      local other = kept -- before the next finalizer
      if guard and other or not guard and not other then wrong = wrong + 1 end
      if guard then guard:close() end
      if kept then kept:close() end
      kept = nil
    end
    assert.equal(0, wrong)
    assert.is_false(lock:locked())
  end)

  it("tells a wrong self, and a mistake at the line of the script", function()
    local lock = lull.lock()
    assert.matches("Lock expected", select(2, pcall(lock.release, lull.event())))
    assert.matches("Guard expected",
      select(2, pcall(lock:try_acquire().close, lock)))
    lock:release()
    local _, err = pcall(function() lock:release() end)
    assert.matches("guard_spec.lua:%d+: the lock is not held$", err)
    _, err = pcall(lock.acquire, lock)
    assert.matches("outside of a task", err)
    assert.is_false(lock:locked())
  end)
end)

describe("a permit", function()
  it("is given back once, and keeps its semaphore alive", function()
    run(function()
      local semaphore = lull.semaphore(2, 2)
      local permit = semaphore:acquire()
      assert.equal("permit (held)", tostring(permit))
      permit:close()
      permit:close()
      assert.equal("permit (released)", tostring(permit))
      assert.equal(2, semaphore:value())
      permit = lull.semaphore(1):acquire()
      collect()
      permit:close()
    end)
  end)

  it("that is one too many is told where it is given back", function()
    run(function()
      local semaphore = lull.semaphore(1, 1)
      local permit = semaphore:acquire()
      semaphore:release()
      local _, err = pcall(function() permit:close() end)
      assert.matches("guard_spec.lua:%d+: the semaphore would have more than 1 permits",
        err)
      permit:close()
      assert.equal(1, semaphore:value())
    end)
  end)

  it("of one who is cancelled goes to the next, however many are released", function()
    run(function()
      local semaphore, log = lull.semaphore(0), {}
      local tasks = line_up(5, function(i)
        semaphore:acquire()
        log[#log + 1] = i
      end)
      semaphore:release(3)
      for _, i in ipairs {1, 3, 4} do tasks[i]:cancel() end
      await_all(tasks)
      assert.same({2, 5}, log)
      assert.equal(1, semaphore:value())
    end)
  end)

  it("is counted without end", function()
    local semaphore = lull.semaphore(1)
    semaphore:release(math.maxinteger)
    assert.equal(math.maxinteger, semaphore:value())
    assert.is_truthy(semaphore:try_acquire())
    semaphore:release(2)
    assert.equal(math.maxinteger, semaphore:value())
    semaphore = lull.semaphore(0, 3)
    assert.is_false(pcall(semaphore.release, semaphore, math.maxinteger))
    assert.matches("^semaphore %(0 of 3 free%): ", tostring(semaphore))
  end)
end)
