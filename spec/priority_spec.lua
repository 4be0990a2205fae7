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

  it("lets the next in who waits to put when an item is rejected", function()
    run(function()
      local q = lull.priority_queue(2)
      q:put(1)
      q:put(2)
      local rejected = lull.spawn(function() q:put {} end)
      local next_one = lull.spawn(function() return q:put(3) end)
      lull.sleep(0)
      assert.equal(1, q:get())
      assert.matches("attempt to compare", select(2, pcall(rejected.await, rejected)))
      assert.is_true(next_one:await())
      assert.same({2, 3}, {q:get(), q:get()})
    end)
  end)

  -- The order of a queue that is used, up to n times, while it compares.
  local function meddling(n, use)
    local q, within
    q = lull.priority_queue(0, function(a, b)
      if n > 0 and not within then
        n, within = n - 1, true
        use(q)
        within = false
      end
      return a < b
    end)
    return q
  end

  it("loses and doubles nothing when it is used while it compares", function()
    run(function()
      for n = 0, 40 do
        local put, got = 0, 0
        local function put_one(q)
          if q:try_put(n % 7) then put = put + 1 end
        end
        local function get_one(q)
          if q:try_get() then got = got + 1 end
        end
        for _, use in ipairs {put_one, get_one} do
          local q = meddling(n, use)
          for _ = 1, 20 do put_one(q) end
          for _ = 1, 15 do get_one(q) end
          assert.equal(put - got, q:size())
          local last = -1
          for _ = 1, q:size() do
            local v = q:try_get()
            assert.is_true(v >= last)
            last = v
          end
          assert.is_true(q:empty())
          put, got = 0, 0
        end
      end
    end)
  end)

  it("raises when comparing always uses it, and loses nothing", function()
    run(function()
      local q = meddling(math.huge, function(q) q:try_put(2) end)
      q:put(1)
      assert.matches("uses that queue", select(2, pcall(q.put, q, 3)))
      local n = q:size()
      assert.is_false(pcall(q.try_get, q))
      assert.is_true(q:size() > n)
    end)
  end)

  it("may be used by finalizers that run meanwhile", function()
    run(function()
      local q = lull.priority_queue(0, function(a, b)
        collectgarbage()
        return a < b
      end)
      local put, got, within = 4, 0, false
      for v = 0, 3 do q:put(v) end
      local function leave()
        setmetatable({}, {__gc = function()
          if within then return end
          within = true
          if q:try_put(put) then put = put + 1 end
          within = false
        end})
      end
      for _ = 1, 30 do
        leave()
        q:put(put)
        put = put + 1
        leave()
        if q:get() then got = got + 1 end
      end
      assert.equal(put - got, q:size())
      for _ = 1, q:size() do assert.is_number(q:try_get()) end
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
