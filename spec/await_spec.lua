-- lull.await: futures, tasks, and what has __await.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

local function slow(...)
  lull.sleep(1)
  return ...
end

describe("lull.await", function()
  it("returns the values of a future and of a task", function()
    run(function()
      local future = lull.future()
      future:set_result(1, nil, 3)
      assert.same({1, nil, 3}, {lull.await(future)})
      assert.same({"x", nil}, {lull.await(lull.spawn(slow, "x", nil))})
    end)
  end)

  it("calls __await(x) in the awaiting task, where it may suspend", function()
    run(function()
      local me, got, self = lull.current(), nil, nil
      local x = setmetatable({}, {__await = function(...)
        got, self = table.pack(...), lull.current()
        return slow(1, nil, 3)
      end})
      assert.same({1, nil, 3}, {lull.await(x)})
      assert.equal(1, got.n)
      assert.equal(x, got[1])
      assert.equal(me, self)
    end)
  end)

  it("passes the error of __await on as it is", function()
    run(function()
      local err = {}
      local x = setmetatable({}, {__await = function() slow() error(err) end})
      assert.equal(err, select(2, pcall(lull.await, x)))
    end)
  end)

  it("refuses what cannot be awaited and says what it got", function()
    run(function()
      assert.matches("number", select(2, pcall(lull.await, 1)))
      assert.matches("nil", select(2, pcall(lull.await, nil)))
      assert.matches("table", select(2, pcall(lull.await, {})))
      assert.is_false(pcall(lull.await))
    end)
  end)
end)
