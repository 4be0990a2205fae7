-- Names in place of addresses, and which address it is in the end.  Who sends or connects
-- tries all that a name has; who listens takes the first that this machine has.
local core = require "lull.core"

local address = {}

-- "*" is every address of this machine: of both families where the system has both.
local everywhere = {
  { host = "::", family = "inet6" }, { host = "0.0.0.0", family = "inet" },
}
local not_here = { EAFNOSUPPORT = true, EADDRNOTAVAIL = true }

-- What open(address, ...) makes of the first address of the host that is one of ours.
function address.ours(host, timeout, opts, open, ...)
  local addresses, message, code = core.resolve(host, "any", timeout, opts)
  if not addresses then return nil, message, code end
  local object
  for _, one in ipairs(host == "*" and everywhere or addresses) do
    object, message, code = open(one, ...)
    if object or not not_here[code] then break end
  end
  return object, message, code
end

local function try_all(socket, family, method, host, port)
  local addresses, ok, message, code
  addresses, message, code = core.resolve(host, family)
  if not addresses then return nil, message, code end
  for _, one in ipairs(addresses) do
    ok, message, code = method(socket, one.host, port)
    if ok then return ok end
  end
  return nil, message, code
end

-- The objects of C know numbers only.  Where method was given a name, it is called here
-- with each address of that family until it works, or the socket's time is over.
function address.by_name(socket, family, method, host, port)
  local limit = socket:timeout()
  if not limit then return try_all(socket, family, method, host, port) end
  return core.timeout(limit, try_all, socket, family, method, host, port)
end

return address
