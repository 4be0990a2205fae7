-- The hosts in examples/embed print what they should.
local helper = require "spec.helper"

local build = os.getenv "LULL_BUILD"

local function host(name, ...)
  return helper.execute {build .. "/examples/embed/" .. name, ...}
end

describe("a host", function()
  if not build then return pending "no build directory" end

  it("is minimal", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("script.lua", [[
      lull.spawn(function() lull.sleep(0.002) print "child" end)
      print "main"
      error("oops", 0)
    ]])
    local out, err, code = host("minimal", script)
    assert.same({"main\nchild\n", "task 1: oops\n", 1}, {out, err, code})
  end)

  it("awaits in C", function()
    local out, err, code = host "await"
    local asked, answers, last = out:match "^(asked\n)(.*\n)(ETIMEDOUT\n)$"
    assert.equal("asked\nETIMEDOUT\n", asked .. last)
    local one, other = "10 squared is 100\n", "30 squared is 900\n"
    assert.is_true(answers == one .. other or answers == other .. one) -- threads race
    assert.same({"", 0}, {err, code})
  end)

  it("is a guest of a poll loop", function()
    local out, err, code = host "poll"
    assert.equal("no such command: nonsense\n" ..
      "hello poll\t1\necho\tround trip\nhello poll\t2\n", out)
    assert.same({"", 0}, {err, code})
  end)

  it("needs no Lua", function()
    local out, err, code = host "plain_c"
    local lines = {}
    for line in out:gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    assert.same({"the other thread has posted", "the pipe says: hello",
      "the word is given", "tick 1", "tick 2", "tick 3"}, lines)
    assert.same({"", 0}, {err, code})
  end)
end)
