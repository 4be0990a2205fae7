-- A require whose chunks may suspend.  It is Lua's own in every other way; a module that
-- another task is still loading is waited for, and a cycle raises.
local core = require "lull.core"

local loaded, package = package.loaded, package
local loading = {} -- name -> { task = who loads it, done = future }
local waiting = {} -- task -> name of the module that it waits for

local function find_loader(name)
  local searchers = package.searchers
  if type(searchers) ~= "table" then
    return nil, "'package.searchers' must be a table"
  end
  local tried = {}
  for i = 1, math.huge do
    local searcher = rawget(searchers, i)
    if searcher == nil then
      return nil, ("module '%s' not found:%s"):format(name, table.concat(tried))
    end
    local loader, data = searcher(name)
    if type(loader) == "function" then
      return loader, data
    elseif type(loader) == "string" then
      tried[#tried + 1] = "\n\t" .. loader
    end
  end
end

-- Would waiting for this module be waiting for ourselves?
local function is_cycle(name, me)
  while loading[name] do
    local owner = loading[name].task
    if owner == me then return true end
    name = waiting[owner]
  end
  return false
end

local function wait_for(name, me)
  if is_cycle(name, me) then
    error(("module '%s' is being loaded already: a cycle of requires"):format(name), 0)
  end
  waiting[me] = name
  local _ <close> = setmetatable({}, { __close = function() waiting[me] = nil end })
  loading[name].done:wait()
end

local function load(name, me)
  local entry = { task = me, done = core.future() }
  local finish = setmetatable({}, { __close = function()
    loading[name] = nil
    entry.done:set_result()
  end })
  loading[name] = entry -- from here on nothing is left of it when memory runs out
  local _ <close> = finish
  local loader, data = find_loader(name)
  if not loader then return nil, nil, data end
  local value = loader(name, data)
  if value ~= nil then
    loaded[name] = value
  elseif loaded[name] == nil then
    loaded[name] = true
  end
  return loaded[name], data
end

return function(name)
  if type(name) == "number" then name = tostring(name) end
  if type(name) ~= "string" then
    error(("bad argument #1 to 'require' (string expected, got %s)"):format(
      name == nil and "no value" or type(name)), 2)
  end
  local me = core.current() or "main"
  while not loaded[name] do
    if not loading[name] then
      local value, data, message = load(name, me)
      if message then error(message, 2) end
      return value, data
    end
    wait_for(name, me)
  end
  return loaded[name]
end
