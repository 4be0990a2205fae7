-- kv_store.lua: the keys and commands of kv_server.lua, which loads it.  It knows nothing
-- of connections: execute() turns the words of a command into a reply as RESP2 writes it.
--
-- There is one thread and no command suspends, so each is atomic without a lock.

local lull = require "lull"

local find, concat = string.find, table.concat

-- The store ------------------------------------------------------------------------

local values = {}     -- key -> string, integer (what INCR made) or list {first=, last=}
local deadlines = {}  -- key -> moment at which it expires
local due = {}        -- second -> set of the keys that expire by then
local size = 0        -- number of keys

-- Sets or, with nil, takes away the deadline of a key.
local function expire(key, at)
  local old = deadlines[key]
  local bucket = old and due[math.ceil(old)]
  if bucket then bucket[key] = nil end
  deadlines[key] = at
  if at then
    local second = math.ceil(at)
    due[second] = due[second] or {}
    due[second][key] = true
  end
end

local function remove(key)
  if values[key] == nil then return false end
  values[key], size = nil, size - 1
  if deadlines[key] then expire(key, nil) end
  return true
end

-- The value of a key; one that has expired is gone as soon as somebody looks.
local function lookup(key)
  local at = deadlines[key]
  if at and at <= lull.now() then remove(key) end
  return values[key]
end

local function store(key, value)
  if values[key] == nil then size = size + 1 end
  values[key] = value
end

-- Removes what expired and nobody asked for, a thousand keys a turn.
local function sweep()
  local swept = math.floor(lull.now())
  for _ in lull.every(1) do
    while swept + 1 <= lull.now() do
      swept = swept + 1
      local bucket, count = due[swept] or {}, 0
      due[swept] = nil
      for key in pairs(bucket) do
        lookup(key)
        count = count + 1
        if count % 1000 == 0 then lull.sleep(0) end
      end
    end
  end
end

-- Replies --------------------------------------------------------------------------

local OK, NIL, ZERO, ONE = "+OK\r\n", "$-1\r\n", ":0\r\n", ":1\r\n"

local function fail(message) return "-" .. message:gsub("[\r\n]", " ") .. "\r\n" end
local SYNTAX = fail "ERR syntax error"
local NOT_INTEGER = fail "ERR value is not an integer or out of range"
local NOT_POSITIVE = fail "ERR value is out of range, must be positive"
local OVERFLOW = fail "ERR increment or decrement would overflow"
local WRONGTYPE = fail "WRONGTYPE Operation against a key holding the wrong kind of value"

local function wrong_arity(name)
  return fail("ERR wrong number of arguments for '" .. name:lower() .. "' command")
end

local function bad_expire(name)
  return fail("ERR invalid expire time in '" .. name .. "' command")
end

local function number(n) return ":" .. n .. "\r\n" end

local function bulk(value)
  if value == nil then return NIL end
  value = value .. ""                        -- makes an integer a string, costs nothing
  return "$" .. #value .. "\r\n" .. value .. "\r\n"
end

local function array(replies) return "*" .. #replies .. "\r\n" .. concat(replies) end

-- Commands -------------------------------------------------------------------------

local commands = {}

-- Defines a command.  arity counts the name; a negative one means "at least".  kind is
-- what the key may hold: "text", "list" or "any", and nil where args[2] is no key.  It is
-- run as run(args, n, value of the key); what lies behind args[n] is stale.
local function define(name, arity, kind, run)
  commands[name] = {arity = arity, kind = kind, run = run}
  commands[name:lower()] = commands[name]
end

-- An integer as Redis reads one: no spaces, no leading zeros, 64 bits.
local function integer(value)
  if math.type(value) then return value end
  if value ~= "0" and not find(value, "^-?[1-9]%d*$") then return nil end
  local n = tonumber(value)
  return math.type(n) == "integer" and n or nil
end

define("PING", -1, nil, function(args, n)
  if n > 2 then return wrong_arity("ping") end
  return n == 2 and bulk(args[2]) or "+PONG\r\n"
end)
define("ECHO", 2, nil, function(args) return bulk(args[2]) end)
define("QUIT", -1, nil, function() return OK, true end)
define("SELECT", 2, nil, function(args)
  local index = integer(args[2])
  if not index then return NOT_INTEGER end
  return index == 0 and OK or fail "ERR DB index is out of range"
end)

