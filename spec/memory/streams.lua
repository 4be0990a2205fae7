-- luacheck: globals fails_at failed
-- Streams whose memory runs out at each allocation in turn: what was received is not
-- lost, what was written is whole, or the stream says that it is not.
local lull = require "lull"
local net = require "lull.net"

local line = ("l"):rep(99) .. "\n"
local big = {}
for i = 1, 3000 do big[i] = ("%8d"):format(i) end
big = table.concat(big)

-- Calls fn(n), which tries once and checks, with the n-th allocation failing in its
-- attempt(...), until there are not so many.
local function each(fn)
  local n = 0
  repeat
    n = n + 1
    fn(n, function(...)
      fails_at(n)
      local results = table.pack(pcall(...))
      fails_at(0)
      if not results[1] then
        assert(tostring(results[2]):find "not enough memory", results[2])
      end
      return table.unpack(results, 1, results.n)
    end)
  until not failed()
  assert(n > 1, "nothing was allocated")
end

local function reads(text, expected, read)
  each(function(n, attempt)
    local s, peer = net.pair()
    peer:write(text)
    peer:close()
    local ok, data, _, code = attempt(read, s)
    local got = ok and data or ""
    assert(not ok or data or code == "ENOMEM", code)
    assert(got == "" or got == expected, n)
    local rest = s:read "a"
    assert(got ~= "" or rest == text, n)
    s:close()
  end)
end

local function writes(expected, write)
  each(function(n, attempt)
    local s, peer = net.pair()
    s:settimeout(0)
    local ok, taken = attempt(write, s)
    local _, _, code = s:write "!"
    s:close()
    local got = peer:read "a"
    if code == "ENOMEM" then
      assert(expected:sub(1, #got) == got, n)
    else
      assert(got == expected .. "!" or (got == "!" and not (ok and taken)), n)
    end
    peer:close()
  end)
end

local function accepts()
  each(function(_, attempt)
    local listener = net.listen("127.0.0.1", 0)
    local _, port = listener:local_address()
    local client = net.connect("127.0.0.1", port)
    local ok, stream = attempt(listener.accept, listener)
    stream = ok and stream or listener:accept()
    client:write "hi"
    assert(stream:read(2) == "hi")
    stream:close()
    client:close()
    listener:close()
  end)
end

-- What a stream has only when it needs it is made at birth here.
local function has_options()
  each(function(_, attempt)
    local ok, s, peer = attempt(net.pair, {high_water = 10, linger = 60})
    if not ok then return end
    if not s then return assert(tostring(peer):find "ENOMEM", peer) end
    s:settimeout(0)
    local _, _, code = s:write(big:rep(20))
    assert(code == "ETIMEDOUT", code)
    s:settimeout(nil)
    lull.spawn(s.close, s)
    assert(#peer:read "a" == #big * 20)
    peer:close()
  end)
end

local function relays()
  each(function(_, attempt)
    local a, b = net.pair()
    local c, d = net.pair()
    a:write(big, big)
    a:close()
    attempt(b.relay, b, c)
    c:write(b:read "a")
    c:close()
    assert(d:read "a" == big .. big)
    b:close()
    d:close()
  end)
end

lull.run(function()
  reads(("x"):rep(100), ("x"):rep(100), function(s) return s:read_some() end)
  reads(line:rep(10), line:sub(1, -2), function(s) return s:read() end)
  reads(line:rep(10), line, function(s) return s:read_until "\n" end)
  reads(big, big:sub(1, 20000), function(s) return s:read(20000) end)
  reads(big:rep(5), big:rep(5), function(s) return s:read "a" end)
  reads(line:rep(1000), line:rep(501), function(s)
    local first, rest = s:read("L", 50000)
    return first and first .. rest
  end)
  writes("a1b", function(s) return s:write("a", 1, "b") end)
  writes(big:rep(20), function(s) return s:try_write(big:rep(20)) end)
  writes(big:rep(20) .. "x" .. big:rep(3) .. "12", function(s)
    return s:try_write(big:rep(20), "x", big:rep(3), 12)
  end)
  accepts()
  has_options()
  relays()
end)
