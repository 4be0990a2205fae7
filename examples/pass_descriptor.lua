-- pass_descriptor.lua: a connection is accepted here and answered there.
--
--   ./run examples/pass_descriptor.lua
--
-- The front accepts, and hands each connection over a Unix socket to one of two workers,
-- which answers it.  Worker and front could as well be two processes: what goes over the
-- socket is the descriptor itself.  The front uses bare Sockets, which read nothing
-- unasked; a Stream may have read ahead what is the worker's.

local lull = require "lull"
local net = require "lull.net"

local NAME = "\0lull-pass-descriptor" -- no file: it is gone with its socket

local function worker(name)
  local socket <close> = assert(net.socket "unix")
  assert(socket:connect(NAME))
  while true do
    local data, fds = socket:recvmsg()
    if not data then return end
    for _, fd in ipairs(fds) do
      local stream <close> = assert(net.adopt(fd))
      stream:write(("%s answers %s\n"):format(name, stream:read()))
    end
  end
end

-- One connection to each worker, in turn.
local function front(listener, workers)
  local n = 0
  while true do
    local connection = assert(listener:accept())
    n = n % #workers + 1
    assert(workers[n]:sendmsg("!", {connection}))
    connection:close() -- this copy; the worker has its own
  end
end

local door = assert(net.socket "unix")
assert(door:bind(NAME))
assert(door:listen())
local workers = {}
for i, name in ipairs {"ann", "bob"} do
  lull.spawn(worker, name):daemon()
  workers[i] = assert(door:accept())
end

local listener = assert(net.socket "inet")
assert(listener:bind("127.0.0.1", 0))
assert(listener:listen())
local _, port = listener:local_address()
lull.spawn(front, listener, workers):daemon()

for i = 1, 4 do
  local stream <close> = assert(net.connect("127.0.0.1", port))
  stream:write("question ", i, "\n")
  print(stream:read())
end
