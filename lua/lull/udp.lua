-- UDP: where a Datagram is bound, what its options are, and names in place of addresses.
-- The object itself is made in C: a Socket that carries packets.
local core = require "lull.core"

local udp = {}

local Datagram = core.methods.Datagram

-- ---- names ----------------------------------------------------------------------------

-- Calls method with each address of the host until that works.
local function with_name(datagram, method, host, port)
  local family = datagram:family()
  if family == "inet6" and not datagram:getoption "v6only" then family = "any" end
  local addresses, ok, message, code
  addresses, message, code = core.resolve(host, family)
  if not addresses then return nil, message, code end
  for _, address in ipairs(addresses) do
    ok, message, code = method(datagram, address.host, port)
    if ok then return ok end
  end
  return nil, message, code
end

local function resolving(datagram, method, host, port)
  local limit = datagram:timeout()
  if limit then return core.timeout(limit, with_name, datagram, method, host, port) end
  return with_name(datagram, method, host, port)
end

local connect, sendto = Datagram.connect, Datagram.sendto

function Datagram:connect(host, port)
  local ok, message, code = connect(self, host, port)
  if ok then return ok end
  if code ~= "EAI_NONAME" then return nil, message, code end
  return resolving(self, connect, host, port)
end

function Datagram:sendto(data, host, port)
  local ok, message, code = sendto(self, data, host, port)
  if ok then return ok end
  if code ~= "EAI_NONAME" then return nil, message, code end
  return resolving(self, function(to, address, number)
    return sendto(to, data, address, number)
  end, host, port)
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
local function bind(address, port, opts)
  local datagram, message, code = core.datagram(address.family, opts.ipv6_only)
  if not datagram then return nil, message, code end
  local guard <close> = setmetatable({ datagram = datagram }, Guard)
  local ok
  ok, message, code = set_all(datagram, opts)
  if ok then ok, message, code = datagram:bind(address.host, port) end
  if not ok then return nil, message, code end
  guard.datagram = nil
  return datagram
end

-- "*": both families where the system has both.
local everywhere = {
  { host = "::", family = "inet6" }, { host = "0.0.0.0", family = "inet" },
}
local not_here = { EAFNOSUPPORT = true, EADDRNOTAVAIL = true }

-- On the first address of the host that this machine has.
function udp.open(host, port, opts)
  local addresses, message, code = everywhere, nil, nil
  if host == "*" then
    core.enter()
  else
    addresses, message, code = core.resolve(host, "any", opts.timeout, opts)
    if not addresses then return nil, message, code end
  end
  local datagram
  for _, address in ipairs(addresses) do
    datagram, message, code = bind(address, port, opts)
    if datagram or not not_here[code] then break end
  end
  return datagram, message, code
end

return udp
