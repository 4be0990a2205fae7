-- How groups end: who wins when several things go wrong, and what may still happen while
-- the children are waited for.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local fail, fail_in_cleanup, both = cast.fail, cast.fail_in_cleanup, cast.both

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
