-- starttls.lua: a connection that begins in the clear and goes on under TLS, seen from
-- both ends: a mail server of a few words, and somebody who has a letter for it.
--
--   ./run examples/starttls.lua
--
-- What matters: after STARTTLS nothing that was said in the clear counts.  The server
-- forgets who it was talking to; bytes that came in the clear behind the command are
-- given to TLS, which takes them for what they are: no handshake.

local lull = require "lull"
local net = require "lull.net"

local PEM = "examples/localhost.pem"

-- ---- the server -----------------------------------------------------------------------

local function serve(stream)
  local function say(line) stream:write(line, "\r\n") end
  local secure, name = false, nil
  say "220 lull at your service"
  for line in stream:lines() do
    local command, rest = line:match "^(%a+)%s*(.-)$"
    command = (command or ""):upper()
    if command == "EHLO" then
      name = rest
      say(secure and "250 well met" or "250-well met\r\n250 STARTTLS")
    elseif command == "STARTTLS" and not secure then
      say "220 go ahead"
      lull.check(stream:starttls {server = true, cert_file = PEM})
      secure, name = true, nil
    elseif command == "QUIT" then
      return say "221 goodbye"
    elseif not secure then
      say "530 not in the clear"
    elseif not name then
      say "503 who are you?"
    else
      say "250 it will be delivered"
    end
  end
end

-- ---- the client -----------------------------------------------------------------------

local function talker(stream)
  return function(line)
    if line then
      print("C: " .. line)
      stream:write(line, "\r\n")
    end
    local answer
    repeat
      answer = lull.check(stream:read())
      print("S: " .. answer)
    until not answer:find "^%d+%-"
    return answer
  end
end

local listener <close> = assert(net.listen("127.0.0.1", 0))
local _ <close> = lull.spawn(listener.serve, listener, serve, {
  on_error = function(err) print("the server says: " .. err:gsub(" %(.*", "")) end,
})

do
  local stream <close> = assert(net.connect(listener:local_address()))
  local talk = talker(stream)
  talk()
  talk "EHLO me"
  talk "MAIL FROM:<me@example.org>"
  talk "STARTTLS"
  assert(stream:starttls {ca_file = PEM, server_name = "localhost"})
  print("-- " .. stream:tls_info().version .. " from here on --")
  talk "MAIL FROM:<me@example.org>"
  talk "EHLO me"
  talk "MAIL FROM:<me@example.org>"
  talk "QUIT"
end

print "-- somebody in between adds a command --"
do
  local stream <close> = assert(net.connect(listener:local_address()))
  local talk = talker(stream)
  talk()
  talk "EHLO me"
  print "C: STARTTLS, and behind it: MAIL FROM:<mallory@example.org>"
  stream:write "STARTTLS\r\nMAIL FROM:<mallory@example.org>\r\n"
  talk()
  stream:read_some() -- an alert, or the end
end
