-- Serving: a task for each connection of a listener, and what becomes of them in the end.
-- Adds serve and accepts to Listener.
--
-- A connection's task belongs to its server: it keeps no loop running by itself, and
-- serve does not return before all of them have ended.
local arguments = require "lull.arguments"
local core = require "lull.core"

local positive = arguments.positive
local Listener = core.methods.Listener

local MAX_CONNECTIONS = 10000
local HANDSHAKE_TIMEOUT = 10 -- seconds
local OUT_OF_DESCRIPTORS = 0.1 -- seconds until accepting is tried again

local exhausted = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }

-- What happens to connections every day and is nobody's mistake.
local usual = { ECONNRESET = true, EPIPE = true, ETIMEDOUT = true, ETLS = true }

local Server = { __name = "Server" }
Server.__index = Server

local function call_soon(...)
  core.loop():call_soon(...)
end

-- ---- a connection -------------------------------------------------------------------

local function report(err)
  if not usual[core.code(err)] then
    core.report(err, core.traceback(err), core.current(), true)
  end
end

local function failed(server, err, stream)
  if core.is_cancelled(err) then return end
  local ok, worse = xpcall(server.on_error, core.handler, err, stream)
  if not ok and not core.is_cancelled(worse) then
    core.report(worse, core.traceback(worse), core.current(), true)
  end
end

-- What a connection's task runs.  It is spare with the stack, for there may be thousands:
-- with one more slot the stacks of many handlers would double.
local function body(server)
  local exit, handler = server.exit, server.handler
  return function(stream)
    local _ <close> = exit
    handler(stream)
    exit.well = true
  end
end

-- The same under TLS, where the handshake comes first.
local function secure_body(server)
  local exit, handler, limit = server.exit, server.handler, server.handshake_timeout
  return function(stream)
    local _ <close> = exit
    stream:settimeout(limit)
    local ok, message = stream:handshake()
    if not ok then error(message, 0) end
    stream:settimeout(nil)
    handler(stream)
    exit.well = true
  end
end

-- Closed at the end of every connection, however it ends; the stream is still open then.
-- Whether it ended well only its body can tell: error(nil) comes here as nil, too.  So
-- does the hard end of one that ignored its cancellation, who cannot enter any more.
local Exit = {}

function Exit:__close(err)
  local server, task = self.server, core.current()
  if err == nil and not self.well and pcall(core.enter) then
    err = "nil (error without a value)"
  end
  self.well = nil
  if not task then return call_soon(server.forget_ended, server) end
  if err ~= nil then failed(server, err, server.tasks[task]) end
  server:forget(task)
  if err ~= nil then task:take() end -- not before all is done: memory may run out
end

function Server:forget(task)
  local stream = self.tasks[task]
  if not stream then return end
  stream:close() -- for this there may be no memory
  core.rouse(self.listener)
  self.tasks[task] = nil
  self.count = self.count - 1
end

function Server:forget_ended()
  for task in pairs(self.tasks) do
    if task:done() then self:forget(task) end
  end
end

-- A task that is cancelled before its first run never runs, and has to be looked for: by
-- a callback, which nobody can cancel.  A list grows until its first call; two turns
-- later those who live have begun.
local function look_after(server, tasks, turns)
  if server.fresh == tasks then server.fresh = nil end
  if turns > 0 then return call_soon(look_after, server, tasks, turns - 1) end
  for _, task in ipairs(tasks) do
    if task:done() then server:forget(task) end
  end
end

