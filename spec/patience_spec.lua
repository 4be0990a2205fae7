-- Who ignores his cancellation: the turns that it costs, the hard end that it comes to.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local within_cancelled, finished = cast.within_cancelled, cast.finished

describe("a task that will not be cancelled", function()
  it("is given it a thousand times, then closed hard and reported by name", function()
    local reports = {}
    run(function()
      local count, closed, refused = 0, false, nil
      local task = lull.spawn(function()
        local _ <close> = helper.closer(function()
          closed = true
          refused = not pcall(lull.shield, lull.sleep, 1)
        end)
        while true do
          if not pcall(lull.sleep, 1) then count = count + 1 end
        end
      end)
      task:name "stubborn"
      lull.sleep(0)
      local ticks = 0
      local ticker = lull.spawn(function()
        while true do ticks = ticks + 1 lull.sleep(0) end
      end)
      local start = lull.now()
      task:cancel()
      pcall(task.await, task)
      ticker:close()
      assert.is_true(task:done())
      assert.is_true(count >= 999 and count <= 1000, "count is " .. count)
      assert.is_true(closed)
      assert.is_true(refused)
      assert.is_true(ticks >= 990, "the others had " .. ticks .. " turns")
      assert.equal(start, lull.now())
    end, {reports = reports})
    assert.is_true(#reports >= 1)
    assert.matches("stubborn", tostring(reports[1].err))
  end)

  it("is closed hard inside nested coroutines as well", function()
    local reports = {}
    run(function()
      local closed = {}
      local function note(name)
        return helper.closer(function() closed[#closed + 1] = name end)
      end
      local task = lull.spawn(function()
        local _ <close> = note "outer"
        coroutine.wrap(function()
          local _ <close> = note "inner"
          while true do pcall(lull.sleep, 1) end
        end)()
      end)
      task:name "nest"
      lull.sleep(0)
      task:close()
      assert.is_true(task:done())
      assert.same({"inner", "outer"}, closed)
    end, {reports = reports})
    assert.is_true(#reports >= 1)
  end)

  it("may leave its scope and live on, however often it was told", function()
    run(function()
      for _ = 1, 5 do
        within_cancelled(function()
          for _ = 1, 400 do pcall(lull.sleep, 1) end
        end)
      end
      lull.sleep(1)
    end)
  end)
end)

describe("a loop of pcall", function()
  it("around a sleep does not starve others", function()
    run(function()
      local stop = false
      local task = lull.spawn(function()
        while not stop do pcall(lull.sleep, 0) end
      end)
      helper.turns(100)
      stop = true
      task:await()
    end)
  end)

  it("around scopes that are cancelled at once does not starve others", function()
    run(function()
      local stop, rounds = false, 0
      local task = lull.spawn(function()
        repeat
          within_cancelled(function() pcall(lull.sleep, 1) end)
          rounds = rounds + 1
        until stop or rounds == 100000
      end)
      helper.turns(100)
      stop = true
      task:await()
      assert.is_true(rounds < 100000)
    end)
  end)

  it("around children in groups does not survive nor starve others", function()
    run(function()
      local rounds = 0
      local task = lull.spawn(function()
        repeat
          pcall(lull.group, function(g) g:spawn(lull.sleep, 1) end)
          rounds = rounds + 1
        until rounds == 100000
      end)
      lull.sleep(0)
      task:cancel()
      pcall(task.await, task)
      assert.is_true(rounds <= 1001, rounds .. " rounds")
    end, {reports = {}})
  end)

  it("does not survive its cancellation nor starve others meanwhile", function()
    local reports = {}
    run(function()
      local task = lull.spawn(function()
        while true do pcall(lull.sleep, 1) end
      end)
      task:name "immortal"
      lull.sleep(0.5)
      local turns <close> = helper.counter()
      task:cancel()
      pcall(task.await, task)
      assert.is_true(task:done())
      assert.is_true(turns() > 900)
    end, {reports = reports})
    assert.matches("immortal", tostring(reports[1].err))
  end)

  it("around an operation that never waits does not survive either", function()
    run(function()
      local task = lull.spawn(function()
        local done = finished()
        while true do pcall(done.await, done) end
      end)
      helper.turns(10)
      task:cancel()
      pcall(task.await, task)
      assert.is_true(task:done())
    end, {reports = {}})
  end)
end)

describe("nobody becomes immortal, nor starves others, who", function()
  -- name -> what a task does after each cancellation that it has swallowed
  local tricks = {
    ["opens scopes under a shield"] = function()
      lull.shield(lull.scope, function() end)
    end,
    ["lets limits end under a shield"] = function()
      lull.shield(lull.timeout, 0, lull.sleep, 1)
    end,
    ["opens and leaves scopes"] = function() lull.scope(function() end) end,
    ["cancels scopes of its own"] = function()
      lull.scope(function(s)
        s:cancel()
        pcall(lull.sleep, 1)
      end)
    end,
    ["opens groups"] = function() pcall(lull.group, function(g) g:spawn(print) end) end,
    ["waits in nested coroutines"] = function()
      pcall(coroutine.wrap(function() pcall(lull.sleep, 1) end))
    end,
    ["waits in closers"] = function()
      pcall(function()
        local _ <close> = lull.defer(pcall, lull.sleep, 1)
        lull.sleep(1)
      end)
    end,
    ["spawns tasks"] = function() lull.spawn(function() end) end,
  }

  for name, trick in pairs(tricks) do
    it(name, function()
      run(function()
        local rounds = 0
        local task = lull.spawn(function()
          repeat
            pcall(lull.sleep, 1)
            trick()
            rounds = rounds + 1
          until rounds == 100000 -- or the spec would not come to its end
        end)
        lull.sleep(0)
        task:cancel()
        local turns = 0
        while not task:done() do
          lull.sleep(0)
          turns = turns + 1
        end
        assert.is_true(rounds <= 1001, rounds .. " rounds")
        assert.is_true(turns >= 100, turns .. " turns")
      end, {reports = {}, guard = false})
    end)
  end
end)

describe("the hard end of a task", function()
  -- Closes a task hard whose body stands in `around` and whose closer is `fail`.
  local function close_hard(around, fail)
    local log = {}
    run(function()
      local task = lull.spawn(function()
        local _ <close> = lull.defer(table.insert, log, "outermost")
        around(function()
          local function ignore()
            local _ <close> = helper.closer(fail)
            while true do pcall(lull.sleep, 1) end
          end
          while true do pcall(ignore) end
        end)
      end)
      lull.sleep(0)
      task:cancel()
      pcall(task.await, task)
      assert.is_true(task:done())
      lull.spawn(lull.sleep, 0):await() -- the next one is well
    end, {reports = {}})
    assert.same({"outermost"}, log)
  end

  local around = {
    ["plain"] = function(fn) fn() end,
    ["pcall"] = function(fn) pcall(fn) end,
    ["xpcall"] = function(fn) xpcall(fn, debug.traceback) end,
    ["a timeout"] = function(fn) lull.timeout(1000, fn) end,
    ["a group"] = function(fn) lull.group(fn) end,
    ["a nested coroutine"] = function(fn) coroutine.wrap(fn)() end,
    ["a generator"] = function(fn) for v in lull.generator(fn) do error(v) end end,
  }

  local fails = {
    ["raises"] = function() error "E" end,
    ["raises in a coroutine"] = function() coroutine.wrap(error)("E", 0) end,
    ["raises two coroutines deep"] = function()
      coroutine.wrap(function() coroutine.wrap(error)("E", 0) end)()
    end,
    ["raises in a pcall"] = function() pcall(error, "E") end,
    ["raises in a scope"] = function() lull.scope(error) end,
    ["tries to wait"] = function() lull.sleep(1) end,
    ["cancels, spawns and opens groups"] = function()
      lull.current():cancel()
      lull.spawn(function() end)
      pcall(lull.group, function(g) g:spawn(function() end) end)
    end,
    ["closes another one"] = function() local _ <close> = lull.spawn(lull.sleep, 1) end,
  }

  for place, wrap in pairs(around) do
    for how, fail in pairs(fails) do
      it("in " .. place .. ", where its closer " .. how, function()
        close_hard(wrap, fail)
      end)
    end
  end
end)
