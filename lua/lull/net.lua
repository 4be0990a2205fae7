-- Connecting and listening: which address is tried when, and for how long.  The
-- objects are made in C; how a listener serves is told in lull.serve.
local address = require "lull.address"
local arguments = require "lull.arguments"
local connect = require "lull.connect"
local core = require "lull.core"
local secure = require "lull.secure"
local udp = require "lull.udp"
require "lull.serve"

local net = {}

local CONNECT_TIMEOUT = 30 -- seconds for resolution, connection and handshake together
local BACKLOG = 1024

-- ---- arguments ----------------------------------------------------------------------

-- How many connections may wait to be accepted.
local function check_backlog(name, opts)
  local backlog = opts.backlog
  local n = math.type(backlog) and math.tointeger(backlog)
  if backlog ~= nil and not (n and n >= 0 and n < 1 << 31) then
    arguments.bad_option(3, name, "backlog", "an integer, 0 or more,")
  end
end

-- The moment when a call with these options has taken too long; nil: never.
local function time_limit(name, opts)
  local timeout = opts.timeout
  if timeout == nil then timeout = CONNECT_TIMEOUT end
  if timeout == false then return nil end
  if type(timeout) ~= "number" or timeout < 0 then
    arguments.bad_option(3, name, "timeout", "seconds or false")
  end
  return core.now() + timeout
end

local function left(deadline)
  return deadline and math.max(0, deadline - core.now())
end

-- ---- names --------------------------------------------------------------------------

local families = { any = true, inet = true, inet6 = true }
local resolvers = { system = true, dns = true }

-- The addresses of a host, the best first.  Who names servers asks those and nobody else.
function net.resolve(host, opts)
  arguments.string(1, "resolve", host)
  opts = arguments.options(2, "resolve", opts)
  local family, resolver = opts.family or "any", opts.resolver or "dns"
  if not families[family] then
    error("'resolve': no such family: " .. tostring(family), 2)
  end
  if not resolvers[resolver] then
    error("'resolve': no such resolver: " .. tostring(resolver), 2)
  end
  return core.resolve(host, family, opts.timeout, opts)
end

-- ---- connecting ---------------------------------------------------------------------

function net.connect(host, port, opts)
  arguments.string(1, "connect", host)
  port = arguments.port(2, "connect", port)
  opts = arguments.options(3, "connect", opts)
  local delay, from = connect.delay(opts), opts.bind
  if type(from) == "table" then from = from[1] or false end
  if from ~= nil and type(from) ~= "string" then
    arguments.bad_option(2, "connect", "bind", "a host or {host, port}")
  end
  core.enter()
  local context, tls, why = secure.client("connect", opts, host)
  if context == nil then return nil, tls, why end
  local deadline = time_limit("connect", opts)
  local addresses, message, code = core.resolve(host, "any", left(deadline), opts)
  if not addresses then return nil, message, code end
  local stream
  stream, message, code = connect.first(addresses, port, opts, deadline, delay)
  if not stream or not context then return stream, message, code end
  return secure.begin(stream, context, tls, host, tostring(port), deadline)
end

function net.connect_unix(path, opts)
  arguments.string(1, "connect_unix", path)
  opts = arguments.options(2, "connect_unix", opts)
  core.enter()
  local context, tls, why = secure.client("connect_unix", opts, nil)
  if context == nil then return nil, tls, why end
  local deadline = time_limit("connect_unix", opts)
  local socket <close>, message, code = core.socket("unix")
  if not socket then return nil, message, code end
  socket:settimeout(left(deadline))
  local ok
  ok, message, code = socket:connect(path)
  if not ok then return nil, message, code end
  local stream = core.stream(socket, opts)
  if not context then return stream end
  return secure.begin(stream, context, tls, nil, path, deadline)
end

function net.pair(opts)
  opts = arguments.options(1, "pair", opts)
  local a, b, code = core.pair()
  if not a then return nil, b, code end
  return core.stream(a, opts), core.stream(b, opts)
end

-- ---- listening ----------------------------------------------------------------------

