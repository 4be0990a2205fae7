-- Where Lua cannot suspend, and outside of tasks, a suspending call is refused: always,
-- so that it does not depend on luck, and the error names the place.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

-- An operation that suspends, and some that could complete at once.
local operations = {
  ["lull.sleep"] = function() lull.sleep(0) end,
  ["await of a finished future"] = function()
    local future = lull.future()
    future:set_result(1)
    future:await()
  end,
  ["lull.await of a finished future"] = function()
    local future = lull.future()
    future:set_result(1)
    lull.await(future)
  end,
  ["await_callback that calls back at once"] = function()
    lull.await_callback(function(done) done() end)
  end,
}

-- Where Lua forbids it: name -> {what the message says, where}
local places = {
  ["a sort comparator"] = {"sort", function(op)
    table.sort({3, 2, 1}, function(a, b) op() return a < b end)
  end},
  ["a gsub callback"] = {"gsub", function(op) return ("abc"):gsub(".", op) end},
  ["__tostring"] = {"tostring", function(op)
    return tostring(setmetatable({}, {__tostring = function() op() return "x" end}))
  end},
  ["__index that a C function calls"] = {"concat", function(op)
    table.concat(setmetatable({}, {
      __index = function() op() return "x" end, __len = function() return 1 end,
    }))
  end},
  ["__newindex that a C function calls"] = {"insert", function(op)
    table.insert(setmetatable({}, {__newindex = op}), 1)
  end},
  ["a load reader"] = {"load", function(op)
    local _, err = load(function() op() end)
    error(err, 0)
  end},
  ["an xpcall handler"] = {"handler", function(op)
    local _, got = xpcall(error, function() return select(2, pcall(op)) end, "x")
    error(got, 0)
  end},
  ["__gc"] = {"__gc", function(op)
    local got
    setmetatable({}, {__gc = function() got = select(2, pcall(op)) end})
    repeat collectgarbage() until got
    error(got, 0)
  end},
  ["a hook"] = {"hook", function(op)
    local got
    debug.sethook(function()
      debug.sethook()
      got = select(2, pcall(op))
    end, "", 1)
    local _ = 1
    error(got, 0)
  end},
  ["coroutine.close"] = {"close", function(op)
    local got
    local co = coroutine.create(function()
      local _ <close> = helper.closer(function() got = select(2, pcall(op)) end)
      coroutine.yield()
    end)
    coroutine.resume(co)
    coroutine.close(co)
    error(got, 0)
  end},
}

describe("a suspending call is refused in one line that names the place:", function()
  for place, case in pairs(places) do
    for operation, op in pairs(operations) do
      it(operation .. " in " .. place, function()
        run(function()
          local ok, err = pcall(case[2], op)
          assert.is_false(ok)
          assert.is_string(err)
          assert.not_matches("\n", err)
          assert.matches(case[1], err)
          lull.sleep(1) -- and the task has come to no harm
        end)
      end)
    end
  end

  for operation, op in pairs(operations) do
    it(operation .. " outside of any loop", function()
      local ok, err = pcall(op)
      assert.is_false(ok)
      assert.not_matches("\n", err)
      assert.matches("task", err)
    end)

    it(operation .. " in a callback of the loop", function()
      run(function()
        local ok, err
        lull.loop():call_soon(function() ok, err = pcall(op) end)
        lull.sleep(1)
        assert.is_false(ok)
        assert.not_matches("\n", err)
        assert.matches("task", err)
      end)
    end)

    it(operation .. " in a coroutine that a callback resumes", function()
      run(function()
        local co = coroutine.create(function() return pcall(op) end)
        local ok, refused, err
        lull.loop():call_soon(function() ok, refused, err = coroutine.resume(co) end)
        lull.sleep(1)
        assert.is_true(ok)
        assert.is_false(refused)
        assert.matches("task", err)
      end)
    end)
  end

  it("a call in a coroutine that foreign code resumes", function()
    local out, err, code = helper.stock [[
      local foreign = coroutine.resume -- Lua's own, which lull has not replaced yet
      local lull = require "lull"
      lull.run(function()
        print(foreign(coroutine.create(function() lull.sleep(0) end)))
        print(foreign(coroutine.create(function() return pcall(lull.sleep, 0) end)))
        lull.sleep(0)
        print "unharmed"
      end)
    ]]
    if not out then return pending "no lua5.4 here" end
    assert.same({"", 0}, {err, code})
    local first, second, last = out:match "^(.-)\n(.-)\n(.-)\n$"
    assert.matches("^false\t.*coroutine", first)
    assert.matches("^true\tfalse\t.*coroutine", second)
    assert.equal("unharmed", last)
  end)
end)
