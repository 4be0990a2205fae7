-- The callback style: protocols and their transports, which are made in C.  Here is how
-- they come to a connection: by connecting, by accepting, over a stream that is there.
local arguments = require "lull.arguments"
local core = require "lull.core"
local net = require "lull.net"

local protocol = {}

local HANDSHAKE_TIMEOUT = 10 -- seconds
local MAX_CONNECTIONS = 10000
local OUT_OF_DESCRIPTORS = 0.1 -- seconds until accepting is tried again

local exhausted = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }

-- A protocol is whatever has methods.
local function make(factory)
  local object = core.outside(factory)
  if type(object) ~= "table" and type(object) ~= "userdata" then
    error(("the factory has made no protocol, but a value of type %s")
      :format(type(object)), 0)
  end
  return object
end

local function open_both(open, factory, resource, on_end)
  local object = make(factory)
  return open(resource, object, on_end), object
end

-- What is opened here is closed where no transport came of it.
local function check(resource, ok, ...)
  if ok then return ... end
  resource:close()
  core.rethrow(...)
end

local function begin(open, factory, resource, on_end)
  return check(resource, xpcall(open_both, core.handler, open, factory, resource, on_end))
end

-- ---- connections --------------------------------------------------------------------

-- wrap (factory, stream) -> transport, protocol: the stream is the transport's from then
-- on, and only its methods are to be used.
function protocol.wrap(factory, stream)
  arguments.callable(1, "wrap", factory)
  if not core.is_stream(stream) then
    error(("bad argument #2 to 'wrap' (Stream expected, got %s)"):format(type(stream)), 2)
  end
  return begin(core.transport, factory, stream)
end

-- connect (factory, host, port [, opts]) -> transport, protocol: opts as in net.connect
function protocol.connect(factory, host, port, opts)
  arguments.callable(1, "connect", factory)
  arguments.string(2, "connect", host)
  arguments.port(3, "connect", port)
  arguments.options(4, "connect", opts)
  local stream, message, code = net.connect(host, port, opts)
  if not stream then return nil, message, code end
  return begin(core.transport, factory, stream)
end

-- connect_unix (factory, path [, opts]) -> transport, protocol
function protocol.connect_unix(factory, path, opts)
  arguments.callable(1, "connect_unix", factory)
  arguments.string(2, "connect_unix", path)
  arguments.options(3, "connect_unix", opts)
  local stream, message, code = net.connect_unix(path, opts)
  if not stream then return nil, message, code end
  return begin(core.transport, factory, stream)
end

-- ---- listening ----------------------------------------------------------------------

local Server = {}
Server.__index = Server

local function report(err)
  core.report(err, core.traceback(err), nil, true)
end

-- A connection is counted until its transport has ended.
function Server:ended()
  self.count = self.count - 1
  core.rouse(self.listener)
end

-- No connection comes of it.
function Server:refuse(stream)
  stream:close()
  self:ended()
end

function Server:begin(stream)
  local ok, err = xpcall(open_both, core.handler, core.transport, self.factory, stream,
                         self.on_end)
  if not ok then
    self:refuse(stream)
    report(err)
  end
end

-- Before TLS has shaken hands there is no connection to tell of, and nobody to tell of
-- one that comes to nothing.
function Server:shake_hands(stream)
  stream:settimeout(self.handshake_timeout)
  if not stream:handshake() then return false end
  stream:settimeout(nil)
  self:begin(stream)
  return true
end

-- A task may be cancelled before it has begun; so what must be done stands in a callback.
function Server:spawn_handshake(stream)
  local task = core.spawn(self.shake_hands, self, stream):daemon()
  task:add_done_callback(function()
    if task:cancelled() or task:error() or not task:result() then
      self:refuse(stream)
    end
  end)
end

function Server:take(stream)
  self.count = self.count + 1
  if not self.tls then return self:begin(stream) end
  local ok, err = xpcall(self.spawn_handshake, core.handler, self, stream)
  if not ok then
    self:refuse(stream)
    report(err)
  end
