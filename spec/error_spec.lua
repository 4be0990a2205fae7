-- Failures of the world return, mistakes raise; lull.check, lull.code, lull.pcall and
-- what argument errors say.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("lull.check", function()
  it("passes values on, and a bare nil too", function()
    assert.same({1, nil, 3}, {lull.check(1, nil, 3)})
    assert.equal(0, select("#", lull.check()))
    assert.same(table.pack(nil), table.pack(lull.check(nil)))
  end)

  it("raises the message of a failure", function()
    local ok, err = pcall(lull.check, nil, "ECONNRESET: connection reset", "ECONNRESET")
    assert.is_false(ok)
    assert.equal("ECONNRESET: connection reset", err)
    local message = {}
    assert.equal(message, select(2, pcall(lull.check, nil, message)))
    assert.is_false(pcall(lull.check, false, "message"))
  end)
end)

describe("lull.code", function()
  it("reads the code off a raised message", function()
    for _, code in ipairs {"ECONNRESET", "EOF", "ETLS", "EAI_NONAME", "E2BIG"} do
      assert.equal(code, lull.code(code .. ": something happened"))
      local _, err = pcall(error, code .. ": something happened", 0)
      assert.equal(code, lull.code(err))
      _, err = pcall(error, code .. ": something happened", 2)
      assert.equal(code, lull.code(err))
      _, err = pcall(function() error(code .. ": something happened") end)
      assert.equal(code, lull.code(err)) -- file:line: in front of it
    end
  end)

  it("is nil for everything else", function()
    for _, err in ipairs {
      "no such thing", "file.lua:3: attempt to index nil", "Error: x", "E: x", "",
      42, true, {}, print,
    } do
      assert.is_nil(lull.code(err))
    end
    assert.is_nil(lull.code(nil))
  end)
end)

describe("lull.pcall", function()
  it("is pcall for every other error", function()
    run(function()
      local err = {}
      local function echo(...) return ... end
      assert.same({true, 1, nil, 3}, {lull.pcall(echo, 1, nil, 3)})
      local ok, got = lull.pcall(function() lull.sleep(1) error(err) end)
      assert.is_false(ok)
      assert.equal(err, got)
      local future = lull.future()
      future:cancel()
      assert.is_false((lull.pcall(future.await, future)))
    end)
  end)

  it("works outside of tasks", function()
    assert.same({false, "x"}, {lull.pcall(error, "x", 0)})
    assert.same({true, 1}, {lull.pcall(math.abs, -1)})
  end)

  it("lets cancellation pass", function()
    run(function()
      local reached = false
      local task = lull.spawn(function()
        lull.pcall(lull.sleep, 10)
        reached = true
      end)
      lull.sleep(1)
      task:cancel()
      pcall(task.await, task)
      assert.is_false(reached)
      assert.equal("cancelled", task:status())
    end)
  end)
end)

describe("an error value", function()
  it("is the same object after tasks, futures, scopes, coroutines and run", function()
    local err = setmetatable({}, {__tostring = function() return "mine" end})
    local got = helper.failure(function()
      local deep = lull.spawn(function()
        lull.scope(function()
          lull.timeout(10, lull.shield, coroutine.wrap(function()
            lull.sleep(1)
            error(err)
          end))
        end)
      end)
      local future = lull.future()
      lull.spawn(function() future:set_error(select(2, pcall(deep.await, deep))) end)
      future:await()
    end)
    assert.equal(err, got)
  end)

  it("of nil becomes a string in a task, and stays nil in a pcall", function()
    run(function()
      assert.same({false, nil}, {pcall(function() lull.sleep(1) error() end)})
    end)
    assert.is_string(helper.failure(function() lull.sleep(1) error() end))
  end)

  it("of a runtime mistake keeps its position", function()
    run(function()
      local line = helper.line() + 1
      local ok, err = pcall(function() lull.sleep(1) return nil + 1 end)
      assert.is_false(ok)
      assert.matches("error_spec.lua:" .. line .. ": attempt to perform arithmetic", err)
    end)
  end)
end)

