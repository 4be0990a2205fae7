-- What a queue keeps and lets go of: its ring of items, however it grows and turns, and
-- the items of those who wait to put, which are on their stacks.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

-- Numbers from 0 to n - 1 that look random and are the same every time.
local function dice(seed)
  return function(n)
    seed = seed * 1103515245 + 12345 & 0x7fffffff
    return seed // 65536 % n
  end
end

local function collect()
  collectgarbage()
  collectgarbage()
end

describe("the store of a queue", function()
  for _, kind in ipairs {"queue", "lifo_queue"} do
    it("of the kind " .. kind .. " agrees with a list, whatever happens", function()
      local function remove(list)
        return table.remove(list, kind == "queue" and 1 or nil)
      end
      for seed = 1, 40 do
        local q, list, chance, n = lull[kind](), {}, dice(seed), 0
        for _ = 1, 30 do
          for _ = 1, chance(2 ^ chance(7) // 1 | 0) do
            n = n + 1
            assert.is_true(q:try_put(n))
            list[#list + 1] = n
          end
          for _ = 1, chance(2 ^ chance(7) // 1 | 0) do
            assert.equal(remove(list), (q:try_get()))
          end
          assert.equal(#list, q:size())
        end
        for _ = 1, #list do assert.equal(remove(list), (q:try_get())) end
        assert.is_nil(q:try_get())
      end
    end)
  end

  it("lets go of a large ring once it is empty, and begins anew", function()
    local q = lull.queue()
    collect()
    local before = collectgarbage "count"
    for _ = 1, 3 do
      for v = 1, 20000 do q:try_put(v) end
      for v = 1, 20000 do assert.equal(v, (q:try_get())) end
    end
    collect()
    assert.is_true(collectgarbage "count" - before < 64)
    q:try_put "again"
    assert.equal("again", q:try_get())
  end)

  it("has a place for those who wait to put, large as it has been", function()
    run(function()
      local q = lull.queue(1)
      local getters = line_up(3000, function() q:get() end)
      for v = 1, 3000 do q:put(v) end -- promised, so there is room
      q:put "one more"
      local putter = line_up(1, function() q:put "let in" end)
      await_all(getters)
      assert.equal("one more", q:get())
      await_all(putter)
      assert.equal("let in", q:get())
    end)
  end)

  it("keeps nothing that has been got, nor the queue when nobody has it", function()
    run(function()
      local weak = setmetatable({}, {__mode = "v"})
      for _, kind in ipairs {"queue", "lifo_queue", "priority_queue"} do
        local q = lull[kind](nil, function(a, b) return a.rank < b.rank end)
        for i = 1, 9 do
          weak[i] = {rank = i}
          q:put(weak[i])
        end
        for _ = 1, 9 do q:get() end
        collect()
        assert.is_nil(next(weak))
        weak[1] = q
        q:put {rank = 1}
        q = nil -- luacheck: ignore
        collect()
        assert.is_nil(next(weak))
      end
    end)
  end)

  it("may be used by finalizers that run while it grows", function()
    run(function()
      local q, expected
      local function finalize()
        for v = 1, 9 do
          q:try_put(v)
          expected = expected + v
        end
      end
      local mt = {__gc = finalize}
      for _ = 1, 5000 do
        q, expected = lull.queue(), 0
        setmetatable({}, mt)
        for v = 1, 5 do
          expected = expected + v
          q:put(v)
        end
        local sum = 0
        while not q:empty() do sum = sum + q:get() end
        local put = expected -- before the next finalizer
        assert.equal(put, sum)
      end
    end)
  end)
end)

describe("an item that waits to be put", function()
  it("is let in out of nested coroutines, pcall and generators", function()
    run(function()
      local q = lull.queue(1)
      q:put "first"
      local ways = {
        function() q:put "plain" end,
        function() assert(pcall(q.put, q, "pcall", "and more")) end,
        function() coroutine.wrap(function() q:put "nested" end)() end,
        function()
          coroutine.running()
          coroutine.wrap(function()
            coroutine.wrap(function() assert(pcall(q.put, q, "twice nested")) end)()
          end)()
        end,
        function()
          for _ in lull.generator(function() coroutine.yield(q:put "generated") end) do
            lull.sleep(0)
          end
        end,
        function() lull.timeout(5, q.put, q, "in time") end,
      }
      local tasks = line_up(#ways, function(i) ways[i]() end)
      local got = {}
      for i = 1, #ways + 1 do
        collect()
        got[i] = q:try_get()
      end
      await_all(tasks)
      assert.same({"first", "plain", "pcall", "nested", "twice nested", "generated",
        "in time"}, got)
    end)
  end)

  it("is nobody's any more when its task was cancelled or closed", function()
    run(function()
      local q = lull.queue(1)
      q:put(0)
      local weak = setmetatable({}, {__mode = "v"})
      local tasks = line_up(3, function(i)
        weak[i] = {}
        q:put(weak[i])
      end)
      tasks[1]:cancel()
      tasks[2]:close()
      lull.sleep(0)
      collect()
      assert.is_nil(weak[1])
      assert.is_nil(weak[2])
      assert.equal(0, q:get())
      assert.equal(weak[3], q:get())
    end)
  end)

  it("fails with whatever the order raised", function()
    run(function()
      for _, value in ipairs {"text", false, 7, {}} do
        local broken = false
        local q = lull.priority_queue(2, function(a, b)
          if broken then error(value, 0) end
          return a < b
        end)
        q:put(1)
        q:put(2)
        local ok, err
        local tasks = line_up(1, function() ok, err = pcall(q.put, q, 3) end)
        broken = 1 -- taking out needs no comparison among two
        assert.equal(1, q:get())
        await_all(tasks)
        assert.is_false(ok)
        assert.equal(value, err)
        broken = false
        assert.equal(2, q:get())
        assert.is_true(q:empty())
      end
    end)
  end)

  it("has been put though comparing it cancels who puts it", function()
    run(function()
      local tasks, result, after
      local armed = false
      local q = lull.priority_queue(2, function(a, b)
        if armed then tasks[1]:cancel() end
        return a < b
      end)
      q:put(1)
      q:put(2)
      tasks = line_up(2, function(i)
        local back = q:put(2 + i)
        if i == 2 then return end
        result, after = back, pcall(lull.sleep, 0)
      end)
      armed = true
      assert.equal(1, q:get())
      armed = false
      assert.is_true(pcall(tasks[1].close, tasks[1]))
      assert.is_true(result)
      assert.is_false(after)
      for v = 2, 4 do assert.equal(v, (q:get())) end
      tasks[2]:await()
    end)
  end)

  it("stays with who waits where a getter's turn fails", function()
    run(function()
      local broken = false
      local q = lull.priority_queue(3, function(a, b)
        if broken then error("broken", 0) end
        return a < b
      end)
      for v = 1, 3 do q:put(v) end
      local putter = line_up(1, function() q:put(4) end)
      broken = true
      assert.same({false, "broken"}, {pcall(q.get, q)})
      assert.is_false(putter[1]:done())
      broken = false
      for v = 1, 4 do assert.equal(v, (q:get())) end
      await_all(putter)
    end)
  end)
end)

describe("a queue", function()
  it("tells a wrong self, and a mistake at the line of the script", function()
    local q = lull.queue()
    assert.has_error(function() q.put({}, 1) end)
    assert.matches("Queue expected", select(2, pcall(q.get, lull.lock())))
    local _, err = pcall(function() q:try_put(nil) end)
    assert.matches("lua:%d+: bad argument #1 to 'try_put' %(nil is no item%)", err)
    _, err = pcall(function() q:task_done() end)
    assert.matches("^spec/ring_spec.lua:%d+: 'task_done' was called more often",
      (err:gsub("^%./", "")))
  end)

  it("is used outside of tasks, by those who try", function()
    local q, got = lull.queue(1), nil
    local loop <close> = lull.new_loop {clock = "virtual"}
    local task
    loop:run_until_complete(function()
      task = lull.spawn(function() got = q:get() end)
      lull.sleep(0)
    end)
    assert.is_true(q:try_put "from outside")
    assert.is_nil(q:try_get())
    loop:run_until_complete(task)
    assert.equal("from outside", got)
    local ok, err = pcall(q.put, q, 1)
    assert.is_false(ok)
    assert.matches("outside of a task", err)
    assert.is_true(q:empty())
  end)

  it("is bound by its first wait, whatever was waited for", function()
    local q = lull.queue(1)
    run(function() lull.timeout(1, q.get, q) end)
    run(function()
      q:put(1)
      for _, wait in ipairs {q.join, function() q:put(2) end} do
        local ok, err = pcall(wait, q)
        assert.is_false(ok)
        assert.matches("this belongs to another loop", err)
      end
      assert.equal(1, q:get())
    end)
  end)
end)
