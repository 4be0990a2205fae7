-- chat_server.lua: everybody hears what anybody says.
--
--   ./run examples/chat_server.lua [host [port]]      (default: 127.0.0.1 7001)
--   nc 127.0.0.1 7001                                 (in as many terminals as you like)
--
-- A task per guest reads its lines; a broadcast never waits, so a guest who does not read
-- what he is sent holds up nobody: he is dropped.  Ctrl-C says goodbye to all.

local lull = require "lull"
local net = require "lull.net"

local guests = {}                            -- name -> {stream=, task=}

local function tell(guest, text)
  return guest.stream:try_write(text, "\n")  -- nil while too much waits to be sent
end

local function broadcast(text, except)
  local dropped = {}
  for name, guest in pairs(guests) do
    if guest ~= except and not tell(guest, text) then
      guests[name] = nil
      guest.task:cancel("too slow")
      dropped[#dropped + 1] = name
    end
  end
  for _, name in ipairs(dropped) do
    print(name .. " was dropped: too slow")
    broadcast("* " .. name .. " was dropped")
  end
end

local function names()
  local list = {}
  for name in pairs(guests) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, ", ")
end

-- The next line without control characters; nil when the guest is gone.
local function hear(guest)
  local line, _, code = guest.stream:read("l")
  if code == "EMSGSIZE" then tell(guest, "* that line is too long") end
  return line and line:gsub("%c", "")
end

-- Asks until the answer will do as a name.
local function ask_name(guest)
  tell(guest, "* welcome! who are you?")
  for name in hear, guest do
    if not name:find("^%w[%w_-]*$") or #name > 16 then
      tell(guest, "* up to 16 letters, digits, _ and -, please")
    elseif guests[name] then
      tell(guest, "* " .. name .. " is here already; another name?")
    else
      return name
    end
  end
end

local function chat(stream)
  local guest = {stream = stream, task = lull.current()}
  local _ <close> = lull.defer(tell, guest, "* goodbye")     -- on Ctrl-C too
  local name = lull.timeout(60, ask_name, guest)
  if not name then return end

  guests[name] = guest
  local _ <close> = lull.defer(function()
    if guests[name] ~= guest then return end                 -- he was dropped
    guests[name] = nil
    broadcast("* " .. name .. " has left")
  end)
  broadcast("* " .. name .. " has come", guest)
  tell(guest, "* hello " .. name .. ", there are /who and /quit; here: " .. names())

  for line in hear, guest do
    if line == "/quit" then return end
    if line == "/who" then
      tell(guest, "* here: " .. names())
    elseif line ~= "" then
      broadcast(name .. ": " .. line, guest)
    end
  end
end

local host, port = arg[1] or "127.0.0.1", tonumber(arg[2] or 7001)
local limits = {limit = 1000, high_water = 16 * 1024}
local listener <close> = assert(net.listen(host, port, limits))
print(("chat server listens on %s port %d"):format(listener:local_address()))
local _ <close> = lull.defer(print, "chat server has closed")
listener:serve(chat, {max_connections = 1000})
