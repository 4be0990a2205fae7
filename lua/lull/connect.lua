-- Connecting to one of several addresses: happy eyeballs (RFC 8305).  The families take
-- turns; the next address is tried when the one before has failed, or has not answered
-- within a quarter of a second, while that goes on.  Whoever connects first wins, and the
-- others are given up.  With a single address nobody is spawned.
--
-- Both families are asked for together, and the names' answer comes in one piece, sorted
-- (RFC 6724), so there is no resolution delay here: a name server that is silent on one
-- family costs the time of one attempt, opts.attempt_timeout.
local core = require "lull.core"

local connect = {}

local DELAY, MIN_DELAY = 0.25, 0.01 -- seconds between attempts
local TOLD = 4 -- failures that a message tells

-- ---- one address ----------------------------------------------------------------------

-- Binds to opts.bind: a host or {host, port}.
local function bind_locally(socket, from)
  if from == nil then return true end
  if type(from) == "table" then return socket:bind(from[1], from[2] or 0) end
  return socket:bind(from, 0)
end

local function tune(socket, opts)
  if opts.nodelay ~= false then socket:setoption("nodelay", true) end
  if opts.keepalive then socket:setoption("keepalive", true) end
end

local function left(deadline)
  return deadline and math.max(0, deadline - core.now())
end

-- A socket that comes to nothing is closed when the function is left.
local function attempt(address, port, opts, deadline)
  local socket <close>, message, code = core.socket(address.family)
  if not socket then return nil, message, code end
  tune(socket, opts)
  local ok
  ok, message, code = bind_locally(socket, opts.bind)
  if not ok then return nil, message, code end
  socket:settimeout(left(deadline))
  ok, message, code = socket:connect(address.host, port)
  if not ok then return nil, message, code end
  return core.stream(socket, opts)
end

-- ---- several --------------------------------------------------------------------------

-- The families take turns, beginning with that of the first.
local function interleave(addresses)
  local same, other, list = {}, {}, {}
  for _, address in ipairs(addresses) do
    table.insert(address.family == addresses[1].family and same or other, address)
  end
  for i = 1, math.max(#same, #other) do
    list[#list + 1] = same[i]
    list[#list + 1] = other[i]
  end
  return list
end

-- What is wrong with this machine, or with the address, tells less than what a host said.
local dull = { EAFNOSUPPORT = 1, EADDRNOTAVAIL = 1, EAI_ADDRFAMILY = 1, EINVAL = 1,
               ENETUNREACH = 2, EHOSTUNREACH = 3, ETIMEDOUT = 4 }
local TELLING = 5

-- One failure for all: the code is the most telling one, of several such the first.
local function sum_up(failures)
  table.sort(failures, function(a, b)
    local x, y = dull[a.code] or TELLING, dull[b.code] or TELLING
    if x ~= y then return x > y end
    return a.n < b.n
  end)
  local messages = {}
  for i = 1, math.min(#failures, TOLD) do messages[i] = failures[i].message end
  if #failures > TOLD then
    messages[#messages + 1] = ("and %d more"):format(#failures - TOLD)
  end
  return nil, table.concat(messages, "; "), failures[1].code
end

-- What a race of addresses knows: its winner and its failures.
local Race = {}
Race.__index = Race

-- Given up by the caller: nobody will have the stream.
function Race:__close()
  if self.winner and not self.taken then self.winner:abort() end
end

-- One attempt; the future over is settled when it has failed.
function Race:run(group, n, address, over)
  local stream, message, code = attempt(address, self.port, self.opts, self.deadline)
  if stream then
    self.winner = stream -- the others do not come this far: they are cancelled now
    group:cancel "another address was faster"
  else
    self.failures[#self.failures + 1] = { n = n, message = message, code = code }
    over:set_result()
  end
end

-- Waits until the attempt is over, but not longer than the delay; false: no time is left.
function Race:pause(over, delay)
  local rest = left(self.deadline) or math.huge
  core.timeout(math.min(rest, delay), over.await, over)
  return rest > delay or over:done()
end

local function race(addresses, port, opts, deadline, delay)
  local self <close> = setmetatable({
    port = port, opts = opts, deadline = deadline, failures = {},
  }, Race)
  core.group(function(group)
    for n, address in ipairs(addresses) do
      local over = core.future()
      local task = group:spawn(self.run, self, group, n, address, over)
      task:name("connect " .. address.host)
      if n < #addresses and not self:pause(over, delay) then break end
    end
  end)
  if not self.winner then return sum_up(self.failures) end
  self.taken = true
  return self.winner
end

-- One after the other, for those who want no two connections at a time.
local function in_turn(addresses, port, opts, deadline)
  local failures = {}
  for n, address in ipairs(addresses) do
    local stream, message, code = attempt(address, port, opts, deadline)
    if stream then return stream end
    failures[n] = { n = n, message = message, code = code }
    if deadline and core.now() >= deadline then break end
  end
  return sum_up(failures)
end

-- The seconds that opts.happy_eyeballs_delay says; false: the addresses come in turn.
function connect.delay(opts)
  local delay = opts.happy_eyeballs_delay
  if delay == nil then return DELAY end
  if delay ~= false and (type(delay) ~= "number" or delay < 0) then
    error("'connect': bad option 'happy_eyeballs_delay' (seconds or false expected)", 3)
  end
  return delay and math.max(delay, MIN_DELAY)
end

-- A stream to the first of the addresses that answers before the deadline (nil: none).
function connect.first(addresses, port, opts, deadline, delay)
  if #addresses == 1 then return attempt(addresses[1], port, opts, deadline) end
  addresses = interleave(addresses)
  if not delay then return in_turn(addresses, port, opts, deadline) end
  return race(addresses, port, opts, deadline, delay)
end

return connect
