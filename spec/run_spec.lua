-- lull.run and what a script is: when it ends, what becomes of the tasks that are left.
-- These loops have the real clock and never sleep on it; scripts run on the virtual one.
local helper = require "spec.helper"
local lull = helper.lull

describe("lull.run", function()
  it("runs a function as main task and returns its results", function()
    assert.same({3, nil, 2, nil}, {lull.run(function(...)
      assert.is_truthy(lull.current())
      lull.sleep(0)
      return select("#", ...), ...
    end, nil, 2, nil)})
    assert.equal(0, select("#", lull.run(function() end)))
    assert.is_nil(lull.current())
  end)

  it("raises the error of main unchanged", function()
    local err = {}
    assert.equal(err, select(2, pcall(lull.run, function()
      lull.sleep(0)
      error(err)
    end)))
    assert.equal("text", select(2, pcall(lull.run, error, "text", 0)))
  end)

  it("can be called again and again", function()
    for n = 1, 20 do
      assert.equal(n, lull.run(function() lull.sleep(0) return n end))
    end
  end)

  it("inside a task just calls", function()
    helper.run(function()
      local me, loop = lull.current(), lull.loop()
      assert.same({1, nil}, {lull.run(function(...)
        assert.equal(me, lull.current())
        assert.equal(loop, lull.loop())
        lull.sleep(1)
        return ...
      end, 1, nil)})
      local err = {}
      assert.equal(err, select(2, pcall(lull.run, function() error(err) end)))
    end)
  end)

  it("waits for the tasks that are left", function()
    local log = {}
    assert.equal("result", lull.run(function()
      lull.spawn(function()
        helper.turns(10)
        lull.spawn(function() helper.turns(10) log[#log + 1] = "grandchild" end)
        log[#log + 1] = "child"
      end)
      return "result"
    end))
    assert.same({"child", "grandchild"}, log)
  end)

  it("cancels daemons when the others have ended, and waits for them", function()
    local log = {}
    lull.run(function()
      lull.spawn(function()
        local _ <close> = helper.closer(function()
          lull.shield(helper.turns, 5)
          log[#log + 1] = "daemon"
        end)
        lull.future():await()
      end):daemon()
      lull.spawn(function() helper.turns(10) log[#log + 1] = "task" end)
    end)
    assert.same({"task", "daemon"}, log)
  end)

  it("lets daemons run as long as others do", function()
    local turns = 0
    lull.run(function()
      lull.spawn(function()
        while true do turns = turns + 1 lull.sleep(0) end
      end):daemon()
      lull.spawn(helper.turns, 50)
    end)
    assert.is_true(turns >= 50)
  end)

  it("cancels and awaits the others when main fails", function()
    local log, err = {}, {}
    local ok, got = pcall(lull.run, function()
      for i = 1, 3 do
        lull.spawn(function()
          local _ <close> = helper.closer(function(_, e)
            lull.shield(helper.turns, 5)
            log[i] = lull.is_cancelled(e)
          end)
          lull.future():await()
        end)
      end
      lull.sleep(0)
      error(err)
    end)
    assert.is_false(ok)
    assert.equal(err, got)
    assert.same({true, true, true}, log)
  end)

  it("ends although a task will not be cancelled", function()
    local previous = lull.on_unhandled(function() end)
    local ok, err = pcall(lull.run, function()
      lull.spawn(function()
        while true do pcall(lull.sleep, 1000) end
      end)
      lull.sleep(0)
      error("main", 0)
    end)
    lull.on_unhandled(previous)
    assert.same({false, "main"}, {ok, err})
  end)

  it("does not return a failure of another task", function()
    local reports = {}
    local previous = lull.on_unhandled(function(err) reports[#reports + 1] = err end)
    local result = lull.run(function()
      lull.spawn(error, "the other's")
      return "main's"
    end)
    lull.on_unhandled(previous)
    assert.equal("main's", result)
    assert.same({"the other's"}, reports)
  end)

  it("refuses what cannot be called", function()
    assert.is_false(pcall(lull.run))
    assert.is_false(pcall(lull.run, 1))
    assert.is_nil(lull.current())
  end)

  it("works in a coroutine of plain Lua", function()
    local result = coroutine.wrap(function()
      return lull.run(function() lull.sleep(0) return "inner" end)
    end)()
    assert.equal("inner", result)
  end)

  it("in a callback of a loop is refused, without harm", function()
    helper.run(function()
      local ok
      lull.loop():call_soon(function() ok = pcall(lull.run, lull.sleep, 0) end)
      lull.sleep(1)
      assert.is_false(ok)
    end)
  end)
end)

describe("a script", function()
  it("is a task, and ends when all others have ended", function()
    local out, err, code = helper.child [[
      lull.spawn(function()
        lull.sleep(2)
        print "child"
      end)
      lull.spawn(function()
        local _ <close> = lull.defer(print, "daemon cancelled")
        lull.sleep(math.huge)
      end):daemon()
      lull.sleep(1)
      print "main"
    ]]
    assert.same({"main\nchild\ndaemon cancelled\n", "", 0}, {out, err, code})
  end)

  it("that fails tells its error, cancels the others and exits with 1", function()
    local out, err, code = helper.child [[
      lull.spawn(function()
        local _ <close> = lull.defer(function()
          lull.shield(lull.sleep, 1)
          print "cleaned"
        end)
        lull.sleep(1000)
      end)
      lull.sleep(1)
      error "the script's"
    ]]
    assert.same({"cleaned\n", 1}, {out, code})
    assert.matches("^lull: .*script.lua:9: the script's", err)
    assert.matches("stack traceback", err)
  end)

  it("that fails cancels what is spawned in cleanup too", function()
    local out, _, code = helper.child [[
      lull.spawn(function()
        local _ <close> = lull.defer(lull.spawn, function()
          lull.sleep(1000)
          print "waited for"
        end)
        lull.sleep(1000)
      end)
      lull.sleep(1)
      error "main"
    ]]
    assert.same({"", 1}, {out, code})
  end)

  it("may fail with any value", function()
    local _, err, code = helper.child "error(setmetatable({}, {__tostring = \z
      function() return 'an object' end}))"
    assert.equal(1, code)
    assert.matches("an object", err)
    _, err, code = helper.child "lull.sleep(1) error()"
    assert.equal(1, code)
    assert.matches("nil", err)
  end)
end)

describe("the end of a run", function()
  it("comes after the done callbacks of the last task, and whom they spawn", function()
    local log = {}
    lull.new_loop({clock = "virtual"}):run(function()
      lull.spawn(lull.sleep, 1):add_done_callback(function()
        log[#log + 1] = "called"
        lull.spawn(function()
          lull.sleep(1)
          log[#log + 1] = "spawned"
        end)
      end)
    end)
    assert.same({"called", "spawned"}, log)
  end)

  it("calls the done callbacks of those whom it cancels", function()
    local log, loop = {}, lull.new_loop {clock = "virtual"}
    pcall(loop.run, loop, function()
      lull.spawn(lull.sleep, 5):add_done_callback(function(task)
        log[#log + 1] = task:status()
        lull.spawn(function() log[#log + 1] = "too late" end)
      end)
      lull.sleep(1)
      error "main fails"
    end)
    assert.same({"cancelled"}, log)
  end)
end)
