-- echo_server.lua: sends back what it receives, to any number of clients at once.
--
--   ./run examples/echo_server.lua [host [port]]      (default: 127.0.0.1 7000)
--   nc 127.0.0.1 7000
--
-- serve() runs the handler in a task of its own for each connection and closes the
-- connection when the handler returns.  Ctrl-C ends the server.

local lull = require "lull"
local net = require "lull.net"

local function echo(stream)
  while true do
    local data = lull.check(stream:read_some())    -- nil: the client has finished
    if not data then return end
    lull.check(stream:write(data))
  end
end

local host, port = arg[1] or "127.0.0.1", tonumber(arg[2] or 7000)
local listener <close> = assert(net.listen(host, port, {backlog = 1024}))
print(("echo server listens on %s port %d"):format(listener:local_address()))
listener:serve(echo)
