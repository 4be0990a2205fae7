-- race, wait and as_completed: whoever ends first, some of them, one after the other.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local after, finished, failed = cast.after, cast.finished, cast.failed

local function tasks(...)
  local list = {}
  for i, seconds in ipairs {...} do list[i] = lull.spawn(after(seconds, i)) end
  return list
end

describe("lull.race", function()
  it("returns the index and all results of the first to end", function()
    run(function()
      local start = lull.now()
      assert.same({2, "b", nil, 3}, {lull.race(after(5, "a"), after(1, "b", nil, 3))})
      assert.equal(start + 1, lull.now())
    end)
  end)

  it("given a table returns the key", function()
    run(function()
      assert.same({"fast", 1}, {lull.race {slow = after(5), fast = after(1, 1)}})
      assert.same({1, "x"}, {lull.race {after(1, "x")}})
    end)
  end)

  it("takes futures and tasks; done ones win at once, the first of them", function()
    run(function()
      local start = lull.now()
      assert.same({2, "f"}, {lull.race(after(1), finished "f", finished "g")})
      assert.same({1}, {lull.race(lull.spawn(after(1)), lull.future())})
      assert.equal(start + 1, lull.now())
      local begun = false
      lull.race(function() begun = true end, finished())
      assert.is_false(begun)
    end)
  end)

  it("raises the error of the first to end, the same object", function()
    run(function()
      local err = {}
      local function fail() lull.sleep(1) error(err) end
      assert.equal(err, select(2, pcall(lull.race, after(2), fail)))
      assert.equal(err, select(2, pcall(lull.race, failed(err), after(2))))
    end)
  end)

  it("cancels the others that it owns, and waits for them", function()
    run(function()
      local start, cancelled = lull.now(), nil
      local task = lull.spawn(after(10, "whole"))
      assert.same({2, "w"}, {lull.race(function()
        local _ <close> = helper.closer(function(_, err)
          lull.shield(lull.sleep, 3)
          cancelled = lull.is_cancelled(err)
        end)
        lull.sleep(100)
      end, after(1, "w"), task)})
      assert.is_true(cancelled)
      assert.equal(start + 4, lull.now())
      assert.equal("whole", task:await())
    end)
  end)

  it("tells the errors of losers to on_unhandled", function()
    local reports, err = {}, {}
    run(function()
      lull.race(after(1), function()
        local _ <close> = helper.closer(function() error(err) end)
        lull.sleep(100)
      end)
      lull.sleep(5)
    end, {reports = reports})
    assert.equal(1, #reports)
    assert.equal(err, reports[1].err)
  end)

  it("cancelled from outside cancels what it owns and waits for it", function()
    run(function()
      local start, cleaned = lull.now(), false
      local _, _, code = lull.timeout(1, lull.race, function()
        local _ <close> = lull.defer(function()
          lull.shield(lull.sleep, 3)
          cleaned = true
        end)
        lull.sleep(100)
      end, after(200))
      assert.equal("ETIMEDOUT", code)
      assert.is_true(cleaned)
      assert.equal(start + 4, lull.now())
    end)
  end)

  it("raises on entry in a cancelled scope, though one had ended", function()
    run(function()
      local reached = false
      lull.scope(function(s)
        s:cancel()
        lull.race(finished(1), after(0))
        reached = true
      end)
      assert.is_false(reached)
    end)
  end)

  it("refuses other values", function()
    run(function()
      assert.is_false(pcall(lull.race, 1))
      assert.is_false(pcall(lull.race, {true}))
    end)
  end)
end)

describe("lull.wait", function()
  it("waits for all, and cancels nothing", function()
    run(function()
      local start, list = lull.now(), tasks(3, 1, 2)
      local done, pending = lull.wait(list)
      assert.same({list, {}}, {done, pending})
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("gives both lists when its time is over", function()
    run(function()
      local start, list = lull.now(), tasks(5, 1, 6, 2)
      local done, pending = lull.wait(list, {timeout = 3})
      assert.same({{list[2], list[4]}, {list[1], list[3]}}, {done, pending})
      assert.equal(start + 3, lull.now())
      assert.equal(1, list[1]:await())
    end)
  end)

  it("with a timeout of no time looks around", function()
    run(function()
      local list = {finished(1), lull.future()}
      local start = lull.now()
      local done, pending = lull.wait(list, {timeout = 0})
      assert.same({{list[1]}, {list[2]}}, {done, pending})
      assert.equal(start, lull.now())
    end)
  end)

  it("returns when the first has ended", function()
    run(function()
      local start, list = lull.now(), tasks(3, 1, 2)
      local done, pending = lull.wait(list, {return_when = "first"})
      assert.same({{list[2]}, {list[1], list[3]}}, {done, pending})
      assert.equal(start + 1, lull.now())
    end)
  end)

  it("returns at the first error", function()
    run(function()
      local start, list = lull.now(), tasks(1, 5)
      list[3] = lull.spawn(function() lull.sleep(2) error "E" end)
      local done, pending = lull.wait(list, {return_when = "first_error"})
      assert.same({{list[1], list[3]}, {list[2]}}, {done, pending})
      assert.equal(start + 2, lull.now())
      list = tasks(1, 2)
      done, pending = lull.wait(list, {return_when = "first_error"})
      assert.same({list, {}}, {done, pending})
    end)
  end)

  it("does not raise the errors, and counts as taking them", function()
    local reports = {}
    run(function()
      local list = {lull.spawn(error, "E"), failed "F"}
      local done = lull.wait(list)
      assert.equal(2, #done)
      lull.sleep(5)
      lull.wait({lull.spawn(error, "late")}, {timeout = 0})
      lull.sleep(5)
    end, {reports = reports})
    assert.same({}, reports)
  end)

  it("of nothing returns at once", function()
    run(function() assert.same({{}, {}}, {lull.wait {}}) end)
  end)

  it("cancelled cancels nothing", function()
    run(function()
      local list = tasks(5)
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, lull.wait, list)))
      assert.equal(1, list[1]:await())
    end)
  end)

  it("leaves nothing in the futures that are still pending", function()
    run(function()
      local future = lull.future()
      for _ = 1, 100 do lull.wait({future, finished()}, {return_when = "first"}) end
      local start = lull.now()
      local sleeper = lull.spawn(lull.sleep, 5)
      lull.sleep(1)
      future:set_result()
      sleeper:await()
      assert.equal(start + 5, lull.now())
    end)
  end)

  it("refuses what it does not know", function()
    run(function()
      assert.is_false(pcall(lull.wait))
      assert.is_false(pcall(lull.wait, {1}))
      assert.is_false(pcall(lull.wait, {finished()}, {return_when = "tuesday"}))
      assert.is_false(pcall(lull.wait, {finished()}, {timeout = "soon"}))
      assert.is_false(pcall(lull.wait, {finished()}, 5))
    end)
  end)
end)

describe("lull.as_completed", function()
  it("yields futures as they end", function()
    run(function()
      local start, list, seen = lull.now(), tasks(3, 1, 2), {}
      for future in lull.as_completed(list) do
        assert.is_true(future:done())
        seen[#seen + 1] = future:result()
        assert.equal(start + #seen, lull.now())
      end
      assert.same({2, 3, 1}, seen)
    end)
  end)

  it("yields those that have ended first, in order", function()
    run(function()
      local seen = {}
      local list = {lull.spawn(after(1, 3)), finished(1), finished(2)}
      for future in lull.as_completed(list) do
        seen[#seen + 1] = future:result()
      end
      assert.same({1, 2, 3}, seen)
    end)
  end)

  it("does not lose those that end while the body waits, nor their order", function()
    run(function()
      local seen = {}
      for future in lull.as_completed(tasks(4, 1, 3, 2)) do
        seen[#seen + 1] = future:result()
        lull.sleep(2.5)
      end
      assert.same({2, 4, 3, 1}, seen)
    end)
  end)

  it("yields failed ones too, which it takes", function()
    local reports = {}
    run(function()
      local count = 0
      for future in lull.as_completed {lull.spawn(error, "E"), failed "F"} do
        count = count + 1
        assert.is_true(future:done())
      end
      assert.equal(2, count)
      lull.sleep(5)
    end, {reports = reports})
    assert.same({}, reports)
  end)

  it("cancels nothing when the loop is left", function()
    run(function()
      local list = tasks(1, 3)
      for future in lull.as_completed(list) do
        if future:result() == 1 then break end
      end
      assert.equal(2, list[2]:await())
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, function()
        for _ in lull.as_completed {lull.future()} do error "none" end
      end)))
    end)
  end)

  it("yields one that is listed twice as often as it is listed, or once", function()
    run(function()
      local future, count = finished(), 0
      for _ in lull.as_completed {future, future} do count = count + 1 end
      assert.is_true(count == 1 or count == 2)
    end)
  end)
end)
