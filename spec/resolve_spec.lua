-- Names into addresses: numbers at once, names without blocking the loop, and what a
-- look-up that nobody waits for any more leaves behind: nothing.
local helper = require "spec.helper"
local lull = require "lull"
local net = require "lull.net"
local run = helper.run

-- The thread pool's resolver, which can be slow; what the other does is in dns_spec.
local system = {resolver = "system"}

describe("resolve", function()
  it("answers a number at once", function()
    run(function()
      local turns = 0
      lull.spawn(function() turns = turns + 1 end)
      assert.same({{host = "127.0.0.1", family = "inet"}}, net.resolve "127.0.0.1")
      assert.same({{host = "::1", family = "inet6"}}, net.resolve "::1")
      assert.same({{host = "::1", family = "inet6"}}, net.resolve "0:0::1")
      assert.equal(0, turns)
    end)
  end)

  it("finds the addresses of a name", function()
    run(function()
      local list = assert(net.resolve("localhost", {family = "inet"}))
      assert.same({host = "127.0.0.1", family = "inet"}, list[1])
      for _, resolver in ipairs {"dns", "system"} do
        assert.is_true(#assert(net.resolve("localhost", {resolver = resolver})) > 0)
      end
    end)
  end)

  it("lets others run meanwhile", function()
    run(function()
      local lookup = lull.spawn(net.resolve, "localhost", system)
      local turns = 0
      repeat
        lull.sleep(0)
        turns = turns + 1
      until lookup:done()
      assert.is_true(turns > 0)
      assert.is_table(lookup:await())
    end, {real = true})
  end)

  it("looks up many names at a time", function()
    run(function()
      local tasks = {}
      for i = 1, 50 do tasks[i] = lull.spawn(net.resolve, "localhost", system) end
      for i = 1, 50 do assert.is_table(tasks[i]:await()) end
    end)
  end)

  it("tells by a code of its own what went wrong", function()
    run(function()
      for _, name in ipairs {"not a name", ("x"):rep(300), "local\0host", ""} do
        local list, message, code = net.resolve(name)
        assert.is_nil(list)
        assert.matches("^EAI_%u+$", code)
        assert.matches("^" .. code .. ": %l", message)
      end
      local _, _, code = net.resolve("127.0.0.1", {family = "inet6"})
      assert.matches("^EAI_%u+$", code)
    end)
  end)

  it("does not wait longer than it may", function()
    run(function()
      assert.equal("ETIMEDOUT", select(3, net.resolve("localhost", {
        timeout = 0, resolver = "system",
      })))
    end)
  end)

  it("can be cancelled, and nothing waits for the answer", function()
    run(function()
      for i = 1, 20 do
        local lookup = lull.spawn(net.resolve, "localhost", system)
        helper.turns(i % 3)
        lookup:cancel "enough"
        helper.turns(2)
        assert.is_true(lookup:done())
      end
    end)
  end)

  it("is no deadlock, and stops a virtual clock while it lasts", function()
    run(function()
      local start = lull.now()
      assert(net.resolve("localhost", system))
      assert.equal(start, lull.now())
    end, {guard = false})
  end)

  it("may be unfinished when its loop is closed", function()
    for _ = 1, 20 do
      local loop = lull.new_loop()
      loop:run_until_complete(function()
        for _ = 1, 10 do lull.spawn(net.resolve, "localhost", system):daemon() end
        helper.turns(2)
      end)
      loop:close()
    end
  end)

  it("says what is wrong with its arguments", function()
    run(function()
      assert.error_matches(function() net.resolve() end, "string expected, got no value")
      assert.error_matches(function() net.resolve("x", 1) end, "table expected")
      assert.error_matches(function() net.resolve("x", {family = "unix"}) end, "no such")
      assert.error_matches(function() net.resolve("x", {resolver = 1}) end, "no such")
    end)
    assert.error_matches(function() net.resolve "127.0.0.1" end, "outside of a task")
  end)
end)
