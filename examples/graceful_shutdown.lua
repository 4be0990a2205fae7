-- graceful_shutdown.lua: a server that ends without dropping what it has begun.
--
--   ./run examples/graceful_shutdown.lua
--
-- SIGTERM, which service managers send, or Ctrl-C closes the listener.  That refuses new
-- clients; serve() then waits for the requests at work, here at most three seconds.  What
-- has not ended by then is cancelled, and may still say so to its client while it is.

local lull = require "lull"
local net = require "lull.net"
local signal = require "lull.signal"

local start = lull.now()

local function say(format, ...)
  print(("%.1f s: " .. format):format(lull.now() - start, ...))
end

-- A request is a number of seconds; the answer comes when they are over.
local function handle(stream)
  local seconds, finished = assert(stream:read("n")), false
  local _ <close> = lull.defer(function()
    if not finished then stream:try_write("sorry, we are closing\n") end
  end)
  lull.sleep(seconds)
  finished = true
  stream:write("done\n")
end

local listener = assert(net.listen("127.0.0.1", 0))
local host, port = listener:local_address()

local function client(name, seconds)
  local stream <close>, err, code = net.connect(host, port)
  if not stream then return say("%s is refused: %s", name, code or err) end
  stream:write(seconds, "\n")
  say("%s is told: %s", name, stream:read())
end

lull.group(function(group)
  group:spawn(client, "a quick client", 0.5)
  group:spawn(client, "a slow client", 2.5)
  group:spawn(client, "an endless client", 3600)
  group:spawn(function()
    say("%s: the listener is closed", signal.wait("SIGTERM", "SIGINT"))
    listener:close()
    client("a late client", 1)
  end)
  group:spawn(function() -- nobody waits for you to press Ctrl-C here
    lull.sleep(1)
    signal.raise "SIGTERM"
  end)
  listener:serve(handle, {grace = 3})
  say("serve has returned")
end)
