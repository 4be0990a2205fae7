-- lull.test finds what it is made to find: mistakes that show when a task is cancelled in
-- one certain moment, or in one certain order, and things left behind.
local helper = require "spec.helper"
local lull = helper.lull
local test = require "lull.test"

local function failure(sweep, scenario, options)
  local ok, err = pcall(sweep, scenario, options)
  assert.is_false(ok, "the sweep should have found something")
  return err
end

-- A lock as one writes it without thinking: who is woken looks again, and a wake-up that
-- its task does not consume is lost.
local function new_naive_lock()
  local lock = {held = false, waiters = {}}
  function lock:acquire()
    while self.held do
      local future = lull.future()
      table.insert(self.waiters, future)
      future:await()
    end
    self.held = true
  end
  function lock:release()
    self.held = false
    local future = table.remove(self.waiters, 1)
    if future then future:set_result() end
  end
  return lock
end

local function use_naive_lock(case)
  local lock = new_naive_lock()
  case:finally(function() assert(not lock.held, "the lock is held for ever") end)
  for _ = 1, 3 do
    lull.spawn(function()
      lock:acquire()
      local _ <close> = lull.defer(lock.release, lock)
      lull.sleep(1)
    end)
  end
end

describe("the cancel sweep", function()
  it("cancels each task before each step", function()
    local seen, runs = {}, 0
    local count = test.cancel_sweep(function(case)
      runs = runs + 1
      local task = lull.spawn(function()
        lull.sleep(1)
        lull.sleep(1)
      end)
      case:finally(function()
        local main = case.cancelled and case.cancelled ~= task
        seen[main and "main" or task:cancelled() and "task" or "none"] = true
      end)
      lull.sleep(5)
    end)
    assert.equal(runs, count)
    assert.same({main = true, task = true, none = true}, seen)
    -- Steps: main goes to sleep before the first that is seen; the task begins, wakes
    -- twice; main wakes and the loop is told.
    assert.is_true(count >= 8, count .. " runs")
  end)

  it("cancels between the wake-up of a task and its next step", function()
    local err = failure(test.cancel_sweep, function(case)
      local future, taken = lull.future(), false
      local task = lull.spawn(function()
        future:await()
        taken = true
      end)
      lull.sleep(1)
      future:set_result()
      pcall(task.await, task)
      case:finally(function()
        assert(not future:done() or taken, "what it was given is lost")
      end)
    end)
    assert.matches("what it was given is lost", err, 1, true)
  end)

  it("finds the wake-up that a naive lock loses, and how to see it again", function()
    local err = failure(test.cancel_sweep, use_naive_lock, {name = "the naive lock"})
    assert.matches("the naive lock fails when cancelled with {", err, 1, true)
    assert.matches("deadlock", err)
    assert.matches("the last steps:\n", err)
    assert.matches("step %d+: task %d+ at [^\n]*lulltest_spec.lua:%d+", err)
    assert.matches("it fails in the same way when it is run again", err, 1, true)
    local step, task = err:match "{step = (%d+), task = (%d+)}"
    local again = failure(test.cancel_sweep, use_naive_lock, {
      step = tonumber(step), task = tonumber(task),
    })
    assert.matches("deadlock", again)
    assert.equal(1, test.cancel_sweep(use_naive_lock, {step = 1, task = 1}))
  end)

  it("can be kept to the main task, and done in random orders", function()
    local function scenario(case)
      case:finally(function()
        assert(case.cancelled == nil or case.main == case.cancelled)
      end)
      case.main = lull.current()
      lull.spawn(lull.sleep, 1)
      lull.sleep(2)
    end
    local runs = test.cancel_sweep(scenario, {who = "main"})
    assert.is_true(runs > 1)
    assert.is_true(test.cancel_sweep(scenario, {who = "main", seeds = 2}) > 2 * runs)
    assert.is_false(pcall(test.cancel_sweep, scenario))
  end)

  it("tells when the scenario fails undisturbed", function()
    local err = failure(test.cancel_sweep, function() lull.sleep(1) error "always" end)
    assert.matches("fails undisturbed:.*always", err)
  end)

  it("does not take the errors for failures that say who was cancelled", function()
    test.cancel_sweep(function()
      local task = lull.spawn(lull.sleep, 1)
      lull.spawn(function() task:await() end)
      task:await()
    end)
  end)
end)

