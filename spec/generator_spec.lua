-- lull.generator: a for loop over a function that yields and awaits, closed with its
-- closers when the loop is left.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

-- Yields 1 .. n, a second apart; notes when it has been closed, after a suspension.
local function counter(n, log)
  local _ <close> = helper.closer(function(_, err)
    lull.sleep(1)
    log[#log + 1] = "closed " .. tostring(err)
  end)
  for i = 1, n do
    lull.sleep(1)
    coroutine.yield(i)
  end
end

describe("lull.generator", function()
  it("yields to a for loop, and awaits in between", function()
    run(function()
      local start, log, seen = lull.now(), {}, {}
      for i in lull.generator(counter, 3, log) do seen[#seen + 1] = i end
      assert.same({1, 2, 3}, seen)
      assert.same({"closed nil"}, log)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("yields several values, and ends when its function returns", function()
    run(function()
      local seen = {}
      local function pairs_of(a, b)
        coroutine.yield(a, nil, 1)
        coroutine.yield(b, nil, 2)
        return "not seen"
      end
      for key, none, n in lull.generator(pairs_of, "x", "y") do
        assert.is_nil(none)
        seen[n] = key
      end
      assert.same({"x", "y"}, seen)
    end)
  end)

  it("lets the consumer await between two values", function()
    run(function()
      local start, log = lull.now(), {}
      for _ in lull.generator(counter, 3, log) do lull.sleep(2) end
      assert.equal(start + 10, lull.now())
    end)
  end)

  it("runs no line before the first value is asked for", function()
    run(function()
      local ran = false
      local iterator = lull.generator(function() ran = true coroutine.yield(1) end)
      lull.sleep(1)
      assert.is_false(ran)
      assert.equal(1, (iterator()))
      assert.is_true(ran)
    end)
  end)

  it("raises its error in the loop, the same object, with its closers run", function()
    run(function()
      local err, log = {}, {}
      local ok, got = pcall(function()
        for _ in lull.generator(function()
          local _ <close> = helper.closer(function() lull.sleep(1) log[1] = "closed" end)
          coroutine.yield(1)
          error(err)
        end) do lull.sleep(1) end
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({"closed"}, log)
    end)
  end)

  it("yields across a pcall of its own", function()
    run(function()
      local seen = {}
      for v in lull.generator(function()
        pcall(function()
          coroutine.yield "one"
          lull.sleep(1)
          error "caught"
        end)
        coroutine.yield "two"
      end) do seen[#seen + 1] = v end
      assert.same({"one", "two"}, seen)
    end)
  end)

  it("may consume another generator", function()
    run(function()
      local log, seen = {}, {}
      local function doubled()
        for i in lull.generator(counter, 3, log) do
          coroutine.yield(i)
          coroutine.yield(i)
        end
      end
      for i in lull.generator(doubled) do
        seen[#seen + 1] = i
        if #seen == 3 then break end
      end
      assert.same({1, 1, 2}, seen)
      assert.equal(1, #log)
    end)
  end)
end)

describe("the closers of a generator run, and may suspend,", function()
  local log
  before_each(function() log = {} end)

  it("on break", function()
    run(function()
      for i in lull.generator(counter, 10, log) do
        if i == 2 then break end
      end
      assert.equal(1, #log)
    end)
  end)

  it("on return", function()
    run(function()
      local function first()
        for i in lull.generator(counter, 10, log) do
          if i then return i end
        end
      end
      assert.equal(1, first())
      assert.equal(1, #log)
    end)
  end)

  it("on an error in the loop's body, which goes on unchanged", function()
    run(function()
      local err = {}
      local ok, got = pcall(function()
        for _ in lull.generator(counter, 10, log) do error(err) end
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.equal(1, #log)
    end)
  end)

  it("in the reverse order of their opening", function()
    run(function()
      local function two()
        local function note(name)
          return helper.closer(function() lull.sleep(1) log[#log + 1] = name end)
        end
        local _ <close> = note "outer"
        local _ <close> = note "inner"
        while true do coroutine.yield(1) end
      end
      for n in lull.generator(two) do
        if n == 1 then break end
      end
      assert.same({"inner", "outer"}, log)
    end)
  end)

  it("but not where the generator had never begun", function()
    run(function()
      local ran = false
      local iterator, state, control, closing = lull.generator(function() ran = true end)
      assert.is_function(iterator)
      do
        local _ <close> = closing
        assert.is_nil(state and control)
      end
      assert.is_false(ran)
    end)
  end)

  it("when the consumer is cancelled in its loop's body, under a shield", function()
    run(function()
      local task = lull.spawn(function()
        for _ in lull.generator(function()
          local _ <close> = helper.closer(function()
            lull.shield(lull.sleep, 3)
            log[#log + 1] = "clean"
          end)
          coroutine.yield(1)
        end) do lull.sleep(10) end
      end)
      lull.sleep(1)
      local start = lull.now()
      task:close()
      assert.same({"clean"}, log)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("when it is cancelled while the generator itself waits, under a shield", function()
    run(function()
      local task = lull.spawn(function()
        for _ in lull.generator(function()
          local _ <close> = helper.closer(function(_, err)
            lull.shield(lull.sleep, 3)
            log[#log + 1] = lull.is_cancelled(err)
          end)
          lull.sleep(10)
        end) do error "no value" end
      end)
      lull.sleep(1)
      task:close()
      assert.same({true}, log)
      assert.equal("cancelled", task:status())
    end)
  end)

  it("although the generator catches what it is left with", function()
    run(function()
      local rounds = 0
      for _ in lull.generator(function()
        local _ <close> = lull.defer(table.insert, log, "closed")
        while true do
          pcall(coroutine.yield, 1)
          rounds = rounds + 1
        end
      end) do
        if rounds == 0 then break end
      end
      assert.same({"closed"}, log)
    end, {reports = {}})
  end)

  it("and their error is the error of the loop", function()
    run(function()
      local err = {}
      local ok, got = pcall(function()
        for n in lull.generator(function()
          local _ <close> = helper.closer(function() lull.sleep(1) error(err) end)
          coroutine.yield(1)
        end) do
          if n == 1 then break end
        end
      end)
      assert.is_false(ok)
      assert.equal(err, got)
    end)
  end)
end)

describe("a generator that is left in a coroutine that dies", function()
  -- Paused inside a scope, where it has a closer.
  local function limited(log)
    return lull.generator(function()
      local _ <close> = lull.defer(table.insert, log, "outer")
      lull.timeout(10, function()
        local _ <close> = lull.defer(table.insert, log, "inner")
        coroutine.yield(1)
      end)
    end)
  end

  it("of an error is closed, and the error goes on", function()
    run(function()
      local log, err = {}, {}
      assert.equal(err, select(2, pcall(coroutine.wrap(function()
        for v in limited(log) do
          if v then error(err) end
        end
      end))))
      assert.same({"inner", "outer"}, log)
      lull.sleep(20)
    end)
  end)

  it("of a cancellation is closed, and the cancellation goes on", function()
    run(function()
      local log = {}
      local _, message = lull.scope(function(s)
        coroutine.wrap(function()
          for _ in limited(log) do
            s:cancel "outer"
            lull.sleep(1)
          end
        end)()
      end)
      assert.equal("ECANCELED: outer", message)
      assert.same({"inner", "outer"}, log)
      lull.sleep(20)
    end)
  end)

  it("at the hard end of its task is closed", function()
    run(function()
      local log = {}
      local task = lull.spawn(function()
        for v in limited(log) do
          while v do pcall(lull.sleep, 1) end
        end
      end)
      lull.sleep(0)
      task:close()
      assert.same({"inner", "outer"}, log)
      lull.sleep(20)
    end, {reports = {}})
  end)
end)

describe("a generator that closes while its own scope is cancelled", function()
  it("ends its scope, and the loop goes on", function()
    run(function()
      local seen = {}
      for v in lull.generator(function()
        local _, _, code = lull.timeout(1, function()
          coroutine.yield "first"
          lull.sleep(10)
        end)
        coroutine.yield(code)
      end) do
        seen[#seen + 1] = v
        lull.sleep(5) -- the consumer is not bound by the limit
      end
      assert.same({"first", "ETIMEDOUT"}, seen)
    end)
  end)

  it("may be left by break inside of it", function()
    run(function()
      for v in lull.generator(function()
        lull.timeout(1, function()
          while true do coroutine.yield "v" end
        end)
      end) do
        lull.sleep(5)
        if v == "v" then break end
      end
      lull.sleep(5)
    end)
  end)
end)
