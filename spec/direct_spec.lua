-- Direct style: a suspending call works wherever Lua code calls Lua code, at any depth.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

-- Suspends for sure: comes back in a later turn, and returns its arguments.
local function later(...)
  local done = false
  local other = lull.spawn(function() done = true end)
  lull.sleep(0.5)
  assert.is_true(done)
  other:await()
  return ...
end

describe("a suspending call", function()
  it("works inside pcall, which returns all that it is given", function()
    run(function()
      assert.same({true, 1, nil, 3}, {pcall(later, 1, nil, 3)})
      local err = {}
      local ok, got = pcall(function() later() error(err) end)
      assert.is_false(ok)
      assert.equal(err, got)
    end)
  end)

  it("works inside xpcall, whose handler still runs where the error is raised", function()
    run(function()
      assert.same({true, "x"}, {xpcall(later, print, "x")})
      local trace
      local function raise() later() error("here", 0) end
      local ok, got = xpcall(raise, function(err)
        trace = debug.traceback()
        return err .. "!"
      end)
      assert.is_false(ok)
      assert.equal("here!", got)
      assert.matches("direct_spec.lua", trace)
      assert.matches("'error'", trace)
    end)
  end)

  it("works through a hundred pcalls and a thousand calls", function()
    run(function()
      local function protect(n)
        if n == 0 then return later "bottom" end
        return select(2, assert(pcall(protect, n - 1)))
      end
      assert.equal("bottom", protect(100))
      local function call(n)
        if n == 0 then return later(0) end
        return 1 + call(n - 1)
      end
      assert.equal(1000, call(1000))
    end)
  end)

  it("works in metamethods that Lua code calls", function()
    run(function()
      local x = setmetatable({}, {
        __index = function(_, key) return later("index " .. key) end,
        __newindex = function(t, key, v) rawset(t, key, later(v)) end,
        __call = function(_, ...) return later(...) end,
        __add = function() return later "add" end,
        __concat = function() return later "concat" end,
        __unm = function() return later "unm" end,
        __len = function() return later(7) end,
        __eq = function() return later(true) end,
        __lt = function() return later(true) end,
        __le = function() return later(false) end,
        __band = function() return later "band" end,
      })
      local y = setmetatable({}, getmetatable(x))
      assert.equal("index key", x.key)
      x.new = "set"
      assert.equal("set", rawget(x, "new"))
      assert.same({1, 2}, {x(1, 2)})
      assert.same({"add", "unm", "band", 7}, {x + 1, -x, x & 1, #x})
      assert.equal("concat", "left" .. x)
      assert.equal("aconcat", "a" .. ("b" .. x))
      assert.same({true, true, false, true}, {x == y, x < y, x <= y, x > y})
      assert.is_false(x ~= y)
    end)
  end)

  it("works in the iterator of a for loop and in __pairs", function()
    run(function()
      local seen = {}
      local function count(last, n) return later(n < last and n + 1 or nil) end
      for n in count, 3, 0 do seen[#seen + 1] = n end
      assert.same({1, 2, 3}, seen)
      local x = setmetatable({}, {__pairs = function() return later(next), {k = "v"} end})
      for k, v in pairs(x) do seen[k] = v end
      assert.equal("v", seen.k)
    end)
  end)

  it("works in a tail call, in dofile and in a loaded chunk", function()
    run(function()
      local function tail(n) if n == 0 then return later "end" end return tail(n - 1) end
      assert.equal("end", tail(500))
      assert.equal("chunk", load("return (...)('chunk')")(later))
      local dir <close> = helper.tempdir()
      local path = dir:write("chunk.lua", "require'lull'.sleep(1) return 'file'")
      local before = lull.now()
      assert.equal("file", dofile(path))
      assert.equal(1, lull.now() - before)
    end)
  end)

  it("lets others run meanwhile", function()
    run(function()
      local log, start = {}, lull.now()
      local function worker(name)
        for i = 1, 3 do
          log[#log + 1] = name .. i
          lull.sleep(1)
        end
      end
      local a, b = lull.spawn(worker, "a"), lull.spawn(worker, "b")
      a:await()
      b:await()
      assert.same({"a1", "b1", "a2", "b2", "a3", "b3"}, log)
      assert.equal(3, lull.now() - start) -- not the sum
    end)
  end)
end)

describe("a closer that suspends", function()
  local log
  before_each(function() log = {} end)

  -- Notes what it is closed with after a suspension.
  local function closer(name)
    return helper.closer(function(_, err)
      log[#log + 1] = later(name .. ": " .. tostring(err))
    end)
  end

  it("ends before the values of its block are returned", function()
    run(function()
      local function body()
        local _ <close> = closer "outer"
        local _ <close> = closer "inner"
        return 1, nil, 3
      end
      assert.same({1, nil, 3}, {body()})
      assert.same({"inner: nil", "outer: nil"}, log)
    end)
  end)

  it("ends before break and goto go on", function()
    run(function()
      repeat
        local _ <close> = closer "break"
        if #log == 0 then break end
      until false
      assert.same({"break: nil"}, log)
      do
        local _ <close> = closer "goto"
        goto out
      end
      ::out::
      assert.equal("goto: nil", log[2])
    end)
  end)

  it("is the fourth value of a for loop", function()
    run(function()
      for k in next, {1, 2}, nil, closer "for" do
        if k == 1 then break end
      end
      assert.same({"for: nil"}, log)
    end)
  end)

  it("sees the error that unwinds to a pcall, the same object", function()
    run(function()
      local err = setmetatable({}, {__tostring = function() return "E" end})
      local ok, got = pcall(function()
        local _ <close> = closer "outer"
        local _ <close> = closer "inner"
        later()
        error(err)
      end)
      assert.is_false(ok)
      assert.equal(err, got)
      assert.same({"inner: E", "outer: E"}, log)
    end)
  end)

  it("sees the error that unwinds to the base of its task", function()
    run(function()
      local err = setmetatable({}, {__tostring = function() return "E" end})
      local task = lull.spawn(function()
        local _ <close> = closer "task"
        error(err)
      end)
      assert.equal(err, select(2, pcall(task.await, task)))
      assert.same({"task: E"}, log)
    end)
  end)

  it("may raise another error after its suspension, which replaces the first", function()
    run(function()
      local ok, got = pcall(function()
        local _ <close> = closer "outer"
        local _ <close> = helper.closer(function() later() error("second", 0) end)
        error("first", 0)
      end)
      assert.is_false(ok)
      assert.equal("second", got)
      assert.same({"outer: second"}, log)
    end)
  end)
end)