function Server:expect(task)
  local fresh = self.fresh
  if fresh then
    fresh[#fresh + 1] = task
  else
    self.fresh = { task }
    call_soon(look_after, self, self.fresh, 2)
  end
end

-- One that found no memory to begin in, or to close its exit, ends as a task that has
-- failed and that nobody has looked at; or, when there was none to say so, unnamed.
local servers = setmetatable({}, { __mode = "k" })

-- told: a host has been told of it already.
core.on_report(function(err, traceback, task, quiet, told)
  for server in pairs(servers) do
    if not task then server:forget_ended() end
    local stream = task and server.tasks[task]
    if stream then
      if not told or server.on_error ~= report then failed(server, err, stream) end
      return server:forget(task)
    end
  end
  return core.report(err, traceback, task, quiet, told)
end)

-- ---- accepting ----------------------------------------------------------------------

-- Takes what comes until the listener is closed.  accept gives others a turn where
-- there is no end to those who come.
function Server:accept()
  local listener, accept, spawn = self.listener, core.accept, core.spawn
  local connection = (core.is_secure(listener) and secure_body or body)(self)
  while true do
    local stream, message, code = accept(listener)
    if stream then
      local task = spawn(connection, stream):daemon()
      self.tasks[task] = stream
      self.count = self.count + 1
      self:expect(task)
      while self.count >= self.max_connections and core.rest(listener) do end
    elseif code == "ECANCELED" then
      return true
    elseif exhausted[code] then
      core.rest(listener, OUT_OF_DESCRIPTORS)
    else
      return nil, message, code
    end
  end
end

-- ---- the end ------------------------------------------------------------------------

local function wait_for_all(server)
  local tasks = {}
  for task in pairs(server.tasks) do tasks[#tasks + 1] = task end
  for _, task in ipairs(tasks) do
    task:wait()
    server:forget(task)
  end
end

local function drain(server, seconds)
  if next(server.tasks) == nil then return end
  if seconds then return core.timeout(seconds, wait_for_all, server) end
  return wait_for_all(server)
end

-- However serve is left, nothing of it is left behind.
local function finish(server, interrupted)
  if interrupted and server.grace then drain(server, server.grace) end
  for task in pairs(server.tasks) do task:cancel("the server ends") end
  drain(server)
end

function Server:__close(err)
  if next(self.tasks) ~= nil then core.shield(finish, self, err ~= nil) end
end

-- ---- what a script calls ------------------------------------------------------------

local function new_server(listener, handler, opts)
  if handler == nil then
    error("bad argument #1 to 'serve' (a function expected, got no value)", 3)
  end
  local grace = opts.grace
  if grace ~= nil and (type(grace) ~= "number" or grace < 0 or grace ~= grace) then
    arguments.bad_option(3, "serve", "grace", "seconds")
  end
  if opts.on_error ~= nil and not arguments.is_callable(opts.on_error) then
    arguments.bad_option(3, "serve", "on_error", "a function")
  end
  local server = {
    listener = listener, handler = handler, grace = grace,
    on_error = opts.on_error or report,
    max_connections = positive(3, "serve", opts, "max_connections", MAX_CONNECTIONS),
    handshake_timeout = positive(3, "serve", opts, "handshake_timeout",
                                 HANDSHAKE_TIMEOUT),
    tasks = {}, -- of the connections, with their streams
    count = 0,
  }
  server.exit = setmetatable({ server = server }, Exit)
  servers[server] = true
  return setmetatable(server, Server)
end

-- A task per connection, which runs handler(stream).  Returns true when the listener has
-- been closed and the handlers have ended; cancelled, it ends them first.
function Listener:serve(handler, opts)
  local open, why = pcall(self.fileno, self)
  if not open then error(why, 2) end
  if handler ~= nil then arguments.callable(1, "serve", handler) end
  opts = arguments.options(2, "serve", opts)
  local server <close> = new_server(self, handler, opts)
  local ok, message, code = server:accept()
  drain(server, server.grace)
  if not ok then return nil, message, code end
  return true
end

-- for conn in listener:accepts() do ... end: until the listener is closed.
function Listener:accepts()
  return function()
    local stream, message, code = core.accept(self, true)
    if not stream and code ~= "ECANCELED" then error(message, 0) end
    return stream
  end
end
