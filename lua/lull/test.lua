-- Finding what goes wrong only sometimes.  A scenario is run again and again on the
-- virtual clock, cancelled at every point there is, or with its tasks in random orders,
-- and after each run nothing may be left behind:
--
--     local n = test.cancel_sweep(function(case)
--       local lock = lull.lock()
--       case:finally(function() assert(not lock:locked()) end)
--       for _ = 1, 3 do
--         lull.spawn(function() local _ <close> = lock:acquire() lull.sleep(1) end)
--       end
--     end)
--
-- A step is one task that runs until it suspends, or one callback.  Cancelling falls
-- between two steps, so also between the wake-up of a task and its next step.
local arguments = require "lull.arguments"
local core = require "lull.core"

local test = {}

local REASON = "cancelled by the sweep"
local LIMIT = 100000 -- steps, unless options.limit says otherwise
local TOLD = 16      -- how many of the last steps a report tells

-- ---- a case: one run of a scenario ----------------------------------------------------

-- plan: what is to happen, {seed=, step=, task=, cancels=}; step: how many there were;
-- cancelled: the last task that was; failure: {err, traceback, step} of the first.
local Case = { __name = "Case" }
Case.__index = Case

-- fn(case) is called before every step and at the end, and raises what is wrong.
function Case:always(fn)
  table.insert(self.invariants, fn)
end

-- fn(case) is called when all has ended, the last first, and raises what is wrong.
function Case:finally(fn)
  table.insert(self.finals, 1, fn)
end

function Case:__tostring()
  return ("case (%s, step %d)"):format(self.failure and "failed" or "well", self.step)
end

local function fail(case, err, traceback)
  case.failure = case.failure or { err = err, traceback = traceback, step = case.step }
end

-- Once somebody has been cancelled, errors that say so are what was asked for.
local function is_expected(case, err)
  return case.cancelled and tostring(err):find("ECANCELED: ", 1, true) ~= nil
end

local function check_all(case, checks)
  for _, check in ipairs(checks) do
    local ok, err = xpcall(check, core.handler, case)
    if not ok then fail(case, err) end
  end
end

-- The live tasks, in the order in which they were spawned.
local function live_tasks()
  local tasks = core.tasks()
  table.sort(tasks, function(a, b) return a:id() < b:id() end)
  return tasks
end

-- The number of a task within its case; the main task is 1.
local function number_of(case, task)
  return task:id() - case.first + 1
end

local function cancel(case, task)
  case.cancelled = task
  task:cancel(REASON)
end

local function cancel_planned(case)
  for _, task in ipairs(live_tasks()) do
    if number_of(case, task) == case.plan.task then cancel(case, task) end
  end
end

-- A random number 1..n from a stream of the case's own (xorshift64).
local function random(case, n)
  local x = case.random
  x = x ~ x << 13
  x = x ~ x >> 7
  x = x ~ x << 17
  case.random = x
  return (x >> 33) % n + 1
end

