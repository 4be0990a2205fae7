-- Scenarios for spec/sweep/check.lua: protocols and transports.  Whoever is cancelled:
-- the callbacks come in their order, connection_lost once and last, nothing is called
-- inside of a task, and every byte that the protocol gets comes once and in its place.
local core = require "lull.core"
local lull = require "lull"
local net = require "lull.net"
local protocol = require "lull.protocol"
local crew = require "spec.sweep.crew"

local await_all, guard = crew.await_all, crew.guard

-- What may follow what.
local follows = {
  connection_made = {data_received = true, eof_received = true, pause_writing = true,
    connection_lost = true, datagram_received = true},
  data_received = {data_received = true, eof_received = true, pause_writing = true,
    resume_writing = true, connection_lost = true},
  eof_received = {pause_writing = true, resume_writing = true, connection_lost = true},
  pause_writing = {data_received = true, eof_received = true, resume_writing = true,
    connection_lost = true, datagram_received = true},
  datagram_received = {datagram_received = true, pause_writing = true,
    resume_writing = true, connection_lost = true},
  connection_lost = {},
}
follows.resume_writing = follows.data_received

-- A protocol that looks whether it is called as it should be, and calls those of `more`.
local function watched(case, more)
  local p = {state = "none", data = "", paused = false}
  for name in pairs(follows) do
    p[name] = function(self, value, ...)
      assert(not lull.current(), "inside of a task")
      assert(self.state == "none" and name == "connection_made"
        or follows[self.state][name], self.state .. " -> " .. name)
      self.state = name
      if name == "connection_made" then
        self.t = value
      elseif name == "data_received" then
        self.data = self.data .. value
      elseif name == "pause_writing" then
        assert(not self.paused)
        self.paused = true
      elseif name == "resume_writing" then
        assert(self.paused)
        self.paused = false
      end
      if more and more[name] then return more[name](self, value, ...) end
    end
  end
  case:finally(function()
    assert(p.state == "none" or p.state == "connection_lost", p.state)
  end)
  return p
end

local function wrap(p, stream)
  return (protocol.wrap(function() return p end, stream))
end

-- Three tasks talk to a protocol that echoes, each as long as it likes.
local function echo(case)
  local tasks, answers = {}, 0
  for i = 1, 3 do
    local a, b = assert(net.pair())
    guard(b)
    wrap(watched(case, {data_received = function(p, data) p.t:write(data) end}), a)
    tasks[i] = lull.spawn(function()
      for round = 1, i do
        local text = ("%d.%d\n"):format(i, round)
        b:write(text)
        local answer = lull.timeout(round, b.read, b, "L")
        assert(not answer or answer == text)
        if not answer then return end
        answers = answers + 1
        lull.sleep(i % 2)
      end
    end)
    tasks[i]:add_done_callback(function() b:close() end) -- also if it never begins
  end
  await_all(tasks)
  case:finally(function() assert(case.cancelled or answers == 6, answers) end)
end

local function narrow()
  local a, b = assert(core.pair())
  a:setoption("sndbuf", 1)
  b:setoption("sndbuf", 1)
  return core.stream(a), core.stream(b)
end

local TEXT = ""
for i = 1, 3000 do TEXT = TEXT .. i .. " " end

-- For a turn; nobody can cancel what resumes.
local function pause_for_a_turn(p)
  p.t:pause_reading()
  lull.loop():call_soon(p.t.resume_reading, p.t)
end

-- A protocol writes as long as it is not told to pause, another one reads, and pauses
-- too.
local function pump(case)
  local a, b = narrow()
  guard(a, b)
  local at, done = 0, lull.future()
  local function go_on(p)
    while not p.paused and at < #TEXT do
      p.t:write(TEXT:sub(at + 1, at + 500))
      at = at + 500
    end
    if at >= #TEXT then p.t:close() end
  end
  local source = watched(case, {resume_writing = go_on})
  wrap(source, a):set_write_buffer_limits {high = 2000, low = 700}
  local sink = watched(case, {
    data_received = pause_for_a_turn,
    connection_lost = function()
      if not done:done() then done:set_result() end
    end,
  })
  wrap(sink, b)
  go_on(source)
  case:finally(function()
    assert(sink.data == TEXT:sub(1, #sink.data))
    assert(case.cancelled or sink.data == TEXT)
  end)
  done:await()
end

-- Both sides are closed and aborted by anybody at any time, while both write.
local function fall_apart(case)
  local a, b = narrow()
  guard(a, b)
  local left, right = watched(case), watched(case)
  wrap(left, a)
  wrap(right, b)
  local tasks = {}
  for i, method in ipairs {"write", "write", "close", "abort", "write_eof"} do
    tasks[i] = lull.spawn(function()
      local p = i % 2 == 1 and left or right
      lull.sleep(i // 2)
      if method ~= "write" then return p.t[method](p.t) end
      for _ = 1, 5 do
        p.t:write(TEXT)
        lull.sleep(0)
      end
    end)
  end
  await_all(tasks)
  lull.sleep(20)
  case:finally(function()
    assert(left.state == "connection_lost" and right.state == "connection_lost")
  end)
end

-- Who connects is heard, whoever is cancelled.
local function listening(case)
  local served = 0
  local name = "\0sweep" .. case.first .. "." .. tostring(case):gsub("%W", "")
  local _ <close> = assert(protocol.listen_unix(function()
    return watched(case, {data_received = function(p, data)
      served = served + 1
      p.t:write(data:upper())
      p.t:close()
    end})
  end, name, {max_connections = 2}))
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = lull.spawn(function()
      local p = watched(case)
      local lost = lull.future()
      local connection_lost = p.connection_lost
      function p:connection_lost(err)
        connection_lost(self, err)
        if not lost:done() then lost:set_result(err) end
      end
      local t = protocol.connect_unix(function() return p end, name)
      if not t then return end
      local _ <close> = t
      t:write("hello " .. i)
      local err = lost:await()
      assert(err == nil or case.cancelled, err)
      assert(p.data == "HELLO " .. i or case.cancelled)
    end)
  end
  await_all(tasks)
  case:finally(function() assert(case.cancelled or served == 3, served) end)
end

-- Datagrams over a pair of Unix sockets, where none is lost.
local function datagrams(case)
  local a, b = assert(core.pair "dgram")
  a:setoption("sndbuf", 1)
  local n, got = 40, {}
  local done = lull.future()
  local source = watched(case)
  local sink = watched(case, {datagram_received = function(p, data)
    table.insert(got, data)
    if #got % 5 == 0 then pause_for_a_turn(p) end
    if #got == n then done:set_result() end
  end})
  local from, to = core.packets(a, source), core.packets(b, sink)
  guard(from, to)
  from:set_write_buffer_limits {high = 5000}
  for i = 1, n do from:sendto(i .. (" "):rep(400)) end
  done:await()
  case:finally(function()
    for i, data in ipairs(got) do assert(tonumber(data) == i) end
    assert(case.cancelled or #got == n)
  end)
end

return {
  {"an echo in the callback style", echo},
  {"a pump in the callback style", pump},
  {"transports that fall apart", fall_apart},
  {"protocols that listen", listening},
  {"datagrams in the callback style", datagrams},
}
