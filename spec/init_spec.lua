-- The table lull itself: what it says of this build, clocks, defer, parts that load on
-- first use.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("the table lull", function()
  it("tells version and selector", function()
    assert.matches("^%d+%.%d+%.%d+$", lull.version)
    local available = lull.selectors.available()
    local known = {}
    for _, name in ipairs(available) do known[name] = true end
    assert.is_true(known[lull.selector])
    assert.is_true(known.poll)
  end)

  it("loads its parts on first use", function()
    local out, err = helper.child [[
      assert(package.loaded["lull.net"] == nil)
      assert(rawget(lull, "net") == nil)
      local net = lull.net
      assert(net == require "lull.net" and type(net.connect) == "function")
      assert(lull.net == net)
      print(pcall(function() return lull.nonsense end))
    ]]
    assert.same({"true\tnil\n", ""}, {out, err})
  end)

  it("is the global of the interpreter and what require gives", function()
    local out, err = helper.child "print(lull == require 'lull', lull.current() ~= nil)"
    assert.same({"true\ttrue\n", ""}, {out, err})
    out, err = helper.child("print(lull == require 'lull', lull.current())", "--plain")
    assert.same({"true\tnil\n", ""}, {out, err})
  end)

  it("in a stock lua5.4 replaces coroutine's functions in place", function()
    local out, err, code = helper.stock [[
      local before, resume, load = coroutine, coroutine.resume, require
      local lull = require "lull"
      assert(coroutine == before and coroutine.resume ~= resume and require ~= load)
      assert(_G.lull == nil)
      print(lull.run(function() lull.sleep(0) return "ran" end))
      print(select("#", lull.run(function() end)))
    ]]
    if not out then return pending "no lua5.4 here" end
    assert.same({"ran\n0\n", "", 0}, {out, err, code})
  end)
end)

describe("lull.now and lull.time", function()
  it("read the monotonic clock of the loop, and the time of day", function()
    run(function()
      assert.equal("float", math.type(lull.now()))
      assert.equal("float", math.type(lull.time()))
      local earliest, time, latest = os.time(), lull.time(), os.time() + 1
      assert.is_true(earliest <= time and time <= latest)
      local before = lull.time()
      assert.is_true(lull.time() >= before)
    end)
  end)
end)

describe("lull.defer", function()
  local log
  before_each(function() log = {} end)

  local function note(...) log[#log + 1] = {select("#", ...), ...} end

  it("calls when the block is left, with its arguments", function()
    do
      local _ <close> = lull.defer(note, "a", nil)
      assert.same({}, log)
    end
    assert.same({{2, "a"}}, log)
  end)

  it("calls in reverse order, on return, break and error", function()
    local function leave(how)
      for _ = 1, 2 do
        local _ <close> = lull.defer(note, 1)
        local _ <close> = lull.defer(note, 2)
        if how == "break" then break end
        if how == "return" then return end
        error "left"
      end
    end
    for _, how in ipairs {"break", "return", "error"} do
      log = {}
      pcall(leave, how)
      assert.same({{1, 2}, {1, 1}}, log)
    end
  end)

  it("may suspend", function()
    run(function()
      local start = lull.now()
      do
        local _ <close> = lull.defer(lull.sleep, 2)
        lull.sleep(1)
      end
      assert.equal(start + 3, lull.now())
    end)
  end)

  it("runs when its task is cancelled, shielded where it is asked", function()
    run(function()
      local task = lull.spawn(function()
        local _ <close> = lull.defer(note, "after")
        local _ <close> = lull.defer(lull.shield, lull.sleep, 2)
        lull.sleep(10)
      end)
      lull.sleep(1)
      local start = lull.now()
      task:close()
      assert.equal(start + 2, lull.now())
      assert.same({{1, "after"}}, log)
    end)
  end)

  it("does not change the error that goes by, and its own error replaces it", function()
    local err = {}
    assert.equal(err, select(2, pcall(function()
      local _ <close> = lull.defer(note)
      error(err)
    end)))
    assert.equal(err, select(2, pcall(function()
      local _ <close> = lull.defer(error, err)
      error "first"
    end)))
  end)

  it("calls once, though it is closed twice", function()
    local closable = lull.defer(note)
    closable:close()
    closable:close()
    assert.equal(1, #log)
    do
      local _ <close> = closable
    end
    assert.equal(1, #log)
  end)
end)
