-- Scopes of coroutines that are paused between their yields: they bind nobody meanwhile.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("a generator's scope", function()
  -- Yields twice from within a scope of one second.
  local function limited()
    return coroutine.wrap(function()
      return lull.scope(1, function()
        coroutine.yield "first"
        coroutine.yield "second"
        lull.sleep(10)
      end)
    end)
  end

  it("does not bind its consumer while it is paused", function()
    run(function()
      local step = limited()
      assert.equal("first", step())
      lull.sleep(5) -- the limit comes now
      assert.equal("second", step())
      lull.sleep(5)
      assert.is_nil(step()) -- its sleep is cut short and the scope returns nil
    end)
  end)

  it("binds it again as soon as it runs", function()
    run(function()
      local step = limited()
      step()
      step()
      local start = lull.now()
      local _, _, code = step()
      assert.equal("ETIMEDOUT", code)
      assert.equal(start + 1, lull.now())
    end)
  end)

  it("lies within the scopes of whoever resumes it, not of its maker", function()
    run(function()
      local step
      lull.scope(function(maker)
        step = limited()
        step()
        maker:cancel()
      end)
      assert.equal("second", step())
      local _, message = lull.scope(function(s)
        s:cancel "consumer"
        step()
        error "not reached"
      end)
      assert.equal("ECANCELED: consumer", message)
    end)
  end)

  it("may be entered from one task and left in another", function()
    run(function()
      local step = limited()
      assert.equal("first", lull.spawn(step):await())
      assert.equal("second", lull.spawn(step):await())
      local _, _, code = lull.spawn(step):await()
      assert.equal("ETIMEDOUT", code)
    end)
  end)
end)

describe("a coroutine that is paused in a scope", function()
  local function paused(log)
    local co = coroutine.wrap(function()
      local _ <close> = lull.defer(function() log[#log + 1] = "closed" end)
      lull.timeout(10, function()
        local s <close> = lull.scope()
        assert(not s:cancelled())
        coroutine.yield "paused"
      end)
      log[#log + 1] = "left"
      return "end"
    end)
    assert.equal("paused", co())
    return co
  end

  it("cannot be resumed outside of tasks, and is none the worse for it", function()
    local log = {}
    local co = run(function() return paused(log) end)
    local ok, err = pcall(co)
    assert.is_false(ok)
    assert.matches("scope", err)
    run(function()
      local refused
      co = paused(log)
      lull.loop():call_soon(function() refused = not pcall(co) end)
      lull.sleep(1)
      assert.is_true(refused)
      assert.same({}, log)
      assert.equal("end", co())
    end)
    assert.same({"left", "closed"}, log)
  end)

  it("is no danger where Lua cannot suspend", function()
    run(function()
      local log = {}
      local co = paused(log)
      table.sort({3, 2, 1}, function(a, b)
        coroutine.wrap(function() pcall(co) end)()
        return a < b
      end)
      lull.sleep(20)
    end)
  end)

  it("is refused on another loop, to which its limits do not belong", function()
    local co = run(function() return paused {} end)
    run(function()
      local ok, err = pcall(co)
      assert.is_false(ok)
      assert.matches("loop", err)
      co = nil
      collectgarbage()
      collectgarbage()
      lull.sleep(20)
    end)
  end)

  it("is refused on a loop within its loop, and goes on outside of it", function()
    run(function()
      local log = {}
      local co = paused(log)
      local loop <close> = lull.new_loop {clock = "virtual"}
      loop:run_until_complete(function()
        assert.is_false(pcall(co))
        lull.sleep(20)
      end)
      assert.same({}, log)
      assert.equal("end", co())
    end)
  end)

  it("can be resumed inside of another one that is paused later", function()
    run(function()
      local log = {}
      local inner = paused(log)
      local outer = coroutine.wrap(function()
        lull.timeout(1, function()
          coroutine.yield(inner())
          lull.sleep(10)
        end)
        return "outer"
      end)
      assert.equal("end", outer())
      lull.sleep(5)
      assert.equal("outer", outer())
    end)
  end)

  it("can be closed, whose closers run outside of the scope", function()
    run(function()
      local log = {}
      local co = coroutine.create(function()
        lull.scope(function(s)
          local _ <close> = helper.closer(function(_, err) log[1] = tostring(err) end)
          s:cancel()
          coroutine.yield()
        end)
      end)
      coroutine.resume(co)
      assert.is_true(coroutine.close(co))
      assert.same({"nil"}, log)
      lull.sleep(1)
    end)
  end)

  it("is told of the cancellation of its scope when it goes on", function()
    run(function()
      local scope
      local co = coroutine.wrap(function()
        return lull.scope(function(s)
          scope = s
          coroutine.yield()
          lull.sleep(1)
        end)
      end)
      co()
      scope:cancel "meanwhile"
      lull.sleep(1)
      assert.same({nil, "ECANCELED: meanwhile", "ECANCELED"}, {co()})
    end)
  end)

  it("keeps the children of its group running", function()
    run(function()
      local log = {}
      local co = coroutine.wrap(function()
        return lull.group(function(g)
          g:spawn(function() lull.sleep(1) log[#log + 1] = "child" end)
          coroutine.yield()
          return "group"
        end)
      end)
      co()
      lull.sleep(2)
      assert.same({"child"}, log)
      assert.equal("group", co())
    end)
  end)

  it("is told of a child that failed meanwhile", function()
    run(function()
      local err = {}
      local co = coroutine.wrap(function()
        lull.group(function(g)
          g:spawn(error, err)
          coroutine.yield()
          lull.sleep(1)
        end)
      end)
      co()
      lull.sleep(2)
      assert.equal(err, select(2, pcall(co)))
    end)
  end)

  it("leaves nobody behind when it is collected", function()
    run(function()
      local log = {}
      coroutine.wrap(function()
        lull.group(function(g)
          g:spawn(function()
            local _ <close> = lull.defer(table.insert, log, "cleaned")
            lull.sleep(1000)
          end)
          lull.sleep(1)
          coroutine.yield()
        end)
      end)()
      collectgarbage()
      collectgarbage()
      lull.sleep(1)
      assert.same({"cleaned"}, log)
      assert.equal(1, #lull.tasks())
    end)
  end)
end)
