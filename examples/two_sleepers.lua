-- two_sleepers.lua: what happens in between?  The question that started it all.
--
--   ./run examples/two_sleepers.lua
--
-- sleep() suspends its task, and the loop runs the other: before, before, after, after.

local lull = require "lull"

local function sleeper(name, seconds)
  print("before " .. name)
  lull.sleep(seconds)
  print("after " .. name)
end

lull.gather(
  function() sleeper("the first", 1) end,
  function() sleeper("the second", 1) end)
