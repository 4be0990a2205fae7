-- The fine print of task locals; what they are for is in permit_spec.lua.
local core = require "lull.core"
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("a task local", function()
  it("can be nil for a task although it has a default", function()
    run(function()
      local var = lull.task_local "default"
      assert.equal("default", var:set(nil))
      assert.is_nil(var:get())
      assert.is_nil(var:set "x")
      lull.spawn(function() assert.equal("x", var:get()) end):await()
    end)
  end)

  it("leaves the others alone when it is set", function()
    run(function()
      local a, b, c = lull.task_local(1), lull.task_local(2), lull.task_local(3)
      a:set "a"
      b:set "b"
      lull.spawn(function()
        assert.same({"a", "b", 3}, {a:get(), b:get(), c:get()})
        a:set "child"
        assert.same({"child", "b", 3}, {a:get(), b:get(), c:get()})
      end):await()
      assert.same({"a", "b", 3}, {a:get(), b:get(), c:get()})
    end)
  end)

  it("goes down through generations, from the moment of each spawn", function()
    run(function()
      local var, depth = lull.task_local(0), nil
      local function descend(n)
        var:set(var:get() + 1)
        if n > 1 then return lull.spawn(descend, n - 1):await() end
        depth = var:get()
      end
      lull.spawn(descend, 20):await()
      assert.equal(20, depth)
      assert.equal(0, var:get())
    end)
  end)

  it("is set inside of tasks only, and not inherited by callbacks", function()
    local var = lull.task_local "default"
    assert.is_false(pcall(var.set, var, 1))
    run(function()
      var:set "main"
      local inside, spawned, refused
      lull.loop():call_soon(function()
        inside, refused = var:get(), not pcall(var.set, var, 1)
        lull.spawn(function() spawned = var:get() end)
      end)
      lull.sleep(1)
      assert.same({"default", true, "default"}, {inside, refused, spawned})
    end)
  end)

  it("can be read in the cleanup of a task that is ended by force", function()
    local reports, seen = {}, nil
    run(function()
      local var = lull.task_local()
      local task = lull.spawn(function()
        var:set "still there"
        local _ <close> = helper.closer(function() seen = var:get() end)
        while true do pcall(lull.sleep, 1) end
      end)
      lull.sleep(0)
      task:close()
    end, {reports = reports})
    assert.equal("still there", seen)
  end)

  it("goes with its task: nothing is kept alive", function()
    run(function()
      local weak = setmetatable({}, {__mode = "v"})
      local before = core.census().held
      local var = lull.task_local()
      for i = 1, 3 do
        weak[i] = {}
        lull.spawn(function(value)
          var:set(value)
          lull.sleep(1)
        end, weak[i])
      end
      lull.sleep(0)
      assert.is_true(core.census().held > before)
      lull.sleep(2)
      assert.equal(before, core.census().held)
      collectgarbage()
      collectgarbage()
      assert.same({}, weak)
    end)
  end)

  it("is not found by a later task in the place of an earlier one", function()
    run(function()
      local var = lull.task_local "default"
      for _ = 1, 100 do
        lull.spawn(function() var:set "mine" end):await()
        collectgarbage "step"
        lull.loop():call_soon(function()
          lull.spawn(function() assert.equal("default", var:get()) end)
        end)
        lull.sleep(0)
        lull.sleep(0)
      end
    end)
  end)
end)
