-- Limits, who stands in line for a place, and detached groups.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local stubborn = cast.stubborn

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
