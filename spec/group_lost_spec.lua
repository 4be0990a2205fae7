-- Groups where nobody can wait: in callbacks of Lua, in tasks that are closed the hard
-- way, at the end of a loop, in coroutines that are paused, left or lost.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local stubborn, fail, fail_in_cleanup, both =
  cast.stubborn, cast.fail, cast.fail_in_cleanup, cast.both

describe("a group where nobody can wait", function()
  it("is refused by name, and its children are cancelled", function()
    run(function()
      local log = {}
      local ok, err = pcall(table.sort, {2, 1}, function(a, b)
        lull.group(function(g) g:spawn(stubborn, log, "child", 0) end)
        return a < b
      end)
      assert.is_false(ok)
      assert.matches("sort", err)
      lull.sleep(1)
      assert.same({}, log) -- it had not begun
    end)
  end)

  it("works as long as it has no children", function()
    run(function()
      local list = {3, 1, 2}
      table.sort(list, function(a, b)
        return lull.group(function(g)
          assert.matches("open", tostring(g))
          return a < b
        end)
      end)
      assert.same({1, 2, 3}, list)
    end)
  end)

  it("lets the error of its body pass", function()
    local reports = {}
    run(function()
      local ok, err = pcall(table.sort, {2, 1}, function()
        local g <close> = lull.group()
        g:spawn(lull.sleep, 100)
        error("body", 0)
      end)
      assert.same({false, "body"}, {ok, err})
      lull.sleep(1)
    end, {reports = reports})
    assert.same({}, reports)
  end)

  it("cannot be opened outside of tasks, nor closed while it has children", function()
    assert.is_false(pcall(lull.group))
    assert.is_false(pcall(lull.group, function() end))
    local detached = lull.group {detached = true}
    assert.is_false(pcall(detached.spawn, detached, print))
    run(function()
      local log = {}
      local g = lull.group {detached = true}
      g:spawn(stubborn, log, "child", 1)
      lull.sleep(0)
      local failure
      lull.loop():call_soon(function() failure = select(2, pcall(g.close, g)) end)
      lull.sleep(0)
      assert.matches("outside of a task", failure)
      lull.sleep(2)
      assert.same({"child:true"}, log)
    end)
  end)

  it("ends with a task that is closed the hard way, its children cancelled", function()
    local reports = {}
    run(function()
      for _, form in both(function(g)
        g:spawn(lull.sleep, 1000):name "child"
        while true do pcall(lull.sleep, 1) end
      end) do
        local task = lull.spawn(form)
        lull.sleep(1)
        task:cancel()
        assert.is_false(pcall(task.await, task))
        lull.sleep(1)
        assert.equal(1, #lull.tasks())
      end
    end, {reports = reports})
    assert.equal(2, #reports)
  end)

  it("is still there when the closers of such a task collect garbage", function()
    local reports = {}
    run(function()
      for _, call in ipairs {lull.group, lull.scope, lull.shield} do
        local task = lull.spawn(function()
          local _ <close> = helper.closer(function() collectgarbage() end)
          call(function(g)
            if call == lull.group then g:spawn(lull.sleep, 100) end
            lull.current():cancel()
            while true do pcall(lull.spawn(lull.sleep, 0).await, lull.future()) end
          end)
        end)
        if call == lull.shield then task:cancel() end
        pcall(task.await, task)
      end
    end, {reports = reports})
    assert.equal(2, #reports)
  end)

  it("keeps the failure of a child of such a task", function()
    local reports, told = {}, nil
    run(function()
      local task = lull.spawn(function()
        lull.group(function(g)
          g:spawn(fail, 1, "lost")
          while true do pcall(lull.sleep, 1) end
        end)
      end)
      told = tostring(select(2, pcall(task.await, task)))
      lull.sleep(3)
    end, {reports = reports})
    for _, report in ipairs(reports) do told = told .. "\n" .. tostring(report.err) end
    assert.matches("ignored", told)
    assert.matches("lost", told) -- raised by await, or told to on_unhandled
  end)

  it("ends with its loop", function()
    local log, detached = {}, lull.group {detached = true}
    local loop = lull.new_loop {clock = "virtual"}
    loop:run_until_complete(function()
      lull.spawn(lull.group, function(g) g:spawn(stubborn, log, "function", 1) end)
      lull.spawn(function()
        local g <close> = lull.group()
        g:spawn(stubborn, log, "block", 2)
      end)
      detached:spawn(stubborn, log, "detached", 3)
      lull.sleep(1)
    end)
    loop:close()
    assert.same({"function:true", "block:true", "detached:true"}, log)
  end)

  it("ends with its loop, though a child can never be woken", function()
    local closed = 0
    local loop = lull.new_loop {clock = "virtual"}
    loop:on_unhandled(function() end)
    loop:run_until_complete(function()
      for _, form in both(function(g)
        g:spawn(function()
          local _ <close> = helper.closer(function() closed = closed + 1 end)
          lull.shield(lull.await, lull.future())
        end)
      end) do
        lull.spawn(form)
      end
      lull.sleep(1)
    end)
    loop:close()
    assert.equal(2, closed)
  end)
end)

describe("a group of a generator", function()
  it("goes on while that is paused, and ends with it", function()
    run(function()
      local log = {}
      local step = coroutine.wrap(function()
        local g <close> = lull.group()
        g:spawn(function() lull.sleep(1) log[#log + 1] = "child" end)
        coroutine.yield "first"
        g:spawn(function() lull.sleep(3) log[#log + 1] = "second child" end)
        return "last"
      end)
      assert.equal("first", step())
      lull.sleep(2)
      assert.same({"child"}, log)
      assert.equal("last", step())
      assert.same({"child", "second child"}, log)
    end)
  end)

  it("tells a failure when it goes on, and only then", function()
    run(function()
      local reached = false
      local step = coroutine.wrap(function()
        lull.group(function(g)
          g:spawn(fail, 1, "child")
          coroutine.yield "first"
          lull.sleep(5)
          reached = true
        end)
      end)
      assert.equal("first", step())
      lull.sleep(3)
      assert.same({false, "child"}, {pcall(step)})
      assert.is_false(reached)
    end)
  end)

  it("is waited for when lull.generator is left", function()
    run(function()
      local log, start = {}, lull.now()
      for v in lull.generator(function()
        local g <close> = lull.group()
        g:spawn(stubborn, log, "child", 2)
        lull.sleep(1)
        coroutine.yield "v"
        coroutine.yield "w"
      end) do
        if v == "v" then break end
      end
      assert.same({"child:true"}, log)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("is cancelled by coroutine.close", function()
    local reports = {}
    run(function()
      local log = {}
      local co = coroutine.create(function()
        local g <close> = lull.group()
        g:spawn(stubborn, log, "child", 2)
        g:spawn(fail_in_cleanup, "alone")
        lull.sleep(1)
        coroutine.yield()
      end)
      assert(coroutine.resume(co))
      assert.is_true(coroutine.close(co))
      lull.sleep(5)
      assert.same({"child:true"}, log)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal("alone", reports[1].err)
  end)

  it("is cancelled when that is collected, a failure is not lost", function()
    local reports = {}
    run(function()
      local log = {}
      local function start()
        local step = coroutine.wrap(function()
          lull.group(function(g)
            g:spawn(stubborn, log, "child", 2)
            g:spawn(function() lull.sleep(1) error("lost", 0) end)
            coroutine.yield()
          end)
        end)
        step()
        return step
      end
      start()
      lull.sleep(0.5)
      collectgarbage()
      collectgarbage()
      lull.sleep(3)
      assert.same({"child:true"}, log)
      local kept = start()
      lull.sleep(5)
      assert.same({"child:true", "child:true"}, log)
      assert.is_function(kept)
      kept = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      lull.sleep(2)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal("lost", reports[1].err)
  end)

  it("that dies of a cancellation goes on alone, cancelled", function()
    run(function()
      local log = {}
      lull.timeout(1, function()
        coroutine.wrap(function()
          local g <close> = lull.group()
          g:spawn(stubborn, log, "child", 2)
          lull.sleep(100)
        end)()
      end)
      lull.sleep(5)
      assert.same({"child:true"}, log)
    end)
  end)
end)
