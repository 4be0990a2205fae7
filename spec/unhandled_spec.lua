-- Nothing is lost silently: which failures count as taken, and how the others are told.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local failed = cast.failed

-- Runs fn(err, reports), then five seconds; returns what has been reported.
local function reported(fn)
  local reports, err = {}, setmetatable({}, {__tostring = function() return "E" end})
  run(function()
    fn(err, reports)
    lull.sleep(5)
  end, {reports = reports})
  return reports, err
end

describe("a failed task that nobody looks at", function()
  it("is reported after a second with error, traceback and task", function()
    local task, spawned, raised
    local reports, err = reported(function(err, reports)
      spawned = helper.line() + 1
      task = lull.spawn(function()
        lull.sleep(1)
        raised = helper.line() + 1
        error(err)
      end)
      lull.sleep(1.9)
      assert.equal(0, #reports)
      lull.sleep(0.2)
      assert.equal(1, #reports)
    end)
    assert.equal(1, #reports)
    assert.equal(err, reports[1].err)
    assert.equal(task, reports[1].task)
    local trace = reports[1].traceback
    assert.is_string(trace)
    assert.matches("unhandled_spec.lua:" .. raised .. ":", trace)
    assert.matches("unhandled_spec.lua:" .. spawned .. "%f[%D][^\n]*$", trace)
  end)

  it("is reported although nobody holds it", function()
    local reports, err = reported(function(err)
      lull.spawn(error, err)
      lull.sleep(0)
      collectgarbage()
      collectgarbage()
    end)
    assert.equal(1, #reports)
    assert.equal(err, reports[1].err)
  end)

  it("is reported at the end when the end comes first", function()
    local reports = {}
    run(function()
      lull.spawn(error, "early")
      lull.sleep(0)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal("early", reports[1].err)
  end)

  it("is reported once", function()
    assert.equal(1, #reported(function(err)
      local task = lull.spawn(error, err)
      lull.sleep(3)
      pcall(task.await, task)
    end))
  end)

  it("is no failure when it was cancelled", function()
    assert.equal(0, #reported(function()
      local task = lull.spawn(lull.sleep, 10)
      lull.sleep(0)
      task:cancel()
      lull.spawn(print):cancel()
    end))
  end)
end)

-- What takes the failure of a future: name -> fn(future)
local takers = {
  ["an await"] = function(future) pcall(future.await, future) end,
  ["lull.await"] = function(future) pcall(lull.await, future) end,
  ["a yield"] = function(future) pcall(coroutine.yield, future) end,
  ["result"] = function(future) pcall(future.result, future) end,
  ["error"] = function(future) future:error() end,
  ["a done callback"] = function(future) future:add_done_callback(function() end) end,
}

describe("a failure is taken", function()
  for name, take in pairs(takers) do
    it("by " .. name .. " within a second", function()
      assert.equal(0, #reported(function(err)
        local task, future = lull.spawn(error, err), failed(err)
        lull.sleep(0.5)
        take(task)
        take(future)
      end))
    end)
  end

  it("by somebody who awaits it while it fails", function()
    assert.equal(0, #reported(function(err)
      local task = lull.spawn(function() lull.sleep(1) error(err) end)
      pcall(task.await, task)
    end))
  end)

  it("by a done callback that was there before", function()
    assert.equal(0, #reported(function(err)
      local future = lull.future()
      future:add_done_callback(function() end)
      future:set_error(err)
    end))
  end)

  it("not by status, done, cancelled or tostring", function()
    assert.equal(2, #reported(function(err)
      local task, future = lull.spawn(error, err), failed(err)
      lull.sleep(0.5)
      for _, f in ipairs {task, future} do
        assert.is_string(f:status() .. tostring(f))
        assert.is_true(f:done() and not f:cancelled())
      end
    end))
  end)

  it("not by an await that was cancelled before the failure", function()
    assert.equal(1, #reported(function(err)
      local task = lull.spawn(function() lull.sleep(2) error(err) end)
      lull.timeout(1, task.await, task)
    end))
  end)

  it("within a second also when main has ended and others go on", function()
    local out, err, code = helper.child [[
      local function work()
        lull.spawn(error, "not looked at", 0)
        lull.sleep(0.8)
        local task = lull.spawn(error, "looked at in time", 0)
        lull.spawn(error, "looked at as well", 0):add_done_callback(function() end)
        lull.sleep(0.4)
        print(pcall(task.await, task))
        lull.sleep(5)
      end
      lull.on_unhandled(print)
      lull.spawn(work)
      local other = lull.spawn(error, "main's", 0)
      lull.sleep(0.1)
      other:error()
    ]]
    assert.same({"", 0}, {err, code})
    assert.matches("^not looked at\t", out)
    assert.matches("\nfalse\tlooked at in time\n$", out)
    assert.not_matches("\nlooked at", out)
  end)
end)

