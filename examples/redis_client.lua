-- redis_client.lua: a client of Redis in forty lines of direct style (RESP2).
--
--   ./run examples/redis_client.lua [host [port]]     (default: 127.0.0.1 6379)
--
-- Any number of tasks may call one client.  Each call is written at once and awaits its
-- reply, so calls made at the same time are pipelined without anybody's doing.  One task
-- reads the replies; once the client has subscribed, messages come in between.

local lull = require "lull"
local net = require "lull.net"

local Client = {}
Client.__index = Client

local function read_reply(stream)
  local line = lull.check(stream:read()) or error "EOF: redis has hung up"
  local kind, rest = line:match "(.)(.*)"
  local n = math.tointeger(tonumber(rest))
  if kind == "-" then return nil, rest, rest:match "^%u*" end
  if kind == "+" then return rest end
  if kind == ":" then return n end
  if n < 0 then return nil end
  if kind == "$" then return assert(stream:read_exactly(n + 2)):sub(1, n) end
  local list = {n = n}
  for i = 1, n do list[i] = read_reply(stream) end
  return list
end

local function dispatch(self)
  while true do
    local reply = table.pack(read_reply(self.stream))
    local list = reply[1]
    if type(list) == "table" and list[1] == "message" then
      self.channels[list[2]]:put(list[3])
    else
      table.remove(self.waiting, 1):set_result(table.unpack(reply, 1, reply.n))
    end
  end
end

local function connect(host, port, opts)
  local stream, message, code = net.connect(host, port, opts)
  if not stream then return nil, message, code end
  local self = setmetatable({stream = stream, waiting = {}, channels = {}}, Client)
  self.reader = lull.spawn(function()
    local _, err = lull.pcall(dispatch, self)
    for _, future in ipairs(self.waiting) do
      future:set_result(nil, err, lull.code(err))
    end
    for _, queue in pairs(self.channels) do queue:close() end
  end):daemon()
  return self
end

-- call("SET", "key", "value") -> reply | nil, message, code
function Client:call(...)
  local words, future = table.pack(...), lull.future()
  for i, word in ipairs(words) do
    word = tostring(word)
    words[i] = ("$%d\r\n%s\r\n"):format(#word, word)
  end
  local ok, message, code
  repeat -- nothing may come between it and its place in the queue, and write may suspend
    ok, message, code = self.stream:try_write("*", words.n, "\r\n", table.concat(words))
    if message then return nil, message, code end
    if not ok then self.stream:flush() end
  until ok
  table.insert(self.waiting, future)
  return future:await()
end

-- for message in client:messages "channel" do ... end
function Client:messages(channel)
  self.channels[channel] = self.channels[channel] or lull.queue(1000)
  assert(self:call("SUBSCRIBE", channel))
  return self.channels[channel]:items()
end

function Client:close()
  self.stream:close()
end
Client.__close = Client.close

if not (arg and arg[0] and arg[0]:find "redis_client") then return {connect = connect} end

-- ---- a conversation ------------------------------------------------------------------

local client <close> = assert(connect(arg[1] or "127.0.0.1", arg[2] or 6379))
print("SET", client:call("SET", "lull:tea", "green"))
print("GET", client:call("GET", "lull:tea"))
print("INCR", client:call("INCR", "lull:tea"))

local calls, most = {}, 0
for i = 1, 100 do
  calls[i] = function()
    local n = client:call("INCR", "lull:count")
    most = math.max(most, n)
  end
end
lull.gather(calls)
print("100 times INCR at once", most)
print("DEL", client:call("DEL", "lull:tea", "lull:count"))
