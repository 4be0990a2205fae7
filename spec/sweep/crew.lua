-- What scenarios do with their tasks, any of which may be cancelled at any point.
local cast = require "spec.cast"
local lull = require "lull"

local crew = {}

-- fn(1) to fn(n), each in a task of its own.
function crew.spawn_each(n, fn)
  local list = {}
  for i = 1, n do list[i] = lull.spawn(fn, i) end
  return list
end

crew.await_all = cast.await_all

-- Calls fn when all of them have ended, also those that have never begun.
function crew.when_done(list, fn)
  local left = #list
  for _, task in ipairs(list) do
    task:add_done_callback(function()
      left = left - 1
      if left == 0 then fn() end
    end)
  end
end

-- Calls fn when the block is left; the cancellation of the task does not reach it.
function crew.at_last(fn)
  return lull.defer(lull.shield, fn)
end

-- Closes them when nothing has moved for long: who waits for a wake-up that was lost then
-- shows as an error, where it would wait for its descriptor for ever.
function crew.guard(...)
  local objects = {...}
  lull.spawn(function()
    lull.sleep(1000)
    for _, object in ipairs(objects) do object:close() end
    error "nothing moves any more"
  end):daemon()
  return ...
end

return crew