local function listen_on(place, port, opts, context)
  local socket <close>, message, code = core.socket(place.family)
  if not socket then return nil, message, code end
  socket:setoption("reuseaddr", opts.reuse_address ~= false)
  local ok = true
  if opts.reuse_port then ok, message, code = socket:setoption("reuseport", true) end
  if ok then ok, message, code = socket:bind(place.host, port) end
  if ok then ok, message, code = socket:listen(opts.backlog or BACKLOG) end
  if not ok then return nil, message, code end
  return core.listener(socket, opts, context or nil)
end

-- On the first address of the host that this machine has.
function net.listen(host, port, opts)
  arguments.string(1, "listen", host)
  port = arguments.port(2, "listen", port)
  opts = arguments.options(3, "listen", opts)
  check_backlog("listen", opts)
  local context, why, reason = secure.server("listen", opts)
  if context == nil then return nil, why, reason end
  return address.ours(host, nil, opts, listen_on, port, opts, context)
end

local function listen_at(path, opts, context)
  local socket <close>, message, code = core.socket("unix")
  if not socket then return nil, message, code end
  local ok
  ok, message, code = socket:bind(path)
  if ok then ok, message, code = socket:listen(opts.backlog or BACKLOG) end
  if not ok then return nil, message, code end
  return core.listener(socket, opts, context or nil)
end

-- Does nobody listen at the socket path any more?
local function stale(path)
  local socket <close> = core.socket("unix")
  if not socket then return false end
  socket:settimeout(0)
  local _, _, code = socket:connect(path)
  return code == "ECONNREFUSED"
end

-- A path that a server has left behind is taken over; another file is never removed.
function net.listen_unix(path, opts)
  arguments.string(1, "listen_unix", path)
  opts = arguments.options(2, "listen_unix", opts)
  check_backlog("listen_unix", opts)
  core.enter()
  local context, why, reason = secure.server("listen_unix", opts)
  if context == nil then return nil, why, reason end
  local listener, message, code = listen_at(path, opts, context)
  local again = code == "EADDRINUSE" and opts.reuse_address ~= false
  if again and stale(path) and core.unbind(path) then
    listener, message, code = listen_at(path, opts, context)
  end
  return listener, message, code
end

-- ---- datagrams ----------------------------------------------------------------------

function net.udp(host, port, opts)
  arguments.string(1, "udp", host)
  port = arguments.port(2, "udp", port)
  return udp.open(host, port, arguments.options(3, "udp", opts))
end

-- ---- sockets ------------------------------------------------------------------------

net.socket = core.socket

-- Takes over a descriptor that somebody else has opened: from now on the object's, and
-- non-blocking for all who share it.
function net.adopt(fd, opts)
  local n = math.type(fd) and math.tointeger(fd)
  if not n or n < 0 then error("bad argument #1 to 'adopt' (not a descriptor)", 2) end
  opts = arguments.options(2, "adopt", opts)
  local kind, family, code = core.adopt(fd)
  if not kind then return nil, family, code end
  if kind == "stream" then return core.stream(fd, opts) end
  if kind == "listener" then return core.listener(fd, opts) end
  return core.adopted(fd, family, "dgram")
end

local Socket = core.methods.Socket

local function has_path(socket)
  return socket:family() == "unix"
end

-- method(socket, host, port), made to take names as well.
local function resolving(name, method)
  return function(socket, host, port)
    if type(host) ~= "string" or math.type(port) ~= "integer"
        or port >> 16 ~= 0 then
      arguments.place(1, name, host, port, has_path(socket))
    end
    local ok, message, code = method(socket, host, port)
    if ok then return ok end
    if code ~= "EAI_NONAME" then return nil, message, code end
    return address.by_name(socket, socket:family(), method, host, port)
  end
end

Socket.connect = resolving("connect", Socket.connect)
Socket.bind = resolving("bind", Socket.bind)

local sendto = Socket.sendto
function Socket:sendto(data, host, port)
  if type(data) ~= "string" or type(host) ~= "string" or math.type(port) ~= "integer"
      or port >> 16 ~= 0 then
    if type(data) ~= "number" then arguments.string(1, "sendto", data) end
    arguments.place(2, "sendto", host, port, has_path(self))
  end
  local count, message, code = sendto(self, data, host, port)
  if count then return count end
  if code ~= "EAI_NONAME" then return nil, message, code end
  return address.by_name(self, self:family(), function(socket, number)
    return sendto(socket, data, number, port)
  end, host)
end

return net
