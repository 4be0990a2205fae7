-- require: as Lua's own, but a chunk may await while it loads, and who needs it meanwhile
-- waits for it.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run

describe("require", function()
  local dir, path, before

  -- Modules of these specs are files m1.lua, m2.lua ... of a directory of their own.
  before_each(function()
    dir, path, before = helper.tempdir(), package.path, {}
    package.path = dir.path .. "/?.lua"
    for name in pairs(package.loaded) do before[name] = true end
    _G.loads = 0
  end)

  after_each(function()
    package.path = path
    for name in pairs(package.loaded) do
      if not before[name] then package.loaded[name] = nil end
    end
    for name in pairs(package.preload) do
      if name:match "^m%d" then package.preload[name] = nil end
    end
    _G.loads = nil
    getmetatable(dir).__close(dir)
  end)

  local function module(name, text)
    local head = "loads = loads + 1\nlocal lull = require 'lull'\n"
    return dir:write(name .. ".lua", head .. text)
  end

  -- As in Lua, in a task and without a loop.
  for where, within in pairs {["in a task"] = run, ["without a loop"] = pcall} do
    it("returns what the chunk returns and where it was found, " .. where, function()
      local file = module("m1", "assert(select('#', ...) == 2) return {name = ..., ...}")
      local ok, err = within(function()
        local value, found = require "m1"
        assert.equal("m1", value.name)
        assert.equal(file, value[2])
        assert.equal(file, found)
        assert.equal(value, (require "m1"))
        assert.equal(value, package.loaded.m1)
        assert.equal(1, _G.loads)
        return true
      end)
      assert.is_true(ok, err)
    end)

    it("makes do with chunks that return nothing, " .. where, function()
      module("m1", "")
      module("m2", "package.loaded[...] = 'set by itself'")
      module("m3", "return false")
      local ok, err = within(function()
        assert.is_true((require "m1"))
        assert.equal("set by itself", (require "m2"))
        assert.is_false((require "m3"))
        return true
      end)
      assert.is_true(ok, err)
    end)

    it("says where it has looked, " .. where, function()
      local ok, err = within(function()
        local ok, err = pcall(require, "m1")
        assert.is_false(ok)
        assert.matches("module 'm1' not found:", err, 1, true)
        assert.matches("no field package.preload['m1']", err, 1, true)
        assert.matches("no file '" .. dir.path .. "/m1.lua'", err, 1, true)
        local line = helper.line() + 1
        ok, err = pcall(function() require "m1" end)
        assert.is_false(ok)
        assert.matches("require_spec.lua:" .. line .. ": module 'm1' not found", err)
        return true
      end)
      assert.is_true(ok, err)
    end)

    it("says where the syntax is wrong, " .. where, function()
      module("m1", "this is no Lua")
      local ok, err = within(function()
        local ok, err = pcall(require, "m1")
        assert.is_false(ok)
        assert.matches("error loading module 'm1' from file", err, 1, true)
        return true
      end)
      assert.is_true(ok, err)
    end)

    it("raises the error of the chunk, and tries again next time, " .. where, function()
      module("m1", "if loads == 1 then error({}) end return 'second'")
      local ok, err = within(function()
        local ok, err = pcall(require, "m1")
        assert.is_false(ok)
        assert.is_table(err)
        assert.is_nil(package.loaded.m1)
        assert.equal("second", (require "m1"))
        return true
      end)
      assert.is_true(ok, err)
    end)

    it("raises when a module needs itself, " .. where, function()
      module("m1", "return require 'm2'")
      module("m2", "return require 'm1'")
      local ok, err = within(function()
        local ok, err = pcall(require, "m1")
        assert.is_false(ok)
        assert.matches("m1", err)
        assert.not_matches("overflow", err)
        assert.equal(2, _G.loads)
        return true
      end)
      assert.is_true(ok, err)
    end)
  end

  it("lets the chunk await", function()
    module("m1", "lull.sleep(2) return lull.now()")
    run(function()
      local start = lull.now()
      assert.equal(start + 2, (require "m1"))
    end)
  end)

  it("lets a loader in package.preload await", function()
    package.preload.m1 = function(name, extra)
      lull.sleep(1)
      return {name, extra}
    end
    run(function() assert.same({"m1", ":preload:"}, (require "m1")) end)
  end)

  it("lets a chunk that it needs await, at any depth and in coroutines", function()
    module("m1", "return coroutine.wrap(function() return require 'm2' end)() .. 1")
    module("m2", "local x = require 'm3' lull.sleep(1) return x .. 2")
    module("m3", "lull.sleep(1) return 3")
    run(function() assert.equal("321", (require "m1")) end)
  end)

  it("of what another task is loading waits for that load", function()
    module("m1", "lull.sleep(2) return {}")
    run(function()
      local start = lull.now()
      local first = lull.spawn(require, "m1")
      local second = lull.spawn(require, "m1")
      lull.sleep(1)
      local mine = require "m1"
      assert.equal(start + 2, lull.now())
      assert.equal(mine, (first:await()))
      assert.equal(mine, (second:await()))
      assert.equal(1, _G.loads)
    end)
  end)

  it("loads anew when the load it has waited for fails", function()
    module("m1", "local n = loads lull.sleep(1) assert(n ~= 1, 'first') return n")
    run(function()
      local first = lull.spawn(require, "m1")
      local second = lull.spawn(pcall, require, "m1")
      lull.sleep(0)
      assert.matches("first", select(2, pcall(first.await, first)))
      local ok, value = second:await()
      if ok then
        assert.equal(2, value)
      else
        assert.matches("first", value)
      end
      assert.equal(2, (require "m1"))
    end)
  end)

  it("loads anew when the load it has waited for is cancelled", function()
    module("m1", "local n = loads lull.sleep(5) return n")
    run(function()
      local first = lull.spawn(require, "m1")
      local second = lull.spawn(require, "m1")
      lull.sleep(1)
      first:cancel()
      assert.equal(2, (second:await()))
      assert.equal(2, _G.loads)
    end)
  end)

  it("that waits can be cancelled without harm to the load", function()
    module("m1", "lull.sleep(5) return 'm'")
    run(function()
      local first = lull.spawn(require, "m1")
      lull.sleep(0)
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, require, "m1")))
      assert.equal("m", (first:await()))
      assert.equal(1, _G.loads)
    end)
  end)

  it("raises when two tasks would wait for each other's load", function()
    module("m1", "lull.sleep(1) return require 'm2'")
    module("m2", "lull.sleep(1) return require 'm1'")
    run(function()
      local one = lull.spawn(pcall, require, "m1")
      local two = lull.spawn(pcall, require, "m2")
      assert.is_false(one:await() and two:await())
      assert.is_true(lull.now() < 50)
    end)
  end)

  it("in a cancelled scope still gives what is loaded", function()
    module("m1", "return 'm'")
    run(function()
      require "m1"
      assert.equal("m", lull.scope(function(s)
        s:cancel()
        return (require "m1")
      end))
    end)
  end)

  it("gives lull", function() assert.equal(lull, require "lull") end)
end)
