-- Done callbacks: when, where and in which order they are called.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local finished, failed, cancelled = cast.finished, cast.failed, cast.cancelled

describe("a done callback", function()
  it("is called with the future in a later turn, in the order of adding", function()
    run(function()
      local future, log = lull.future(), {}
      for i = 1, 3 do
        future:add_done_callback(function(f) log[#log + 1] = {i, f == future} end)
      end
      future:set_result()
      assert.same({}, log)
      lull.sleep(0)
      assert.same({{1, true}, {2, true}, {3, true}}, log)
    end)
  end)

  it("is called in a later turn too when the future is done already", function()
    run(function()
      local calls = 0
      finished():add_done_callback(function() calls = calls + 1 end)
      assert.equal(0, calls)
      lull.sleep(0)
      assert.equal(1, calls)
    end)
  end)

  it("is called for errors, cancellations and tasks", function()
    run(function()
      local log = {}
      local function note(future) log[#log + 1] = future:status() end
      failed("x"):add_done_callback(note)
      cancelled():add_done_callback(note)
      local task = lull.spawn(lull.sleep, 1)
      task:add_done_callback(note)
      lull.sleep(2)
      assert.same({"finished", "cancelled", "finished"}, log)
    end)
  end)

  it("runs outside of any task", function()
    run(function()
      local inside
      finished():add_done_callback(function() inside = lull.current() or "none" end)
      lull.sleep(0)
      assert.equal("none", inside)
    end)
  end)

  it("can be removed, and removing tells how many there were", function()
    run(function()
      local future, calls = lull.future(), 0
      local function count() calls = calls + 1 end
      future:add_done_callback(count)
      future:add_done_callback(print)
      future:add_done_callback(count)
      assert.equal(2, future:remove_done_callback(count))
      assert.equal(0, future:remove_done_callback(count))
      assert.equal(1, future:remove_done_callback(print))
      future:set_result()
      lull.sleep(0)
      assert.equal(0, calls)
    end)
  end)

  it("may settle other futures and add callbacks", function()
    run(function()
      local one, two, log = lull.future(), lull.future(), {}
      one:add_done_callback(function()
        one:add_done_callback(function() log[#log + 1] = "added" end)
        two:set_result "chained"
      end)
      one:set_result()
      assert.equal("chained", two:await())
      lull.sleep(0)
      assert.same({"added"}, log)
    end)
  end)

  it("that fails is reported at once, and the next one is called", function()
    local reports, err = {}, {}
    run(function()
      local future, called = lull.future(), false
      future:add_done_callback(function() error(err) end)
      future:add_done_callback(function() called = true end)
      future:set_result()
      lull.sleep(0)
      assert.is_true(called)
      assert.equal(1, #reports)
      assert.equal(err, reports[1].err)
    end, {reports = reports})
  end)

  it("is called on the loop of its future, also from a loop within that loop", function()
    run(function()
      local future, here, where = lull.future(), lull.loop(), nil
      local waiter = lull.spawn(future.await, future)
      lull.sleep(0)
      future:add_done_callback(function() where = lull.loop() end)
      local loop <close> = lull.new_loop {clock = "virtual"}
      loop:run_until_complete(function() future:set_result "from within" end)
      assert.equal("from within", waiter:await())
      lull.sleep(0)
      assert.equal(here, where)
    end)
  end)

  it("of a future that is settled where no loop runs is not lost", function()
    local future, calls = lull.future(), 0
    future:add_done_callback(function() calls = calls + 1 end)
    local ok = pcall(future.set_result, future, "value")
    run(function()
      if not ok then -- refused: then nothing has happened
        assert.equal("pending", future:status())
        future:set_result "value"
      end
      assert.equal("value", future:await())
      helper.turns(2)
      assert.is_true(calls == 1 or ok) -- there was no turn for it, if it was accepted
    end)
  end)
end)