describe("a mistake", function()
  -- call -> what its message says
  local mistakes = {
    {"sleep", "number expected", function() lull.sleep {} end},
    {"spawn", "function expected", function() lull.spawn(1) end},
    {"timeout", "number expected", function() lull.timeout(print) end},
    {"timeout", "function expected", function() lull.timeout(1, 1) end},
    {"shield", "expected", function() lull.shield() end},
    {"scope", "", function() lull.scope("x") end},
    {"await_callback", "function expected", function() lull.await_callback(1) end},
    {"generator", "function expected", function() lull.generator(1) end},
    {"defer", "function expected", function() lull.defer(1) end},
    {"every", "number", function() lull.every("x") end},
    {"on_unhandled", "", function() lull.on_unhandled(1) end},
    {"cancel", "", function() lull.current().cancel(1) end},
    {"await", "", function() lull.future().await({}) end},
  }

  for _, mistake in ipairs(mistakes) do
    local name, says, call = table.unpack(mistake)
    it("with lull." .. name .. " raises and names argument and function", function()
      run(function()
        local ok, err = pcall(call)
        assert.is_false(ok)
        assert.matches("bad argument", err)
        assert.matches(name, err)
        assert.matches(says, err)
        assert.matches("error_spec.lua:%d+:", err)
      end)
    end)
  end

  -- Misuse of every kind: the message begins with the line that did it.
  local misuses = {
    function() lull.wait(1) end,
    function() lull.wait({}, {return_when = "tuesday"}) end,
    function() lull.as_completed(1) end,
    function() lull.gather(1) end,
    function() lull.race() end,
    function() lull.queue(-1) end,
    function() lull.lifo_queue "x" end,
    function() lull.priority_queue(1, 2) end,
    function() lull.queue():put(nil) end,
    function() lull.queue():task_done() end,
    function() lull.lock():release() end,
    function() lull.condition():wait() end,
    function() lull.condition():notify() end,
    function() lull.semaphore(1, 1):release() end,
    function() lull.barrier(0) end,
    function() lull.group(1) end,
    function() lull.group {limit = 0} end,
    function() lull.group(function(g) g:spawn(1) end) end,
    function() lull.scope(function(s) s:timeout "x" end) end,
    function() lull.future():set_error(nil) end,
    function() lull.future():add_done_callback(1) end,
    function() lull.future():result() end,
    function() lull.current():set_result(1) end,
    function() lull.current():name {} end,
    function() lull.run(1) end,
    function() lull.loop():on_unhandled(1) end,
    function() lull.loop():call_later(1) end,
    function() lull.loop():advance "x" end,
    function() lull.new_loop(1) end,
    function() lull.new_loop {seed = 1.5} end,
    function()
      local loop <close> = lull.new_loop {clock = "virtual"}
      loop:run_until_complete(1)
    end,
    function() coroutine.yield(1) end,
  }

  it("names the line that made it", function()
    run(function()
      for _, misuse in ipairs(misuses) do
        local line = debug.getinfo(misuse, "S").linedefined
        local ok, err = pcall(misuse)
        assert.is_false(ok, "line " .. line)
        local where = tonumber(tostring(err):match "^[^\n:]*error_spec.lua:(%d+): ")
        assert.is_truthy(where, "line " .. line .. ": " .. tostring(err))
        assert.is_true(where >= line and where <= line + 2)
      end
    end)
  end)

  it("with the name of a function is an index of nil, as ever", function()
    assert.is_nil(lull.slumber)
  end)
end)

describe("the story of a failure", function()
  it("does not grow when the same message comes again and again", function()
    run(function()
      local length
      for round = 1, 20 do
        local task = lull.spawn(error, "again")
        pcall(task.await, task)
        if round == 2 then length = #task:traceback() end
        assert.is_true(round <= 2 or #task:traceback() == length)
      end
    end)
  end)

  it("goes from a generator to whoever uses it", function()
    local reports = {}
    run(function()
      lull.spawn(function()
        local function deep_inside() error "broken" end
        for _ in lull.generator(function() deep_inside() end) do error "not reached" end
      end)
      lull.sleep(2)
    end, {reports = reports})
    assert.matches("deep_inside", reports[1].traceback)
  end)
end)
