-- reconnect.lua: a client that stays connected to a server that does not.
--
--   ./run examples/reconnect.lua
--
-- Every second the client sends a heartbeat.  When the answer is late, when the stream
-- ends or when nobody listens, it connects anew, each failure doubling the time between.

local lull = require "lull"
local net = require "lull.net"

local start = lull.now()

local function say(format, ...)
  print(("%4.1f s: " .. format):format(lull.now() - start, ...))
end

-- One connection, from its beginning to its end: why it ended.
local function session(stream)
  for _ in lull.every(1) do
    local ok, err = stream:write("ping\n")
    if not ok then return err end
    local line
    line, err = lull.timeout(0.5, stream.read, stream)
    if not line then return err or "the server has hung up" end
  end
end

local function stay_connected(host, port)
  local delay = 0.5
  while true do
    local stream <close>, _, code = net.connect(host, port)
    if stream then
      say("connected")
      delay = 0.5
      say("lost: %s", session(stream))
    else
      say("not connected (%s), next attempt in %.1f s", code, delay)
      lull.sleep(delay)
      delay = math.min(2 * delay, 8)
    end
  end
end

-- Takes one client, answers so many heartbeats, then falls silent or hangs up.
local function server(port, beats, silent)
  local listener = assert(net.listen("127.0.0.1", port))
  local stream <close> = assert(listener:accept())
  listener:close()
  for _ = 1, beats do
    assert(stream:read())
    stream:write("pong\n")
  end
  if silent then stream:read("a") end        -- until the client has given up
end

local function free_port()
  local listener <close> = assert(net.listen("127.0.0.1", 0))
  return select(2, listener:local_address())
end

local port = free_port()
lull.group(function(group)
  group:spawn(stay_connected, "127.0.0.1", port):daemon()
  lull.sleep(2)
  server(port, 3, false)                     -- hangs up after three heartbeats
  lull.sleep(4)
  server(port, 2, true)                      -- falls silent after two
  lull.sleep(1)
  server(port, 2, false)
end)
say("the end")