describe("the schedule sweep", function()
  local function scenario(case)
    local order = {}
    for i = 1, 3 do
      lull.spawn(function()
        lull.sleep(0)
        order[#order + 1] = i
      end)
    end
    case:finally(function()
      assert(order[1] ~= 3 or order[2] ~= 1, "in just this order it fails")
    end)
  end

  it("finds the order that fails, and replays its seed exactly", function()
    local err = failure(test.schedule_sweep, scenario)
    assert.matches("in just this order it fails", err, 1, true)
    assert.matches("it fails in the same way when it is run again", err, 1, true)
    local seed = tonumber(err:match "fails with {seed = (%d+)}")
    local again = failure(test.schedule_sweep, scenario, {seed = seed})
    assert.equal(err:match "the last steps:.*", again:match "the last steps:.*")
  end)

  it("counts its runs, and goes through other seeds", function()
    local seeds = {}
    local count = test.schedule_sweep(function(case)
      seeds[#seeds + 1] = case.seed
    end, {seeds = 3, first = 10})
    assert.equal(3, count)
    assert.same({10, 11, 12}, seeds)
    assert.equal(100, test.schedule_sweep(function() end))
  end)

  it("cancels at random where it is asked to", function()
    local cancelled = 0
    test.schedule_sweep(function(case)
      for _ = 1, 4 do
        lull.spawn(function() for _ = 1, 4 do lull.sleep(1) end end)
      end
      case:finally(function()
        if case.cancelled then cancelled = cancelled + 1 end
      end)
    end, {seeds = 50, cancels = 1})
    assert.is_true(cancelled > 5, cancelled .. " were cancelled")
    local err = failure(test.schedule_sweep, use_naive_lock, {seeds = 1000, cancels = 2})
    assert.matches("deadlock", err)
    assert.matches("it fails in the same way when it is run again", err, 1, true)
  end)

  it("notices a scenario that something else decides", function()
    local runs = 0
    local err = failure(test.schedule_sweep, function()
      runs = runs + 1
      if runs == 5 then error "only this once" end
    end)
    assert.matches("it does not fail in the same way", err, 1, true)
  end)

  it("is stopped where there is no end", function()
    local err = failure(test.schedule_sweep, function()
      while true do lull.sleep(1) end
    end, {seeds = 1, limit = 500})
    assert.matches("no end after 500 steps", err, 1, true)
  end)
end)

describe("an invariant", function()
  it("is checked before every step", function()
    local inside, most = 0, 0
    local err = failure(test.schedule_sweep, function(case)
      inside = 0
      case:always(function()
        most = math.max(most, inside)
        assert(inside <= 1, "two are inside")
      end)
      for _ = 1, 2 do
        lull.spawn(function()
          inside = inside + 1
          lull.sleep(1)
          inside = inside - 1
        end)
      end
    end, {seeds = 1})
    assert.matches("two are inside", err, 1, true)
    assert.equal(2, most)
  end)
end)

describe("what is left behind", function()
  local function left(scenario)
    return failure(test.schedule_sweep, scenario, {seeds = 1})
  end

  it("may be a timer", function()
    assert.matches("left behind: 1 timers", left(function()
      lull.loop():call_later(1000, print)
    end), 1, true)
  end)

  it("may be a descriptor", function()
    local a, b
    local err = left(function() a, b = lull.net.pair() end)
    assert.matches("left behind: .*descriptor", err)
    a:close()
    b:close()
    local file
    assert.matches("left behind: descriptor %d+ %(/dev/null%)", left(function()
      file = io.open "/dev/null"
    end))
    file:close()
  end)

  it("is not what a finalizer closes while it is looked for", function()
    assert.equal("", (helper.child [[
      collectgarbage("incremental", 50, 100, 6) -- so it often runs in between
      for _ = 1, 300 do
        for _ = 1, 5 do lull.net.pair() end
        for fd, target in pairs(require "lull.core".descriptors()) do
          if target == "" then print(fd) end
        end
      end]]))
  end)

  it("may be the failure of a task that nobody looks at", function()
    assert.matches("left alone", left(function()
      lull.spawn(error, "left alone")
    end), 1, true)
  end)

  it("is nothing after what cleans up behind itself", function()
    test.schedule_sweep(function()
      local a, b = lull.net.pair()
      lull.timeout(1, lull.sleep, 2)
      local task = lull.spawn(function() return a:read() end)
      b:write "line\n"
      task:await()
      lull.loop():call_later(5, print):cancel()
      a:close()
      b:close()
    end, {seeds = 10})
  end)
end)

describe("test.run", function()
  it("runs a function once, on the virtual clock, and returns its results", function()
    assert.same({1, nil, 3}, {test.run(function()
      lull.sleep(1e6)
      return 1, nil, 3
    end)})
  end)

  it("raises its error as it is, and what is left behind", function()
    local err = {}
    local ok, got = pcall(test.run, function() error(err) end)
    assert.is_false(ok)
    assert.equal(err, got)
    ok, got = pcall(test.run, function() lull.loop():call_later(1, print) end)
    assert.is_false(ok)
    assert.matches("left behind", got)
  end)

  it("can be used inside of a task", function()
    lull.run(function()
      assert.equal("inner", test.run(function() lull.sleep(1) return "inner" end))
    end)
  end)
end)
