-- Somebody between two streams, who passes on n bytes at a time as they come, or worse:
-- local a, b = meddler(n, fn).  fn(direction, at, data) is told what comes, "up" from a
-- to b or "down", and where it begins in its direction; it returns what is to be passed
-- on, or nil: both are cut off.
local core = require "lull.core"
local lull = require "lull"

return function(n, fn)
  local a, b = assert(core.pair())
  local c, d = assert(core.pair())
  local cut = false
  local function pass(from, to, direction)
    local at = 0
    while not cut do
      local data = from:recv(n)
      if cut then return end
      if not data then
        to:shutdown "write"
        return
      end
      local changed = data
      if fn then changed = fn(direction, at, data) end
      at = at + #data
      if not changed then
        cut = true
        b:close()
        c:close()
        return
      end
      if changed ~= "" and not to:sendall(changed) then return end
    end
  end
  lull.spawn(pass, b, c, "up"):daemon()
  lull.spawn(pass, c, b, "down"):daemon()
  return core.stream(a), core.stream(d)
end
