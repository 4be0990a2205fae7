-- Scenarios for spec/sweep/check.lua: groups, gather, race, wait, as_completed.  Whoever
-- is cancelled, and in whatever order: nobody is left in a group that has been left, no
-- child is lost, and what is owned comes to its end.
local lull = require "lull"

-- Who is in a group.  Each child is entered as it begins; `left` says that it is over.
local function new_house(case)
  local house = {inside = 0, begun = 0, left = false}
  case:finally(function() assert(house.inside == 0, "somebody is still inside") end)
  case:always(function()
    assert(not house.left or house.inside == 0, "left with somebody inside")
  end)
  -- A child that sleeps, and takes time to clean up.
  function house.child(seconds, cleanup)
    house.inside, house.begun = house.inside + 1, house.begun + 1
    local _ <close> = lull.defer(function()
      if cleanup then lull.shield(lull.sleep, cleanup) end
      house.inside = house.inside - 1
    end)
    lull.sleep(seconds)
    return seconds
  end
  function house.failing(seconds, err)
    house.child(seconds)
    error(err, 0)
  end
  -- Calls fn, however that ends the house is left then.
  function house.within(fn, ...)
    local _ <close> = lull.defer(function() house.left = true end)
    return fn(...)
  end
  return house
end

-- Errors of cancelled children are caught here, our own cancellation is not.
local attempt = lull.pcall

local function error_of(fn, ...)
  return select(2, attempt(fn, ...))
end

local function function_form(case)
  local house = new_house(case)
  house.within(lull.group, function(g)
    for i = 1, 3 do g:spawn(house.child, i % 2, i % 2) end
    g:spawn(function()
      g:spawn(house.child, 1, 1)
      lull.sleep(0)
    end)
    lull.sleep(0)
  end)
  assert(case.cancelled or house.begun == 4)
end

local function block_form(case)
  local house = new_house(case)
  house.within(function()
    local g <close> = lull.group()
    for i = 1, 3 do g:spawn(house.child, i, 3 - i) end
    lull.sleep(1)
    do
      local h <close> = lull.group()
      h:spawn(house.child, 1, 1)
    end
    lull.sleep(1)
  end)
end

local function failing_child(case)
  local house = new_house(case)
  local err = error_of(house.within, lull.group, function(g)
    g:spawn(house.child, 5, 1)
    g:spawn(house.failing, 1, "first")
    g:spawn(house.child, 3, 2)
    lull.sleep(4)
  end)
  assert(case.cancelled or err == "first")
end

local function failing_body(case)
  local house = new_house(case)
  local err = error_of(house.within, function()
    local g <close> = lull.group()
    g:spawn(house.child, 5, 1)
    g:spawn(house.child, 0)
    lull.sleep(1)
    error("body", 0)
  end)
  assert(case.cancelled or err == "body")
end

local function cancelled_by_itself(case)
  local house = new_house(case)
  local value, _, code = house.within(lull.group, function(g)
    g:spawn(house.child, 5, 1)
    g:spawn(function()
      lull.sleep(1)
      g:cancel "enough"
      house.child(1, 1)
    end)
    lull.sleep(5)
  end)
  assert(case.cancelled or value == nil and code == "ECANCELED")
end

local function out_of_time(case)
  local house = new_house(case)
  lull.timeout(2, house.within, lull.group, function(g)
    g:spawn(house.child, 5, 2)
    g:spawn(function()
      lull.timeout(1, lull.group, function(h) h:spawn(house.child, 5, 3) end)
      house.child(5)
    end)
  end)
end

local function limited(case)
  local house = new_house(case)
  local most, asked = 0, 0
  case:always(function()
    most = math.max(most, house.inside)
    assert(most <= 2, "too many at once")
  end)
  local helpers = {}
  house.within(lull.group, {limit = 2}, function(g)
    for i = 1, 3 do
      helpers[i] = lull.spawn(function()
        for j = 1, 2 do
          g:spawn(house.child, (i + j) % 3)
          asked = asked + 1
        end
      end)
    end
    g:spawn(house.child, 1)
    lull.sleep(1)
    for _, task in ipairs(helpers) do pcall(task.await, task) end
  end)
  assert(case.cancelled or asked == 6 and house.begun == 7)
  for _, task in ipairs(helpers) do pcall(task.await, task) end
