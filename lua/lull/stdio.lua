-- Streams on the standard files, made when somebody asks for one: see
-- src/bind/stdiolib.c.
local core = require "lull.core"

local numbers = { stdin = 0, stdout = 1, stderr = 2 }

return setmetatable({}, { __index = function(_, name)
  return assert(core.standard(numbers[name]))
end })