describe("a failed future that nobody looks at", function()
  it("is reported after a second, without a task", function()
    local reports, err = reported(function(err, reports)
      failed(err)
      lull.sleep(0.9)
      assert.equal(0, #reports)
      lull.sleep(0.2)
      assert.equal(1, #reports)
    end)
    assert.equal(err, reports[1].err)
    assert.is_nil(reports[1].task)
  end)
end)

describe("a failure that comes while another one is told", function()
  it("is told in its turn", function()
    local told = {}
    local loop <close> = lull.new_loop {clock = "virtual"}
    loop:on_unhandled(function(err)
      told[#told + 1] = err
      if err == "first" then failed "by the handler" end
    end)
    loop:run_until_complete(function()
      lull.spawn(error, "first", 0)
      lull.sleep(0.5)
      lull.spawn(error, "second", 0)
      lull.sleep(5)
    end)
    assert.same({"first", "second", "by the handler"}, told)
  end)
end)

describe("the error of a callback", function()
  it("is reported at once, with its traceback", function()
    local line
    local reports, err = reported(function(err, reports)
      line = helper.line() + 1
      lull.loop():call_soon(function() error(err) end)
      lull.loop():call_later(1, error, "plain", 0)
      lull.sleep(0)
      assert.equal(1, #reports)
      lull.sleep(1)
      assert.equal(2, #reports)
    end)
    assert.equal(err, reports[1].err)
    assert.matches("unhandled_spec.lua:" .. line .. ":", reports[1].traceback)
    assert.is_nil(reports[1].task)
    assert.equal("plain", reports[2].err)
  end)

  it("does not disturb the next callback", function()
    local called = false
    reported(function()
      lull.loop():call_soon(error, "x")
      lull.loop():call_soon(function() called = true end)
    end)
    assert.is_true(called)
  end)
end)

describe("lull.on_unhandled", function()
  local function handler() end
  local first

  before_each(function() first = lull.on_unhandled(nil) end)
  after_each(function() lull.on_unhandled(first) end)

  it("returns the previous handler; nil restores the default", function()
    assert.is_nil(lull.on_unhandled(handler))
    assert.equal(handler, lull.on_unhandled(print))
    assert.equal(print, lull.on_unhandled(nil))
    assert.is_nil(lull.on_unhandled(nil))
  end)

  it("is asked by loops that have no handler of their own", function()
    local got = {}
    lull.on_unhandled(function(...) got = {select("#", ...), ...} end)
    local loop <close> = lull.new_loop {clock = "virtual"}
    local task
    loop:run_until_complete(function()
      task = lull.spawn(error, "lost", 0)
      lull.sleep(5)
    end)
    assert.equal("lost", got[2])
    assert.is_string(got[3])
    assert.equal(task, got[4])
  end)

  it("is not asked by loops that have one", function()
    local general, own = 0, 0
    lull.on_unhandled(function() general = general + 1 end)
    local loop <close> = lull.new_loop {clock = "virtual"}
    loop:on_unhandled(function() own = own + 1 end)
    loop:run_until_complete(function()
      lull.spawn(error, "lost", 0)
      lull.sleep(5)
    end)
    assert.same({0, 1}, {general, own})
  end)
end)

describe("in a script", function()
  it("the default tells stderr, and the exit code is 1", function()
    local out, err, code = helper.child [[
      local function lose() error "lost in silence" end
      lull.spawn(lose):name "loser"
      lull.sleep(3)
      print "main ends well"
    ]]
    assert.same({"main ends well\n", 1}, {out, code})
    assert.matches("script.lua:1: lost in silence", err)
    assert.matches("loser", err)
    assert.matches("script.lua:2", err)
    assert.matches("traceback", err)
  end)

  it("what is taken after all does not change the exit code", function()
    local out, err, code = helper.child [[
      local task = lull.spawn(error, "late", 0)
      lull.sleep(3)
      print(task:error())
    ]]
    assert.same({"late\n", 0}, {out, code})
    assert.matches("late", err) -- it was told when its second was over
  end)

  it("the error of a callback is told, and the exit code is 1", function()
    local out, err, code = helper.child [[
      lull.loop():call_soon(error, "in a callback", 0)
      lull.sleep(1)
      print "end"
    ]]
    assert.same({"end\n", 1}, {out, code})
    assert.matches("in a callback", err)
  end)

  it("with a handler nothing is printed, and the exit code is 0", function()
    local out, err, code = helper.child [[
      lull.on_unhandled(function(err, traceback, task)
        print(err, type(traceback), task:name())
      end)
      lull.spawn(error, "mine", 0):name "n"
      lull.sleep(3)
    ]]
    assert.same({"mine\tstring\tn\n", "", 0}, {out, err, code})
  end)

  it("an error that cannot be made a string is told with its task", function()
    local out, err, code = helper.child [[
      local broken = setmetatable({}, {__tostring = function() error "broken" end})
      lull.spawn(error, broken):name "unlucky"
      lull.sleep(3)
      print "alive"
    ]]
    assert.same({"alive\n", 1}, {out, code})
    assert.matches("unlucky", err)
  end)

  it("a handler that fails itself is told, not followed", function()
    local out, err, code = helper.child [[
      lull.on_unhandled(function() error "handler broke" end)
      lull.spawn(error, "first", 0)
      lull.sleep(3)
      print "alive"
    ]]
    assert.equal("alive\n", out)
    assert.matches("handler broke", err)
    assert.is_true(code == 0 or code == 1)
  end)
end)