end

-- Until the listener is closed.
function Server:accept()
  local listener = self.listener
  while true do
    local stream, message, code = core.accept(listener)
    if stream then
      self:take(stream)
      while self.count >= self.max_connections and core.rest(listener) do end
    elseif exhausted[code] then
      core.rest(listener, OUT_OF_DESCRIPTORS)
    elseif code ~= "ECANCELED" then
      return report(message)
    else
      return
    end
  end
end

-- Where memory runs out, it goes on a little later; who cancels it closes the listener.
function Server:run()
  while true do
    local ok, err = core.pcall(self.accept, self)
    if ok then return end
    pcall(report, err)
    core.pcall(core.rest, self.listener, OUT_OF_DESCRIPTORS)
  end
end

-- max_connections and handshake_timeout.
local function limits(name, opts)
  return arguments.positive(3, name, opts, "max_connections", MAX_CONNECTIONS),
         arguments.positive(3, name, opts, "handshake_timeout", HANDSHAKE_TIMEOUT)
end

local function serve(factory, listener, opts, max_connections, handshake_timeout)
  local server = setmetatable({
    factory = factory, listener = listener, count = 0,
  }, Server)
  server.tls = opts.tls
  server.max_connections, server.handshake_timeout = max_connections, handshake_timeout
  server.on_end = function() server:ended() end
  local task = core.spawn(server.run, server):daemon()
  task:name "protocol listener"
  task:add_done_callback(function() listener:close() end)
  return listener
end

-- listen (factory, host, port [, opts]) -> Listener: a protocol and a transport for each
-- connection, until the listener is closed; those that there are go on.  opts as in
-- net.listen, max_connections, handshake_timeout.
function protocol.listen(factory, host, port, opts)
  arguments.callable(1, "listen", factory)
  arguments.string(2, "listen", host)
  arguments.port(3, "listen", port)
  opts = arguments.options(4, "listen", opts, "protocol.listen")
  local max_connections, handshake_timeout = limits("listen", opts)
  local listener, message, code = net.listen(host, port, arguments.part(opts, "listen"))
  if not listener then return nil, message, code end
  return serve(factory, listener, opts, max_connections, handshake_timeout)
end

-- listen_unix (factory, path [, opts]) -> Listener
function protocol.listen_unix(factory, path, opts)
  arguments.callable(1, "listen_unix", factory)
  arguments.string(2, "listen_unix", path)
  opts = arguments.options(3, "listen_unix", opts, "protocol.listen")
  local max_connections, handshake_timeout = limits("listen_unix", opts)
  local listener, message, code = net.listen_unix(path, arguments.part(opts, "listen"))
  if not listener then return nil, message, code end
  return serve(factory, listener, opts, max_connections, handshake_timeout)
end

-- ---- datagrams ----------------------------------------------------------------------

-- datagram (factory, host, port [, opts]) -> transport, protocol: bound to that address,
-- opts as in net.udp; opts.remote = {host, port}: the only peer, to which sendto sends
-- without an address.
function protocol.datagram(factory, host, port, opts)
  arguments.callable(1, "datagram", factory)
  arguments.string(2, "datagram", host)
  arguments.port(3, "datagram", port)
  opts = arguments.options(4, "datagram", opts)
  local remote = opts.remote
  if remote ~= nil and not (type(remote) == "table" and type(remote[1]) == "string"
      and math.tointeger(tonumber(remote[2]))) then
    error("'datagram': bad option 'remote' ({host, port} expected)", 2)
  end
  local socket, message, code = net.udp(host, port, arguments.part(opts, "udp"))
  if not socket then return nil, message, code end
  local _ <close> = socket -- its descriptor is a transport's in the end
  if remote then
    local ok
    ok, message, code = socket:connect(remote[1], remote[2])
    if not ok then return nil, message, code end
  end
  return begin(core.packets, factory, socket)
end

return protocol
