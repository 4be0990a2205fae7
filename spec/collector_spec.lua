-- The program's collector (src/program/collector.c): which mode it is in, and when it
-- changes.  Asking changes it as well, so each test is a lull of its own that asks once.
local helper = require "spec.helper"

local lull_path = os.getenv "LULL"

local function mode_after(code, ...)
  local ask = " io.write(collectgarbage('incremental'))"
  local out, err = helper.execute {lull_path, "-e", code .. ask, ...}
  assert.equal("", err)
  return out
end

-- Some megabytes of objects that are held, a few collections, and turns of the loop.
local MUCH <const> = [[
  local held = {}
  for i = 1, 100000 do held[i] = {i} end
  for round = 1, 20 do
    for i = 1, 10000 do local garbage = {i} end
    collectgarbage()
    lull.sleep(0)
  end ]]

local FREE <const> = [[
  held = nil
  for round = 1, 3 do collectgarbage() lull.sleep(0) end ]]

describe("the program's collector", function()
  it("is generational while little is in use", function()
    assert.equal("generational", mode_after "lull.sleep(0)")
  end)

  it("is incremental while much is in use", function()
    assert.equal("incremental", mode_after(MUCH))
    assert.equal("generational", mode_after(MUCH .. FREE))
  end)

  it("is left in the mode that a script has chosen", function()
    assert.equal("generational", mode_after("collectgarbage 'generational'" .. MUCH))
    assert.equal("incremental", mode_after "collectgarbage 'incremental' lull.sleep(0)")
    assert.equal("incremental",
                 mode_after(MUCH .. "collectgarbage 'incremental'" .. FREE))
  end)

  it("collects nothing while a script has stopped it, and changes afterwards", function()
    local code = MUCH .. [[
      held = nil
      collectgarbage()
      collectgarbage "stop"
      local weak = setmetatable({{}}, {__mode = "v"})
      lull.sleep(0)
      io.write(weak[1] and "stopped " or "collected ")
      collectgarbage "restart" ]]
    assert.equal("stopped generational", mode_after(code .. FREE))
  end)

  it("is lua's under --plain", function()
    local out = helper.execute {lull_path, "--plain", "-e",
                                "io.write(collectgarbage 'incremental')"}
    assert.equal("generational", out)
  end)

  it("tells mistakes as Lua does", function()
    local _, err = helper.execute {lull_path, "-e", "collectgarbage 'sometimes'"}
    local told = "bad argument #1 to 'collectgarbage' (invalid option 'sometimes')"
    assert.matches(told, err, 1, true)
  end)

  it("ends with the state, whatever is under way", function()
    local code = MUCH:gsub("lull%.sleep%(0%)", "") .. "os.exit(true, true)"
    local _, err, status = helper.execute {lull_path, "-e", code}
    assert.equal("", err)
    assert.equal(0, status)
  end)
end)
