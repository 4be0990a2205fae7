-- What scripts may hand over, and how a mistake is told: in the words of Lua's own
-- libraries, and as one of whoever called the function `name` of the API.  That function
-- calls these itself, for errors count levels; options say how far above it stands.
local arguments = {}

local function complain(what, n, name, value)
  error(("bad argument #%d to '%s' (%s expected, got %s)"):format(n, name, what,
        value == nil and "no value" or type(value)), 4)
end

function arguments.string(n, name, value)
  if type(value) ~= "string" then complain("string", n, name, value) end
end

function arguments.callable(n, name, value)
  local mt = getmetatable(value)
  if type(value) ~= "function" and not (type(mt) == "table" and mt.__call) then
    complain("function", n, name, value)
  end
end

local none = {}

-- The table of options; an empty one where it is absent.
function arguments.options(n, name, value)
  if value == nil then return none end
  if type(value) ~= "table" then complain("table", n, name, value) end
  return value
end

-- An option that is wrong.  level as for error: 1 is the function that calls this.
function arguments.bad_option(level, name, option, expected)
  error(("'%s': bad option '%s' (%s expected)"):format(name, option, expected),
        level + 1)
end

-- A number above 0, or what there is otherwise.
function arguments.positive(level, name, opts, option, otherwise)
  local n = opts[option]
  if n == nil then return otherwise end
  if type(n) == "number" and n > 0 then return n end
  arguments.bad_option(level + 1, name, option, "a positive number")
end

return arguments
