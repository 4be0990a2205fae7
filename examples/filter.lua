-- filter.lua: numbers the lines of its input, as nl(1) does.
--
--   ls | ./run examples/filter.lua
--
-- While it waits for a line that does not come, it says so once a second: reading
-- lull.stdin suspends one task, not the program.

local lull = require "lull"

local count = 0

lull.spawn(function()
  for _ in lull.every(1) do
    lull.stderr:write(("%d lines so far\n"):format(count))
  end
end):daemon()

for line in lull.stdin:lines() do
  count = count + 1
  lull.stdout:write(("%6d  %s\n"):format(count, line))
end
