-- Foreign programs for specs: each is started on a free port, waited for until it
-- answers, and ended when the block is left, however it is left.
local helper = require "spec.helper"
local lull = helper.lull
local net = require "lull.net"
local process = require "lull.process"

local peers = {}

local DEADLINE = 40 -- seconds until a program must answer
local AGAIN = 0.01 -- until it is asked again

-- A port that nobody listens on now, and that the system gives to nobody who does not ask
-- for it: other specs open connections meanwhile.
function peers.free_port()
  local listener, port
  repeat
    port = math.random(10000, 30000)
    listener = net.listen("127.0.0.1", port)
  until listener
  listener:close()
  return port
end

-- Spawns a program whose output is kept in a file, to be shown when it does not come up.
local function spawn(dir, argv)
  local log <close> = assert(io.open(dir.path .. "/output", "w"))
  return assert(process.spawn(argv, {stdin = "null", stdout = log, stderr = "stdout"}))
end

local function output(dir)
  local file <close> = assert(io.open(dir.path .. "/output"))
  return file:read "a"
end

local function wait_until(ready, program, dir, name)
  local ended
  local watching <close> = lull.spawn(function() ended = {program:wait()} end)
  local _ = watching
  local up = lull.timeout(DEADLINE, function()
    while not ready() do
      if ended then return false end
      lull.sleep(AGAIN)
    end
    return true
  end)
  if up then return end
  program:close()
  error(("%s does not answer:\n%s"):format(name, output(dir)), 0)
end

-- start(argv, ready[, dir]) -> closable: once ready() is true.  The directory goes, too.
function peers.start(argv, ready, dir)
  dir = dir or helper.tempdir()
  local program = spawn(dir, argv)
  local peer = {program = program, dir = dir}
  setmetatable(peer, {__close = function()
    program:close()
    getmetatable(dir).__close()
  end})
  wait_until(ready, program, dir, argv[1])
  return peer
end

local function listens(host, port)
  return function()
    local stream
    if port then
      stream = net.connect(host, port)
    else
      stream = net.connect_unix(host)
    end
    if stream then stream:close() end
    return stream ~= nil
  end
end

-- local server <close>, port = peers.serve(function(port, dir) return argv end)
function peers.serve(command)
  local dir, port = helper.tempdir(), peers.free_port()
  return peers.start(command(port, dir), listens("127.0.0.1", port), dir), port
end

-- The same on a path.
function peers.serve_unix(command)
  local dir = helper.tempdir()
  local path = dir.path .. "/peer"
  return peers.start(command(path, dir), listens(path), dir), path
end

-- Runs a program to its end; raises when it fails.
function peers.run(argv, opts)
  local result = assert(process.run(argv, opts))
  if result.code ~= 0 then
    error(("%s: exit code %s\n%s"):format(table.concat(argv, " "), result.code,
      result.stderr), 2)
  end
  return result.stdout, result.stderr
end

-- A listener of ours, served for as long as the block lasts; errors of handlers are kept.
-- local port, _ <close>, errors = peers.listen(handler[, opts])
function peers.listen(handler, opts)
  local listener, errors = assert(net.listen("127.0.0.1", 0, opts)), {}
  local serving = lull.spawn(listener.serve, listener, handler, {
    on_error = function(err) errors[#errors + 1] = err end,
  })
  local _, port = listener:local_address()
  return math.tointeger(port), helper.closer(function()
    listener:close()
    serving:close()
  end), errors
end

-- Text that tells where it was cut or mixed up.
function peers.pattern(size)
  local parts = {}
  for i = 1, 50000 do parts[i] = ("%14d,"):format(i) end
  local piece = table.concat(parts)
  return piece:rep(size // #piece + 1):sub(1, size)
end

return peers
