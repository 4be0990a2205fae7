-- The loop itself: running, stopping and closing it, loops within loops, the order of
-- what it calls, and handles.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

local function virtual(options)
  options = options or {}
  options.clock = "virtual"
  return lull.new_loop(options)
end

describe("lull.new_loop", function()
  it("refuses selectors and clocks that do not exist", function()
    local ok, err = pcall(lull.new_loop, {selector = "carrier pigeon"})
    assert.is_false(ok)
    assert.matches("carrier pigeon", err)
    assert.is_false(pcall(lull.new_loop, {clock = "sundial"}))
    assert.is_false(pcall(lull.new_loop, {seed = "x"}))
  end)

  for _, backend in helper.backends() do
    it("takes the selector " .. backend, function()
      run(function() assert.equal(backend, lull.selector) end, {selector = backend})
    end)
  end

  it("makes loops that say what they are", function()
    local loop <close> = virtual()
    assert.matches("loop", tostring(loop):lower())
    assert.is_false(loop:is_running())
  end)
end)

describe("loop:run_until_complete", function()
  it("runs a function as a task and returns its results", function()
    local loop <close> = virtual()
    local task, inside
    assert.same({1, nil, 3}, {loop:run_until_complete(function()
      task, inside = lull.current(), lull.loop()
      assert.is_true(loop:is_running())
      lull.sleep(1)
      return 1, nil, 3
    end)})
    assert.is_truthy(task)
    assert.equal(loop, inside)
    assert.is_false(loop:is_running())
  end)

  it("runs until a future is done", function()
    local loop <close> = virtual()
    local future = lull.future()
    loop:call_later(2, function() future:set_result("a", nil) end)
    assert.same({"a", nil}, {loop:run_until_complete(future)})
    assert.same({"a", nil}, {loop:run_until_complete(future)})
  end)

  it("raises the error unchanged", function()
    local loop <close> = virtual()
    local err = {}
    assert.equal(err, select(2, pcall(loop.run_until_complete, loop, function()
      lull.sleep(1)
      error(err)
    end)))
    local future = lull.future()
    loop:call_later(2, function() future:set_error(err) end)
    assert.equal(err, select(2, pcall(loop.run_until_complete, loop, future)))
  end)

  it("can be called again and again, and time goes on", function()
    local loop <close> = virtual()
    local start = loop:time()
    for n = 1, 3 do
      loop:run_until_complete(function() lull.sleep(1) end)
      assert.equal(start + n, loop:time())
    end
  end)

  it("refuses other arguments, and a loop that runs or is closed", function()
    local loop = virtual()
    assert.is_false(pcall(loop.run_until_complete, loop))
    assert.is_false(pcall(loop.run_until_complete, loop, 1))
    loop:run_until_complete(function()
      assert.is_false(pcall(loop.run_until_complete, loop, print))
      assert.is_false(pcall(loop.run_forever, loop))
      assert.is_false(pcall(loop.close, loop))
    end)
    loop:close()
    loop:close()
    assert.is_false(pcall(loop.run_until_complete, loop, print))
    assert.is_false(pcall(loop.call_soon, loop, print))
  end)

  it("in a task is refused for a loop with the real clock", function()
    local loop <close> = lull.new_loop()
    run(function()
      local ok, err = pcall(loop.run_until_complete, loop, function() end)
      assert.is_false(ok)
      assert.is_string(err)
      lull.sleep(1)
    end)
  end)

  it("in a task works for a loop with the virtual clock", function()
    run(function()
      local outer, me, before = lull.loop(), lull.current(), lull.now()
      local loop <close> = virtual()
      local result = loop:run_until_complete(function()
        assert.equal(loop, lull.loop())
        assert.not_equal(me, lull.current())
        assert.equal(1, #lull.tasks())
        lull.sleep(100)
        return lull.spawn(function() lull.sleep(1) return "inner" end):await()
      end)
      assert.equal("inner", result)
      assert.equal(outer, lull.loop())
      assert.equal(me, lull.current())
      assert.equal(before, lull.now())
      lull.sleep(1)
      assert.equal(before + 1, lull.now())
    end)
  end)

  it("in a nested loop raises without harm to the outer one", function()
    run(function()
      local err = {}
      local loop <close> = virtual()
      assert.equal(err, select(2, pcall(loop.run_until_complete, loop, function()
        lull.sleep(1)
        error(err)
      end)))
      lull.sleep(1)
    end)
  end)
end)

describe("loop:run_forever", function()
  it("runs until it is stopped, and can go on later", function()
    local loop <close> = virtual()
    local count = 0
    local function tick()
      count = count + 1
      if count % 3 == 0 then loop:stop() end
      loop:call_later(1, tick)
    end
    loop:call_soon(tick)
    loop:run_forever()
    assert.equal(3, count)
    assert.is_false(loop:is_running())
    loop:run_forever()
    assert.equal(6, count)
  end)

  it("ends after the turn in which it was stopped", function()
    local loop <close> = virtual()
    local log = {}
    loop:call_soon(function()
      log[#log + 1] = "stop"
      loop:stop()
      loop:call_soon(function() log[#log + 1] = "later" end)
    end)
    loop:call_soon(function() log[#log + 1] = "same turn" end)
    loop:run_forever()
    assert.same({"stop", "same turn"}, log)
    loop:call_soon(function() loop:stop() end)
    loop:run_forever()
    assert.same({"stop", "same turn", "later"}, log)
  end)
end)

describe("loop:close", function()
  it("ends the tasks that are left, with their closers", function()
    local loop = virtual()
    local log = {}
    loop:call_soon(function()
      lull.spawn(function()
        local _ <close> = helper.closer(function() log[#log + 1] = "closed" end)
        lull.sleep(100)
        log[#log + 1] = "not reached"
      end)
      loop:call_later(1, function() loop:stop() end)
    end)
    loop:run_forever()
    assert.same({}, log)
    loop:close()
    assert.same({"closed"}, log)
  end)

  it("drops the callbacks that are left", function()
    local loop = virtual()
    local called = false
    local handle = loop:call_later(1, function() called = true end)
    loop:call_soon(function() called = true end)
    loop:close()
    assert.is_false(called)
    assert.matches("cancelled", tostring(handle))
    assert.is_true(handle:cancelled())
    handle:cancel()
  end)

  it("has each of many callbacks called once or, when it is cancelled, never", function()
    for seed = 1, 20 do
      math.randomseed(seed)
      local loop <close> = virtual()
      local left, wanted, called, calls = {}, {}, {}, 0
      for i = 1, 200 do
        if math.random(3) == 1 and #left > 0 then
          local one = table.remove(left, math.random(#left))
          one.handle:cancel()
          wanted[one.number] = nil
        else
          local handle = loop:call_later(math.random(50), function(number, none)
            assert.is_nil(none)
            called[number] = true
            calls = calls + 1
          end, i, nil)
          left[#left + 1], wanted[i] = {handle = handle, number = i}, true
        end
        if i % 50 == 0 then collectgarbage() end
      end
      local many = #left
      for i = 1, many do left[i] = nil end -- nobody holds them any more
      loop:run(lull.sleep, 60)
      assert.same(wanted, called)
      assert.equal(many, calls)
    end
  end)

  it("is what <close> and garbage collection do", function()
    do
      local loop <close> = virtual()
      loop:call_soon(print)
    end
    local weak = setmetatable({}, {__mode = "k"})
    for _ = 1, 20 do
      local loop = virtual()
      loop:call_later(1, print)
      weak[loop] = true
    end
    collectgarbage()
    collectgarbage()
    assert.is_nil(next(weak))
  end)
end)

describe("call_soon", function()
  it("calls in a later turn, in order, with its arguments", function()
    run(function()
      local log, loop = {}, lull.loop()
      for i = 1, 3 do
        loop:call_soon(function(...) log[i] = {select("#", ...), ...} end, i, nil)
      end
      assert.same({}, log)
      lull.sleep(0)
      assert.same({{2, 1}, {2, 2}, {2, 3}}, log)
    end)
  end)

  it("from a callback calls in the turn after it", function()
    run(function()
      local log, loop = {}, lull.loop()
      loop:call_soon(function()
        loop:call_soon(function() log[#log + 1] = "second turn" end)
        log[#log + 1] = "first turn"
      end)
      loop:call_soon(function() log[#log + 1] = "first turn too" end)
      lull.sleep(0)
      lull.sleep(0)
      assert.same({"first turn", "first turn too", "second turn"}, log)
    end)
  end)

  it("keeps the order between callbacks and tasks", function()
    run(function()
      local log, loop = {}, lull.loop()
      lull.spawn(function() log[#log + 1] = 1 end)
      loop:call_soon(function() log[#log + 1] = 2 end)
      lull.spawn(function() log[#log + 1] = 3 end)
      lull.sleep(0)
      assert.same({1, 2, 3}, log)
    end)
  end)

  it("can be called before the loop runs", function()
    local loop <close> = virtual()
    local log = {}
    loop:call_soon(function() log[#log + 1] = "soon" end)
    loop:call_later(1, function() log[#log + 1] = "later" end)
    loop:run_until_complete(function() lull.sleep(2) end)
    assert.same({"soon", "later"}, log)
  end)
end)

describe("a handle", function()
  it("cancels its call", function()
    run(function()
      local called, loop = false, lull.loop()
      local function call() called = true end
      local soon, later = loop:call_soon(call), loop:call_later(1, call)
      local at = loop:call_at(loop:time() + 1, call)
      for _, handle in ipairs {soon, later, at} do
        assert.is_false(handle:cancelled())
        handle:cancel()
        assert.is_true(handle:cancelled())
        handle:cancel()
      end
      lull.sleep(5)
      assert.is_false(called)
    end)
  end)

  it("may be cancelled after its call, in vain", function()
    run(function()
      local calls = 0
      local handle = lull.loop():call_soon(function() calls = calls + 1 end)
      lull.sleep(1)
      handle:cancel()
      assert.equal(1, calls)
      assert.is_string(tostring(handle))
    end)
  end)

  it("may cancel another one of the same turn, and itself", function()
    run(function()
      local called, loop = 0, lull.loop()
      local first, second
      first = loop:call_later(1, function()
        called = called + 1
        first:cancel()
        second:cancel()
      end)
      second = loop:call_later(1, function() called = called + 1 end)
      lull.sleep(5)
      assert.equal(1, called)
    end)
  end)

  it("knows when", function()
    run(function()
      local loop = lull.loop()
      local now = loop:time()
      local later, at = loop:call_later(2, print), loop:call_at(now + 3, print)
      assert.same({now + 2, now + 3}, {later:when(), at:when()})
      later:cancel()
      at:cancel()
    end)
  end)
end)
