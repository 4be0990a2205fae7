-- three_styles.lua: one small client and one small server, each written three times: with
-- callbacks, with futures, in direct style.
--
--   ./run examples/three_styles.lua
--
-- The server asks who is there, the client says it, the server greets and hangs up.  A
-- tap on the wire shows that nobody could tell the styles apart; so each client is
-- understood by each server.

local lull = require "lull"
local net = require "lull.net"
local protocol = require "lull.protocol"

local HOST = "127.0.0.1"

local function class(fields)
  fields.__index = fields
  return fields
end

-- ---- callbacks: what comes next is a method, what has happened is a field -----------

local Greeter = class {}

function Greeter:connection_made(transport)
  self.transport, self.buffer = transport, ""
  transport:write "who is there?\n"
end

function Greeter:data_received(data)
  self.buffer = self.buffer .. data
  local name = self.buffer:match "^(.-)\n"
  if name then
    self.transport:write("hello, ", name, "\n")
    self.transport:close()
  end
end

local Guest = class {}

function Guest:connection_made(transport)
  self.transport, self.buffer = transport, ""
end

function Guest:data_received(data)
  self.buffer = self.buffer .. data
  if not self.answered and self.buffer:find "\n" then
    self.answered = true
    self.transport:write(self.name, "\n")
  end
end

function Guest:connection_lost()
  self.done(self.buffer:match "\n(.-)\n")
end

local callbacks = {}

function callbacks.serve()
  return protocol.listen(function() return setmetatable({}, Greeter) end, HOST, 0)
end

function callbacks.visit(port, name)
  return lull.await_callback(function(done)
    local function guest() return setmetatable({name = name, done = done}, Guest) end
    protocol.connect(guest, HOST, port)
  end)
end

-- ---- futures: what comes next is a function that a future is given ------------------

-- A protocol whose lines are futures.
local Lines = class {}

function Lines:connection_made(transport)
  self.transport, self.buffer, self.waiting = transport, "", {}
  if self.begin then self:begin() end
end

function Lines:data_received(data)
  self.buffer = self.buffer .. data
  while self.waiting[1] and self.buffer:find "\n" do
    local line, rest = self.buffer:match "^(.-)\n(.*)$"
    self.buffer = rest
    table.remove(self.waiting, 1):set_result(line)
  end
end

function Lines:line()
  local future = lull.future()
  table.insert(self.waiting, future)
  self:data_received ""
  return future
end

-- A future of what fn makes of a future's result.
local function after(future, fn)
  local result = lull.future()
  future:add_done_callback(function(f) result:set_result(fn(f:result())) end)
  return result
end

local futures = {}

function futures.serve()
  local function greet(lines)
    lines.transport:write "who is there?\n"
    after(lines:line(), function(name)
      lines.transport:write("hello, ", name, "\n")
      lines.transport:close()
    end)
  end
  return protocol.listen(function()
    return setmetatable({begin = greet}, Lines)
  end, HOST, 0)
end

function futures.visit(port, name)
  local greeting = lull.future()
  local function answer(lines)
    after(lines:line(), function()
      lines.transport:write(name, "\n")
      after(lines:line(), function(line) greeting:set_result(line) end)
    end)
  end
  protocol.connect(function()
    return setmetatable({begin = answer}, Lines)
  end, HOST, port)
  return greeting:await()
end

-- ---- direct style: what comes next is the next line ---------------------------------

local direct = {}

function direct.serve()
  local listener = assert(net.listen(HOST, 0))
  lull.spawn(listener.serve, listener, function(stream)
    stream:write "who is there?\n"
    local name = stream:read()
    stream:write("hello, ", name, "\n")
  end)
  return listener
end

function direct.visit(port, name)
  local stream <close> = assert(net.connect(HOST, port))
  stream:read()
  stream:write(name, "\n")
  return stream:read()
end

-- ---- the wire -----------------------------------------------------------------------

-- Visits the server through a tap; returns the greeting, and the bytes of both sides.
local function overhear(client, server)
  local listener <close> = assert(server.serve())
  local tap <close> = assert(net.listen(HOST, 0))
  local said, answered
  local listening = lull.spawn(function()
    local left <close> = tap:accept()
    local _, port = listener:local_address()
    local right <close> = assert(net.connect(HOST, port))
    local question = right:read "L"
    left:write(question)
    said = left:read "L"
    right:write(said)
    answered = right:read "a"
    left:write(answered)
    answered = question .. answered
  end)
  local _, port = tap:local_address()
  local greeting = client.visit(port, "Ada")
  listening:await()
  return greeting, said, answered
end

local styles = {{"callbacks", callbacks}, {"futures", futures}, {"direct style", direct}}

local first -- what the first two said
for _, client in ipairs(styles) do
  for _, server in ipairs(styles) do
    local greeting, said, answered = overhear(client[2], server[2])
    local wire = ("client: %q\nserver: %q"):format(said, answered):gsub("\\\n", "\\n")
    if not first then print(wire) end
    first = first or wire
    assert(wire == first, wire)
    print(("%-12s meets %-12s %s"):format(client[1], server[1], greeting))
  end
end
print "the same bytes, nine times"
