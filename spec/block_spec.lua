-- The block form of scopes: local s <close> = lull.scope(), left by its end or by an
-- error, and blocks that somebody forgot to close.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("a scope block", function()
  it("that ends well changes nothing", function()
    run(function()
      local function body()
        local s <close> = lull.scope(5)
        assert.equal(5, s:remaining())
        lull.sleep(1)
        return 1, nil, 3
      end
      assert.same({1, nil, 3}, {body()})
      lull.sleep(10) -- its limit is gone
    end)
  end)

  it("lets errors pass, the same object", function()
    run(function()
      local err = {}
      assert.equal(err, select(2, pcall(function()
        local s <close> = lull.scope()
        assert.is_false(s:cancelled())
        error(err)
      end)))
    end)
  end)

  it("interrupted by its own cancellation is left with an ordinary error", function()
    run(function()
      local ok, err = pcall(function()
        local s <close> = lull.scope()
        s:cancel "enough"
        lull.sleep(1)
      end)
      assert.is_false(ok)
      assert.matches("ECANCELED: enough", tostring(err))
      assert.equal("ECANCELED", lull.code(err))
      assert.is_false(lull.is_cancelled(err))
      lull.sleep(1)
    end)
  end)

  it("interrupted by its limit is left with ETIMEDOUT", function()
    run(function()
      local start = lull.now()
      local ok, err = pcall(function()
        local s <close> = lull.scope(2)
        assert.is_nil(s:remaining() and nil)
        lull.sleep(10)
      end)
      assert.is_false(ok)
      assert.matches("ETIMEDOUT: .", tostring(err))
      assert.equal("ETIMEDOUT", lull.code(err))
      assert.is_false(lull.is_cancelled(err))
      assert.equal(start + 2, lull.now())
    end)
  end)

  it("that had finished has finished, though it was cancelled", function()
    run(function()
      local function body()
        local s <close> = lull.scope()
        s:cancel()
        pcall(lull.sleep, 1)
        return "finished"
      end
      assert.equal("finished", body())
      lull.sleep(1)
    end)
  end)

  it("lets an outer cancellation pass", function()
    run(function()
      local _, message, code = lull.scope(function(outer)
        local inner <close> = lull.scope()
        outer:cancel "outer"
        inner:cancel "inner"
        lull.sleep(1)
      end)
      assert.same({"ECANCELED: outer", "ECANCELED"}, {message, code})
    end)
  end)

  it("is left before the closers that stand above it", function()
    run(function()
      local slept = false
      local ok = pcall(function()
        local _ <close> = helper.closer(function()
          lull.sleep(1)
          slept = true
        end)
        local s <close> = lull.scope()
        s:cancel()
        lull.sleep(1)
      end)
      assert.is_false(ok)
      assert.is_true(slept)
    end)
  end)

  it("covers the closers that stand below it", function()
    run(function()
      local refused
      pcall(function()
        local s <close> = lull.scope()
        local _ <close> = helper.closer(function() refused = not pcall(lull.sleep, 1) end)
        s:cancel()
        lull.sleep(1)
      end)
      assert.is_true(refused)
    end)
  end)

  it("nests like the function form", function()
    run(function()
      local start = lull.now()
      local ok, err = pcall(function()
        local outer <close> = lull.scope(3)
        local ok, err = pcall(function()
          local inner <close> = lull.scope(1)
          assert.is_true(inner:remaining() <= outer:remaining())
          lull.sleep(10)
        end)
        assert.is_false(ok)
        assert.equal("ETIMEDOUT", lull.code(err))
        assert.equal(start + 1, lull.now())
        lull.sleep(10)
      end)
      assert.is_false(ok)
      assert.equal("ETIMEDOUT", lull.code(err))
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("may be closed twice", function()
    run(function()
      local s = lull.scope()
      getmetatable(s).__close(s)
      getmetatable(s).__close(s)
      lull.sleep(1)
    end)
  end)
end)

describe("a block that was opened without <close>", function()
  it("raises when its task ends, and names the line", function()
    run(function()
      local here
      local task = lull.spawn(function()
        here = helper.line() + 1
        local s = lull.scope()
        return s
      end)
      local ok, err = pcall(task.await, task)
      assert.is_false(ok)
      assert.matches("block_spec.lua:" .. here .. "%f[%D]", tostring(err))
    end)
  end)

  it("raises when an outer function form ends", function()
    run(function()
      local here
      local ok, err = pcall(lull.scope, function()
        here = helper.line() + 1
        lull.scope(10)
        return 1
      end)
      assert.is_false(ok)
      assert.matches("block_spec.lua:" .. here .. "%f[%D]", tostring(err))
      lull.sleep(20) -- and it binds nobody any more
    end)
  end)

  it("raises when an outer block ends", function()
    run(function()
      local here
      local ok, err = pcall(function()
        local outer <close> = lull.scope()
        here = helper.line() + 1
        local forgotten = lull.scope(10)
        assert.not_equal(outer, forgotten)
      end)
      assert.is_false(ok)
      assert.matches("block_spec.lua:" .. here .. "%f[%D]", tostring(err))
      lull.sleep(20)
    end)
  end)

  it("does not hide the error that the task ends with", function()
    run(function()
      local err = {}
      local task = lull.spawn(function()
        lull.scope()
        error(err)
      end)
      assert.equal(err, select(2, pcall(task.await, task)))
    end)
  end)

  it("ends the main task the same way", function()
    local err = helper.failure(function() lull.scope() end)
    assert.matches("block_spec.lua:" .. helper.line() - 1 .. "%f[%D]", tostring(err))
  end)
end)
