-- loop:debug: who computes for long without suspending is told.  Here it is always a few
-- milliseconds of computing on the real clock.
local helper = require "spec.helper"
local lull = helper.lull

local function compute()
  lull.loop():advance(0.02)
end

-- What a loop that watches reports while fn runs.
local function watched(fn)
  local reports = {}
  helper.run(function()
    lull.loop():slow_callback(0.005)
    lull.loop():debug(true)
    fn()
    lull.sleep(0)
    lull.loop():debug(false)
  end, {reports = reports})
  return reports
end

describe("loop:debug", function()
  it("is off, and tells what it is", function()
    helper.run(function()
      local loop = lull.loop()
      assert.is_false(loop:debug())
      loop:debug(true)
      assert.is_true(loop:debug())
      loop:debug(false)
      assert.is_false(loop:debug())
    end)
  end)

  it("tells of nobody who suspends in time", function()
    assert.same({}, watched(function()
      for _ = 1, 10 do lull.sleep(0) end
    end))
  end)

  it("tells of a task that goes on, by name and with its stack", function()
    local task
    local reports = watched(function()
      task = lull.spawn(function()
        compute()
        lull.sleep(0)
      end)
      task:name "dreamer"
      task:await()
    end)
    assert.equal(1, #reports)
    assert.matches("dreamer", tostring(reports[1].err))
    assert.equal(task, reports[1].task)
    assert.matches("watchdog_spec.lua:%d+:", reports[1].traceback)
  end)

  it("tells of a task that ends", function()
    local reports = watched(function()
      local task = lull.spawn(compute)
      task:name "last words"
      task:await()
    end)
    assert.equal(1, #reports)
    assert.matches("last words", tostring(reports[1].err))
  end)

  it("tells of a callback", function()
    local reports = watched(function()
      lull.loop():call_soon(compute)
      lull.sleep(0)
    end)
    assert.equal(1, #reports)
    assert.matches("callback", tostring(reports[1].err))
  end)
end)

describe("loop:slow_callback", function()
  it("tells how long is long, and takes another value", function()
    helper.run(function()
      local loop = lull.loop()
      assert.is_number(loop:slow_callback())
      loop:slow_callback(2)
      assert.equal(2, loop:slow_callback())
      assert.is_false(pcall(loop.slow_callback, loop, -1))
      assert.is_false(pcall(loop.slow_callback, loop, "x"))
      assert.equal(2, loop:slow_callback())
    end)
  end)
end)
