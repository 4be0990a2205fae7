-- A mistake is told at the place where it was made: in the script, and not in lull's own
-- lines, however deep these find it.
local helper = require "spec.helper"
local lull = helper.lull

local net, fs, protocol = lull.net, lull.fs, lull.protocol

local function nothing() return {} end

local mistakes = {
  {"'connect' (string expected, got no value)", net.connect, nil, 1},
  {"'connect' (port number expected, got table)", net.connect, "::1", {}},
  {"'connect' (not a port number)", net.connect, "::1", 65536},
  {"'connect' (table expected, got number)", net.connect, "::1", 1, 7},
  {"'connect': bad option 'timeout'", net.connect, "::1", 1, {timeout = -1}},
  {"'listen': bad option 'backlog'", net.listen, "::1", 0, {backlog = "many"}},
  {"'listen': bad option 'backlog'", net.listen, "::1", 0, {backlog = -1}},
  {"'udp': bad option 'ttl'", net.udp, "127.0.0.1", 0, {ttl = {}}},
  {"'resolve': no such family", net.resolve, "::1", {family = "ipx"}},
  {"bad option 'ndots'", net.resolve, "a.test", {ndots = {}}},
  {"bad option 'servers' (no address: 'x')", net.resolve, "a.test", {servers = {"x"}}},
  {"bad option 'attempts'", net.connect, "a.test", 1, {attempts = -1}},
  {"'listen' (function expected, got no value)", protocol.listen, nil, "::1", 0},
  {"'listen': bad option 'max_connections'", protocol.listen, nothing, "127.0.0.1", 0,
   {max_connections = 0}},
  {"'listen_unix': bad option 'handshake_timeout'", protocol.listen_unix, nothing, "/x",
   {handshake_timeout = "soon"}},
  {"#2 to 'connect' (string expected, got no value)", protocol.connect, nothing},
  {"#3 to 'listen' (port number expected, got no value)", protocol.listen, nothing,
   "::1"},
  {"#2 to 'datagram' (string expected, got table)", protocol.datagram, nothing, {}},
  {"#2 to 'connect_unix' (string expected, got no value)", protocol.connect_unix,
   nothing},
  {"#2 to 'listen_unix' (string expected, got no value)", protocol.listen_unix,
   nothing},
  {"'adopt' (not a descriptor)", net.adopt},
  {"'adopt' (not a descriptor)", net.adopt, -1},
  {"'open' (string expected, got no value)", fs.open},
  {"'mkdir' (table expected, got string)", fs.mkdir, "/", "parents"},
  {"'defer' (function expected, got no value)", lull.defer},
  {"'generator' (function expected, got number)", lull.generator, 7},
  {"'clock': bad option 'scale'", lull.clock, {scale = "half"}},
  {"'every'", lull.every, 0},
  {"'connect': bad option 'limit'", net.connect, "::1", 1, {limit = -1}},
  {"'connect': bad option 'bind'", net.connect, "::1", 1, {bind = {}}},
  {"'datagram': bad option 'remote'", protocol.datagram, nothing, "::1", 0,
   {remote = {"::1"}}},
  {"'wrap' (Stream expected, got number)", protocol.wrap, nothing, 7},
  {"'pair': bad option 'linger'", net.pair, {linger = "long"}},
}

-- Methods that are in C, made to take names by lull's own Lua.
local methods = {
  {"#1 to 'connect' (string expected, got no value)", "connect"},
  {"#2 to 'connect' (port number expected, got no value)", "connect", "::1"},
  {"#2 to 'connect' (port number expected, got string)", "connect", "::1", "http"},
  {"#2 to 'connect' (not a port number)", "connect", "::1", 65536},
  {"#1 to 'bind' (string expected, got table)", "bind", {}},
  {"#2 to 'bind' (port number expected, got number)", "bind", "::1", 1.5},
  {"#1 to 'sendto' (string expected, got no value)", "sendto"},
  {"#2 to 'sendto' (string expected, got no value)", "sendto", "x"},
  {"#3 to 'sendto' (port number expected, got table)", "sendto", "x", "::1", {}},
}

