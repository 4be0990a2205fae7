-- happy_eyeballs.lua: connects to the first of several addresses that answers (RFC 8305).
--
--   ./run examples/happy_eyeballs.lua
--
-- The attempts start a quarter of a second apart, or as soon as the one before has
-- failed.  They are children of a group: the winner cancels it, and with it all others.
-- (net.connect does this by itself; here is how.)

local lull = require "lull"

-- dial(address) -> stream | nil, message.  Returns what the fastest returns.
local function happy_eyeballs(addresses, dial, delay)
  local winner, failures = nil, {}
  lull.group(function(group)
    for i, address in ipairs(addresses) do
      local failed = lull.event()
      group:spawn(function()
        local stream, err = dial(address)
        if stream then
          winner = stream
          group:cancel("somebody was faster")
        else
          failures[#failures + 1] = err
          failed:set()
        end
      end)
      if i < #addresses then lull.timeout(delay, failed.wait, failed) end
    end
  end)
  if winner then return winner end
  return nil, table.concat(failures, "; ")
end

-- A network to try it on: what becomes of an attempt, and after how many seconds.

local start

local function say(format, ...)
  print(("  %.2f s: " .. format):format(lull.now() - start, ...))
end

local function dial(address)
  say("%s is tried", address.name)
  local _ <close> = lull.defer(function()
    if not address.ended then say("%s is given up", address.name) end
  end)
  lull.sleep(address.seconds)
  address.ended = true
  if address.refuses then return nil, address.name .. " refuses" end
  return "a stream to " .. address.name
end

local function try(title, addresses)
  print(title)
  start = lull.now()
  local stream, err = happy_eyeballs(addresses, dial, 0.25)
  say("%s", stream or err)
end

try("the first is broken, the second slow, the third fast", {
  {name = "2001:db8::1", seconds = 60},
  {name = "192.0.2.1", seconds = 0.8},
  {name = "192.0.2.2", seconds = 0.1},
  {name = "192.0.2.3", seconds = 0.1},
})

try("all refuse", {
  {name = "2001:db8::1", seconds = 0.1, refuses = true},
  {name = "192.0.2.1", seconds = 0.4, refuses = true},
  {name = "192.0.2.2", seconds = 0.1, refuses = true},
})
