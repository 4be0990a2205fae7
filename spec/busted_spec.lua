-- What users of lull will do: specs whose bodies await, run by busted in the main task.
local helper = require "spec.helper"

local BUSTED = arg and arg[0] or "/usr/bin/busted"

local SPECS = [==[
local lull = require "lull"

describe("bodies", function()
  local started
  before_each(function() lull.sleep(0.001) started = lull.now() end)
  after_each(function() lull.sleep(0) end)

  it("may sleep", function()
    lull.sleep(0.001)
    assert.is_true(lull.now() > started)
  end)

  it("may await tasks", function()
    assert.equal("value", lull.spawn(function() lull.sleep(0) return "value" end):await())
  end)

  it("fail with the assertion of a task", function()
    lull.spawn(function() lull.sleep(0) assert.equal(1, 2) end):await()
  end)

  it("fail with an error", function()
    lull.sleep(0)
    error "an error of the body"
  end)

  it("fail in a scope", function()
    lull.timeout(5, function() assert.is_true(false) end)
  end)

  it("may be pending", function()
    lull.sleep(0)
    pending "not yet"
  end)
end)
]==]

describe("busted in the main task", function()
  local out, code

  setup(function()
    local dir <close> = helper.tempdir()
    local path = dir:write("await_spec.lua", SPECS)
    local config = dir:write("config.lua", "return {}") -- not that of this suite
    local _
    out, _, code = helper.execute {
      helper.interpreter(), BUSTED, "-f", config, "-o", "TAP", path,
    }
  end)

  it("runs bodies that await", function()
    assert.matches("ok %d+ %- bodies may sleep", out)
    assert.matches("ok %d+ %- bodies may await tasks", out)
  end)

  it("knows failures from errors, wherever they come from", function()
    assert.matches("not ok %d+ %- bodies fail with the assertion of a task", out)
    assert.matches("Expected objects to be equal", out)
    assert.matches("not ok %d+ %- bodies fail with an error", out)
    assert.matches("an error of the body", out)
    assert.matches("not ok %d+ %- bodies fail in a scope", out)
  end)

  it("knows what is pending", function()
    assert.matches("ok %d+ %- # SKIP.*not yet", out)
  end)

  it("ends with the code of failure", function()
    assert.not_equal(0, code)
    assert.is_true(code < 128)
  end)
end)
