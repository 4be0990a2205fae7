-- Classes of objects that are made in Lua: class(name) -> metatable.  What is put into
-- one is a method or, where its name is of those below, a metamethod.  The methods have a
-- table of their own to which no object leads: a script in a sandbox cannot replace them
-- for others.
local metamethods = { __call = true, __close = true, __gc = true, __len = true,
  __tostring = true }

return function(name)
  local methods = {}
  return setmetatable({ __name = name, __index = methods }, {
    __index = methods,
    __newindex = function(class, key, value)
      rawset(metamethods[key] and class or methods, key, value)
    end,
  })
end