-- The options behind SET key value: a table of flags and the time to live, or an error.
local function set_options(args, n)
  local flags, ttl, i = {}, nil, 4
  while i <= n do
    local flag = args[i]:upper()
    flags[flag] = true
    if flag == "EX" or flag == "PX" then
      i = i + 1
      if i > n or ttl then return nil, SYNTAX end
      ttl = integer(args[i])
      if not ttl then return nil, NOT_INTEGER end
      if ttl <= 0 then return nil, bad_expire("set") end
      if flag == "PX" then ttl = ttl / 1000 end
    elseif flag ~= "NX" and flag ~= "XX" and flag ~= "GET" and flag ~= "KEEPTTL" then
      return nil, SYNTAX
    end
    i = i + 1
  end
  if flags.NX and flags.XX or flags.KEEPTTL and ttl then return nil, SYNTAX end
  return flags, ttl
end

define("SET", -3, "any", function(args, n, old)
  local key = args[2]
  if n == 3 then
    if deadlines[key] then expire(key, nil) end
    store(key, args[3])
    return OK
  end
  local flags, ttl = set_options(args, n)
  if not flags then return ttl end
  if flags.GET and type(old) == "table" then return WRONGTYPE end
  local answer = flags.GET and bulk(old)
  if flags.NX and old ~= nil or flags.XX and old == nil then return answer or NIL end
  store(key, args[3])
  if not flags.KEEPTTL then expire(key, ttl and lull.now() + ttl) end
  return answer or OK
end)

define("MSET", -3, nil, function(args, n)
  if n % 2 == 0 then return wrong_arity("mset") end
  for i = 2, n, 2 do
    store(args[i], args[i + 1])
    expire(args[i], nil)
  end
  return OK
end)

define("MGET", -2, nil, function(args, n)
  local replies = {}
  for i = 2, n do
    local value = lookup(args[i])
    replies[i - 1] = type(value) == "table" and NIL or bulk(value)
  end
  return array(replies)
end)

