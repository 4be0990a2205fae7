-- Scenarios for spec/sweep/check.lua: names, several addresses, datagrams, descriptors
-- passed along.  Whoever is cancelled: no lookup, attempt or descriptor stays behind, and
-- what was received is received once.
local connect = require "lull.connect"
local core = require "lull.core"
local lull = require "lull"
local nameserver = require "spec.nameserver"
local net = require "lull.net"
local crew = require "spec.sweep.crew"

local spawn_each, await_all, when_done, at_last =
  crew.spawn_each, crew.await_all, crew.when_done, crew.at_last

-- ---- names ----------------------------------------------------------------------------

-- One answers, one truncates, one fails and one is silent, whichever task is still there
-- to do so; a lookup that ends has the answer, or says why not.  Half an answer is there
-- only if the server was cancelled in the middle of it.
local function lookups(case)
  local server <close> = nameserver.start(function(query)
    if query.name == "silent.test" then return nil end
    if query.name == "broken.test" then
      return nameserver.reply(query, {rcode = "SERVFAIL"})
    end
    if query.name == "large.test" and not query.tcp then
      return nameserver.packet(query, {}, 0x0200)
    end
    return nameserver.reply(query, {A = {"192.0.2.1"}, AAAA = {"2001:db8::1"}})
  end)
  local names = {"a.test", "large.test", "silent.test", "broken.test"}
  local good = 0
  local opts = {servers = {server.address}, attempts = 2}
  local tasks = spawn_each(4, function(i)
    local list, _, code = net.resolve(names[i], opts)
    assert(list and #list == 2 or code == "EAI_AGAIN" or case.cancelled, code)
    if list then good = good + 1 end
  end)
  local _ <close> = at_last(function() await_all(tasks) end)
  case:finally(function() assert(case.cancelled or good == 2) end)
end

-- Lookups that are given up after a while.
local function given_up()
  local asked = 0
  local server <close> = nameserver.start(function(query)
    asked = asked + 1
    lull.sleep(asked % 3)
    return nameserver.reply(query, {A = {"192.0.2.1"}})
  end)
  local opts = {servers = {server.address}}
  local tasks = spawn_each(3, function(i)
    lull.timeout(i - 1, net.resolve, "a.test", opts)
    opts.timeout = i / 2
    net.resolve("b.test", opts)
  end)
  local _ <close> = at_last(function() await_all(tasks) end)
end

-- ---- several addresses ----------------------------------------------------------------

local everywhere = {
  {host = "127.0.0.3", family = "inet"}, {host = "127.0.0.1", family = "inet"},
  {host = "127.0.0.2", family = "inet"}, {host = "127.0.0.1", family = "inet"},
}

-- Two of four listen; each connection is to one of them.
local function eyeballs(case)
  local a = assert(net.listen("127.0.0.1", 0))
  local _, port = a:local_address()
  local b = assert(net.listen("127.0.0.2", port))
  local connected = 0
  local tasks = spawn_each(2, function(i)
    local stream <close>, message = connect.first(everywhere, port, {}, nil, i / 10)
    assert(stream, message)
    connected = connected + 1
  end)
  when_done(tasks, function()
    a:close()
    b:close()
  end)
  case:finally(function() assert(case.cancelled or connected == 2) end)
end

-- ---- datagrams ------------------------------------------------------------------------

-- Each question is answered once by one of two; the answers are the questioner's.
local function datagrams(case)
  local server = assert(net.udp("127.0.0.1", 0))
  local _, port = server:local_address()
  local served, answered = 0, 0
  spawn_each(2, function()
    while true do
      local data, host, from = server:recvfrom()
      if not data then return end
      served = served + 1
      server:sendto("answer to " .. data, host, from)
    end
  end)
  local clients = spawn_each(3, function(i)
    local socket <close> = assert(net.udp("127.0.0.1", 0))
    socket:settimeout(5)
    assert(socket:connect("127.0.0.1", port))
    assert(socket:send("question " .. i))
    local answer, _, code = socket:recvfrom()
    if not answer then
      return assert(code == "ETIMEDOUT" or code == "ECONNREFUSED", code)
    end
    assert(answer == "answer to question " .. i, answer)
    answered = answered + 1
  end)
  when_done(clients, function() server:close() end)
  case:finally(function()
    assert(answered <= served)
    assert(case.cancelled or answered == 3)
  end)
end

-- ---- descriptors ----------------------------------------------------------------------

-- Descriptors go through a pair of sockets; all that came are closed, the rest is closed
-- with the pair.
local function descriptors(case)
  local a, b = assert(core.pair "dgram")
  a:setoption("sndbuf", 1)
  local got = 0
  local senders = spawn_each(2, function(i)
    for _ = 1, 5 do
      if not a:sendmsg(("x"):rep(i * 500), {0, a}) then return end
    end
  end)
  when_done(senders, function() a:close() end)
  local receivers = spawn_each(2, function()
    b:settimeout(1)
    while true do
      local data, fds = b:recvmsg()
      if not data or data == "" then return end
      for _, fd in ipairs(fds) do assert(net.adopt(fd)):close() end
      got = got + #fds
    end
  end)
  when_done(receivers, function() b:close() end)
  case:finally(function() assert(case.cancelled or got == 20, got) end)
end

return {
  {"lookups", lookups},
  {"lookups given up", given_up},
  {"several addresses", eyeballs},
  {"datagrams", datagrams},
  {"descriptors passed along", descriptors},
}
