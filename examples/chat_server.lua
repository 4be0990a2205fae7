-- chat_server.lua: everybody hears what anybody says.
--
--   ./run examples/chat_server.lua [host [port]]      (default: 127.0.0.1 7001)
--   nc 127.0.0.1 7001                                 (in as many terminals as you like)
--
-- A task per guest reads its lines; a broadcast never waits, so a guest who does not read
-- what he is sent holds up nobody: he is dropped.  Ctrl-C says goodbye to all.

local lull = require "lull"
local net = require "lull.net"

local guests = {}                            -- name -> stream, of those who have a name

local function tell(stream, text)
  return stream:try_write(text, "\n")        -- nil while too much waits to be sent to him
end

local function broadcast(text, except)
  for name, stream in pairs(guests) do
    if stream ~= except and not tell(stream, text) then
      print(name .. " was dropped: too slow")
      stream:abort()                         -- wakes the task that reads from him
    end
  end
end

local function names()
  local list = {}
  for name in pairs(guests) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, ", ")
end

-- The next line without control characters; nil when the guest is gone.
local function hear(stream)
  local line, _, code = stream:read("l")
  if code == "EMSGSIZE" then tell(stream, "* that line is too long, goodbye") end
  return line and line:gsub("%c", "")
end

-- Asks until the answer will do as a name.
local function ask_name(stream)
  tell(stream, "* welcome! who are you?")
  while true do
    local name = hear(stream)
    if not name then
      return nil
    elseif not name:find("^%w[%w_-]*$") or #name > 16 then
      tell(stream, "* up to 16 letters, digits, _ and -, please")
    elseif guests[name] then
      tell(stream, "* " .. name .. " is here already; another name?")
    else
      return name
    end
  end
end

local function chat(stream)
  local _ <close> = lull.defer(tell, stream, "* goodbye")    -- on Ctrl-C too
  local name = lull.timeout(60, ask_name, stream)
  if not name then return end

  guests[name] = stream
  local _ <close> = lull.defer(function()
    guests[name] = nil
    broadcast("* " .. name .. " has left")
  end)
  broadcast("* " .. name .. " has come", stream)
  tell(stream, "* hello " .. name .. ", there are /who and /quit; here: " .. names())

  for line in hear, stream do
    if line == "/quit" then return end
    if line == "/who" then
      tell(stream, "* here: " .. names())
    elseif line ~= "" then
      broadcast(name .. ": " .. line, stream)
    end
  end
end

local host, port = arg[1] or "127.0.0.1", tonumber(arg[2] or 7001)
local limits = {limit = 1000, high_water = 16 * 1024}
local listener <close> = assert(net.listen(host, port, limits))
print(("chat server listens on %s port %d"):format(listener:local_address()))
local _ <close> = lull.defer(print, "chat server has closed")
listener:serve(chat, {max_connections = 1000})
