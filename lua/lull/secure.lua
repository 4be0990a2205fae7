-- TLS where streams are made: the option `tls` of connect and listen becomes a context,
-- and a connection becomes one under TLS, in time or not at all.
local core = require "lull.core"

local secure = {}

-- The options of a call that named TLS; nil: it did not.
local function options(name, opts)
  local tls = opts.tls
  if not tls then return nil end
  if tls == true then return {} end
  if type(tls) == "table" then return tls end
  error(("'%s': bad option 'tls' (table or true expected)"):format(name), 5)
end

-- The TLSContext for a call's option `tls`, with that option as a table; false where it
-- has none; or nil, message, code.
local function context(name, opts, as_server)
  local tls = options(name, opts)
  if not tls then return false end
  local server = as_server or tls.server or false
  local ok, made, message, code = pcall(core.tls, tls, server)
  if ok then return made, made and tls or message, code end
  error(("'%s': %s"):format(name, tostring(made):gsub("^[^\n]-:%d+: ", "")), 4)
end

-- For a call to a host, which may be nil: then the options must say who is expected.
function secure.client(name, opts, host)
  local made, tls, code = context(name, opts, false)
  local checks = made and not tls.server and tls.verify ~= false
  if checks and not host and not tls.server_name then
    error(("'%s': the TLS option 'server_name' is needed"):format(name), 3)
  end
  return made, tls, code
end

function secure.server(name, opts)
  local made, tls, code = context(name, opts, true) -- no tail call: errors count levels
  return made, tls, code
end

local Guard = {}

function Guard:__close()
  if self.stream then self.stream:close() end
end

-- Does the handshake on a new stream before the deadline, or closes it.  where tells
-- hosts and ports apart whose sessions are to be resumed.
function secure.begin(stream, made, tls, host, where, deadline)
  local guard <close> = setmetatable({ stream = stream }, Guard)
  local name = tls.server_name or host
  if deadline then stream:settimeout(math.max(0, deadline - core.now())) end
  if tls.server then name = nil end
  local ok, message, code = core.secure(stream, made, name, name and name .. " " .. where)
  if not ok then return nil, message, code end
  stream:settimeout(nil)
  guard.stream = nil
  return stream
end

return secure