end

local function limited_by_children(case)
  local house = new_house(case)
  house.within(lull.group, {limit = 2}, function(g)
    local function child(n)
      house.child(0)
      if n > 0 then lull.timeout(3, g.spawn, g, child, n - 1) end
    end
    for _ = 1, 3 do g:spawn(child, 2) end
  end)
end

local function daemons(case)
  local house = new_house(case)
  house.within(lull.group, function(g)
    g:spawn(house.child, 1000, 1):daemon()
    g:spawn(house.child, 2)
    g:spawn(function()
      local _ <close> = lull.defer(function() g:spawn(house.child, 1) end)
      lull.sleep(1000)
    end):daemon()
    lull.sleep(1)
  end)
end

local function detached(case)
  local house = new_house(case)
  local g = lull.group {detached = true, limit = 2}
  local helper = lull.spawn(function()
    for i = 1, 3 do g:spawn(house.child, i, 1) end
  end)
  local _ <close> = lull.defer(function()
    g:close()
    assert(house.inside == 0, "closed with somebody inside")
    helper:close()
  end)
  local other = lull.spawn(function()
    lull.sleep(2)
    g:close()
  end)
  lull.sleep(2)
  pcall(other.await, other)
end

local function in_a_generator(case)
  local house = new_house(case)
  house.within(function()
    for v in lull.generator(function()
      local g <close> = lull.group()
      g:spawn(house.child, 3, 1)
      for i = 1, 3 do
        lull.sleep(1)
        coroutine.yield(i)
      end
    end) do
      if v == 2 then break end
      lull.sleep(1)
    end
  end)
end

local function gather(case)
  local house = new_house(case)
  local future = lull.future()
  local task = lull.spawn(lull.sleep, 2)
  lull.spawn(lull.sleep, 1):add_done_callback(function() future:set_result("f") end)
  local _, a, f, _, b = attempt(house.within, lull.gather,
    function() return house.child(1, 1) end, future, task,
    function() return house.child(3) end)
  assert(case.cancelled or a == 1 and f == "f" and b == 3)
end

local function gather_fails(case)
  local house = new_house(case)
  local err = error_of(house.within, lull.gather, {
    function() return house.child(5, 2) end,
    function()
      house.child(1)
      return nil, "EPIPE: broken", "EPIPE"
    end,
    lull.spawn(lull.sleep, 1),
  })
  assert(case.cancelled or err == "EPIPE: broken")
end

local function race(case)
  local house = new_house(case)
  local _, winner, seconds = attempt(house.within, lull.race, {
    slow = function() return house.child(5, 2) end,
    fast = function() return house.child(1) end,
    never = lull.future(),
  })
  assert(case.cancelled or winner == "fast" and seconds == 1)
end

local function wait_and_as_completed()
  local list = {}
  for i = 1, 4 do list[i] = lull.spawn(lull.sleep, i % 3) end
  local _ <close> = lull.defer(function()
    for _, task in ipairs(list) do task:close() end
  end)
  local done, pending = lull.wait(list, {return_when = "first"})
  assert(#done >= 1 and #done + #pending == 4)
  done, pending = lull.wait(list, {timeout = 1})
  assert(#done + #pending == 4)
  local seen = {}
  for future in lull.as_completed(list) do
    assert(future:done() and not seen[future])
    seen[future] = true
    lull.sleep(0.1)
  end
end

return {
  {"a group around a function", function_form},
  {"groups as blocks", block_form},
  {"a group with a failing child", failing_child},
  {"a group with a failing body", failing_body},
  {"a group cancelled by a child", cancelled_by_itself},
  {"groups whose time is over", out_of_time},
  {"a group with a limit", limited},
  {"a group with a limit, filled by its children", limited_by_children},
  {"a group with daemons", daemons},
  {"a detached group", detached},
  {"a group in a generator", in_a_generator},
  {"gather", gather},
  {"gather that fails", gather_fails},
  {"race", race},
  {"wait and as_completed", wait_and_as_completed},
}
