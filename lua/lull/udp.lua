-- UDP: where a Datagram is bound, what its options are, and names in place of addresses.
-- The object itself is made in C: a Socket that carries packets.
local address = require "lull.address"
local arguments = require "lull.arguments"
local core = require "lull.core"

local udp = {}

local Datagram = core.methods.Datagram

-- ---- names ----------------------------------------------------------------------------

-- Of which family a name's addresses may be.
local function family(datagram)
  local own = datagram:family()
  return own == "inet6" and not datagram:getoption "v6only" and "any" or own
end

local connect, sendto = Datagram.connect, Datagram.sendto

function Datagram:connect(host, port)
  if type(host) ~= "string" or math.type(port) ~= "integer"
      or port >> 16 ~= 0 then
    arguments.place(1, "connect", host, port)
  end
  local ok, message, code = connect(self, host, port)
  if ok then return ok end
  if code ~= "EAI_NONAME" then return nil, message, code end
  return address.by_name(self, family(self), connect, host, port)
end

function Datagram:sendto(data, host, port)
  if type(data) ~= "string" or type(host) ~= "string" or math.type(port) ~= "integer"
      or port >> 16 ~= 0 then
    if type(data) ~= "number" then arguments.string(1, "sendto", data) end
    arguments.place(2, "sendto", host, port)
  end
  local ok, message, code = sendto(self, data, host, port)
  if ok then return ok end
  if code ~= "EAI_NONAME" then return nil, message, code end
  return address.by_name(self, family(self), function(datagram, number)
    return sendto(datagram, data, number, port)
  end, host)
end

-- ---- making one -----------------------------------------------------------------------

local options = { -- of net.udp -> of the socket
  { "reuse_address", "reuseaddr" }, { "reuse_port", "reuseport" },
  { "broadcast", "broadcast" }, { "multicast_loop", "multicast_loop" },
  { "multicast_ttl", "multicast_ttl" }, { "multicast_interface", "multicast_interface" },
  { "ttl", "ttl" }, { "rcvbuf", "rcvbuf" }, { "sndbuf", "sndbuf" },
}

local Guard = { __close = function(self)
  if self.datagram then self.datagram:close() end
end }

local function set_all(datagram, opts)
  for _, option in ipairs(options) do
    local value = opts[option[1]]
    if value ~= nil then
      local set = datagram.setoption
      local fine, ok, message, code = pcall(set, datagram, option[2], value)
      local what = not fine and ok:match "%((.*)%)$"
      if what then error(("'udp': bad option '%s' (%s)"):format(option[1], what), 4) end
      if not fine then error(ok, 0) end
      if not ok then return nil, message, code end
    end
  end
  return true
end

-- A Datagram bound to one address.
local function bind(place, port, opts)
  local datagram, message, code = core.datagram(place.family, opts.ipv6_only)
  if not datagram then return nil, message, code end
  local guard <close> = setmetatable({ datagram = datagram }, Guard)
  local ok
  ok, message, code = set_all(datagram, opts)
  if ok then ok, message, code = datagram:bind(place.host, port) end
  if not ok then return nil, message, code end
  guard.datagram = nil
  return datagram
end

-- On the first address of the host that this machine has.
function udp.open(host, port, opts)
  return address.ours(host, opts.timeout, opts, bind, port, opts)
end

return udp
