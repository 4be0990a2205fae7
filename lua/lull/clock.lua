-- Clocks that can be paused, scaled and turned (clocklib.c), and deadlines on them.
local arguments = require "lull.arguments"
local core = require "lull.core"

local Clock = core.methods.Clock
local alarm = Clock.alarm
Clock.alarm = nil

-- clock:timeout(seconds, fn, ...): as lull.timeout, by this clock.
function Clock:timeout(seconds, fn, ...)
  if type(seconds) ~= "number" or seconds ~= seconds then
    error("bad argument #1 to 'timeout' (number expected)", 2)
  end
  arguments.callable(2, "timeout", fn)
  local args = table.pack(...)
  return core.scope(function(scope)
    local _ <close> = alarm(self, seconds, scope)
    return fn(table.unpack(args, 1, args.n))
  end)
end

-- lull.clock([{scale =, paused =}]): one that goes with the loop's, from 0 on.
local function clock(options)
  options = arguments.options(1, "clock", options)
  local self = core.clock()
  if options.scale and type(options.scale) ~= "number" then
    error("'clock': bad option 'scale' (a number expected)", 2)
  end
  if options.scale then self:scale(options.scale) end
  if options.paused then self:pause() end
  return self
end

return { clock = clock }
