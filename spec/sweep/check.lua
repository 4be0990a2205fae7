-- Runs the scenarios of a module in spec/sweep/, which returns a list of {name, fn}: each
-- undisturbed, cancelled at each point there is (in the usual order and in some random
-- ones), in random orders, and in random orders with tasks cancelled at random.
-- opts: seeds (how many random orders, for scenarios that are slow), at_least (how many
-- schedules there must have been).
local assert = require "luassert"
local busted = require "busted" -- what are globals in a spec file only
local test = require "lull.test"

local describe, it = busted.describe, busted.it

-- Where garbage is collected before every resume, fewer must do.
local patient = not (os.getenv "LULL_BUILD" or ""):find "stress$"

return function(module, opts)
  opts = opts or {}
  local seeds = patient and (opts.seeds or 300) or 20
  local cancelled_in = patient and (seeds < 300 and 1 or 3) or 0
  local runs = 0

  describe("in every order, cancelled anywhere: " .. module, function()
    for _, entry in ipairs(require("spec.sweep." .. module)) do
      local name, scenario = entry[1], entry[2]

      it(name .. ", cancelled at every point", function()
        runs = runs + test.cancel_sweep(scenario, {name = name, seeds = cancelled_in})
      end)

      it(name .. ", in random orders", function()
        runs = runs + test.schedule_sweep(scenario, {name = name, seeds = seeds})
      end)

      it(name .. ", in random orders, cancelled at random", function()
        runs = runs + test.schedule_sweep(scenario, {
          name = name, first = seeds + 1, seeds = seeds, cancels = 3,
        })
      end)
    end

    it("in many schedules", function()
      assert.is_true(runs >= (opts.at_least or 1000) or not patient, runs .. " schedules")
      io.write(("%s: %d schedules, no violation\n"):format(module, runs))
    end)
  end)
end
