-- Groups in the function form: children belong to it, their failures end it, nobody is
-- left when it is left.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

-- Sleeps until it is cancelled, then cleans up for some seconds and notes its name.
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

describe("lull.group(fn)", function()
  it("hands its group to fn, waits for the children, returns fn's results", function()
    run(function()
      local start, log = lull.now(), {}
      assert.same({1, nil, 3}, {lull.group(function(...)
        assert.equal(1, select("#", ...))
        local g = ...
        for i = 1, 3 do
          g:spawn(function(x) lull.sleep(i) log[#log + 1] = x end, i)
        end
        assert.matches("group", tostring(g):lower())
        return 1, nil, 3
      end)})
      assert.same({1, 2, 3}, log)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("spawns tasks with results", function()
    run(function()
      lull.group(function(g)
        local function count(...) lull.sleep(1) return select("#", ...), ... end
        assert.same({2, nil, 2}, {g:spawn(count, nil, 2):await()})
      end)
    end)
  end)

  it("waits for children of children that join it late", function()
    run(function()
      local log = {}
      lull.group(function(g)
        g:spawn(function()
          lull.sleep(1)
          g:spawn(function()
            lull.sleep(1)
            log[#log + 1] = "grandchild"
          end)
        end)
      end)
      assert.same({"grandchild"}, log)
    end)
  end)

  it("raises the first error of a child, the same object", function()
    run(function()
      local err = {}
      local start = lull.now()
      local ok, got = pcall(lull.group, function(g)
        g:spawn(fail, 2, {})
        g:spawn(fail, 1, err)
        lull.sleep(100)
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.equal(start + 1, lull.now())
    end)
  end)

  it("cancels siblings and body when a child fails, and waits for them", function()
    run(function()
      local log, start = {}, lull.now()
      local ok, err = pcall(lull.group, function(g)
        g:spawn(stubborn, log, "a", 2)
        g:spawn(stubborn, log, "b", 3)
        g:spawn(fail, 1, "E")
        stubborn(log, "body", 1)
      end)
      assert.same({false, "E"}, {ok, err})
      assert.same({"body:true", "a:true", "b:true"}, log)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("raises the error of a child although the body had ended well", function()
    run(function()
      assert.same({false, "E"}, {pcall(lull.group, function(g)
        g:spawn(fail, 1, "E")
        return "well"
      end)})
    end)
  end)

  it("raises it although the body has caught it", function()
    run(function()
      assert.same({false, "E"}, {pcall(lull.group, function(g)
        local child = g:spawn(fail, 1, "E")
        pcall(child.await, child)
        return "well"
      end)})
    end)
  end)

  it("cancels the children when the body fails", function()
    run(function()
      local log, err, start = {}, {}, lull.now()
      local ok, got = pcall(lull.group, function(g)
        g:spawn(stubborn, log, "a", 2)
        lull.sleep(1)
        error(err)
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({"a:true"}, log)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("tells later errors, but not the same one, to on_unhandled", function()
    local reports, first, second = {}, {"first"}, {"second"}
    run(function()
      local function cleanup_fails(err)
        local _ <close> = helper.closer(function() error(err) end)
        lull.sleep(100)
      end
      local ok, got = pcall(lull.group, function(g)
        g:spawn(cleanup_fails, second)
        g:spawn(cleanup_fails, first)
        g:spawn(lull.sleep, 100)
        g:spawn(fail, 1, first)
        lull.sleep(100)
      end)
      assert.is_false(ok)
      assert.equal(first, got)
      lull.sleep(5)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal(second, reports[1].err)
  end)

  it("does not take the cancellation of one child for a failure", function()
    run(function()
      local log = {}
      lull.group(function(g)
        local child = g:spawn(lull.sleep, 100)
        g:spawn(function() lull.sleep(2) log[#log + 1] = "sibling" end)
        lull.sleep(1)
        child:cancel()
      end)
      assert.same({"sibling"}, log)
    end)
  end)
end)

describe("group:cancel", function()
  it("cancels body and children, and ends here", function()
    run(function()
      local log = {}
      assert.same({nil, "ECANCELED: enough", "ECANCELED"}, {lull.group(function(g)
        g:spawn(stubborn, log, "a", 1)
        lull.loop():call_later(1, function() g:cancel "enough" end)
        stubborn(log, "body", 0.5)
      end)})
      assert.same({"body:true", "a:true"}, log)
      lull.sleep(1)
    end)
  end)

  it("by a child cancels that child too", function()
    run(function()
      local child
      local _, message = lull.group(function(g)
        child = g:spawn(function()
          g:cancel "child"
          lull.sleep(1)
        end)
        lull.sleep(100)
      end)
      assert.equal("ECANCELED: child", message)
      assert.equal("cancelled", child:status())
    end)
  end)

  it("after the body has ended lets its results stand", function()
    run(function()
      local log = {}
      assert.equal("body", lull.group(function(g)
        g:spawn(stubborn, log, "a", 1)
        lull.loop():call_later(1, function() g:cancel() end)
        return "body"
      end))
      assert.same({"a:true"}, log)
    end)
  end)

  it("makes spawn give tasks that are cancelled already", function()
    run(function()
      local ran = false
      lull.group(function(g)
        g:cancel "over"
        local task = g:spawn(function() ran = true end)
        assert.is_true(task:cancelled())
        assert.matches("^ECANCELED: ", task:error())
      end)
      lull.sleep(1)
      assert.is_false(ran)
    end)
  end)

  it("of an ended group does nothing, and spawn raises", function()
    run(function()
      local kept
      lull.group(function(g) kept = g end)
      kept:cancel()
      lull.sleep(1)
      local ok, err = pcall(kept.spawn, kept, print)
      assert.is_false(ok)
      assert.matches("group", err)
    end)
  end)
end)

describe("the cancellation of an outer scope", function()
  it("reaches the children; the wait completes, then it raises", function()
    run(function()
      local log, start, after = {}, lull.now(), false
      local _, _, code = lull.timeout(1, function()
        lull.group(function(g)
          g:spawn(stubborn, log, "a", 2)
          g:spawn(stubborn, log, "b", 3)
        end)
        after = true
      end)
      assert.equal("ETIMEDOUT", code)
      assert.is_false(after)
      assert.same({"a:true", "b:true"}, log)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("wins over the group's own", function()
    run(function()
      local _, message = lull.scope(function(s)
        lull.group(function(g)
          g:cancel "group"
          s:cancel "outer"
          lull.sleep(1)
        end)
        error "not reached"
      end)
      assert.equal("ECANCELED: outer", message)
    end)
  end)

  it("does not lose the error of a child", function()
    local reports, raised = {}, nil
    run(function()
      local _
      _, raised = pcall(lull.timeout, 1, lull.group, function(g)
        g:spawn(function()
          local _ <close> = helper.closer(function() error("cleanup", 0) end)
          lull.sleep(100)
        end)
      end)
    end, {reports = reports})
    assert.equal("cleanup", raised or reports[1].err)
  end)

  it("does not keep a group from running its function", function()
    run(function()
      local task
      assert.equal("ran", lull.scope(function(s)
        s:cancel()
        return lull.group(function(g)
          task = g:spawn(print)
          return "ran"
        end)
      end))
      assert.is_true(task:cancelled())
    end)
  end)
end)

describe("nested groups", function()
  it("an error goes up through both, once", function()
    local reports = {}
    run(function()
      local err = {}
      local log = {}
      local ok, got = pcall(lull.group, function(outer)
        outer:spawn(stubborn, log, "outer", 1)
        outer:spawn(function()
          lull.group(function(inner)
            inner:spawn(stubborn, log, "inner", 2)
            inner:spawn(fail, 1, err)
          end)
        end)
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({"inner:true", "outer:true"}, log)
      lull.sleep(5)
    end, {reports = reports})
    assert.same({}, reports)
  end)

  it("the inner one may be caught, the outer one goes on", function()
    run(function()
      assert.equal("outer", lull.group(function(outer)
        assert.is_false(pcall(lull.group, function(inner) inner:spawn(fail, 1, "E") end))
        return outer:spawn(function() lull.sleep(1) return "outer" end):await()
      end))
    end)
  end)
end)
