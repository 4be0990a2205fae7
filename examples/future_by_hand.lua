-- future_by_hand.lua: what happens between a packet and the line after await().
--
--   ./run examples/future_by_hand.lua
--
-- Nobody needs a future to read from a stream.  This program puts one in the way, so that
-- each hop can be seen and says its name.

local lull = require "lull"
local net = require "lull.net"

local here <close>, other = net.pair()
local there <close> = other
local future = lull.future()

future:add_done_callback(function(f)
  print("5. a callback of the future, which is " .. f:status())
end)

local waiter = lull.spawn(function()
  print "1. a task awaits the future and is suspended"
  local value = future:await()
  print("6. the task is resumed")
  return value
end)

lull.spawn(function()
  print "2. another awaits the socket, and the selector waits with it"
  local line = here:read()
  print "4. the socket was ready, its data has been read; the future gets it"
  future:set_result(line)
end)

lull.spawn(function()
  lull.sleep(0.5)
  print "3. somebody writes"
  there:write("tea is ready\n")
end)

print(("7. await() has returned %q"):format(waiter:await()))