define("GET", 2, "text", function(_, _, value) return bulk(value) end)
define("STRLEN", 2, "text", function(_, _, text) return number(#((text or "") .. "")) end)

define("APPEND", 3, "text", function(args, _, value)
  store(args[2], (value or "") .. args[3])
  return number(#values[args[2]])
end)

local function add(key, value, amount)
  value = integer(value or 0)
  if not value or not amount then return NOT_INTEGER end
  local sum = value + amount                 -- wraps around, which its order betrays
  if (amount < 0) ~= (sum < value) then return OVERFLOW end
  store(key, sum)
  return number(sum)
end

for name, sign in pairs {INCR = 1, DECR = -1} do
  define(name, 2, "text", function(args, _, value)
    return add(args[2], value, sign)
  end)

  define(name .. "BY", 3, "text", function(args, _, value)
    local amount = integer(args[3])
    if sign * (amount or 0) == math.mininteger and sign < 0 then
      return fail "ERR decrement would overflow"
    end
    return add(args[2], value, amount and sign * amount)
  end)
end

-- A command that applies fn to each key and answers how often that was true.
local function counting(fn)
  return function(args, n)
    local count = 0
    for i = 2, n do
      if fn(args[i]) then count = count + 1 end
    end
    return number(count)
  end
end

local function exists(key) return lookup(key) ~= nil end

define("EXISTS", -2, nil, counting(exists))
define("DEL", -2, nil, counting(function(key) return exists(key) and remove(key) end))

define("EXPIRE", 3, "any", function(args, _, value)
  local ttl = integer(args[3])
  if not ttl then return NOT_INTEGER end
  if math.abs(ttl) > math.maxinteger // 1000 then return bad_expire("expire") end
  if value == nil then return ZERO end
  if ttl > 0 then expire(args[2], lull.now() + ttl) else remove(args[2]) end
  return ONE
end)

define("PERSIST", 2, "any", function(args)
  if not deadlines[args[2]] then return ZERO end
  expire(args[2], nil)
  return ONE
end)

-- The time left to a key, in units of so many seconds.
local function time_left(unit)
  return function(args, _, value)
    local at = deadlines[args[2]]
    if not at then return value == nil and ":-2\r\n" or ":-1\r\n" end
    return number(math.floor((at - lull.now()) / unit + 0.5))
  end
end

define("TTL", 2, "any", time_left(1))
define("PTTL", 2, "any", time_left(0.001))

-- A list has two ends, so that pushing and popping cost the same on both.
local function length(list) return list and list.last - list.first + 1 or 0 end

-- side is an end, step leads outwards.
local function push(side, step)
  return function(args, n, list)
    if not list then
      list = {first = 1, last = 0}
      store(args[2], list)
    end
    local at = list[side]
    for i = 3, n do
      at = at + step
      list[at] = args[i]
    end
    list[side] = at
    return number(length(list))
  end
end

-- Pops one item, or with a count an array of them; an empty list is no key.
local function pop(side, step)
  return function(args, n, list)
    local count = n > 2 and integer(args[3])
    if n > 3 then return wrong_arity(args[1]) end
    if n == 3 and (not count or count < 0) then return NOT_POSITIVE end
    if not list then return count and "*-1\r\n" or NIL end
    local replies = {}
    for i = 1, math.min(count or 1, length(list)) do
      local at = list[side]
      replies[i], list[at], list[side] = bulk(list[at]), nil, at - step
    end
    if length(list) == 0 then remove(args[2]) end
    return count and array(replies) or replies[1]
  end
end

define("LPUSH", -3, "list", push("first", -1))
define("RPUSH", -3, "list", push("last", 1))
define("LPOP", -2, "list", pop("first", -1))
define("RPOP", -2, "list", pop("last", 1))
define("LLEN", 2, "list", function(_, _, list) return number(length(list)) end)

define("LRANGE", 4, "list", function(args, _, list)
  local from, to = integer(args[3]), integer(args[4])
  if not from or not to then return NOT_INTEGER end
  local replies, n = {}, length(list)
  if from < 0 then from = from + n end       -- negative positions count from the end
  if to < 0 then to = to + n end
  for i = math.max(from, 0), math.min(to, n - 1) do
    replies[#replies + 1] = bulk(list[list.first + i])
  end
  return array(replies)
end)

define("DBSIZE", 1, nil, function() return number(size) end)
define("FLUSHALL", -1, nil, function()
  values, deadlines, due, size = {}, {}, {}, 0
  return OK
end)

define("COMMAND", -1, nil, function(args, n)
  local names = 0
  for _ in pairs(commands) do names = names + 1 end
  return n > 1 and args[2]:upper() == "COUNT" and number(names // 2) or array {}
end)

local settings = {save = "", appendonly = "no", maxmemory = "0", databases = "1"}

define("CONFIG", -2, nil, function(args, n)
  local what, setting = args[2]:upper(), n > 2 and args[3]:lower()
  if what == "GET" then
    return array(settings[setting] and {bulk(setting), bulk(settings[setting])} or {})
  end
  return what == "SET" and OK
    or fail("ERR unknown subcommand '" .. args[2] .. "'. Try CONFIG HELP.")
end)

local served = 0

define("INFO", -1, nil, function()
  return bulk(concat({
    "# Server", "redis_version:7.0.0", "lull_version:" .. lull.version, "",
    "# Memory", "used_memory_lua:" .. math.floor(collectgarbage "count" * 1024), "",
    "# Stats", "total_commands_processed:" .. served, "",
    "# Keyspace", "db0:keys=" .. size, "",
  }, "\r\n"))
end)

local function unknown(args, n)
  local shown, i = "", 2
  while i <= n and #shown < 128 do
    shown, i = shown .. "'" .. args[i]:sub(1, 128 - #shown) .. "' ", i + 1
  end
  local message = "ERR unknown command '%s', with args beginning with: %s"
  return fail(message:format(args[1]:sub(1, 128), shown))
end

-- Runs the command args[1 .. n]: its reply, and true if the client leaves with it.
local function execute(args, n)
  local command = commands[args[1]] or commands[args[1]:upper()]
  if not command then
    return unknown(args, n)
  end
  local arity, kind, value = command.arity, command.kind, nil
  if n ~= arity and (arity > 0 or n < -arity) then return wrong_arity(args[1]) end
  if kind then
    value = lookup(args[2])
    local held = value ~= nil and (type(value) == "table" and "list" or "text")
    if held and kind ~= "any" and kind ~= held then return WRONGTYPE end
  end
  served = served + 1
  return command.run(args, n, value)
end

return {execute = execute, sweep = sweep, fail = fail, integer = integer}
