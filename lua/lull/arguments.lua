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

function arguments.is_callable(value)
  local mt = getmetatable(value)
  return type(value) == "function" or type(mt) == "table" and mt.__call ~= nil
end

function arguments.callable(n, name, value)
  if not arguments.is_callable(value) then complain("function", n, name, value) end
end

-- A port number, which is returned; strings of digits are as good.
function arguments.port(n, name, value)
  local port = math.tointeger(tonumber(value))
  if not port then complain("port number", n, name, value) end
  if port >> 16 ~= 0 then
    error(("bad argument #%d to '%s' (not a port number)"):format(n, name), 3)
  end
  return port
end

-- A host and a port behind it, which are no string and small integer: fine only where
-- they are a path and nothing, or as good.
function arguments.place(n, name, host, port, path)
  if type(host) ~= "string" then complain("string", n, name, host) end
  if path then return end
  local number = math.tointeger(tonumber(port))
  if not number then complain("port number", n + 1, name, port) end
  if number >> 16 ~= 0 then
    error(("bad argument #%d to '%s' (not a port number)"):format(n + 1, name), 3)
  end
end

-- ---- options --------------------------------------------------------------------------

local streams = " limit high_water linger "
local names = " resolver servers hosts search ndots attempts attempt_timeout "
local connect = "tls timeout bind nodelay keepalive happy_eyeballs_delay" .. names
  .. streams
local listen = "tls backlog reuse_address reuse_port nodelay keepalive" .. names
  .. streams
local udp = "timeout reuse_address reuse_port broadcast ipv6_only ttl multicast_ttl "
  .. "multicast_loop multicast_interface rcvbuf sndbuf" .. names
local serving = "max_connections handshake_timeout "
local child = "stdout stderr stdin cwd env clear_env process_group grace pidfd" .. streams
local sweep = "seed seeds name selector limit "

-- The options that each function knows, for a misspelt one is a mistake.
local known = {
  ["connect"] = connect,
  ["connect_unix"] = connect, -- one table may do for both
  ["listen"] = listen,
  ["listen_unix"] = listen,
  ["protocol.listen"] = serving .. listen,
  ["serve"] = serving .. "on_error grace",
  ["pair"] = streams,
  ["adopt"] = "nodelay keepalive" .. streams,
  ["resolve"] = "family timeout" .. names,
  ["udp"] = udp,
  ["datagram"] = "remote " .. udp,
  ["spawn"] = child,
  ["run"] = "input " .. child,
  ["write_file"] = "atomic",
  ["mkdir"] = "parents mode",
  ["remove"] = "recursive",
  ["watch"] = "recursive debounce",
  ["wait"] = "timeout return_when",
  ["clock"] = "scale paused",
  ["test.run"] = "seed name selector limit",
  ["cancel_sweep"] = "who step task " .. sweep,
  ["schedule_sweep"] = "first cancels " .. sweep,
}

-- Those of streams, which are made too late to complain.
local amounts = { limit = true, high_water = true, linger = true }

local function is_known(list, option)
  return type(option) == "string" and not option:find " "
    and (" " .. list .. " "):find(" " .. option .. " ", 1, true)
end

local none = {}

-- The table of options; an empty one where it is absent.  as: what it is called above,
-- unless name.
function arguments.options(n, name, value, as)
  if value == nil then return none end
  if type(value) ~= "table" then complain("table", n, name, value) end
  local list = known[as or name]
  for option, v in next, value do
    if not is_known(list, option) then
      error(("'%s': unknown option '%s'"):format(name, tostring(option)), 3)
    end
    if amounts[option] and not (type(v) == "number" and v >= 0) then
      error(("'%s': bad option '%s' (number >= 0 expected)"):format(name, option), 3)
    end
  end
  return value
end

-- A copy without the options that the function `as` does not know.
function arguments.part(opts, as)
  local part = {}
  for option, value in next, opts do
    if is_known(known[as], option) then part[option] = value end
  end
  return part
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
