-- Every scenario is run undisturbed, cancelled at each point there is (in the usual order
-- and in some random ones), in random orders, and in random orders with tasks cancelled
-- at random.  For more scenarios write a module in spec/sweep/ that returns a list of
-- {name, fn}, and name it here.
local test = require "lull.test"

local modules = {"primitives", "groups", "network", "dns", "protocol", "process", "tls",
  "files", "threads", "clock"}

-- Where garbage is collected before every resume, fewer must do.
local patient = not (os.getenv "LULL_BUILD" or ""):find "stress$"

local CANCELLED_IN = patient and 3 or 0 -- random orders in which each point is cancelled
local SEEDS = patient and 300 or 20     -- random orders without, and with cancellation

local runs = 0

for _, module in ipairs(modules) do
  describe("in every order, cancelled anywhere: " .. module, function()
    for _, entry in ipairs(require("spec.sweep." .. module)) do
      local name, scenario = entry[1], entry[2]

      it(name .. ", cancelled at every point", function()
        runs = runs + test.cancel_sweep(scenario, {name = name, seeds = CANCELLED_IN})
      end)

      it(name .. ", in random orders", function()
        runs = runs + test.schedule_sweep(scenario, {name = name, seeds = SEEDS})
      end)

      it(name .. ", in random orders, cancelled at random", function()
        runs = runs + test.schedule_sweep(scenario, {
          name = name, first = SEEDS + 1, seeds = SEEDS, cancels = 3,
        })
      end)
    end
  end)
end

describe("the sweeps", function()
  it("are ten thousand schedules and more", function()
    assert.is_true(runs >= 10000 or not patient, runs .. " schedules")
    io.write(("%d schedules, no violation\n"):format(runs))
  end)
end)
