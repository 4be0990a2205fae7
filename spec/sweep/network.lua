-- Scenarios for spec/sweep/check.lua: streams, listeners, sockets.  Whoever is cancelled:
-- every byte arrives once and in order, every connection is served or closed, and no
-- descriptor stays open.  Where time passes there are socket pairs and unix sockets only:
-- these are as quick as the system call, whereas TCP takes real time.
local core = require "lull.core"
local lull = require "lull"
local net = require "lull.net"
local crew = require "spec.sweep.crew"

local spawn_each, await_all, when_done, at_last, guard =
  crew.spawn_each, crew.await_all, crew.when_done, crew.at_last, crew.guard

local function new_pair()
  return guard(assert(net.pair()))
end

-- Those between which the system keeps some kilobytes only.
local function small_sockets()
  local a, b = assert(core.pair())
  a:setoption("sndbuf", 1)
  b:setoption("sndbuf", 1)
  return a, b
end

local function narrow_sockets()
  return guard(small_sockets())
end

local function narrow_pair(opts)
  local a, b = small_sockets()
  return guard(core.stream(a, opts), core.stream(b, opts))
end

-- ---- reading --------------------------------------------------------------------------

-- A text in pieces, and how each of them is read.
local pieces = {
  {"a line\n", function(s) return s:read() end},
  {"another\r\n", function(s) return s:read "L" end},
  {"12345", function(s) return s:read(5) end},
  {" 42", function(s)
    local n, message, code = s:read "n"
    if n then return " " .. n end
    return n, message, code
  end},
  {" is it;", function(s) return s:read_until ";" end},
  {"exact", function(s) return s:read_exactly(5) end},
  {"two\nof them", function(s)
    local line, rest = s:read("L", 7)
    return line and line .. (rest or "")
  end},
  {"some", function(s) return s:read_some(4) end},
}

local function without_newlines(text)
  return (text:gsub("\n", ""))
end

-- Sends the text in small parts, and notes what has been sent.
local function sender(stream, text, size)
  local sent = {text = ""}
  sent.task = lull.spawn(function()
    for at = 1, #text, size do
      local part = text:sub(at, at + size - 1)
      sent.text = sent.text .. part
      assert(stream:write(part))
      lull.sleep(at % 2)
    end
  end)
  when_done({sent.task}, function() stream:close() end)
  return sent
end

