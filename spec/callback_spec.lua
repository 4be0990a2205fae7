-- lull.await_callback: a callback-style operation as a call that suspends.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.await_callback", function()
  it("returns what the callback is given", function()
    run(function()
      local start = lull.now()
      assert.same({3, nil, 2, nil}, {lull.await_callback(function(done)
        lull.loop():call_later(1, done, 3, nil, 2, nil)
      end)})
      assert.equal(start + 1, lull.now())
      assert.equal(0, select("#", lull.await_callback(function(done)
        lull.loop():call_soon(done)
      end)))
    end)
  end)

  it("returns at once when it is called back at once", function()
    run(function()
      local ran = false
      lull.spawn(function() ran = true end)
      assert.same({1, nil}, {lull.await_callback(function(done) done(1, nil) end)})
      assert.is_false(ran)
    end)
  end)

  it("can be called back by another task", function()
    run(function()
      assert.equal("hello", lull.await_callback(function(done)
        lull.spawn(function() lull.sleep(1) done "hello" end)
      end))
    end)
  end)

  it("counts the first call only", function()
    run(function()
      local kept
      assert.equal("first", lull.await_callback(function(done)
        kept = done
        done "first"
        done "second"
      end))
      kept "third"
      local start = lull.now()
      lull.loop():call_later(1, kept, "fourth")
      lull.sleep(5)
      assert.equal(start + 5, lull.now())
      kept "fifth"
    end)
  end)

  it("starts the operation in the calling task", function()
    run(function()
      local who
      lull.await_callback(function(done) who = lull.current() done() end)
      assert.equal(lull.current(), who)
    end)
  end)

  it("raises what start raises, the same object", function()
    run(function()
      local err = {}
      assert.equal(err, select(2, pcall(lull.await_callback, function() error(err) end)))
      lull.sleep(1)
    end)
  end)

  it("calls the cancel function once, when it is cancelled", function()
    run(function()
      local cancels, kept = 0, nil
      local task = lull.spawn(function()
        lull.await_callback(function(done)
          kept = done
          return function() cancels = cancels + 1 end
        end)
      end)
      lull.sleep(1)
      assert.equal(0, cancels)
      task:cancel "over"
      pcall(task.await, task)
      assert.equal(1, cancels)
      assert.equal("ECANCELED: over", task:error())
      kept "too late"
      lull.sleep(1)
      assert.equal(1, cancels)
    end)
  end)

  it("does not call the cancel function when the operation ended by itself", function()
    run(function()
      local cancelled = false
      local function start(done)
        lull.loop():call_later(1, done)
        return function() cancelled = true end
      end
      lull.await_callback(start)
      lull.timeout(5, lull.await_callback, start)
      lull.await_callback(function(done)
        done()
        return function() cancelled = true end
      end)
      lull.sleep(5)
      assert.is_false(cancelled)
    end)
  end)

  it("does not start anything in a cancelled scope", function()
    run(function()
      local started = false
      assert.is_nil(lull.scope(function(s)
        s:cancel()
        lull.await_callback(function(done) started = true done() end)
      end))
      assert.is_false(started)
    end)
  end)

  it("is interrupted by a cancellation although start has cancelled nothing", function()
    run(function()
      local kept
      local function keep(done) kept = done end
      local _, _, code = lull.timeout(1, lull.await_callback, keep)
      assert.equal("ETIMEDOUT", code)
      local start = lull.now()
      lull.loop():call_later(1, kept) -- must not wake the sleep that follows
      lull.sleep(3)
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("refuses what is no function", function()
    run(function()
      assert.is_false(pcall(lull.await_callback))
      assert.is_false(pcall(lull.await_callback, 1))
    end)
  end)
end)
