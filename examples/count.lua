-- count.lua: five tasks count to three at the same time.
--
--   ./run examples/count.lua
--
-- While one task sleeps the others run, so five of them take as long as one.  Called one
-- after the other, the same function takes five times as long (see it in no time with
-- lull --virtual-clock).

local lull = require "lull"

local function count()
  print "One"
  lull.sleep(1)
  print "Two"
  lull.sleep(2)
  print "Three"
end

local start = lull.now()
lull.gather(count, count, count, count, count)
print(("five at once took %.1f s"):format(lull.now() - start))

start = lull.now()
for _ = 1, 5 do count() end
print(("five in a row took %.1f s"):format(lull.now() - start))