-- Several read in turn, in any format, each for a while only; whoever gives up has taken
-- nothing.
local function read_in_all_formats(case)
  local a, b <close> = new_pair()
  local turn, got, at, text = lull.lock(), "", 1, ""
  for _, piece in ipairs(pieces) do text = text .. piece[1] end
  local sent = sender(a, text, 9)
  local function read(i)
    if i == 3 then
      b:settimeout(1)
      return pieces[at][2](b)
    end
    b:settimeout(nil)
    return lull.timeout(i / 2, pieces[at][2], b)
  end
  local function reader(i)
    while true do
      local _ <close> = turn:acquire()
      if at > #pieces then return end
      local part, _, code = read(i)
      if part then
        got, at = got .. part, at + 1
      elseif code ~= "ETIMEDOUT" then
        return
      end
    end
  end
  local readers = spawn_each(3, reader)
  local _ <close> = at_last(function()
    await_all(readers)
    b:settimeout(nil)
    got = got .. b:read "a"
    assert(without_newlines(got) == without_newlines(sent.text), got)
    assert(case.cancelled or at > #pieces and sent.text == text)
  end)
end

-- What comes until the end, read by several in turn.
local function reading(read)
  return function(case)
    local a, b <close> = new_pair()
    local turn, got = lull.lock(), ""
    local text = "one\ntwo\nthree\nfour\n"
    local sent = sender(a, text, 3)
    local readers = spawn_each(3, function(i)
      lull.timeout(i, function()
        local _ <close> = turn:acquire()
        read(b, function(part) got = got .. part end)
      end)
    end)
    local _ <close> = at_last(function()
      await_all(readers)
      got = got .. b:read "a"
      assert(got == sent.text, got)
      assert(case.cancelled or got == text)
    end)
  end
end

local read_all = reading(function(stream, add) add(stream:read "a") end)

local read_some = reading(function(stream, add)
  while true do
    local part = stream:read_some(2)
    if not part then return end
    add(part)
  end
end)

local read_lines = reading(function(stream, add)
  for line in stream:lines "L" do add(line) end
end)

-- ---- writing --------------------------------------------------------------------------

-- Three write more than there is room for.  What has been given to write is sent in one
-- piece and in the order of the calls, also when its writer is cancelled while it waits.
local function write_under_pressure(case)
  local a, b <close> = narrow_pair {high_water = 1000}
  local given, got = {}, {}
  local writers = spawn_each(3, function(i)
    for round = 1, 2 do
      local piece = tostring(i * 2 + round):rep(5000)
      table.insert(given, piece)
      if i == 2 then
        lull.timeout(round, a.write, a, piece)
      else
        assert(a:write(piece))
      end
    end
  end)
  when_done(writers, function() a:close() end)
  local reader = lull.spawn(function()
    lull.sleep(2)
    while true do
      local part = b:read_some()
      if not part then return end
      table.insert(got, part)
    end
  end)
  local _ <close> = at_last(function()
    await_all {reader}
    table.insert(got, b:read "a")
    await_all(writers)
    assert(table.concat(got) == table.concat(given))
    assert(case.cancelled or #given == 6)
  end)
end

-- What has been flushed arrives, though the rest is dropped.
local function flush_and_abort()
  local a, b <close> = narrow_pair()
  local given, flushed, got = "", 0, {}
  local tasks = spawn_each(3, function(i)
    lull.sleep(i % 2)
    given = given .. tostring(i):rep(3000)
    local mine = #given
    assert(a:write(tostring(i):rep(3000)))
    lull.sleep(i % 2)
    if i ~= 2 or lull.timeout(1, a.flush, a) then
      assert(a:flush())
      flushed = math.max(flushed, mine)
    end
  end)
  when_done(tasks, function() a:abort() end)
  local _ <close> = at_last(function()
    while true do
      local part = b:read_some(700)
      if not part then break end
      table.insert(got, part)
    end
    await_all(tasks)
    local text = table.concat(got)
    assert(#text >= flushed, "flushed, and lost")
    assert(given:sub(1, #text) == text)
  end)
end

local function half_closed(case)
  local ends, got, given = {new_pair()}, {"", ""}, {"", ""}
  local tasks = spawn_each(2, function(i)
    local stream <close> = ends[i]
    for n = 1, 2 do
      given[i] = given[i] .. n .. "\n"
      assert(stream:write(n, "\n"))
      lull.sleep(i - 1)
    end
    assert(stream:shutdown "write")
    for line in stream:lines "L" do got[i] = got[i] .. line end
    assert(case.cancelled or stream:read "a" == "")
  end)
  for i, task in ipairs(tasks) do
    when_done({task}, function() ends[i]:close() end)
  end
  case:finally(function()
    for i = 1, 2 do
      assert(given[3 - i]:sub(1, #got[i]) == got[i])
      assert(case.cancelled or got[i] == "1\n2\n")
    end
  end)
end

-- Whoever waits on a stream is told when it is closed.
local function close_wakes(case)
  local a, b <close> = narrow_pair {high_water = 1000}
  local closed, told = false, 0
  local function close()
    closed = true
    a:close()
  end
  local function wait_in(method, ...)
    if closed then return end
    local _, message, code = a[method](a, ...)
    assert(code == "ECANCELED" or case.cancelled, message)
    told = told + 1
  end
  lull.spawn(wait_in, "read")
  lull.spawn(wait_in, "write", ("x"):rep(20000))
  lull.spawn(function()
    lull.sleep(1)
    wait_in "flush"
  end)
  local closer = lull.spawn(function()
    lull.sleep(2)
    close()
  end)
  when_done({closer}, close)
  local _ <close> = at_last(function()
    await_all {closer}
    local rest = b:read "a"
    assert(case.cancelled or rest == ("x"):rep(20000))
  end)
  case:finally(function() assert(case.cancelled or told == 3) end)
end

-- ---- relays ---------------------------------------------------------------------------

local numbers = {}
for i = 1, 3000 do numbers[i] = ("%05d"):format(i) end
local text_of_numbers = table.concat(numbers)

-- Several relay in turn, each for a while or for some bytes; what one has read and could
-- not write any more is written nevertheless.
local function relay_in_turn(case)
  local a, b <close> = narrow_pair()
  local c, d <close> = narrow_pair {high_water = 1000}
  local turn, given, got = lull.lock(), 0, {}
  local writer = lull.spawn(function()
    for at = 1, #text_of_numbers, 5000 do
      given = at + 4999
      assert(a:write(text_of_numbers:sub(at, given)))
      lull.sleep(at // 5000 % 2)
    end
  end)
  when_done({writer}, function() a:close() end)
  local relays = spawn_each(3, function(i)
    local _ <close> = turn:acquire()
    lull.timeout(i / 2, b.relay, b, c, i == 2 and 4000 or nil)
  end)
  when_done(relays, function()
    when_done({lull.spawn(b.relay, b, c)}, function() c:close() end)
  end)
  local _ <close> = at_last(function()
    lull.sleep(1)
    while true do
      local part = d:read_some(3000)
      if not part then break end
      table.insert(got, part)
    end
    await_all {writer}
    local text = table.concat(got) .. b:read "a"
    assert(text == text_of_numbers:sub(1, given), #text .. " of " .. given)
    assert(case.cancelled or #text == #text_of_numbers)
  end)
end

-- ---- listeners ------------------------------------------------------------------------

local function listen_tcp()
  local listener = assert(net.listen("127.0.0.1", 0))
  local _, port = listener:local_address()
  return listener, function()
    return net.connect("127.0.0.1", port, {timeout = false})
  end
end

local names = 0

local function listen_unix()
  names = names + 1
  local name = ("\0lull-sweep-%p-%d"):format(numbers, names)
  local listener = guard(assert(net.listen_unix(name)))
  return listener, function() return net.connect_unix(name, {timeout = false}) end
end

local function any_survives(tasks)
  for _, task in ipairs(tasks) do
    if not task:cancelled() then return true end
  end
  return false
end

-- Three accept, four connect.  As long as anybody accepts everybody is served.
local function accepting(listen)
  return function(case)
    local listener, connect = listen()
    local served, answered = 0, 0
    local servers = spawn_each(3, function()
      while true do
        local stream <close> = listener:accept()
        if not stream then return end
        served = served + 1
        stream:write "hello"
      end
    end)
    local function ask()
      local stream <close>, message = connect()
      if not stream then return nil, message end
      return stream:read "a"
    end
    local clients = spawn_each(4, function()
      local answer, message = ask()
      assert(answer == "hello" or not any_survives(servers), message or answer)
      if answer == "hello" then answered = answered + 1 end
    end)
    when_done(servers, function() listener:close() end)
    when_done(clients, function() listener:close() end)
    case:finally(function()
      assert(answered <= served)
      assert(case.cancelled or answered == 4)
    end)
  end
end

-- Handlers that take their time, one of which fails; the listener is closed while they
-- work.  Nobody is at work once serve has ended.
local function serving(opts)
  return function(case)
    local listener, connect = listen_unix()
    local inside, over, errors, answers = 0, false, 0, 0
    case:always(function() assert(not over or inside == 0, "left with handlers") end)
    local function handler(stream)
      inside = inside + 1
      local _ <close> = lull.defer(function() inside = inside - 1 end)
      local line = stream:read()
      lull.sleep(tonumber(line) or 0)
      if line == "1" then error("boom", 0) end
      stream:write("answer to ", line or "nobody", "\n")
    end
    local function on_error(err)
      assert(err == "boom", err)
      errors = errors + 1
    end
    local server = lull.spawn(function()
      local _ <close> = lull.defer(function() over = true end)
      return listener:serve(handler, {
        grace = opts.grace, max_connections = opts.max_connections, on_error = on_error,
      })
    end)
    when_done({server}, function() listener:close() end)
    local clients = spawn_each(4, function(i)
      local stream <close> = connect()
      if not stream or not stream:write(i - 1, "\n") then return end
      local answer = stream:read()
      assert(not answer or answer == "answer to " .. i - 1, answer)
      if answer then answers = answers + 1 end
    end)
    local _ <close> = lull.defer(listener.close, listener)
    if opts.patient then await_all(clients) else lull.sleep(2.5) end
    case:finally(function()
      assert(errors <= 1)
      assert(case.cancelled or errors == 1 and answers == opts.answers, answers)
    end)
  end
end

-- ---- sockets --------------------------------------------------------------------------

local function receive_all(socket, list)
  repeat
    local part = socket:recv(3000)
    table.insert(list, part)
  until not part
end

-- A cancelled send has sent nothing, a cancelled recv has taken nothing.
local function send_and_recv(case)
  local a, b <close> = narrow_sockets()
  local turn, sent, got = lull.lock(), 0, {}
  local senders = spawn_each(2, function()
    while sent < #text_of_numbers do
      local _ <close> = turn:acquire()
      local part = text_of_numbers:sub(sent + 1, sent + 4000)
      if part ~= "" then sent = sent + assert(a:send(part)) end
    end
  end)
  when_done(senders, function() a:close() end)
  local receiving = lull.lock()
  local readers = spawn_each(2, function(i)
    while true do
      local _ <close> = receiving:acquire()
      local part, _, code = lull.timeout(i, b.recv, b, 3000)
      if part then table.insert(got, part) elseif code ~= "ETIMEDOUT" then return end
      lull.sleep(i - 1)
    end
  end)
  local _ <close> = at_last(function()
    await_all(readers)
    receive_all(b, got)
    await_all(senders)
    assert(table.concat(got) == text_of_numbers:sub(1, sent))
    assert(case.cancelled or sent == #text_of_numbers)
  end)
end

-- What a cancelled sendall leaves is the beginning of its data.
local function sendall(case)
  local a, b <close> = narrow_sockets()
  local whole, got = false, {}
  local sending = lull.spawn(function()
    assert(a:sendall(text_of_numbers))
    whole = true
  end)
  when_done({sending}, function() a:close() end)
  local _ <close> = at_last(function()
    receive_all(b, got)
    local text = table.concat(got)
    assert(text == text_of_numbers:sub(1, #text))
    assert(#text == #text_of_numbers or not whole and case.cancelled)
  end)
end

local function bare_sockets(case)
  local listener = assert(net.socket "inet")
  assert(listener:bind("127.0.0.1", 0))
  assert(listener:listen(8))
  local _, port = listener:local_address()
  local answered = 0
  local servers = spawn_each(2, function()
    while true do
      local socket <close> = listener:accept()
      if not socket then return end
      local question = socket:recv(100)
      if question then socket:sendall(question) end
    end
  end)
  local clients = spawn_each(3, function(i)
    local socket <close> = assert(net.socket "inet")
    if not socket:connect("127.0.0.1", port) then return end
    if not socket:sendall("question " .. i) then return end
    local answer = socket:recv(100)
    if answer then
      assert(answer == "question " .. i)
      answered = answered + 1
    end
  end)
  when_done(servers, function() listener:close() end)
  when_done(clients, function() listener:close() end)
  case:finally(function() assert(case.cancelled or answered == 3) end)
end

return {
  {"reads in all formats", read_in_all_formats},
  {"reads of all", read_all},
  {"reads of some", read_some},
  {"lines", read_lines},
  {"writes under pressure", write_under_pressure},
  {"flush and abort", flush_and_abort},
  {"half-closed streams", half_closed},
  {"close wakes", close_wakes},
  {"relays in turn", relay_in_turn},
  {"accept over TCP", accepting(listen_tcp)},
  {"accept over unix sockets", accepting(listen_unix)},
  {"serve", serving {patient = true, answers = 3}},
  {"serve with grace", serving {grace = 0.1, answers = 2}},
  {"serve few at a time", serving {max_connections = 2, patient = true, answers = 3}},
  {"send and recv", send_and_recv},
  {"sendall", sendall},
  {"bare sockets over TCP", bare_sockets},
}
