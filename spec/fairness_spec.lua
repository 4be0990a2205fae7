-- A task that never suspends by itself still gives way: after a bounded number of calls
-- that completed at once, before an operation and never after it.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local finished = cast.finished

local BOUND = 10000 -- operations after which others must have had a turn, generously

-- Calls operate(n) until another task has run; returns how often.
local function until_turn(operate)
  local turn = false
  lull.spawn(function() turn = true end)
  for n = 1, BOUND do
    operate(n)
    if turn then return n end
  end
  error "the other task never had a turn"
end

local operations = {
  ["await of a finished future"] = function() finished():await() end,
  ["lull.await of a finished future"] = function() lull.await(finished()) end,
  ["await_callback called back at once"] = function()
    lull.await_callback(function(done) done() end)
  end,
  ["a failed future in a pcall"] = function()
    local future = lull.future()
    future:set_error "x"
    pcall(future.await, future)
  end,
  ["awaits in a nested coroutine"] = function()
    coroutine.wrap(function() finished():await() end)()
  end,
}

describe("a task that never waits", function()
  for name, operation in pairs(operations) do
    it("gives way: " .. name, function()
      run(function() until_turn(operation) end)
    end)
  end

  it("completes a number of operations between two turns", function()
    run(function()
      assert.is_true(until_turn(operations["await of a finished future"]) > 1)
    end)
  end)

  it("lets timers fall due and callbacks be called", function()
    run(function()
      local loop, soon, later = lull.loop(), false, false
      loop:call_soon(function() soon = true end)
      loop:call_later(0, function() later = true end)
      for _ = 1, BOUND do
        finished():await()
        if soon and later then return end
      end
      error "they were not called"
    end)
  end)

  for _, backend in helper.backends() do
    it("lets descriptors be served, on " .. backend, function()
      run(function()
        local a, b = lull.net.pair()
        local got
        lull.spawn(function() got = a:read() end)
        lull.sleep(0)
        b:write "line\n"
        for _ = 1, 100 * BOUND do
          finished():await()
          if got then break end
        end
        assert.equal("line", got)
        a:close()
        b:close()
      end, {selector = backend})
    end)
  end

  -- The kernel is not asked in every turn while somebody is ready; but when one has used
  -- up his turn it is.
  for _, backend in helper.backends() do
    it("keeps who waits for a descriptor for no longer than a turn, on " .. backend,
      function()
        run(function()
          local a, b = lull.net.pair()
          local count, counted = 0, nil
          lull.spawn(function()
            a:read()
            counted = count
          end)
          lull.sleep(0)
          until_turn(function() finished():await() end) -- a turn begins
          b:write "line\n"
          repeat
            finished():await()
            count = count + 1
          until counted or count == BOUND
          assert.is_true(count < 1000, count .. " operations")
          a:close()
          b:close()
        end, {selector = backend})
      end)

    it("gives way sooner when it moves much, on " .. backend, function()
      run(function()
        local ends, n, turn = {}, 0, false
        for i = 1, 8 do
          local a, b = lull.net.pair()
          b:write(("x"):rep(64 * 1024))
          ends[i] = {a, b}
        end
        lull.sleep(0)
        lull.spawn(function() turn = true end)
        repeat
          n = n + 1
          ends[n][1]:read_exactly(64 * 1024)
        until turn or n == #ends
        assert.is_true(turn)
        assert.is_true(n <= 6, n .. " reads")
        for i = 1, #ends do
          ends[i][1]:close()
          ends[i][2]:close()
        end
      end, {selector = backend})
    end)
  end

  it("shares with another of its kind", function()
    run(function()
      local counts, stop = {0, 0, 0}, false
      local tasks = {}
      for i = 1, 3 do
        tasks[i] = lull.spawn(function()
          while not stop do
            finished():await()
            counts[i] = counts[i] + 1
            stop = counts[i] >= 3 * BOUND
          end
        end)
      end
      for i = 1, 3 do tasks[i]:await() end
      for i = 1, 3 do assert.is_true(counts[i] >= BOUND, i .. ": " .. counts[i]) end
    end)
  end)

  it("takes the turn before an operation, never after it", function()
    run(function()
      -- Whenever the other task has run it was before something was awaited: the value
      -- that the operation then gives is one that was made after that turn.
      local turn, version = 0, 0
      local other = lull.spawn(function()
        while true do turn = turn + 1 lull.sleep(0) end
      end)
      local x = setmetatable({}, {__await = function() version = turn return turn end})
      for _ = 1, BOUND do
        local value = lull.await(x)
        assert.same({turn, turn}, {value, version})
        local at
        lull.await_callback(function(done) at = turn done() end)
        assert.equal(at, turn)
      end
      assert.is_true(turn > 1)
      other:close()
    end)
  end)

  it("can be cancelled in its turn", function()
    run(function()
      local task = lull.spawn(function()
        while true do finished():await() end
      end)
      lull.sleep(0)
      task:cancel()
      pcall(task.await, task)
      assert.equal("cancelled", task:status())
    end)
  end)

  it("can be cancelled by time", function()
    run(function()
      local _, _, code = lull.timeout(0, function()
        while true do finished():await() end
      end)
      assert.equal("ETIMEDOUT", code)
    end)
  end)
end)
