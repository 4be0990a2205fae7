-- kv_server.lua: a key-value server that redis-cli and redis-benchmark can talk to.
--
--   ./run examples/kv_server.lua [host [port]]        (default: 127.0.0.1 6380)
--   redis-cli -p 6380 set greeting hello
--
-- Here are the parser, from bytes to commands, and the server; the commands are in
-- kv_store.lua.  Commands that arrive together are answered together, by one write.

local lull = require "lull"
local net = require "lull.net"

local here = debug.getinfo(1, "S").source:match("^@(.*/)") or ""
local store = dofile(here .. "kv_store.lua")

local byte, find, match, sub = string.byte, string.find, string.match, string.sub
local concat = table.concat

local MAX_BULK, MAX_ARGS = 512 * 1024 * 1024, 1024 * 1024
local MAX_QUERY, MAX_LINE, MAX_BATCH = 1024 * 1024 * 1024, 64 * 1024, 64 * 1024
local CR, STAR, DOLLAR = byte("\r*$", 1, 3)

-- Most headers are short, so their first four bytes tell the number: "$3\r\n", "$16\r".
local counts, lengths = {}, {}
for n = 0, 99 do
  counts[("*%d\r\n"):format(n):sub(1, 4)] = n
  lengths[("$%d\r\n"):format(n):sub(1, 4)] = n
end

local Client = {}
Client.__index = Client

local function new_client(stream)
  return setmetatable({
    stream = stream,
    buffer = "", pos = 1,                    -- what has been received, read up to pos
    args = {},                               -- the words of the current command
    replies = {}, count = 0, pending = 0,    -- what is to be sent, and its bytes
  }, Client)
end

-- Replies --------------------------------------------------------------------------

function Client:flush()
  if self.count == 0 then return end
  local batch = concat(self.replies, "", 1, self.count)
  if self.pending > MAX_BATCH then self.replies = {} end   -- do not keep big ones alive
  self.count, self.pending = 0, 0
  lull.check(self.stream:write(batch))
end

function Client:reply(reply)
  local count, pending = self.count + 1, self.pending + #reply
  self.replies[count], self.count, self.pending = reply, count, pending
  if pending > MAX_BATCH then self:flush() end
end

-- The parser -----------------------------------------------------------------------
-- It is written in direct style: it asks for a line, a number, some bytes, and gets them,
-- however many packets they came in.  Only more() waits; first it sends what is due.
-- Each function returns nil at the end of the stream, and nil, message for bad input.

-- Waits until n bytes from pos on are at hand.  (pos may be one byte ahead of the buffer,
-- when that ends within the line end of a header.)
function Client:more(n)
  self:flush()
  local parts, size = {sub(self.buffer, self.pos)}, #self.buffer
  local have = size - self.pos + 1
  repeat
    local chunk = lull.check(self.stream:read_some())
    if not chunk then return nil end
    parts[#parts + 1] = chunk
    have = have + #chunk
  until have >= n
  self.buffer, self.pos = concat(parts), math.max(1, self.pos - size)
  return true
end

-- A line without its end.
function Client:line(what)
  local stop = find(self.buffer, "\n", self.pos, true)
  while not stop do
    local have = #self.buffer - self.pos + 1
    if have > MAX_LINE then return nil, "too big " .. what end
    if not self:more(have + 1) then return nil end
    stop = find(self.buffer, "\n", self.pos + have, true)
  end
  local from, last = self.pos, stop - 1
  if byte(self.buffer, last) == CR then last = last - 1 end
  self.pos = stop + 1
  return sub(self.buffer, from, last)
end

-- The number in a header, for those that counts and lengths do not know.
function Client:length(mark, what, max)
  if self.pos > #self.buffer and not self:more(1) then return nil end
  local line, err = self:line(what .. " count string")
  if not line then return nil, err end
  if byte(line) ~= mark then
    return nil, ("expected '%c', got '%c'"):format(mark, byte(line) or CR)
  end
  local n = store.integer(sub(line, 2))
  if n and n <= max and (n >= 0 or mark == STAR) then return n end
  return nil, "invalid " .. what:gsub("mbulk", "multibulk") .. " length"
end

-- A command as people type it: words, "quoted" where they have spaces.
function Client:inline()
  local line, err = self:line("inline request")
  if not line then return nil, err end
  local n, pos = 0, find(line, "%S")
  while pos do
    local _, word, stop = match(line, "^([\"'])(.-)%1%f[%s\0]()", pos)
    if not word then word, stop = match(line, "^([^\"'%s]%S*)()", pos) end
    if not word then return nil, "unbalanced quotes in request" end
    n, pos = n + 1, find(line, "%S", stop)
    self.args[n] = word
  end
  return n
end

-- Reads so many words, "$3\r\nSET\r\n" each, into self.args.
function Client:words(count)
  local args, buffer, pos, total = self.args, self.buffer, self.pos, 0
  for i = 1, count do
    local n, err = lengths[sub(buffer, pos, pos + 3)]
    if n then
      pos = pos + (n < 10 and 4 or 5)
    else
      self.pos = pos
      n, err = self:length(DOLLAR, "bulk", MAX_BULK)
      if not n then return nil, err end
      buffer, pos = self.buffer, self.pos
    end
    total = total + n
    if total > MAX_QUERY then return nil, "too big request" end
    if pos + n >= #buffer then
      self.pos = pos
      if not self:more(n + 2) then return nil end
      buffer, pos = self.buffer, self.pos
    end
    args[i] = sub(buffer, pos, pos + n - 1)
    pos = pos + n + 2
  end
  self.pos = pos
  return count
end

-- Reads a command into self.args and returns the number of its words.
function Client:command()
  if self.pos > #self.buffer and not self:more(1) then return nil end
  if byte(self.buffer, self.pos) ~= STAR then return self:inline() end
  local count, err = counts[sub(self.buffer, self.pos, self.pos + 3)]
  if count then
    self.pos = self.pos + (count < 10 and 4 or 5)
  else
    count, err = self:length(STAR, "mbulk", MAX_ARGS)
    if not count then return nil, err end
  end
  if count > 100 or #self.args > 100 then self.args = {} end
  return self:words(count)
end

-- The server -----------------------------------------------------------------------

local function handle(stream)
  local client = new_client(stream)
  repeat
    local n, err = client:command()
    local last = not n
    if err then
      client:reply(store.fail("ERR Protocol error: " .. err))
    elseif n and n > 0 then
      local reply
      reply, last = store.execute(client.args, n)
      client:reply(reply)
    end
  until last
  client:flush()
end

-- Serves until the listener is closed or the calling task is cancelled.
local function serve(listener)
  local sweeper <close> = lull.spawn(store.sweep)
  sweeper:name("sweeper")
  return listener:serve(handle)
end

if arg and arg[0] and arg[0]:find("kv_server%.lua$") then
  local host, port = arg[1] or "127.0.0.1", tonumber(arg[2] or 6380)
  local listener <close> = assert(net.listen(host, port, {backlog = 1024}))
  print(("kv_server listens on %s port %d"):format(listener:local_address()))
  assert(serve(listener))
end

return {serve = serve, handle = handle}
