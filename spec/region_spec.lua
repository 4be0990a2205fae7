-- Memory that is put back as it was: whatever happened to its blocks since.
local probe = require "probe"

describe("region", function()
  it("keeps what is in its blocks, and finds again what was kept", function()
    for seed = 1, 5 do
      assert.is_true(probe.region(20000, seed))
    end
  end)
end)
