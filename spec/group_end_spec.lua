-- How groups end: who wins when several things go wrong, what cannot be waited for, and
-- groups of coroutines that are paused, left or lost.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

local function stubborn(log, name, seconds)
  local _ <close> = helper.closer(function(_, err)
    lull.shield(lull.sleep, seconds)
    log[#log + 1] = name .. ":" .. tostring(lull.is_cancelled(err))
  end)
  lull.sleep(1000)
end

local function fail(seconds, err)
  lull.sleep(seconds)
  error(err, 0)
end

-- Fails while it is being cancelled.
local function fail_in_cleanup(err)
  local _ <close> = helper.closer(function() error(err, 0) end)
  lull.sleep(1000)
end

-- Runs fn(g) in the function form and as a block: what is true of one is true of both.
local function both(fn)
  return ipairs {
    function() return lull.group(fn) end,
    function()
      local g <close> = lull.group()
      return fn(g)
    end,
  }
end

describe("the outcome of a group", function()
  it("is the error of the body, when a child fails after it", function()
    local reports = {}
    run(function()
      for _, form in both(function(g)
        g:spawn(fail_in_cleanup, "child")
        lull.sleep(1)
        error("body", 0)
      end) do
        assert.same({false, "body"}, {pcall(form)})
      end
    end, {reports = reports})
    assert.equal(2, #reports)
    for _, report in ipairs(reports) do
      assert.equal("child", report.err)
      assert.matches("spawned at", report.traceback)
      assert.equal("finished", report.task:status())
    end
  end)

  it("is the error of the child, when the body fails after it", function()
    local reports = {}
    run(function()
      for _, form in both(function(g)
        g:spawn(fail, 1, "child")
        fail_in_cleanup "body"
      end) do
        assert.same({false, "child"}, {pcall(form)})
      end
    end, {reports = reports})
    assert.equal(2, #reports)
    for _, report in ipairs(reports) do assert.equal("body", report.err) end
  end)

  it("is told once when body and child fail of the same", function()
    run(function()
      local err = {}
      for _, form in both(function(g)
        g:spawn(fail_in_cleanup, err)
        lull.sleep(1)
        error(err)
      end) do
        assert.equal(err, select(2, pcall(form)))
      end
    end)
  end)

  it("is told at once to on_unhandled where it comes too late", function()
    local reports = {}
    run(function()
      pcall(lull.group, function(g)
        g:spawn(fail_in_cleanup, "second")
        g:spawn(fail, 1, "first")
      end)
      assert.equal("second", reports[1].err)
    end, {reports = reports})
    assert.equal(1, #reports)
  end)

  it("leaves alone what somebody awaits, though it comes late", function()
    run(function()
      local got
      pcall(lull.group, function(g)
        local child = g:spawn(fail_in_cleanup, "second")
        lull.spawn(function() got = select(2, pcall(child.await, child)) end)
        g:spawn(fail, 1, "first")
      end)
      lull.sleep(0)
      assert.equal("second", got)
    end)
  end)

  it("is the error of a child also when the group was cancelled", function()
    run(function()
      for _, form in both(function(g)
        g:spawn(fail_in_cleanup, "child")
        lull.sleep(1)
        g:cancel "enough"
        lull.sleep(1)
      end) do
        assert.same({false, "child"}, {pcall(form)})
      end
    end)
  end)

  it("is a child's error that is no string, and nil told as a string", function()
    run(function()
      assert.same({false, 42}, {pcall(lull.group, function(g) g:spawn(error, 42) end)})
      local ok, err = pcall(lull.group, function(g) g:spawn(error) end)
      assert.is_false(ok)
      assert.matches("nil", err)
      assert.same({false}, {pcall(lull.group, function() error() end)})
    end)
  end)

  it("tells where the child failed", function()
    local reports = {}
    run(function()
      lull.spawn(function()
        lull.group(function(g) g:spawn(function() error "deep" end) end)
      end)
      lull.sleep(2)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.matches("deep", reports[1].err)
    assert.matches("function 'error'.*spawned at .*group_end_spec", reports[1].traceback)
  end)

  it("is the outer cancellation, when it came while children were waited for", function()
    run(function()
      for _, form in both(function(g)
        g:spawn(function() lull.shield(lull.sleep, 3) end)
        return "well"
      end) do
        local start, after = lull.now(), false
        assert.equal("ETIMEDOUT", select(3, lull.timeout(1, function()
          form()
          after = true
        end)))
        assert.is_false(after)
        assert.equal(start + 3, lull.now())
      end
    end)
  end)

  it("is the outer cancellation, though the group was cancelled before", function()
    run(function()
      for _, form in both(function(g)
        g:spawn(function() lull.shield(lull.sleep, 3) end)
        lull.sleep(0)
        g:cancel "group"
        lull.sleep(1)
      end) do
        local after = false
        assert.equal("ECANCELED: outer", select(2, lull.scope(function(s)
          lull.loop():call_later(1, function() s:cancel "outer" end)
          pcall(form)
          after = true
          lull.sleep(1)
        end)))
        assert.is_true(after) -- pcall catches what is raised
        after = false
        assert.equal("ECANCELED", select(3, lull.scope(function(s)
          lull.loop():call_later(1, function() s:cancel "outer" end)
          form()
          after = true
        end)))
        assert.is_false(after)
      end
    end)
  end)

  it("is what the body returned, when nobody had to be waited for", function()
    run(function()
      for _, form in both(function(g)
        g:spawn(lull.sleep, 0):await()
        return "well"
      end) do
        assert.equal("well", lull.scope(function(s)
          return form(), s:cancel()
        end))
      end
      assert.equal("well", lull.scope(function(s)
        return lull.group(function(g)
          s:cancel()
          pcall(lull.sleep, 1)
          g:cancel()
          return "well"
        end)
      end))
    end)
  end)

  it("is not changed by a shield inside", function()
    run(function()
      local log = {}
      assert.equal("ECANCELED", select(3, lull.group(function(g)
        g:spawn(function()
          lull.shield(lull.sleep, 2)
          log[#log + 1] = "shielded"
          lull.sleep(1)
          log[#log + 1] = "not reached"
        end)
        lull.sleep(1)
        g:cancel()
        lull.sleep(1)
      end)))
      assert.same({"shielded"}, log)
    end)
  end)

  it("of a group inside a shield is no outer cancellation", function()
    run(function()
      local start = lull.now()
      lull.timeout(1, function()
        assert.equal("whole", lull.shield(lull.group, function(g)
          g:spawn(lull.sleep, 3)
          return "whole"
        end))
        assert.equal(start + 3, lull.now())
      end)
    end)
  end)

  it("tells the line that called gather or race as the one that spawned", function()
    local reports, here = {}, nil
    run(function()
      local function broken() error "deep" end
      here = helper.line() + 2
      for _, name in ipairs {"gather", "race"} do
        lull.spawn(function() lull[name](broken, broken) end)
      end
      lull.sleep(2)
    end, {reports = reports})
    assert.equal(2, #reports)
    for _, report in ipairs(reports) do
      assert.matches("spawned at [^\n]*group_end_spec.lua:" .. here, report.traceback)
    end
  end)

  it("reaches the enclosing block unchanged through three groups", function()
    run(function()
      local err = setmetatable({}, {__tostring = function() return "odd" end})
      local function nest(n)
        lull.group(function(g)
          g:spawn(function()
            if n == 0 then error(err) end
            nest(n - 1)
          end)
        end)
      end
      assert.equal(err, select(2, pcall(nest, 3)))
    end)
  end)
end)

describe("a group that is being left", function()
  it("takes children from outside until the last has ended", function()
    run(function()
      local log, kept = {}, nil
      lull.loop():call_later(1, function()
        kept:spawn(function() lull.sleep(2) log[#log + 1] = "from a callback" end)
      end)
      lull.spawn(function()
        lull.sleep(2)
        kept:spawn(function() lull.sleep(2) log[#log + 1] = "from a task" end)
      end)
      local start = lull.now()
      lull.group(function(g)
        kept = g
        g:spawn(lull.sleep, 1.5)
      end)
      assert.same({"from a callback", "from a task"}, log)
      assert.equal(start + 4, lull.now())
      assert.is_false(pcall(kept.spawn, kept, print))
    end)
  end)

  it("says so", function()
    run(function()
      local kept
      local task = lull.spawn(function()
        lull.group(function(g)
          kept = g
          assert.equal("group (open, 0 children)", tostring(g))
          g:spawn(lull.sleep, 1)
          g:spawn(lull.sleep, 1)
          assert.equal("group (open, 2 children)", tostring(g))
        end)
      end)
      lull.sleep(0.5)
      assert.equal("group (closing, 2 children)", tostring(kept))
      assert.matches("waiting: .*group", tostring(task))
      assert.matches("group_end_spec.lua", tostring(task))
      kept:cancel()
      assert.equal("group (cancelled, 2 children)", tostring(kept))
      task:await()
      assert.equal("group (ended, 0 children)", tostring(kept))
    end)
  end)

  it("costs no turns while it waits", function()
    run(function()
      local turns = 0
      local task = lull.spawn(function()
        lull.group(function(g)
          g:spawn(lull.shield, lull.sleep, 5)
          lull.sleep(1)
        end)
      end)
      lull.sleep(2)
      task:cancel()
      lull.spawn(function()
        while not task:done() do
          lull.sleep(1)
          turns = turns + 1
        end
      end)
      pcall(task.await, task)
      assert.equal(3, turns)
    end)
  end)

  it("does not forget a daemon that is one only since then", function()
    run(function()
      local start, task = lull.now(), nil
      lull.loop():call_later(1, function() task:daemon() end)
      lull.group(function(g) task = g:spawn(lull.sleep, 1000) end)
      assert.equal(start + 1, lull.now())
      assert.is_true(task:cancelled())
    end)
  end)

  it("waits for an ordinary child that a daemon spawns in its cleanup", function()
    run(function()
      local start, log = lull.now(), {}
      lull.group(function(g)
        g:spawn(function()
          local _ <close> = helper.closer(function()
            g:spawn(function()
              lull.sleep(2)
              log[#log + 1] = "late"
            end)
          end)
          lull.sleep(1000)
        end):daemon()
        g:spawn(lull.sleep, 1)
      end)
      assert.same({"late"}, log)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("cancels the daemons that a daemon spawns in its cleanup", function()
    run(function()
      local start = lull.now()
      lull.group(function(g)
        g:spawn(function()
          local _ <close> = helper.closer(function()
            g:spawn(lull.shield, lull.sleep, 1)
            g:spawn(lull.sleep, 1000):daemon()
          end)
          lull.sleep(1000)
        end):daemon()
        lull.sleep(1)
      end)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("cancels daemons at the end of every wait, also of those that come late", function()
    run(function()
      local kept
      local start = lull.now()
      lull.loop():call_later(1, function() kept:spawn(lull.sleep, 1000):daemon() end)
      lull.group(function(g)
        kept = g
        g:spawn(lull.sleep, 2)
      end)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("takes no children from a loop within", function()
    run(function()
      lull.group(function(g)
        local loop <close> = lull.new_loop {clock = "virtual"}
        loop:run_until_complete(function()
          local ok, err = pcall(g.spawn, g, print)
          assert.is_false(ok)
          assert.matches("loop", err)
        end)
      end)
    end)
  end)

  it("belongs to the coroutine that opened it", function()
    run(function()
      for _, open in ipairs {lull.group, lull.scope} do
        local block <close> = open()
        assert.is_false(pcall(coroutine.wrap(function() block:close() end)))
        local task = lull.spawn(block.close, block)
        assert.is_false(pcall(task.await, task))
        lull.sleep(0)
        open(function(inner)
          assert.is_false(pcall(inner.close, inner))
          lull.sleep(0)
        end)
      end
    end)
  end)

  it("may be left by close", function()
    run(function()
      local log = {}
      local g <close> = lull.group()
      g:spawn(function() lull.sleep(1) log[#log + 1] = "child" end)
      g:close()
      assert.same({"child"}, log)
      g:close()
      assert.is_false(pcall(g.spawn, g, print))
      lull.sleep(1)
    end)
  end)
end)

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

describe("a detached group", function()
  it("is cancelled when nobody has it any more", function()
    run(function()
      local log = {}
      lull.group({detached = true}):spawn(stubborn, log, "child", 1)
      lull.sleep(0)
      collectgarbage()
      collectgarbage()
      lull.sleep(2)
      assert.same({"child:true"}, log)
    end)
  end)

  it("may be made without a loop, and used on one after the other", function()
    local g = lull.group {detached = true}
    for i = 1, 2 do
      run(function()
        assert.equal(i, g:spawn(function() lull.sleep(1) return i end):await())
      end)
    end
    run(function() g:close() end)
    g:close()
    assert.is_false(pcall(g.spawn, g, print))
  end)

  it("is closed by several at once", function()
    run(function()
      local log, start = {}, lull.now()
      local g = lull.group {detached = true}
      g:spawn(stubborn, log, "child", 2)
      lull.sleep(1)
      local others = {lull.spawn(g.close, g), lull.spawn(g.close, g)}
      g:close()
      assert.equal(start + 3, lull.now())
      for _, task in ipairs(others) do task:await() end
      assert.same({"child:true"}, log)
    end)
  end)

  it("is closed to the end, though who closes it is cancelled", function()
    run(function()
      local log, start = {}, lull.now()
      local g = lull.group {detached = true}
      g:spawn(stubborn, log, "child", 3)
      lull.sleep(1)
      local after = false
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, function()
        g:close()
        after = true
        lull.sleep(1)
      end)))
      assert.is_true(after)
      assert.same({"child:true"}, log)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("cannot be closed by its own children", function()
    run(function()
      local g = lull.group {detached = true}
      local child = g:spawn(function() g:close() end)
      assert.is_false(pcall(child.await, child))
      local grandchild = g:spawn(function()
        lull.group(function(h) h:spawn(g.close, g) end)
      end)
      assert.is_false(pcall(grandchild.await, grandchild))
      g:close()
    end)
  end)

  it("takes a limit", function()
    run(function()
      local start = lull.now()
      local g = lull.group {detached = true, limit = 2}
      for _ = 1, 4 do g:spawn(lull.sleep, 1) end
      assert.equal(start + 1, lull.now())
      g:close()
    end)
  end)

  it("takes no function", function()
    run(function()
      assert.is_false(pcall(lull.group, {detached = true}, function() end))
    end)
  end)

  it("does not keep daemons from ending with the script", function()
    local out, err, code = helper.child [[
      g = lull.group {detached = true}
      g:spawn(function()
        local _ <close> = lull.defer(print, "cleaned")
        lull.sleep(1000)
      end):daemon()
      lull.sleep(1)
    ]]
    assert.same({"cleaned\n", "", 0}, {out, err, code})
  end)
end)

describe("a limit", function()
  it("makes spawn a suspending call", function()
    run(function()
      local ran = false
      lull.group({limit = 1}, function(g)
        local _, _, code = lull.scope(function(s)
          s:cancel()
          g:spawn(function() ran = true end)
        end)
        assert.equal("ECANCELED", code)
        assert.is_false(pcall(table.sort, {2, 1}, function() g:spawn(print) end))
      end)
      assert.is_false(ran)
    end)
  end)

  it("gives the place of a waiter cancelled after its turn to the next", function()
    run(function()
      local log = {}
      lull.group({limit = 1}, function(g)
        local child = g:spawn(lull.future().await, lull.future())
        local waiting = {}
        for i = 1, 3 do
          waiting[i] = lull.spawn(function()
            g:spawn(function() log[#log + 1] = i end)
          end)
        end
        lull.sleep(1)
        child:cancel()
        child:add_done_callback(function() waiting[1]:cancel() end)
      end)
      assert.same({2, 3}, log)
    end)
  end)

  it("lets nobody in before those who wait", function()
    run(function()
      local log = {}
      lull.group({limit = 1}, function(g)
        g:spawn(lull.sleep, 1)
        lull.spawn(function() g:spawn(function() log[#log + 1] = "waited" end) end)
        local barger = lull.spawn(function()
          lull.sleep(1) -- runs right after the child has ended
          g:spawn(function() log[#log + 1] = "came later" end)
        end)
        barger:await()
      end)
      assert.same({"waited", "came later"}, log)
    end)
  end)

  it("keeps nobody waiting whose task would be cancelled anyway", function()
    run(function()
      local start = lull.now()
      lull.group({limit = 1}, function(g)
        g:spawn(function() lull.shield(lull.sleep, 5) end)
        local waiting = lull.spawn(function()
          local task = g:spawn(print)
          assert.equal(start + 1, lull.now())
          return task
        end)
        lull.sleep(1)
        g:cancel()
        assert.is_true(lull.shield(waiting.await, waiting):cancelled())
      end)
      assert.equal(start + 5, lull.now())
    end)
  end)

  it("waits for those who wait to spawn, before the group ends", function()
    run(function()
      local log = {}
      lull.group({limit = 1}, function(g)
        for i = 1, 3 do
          lull.spawn(function()
            g:spawn(function() lull.sleep(1) log[#log + 1] = i end)
          end)
        end
        lull.sleep(0)
      end)
      assert.same({1, 2, 3}, log)
    end)
  end)

  it("is kept by children that spawn each other", function()
    run(function()
      local most, now, count = 0, 0, 0
      lull.group({limit = 2}, function(g)
        local function child(n)
          now = now + 1
          most = math.max(most, now)
          lull.sleep(1)
          if n > 0 then g:spawn(child, n - 1) end
          lull.sleep(0.5)
          now = now - 1
          count = count + 1
        end
        g:spawn(child, 5)
      end)
      assert.equal(6, count)
      assert.equal(2, most)
    end)
  end)

  it("a thousand times in a random order", function()
    for seed = 1, 50 do
      run(function()
        local now, most, count = 0, 0, 0
        lull.group({limit = 3}, function(g)
          for _ = 1, 20 do
            lull.spawn(function()
              g:spawn(function()
                now = now + 1
                most = math.max(most, now)
                lull.sleep(0)
                now = now - 1
                count = count + 1
              end)
            end)
          end
          lull.sleep(0)
        end)
        assert.equal(20, count)
        assert.equal(3, most)
      end, {seed = seed})
    end
  end)
end)
