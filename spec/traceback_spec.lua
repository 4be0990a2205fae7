-- Where a task stands, where it failed, and who spawned it.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

local function lines(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

describe("task:traceback", function()
  it("shows where it stands, and ends with the line that spawned it", function()
    run(function()
      local here
      local function inner()
        here = helper.line() + 1
        lull.sleep(5)
      end
      local function outer() inner() return 1 end
      local spawned = helper.line() + 1
      local task = lull.spawn(outer)
      lull.sleep(1)
      local trace = lines(task:traceback())
      local text = table.concat(trace, "\n")
      assert.matches("traceback_spec.lua:" .. here .. ":", text)
      assert.matches("inner", text)
      assert.matches("traceback_spec.lua:" .. spawned .. "%f[%D]", trace[#trace])
      assert.matches("spawn", text)
      task:await()
    end)
  end)

  it("shows where it failed, across a pcall that did not catch it", function()
    run(function()
      local here
      local function raise()
        lull.sleep(1)
        here = helper.line() + 1
        error({})
      end
      local spawned = helper.line() + 1
      local task = lull.spawn(function()
        pcall(error, "caught long ago")
        raise()
      end)
      pcall(task.await, task)
      local trace = lines(task:traceback())
      assert.matches("traceback_spec.lua:" .. here .. ":", table.concat(trace, "\n"))
      assert.matches("traceback_spec.lua:" .. spawned .. "%f[%D]", trace[#trace])
    end)
  end)

  it("shows where it failed without a value", function()
    run(function()
      local line
      local function inner()
        line = helper.line() + 1
        error()
      end
      local task = lull.spawn(function() pcall(error, nil) inner() return 1 end)
      assert.has_error(function() task:await() end, "nil (error without a value)")
      assert.matches("traceback_spec.lua:" .. line .. ": in .-inner", task:traceback())
    end)
  end)

  it("shows the nested coroutine in which it waits", function()
    run(function()
      local here
      local task = lull.spawn(function()
        local deep = coroutine.wrap(function()
          here = helper.line() + 1
          lull.sleep(5)
        end)
        deep()
      end)
      lull.sleep(1)
      assert.matches("traceback_spec.lua:" .. here .. ":", task:traceback())
      task:await()
    end)
  end)

  it("of the caller itself works", function()
    run(function()
      local here = helper.line() + 1
      assert.matches("traceback_spec.lua:" .. here .. ":", lull.current():traceback())
    end)
  end)
end)

describe("the traceback of a failure", function()
  -- Where the failure of a task is said to have been raised: a line of this file.
  local function place(task)
    pcall(task.await, task)
    return tonumber(task:traceback():match "traceback_spec.lua:(%d+):")
  end

  it("is where it was raised, though an equal error was raised elsewhere", function()
    run(function()
      local shared = {}
      for _, err in ipairs {"boom", shared} do
        pcall(lull.timeout, 1, function() error(err, 0) end)
        pcall(lull.await, lull.spawn(function() error(err, 0) end))
        local line = helper.line() + 1
        local task = lull.spawn(function() error(err, 0) end)
        assert.equal(line, place(task))
      end
    end)
  end)

  it("does not grow when equal errors are raised again and again", function()
    run(function()
      local sizes = {}
      for i = 1, 50 do
        local task = lull.spawn(function() lull.await(lull.spawn(error, "boom", 0)) end)
        pcall(task.await, task)
        sizes[i] = #task:traceback()
      end
      assert.is_true(sizes[50] <= sizes[2] + 8) -- the numbers of tasks get longer
    end)
  end)

  it("ends with one line that tells who spawned it, up to main", function()
    run(function()
      local worker, by_worker, by_boss
      local function work() lull.sleep(1) error "broken" end
      local function boss()
        by_boss = helper.line() + 1
        worker = lull.spawn(work)
        lull.sleep(5)
      end
      by_worker = helper.line() + 1
      lull.spawn(boss):name "boss"
      lull.sleep(2)
      pcall(worker.await, worker)
      local last = worker:traceback():match "[^\n]*$"
      assert.matches("spawned at .*_spec.lua:" .. by_boss .. ' by task %d+ "boss",', last)
      assert.matches("spawned at .*_spec.lua:" .. by_worker .. "$", last)
    end)
  end)

  it("does not grow when one error goes up through many tasks", function()
    run(function()
      local future = lull.future()
      future:set_error(setmetatable({}, {__tostring = function() return "E" end}))
      local sizes = {}
      for i = 1, 50 do
        local task = lull.spawn(future.await, future)
        pcall(task.await, task)
        sizes[i] = #task:traceback()
      end
      assert.is_true(sizes[50] < 2 * sizes[2] + 100)
    end)
  end)

  it("tells the whole way through nested coroutines and awaits", function()
    run(function()
      local raised, awaited
      local inner = lull.spawn(function()
        coroutine.wrap(function()
          lull.sleep(1)
          raised = helper.line() + 1
          error {}
        end)()
      end)
      local outer = lull.spawn(function()
        awaited = helper.line() + 1
        inner:await()
      end)
      pcall(outer.await, outer)
      assert.equal(raised, place(inner))
      local text = outer:traceback()
      assert.matches("traceback_spec.lua:" .. raised .. ":", text)
      assert.matches("traceback_spec.lua:" .. awaited .. ":", text)
    end)
  end)
end)
