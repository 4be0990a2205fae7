-- chained.lua: three chains of two steps; each chain is in order, the chains overlap.
--
--   ./run examples/chained.lua
--
-- A step that needs the result of another simply calls it and goes on when it has
-- returned.  All three take as long as the slowest.

local lull = require "lull"

local start = lull.now()
math.randomseed(2024)

local function pause(what)
  local seconds = math.random(0, 10)
  print(("%s sleeps for %d s"):format(what, seconds))
  lull.sleep(seconds)
  print(("%s is done"):format(what))
end

local function function1(n)
  pause(("function1(%d)"):format(n))
  return ("result %d-1"):format(n)
end

local function function2(n, that)
  pause(("function2(%d, %q)"):format(n, that))
  return ("result %d-2 derived from %s"):format(n, that)
end

local function chain(n)
  local result = function2(n, function1(n))
  print(("chain %d: %s (after %.0f s)"):format(n, result, lull.now() - start))
end

lull.gather(
  function() chain(1) end,
  function() chain(2) end,
  function() chain(3) end)
print(("all three took %.0f s"):format(lull.now() - start))
