-- lull.shield: what must come to its end even though an outer scope is cancelled.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.shield", function()
  it("hands arguments in and results out, and lets errors pass", function()
    run(function()
      assert.same({3, nil, 2, nil}, {lull.shield(function(...)
        lull.sleep(1)
        return select("#", ...), ...
      end, nil, 2, nil)})
      local err = {}
      local function fail() lull.sleep(1) error(err) end
      assert.equal(err, select(2, pcall(lull.shield, fail)))
    end)
  end)

  it("protects a wait from a cancellation that comes meanwhile", function()
    run(function()
      local log = {}
      local task = lull.spawn(function()
        log[1] = lull.shield(function() lull.sleep(5) return lull.now() end)
        log[2] = "after"
        lull.sleep(0)
        log[3] = "too far"
      end)
      lull.sleep(1)
      local start = lull.now()
      task:cancel "now"
      pcall(task.await, task)
      assert.same({start + 4, "after"}, log)
      assert.equal("ECANCELED: now", task:error())
    end)
  end)

  it("protects from one that has come before", function()
    run(function()
      local slept
      assert.is_nil(lull.scope(function(s)
        s:cancel()
        lull.shield(lull.sleep, 1)
        slept = true
        lull.sleep(1)
      end))
      assert.is_true(slept)
    end)
  end)

  it("protects from every outer scope and its limit", function()
    run(function()
      local start = lull.now()
      local inside
      local _, _, code = lull.timeout(1, function()
        lull.timeout(2, function()
          inside = lull.shield(function() lull.sleep(5) return lull.now() end)
          lull.sleep(0)
        end)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 5, inside)
      assert.equal(start + 5, lull.now())
    end)
  end)

  it("does not protect from scopes inside it", function()
    run(function()
      local start = lull.now()
      local _, _, code = lull.shield(lull.timeout, 2, lull.sleep, 10)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 2, lull.now())
      local _, message = lull.shield(lull.scope, function(s)
        s:cancel "in"
        lull.sleep(1)
      end)
      assert.equal("ECANCELED: in", message)
    end)
  end)

  it("bounded by a timeout works in a cancelled scope", function()
    run(function()
      local start = lull.now()
      local code
      lull.scope(function(s)
        s:cancel()
        code = select(3, lull.shield(lull.timeout, 2, lull.sleep, 10))
        lull.sleep(1)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("lets cleanup suspend in a closer of a cancelled task", function()
    run(function()
      local cleaned
      local task = lull.spawn(function()
        local _ <close> = helper.closer(function()
          lull.shield(lull.sleep, 3)
          cleaned = true
        end)
        lull.sleep(10)
      end)
      lull.sleep(1)
      task:cancel()
      pcall(task.await, task)
      assert.is_true(cleaned)
      assert.equal("cancelled", task:status())
    end)
  end)

  it("works in a nested coroutine, and around one", function()
    run(function()
      local log = {}
      local task = lull.spawn(function()
        lull.shield(function()
          coroutine.wrap(function() lull.sleep(3) log[1] = "around" end)()
        end)
        coroutine.wrap(function() lull.shield(lull.sleep, 3) log[2] = "inside" end)()
        lull.sleep(0)
      end)
      lull.sleep(1)
      task:cancel()
      pcall(task.await, task)
      assert.same({"around", "inside"}, log)
      assert.equal("cancelled", task:status())
    end)
  end)

  it("does not keep the others from running", function()
    run(function()
      local turns = 0
      local ticker = lull.spawn(function()
        while true do lull.sleep(1) turns = turns + 1 end
      end)
      lull.shield(lull.sleep, 5.5)
      assert.equal(5, turns)
      ticker:close()
    end)
  end)
end)
