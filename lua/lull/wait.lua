-- Several things at once: gather, race, wait, as_completed.  Functions are run as tasks
-- of a group (grouplib.c), which cancels and waits for what it owns; futures, tasks and
-- other awaitable values are observed and go on whatever becomes of us.
local arguments = require "lull.arguments"
local core = require "lull.core"

local wait = {}

-- ---- what may be waited for ---------------------------------------------------------

local function has_metamethod(value, event)
  local mt = getmetatable(value)
  return type(mt) == "table" and mt[event] ~= nil
end

-- Does gather own it (true) or observe it (false)?  nil: it is nothing to wait for.
local function is_owned(value)
  if type(value) == "function" then return true end
  if core.is_future(value) or has_metamethod(value, "__await") then return false end
  return has_metamethod(value, "__call") or nil
end

local function is_done(value)
  return core.is_future(value) and value:done()
end

-- The keys of a table in the order in which they are to begin: the list first.
local function in_order(t)
  local keys, n = {}, #t
  for i = 1, n do keys[i] = i end
  for key in pairs(t) do
    if math.type(key) ~= "integer" or key < 1 or key > n then keys[#keys + 1] = key end
  end
  return keys
end

-- The items of gather and race: keys, values, whether each is owned, and whether they
-- came in a table.  A copy, for others run while it is used.
local function take_items(name, ...)
  local given = ...
  local alone = select("#", ...) == 1
  local keyed = alone and type(given) == "table" and is_owned(given) == nil
  local keys = keyed and in_order(given) or {}
  if not keyed then
    given = {...}
    for i = 1, select("#", ...) do keys[i] = i end
  end
  local values, owned = {}, {}
  for i = 1, #keys do
    local value = given[keys[i]]
    local own = is_owned(value)
    if own == nil then
      error(("bad argument #%d to '%s' (function or Future expected%s, got %s)"):format(
        keyed and 1 or i, name, keyed and " at [" .. tostring(keys[i]) .. "]" or "",
        type(value)), 3)
    end
    values[i], owned[i] = value, own
  end
  return keys, values, owned, keyed
end

-- Begins: raises what has to be raised; from then on we look at how they end.
local function enter(futures)
  core.enter()
  for i = 1, #futures do
    if core.is_future(futures[i]) then futures[i]:take() end
  end
end

-- ---- gather -------------------------------------------------------------------------

-- What an owned function returned: nil, message, code is how the world's failures look.
local function checked(...)
  local value, message, code = ...
  if value == nil and type(message) == "string" and type(code) == "string" then
    error(message, 0)
  end
  return ...
end

local function run_for(results, key, fn)
  results[key] = checked(fn())
end

local function await_for(results, key, awaitable)
  results[key] = core.await(awaitable)
end

function wait.gather(...)
  local keys, values, owned, keyed = take_items("gather", ...)
  enter(values)
  local results = {}
  core.gather(function(g)
    for i = 1, #keys do
      local key, value = keys[i], values[i]
      if owned[i] then
        g:spawn(run_for, results, key, value)
      elseif is_done(value) then
        results[key] = value:result()
      else
        g:spawn(await_for, results, key, value)
      end
    end
  end)
  if keyed then return results end
  return table.unpack(results, 1, #keys)
end

-- ---- race ---------------------------------------------------------------------------

local function run_as(key, fn)
  return key, checked(fn())
end

local function await_as(key, awaitable)
  return key, core.await(awaitable)
end

-- The first to end wins, also when it fails; who has ended already is the first.
function wait.race(...)
  local keys, values, owned = take_items("race", ...)
  if #keys == 0 then error("bad argument #1 to 'race' (nobody takes part)", 2) end
  enter(values)
  for i = 1, #keys do
    if is_done(values[i]) then return keys[i], values[i]:result() end
  end
  return core.race(function(g)
    for i = 1, #keys do
      g:spawn(owned[i] and run_as or await_as, keys[i], values[i])
    end
  end)
end

-- ---- wait and as_completed ----------------------------------------------------------

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
  local timeout, stop = check_options(arguments.options(2, "wait", opts))
  enter(list)
  local many <close> = core.many(list)
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
