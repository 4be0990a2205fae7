-- Task locals: variables of which every task has its own, and begins with what its
-- spawner had.  The values of a task are a table that is never changed: setting copies
-- it, spawning shares it.
local class = require "lull.class"
local core = require "lull.core"

local Local = class "TaskLocal"

local NIL = {} -- stands for a nil that was set

-- What the running task has, or the default.
function Local:get()
  local values = core.locals()
  local v = values and values[self]
  if v == nil then return self.default end
  if v == NIL then return nil end
  return v
end

-- Sets it for the running task and those that it will spawn; returns what it was.
function Local:set(v)
  local old, values = self:get(), {}
  for key, value in pairs(core.locals() or values) do values[key] = value end
  if v == nil then v = NIL end
  values[self] = v
  core.locals(values)
  return old
end

function Local:__tostring()
  return ("task_local (%s): %p"):format(tostring(self:get()), self)
end

local locals = {}

function locals.task_local(default)
  return setmetatable({ default = default }, Local)
end

return locals
