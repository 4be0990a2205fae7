-- Scenarios for spec/oom.c: what a script does with lull, one room after the other.  One
-- that comes to its end must have seen what it should, in spite of memory that ran out on
-- the way; it may fail only with that.  On the virtual clock, on the loopback.
local lull = require "lull"
local net = require "lull.net"

local function same(expected, got)
  if expected ~= got then
    error(("expected %s, got %s"):format(tostring(expected), tostring(got)), 2)
  end
end

local function is_memory(err)
  local text = type(err) == "string" and err or ""
  return (text:find("not enough memory", 1, true) or text:find("ENOMEM", 1, true)) ~= nil
end

-- The error that fn must raise; want of memory passes.
local function failure(fn, ...)
  local ok, err = pcall(fn, ...)
  if ok then error("it should have failed", 2) end
  if is_memory(err) then error(err, 0) end
  return err
end

-- A failure of the world that is none but want of memory raises.
local function code_of(_, message, code)
  if is_memory(message) then error(message, 0) end
  return code
end

local scenarios = {}

function scenarios.tasks()
  local order = {}
  local function worker(name, seconds)
    lull.sleep(seconds)
    order[#order + 1] = name
    return name, seconds
  end
  local a, b = lull.spawn(worker, "a", 2), lull.spawn(worker, "b", 1)
  a:name "first"
  local failing = lull.spawn(function()
    lull.sleep(2)
    error("broken", 0)
  end)
  local name, seconds = a:await()
  same("a2", name .. seconds)
  same("b", (b:await()))
  same("b a", table.concat(order, " "))
  same("broken", failure(failing.await, failing))
  same("string", type(failing:traceback()))
  same(true, tostring(a):find '"first"' ~= nil)
  for _ = 1, 20 do lull.spawn(lull.sleep, 1):daemon() end
  lull.sleep(0)
  same(21, #lull.tasks())
end

function scenarios.cancellation()
  local cleaned = 0
  local function stubborn()
    local _ <close> = lull.defer(function()
      lull.shield(lull.sleep, 1)
      cleaned = cleaned + 1
    end)
    pcall(lull.sleep, 100)
    lull.sleep(100)
  end
  local t, u = lull.spawn(stubborn), lull.spawn(stubborn)
  lull.sleep(1)
  t:cancel "no more"
  u:cancel()
  same("ECANCELED: no more", tostring(failure(t.await, t)))
  same("ECANCELED: cancelled", tostring(failure(u.await, u)))
  same(2, cleaned)
  local never = lull.spawn(error, "never run")
  never:cancel()
  same("ECANCELED: cancelled", tostring(failure(never.await, never)))
end

function scenarios.scopes()
  same("ETIMEDOUT", code_of(lull.timeout(1, lull.sleep, 2)))
  same("done", lull.timeout(2, function() lull.sleep(1) return "done" end))
  same("ECANCELED", code_of(lull.scope(function(s)
    lull.timeout(5, function()
      s:cancel "enough"
      lull.sleep(1)
    end)
  end)))
  local err = failure(function()
    local _ <close> = lull.scope(1)
    lull.sleep(2)
  end)
  same("ETIMEDOUT", lull.code(err))
  same("kept", lull.scope(1, function()
    return lull.shield(function() lull.sleep(2) return "kept" end)
  end))
end

function scenarios.protocols()
  local protocol = require "lull.protocol"
  local lost = {client = false, server = false}
  local function ending(name)
    return function(_, err)
      assert(not lost[name], "lost twice")
      lost[name] = err or true
    end
  end
  local listener <close> = assert(protocol.listen(function()
    return {
      connection_made = function(self, transport) self.transport = transport end,
      data_received = function(self, data) self.transport:write(data) end,
      connection_lost = ending "server",
    }
  end, "127.0.0.1", 0))
  local got = ""
  local client = {connection_lost = ending "client"}
  function client.data_received(_, data) got = got .. data end
  local transport, _, code = protocol.connect(function() return client end,
    listener:local_address())
  if not transport then return code end
  transport:write("quest", "ion")
  for turn = 1, 1000 do
    if got == "question" or lost.client or lost.server then break end
    assert(turn < 1000, "nothing moves any more")
    lull.sleep(1)
  end
  if got ~= "question" then error("not enough memory", 0) end
  transport:close()
  while not lost.client do lull.sleep(1) end
  same(true, lost.client)
end

function scenarios.futures()
  local f, g = lull.future(), lull.future()
  local called
  f:add_done_callback(function(x) called = x:result() end)
  local waiting = {}
  for i = 1, 5 do waiting[i] = lull.spawn(f.await, f) end
  lull.sleep(1)
  f:set_result("tea", 2)
  for i = 1, 5 do same("tea", (waiting[i]:await())) end
  same("tea", called)
  g:set_error {"an object"}
  local err = failure(g.await, g)
  same("an object", type(err) == "table" and err[1] or err)
  same("called back", lull.await_callback(function(done)
    lull.loop():call_later(1, done, "called back")
  end))
  local lazy = setmetatable({}, {__await = function() lull.sleep(1) return "lazy" end})
  same("lazy", lull.await(lazy))
end

function scenarios.generators()
  local closed = 0
  local function numbers(n)
    local _ <close> = lull.defer(function()
      lull.sleep(0)
      closed = closed + 1
    end)
    for i = 1, n do
      lull.sleep(1)
      coroutine.yield(i)
    end
  end
  local sum = 0
  for v in lull.generator(numbers, 3) do sum = sum + v end
  for v in lull.generator(numbers, 9) do
    if v == 2 then break end
  end
  for v in coroutine.wrap(function() numbers(4) end) do sum = sum + v end
  same(16, sum)
  same(3, closed)
  local co = coroutine.create(function()
    lull.timeout(2, function() coroutine.yield(lull.sleep(1)) end)
  end)
  assert(coroutine.resume(co))
  assert(coroutine.close(co))
  local ticks = 0
  for n in lull.every(1) do
    ticks = n
    if n == 3 then break end
  end
  same(3, ticks)
end

function scenarios.groups()
  local function after(seconds, ...)
    lull.sleep(seconds)
    return ...
  end
  local t = lull.gather {
    x = function() return after(2, "x") end,
    y = lull.spawn(after, 1, "y"),
  }
  same("xy", t.x .. t.y)
  local index, value = lull.race(function() return after(2, "slow") end,
    function() return after(1, "quick") end)
  same("2quick", index .. value)
  local count = 0
  lull.group({limit = 2}, function(g)
    for i = 1, 5 do
      g:spawn(function()
        lull.sleep(i)
        count = count + 1
      end)
    end
  end)
  same(5, count)
  local cleaned = 0
  same("child", failure(function()
    local g <close> = lull.group()
    g:spawn(function()
      local _ <close> = lull.defer(function() cleaned = cleaned + 1 end)
      lull.sleep(10)
    end)
    g:spawn(function() lull.sleep(1) error("child", 0) end)
    lull.sleep(20)
  end))
  same(1, cleaned)
  local list = {lull.spawn(after, 2, "c"), lull.spawn(after, 1, "d")}
  local done, pending = lull.wait(list, {return_when = "first"})
  same("11", #done .. #pending)
  local heard = ""
  for future in lull.as_completed(list) do heard = heard .. future:result() end
  same("dc", heard)
end

function scenarios.primitives()
  local queue, lock, event = lull.queue(2), lull.lock(), lull.event()
  local var, semaphore = lull.task_local "none", lull.semaphore(2)
  local got, inside = 0, 0
  local tasks = {}
  for i = 1, 3 do
    tasks[i] = lull.spawn(function()
      var:set(i)
      event:wait()
      for item in queue:items() do
        local _ <close> = lock:acquire()
        lull.sleep(0)
        got = got + item
        queue:task_done()
      end
      semaphore:acquire():close()
      same(i, var:get())
      inside = inside + 1
    end)
  end
  event:set()
  for i = 1, 10 do same(true, (queue:put(i))) end
  queue:join()
  queue:close()
  for i = 1, 3 do tasks[i]:await() end
  same(55, got)
  same(3, inside)
  local condition, barrier, ready = lull.condition(), lull.barrier(2), false
  local t = lull.spawn(function()
    local _ <close> = condition:acquire()
    condition:wait_for(function() return ready end)
    return barrier:wait()
  end)
  lull.sleep(0)
  do
    local _ <close> = condition:acquire()
    ready = true
    condition:notify_all()
  end
  same(3, barrier:wait() + t:await())
  local heap = lull.priority_queue()
  for _, v in ipairs {3, 1, 2} do heap:put(v) end
  same("123", heap:get() .. heap:get() .. heap:get())
end

-- Whatever could be put is there, though making room failed or comparing did.
function scenarios.queues()
  for _, make in ipairs {lull.queue, lull.lifo_queue, lull.priority_queue} do
    local q, sum, worst = make(20), 0, nil
    local function put(v)
      local ok, err = pcall(q.put, q, v)
      if ok then sum = sum + v else worst = err end
    end
    local putter = lull.spawn(function()
      for v = 1, 30 do put(v) end
      q:close()
    end)
    local getter = lull.spawn(function()
      for v in q:items() do sum = sum - v end
    end)
    local ok, err = pcall(function()
      putter:await()
      getter:await()
    end)
    if ok then same(0, sum) end
    if worst or not ok then error(worst or err, 0) end
  end
end

local function pair()
  local a, b, code = net.pair()
  return lull.check(a, b, code), b
end

local function echo(stream)
  for line in stream:lines() do lull.check(stream:write(line, "\n")) end
  lull.check(stream:write "bye\n")
end

-- Whoever fails in a group ends the waiting of the others.

function scenarios.echo()
  lull.group(function(g)
    local listener <close> = lull.check(net.listen("127.0.0.1", 0))
    g:spawn(function() lull.check(listener:serve(echo)) end)
    local host, port = listener:local_address()
    for i = 1, 3 do
      local stream <close> = lull.check(net.connect(host, port))
      for j = 1, 3 do
        local line = ("%d %d "):format(i, j):rep(20)
        lull.check(stream:write(line, "\n"))
        same(line, lull.check(stream:read()))
      end
      lull.check(stream:shutdown "write")
      same("bye\n", lull.check(stream:read "a"))
    end
  end)
end

-- What waits to be sent has a place made for it, and so has the transport.
function scenarios.backlogs()
  local protocol = require "lull.protocol"
  local a, b <close> = pair()
  local lost, full
  local transport = protocol.wrap(function()
    return {
      pause_writing = function() full = true end,
      connection_lost = function(_, err) lost = err or true end,
    }
  end, a)
  transport:set_write_buffer_limits {high = 1000}
  local data = ("0123456789abcdef"):rep(1 << 16)
  transport:write(data)
  transport:close()
  local got, message = b:read "a"
  if is_memory(message) then error(message, 0) end
  for turn = 1, 1000 do
    if lost then break end
    assert(turn < 1000, "nothing moves any more")
    lull.sleep(1)
  end
  if lost ~= true then error(lost, 0) end
  same(true, full)
  same(data, got)
end

function scenarios.streams()
  local a <close>, b = pair()
  local piece = ("0123456789abcdef"):rep(1024)
  lull.group(function(g)
    g:spawn(function()
      for _ = 1, 24 do lull.check(a:write(piece)) end
      lull.check(a:write "\r\n\r\n")
      lull.check(a:flush())
      lull.check(a:shutdown "write")
    end)
    lull.sleep(1)
    same(#piece, #lull.check(b:read_exactly(#piece)))
    same(#piece * 23 + 4, #lull.check(b:read_until "\r\n\r\n"))
    same(nil, lull.check(b:read()))
  end)
  lull.check(b:write("x", 12, "\n"))
  same("x12", lull.check(a:read()))
  a:settimeout(1)
  same("ETIMEDOUT", code_of(a:read()))
  b:close()
end

function scenarios.relay()
  local a <close>, b = pair()
  local c, d <close> = pair()
  local data = ("relay"):rep(50000)
  lull.group(function(g)
    g:spawn(function()
      lull.check(a:write(data))
      lull.check(a:shutdown "write")
    end)
    g:spawn(function()
      same(#data, lull.check(b:relay(c)))
      c:close()
      b:close()
    end)
    same(data, lull.check(d:read "a"))
  end)
end

local PEM = debug.getinfo(1, "S").source:match "^@(.*/)" .. "../../examples/localhost.pem"

function scenarios.tls()
  local data = ("0123456789abcdef"):rep(2000)
  lull.group(function(g)
    local a, b = lull.check(net.pair {high_water = 1000})
    g:spawn(function()
      local server <close> = b
      lull.check(server:starttls {server = true, cert_file = PEM, alpn = {"x"}})
      same("hello", lull.check(server:read()))
      lull.check(server:write(data, "\n", data))
      same(nil, server:read())
    end)
    local client <close> = a
    lull.check(client:starttls {ca_file = PEM, server_name = "localhost", alpn = {"x"}})
    local info = client:tls_info()
    same("x", info.alpn)
    same(true, info.verified)
    lull.check(client:write "hello\n")
    lull.check(client:flush())
    same(data, lull.check(client:read()))
    same(data, lull.check(client:read(#data)))
    lull.check(client:shutdown "write")
    same(nil, client:read())
  end)
  local opts = {tls = {cert_file = PEM}}
  local listener <close> = lull.check(net.listen("127.0.0.1", 0, opts))
  local _ <close> = lull.spawn(listener.serve, listener, function(stream)
    stream:write(stream:read(), "\n")
  end, {on_error = function(err) if not is_memory(err) then error(err, 0) end end})
  local _, port = listener:local_address()
  for _ = 1, 2 do
    -- who serves may have found no memory, once for all or for this connection
    local stream <close> = net.connect("127.0.0.1", port, {
      timeout = 5, tls = {ca_file = PEM},
    })
    local line = stream and stream:write "hello\n" and stream:read()
    if not line then error("not enough memory", 0) end
    same("hello", line)
  end
end

function scenarios.sockets()
  lull.group(function(g)
    local server <close> = lull.check(net.socket("inet", "stream"))
    lull.check(server:bind("127.0.0.1", 0))
    lull.check(server:listen(5))
    local host, port = server:local_address()
    g:spawn(function()
      local peer <close> = lull.check(server:accept())
      local data = lull.check(peer:recv(100))
      lull.check(peer:sendall(data:upper()))
    end)
    local client <close> = lull.check(net.socket("inet", "stream"))
    lull.check(client:connect(host, port))
    same(5, lull.check(client:send "hello"))
    same("HELLO", lull.check(client:recv(100)))
  end)
  local closed = lull.check(net.listen("127.0.0.1", 0))
  local host, port = closed:local_address()
  closed:close()
  same("ECONNREFUSED", code_of(net.connect(host, port)))
end

function scenarios.callbacks()
  local loop, log = lull.loop(), {}
  local function note(x) log[#log + 1] = x end
  loop:call_later(2, note, "later")
  loop:call_soon(note, "soon")
  loop:call_at(loop:time() + 1, note, "at")
  loop:call_later(1, note, "never"):cancel()
  lull.sleep(3)
  same("soon at later", table.concat(log, " "))
  local selector <close> = lull.check(lull.selectors.poll())
  same(0, #selector:select(0))
end

-- Whoever was to be told of it hears of the failure that nobody looked at.
function scenarios.unhandled(reports)
  lull.spawn(error, "nobody looks")
  lull.sleep(4)
  for _, err in ipairs(reports) do
    if is_memory(err) then error(err, 0) end
  end
  same("nobody looks", tostring(table.remove(reports)):match "nobody looks")
end

-- A name server that knows one name, "a"; whatever else it is asked is not there.
local function name_server()
  local server = lull.check(net.udp("127.0.0.1", 0))
  local _, port = server:local_address()
  lull.spawn(function()
    while true do
      local packet, from, to = server:recvfrom()
      if not packet then return end
      local question = packet:sub(13, -1)
      local known = question:byte(2) == 97 and question:byte(-3) == 1
      local answer = known and "\xC0\x0C\0\1\0\1\0\0\0\60\0\4\127\0\0\1" or ""
      local flags = question:byte(2) == 97 and "\x81\x80" or "\x81\x83"
      lull.check(server:sendto(packet:sub(1, 2) .. flags .. "\0\1\0" ..
        (known and "\1" or "\0") .. "\0\0\0\0" .. question .. answer, from, to))
    end
  end):daemon()
  return server, {servers = {"127.0.0.1:" .. port}, search = {"test"}}
end

function scenarios.names()
  local server <close>, opts = name_server()
  same("127.0.0.1", lull.check(net.resolve("a", opts))[1].host)
  same("EAI_NONAME", code_of(net.resolve("b", opts)))
  same("127.0.0.1", lull.check(net.resolve("localhost", {family = "inet"}))[1].host)
  opts.timeout = 0
  same("ETIMEDOUT", code_of(net.resolve("a", opts)))
  opts.timeout = nil
  local given_up = lull.spawn(net.resolve, "a", opts)
  lull.sleep(0)
  given_up:cancel()
  same(false, (pcall(given_up.await, given_up)))
  server:close()
  opts.attempts = 2
  same("EAI_AGAIN", code_of(net.resolve("a", opts)))
end

function scenarios.addresses()
  local listener <close> = lull.check(net.listen("127.0.0.1", 0))
  local _, port = listener:local_address()
  local hosts = {}
  for i = 1, 4 do hosts[i] = {host = "127.0.0." .. 5 - i, family = "inet"} end
  local stream, message = require("lull.connect").first(hosts, port, {}, nil, 0.25)
  lull.check(stream, message)
  local _ <close> = stream
  same("127.0.0.1", (stream:peer()))
end

function scenarios.datagrams()
  local a <close> = lull.check(net.udp("127.0.0.1", 0))
  local b <close> = lull.check(net.udp("*", 0, {ttl = 9}))
  local _, a_port = a:local_address()
  local _, b_port = b:local_address()
  local reader = lull.spawn(b.recvfrom, b)
  lull.sleep(0)
  lull.check(a:sendto("one", "127.0.0.1", b_port))
  same("one", (lull.check(reader:await())))
  lull.check(b:sendto("longer", "localhost", a_port))
  same("truncated", select(4, lull.check(a:recvfrom(2))))
  same("datagram", tostring(a):match "^%a+")
end

function scenarios.descriptors()
  local a, b = lull.check(require("lull.core").pair "dgram")
  local _ <close> = lull.defer(function()
    a:close()
    b:close()
  end)
  for n = 1, 3 do
    local list = {}
    for i = 1, n do list[i] = i % 2 == 0 and a or 0 end
    lull.check(a:sendmsg("x", list))
    local data, fds = lull.check(b:recvmsg(10, 2))
    same("x", data)
    same(math.min(n, 2), #fds)
    for _, fd in ipairs(fds) do -- ours to close, come what may
      local ok, socket
      repeat ok, socket = pcall(net.adopt, fd) until ok
      socket:close()
    end
  end
end

function scenarios.processes()
  local process = require "lull.process"
  local p <close>, why = process.spawn({"cat"}, {stdin = "pipe", stdout = "pipe"})
  if not p then error(why, 0) end
  lull.check(p.stdin:write "hello\n")
  same("hello", lull.check(p.stdout:read()))
  p.stdin:close()
  same(0, p:wait())
  local r, message = process.run({"sh", "-c", "cat; echo err >&2"}, {input = "input"})
  if not r then error(message, 0) end
  same("inputerr\n", r.stdout .. r.stderr)
  r, message = process.run({"cat"}, {clear_env = true, env = {A = "1"}, grace = 1})
  if not r then error(message, 0) end
  local code = code_of(process.spawn {"/nowhere/at/all"})
  same("ENOENT", code)
  local q <close>, because = process.spawn({"cat"}, {stdin = "pipe"})
  if not q then error(because, 0) end
end

function scenarios.signals()
  local signal = require "lull.signal"
  local _, _, _, _ <close> = signal.each("SIGUSR1", "SIGUSR2") -- else they kill
  local waiting <close> = lull.spawn(signal.wait, "SIGUSR1")
  lull.sleep(1)
  signal.raise "SIGUSR1"
  same("SIGUSR1", (waiting:await()))
  signal.raise "SIGUSR1"
  same("SIGUSR1", signal.wait("SIGUSR1", "SIGUSR2"))
  lull.loop():call_later(1, signal.raise, "SIGUSR2")
  local next_one, _, _, _ <close> = signal.each "SIGUSR2"
  same("SIGUSR2", next_one())
end

-- Nothing is made that would stay behind when there is no memory to remove it.
function scenarios.files()
  local fs = require "lull.fs"
  do
    local zero <close> = assert(fs.open "/dev/zero")
    same(3, #assert(zero:read(3)))
    same(100000, #assert(zero:read(100000)))
    same(0, zero:seek "set")
    local other = lull.spawn(zero.read, zero, 10)
    same(10, #assert(zero:read(10)))
    same(10, #assert(other:await()))
  end
  local null = assert(fs.open("/dev/null", "w"))
  assert(null:write("some", 1, 1.5, ("x"):rep(40000)))
  assert(null:write(("y"):rep(200000)))
  same(true, assert(null:flush()))
  same(true, assert(null:close()))
  same("char", assert(fs.stat "/dev/null").type)
  same("ENOENT", code_of(fs.open "/dev/null-and-void"))
  same(true, #assert(fs.read_file "/proc/self/stat") > 20)
  local n = 0
  for name, type in fs.scandir "/proc/self/task" do
    same("directory", type)
    n = n + tonumber(name)
  end
  same(true, n > 0)
end

function scenarios.watches()
  local fs = require "lull.fs"
  local watch <close> = assert(fs.watch("/proc/self", {debounce = 1}))
  same("ETIMEDOUT", code_of(lull.timeout(1, watch.next, watch)))
  local waiting = lull.spawn(watch.next, watch)
  lull.sleep(0)
  watch:close()
  same(nil, (waiting:await()))
end

function scenarios.deadlock()
  local inner = lull.new_loop {clock = "virtual"}
  local _ <close> = inner
  local err = failure(inner.run_until_complete, inner, function()
    local f = lull.future()
    lull.spawn(function() f:await() end):name "one"
    f:await()
  end)
  same(true, tostring(err):find("deadlock", 1, true) ~= nil)
end

function scenarios.modules()
  package.preload["oom.module"] = function()
    lull.sleep(1)
    return {"module"}
  end
  package.loaded["oom.module"] = nil
  local t = lull.spawn(require, "oom.module")
  local module = require "oom.module"
  same("module", module[1])
  same(module, (t:await()))
end

-- What nobody has looked at; noting it needs no memory.
-- The memory of a thread is its own; what runs out is that of who talks to it.
function scenarios.threads()
  local thread = lull.thread
  local twice, list = thread.call(function(n, t) return 2 * n, { t, t } end, 4, { "x" })
  same(8, twice)
  same(list[1], list[2])
  same("broken", failure(thread.call, function() error("broken", 0) end))
  local t <close> = assert(thread.spawn(function()
    local inside = require "lull.thread"
    for v in inside.receive do inside.send(v) end
    error({ 1 }, 0)
  end))
  -- who watches over it may have no memory either: then it has been interrupted
  local function receive() return t:receive() or t:await() end
  local receiver = lull.spawn(receive)
  for i = 1, 3 do
    if not t:send { i, ("x"):rep(300 * i) } then t:await() end
  end
  same(1, receiver:await()[1])
  same(2, receive()[1])
  t:finish()
  same(3, receive()[1])
  same(nil, t:receive())
  same(1, failure(t.await, t)[1])
end

local core, reports = require "lull.core", nil

local function note(err)
  reports[#reports + 1] = err
end
core.print_failure = note

-- run (name) -> true | false[, why]: with a loop of its own, as a user's program would.
-- What has been reported counts as told.
local function run(name)
  reports = {nil, nil, nil, nil, nil, nil, nil, nil}
  local loop <close> = lull.new_loop {clock = "virtual"}
  loop:on_unhandled(note)
  local ok, err = pcall(loop.run, loop, scenarios[name], reports)
  if ok and #reports == 0 or is_memory(err) then return ok end
  for _, report in ipairs(reports) do
    if is_memory(report) then return false end
  end
  return false, tostring(ok and reports[1] or err)
end

-- Loaded before: how modules come in when memory is short is another scenario.
for _, name in ipairs {"lock", "queue", "task_local", "gather", "process", "signal",
                       "thread", "fs"} do
  assert(lull[name])
end

local names = {}
for name in pairs(scenarios) do names[#names + 1] = name end
table.sort(names)
return run, names
