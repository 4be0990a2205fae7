-- The line of waiting tasks below the primitives: what was granted is received, refused
-- or has happened, and cancelling takes whoever waits out of the line.
local core = require "lull.core"
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

local function park(lot, ...)
  core.enter()
  return lot:park(...)
end

-- n tasks that wait in the lot, in order; log[i] is what the i-th came back with.
local function line_up(lot, n, ...)
  local tasks, log = {}, {}
  for i = 1, n do
    tasks[i] = lull.spawn(function(...)
      local back = {i, park(lot, ...)}
      log[#log + 1] = back
    end, ...)
    lull.sleep(0)
  end
  return tasks, log
end

describe("a lot", function()
  it("wakes the first n, in order of arrival, and tells how many", function()
    run(function()
      local lot = core.lot()
      local _, log = line_up(lot, 5)
      assert.equal(5, lot:count())
      assert.equal(1, lot:wake())
      assert.equal(2, lot:wake(2))
      assert.equal(2, lot:count())
      lull.sleep(0)
      assert.same({{1}, {2}, {3}}, log)
      assert.equal(2, lot:wake(math.maxinteger))
      assert.equal(0, lot:wake())
      lull.sleep(0)
      assert.same({{1}, {2}, {3}, {4}, {5}}, log)
    end)
  end)

  it("grants a value, nil and false among them", function()
    run(function()
      local lot, value = core.lot(), {}
      local _, log = line_up(lot, 4)
      lot:wake(1, value)
      lot:wake(1, false)
      lot:wake()
      lot:wake(1, 7)
      lull.sleep(0)
      assert.same({{1, value}, {2, false}, {3}, {4, 7}}, log)
      assert.equal(value, log[1][2])
      _, log = line_up(lot, 1) -- nothing of an earlier grant is left
      lot:wake()
      lull.sleep(0)
      assert.same({{1}}, log)
    end)
  end)

  it("forgets who is cancelled before the grant", function()
    run(function()
      local lot, refused = core.lot(), 0
      local tasks, log = line_up(lot, 3, function() refused = refused + 1 end)
      tasks[2]:cancel()
      assert.equal(2, lot:count())
      assert.equal(2, lot:wake(3))
      lull.sleep(0)
      assert.same({{1}, {3}}, log)
      assert.equal(0, refused)
      assert.is_true(tasks[2]:cancelled())
    end)
  end)

  it("has a grant refused by who is cancelled before he runs", function()
    run(function()
      local lot, refused = core.lot(), {}
      local tasks, log = line_up(lot, 2, function(value)
        refused[#refused + 1] = value
        lot:wake(1, value)
      end)
      lot:wake(1, "tea")
      tasks[1]:cancel()
      assert.same({}, refused) -- it happens in his turn
      lull.sleep(1)
      assert.same({"tea"}, refused)
      assert.same({{2, "tea"}}, log)
    end)
  end)

  it("cannot suspend while it refuses", function()
    run(function()
      local lot, ok, err = core.lot(), nil, nil
      local tasks = line_up(lot, 1, function() ok, err = pcall(lull.sleep, 0) end)
      lot:wake()
      tasks[1]:cancel()
      lull.sleep(1)
      assert.is_false(ok)
      assert.matches("cannot suspend", err)
      assert.is_true(tasks[1]:cancelled())
    end)
  end)

  it("works in nested coroutines and under pcall", function()
    run(function()
      local lot, got = core.lot(), nil
      local task = lull.spawn(function()
        local inner = coroutine.wrap(function()
          local _, value = pcall(park, lot)
          coroutine.yield(value)
        end)
        got = inner()
      end)
      lull.sleep(0)
      lot:wake(1, "in there")
      task:await()
      assert.equal("in there", got)
    end)
  end)

  it("keeps nobody's value alive", function()
    run(function()
      local lot = core.lot()
      local weak = setmetatable({}, {__mode = "v"})
      local tasks = {}
      for i = 1, 3 do
        weak[i] = {}
        tasks[i] = lull.spawn(function(offer) park(lot, nil, offer) end, weak[i])
      end
      weak[4] = {}
      lull.sleep(0)
      lot:wake(1, weak[4])
      tasks[2]:cancel()
      lull.sleep(0)
      tasks[3]:close()
      tasks = nil -- luacheck: ignore
      collectgarbage()
      collectgarbage()
      assert.same({}, weak)
    end)
  end)

  it("is waited for inside of tasks only", function()
    local lot = core.lot()
    local ok, err = pcall(lot.park, lot)
    assert.is_false(ok)
    assert.matches("outside of a task", err)
    run(function()
      assert.is_false(pcall(table.sort, {1, 2}, function() lot:park() end))
      assert.equal(0, lot:count())
    end)
  end)

  it("binds to the loop of the first wait; waking is possible from anywhere", function()
    local lot, value = core.lot(), nil
    local loop <close> = lull.new_loop {clock = "virtual"}
    local task
    loop:run_until_complete(function()
      task = lull.spawn(function() value = park(lot) end)
      lull.sleep(0)
    end)
    run(function()
      local ok, err = pcall(park, lot)
      assert.is_false(ok)
      assert.matches("another loop", err)
      assert.equal(1, lot:wake(1, "from another loop"))
    end)
    assert.equal(0, lot:wake())
    loop:run_until_complete(task)
    assert.equal("from another loop", value)
  end)

  it("is empty once the loop of those who waited is closed", function()
    local lot = core.lot()
    local loop = lull.new_loop {clock = "virtual"}
    loop:run_until_complete(function()
      lull.spawn(park, lot)
      lull.sleep(0)
    end)
    assert.equal(1, lot:count())
    loop:close()
    assert.equal(0, lot:count())
    assert.equal(0, lot:wake())
  end)

  it("tells how many wait", function()
    run(function()
      local lot = core.lot()
      local tasks = line_up(lot, 2)
      assert.equal("lot (2 waiting)", tostring(lot))
      tasks[1]:close()
      tasks[2]:close()
      assert.equal("lot (0 waiting)", tostring(lot))
    end)
  end)
end)
