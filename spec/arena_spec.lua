-- The allocator of the interpreter: blocks keep what was written into them, wherever
-- their size moves them, and memory that a script no longer needs goes back.
local helper = require "spec.helper"
local probe = require "probe"

describe("arena", function()
  it("keeps what is in its blocks, whatever becomes of their size", function()
    for seed = 1, 5 do
      assert.is_true(probe.arena(100000, seed))
    end
  end)

  it("gives memory back that a script no longer needs", function()
    local out = helper.child([[
      local function resident()
        for line in io.lines "/proc/self/status" do
          local kib = line:match "^VmRSS:%s*(%d+)"
          if kib then return tonumber(kib) end
        end
      end
      local before, t = resident(), {}
      for i = 1, 500000 do t[i] = {i} end
      local full = resident() - before
      t = nil
      collectgarbage()
      collectgarbage()
      print((resident() - before) / full)
    ]])
    assert.is_true(probe.sanitized or tonumber(out) < 0.5, out)
  end)
end)
