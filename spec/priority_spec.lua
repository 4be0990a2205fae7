-- Which item comes first: priority queues and their ties, the last in first out.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("a priority queue", function()
  it("gives the least first, ties in order of arrival", function()
    run(function()
      local q = lull.priority_queue()
      for _, v in ipairs {5, 3, 9, 1, 3.0} do q:put(v) end
      local got = {}
      for i = 1, 5 do
        local v = q:get()
        got[i] = v
      end
      assert.same({1, 3, 3.0, 5, 9}, got)
      assert.equal("integer", math.type(got[2]))
    end)
  end)

  it("keeps the order of arrival among many of one rank", function()
    run(function()
      local q = lull.priority_queue(0, function(a, b) return a.rank < b.rank end)
      for i = 1, 60 do q:put {rank = i * 7 % 3, i = i} end
      local last = {rank = -1}
      for _ = 1, 60 do
        local item = q:get()
        assert.is_true(item.rank > last.rank or item.i > last.i)
        assert.is_true(item.rank >= last.rank)
        last = item
      end
    end)
  end)

  it("takes an order of its own", function()
    run(function()
      local q = lull.priority_queue(0, function(a, b) return a.rank > b.rank end)
      for i, rank in ipairs {1, 2, 1, 3, 2} do q:put {rank = rank, i = i} end
      local got = {}
      for i = 1, 5 do
        local v = q:get()
        got[i] = v.i
      end
      assert.same({4, 2, 5, 1, 3}, got)
    end)
  end)

  it("lets an order that fails raise, and loses nothing", function()
    run(function()
      local q = lull.priority_queue()
      q:put(1)
      assert.is_false(pcall(q.put, q, "text"))
      q:put(0)
      assert.equal(0, q:get())
      assert.equal(1, q:get())
    end)
  end)
end)

describe("a lifo queue", function()
  it("gives the last first", function()
    run(function()
      local q = lull.lifo_queue()
      for v = 1, 3 do q:put(v) end
      assert.same({3, 2, 1}, {q:get(), q:get(), q:get()})
    end)
  end)
end)
