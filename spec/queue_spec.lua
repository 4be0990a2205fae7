-- What all three queues do: bounds, lines in order of arrival, closing; no item is lost.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local line_up, await_all = cast.line_up, cast.await_all

for _, name in ipairs {"queue", "priority_queue", "lifo_queue"} do
  describe("lull." .. name, function()
    local function make(...) return lull[name](...) end

    it("hands over what is put, and tells how much it holds", function()
      run(function()
        local q = make(2)
        assert.same({0, true, false}, {q:size(), q:empty(), q:full()})
        assert.is_true(q:put(1))
        assert.is_true(q:try_put(2))
        assert.same({2, false, true}, {q:size(), q:empty(), q:full()})
        assert.is_false(q:try_put(3))
        local sum = q:get() + q:try_get()
        assert.equal(3, sum)
        assert.is_nil(q:try_get())
        assert.is_true(q:empty())
        assert.matches("queue", tostring(q):lower())
      end)
    end)

    it("without a size, or with 0, is unbounded", function()
      run(function()
        for _, q in ipairs {make(), make(0)} do
          for i = 1, 1000 do assert.is_true(q:try_put(i)) end
          assert.is_false(q:full())
          assert.equal(1000, q:size())
        end
      end)
    end)

    it("lets getters wait, in order of arrival", function()
      run(function()
        local q, log = make(), {}
        local tasks = line_up(3, function(i)
          local v = q:get()
          log[#log + 1] = {i, v}
        end)
        for v = 1, 3 do
          q:put(v)
          lull.sleep(0)
        end
        await_all(tasks)
        assert.same({{1, 1}, {2, 2}, {3, 3}}, log)
      end)
    end)

    it("lets putters wait, in order of arrival", function()
      run(function()
        local q, log = make(1), {}
        q:put(0)
        local tasks = line_up(3, function(i)
          assert.is_true(q:put(i))
          log[#log + 1] = i
        end)
        lull.sleep(1)
        assert.same({}, log)
        for v = 0, 3 do
          local got = q:get()
          assert.equal(v, got)
          lull.sleep(1)
        end
        await_all(tasks)
        assert.same({1, 2, 3}, log)
      end)
    end)

    it("is not overtaken by those who try", function()
      run(function()
        local q, got = make(), nil
        local tasks = line_up(1, function() got = q:get() end)
        q:put "for the one who waits"
        assert.is_nil(q:try_get())
        await_all(tasks)
        assert.equal("for the one who waits", got)
      end)
    end)

    it("gives an item to the next when its getter is cancelled", function()
      run(function()
        local q, log = make(), {}
        local tasks = line_up(3, function(i) log[i] = q:get() end)
        q:put "item"
        tasks[1]:cancel()
        lull.sleep(1)
        assert.same({[2] = "item"}, log)
        tasks[3]:close()
        q:put "kept"
        assert.equal(1, q:size())
        assert.equal("kept", q:get())
      end)
    end)

    it("keeps an item when the only getter is cancelled", function()
      run(function()
        local q = make()
        local tasks = line_up(1, function() q:get() end)
        q:put "item"
        tasks[1]:close()
        assert.equal(1, q:size())
        assert.equal("item", q:get())
      end)
    end)

    it("lets the next in when a putter is cancelled, and drops what it wanted", function()
      run(function()
        local q = make(1)
        q:put(1)
        local tasks = line_up(2, function(i) q:put(i + 1) end)
        tasks[1]:close()
        assert.equal(1, q:get())
        assert.equal(3, q:get())
        await_all(tasks)
        assert.is_true(q:empty())
      end)
    end)

    it("a put that has been let in has happened, though it is cancelled then", function()
      run(function()
        local q, result, after = make(1), nil, nil
        q:put(1)
        local tasks = line_up(1, function()
          result = table.pack(pcall(q.put, q, 2))
          after = pcall(lull.sleep, 1)
        end)
        assert.equal(1, q:get()) -- lets 2 in
        tasks[1]:cancel()
        await_all(tasks)
        assert.same({true, true, n = 2}, result)
        assert.is_false(after)
        assert.equal(2, q:get())
      end)
    end)

    it("raises on entry in a cancelled scope, and nothing has happened", function()
      run(function()
        local q = make()
        q:put(1)
        lull.scope(function(s)
          s:cancel()
          assert.is_false(pcall(q.get, q))
          assert.is_false(pcall(q.put, q, 2))
          lull.sleep(0)
        end)
        assert.equal(1, q:size())
      end)
    end)

    it("refuses nil, but takes false", function()
      run(function()
        local q = make()
        assert.is_false(pcall(q.put, q, nil))
        assert.is_false(pcall(q.try_put, q, nil))
        if name ~= "priority_queue" then
          q:put(false)
          assert.is_false(q:get())
        end
        assert.is_false(pcall(make, -1))
        assert.is_false(pcall(make, "x"))
      end)
    end)

    it("closed refuses what is put, drains, and then gives nil", function()
      run(function()
        local q = make(2)
        q:put(1)
        q:put(2)
        local results = {}
        local tasks = line_up(2, function(i) results[i] = table.pack(q:put(9)) end)
        q:close()
        q:close()
        await_all(tasks)
        results[3], results[4] = table.pack(q:put(9)), table.pack(q:try_put(9))
        for i = 1, 4 do
          assert.same({nil, "EPIPE: queue is closed", "EPIPE", n = 3}, results[i])
        end
        local sum = q:get() + q:get()
        assert.equal(3, sum)
        assert.same(table.pack(nil), table.pack(q:get()))
        assert.is_nil(q:try_get())
      end)
    end)

    it("closed wakes the getters with nil", function()
      run(function()
        local q, got = make(), {}
        local tasks = line_up(2, function(i) got[i] = table.pack(q:get()) end)
        q:close()
        await_all(tasks)
        assert.same({{n = 1}, {n = 1}}, got)
      end)
    end)

    it("is read by a for loop until it is closed and drained", function()
      run(function()
        local q, sum = make(), 0
        local task = lull.spawn(function()
          for v in q:items() do sum = sum + v end
          return "ended"
        end)
        for v = 1, 3 do
          q:put(v)
          lull.sleep(1)
        end
        q:put(4)
        q:close()
        assert.equal("ended", task:await())
        assert.equal(10, sum)
      end)
    end)

    it("is joined when every item has been done", function()
      run(function()
        local q, start = make(), lull.now()
        q:join() -- nothing to wait for
        for v = 1, 3 do q:put(v) end
        local worker = lull.spawn(function()
          for _ in q:items() do
            lull.sleep(1)
            q:task_done()
          end
        end)
        local joined = 0
        local tasks = line_up(2, function()
          q:join()
          joined = joined + 1
        end)
        q:join()
        assert.equal(start + 3, lull.now())
        await_all(tasks)
        assert.equal(2, joined)
        assert.is_false(pcall(q.task_done, q))
        worker:close()
      end)
    end)

    it("binds to the loop of its first wait", function()
      local q = make()
      run(function() lull.timeout(1, q.get, q) end)
      run(function()
        local ok, err = pcall(q.get, q)
        assert.is_false(ok)
        assert.matches("loop", err)
      end)
    end)

    it("loses and doubles nothing among many who come and go", function()
      for seed = 1, 20 do
        run(function()
          local q, seen, count = make(3), {}, 0
          local random = seed * 7919
          local function chance(n)
            random = (random * 1103515245 + 12345) % 2147483648
            return random // 65536 % n
          end
          local getters, putters, accepted = {}, {}, 0
          for i = 1, 10 do
            getters[i] = lull.spawn(function()
              for v in q:items() do
                assert.is_nil(seen[v])
                seen[v], count = true, count + 1
                lull.sleep(chance(3) / 10)
              end
            end)
            putters[i] = lull.spawn(function()
              for n = 1, 20 do
                if q:put(i * 100 + n) then accepted = accepted + 1 end
                lull.sleep(chance(2) / 10)
              end
            end)
          end
          lull.sleep(0.3)
          for i = 1, 5 do getters[i]:cancel() end
          for i = 1, 3 do putters[i]:cancel() end
          await_all(putters)
          q:close()
          await_all(getters)
          assert.equal(accepted, count)
          assert.is_true(accepted >= 140)
        end, {seed = seed})
      end
    end)
  end)
end
