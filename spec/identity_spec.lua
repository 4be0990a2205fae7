-- What tasks tell of themselves: names, numbers, tostring, tracebacks; who is the current
-- one and which are alive; coroutine.yield in a task's own body.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("a task", function()
  it("has a number of its own", function()
    run(function()
      local seen = {}
      for _ = 1, 10 do
        local id = lull.spawn(function() end):id()
        assert.equal("integer", math.type(id))
        assert.is_nil(seen[id])
        seen[id] = true
      end
    end)
  end)

  it("can be named", function()
    run(function()
      local task = lull.spawn(function() return lull.current():name() end)
      assert.is_string(task:name())
      assert.equal("worker", task:name "worker")
      assert.equal("worker", task:name())
      assert.matches('^task ' .. task:id() .. ' "worker"', tostring(task))
      assert.equal("worker", task:await())
    end)
  end)

  it("says in tostring what it is doing and where", function()
    run(function()
      local future, here = lull.future(), nil
      local task = lull.spawn(function()
        here = helper.line() + 1
        lull.sleep(5)
        pcall(future.await, future)
      end)
      task:name "worker"
      assert.matches('^task %d+ "worker" %(', tostring(task))
      lull.sleep(1)
      assert.matches("waiting: .*identity_spec.lua:" .. here .. "%)$", tostring(task))
      assert.matches("sleep", tostring(task))
      lull.sleep(5)
      assert.matches("identity_spec.lua:" .. here + 1 .. "%)$", tostring(task))
      assert.matches("future", tostring(task))
      future:set_result()
      task:await()
      assert.matches('^task %d+ "worker" %(finished', tostring(task))
      assert.matches("running", tostring(lull.current()))
    end)
  end)

  it("shows in tostring how it ended", function()
    run(function()
      local failing = lull.spawn(error, "x")
      local cut = lull.spawn(lull.sleep, 10)
      lull.sleep(0)
      cut:cancel()
      pcall(cut.await, cut)
      pcall(failing.await, failing)
      assert.matches("cancelled", tostring(cut))
      assert.is_string(tostring(failing))
      assert.not_equal(tostring(cut), tostring(failing))
    end)
  end)

  it("daemon() returns the task", function()
    run(function()
      local task = lull.spawn(lull.sleep, 1)
      assert.equal(task, task:daemon())
    end)
  end)
end)

describe("every object", function()
  it("says in tostring what it is", function()
    run(function()
      local lock, semaphore = lull.lock(), lull.semaphore(3)
      local a, b <close> = lull.net.pair()
      local s <close> = lull.scope()
      local objects = {
        {"loop", lull.loop()}, {"handle", lull.loop():call_soon(function() end)},
        {"scope.*open", s},
        {"future.*pending", lull.future()}, {"lock.*free", lull.lock()},
        {"guard.*holds", lock:acquire()}, {"lock.*held", lock}, {"event", lull.event()},
        {"condition", lull.condition()}, {"semaphore", semaphore},
        {"permit", semaphore:acquire()}, {"barrier.*2", lull.barrier(2)},
        {"queue.*0", lull.queue()}, {"priority.*queue.*0", lull.priority_queue()},
        {"lifo.*queue.*0", lull.lifo_queue()}, {"local", lull.task_local()},
        {"selector", lull.selectors.default()},
        {"group.*0", lull.group {detached = true}},
        {"generator", (select(4, lull.generator(print)))}, {"stream", a},
        {"defer", lull.defer(print)}, {"task", lull.current()},
      }
      for _, pair in ipairs(objects) do
        local text = tostring(pair[2])
        assert.matches(pair[1], text:lower())
        assert.not_matches("userdata", text)
        assert.not_matches("^table", text)
      end
      a:close()
      assert.is_string(tostring(b))
    end)
  end)
end)

describe("lull.current", function()
  it("is the task that runs, also in its nested coroutines", function()
    run(function()
      local main = lull.current()
      local task
      task = lull.spawn(function()
        assert.equal(task, lull.current())
        lull.sleep(1)
        assert.equal(task, lull.current())
        local nested = coroutine.wrap(function()
          coroutine.yield(lull.current())
          lull.sleep(1)
          return lull.current()
        end)
        assert.equal(task, nested())
        assert.equal(task, nested())
      end)
      task:await()
      assert.equal(main, lull.current())
      assert.not_equal(main, task)
    end)
  end)

  it("is nil outside of tasks", function()
    assert.is_nil(lull.current())
    run(function()
      local inside = "not called"
      lull.loop():call_soon(function() inside = lull.current() end)
      lull.sleep(0)
      assert.is_nil(inside)
    end)
  end)
end)

describe("lull.tasks", function()
  it("lists those that live", function()
    run(function()
      local a = lull.spawn(lull.sleep, 1)
      local b = lull.spawn(lull.sleep, 2)
      local function set()
        local found = {}
        for _, task in ipairs(lull.tasks()) do
          assert.is_nil(found[task])
          found[task] = true
        end
        return found
      end
      assert.same({[lull.current()] = true, [a] = true, [b] = true}, set())
      lull.sleep(1.5)
      assert.same({[lull.current()] = true, [b] = true}, set())
      b:close()
      assert.same({[lull.current()] = true}, set())
    end)
  end)
end)

describe("coroutine.yield in a task's own body", function()
  it("gives the others one turn", function()
    run(function()
      local log = {}
      local other = lull.spawn(function()
        for i = 1, 3 do
          log[#log + 1] = "other " .. i
          coroutine.yield()
        end
      end)
      for i = 1, 3 do
        log[#log + 1] = "main " .. i
        assert.equal(0, select("#", coroutine.yield()))
      end
      other:await()
      assert.same({"main 1", "other 1", "main 2", "other 2", "main 3", "other 3"}, log)
    end)
  end)

  it("awaits a future or task", function()
    run(function()
      local future = lull.future()
      lull.loop():call_later(1, function() future:set_result(1, nil, 3) end)
      assert.same({1, nil, 3}, {coroutine.yield(future)})
      assert.equal("t", coroutine.yield(lull.spawn(function() return "t" end)))
      local err = {}
      local failed = lull.future()
      failed:set_error(err)
      assert.equal(err, select(2, pcall(coroutine.yield, failed)))
    end)
  end)

  it("refuses any other value", function()
    run(function()
      for _, value in ipairs {1, "x", true, {}, print} do
        local ok, err = pcall(coroutine.yield, value)
        assert.is_false(ok)
        assert.is_string(err)
      end
    end)
  end)

  it("is a suspending call: a cancelled scope raises", function()
    run(function()
      local _, message, code = lull.scope(function(s)
        s:cancel "stop"
        coroutine.yield()
      end)
      assert.same({"ECANCELED: stop", "ECANCELED"}, {message, code})
    end)
  end)
end)