-- Before one in sixteen steps anybody is cancelled.
local function cancel_at_random(case)
  local tasks = random(case, 16) == 1 and live_tasks()
  if tasks and #tasks > 0 then
    case.cancels = case.cancels - 1
    cancel(case, tasks[random(case, #tasks)])
  end
end

local function give_up(case)
  fail(case, ("no end after %d steps"):format(case.step))
  for _, task in ipairs(live_tasks()) do task:cancel "the case has no end" end
end

local function before_step(case, task)
  if case.over then return end
  case.step = case.step + 1
  if case.on_step then case.on_step(case, task) end
  if case.step >= case.limit then give_up(case) end
  if case.step == case.plan.step then cancel_planned(case) end
  if case.cancels > 0 then cancel_at_random(case) end
  if case.invariants[1] then check_all(case, case.invariants) end
end

-- ---- what is left behind --------------------------------------------------------------

local counted = {
  { "tasks", "tasks" },
  { "ready", "waiters that are ready" },
  { "timers", "timers" },
  { "ios", "descriptors that are waited for" },
  { "refs", "references to the loop" },
  { "held", "values that the runtime keeps alive" },
}

-- What there is more of in the second census, in words; nil when nothing is.
local function compare(before, after)
  local more = {}
  for _, entry in ipairs(counted) do
    local n = after[entry[1]] - before[entry[1]]
    if n > 0 then table.insert(more, ("%d %s"):format(n, entry[2])) end
  end
  return more[1] and "left behind: " .. table.concat(more, ", ")
end

-- A descriptor that was not open before, in words.
local function compare_descriptors(before, after)
  for fd, target in pairs(after) do
    if before[fd] ~= target then
      return ("left behind: descriptor %d (%s)"):format(fd, target)
    end
  end
end

-- ---- running --------------------------------------------------------------------------

local function new_case(plan, on_step)
  return setmetatable({
    plan = plan, seed = plan.seed, on_step = on_step, step = 0,
    limit = plan.limit or LIMIT, cancels = plan.cancels or 0,
    random = (plan.seed or 1) * 0x9E3779B97F4A7C15, -- spreads small seeds
    invariants = {}, finals = {},
  }, Case)
end

local function new_loop(case)
  local loop = core.new_loop {
    clock = "virtual", seed = case.seed, selector = case.plan.selector,
  }
  loop:on_unhandled(function(err, traceback)
    if not is_expected(case, err) then fail(case, err, traceback) end
  end)
  return loop
end

local function main(case, scenario)
  case.census = core.census()
  case.first = core.current():id()
  core.on_step(function(task) before_step(case, task) end)
  return scenario(case)
end

-- The second main task of a loop: the first and all of its have ended.
local function look_back(case)
  core.on_step(nil)
  core.sleep(0) -- for callbacks that were still to be called
  return compare(case.census, core.census())
end

-- Runs the scenario once; returns its case, which tells how it went, and its results.
local function play(scenario, plan, on_step)
  local case = new_case(plan, on_step)
  local descriptors = core.descriptors() or {}
  local loop = new_loop(case)
  local results = table.pack(pcall(loop.run, loop, main, case, scenario))
  case.over = true
  if not results[1] and not is_expected(case, results[2]) then fail(case, results[2]) end
  local left = loop:run(look_back, case)
  loop:close()
  left = left or compare_descriptors(descriptors, core.descriptors() or {})
  if left then fail(case, left) end
  check_all(case, case.invariants)
  check_all(case, case.finals)
  return case, results
end

-- ---- telling what failed --------------------------------------------------------------

-- The innermost line of the script in a traceback.
local function find_place(traceback)
  for line in traceback:gmatch "[^\n]+" do
    local place = line:match "^%s+(.-:%d+):"
    if place and not place:find "^lull/" then return "at " .. place end
  end
  return "begins"
end

local function describe(case, task)
  if not task then return "a callback" end
  local number, name = number_of(case, task), task:name()
  if name:find "^task %d+$" then name = number == 1 and "main" or nil end
  return ("task %d%s %s"):format(number, name and (' "%s"'):format(name) or "",
    find_place(task:traceback()))
end

-- Runs what has failed once more, and tells the last steps before it fails.
local function replay(scenario, plan, failure)
  local told = {}
  local again = play(scenario, plan, function(case, task)
    if case.step > math.max(failure.step, 1) then return end
    table.insert(told, ("  step %d: %s"):format(case.step, describe(case, task)))
    if #told > TOLD then table.remove(told, 1) end
  end)
  if again.failure and again.failure.step == failure.step then
    table.insert(told, "it fails in the same way when it is run again")
  else
    table.insert(told, "it does not fail in the same way when it is run again: "
      .. "something besides the plan decides what happens")
  end
  return table.concat(told, "\n")
end

-- Raises what went wrong in a case; `how` says how it had been run.
local function report(scenario, case, how, ...)
  local failure, plan = case.failure, case.plan
  local lines = { (plan.name and plan.name .. " " or "") .. how:format(...) .. ":" }
  table.insert(lines, tostring(failure.err))
  table.insert(lines, failure.traceback or core.traceback(failure.err))
  table.insert(lines, "the last steps:")
  table.insert(lines, replay(scenario, plan, failure))
  error(table.concat(lines, "\n"), 0)
end

-- ---- what tests call ------------------------------------------------------------------

local function extend(options, more)
  local plan = {}
  for key, value in pairs(options) do plan[key] = value end
  for key, value in pairs(more) do plan[key] = value end
  return plan
end

-- Runs fn(case) once, as the main task on a virtual clock, and returns its results;
-- raises its error, or what was left behind.  options: seed, selector, limit (of steps).
function test.run(fn, options)
  local case, results = play(fn, arguments.options(2, "run", options, "test.run"))
  if not results[1] then error(results[2], 0) end
  if case.failure then
    error(("%s\n%s"):format(case.failure.err, case.failure.traceback or ""), 0)
  end
  return table.unpack(results, 2, results.n)
end

-- Who is there before each step of a run that nobody disturbs: {{step=, task=}, ...}
local function find_points(scenario, plan)
  local points = {}
  local case = play(scenario, plan, function(case)
    for _, task in ipairs(live_tasks()) do
      local number = number_of(case, task)
      if plan.who ~= "main" or number == 1 then
        table.insert(points, { step = case.step, task = number })
      end
    end
  end)
  if case.failure then report(scenario, case, "fails undisturbed") end
  return points
end

local function cancel_at(scenario, plan)
  local case = play(scenario, plan)
  if case.failure then
    local seed = plan.seed and ", seed = " .. plan.seed or ""
    report(scenario, case, "fails when cancelled with {step = %d, task = %d%s}",
      plan.step, plan.task, seed)
  end
end

-- Runs the scenario undisturbed, and then once for each step and each task that is there
-- before it, cancelling that task there.  Returns the number of runs.  options:
--   who = "main"      cancels only the main task
--   seeds = n         does all that in the random orders of seeds 1..n as well
--   step, task, seed  only this point, to see a failure again
--   name, selector, limit (of steps)
function test.cancel_sweep(scenario, options)
  options = arguments.options(2, "cancel_sweep", options)
  if options.step then
    cancel_at(scenario, options)
    return 1
  end
  local runs = 0
  for seed = options.seed or 0, options.seed or options.seeds or 0 do
    local plan = extend(options, { seed = seed > 0 and seed or nil })
    local points = find_points(scenario, plan)
    for _, point in ipairs(points) do cancel_at(scenario, extend(plan, point)) end
    runs = runs + 1 + #points
  end
  return runs
end

-- Runs the scenario with its ready tasks in the random orders of many seeds.  Returns the
-- number of runs.  options:
--   seeds = n (100), first = 1
--   seed              only this one, to see a failure again
--   cancels = n       cancels up to n tasks in each run, at random
--   name, selector, limit (of steps)
function test.schedule_sweep(scenario, options)
  options = arguments.options(2, "schedule_sweep", options)
  local first = options.seed or options.first or 1
  local last = options.seed or first + (options.seeds or 100) - 1
  for seed = first, last do
    local case = play(scenario, extend(options, { seed = seed }))
    if case.failure then report(scenario, case, "fails with {seed = %d}", seed) end
  end
  return last - first + 1
end

return test
