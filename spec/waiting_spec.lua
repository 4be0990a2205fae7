-- What every call has in common that waits for another task: it tries first, raises the
-- cancellation on entry, gives others their turn, and says what it waits for.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

-- Every call that may wait, ready to complete at once; each makes its own object.
local waiting = {
  ["lock:acquire"] = function() local lock = lull.lock() return lock.acquire, lock end,
  ["event:wait"] = function()
    local event = lull.event()
    event:set(1)
    return event.wait, event
  end,
  ["condition:acquire"] = function()
    local condition = lull.condition()
    return condition.acquire, condition
  end,
  ["condition:wait_for"] = function()
    local condition = lull.condition()
    condition.lock:try_acquire()
    return condition.wait_for, condition, function() return true end
  end,
  ["semaphore:acquire"] = function()
    local semaphore = lull.semaphore(1)
    return semaphore.acquire, semaphore
  end,
  ["barrier:wait"] = function()
    local barrier = lull.barrier(1)
    return barrier.wait, barrier
  end,
  ["queue:put"] = function() local q = lull.queue() return q.put, q, 1 end,
  ["queue:get"] = function()
    local q = lull.queue()
    q:try_put(1)
    return q.get, q
  end,
  ["queue:join"] = function() local q = lull.queue() return q.join, q end,
}

describe("a call that may wait", function()
  for name, make in pairs(waiting) do
    it("completes at once where it can: " .. name, function()
      run(function()
        local ran = false
        lull.spawn(function() ran = true end)
        local fn, self, arg = make()
        fn(self, arg)
        assert.is_false(ran)
      end)
    end)

    it("raises the cancellation first, and nothing has happened: " .. name, function()
      run(function()
        local fn, self, arg = make()
        local before = tostring(self)
        local err
        lull.scope(function(s)
          s:cancel()
          err = select(2, pcall(fn, self, arg))
        end)
        assert.is_true(lull.is_cancelled(err))
        assert.equal(before, tostring(self))
      end)
    end)

    it("is refused outside of a task, also where it need not wait: " .. name, function()
      local fn, self, arg = make()
      local ok, err = pcall(fn, self, arg)
      assert.is_false(ok)
      assert.matches("cannot suspend outside of a task", err)
    end)

    it("gives others a turn after a bounded number: " .. name, function()
      run(function()
        local turn = false
        lull.spawn(function() turn = true end)
        for _ = 1, 10000 do
          local fn, self, arg = make()
          fn(self, arg)
          if turn then return end
        end
        error "the other task never had a turn"
      end)
    end)
  end
end)

describe("who waits", function()
  it("says for which call, of which object, in which line", function()
    run(function()
      local lock, q, event = lull.lock(), lull.queue(), lull.event()
      local line = helper.line() + 2
      local tasks = {
        lull.spawn(function() lock:acquire() lock:acquire() end),
        lull.spawn(function() for _ in q:items() do end end), -- luacheck: ignore
        lull.spawn(function() pcall(event.wait, event) end),
      }
      lull.sleep(0)
      local expected = {
        "waiting: acquire lock %(held, 1 waiting%): [^,]+, ",
        "waiting: get queue %(0 items, 1 waiting to get%): [^,]+, ",
        "waiting: wait event %(not set, 1 waiting%): [^,]+, ",
      }
      for i, task in ipairs(tasks) do
        assert.matches(expected[i], tostring(task))
        assert.matches("waiting_spec.lua:" .. line + i - 1, tostring(task), 1, true)
        task:close()
      end
    end)
  end)

  it("says so where lull's own Lua waits, or a loop asks its iterator", function()
    run(function()
      local net, signal = lull.net, lull.signal
      local listener = assert(net.listen("127.0.0.1", 0))
      local host, port = listener:local_address()
      local a, b = net.pair()
      local tls = {tls = {verify = false}}
      local expected = {
        {"next signal SIGUSR1 SIGUSR2, ", function()
          for _ in signal.each("SIGUSR2", "SIGUSR1") do end -- luacheck: ignore
        end},
        {"wait SIGUSR1 SIGUSR2, ", function() signal.wait("SIGUSR1", "SIGUSR2") end},
        {"signal.wait SIGUSR2)", signal.wait, "SIGUSR2"},
        {("connect %s %d, "):format(host, port), function()
          local stream = net.connect(host, port, tls)
          return stream
        end},
        {("net.connect %s %d)"):format(host, port), net.connect, host, port, tls},
        {("connect_unix /%s, "):format(("x"):rep(9)), function()
          local stream = net.connect_unix("/" .. ("x"):rep(9), tls)
          return stream
        end, ended = true},
        {"next stream ", function() for _ in a:lines() do end end}, -- luacheck: ignore
        {"resolve a.test, ", function()
          local list = net.resolve("a.test", {servers = {"127.0.0.1:9"}, timeout = 50})
          return list
        end, ended = true},
      }
      local tasks = {}
      for i, wait in ipairs(expected) do
        tasks[i] = lull.spawn(table.unpack(wait, 2))
      end
      helper.turns(20)
      for i, wait in ipairs(expected) do
        local told = tostring(tasks[i])
        if not (wait.ended and tasks[i]:done()) then
          assert.truthy(told:find("(waiting: " .. wait[1], 1, true), told)
        end
        tasks[i]:close()
      end
      a:close()
      b:close()
      listener:close()
    end, {real = true})
  end)

  it("is told by the objects", function()
    local patterns = {
      [lull.lock()] = "^lock %(free%): ",
      [lull.event()] = "^event %(not set%): ",
      [lull.condition()] = "^condition %(free%): ",
      [lull.semaphore(1)] = "^semaphore %(1 free%): ",
      [lull.semaphore(1, 2)] = "^semaphore %(1 of 2 free%): ",
      [lull.barrier(2)] = "^barrier %(for 2%): ",
      [lull.queue()] = "^queue %(0 items%): ",
      [lull.lifo_queue()] = "^lifo_queue %(0 items%): ",
      [lull.priority_queue()] = "^priority_queue %(0 items%): ",
      [lull.task_local "x"] = "^task_local %(x%): ",
    }
    for object, pattern in pairs(patterns) do
      assert.matches(pattern, tostring(object))
    end
    local q <close> = lull.queue()
    q:try_put(1)
    assert.matches("^queue %(1 item%): ", tostring(q))
    q:close()
    assert.matches("^queue %(1 item, closed%): ", tostring(q))
  end)
end)