-- A misspelt option would be one that does nothing.
local misspelt = {
  {"connect", net.connect, "::1", 1, {tiemout = 3}},
  {"connect", net.connect, "::1", 1, {[1] = "tls"}},
  {"connect_unix", net.connect_unix, "/x", {no_delay = true}},
  {"listen", net.listen, "::1", 0, {max_connections = 1}},
  {"listen_unix", net.listen_unix, "/x", {["tls backlog"] = 1}},
  {"resolve", net.resolve, "::1", {server = {}}},
  {"udp", net.udp, "127.0.0.1", 0, {tll = 1}},
  {"pair", net.pair, {higwater = 1}},
  {"adopt", net.adopt, 0, {tls = true}},
  {"connect", protocol.connect, nothing, "::1", 1, {tiemout = 3}},
  {"connect_unix", protocol.connect_unix, nothing, "/x", {tiemout = 3}},
  {"listen", protocol.listen, nothing, "::1", 0, {grace = 1}},
  {"listen_unix", protocol.listen_unix, nothing, "/x", {grace = 1}},
  {"datagram", protocol.datagram, nothing, "::1", 0, {peer = {}}},
  {"spawn", lull.process.spawn, {"true"}, {input = "x"}},
  {"run", lull.process.run, {"true"}, {inputs = "x"}},
  {"write_file", fs.write_file, "/x", "", {atomics = true}},
  {"mkdir", fs.mkdir, "/x", {parent = true}},
  {"remove", fs.remove, "/x", {recurse = true}},
  {"watch", fs.watch, "/", {recurse = true}},
  {"wait", lull.wait, {}, {when = "all"}},
  {"clock", lull.clock, {speed = 2}},
  {"group", lull.group, {limits = 1}},
  {"group", lull.group, {limits = 1}, nothing},
  {"new_loop", lull.new_loop, {clocks = "virtual"}},
}

-- Calls fn from this file, not at a tail.
local function call(fn, ...)
  local result = fn(...)
  return result
end

local function says(message, fn, ...)
  local ok, err = pcall(call, fn, ...)
  assert.is_false(ok)
  assert.truthy(err:find "^%.?/?spec/arguments_spec.lua:%d+: ", err)
  assert.truthy(err:find(message, 1, true), err)
end

describe("a mistake", function()
  for _, mistake in ipairs(mistakes) do
    it("is told at its place: " .. mistake[1], function()
      helper.run(function() says(table.unpack(mistake, 1, 6)) end)
    end)
  end

  for _, mistake in ipairs(misspelt) do
    local name, opts = mistake[1], mistake[#mistake]
    if type(opts) == "function" then opts = mistake[#mistake - 1] end
    local option = tostring((next(opts)))
    it(("is an unknown option: '%s' of %s"):format(option, name), function()
      helper.run(function()
        says(("'%s': unknown option '%s'"):format(name, option),
             table.unpack(mistake, 2, 6))
      end)
    end)
  end

  for _, mistake in ipairs(methods) do
    it("is told at its place, of sockets: " .. mistake[1], function()
      helper.run(function()
        local socket <close> = assert(net.socket("inet", "dgram"))
        local datagram <close> = assert(net.udp("127.0.0.1", 0))
        local name = mistake[2]
        says(mistake[1], socket[name], socket, table.unpack(mistake, 3, 5))
        if name ~= "bind" then
          says(mistake[1], datagram[name], datagram, table.unpack(mistake, 3, 5))
        end
      end)
    end)
  end

  it("is no function for a clock's timeout", function()
    helper.run(function()
      local clock = lull.clock()
      says("'timeout' (function expected, got no value)", clock.timeout, clock, 1)
      says("'timeout' (number expected)", clock.timeout, clock, 0 / 0, nothing)
    end)
  end)

  it("is a closed stream that a child shall have", function()
    helper.run(function()
      local stream = net.pair()
      stream:close()
      says("attempt to use a closed stream", lull.process.spawn, {"true"},
           {stdin = stream})
    end)
  end)

  it("is an unknown option of a method or of the tools for tests", function()
    helper.run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      says("'serve': unknown option 'backlog'", listener.serve, listener, nothing,
           {backlog = 1})
      says("'serve': bad option 'on_error' (a function expected)", listener.serve,
           listener, nothing, {on_error = "print"})
      says("'serve': bad option 'grace'", listener.serve, listener, nothing,
           {grace = 0 / 0})
      local t <close> = protocol.wrap(nothing, (net.pair()))
      says("unknown option 'hihg'", t.set_write_buffer_limits, t, {hihg = 1})
    end)
    local test = require "lull.test"
    says("'run': unknown option 'seeds'", test.run, nothing, {seeds = 1})
    says("'cancel_sweep': unknown option 'first'", test.cancel_sweep, nothing,
         {first = 1})
    says("'schedule_sweep': unknown option 'who'", test.schedule_sweep, nothing,
         {who = "main"})
  end)

  it("in the options of serve is the caller's", function()
    helper.run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local bad = {max_connections = 0, handshake_timeout = {}, grace = -1}
      for option, value in pairs(bad) do
        says("'serve': bad option '" .. option, listener.serve, listener, nothing,
             {[option] = value})
      end
      says("'serve' (a function expected, got no value)", listener.serve, listener)
      says("'serve' (function expected, got number)", listener.serve, listener, 3)
    end)
  end)
end)
