-- loops_from_nothing.lua: three event loops in plain Lua, each wiser than the last.
--
--   ./run examples/loops_from_nothing.lua
--
-- A loop resumes coroutines, and what they yield tells what they wait for: there are no
-- futures here and no tasks.  Of lull these loops use a clock, a selector, and sockets
-- with the timeout 0, which do what can be done now and never wait.  The program at the
-- end is the same for all three.

local lull = require "lull"
local net = require "lull.net"

local clock = lull.time                      -- lull.now() belongs to the loop underneath

-- Lets a coroutine run until it waits again; what for, or nil when it has ended.
local function resume(thread)
  local ok, wish = coroutine.resume(thread)
  return assert(ok, wish) and wish
end

-- The seconds until the first of the moments at which coroutines want to be resumed.
local function patience(waiting)
  local first = math.huge
  for _, moment in pairs(waiting) do first = math.min(first, moment) end
  return first < math.huge and math.max(0, first - clock()) or nil
end

-- 1. A loop that only knows moments.  Whoever waits for bytes has to ask again and again.

local function moments()
  local loop, waiting = {}, {}               -- waiting: coroutine -> moment
  local selector = lull.selectors.default()  -- without descriptors, a way to sleep

  function loop.spawn(fn) waiting[coroutine.create(fn)] = clock() end

  function loop.sleep(seconds) coroutine.yield(clock() + seconds) end

  function loop.receive(socket, n)
    local data, err, code = socket:recv(n)
    if code ~= "ETIMEDOUT" then return data, err end
    loop.sleep(0.001)
    return loop.receive(socket, n)
  end

  function loop.run()
    while next(waiting) do
      selector:select(patience(waiting))
      for thread, moment in pairs(waiting) do
        if moment <= clock() then waiting[thread] = resume(thread) end
      end
    end
    selector:close()
  end

  return loop
end

-- 2. A loop that knows moments and readable descriptors.  It sleeps in the selector until
-- one or the other has come; receive() is then called when there is something to receive.

local function descriptors()
  local loop, waiting, selector = {}, {}, lull.selectors.default()

  function loop.spawn(fn) waiting[coroutine.create(fn)] = clock() end

  function loop.sleep(seconds) coroutine.yield(clock() + seconds) end

  function loop.receive(socket, n)
    coroutine.yield(socket)
    return socket:recv(n)
  end

  -- To wait for a socket is to wait for a moment that never comes, and to be registered.
  local function run_once(thread)
    local wish = resume(thread)
    if wish and type(wish) ~= "number" then
      selector:register(wish:fileno(), "r", thread)
      wish = math.huge
    end
    waiting[thread] = wish
  end

  function loop.run()
    while next(waiting) do
      for _, event in ipairs(selector:select(patience(waiting))) do
        selector:unregister(event.fd)
        waiting[event.data] = clock()
      end
      for thread, moment in pairs(waiting) do
        if moment <= clock() then run_once(thread) end
      end
    end
    selector:close()
  end

  return loop
end

-- 3. The same, but receive() tries first: bytes that are there already cost no waiting.

local function trying()
  local loop = descriptors()
  local wait_and_receive = loop.receive

  function loop.receive(socket, n)
    local data, err, code = socket:recv(n)
    if code ~= "ETIMEDOUT" then return data, err end
    return wait_and_receive(socket, n)
  end

  return loop
end

-- The program: 32 KiB are read as they come, while somebody else keeps ticking.

local SIZE, PIECE = 32 * 1024, 4 * 1024

local function connected_sockets()
  local server <close> = assert(net.socket("inet", "stream"))
  assert(server:bind("127.0.0.1", 0))
  assert(server:listen(1))
  local client = assert(net.socket("inet", "stream"))
  assert(client:connect(server:local_address()))
  local accepted = assert(server:accept())
  client:settimeout(0)
  return client, accepted
end

local function program(name, loop)
  local here <close>, other = connected_sockets()
  local there <close> = other
  local received, ticks = 0, 0

  loop.spawn(function()
    while received < SIZE do
      received = received + #assert(loop.receive(here, 1024))
    end
  end)
  loop.spawn(function()
    for _ = 1, SIZE / PIECE do
      loop.sleep(0.01)
      assert(there:sendall(("x"):rep(PIECE)))
    end
  end)
  loop.spawn(function()
    while received < SIZE do
      loop.sleep(0.01)
      ticks = ticks + 1
    end
  end)
  loop.run()

  assert(ticks > 1, "the ticker stood still")
  print(("%s: %d bytes received, and the ticker kept ticking"):format(name, received))
end

program("a loop of moments", moments())
program("a loop of descriptors", descriptors())
program("a loop that tries first", trying())
