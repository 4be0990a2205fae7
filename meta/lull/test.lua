---@meta lull.test
---@class lull.test
local test = {}

---What a scenario of a sweep is given.
---@class lull.Case
---@field cancelled lull.Task? that the sweep has cancelled
---@field seed integer? of this run
---@field step integer how many steps there have been
local Case = {}
---@param fn fun(case: lull.Case) called before every step, and at the end
function Case:always(fn) end
---@param fn fun(case: lull.Case) called when all has ended, the last first
function Case:finally(fn) end

---Runs fn once, on the virtual clock; an error that nobody looks at is raised.
---@param fn fun(): ...
---@param opts? table
---@return any ... results of fn
function test.run(fn, opts) end

---Runs a scenario again and again, cancelled at every point there is.
---@param scenario fun(case: lull.Case)
---@param opts? {who: "main"?, seeds: integer?, step: integer?, task: integer?, seed: integer?, name: string?, selector: string?, limit: integer?}
---@return integer runs
function test.cancel_sweep(scenario, opts) end

---Runs a scenario in random orders.
---@param scenario fun(case: lull.Case)
---@param opts? {seeds: integer?, first: integer?, seed: integer?, cancels: integer?, name: string?, selector: string?, limit: integer?}
---@return integer runs
function test.schedule_sweep(scenario, opts) end

return test
