-- Scenarios for spec/sweep/check.lua: TLS over socket pairs.  Whoever is cancelled: every
-- byte arrives once and in order, or the end is told to be none, and no descriptor stays
-- open.
local core = require "lull.core"
local lull = require "lull"
local crew = require "spec.sweep.crew"

local await_all, when_done, at_last, guard =
  crew.await_all, crew.when_done, crew.at_last, crew.guard

local PEM = "examples/localhost.pem"

local function new_pair(narrow)
  local a, b = assert(core.pair())
  if narrow then
    a:setoption("sndbuf", 1)
    b:setoption("sndbuf", 1)
  end
  return guard(core.stream(a, {high_water = 1000}), core.stream(b, {high_water = 1000}))
end

local function start(stream, server)
  if server then return stream:starttls {server = true, cert_file = PEM} end
  return stream:starttls {server_name = "localhost", ca_file = PEM}
end

local text = {}
for i = 1, 3000 do text[i] = ("%7d,"):format(i) end
text = table.concat(text)

local function is_open(stream)
  return not tostring(stream):find "closed"
end

-- A handshake that is cancelled goes on with the next who wants something.
local function handshake(case)
  local a, b <close> = new_pair()
  local done = 0
  local tasks = {}
  for i, stream in ipairs {a, b} do
    tasks[i] = lull.spawn(function()
      if start(stream, i == 2) then done = done + 1 end
    end)
    tasks[i + 2] = lull.spawn(function()
      lull.sleep(i - 1)
      if is_open(stream) then stream:handshake() end
    end)
  end
  for i, stream in ipairs {a, b} do
    when_done({tasks[i]}, function()
      if not (is_open(stream) and stream:tls_info()) then stream:close() end
    end)
  end
  local _ <close> = at_last(function()
    await_all(tasks)
    a:close()
    assert(case.cancelled or done == 2)
  end)
end

-- Two write, one reads in parts: what has been given to write arrives in one piece.
local function conversation(narrow)
  return function(case)
    local a, b <close> = new_pair(narrow)
    local given, got, code = {}, {}, nil
    local ready = lull.event()
    local opening = lull.spawn(function()
      if start(a) then ready:set(true) end
    end)
    when_done({opening}, function() ready:set(false) end)
    local server = lull.spawn(function()
      if not start(b, true) then return end
      while true do
        local part = b:read_some(3000)
        if not part then return end
        table.insert(got, part)
      end
    end)
    when_done({server}, function()
      if not (is_open(b) and b:tls_info()) then b:close() end
    end)
    local writers = {}
    for i = 1, 2 do
      writers[i] = lull.spawn(function()
        for round = 1, ready:wait() and 2 or 0 do
          local piece = text:sub(1, (narrow and 2000 or 9000) * round)
          table.insert(given, piece)
          if i == 2 then
            lull.timeout(round, a.write, a, piece)
          else
            a:write(piece)
          end
        end
      end)
    end
    when_done(writers, function() a:close() end)
    local _ <close> = at_last(function()
      await_all {opening, server}
      if is_open(b) and b:tls_info() then
        local rest, _, why = b:read "a"
        table.insert(got, rest or "")
        code = why
      end
      await_all(writers)
      local all, come = table.concat(given), table.concat(got)
      assert(come == all:sub(1, #come), "mixed up")
      assert(come == all or code or case.cancelled, #come .. " of " .. #all)
    end)
  end
end

return {
  {"handshake", handshake},
  {"conversation", conversation(false)},
  {"conversation in small pieces", conversation(true)},
}
