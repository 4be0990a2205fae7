-- random.lua: three tasks draw numbers until one is large enough.
--
--   ./run examples/random.lua
--
-- gather() returns the results in the order of its arguments, whoever finished first.

local lull = require "lull"

math.randomseed(317)

local function draw(index, threshold)
  local number = math.random(0, 10)
  while number <= threshold do
    print(("draw(%d) == %d is too low, once more"):format(index, number))
    lull.sleep(index)
    number = math.random(0, 10)
  end
  print(("---> draw(%d) == %d is finished"):format(index, number))
  return number
end

local first, second, third = lull.gather(
  function() return draw(1, 9) end,
  function() return draw(2, 8) end,
  function() return draw(3, 7) end)
print("results:", first, second, third)
