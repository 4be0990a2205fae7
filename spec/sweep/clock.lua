-- Scenarios for spec/sweep/check.lua: who sleeps on clocks that others pause and turn.
local lull = require "lull"

local function sleepers(case)
  local clock, woke, tasks = lull.clock(), 0, {}
  for i = 1, 5 do
    tasks[i] = lull.spawn(function()
      local due = clock:now() + i
      clock:sleep(i)
      assert(clock:now() >= due, "too early")
      woke = woke + 1
    end)
  end
  lull.spawn(function()
    lull.sleep(1.5)
    clock:pause()
    local _ <close> = lull.defer(clock.resume, clock)
    lull.sleep(3)
  end)
  lull.spawn(function()
    clock:scale(2)
    lull.sleep(2)
    clock:scale(0.5)
    clock:advance(1)
  end)
  for _, task in ipairs(tasks) do pcall(task.await, task) end
  assert(case.cancelled or woke == 5)
end

local function deadlines(case)
  local clock, inside = lull.clock(), 0
  case:finally(function() assert(inside == 0, "somebody is still inside") end)
  local function body(seconds)
    inside = inside + 1
    local _ <close> = lull.defer(function() inside = inside - 1 end)
    lull.sleep(seconds)
    return "done"
  end
  local tasks = {}
  for i = 1, 4 do
    tasks[i] = lull.spawn(function()
      local result, _, code = clock:timeout(2, body, i)
      assert(result == "done" or code == "ETIMEDOUT")
      assert(i ~= 1 or result == "done")
      assert(i < 3 or code == "ETIMEDOUT")
    end)
  end
  for _, task in ipairs(tasks) do
    local ok, err = pcall(task.await, task)
    assert(ok or case.cancelled, err)
  end
end

return {
  {"sleepers on a clock that is turned", sleepers},
  {"deadlines on a clock", deadlines},
}
