-- The functions of the table coroutine, which lull has replaced in place: as in Lua 5.4
-- for those who do not await, and generators that do.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

-- Every clause of the first part holds in a task and outside of any loop.
local function everywhere(name, fn)
  it(name .. " (in a task)", function() run(fn) end)
  it(name .. " (without a loop)", fn)
end

describe("as in Lua,", function()
  everywhere("values go in and out", function()
    local co = coroutine.create(function(...)
      assert.same({1, nil, 3}, {...})
      assert.same({"b", nil}, {coroutine.yield("a", nil)})
      return nil, "end"
    end)
    assert.same({true, "a", nil}, {coroutine.resume(co, 1, nil, 3)})
    assert.same({true, nil, "end"}, {coroutine.resume(co, "b", nil)})
    local ok, message = coroutine.resume(co)
    assert.is_false(ok)
    assert.equal("cannot resume dead coroutine", message)
  end)

  everywhere("errors end a coroutine and travel unchanged", function()
    local err = {}
    local co = coroutine.create(function() error(err) end)
    local ok, got = coroutine.resume(co)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal("dead", coroutine.status(co))
    assert.equal(err, select(2, pcall(coroutine.wrap(function() error(err) end))))
  end)

  everywhere("wrap says where a message comes from", function()
    local ok, message = pcall(coroutine.wrap(function() error("plain", 0) end))
    assert.is_false(ok)
    assert.matches("plain$", message)
    local dead = coroutine.wrap(function() end)
    dead()
    assert.matches("cannot resume dead coroutine", select(2, pcall(dead)))
  end)

  everywhere("wrap closes what dies of an error, resume leaves it to close", function()
    local log, err = {}, {}
    local function die()
      local _ <close> = helper.closer(function(_, e) log[#log + 1] = e end)
      error(err)
    end
    assert.equal(err, select(2, pcall(coroutine.wrap(die))))
    assert.same({err}, log)
    local co = coroutine.create(die)
    coroutine.resume(co)
    assert.equal(1, #log)
    local ok, got = coroutine.close(co)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.equal(2, #log)
  end)

  everywhere("status tells who runs", function()
    local outer, inner
    outer = coroutine.create(function()
      assert.equal("running", coroutine.status(outer))
      inner = coroutine.create(function()
        assert.equal("normal", coroutine.status(outer))
        assert.equal("running", coroutine.status(inner))
        assert.equal(inner, (coroutine.running()))
        local ok, message = coroutine.resume(outer)
        assert.is_false(ok)
        assert.equal("cannot resume non-suspended coroutine", message)
        coroutine.yield()
      end)
      assert.is_true(coroutine.resume(inner))
      assert.equal("suspended", coroutine.status(inner))
      assert.is_true(coroutine.resume(inner))
    end)
    assert.equal("suspended", coroutine.status(outer))
    assert.same({true}, {coroutine.resume(outer)})
    assert.same({"dead", "dead"}, {coroutine.status(outer), coroutine.status(inner)})
  end)

  everywhere("a coroutine cannot resume itself", function()
    local co
    co = coroutine.create(function() return coroutine.resume(co) end)
    local ok, inside, message = coroutine.resume(co)
    assert.same({true, false}, {ok, inside})
    assert.equal("cannot resume non-suspended coroutine", message)
  end)

  everywhere("isyieldable and running", function()
    local inside = coroutine.wrap(function()
      return coroutine.isyieldable(), select(2, coroutine.running())
    end)
    assert.same({true, false}, {inside()})
    local co = coroutine.create(function() end)
    assert.is_true(coroutine.isyieldable(co))
  end)

  everywhere("close runs the closers and returns their error", function()
    local log, err = {}, {}
    local function body(fail)
      local _ <close> = helper.closer(function(_, e)
        log[#log + 1] = tostring(e)
        if fail then error(fail) end
      end)
      coroutine.yield()
    end
    local good, bad = coroutine.create(body), coroutine.create(body)
    coroutine.resume(good)
    coroutine.resume(bad, err)
    assert.same({true}, {coroutine.close(good)})
    local ok, got = coroutine.close(bad)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.same({"nil", "nil"}, log)
    assert.equal("dead", coroutine.status(good))
    assert.is_true(coroutine.close(good))
    assert.is_true(coroutine.close(coroutine.create(print)))
    assert.is_false(pcall(coroutine.close, (coroutine.running())))
  end)

  everywhere("yields pass pcall, metamethods, iterators and closers", function()
    local gen = coroutine.wrap(function()
      pcall(coroutine.yield, 1)
      local function index(_, k) coroutine.yield(k) return k end
      local t = setmetatable({}, {__index = index})
      assert.equal(2, t[2])
      for n in function(_, n) coroutine.yield(3) return not n or nil end do assert(n) end
      local _ <close> = helper.closer(function() coroutine.yield(4) end)
      return 5
    end)
    assert.same({1, 2, 3, 3, 4, 5}, {gen(), gen(), gen(), gen(), gen(), gen()})
  end)

  everywhere("wrong arguments are refused", function()
    assert.is_false(pcall(coroutine.create, 1))
    assert.is_false(pcall(coroutine.wrap))
    assert.is_false(pcall(coroutine.resume, print))
    assert.is_false(pcall(coroutine.status, nil))
  end)

  everywhere("many values and deep stacks pass", function()
    local gen = coroutine.wrap(function(...) return coroutine.yield(...) end)
    assert.equal(250, select("#", gen(table.unpack({}, 1, 250))))
    assert.equal(240, select("#", gen(table.unpack({}, 1, 240))))
  end)

  everywhere("endless nesting is an error, no crash", function()
    local function nest() return coroutine.wrap(nest)() end
    local ok, message = pcall(nest)
    assert.is_false(ok)
    assert.matches("overflow", message)
  end)

  it("yield outside of a coroutine and a task is refused", function()
    local ok, message = pcall(coroutine.yield)
    if not coroutine.isyieldable() then
      assert.is_false(ok)
      assert.matches("outside", message)
    end
  end)

  it("an abandoned coroutine is garbage", function()
    run(function()
      local weak = setmetatable({}, {__mode = "v"})
      for i = 1, 10 do
        local co = coroutine.create(function()
          lull.sleep(1)
          lull.timeout(50, coroutine.yield) -- paused inside a scope
        end)
        coroutine.resume(co)
        weak[i] = co
      end
      collectgarbage()
      collectgarbage()
      assert.is_nil(next(weak))
      lull.sleep(55) -- the limits of those scopes come
    end, {guard = false})
  end)
end)

describe("a coroutine that awaits", function()
  it("suspends its task, not its resumer", function()
    run(function()
      local start, log = lull.now(), {}
      local gen = coroutine.wrap(function()
        for i = 1, 3 do
          lull.sleep(1)
          coroutine.yield(i)
        end
      end)
      local other = lull.spawn(function()
        for _ = 1, 3 do lull.sleep(0.9) log[#log + 1] = "other" end
      end)
      for i = 1, 3 do
        local value = gen() -- before #log is read
        log[#log + 1] = value
        assert.equal(start + i, lull.now())
      end
      other:await()
      assert.same({"other", 1, "other", 2, "other", 3}, log)
    end)
  end)

  it("may be nested thirty deep, awaiting and yielding at each level", function()
    run(function()
      local function level(n)
        return coroutine.wrap(function()
          lull.sleep(0.01)
          if n > 1 then
            local below = level(n - 1)
            for v in below do
              lull.sleep(0)
              coroutine.yield(v)
            end
          end
          coroutine.yield(n)
        end)
      end
      local seen = {}
      for v in level(30) do seen[#seen + 1] = v end
      assert.equal(30, #seen)
      for i = 1, 30 do assert.equal(i, seen[i]) end
    end)
  end)

  it("awaits inside pcall, closers and metamethods within it", function()
    run(function()
      local log = {}
      local gen = coroutine.wrap(function()
        local t = setmetatable({}, {__index = function(_, k) lull.sleep(1) return k end})
        local function note() lull.sleep(1) log[#log + 1] = "closed" end
        local ok, err = pcall(function()
          local _ <close> = helper.closer(note)
          coroutine.yield(t.key)
          lull.sleep(1)
          error "E"
        end)
        log[#log + 1] = not ok and err:match "E$"
        return "end"
      end)
      assert.same({"key", "end"}, {gen(), gen()})
      assert.same({"closed", "E"}, log)
    end)
  end)

  it("raises through wrap and returns through resume, after its awaits", function()
    run(function()
      local err = {}
      local function fail() lull.sleep(1) error(err) end
      assert.equal(err, select(2, pcall(coroutine.wrap(fail))))
      local ok, got = coroutine.resume(coroutine.create(fail))
      assert.is_false(ok)
      assert.equal(err, got)
    end)
  end)

  it("can be resumed by one task now and by another later", function()
    run(function()
      local gen = coroutine.wrap(function()
        while true do
          lull.sleep(1)
          coroutine.yield(lull.current())
        end
      end)
      for _ = 1, 3 do
        local task = lull.spawn(gen)
        assert.equal(task, task:await())
      end
      assert.equal(lull.current(), gen())
    end)
  end)

  it("cannot be resumed or closed by another task meanwhile", function()
    run(function()
      local co = coroutine.create(function() lull.sleep(5) return "whole" end)
      local task = lull.spawn(coroutine.resume, co)
      lull.sleep(1)
      assert.not_equal("suspended", coroutine.status(co))
      local ok, message = coroutine.resume(co, "intruder")
      assert.is_false(ok)
      assert.is_string(message)
      assert.is_false(pcall(coroutine.close, co))
      assert.same({true, "whole"}, {task:await()})
    end)
  end)

  it("resumed by a stranger leaves the coroutine of a task alone", function()
    run(function()
      local co
      local task = lull.spawn(function()
        co = coroutine.running()
        lull.sleep(5)
        return "whole"
      end)
      lull.sleep(1)
      local ok, message = coroutine.resume(co, "intruder")
      assert.is_false(ok)
      assert.is_string(message)
      assert.is_false(pcall(coroutine.close, co))
      assert.not_equal("suspended", coroutine.status(co))
      assert.equal("whole", task:await())
      assert.equal("dead", coroutine.status(co))
      lull.spawn(lull.sleep, 1):await()
      assert.is_false((coroutine.resume(co)))
    end)
  end)
end)
