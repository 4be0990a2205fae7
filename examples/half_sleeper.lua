-- half_sleeper.lua: something of one's own to await.
--
--   ./run examples/half_sleeper.lua
--
-- Any value whose metatable has __await can be awaited.  lull.await() calls it in the
-- awaiting task, so it may suspend as often as it likes; what it returns is the result.

local lull = require "lull"

local Nap = {}

function Nap.__await(nap)
  lull.sleep(nap.seconds / 2)
  lull.sleep(nap.seconds / 2)
  return nap.seconds
end

local function nap(seconds)
  return setmetatable({seconds = seconds}, Nap)
end

local start = lull.now()

local function work(name)
  for step = 1, 5 do
    lull.await(nap(0.1))
    print(("%.1f s: task %s has done step %d"):format(lull.now() - start, name, step))
  end
end

local tasks = {}
for i, name in ipairs {"A", "B", "C", "D", "E"} do
  tasks[i] = function() work(name) end
end
lull.gather(tasks)
