-- Groups as blocks, limits, daemon children, detached groups.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local stubborn = cast.stubborn

local function note(log, seconds, name)
  lull.sleep(seconds)
  log[#log + 1] = name
end

describe("a group block", function()
  it("waits for the children when it is left", function()
    run(function()
      local log, start = {}, lull.now()
      local function body()
        local g <close> = lull.group()
        g:spawn(note, log, 1, "a")
        g:spawn(note, log, 2, "b")
        return 1, nil, 3
      end
      assert.same({1, nil, 3}, {body()})
      assert.same({"a", "b"}, log)
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("left by an error cancels them first", function()
    run(function()
      local log, err = {}, {}
      local ok, got = pcall(function()
        local g <close> = lull.group()
        g:spawn(stubborn, log, "a", 1)
        lull.sleep(1)
        error(err)
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({"a:true"}, log)
    end)
  end)

  it("is left with the first error of a child", function()
    run(function()
      local log, err = {}, {}
      local ok, got = pcall(function()
        local g <close> = lull.group()
        g:spawn(stubborn, log, "a", 1)
        g:spawn(function() lull.sleep(1) error(err) end)
        lull.sleep(100)
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({"a:true"}, log)
      lull.sleep(1)
    end)
  end)

  it("whose body had ended is left with that error too", function()
    run(function()
      local ok, got = pcall(function()
        local g <close> = lull.group()
        g:spawn(function() lull.sleep(1) error("late", 0) end)
      end)
      assert.same({false, "late"}, {ok, got})
    end)
  end)

  it("interrupted by its own cancellation is left with an ordinary error", function()
    run(function()
      local ok, err = pcall(function()
        local g <close> = lull.group()
        g:cancel "enough"
        lull.sleep(1)
      end)
      assert.is_false(ok)
      assert.matches("ECANCELED: enough", tostring(err))
      assert.is_false(lull.is_cancelled(err))
      lull.sleep(1)
    end)
  end)

  it("lets an outer cancellation pass when all children have ended", function()
    run(function()
      local log, start = {}, lull.now()
      local _, _, code = lull.timeout(1, function()
        local g <close> = lull.group()
        g:spawn(stubborn, log, "a", 2)
      end)
      assert.equal("ETIMEDOUT", code)
      assert.same({"a:true"}, log)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("forgotten without <close> raises when its task ends, and nobody is left", function()
    run(function()
      local here
      local task = lull.spawn(function()
        here = helper.line() + 1
        local g = lull.group()
        g:spawn(lull.sleep, 5)
      end)
      local ok, err = pcall(task.await, task)
      assert.is_false(ok)
      assert.matches("children_spec.lua:" .. here .. "%f[%D]", tostring(err))
    end)
  end)
end)

describe("a group with a limit", function()
  it("runs no more than so many children at once; spawn waits", function()
    run(function()
      local now, most, start = 0, 0, lull.now()
      lull.group({limit = 3}, function(g)
        for i = 1, 9 do
          g:spawn(function()
            now = now + 1
            most = math.max(most, now)
            lull.sleep(1)
            now = now - 1
          end)
          assert.equal(start + (i - 1) // 3, lull.now())
        end
      end)
      assert.equal(3, most)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("lets waiting spawns in, in their order", function()
    run(function()
      local log = {}
      lull.group({limit = 1}, function(g)
        g:spawn(lull.sleep, 1)
        local outside = {}
        for i = 1, 4 do
          outside[i] = lull.spawn(function() g:spawn(note, log, 0.1, i) end)
        end
        for i = 1, 4 do outside[i]:await() end
      end)
      assert.same({1, 2, 3, 4}, log)
    end)
  end)

  it("loses no place when a waiting spawn is cancelled", function()
    run(function()
      local log = {}
      lull.group({limit = 1}, function(g)
        g:spawn(lull.sleep, 5)
        local _, _, code = lull.timeout(1, g.spawn, g, note, log, 0, "never")
        assert.equal("ETIMEDOUT", code)
        local waiting = lull.spawn(function() g:spawn(note, log, 0, "first") end)
        lull.sleep(1)
        local cut = lull.spawn(function() g:spawn(note, log, 0, "cut") end)
        lull.sleep(1)
        cut:close()
        waiting:await()
        g:spawn(note, log, 0, "second")
      end)
      assert.same({"first", "second"}, log)
    end)
  end)

  it("that is cancelled wakes those who wait to spawn", function()
    run(function()
      local waiting
      lull.group({limit = 1}, function(g)
        g:spawn(lull.sleep, 100)
        waiting = lull.spawn(function() return g:spawn(print) end)
        lull.sleep(1)
        g:cancel()
        lull.shield(waiting.await, waiting)
      end)
      assert.is_true(waiting:await():cancelled())
    end)
  end)

  it("refuses limits that are none", function()
    run(function()
      assert.is_false(pcall(lull.group, {limit = 0}, print))
      assert.is_false(pcall(lull.group, {limit = "x"}, print))
    end)
  end)
end)

describe("daemon children", function()
  it("are cancelled when body and ordinary children have ended", function()
    run(function()
      local log, start = {}, lull.now()
      lull.group(function(g)
        g:spawn(stubborn, log, "daemon", 1):daemon()
        g:spawn(note, log, 3, "child")
        lull.sleep(1)
      end)
      assert.same({"child", "daemon:true"}, log)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("may end by themselves, and fail like the others", function()
    run(function()
      lull.group(function(g)
        g:spawn(lull.sleep, 1):daemon()
        lull.sleep(2)
      end)
      assert.same({false, "E"}, {pcall(lull.group, function(g)
        g:spawn(function() lull.sleep(1) error("E", 0) end):daemon()
        lull.sleep(100)
      end)})
    end)
  end)

  it("alone do not hold a group", function()
    run(function()
      local start = lull.now()
      lull.group(function(g) g:spawn(lull.sleep, 1000):daemon() end)
      assert.equal(start, lull.now())
    end)
  end)
end)

describe("a detached group", function()
  it("outlives the block and the task that made it", function()
    run(function()
      local log = {}
      local g = lull.spawn(function()
        local made = lull.group {detached = true}
        made:spawn(note, log, 5, "child")
        return made
      end):await()
      lull.sleep(6)
      assert.same({"child"}, log)
      g:spawn(note, log, 1, "another")
      lull.sleep(2)
      assert.same({"child", "another"}, log)
      g:close()
    end)
  end)

  it("is not reached by the cancellation of its maker's scopes", function()
    run(function()
      local log, g = {}, nil
      lull.scope(function(s)
        g = lull.group {detached = true}
        g:spawn(note, log, 2, "child")
        s:cancel()
        lull.sleep(1)
      end)
      lull.sleep(3)
      assert.same({"child"}, log)
      g:close()
    end)
  end)

  it("lets its children fail alone, to on_unhandled", function()
    local reports, err = {}, {}
    run(function()
      local log = {}
      local g = lull.group {detached = true}
      g:spawn(note, log, 3, "sibling")
      local child = g:spawn(function() lull.sleep(1) error(err) end)
      lull.sleep(4)
      assert.same({"sibling"}, log)
      assert.equal("finished", child:status())
      g:close()
      lull.sleep(3)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal(err, reports[1].err)
  end)

  it("close cancels its children and waits for them, also by <close>", function()
    run(function()
      local log, start = {}, lull.now()
      local g = lull.group {detached = true}
      g:spawn(stubborn, log, "a", 2)
      lull.sleep(1)
      g:close()
      assert.same({"a:true"}, log)
      assert.equal(start + 3, lull.now())
      g:close()
      do
        local h <close> = lull.group {detached = true}
        h:spawn(stubborn, log, "b", 2)
        lull.sleep(1)
      end
      assert.same({"a:true", "b:true"}, log)
      assert.equal(start + 6, lull.now())
      assert.is_false(pcall(g.spawn, g, print))
    end)
  end)

  it("cancel cancels its children", function()
    run(function()
      local log = {}
      local g = lull.group {detached = true}
      g:spawn(stubborn, log, "a", 2)
      lull.sleep(1)
      g:cancel "over"
      assert.is_true(g:spawn(print):cancelled())
      lull.sleep(5)
      assert.same({"a:true"}, log)
      g:close()
    end)
  end)
end)
