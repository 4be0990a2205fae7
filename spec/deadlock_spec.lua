-- A program in which tasks wait and nothing can wake one ends with a report: who they
-- are, where they stand, what they await.
local helper = require "spec.helper"
local lull = helper.lull

-- The deadlock that fn ends in; no deadline, for a timer could wake somebody.
local function deadlock(fn)
  return tostring(helper.failure(fn, {guard = false}))
end

describe("a deadlock", function()
  it("is raised by run, and says so", function()
    assert.matches("deadlock", deadlock(function() lull.future():await() end))
  end)

  it("tells name, stack and what is awaited of each task", function()
    local main_line, worker_line
    local report = deadlock(function()
      local future = lull.future()
      lull.current():name "boss"
      local function wait_for_it()
        worker_line = helper.line() + 1
        future:await()
      end
      local worker = lull.spawn(function() wait_for_it() end)
      worker:name "worker"
      main_line = helper.line() + 1
      worker:await()
    end)
    assert.matches('"boss"', report)
    assert.matches('"worker"', report)
    assert.matches("deadlock_spec.lua:" .. main_line .. "%f[%D]", report)
    assert.matches("deadlock_spec.lua:" .. worker_line .. "%f[%D]", report)
    assert.matches("wait_for_it", report)
    assert.matches('"boss"[^\n]*worker', report) -- it awaits the task of that name
    assert.matches('"worker"[^\n]*future', report)
  end)

  it("shows the nested coroutine in which a task waits", function()
    local line
    local report = deadlock(function()
      coroutine.wrap(function()
        line = helper.line() + 1
        lull.future():await()
      end)()
    end)
    assert.matches("deadlock_spec.lua:" .. line .. "%f[%D]", report)
  end)

  it("cancels all tasks, whose cleanup runs and may suspend", function()
    local log = {}
    local report = deadlock(function()
      local function stuck(name)
        local _ <close> = helper.closer(function(_, err)
          lull.shield(lull.sleep, 1)
          log[name] = lull.is_cancelled(err)
        end)
        lull.future():await()
      end
      lull.spawn(stuck, "a")
      lull.spawn(stuck, "b"):daemon()
      stuck "main"
    end)
    assert.matches("deadlock", report)
    assert.same({a = true, b = true, main = true}, log)
  end)

  it("is raised although main catches its cancellation and ends well", function()
    assert.matches("deadlock", deadlock(function()
      pcall(lull.await, lull.future())
      return "fine"
    end))
  end)

  it("is one when two tasks await each other, and when one awaits itself", function()
    assert.matches("deadlock", deadlock(function()
      local one, two
      one = lull.spawn(function() two:await() end)
      two = lull.spawn(function() one:await() end)
      pcall(two.await, two)
    end))
    helper.failure(function() lull.current():await() end, {guard = false})
  end)

  it("is one when only a daemon is left that waits with main", function()
    assert.matches("deadlock", deadlock(function()
      local future = lull.future()
      lull.spawn(future.await, future):daemon()
      future:await()
    end))
  end)

  it("is none while a timer runs", function()
    helper.run(function()
      local future = lull.future()
      lull.loop():call_later(1000, function() future:set_result() end)
      future:await()
      lull.timeout(1000, lull.await, lull.future())
    end, {guard = false})
  end)

  it("is none while another task sleeps or is ready", function()
    helper.run(function()
      local future = lull.future()
      lull.spawn(function()
        helper.turns(1000)
        lull.sleep(1000)
        future:set_result()
      end)
      future:await()
    end, {guard = false})
  end)

  it("is none while somebody waits for a descriptor", function()
    helper.run(function()
      local a, b = lull.net.pair()
      local reader = lull.spawn(a.read, a)
      lull.loop():call_soon(function()
        lull.loop():call_soon(function() b:close() end)
      end)
      assert.is_nil(reader:await())
      a:close()
    end, {guard = false})
  end)

  it("is none when only daemons are left", function()
    helper.run(function()
      lull.spawn(lull.await, lull.future()):daemon()
      lull.sleep(1)
    end, {guard = false})
  end)

  it("leaves the loop in good order", function()
    local loop <close> = lull.new_loop {clock = "virtual"}
    for _ = 1, 3 do
      assert.is_false(pcall(loop.run_until_complete, loop, function()
        lull.future():await()
      end))
      assert.equal("well", loop:run_until_complete(function()
        lull.sleep(1)
        return "well"
      end))
    end
  end)
end)

describe("the deadlock of a script", function()
  it("is told on stderr, and the exit code is 1", function()
    local out, err, code = helper.child [[
      local future = lull.future()
      lull.spawn(function() future:await() end):name "stuck"
      print "main ends"
    ]]
    assert.same({"main ends\n", 1}, {out, code})
    assert.matches("deadlock", err)
    assert.matches('"stuck"', err)
    assert.matches("script.lua:2", err)
  end)

  it("names the main task and its line", function()
    local out, err, code = helper.child "\nlull.future():await()\nprint 'not reached'"
    assert.same({"", 1}, {out, code})
    assert.matches("deadlock", err)
    assert.matches("main", err)
    assert.matches("script.lua:2", err)
  end)
end)
