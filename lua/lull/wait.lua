-- Several things at once: gather, race, wait, as_completed.  Functions are run as tasks of
-- a group (grouplib.c), which cancels and waits for what it owns; futures, tasks and other
-- awaitable values are observed and go on whatever becomes of us.
local core = require "lull.core"

local wait = {}

-- ---- what may be waited for -------------------------------------------------------------

local function has_metamethod(value, event)
  local mt = getmetatable(value)
  return type(mt) == "table" and mt[event] ~= nil
end

local function is_awaitable(value)
  return core.is_future(value) or has_metamethod(value, "__await")
end

local function is_callable(value)
  return type(value) == "function" or has_metamethod(value, "__call")
end

-- Where, and what stands there, in the order in which it is to begin: the list first.
local function in_order(t)
  local keys, n = {}, #t
  for i = 1, n do keys[i] = i end
  for key in pairs(t) do
    if not (math.type(key) == "integer" and key >= 1 and key <= n) then
      keys[#keys + 1] = key
    end
  end
  return keys
end

local function check_item(name, argument, where, value)
  if is_awaitable(value) then
    if core.is_future(value) then value:take() end
  elseif not is_callable(value) then
    error(("bad argument #%d to '%s' (function or Future expected%s, got %s)"):format(
      argument, name, where, type(value)), 4)
  end
end

-- The items of gather and race: a list of keys, a table of values, and whether both came
-- in a table.  A snapshot, for others run before it is used.
local function take_items(name, ...)
  local given = ...
  local keys, values
  if select("#", ...) == 1 and type(given) == "table" and not is_awaitable(given)
     and not is_callable(given) then
    keys, values = in_order(given), {}
    for _, key in ipairs(keys) do
      check_item(name, 1, (" at [%s]"):format(tostring(key)), given[key])
      values[key] = given[key]
    end
    return keys, values, true
  end
  keys, values = {}, {...}
  for i = 1, select("#", ...) do
    keys[i] = i
    check_item(name, i, "", values[i])
  end
  return keys, values, false
end

-- ---- gather ---------------------------------------------------------------------------------

-- What an owned function returned: nil, message, code is how the world's failures look.
local function checked(value, message, code, ...)
  if value == nil and type(message) == "string" and type(code) == "string" then
    error(message, 0)
  end
  return value, message, code, ...
end

local function run_for(results, key, fn)
  results[key] = checked(fn())
end

local function await_for(results, key, awaitable)
  results[key] = core.await(awaitable)
end

function wait.gather(...)
  local keys, values, keyed = take_items("gather", ...)
  core.enter()
  local results = {}
  core.gather(function(g)
    for _, key in ipairs(keys) do
      local value = values[key]
      g:spawn(is_awaitable(value) and await_for or run_for, results, key, value)
    end
  end)
  if keyed then return results end
  return table.unpack(results, 1, #keys)
end

-- ---- race -----------------------------------------------------------------------------------

local function run_as(key, fn)
  return key, checked(fn())
end

local function await_as(key, awaitable)
  return key, core.await(awaitable)
end

-- The first to end wins, for its failure too; who has ended already is the first.
function wait.race(...)
  local keys, values = take_items("race", ...)
  if #keys == 0 then error("bad argument #1 to 'race' (nobody takes part)", 2) end
  core.enter()
  for _, key in ipairs(keys) do
    local value = values[key]
    if core.is_future(value) and value:done() then return key, value:result() end
  end
  return core.race(function(g)
    for _, key in ipairs(keys) do
      local value = values[key]
      g:spawn(is_awaitable(value) and await_as or run_as, key, value)
    end
  end)
end

-- ---- wait and as_completed ------------------------------------------------------------------

local enough = {
  all = function() return false end,
  first = function() return true end,
  first_error = function(future) return future:error() ~= nil end,
}

-- A copy of the list of futures, for others run while it is used.
local function take_list(name, list)
  local copy = {}
  if type(list) ~= "table" then
    error(("bad argument #1 to '%s' (table of futures expected, got %s)"):format(name,
      list == nil and "no value" or type(list)), 3)
  end
  for i = 1, #list do
    local future = list[i]
    if not core.is_future(future) then
      error(("bad argument #1 to '%s' (Future expected at [%d], got %s)"):format(name, i,
        type(future)), 3)
    end
    copy[i] = future
  end
  return copy
end

local function wait_until(many, stop)
  repeat
    local future = many:next()
  until future == nil or stop(future)
end

local function check_options(opts)
  local timeout, return_when = opts.timeout, opts.return_when or "all"
  if timeout ~= nil and (type(timeout) ~= "number" or timeout ~= timeout) then
    error("bad argument #2 to 'wait' (timeout must be a number)", 3)
  end
  if not enough[return_when] then
    error("bad argument #2 to 'wait' (return_when must be all, first or first_error)", 3)
  end
  return timeout, enough[return_when]
end

function wait.wait(list, opts)
  list = take_list("wait", list)
  local timeout, stop = check_options(opts or {})
  local many <close> = core.many(list)
  core.enter()
  if timeout then
    core.timeout(timeout, wait_until, many, stop)
  else
    wait_until(many, stop)
  end
  local done, pending = {}, {}
  for _, future in ipairs(list) do
    local part = future:done() and done or pending
    part[#part + 1] = future
  end
  return done, pending
end

local next_done = core.methods.Futures.next

function wait.as_completed(list)
  local many = core.many(take_list("as_completed", list))
  return next_done, many, nil, many
end

return wait
