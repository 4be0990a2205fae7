-- What only io_uring does: it receives and accepts before anybody asks.  Nobody may see
-- it but by the clock: the peer of one who does not read, who closes, who asks oddly.
local helper = require "spec.helper"
local lull = helper.lull
local net = require "lull.net"
local core = require "lull.core"
local probe = require "probe"
local test = require "lull.test"

local available = false
for _, name in helper.backends() do
  available = available or name == "io_uring"
end

local function on(fn, real)
  return function()
    if not available then
      return pending "no io_uring here"
    end
    return helper.run(fn, {selector = "io_uring", real = real})
  end
end

local function pattern(n, seed)
  local piece = {}
  for i = 1, n // 8 + 1 do piece[i] = ("%c%7d"):format(97 + seed % 26, i) end
  return table.concat(piece):sub(1, n)
end

-- Writes until nothing more is taken.
local function fill(stream)
  while stream:try_write(("x"):rep(10000)) do end
end

describe("io_uring", function()
  it("is never what one gets without asking", function()
    assert.not_equal("io_uring", lull.selectors.available()[1])
  end)

  it("hands over in order what came, in whatever sizes it is asked for", on(function()
    math.randomseed(7)
    for _, sizes in ipairs {{1, 100}, {1, 5000}, {4160, 4160}, {2000, 200000}} do
      local a, b = assert(net.pair())
      local text = pattern(1500000 // (sizes[1] == 1 and sizes[2] == 100 and 20 or 1), 3)
      lull.spawn(function()
        local at = 1
        while at <= #text do
          local n = math.random(sizes[1], sizes[2])
          assert(a:write(text:sub(at, at + n - 1)))
          at = at + n
          if math.random(5) == 1 then lull.sleep(0) end
        end
        a:close()
      end)
      local got = {}
      for part in function() return b:read_some(math.random(sizes[1], sizes[2])) end do
        got[#got + 1] = part
        if math.random(9) == 1 then lull.sleep(0.001) end
      end
      assert.is_true(text == table.concat(got))
      b:close()
    end
  end))

  it("goes on when all its buffers are taken", on(function()
    local pairs_, texts = {}, {}
    for i = 1, 120 do -- more at once than there are buffers for
      local a, b = assert(net.pair())
      pairs_[i], texts[i] = {a = a, b = b}, pattern(60000, i)
    end
    local readers = {}
    for i, p in ipairs(pairs_) do
      readers[i] = lull.spawn(p.b.read_exactly, p.b, 60000)
    end
    lull.sleep(1)
    for i, p in ipairs(pairs_) do p.a:write(texts[i]) end
    for i in ipairs(pairs_) do assert.is_true(readers[i]:await() == texts[i]) end
    for i, p in ipairs(pairs_) do -- and all of them are served as before
      p.a:write(i, "\n")
      assert.equal(tostring(i), p.b:read())
      p.a:close()
      p.b:close()
    end
  end))

  it("receives nothing for one who does not wait", on(function()
    local a, b = assert(net.pair())
    a:write "x"
    assert.equal("x", b:read(1)) -- the kernel was told to receive
    local late = lull.spawn(b.read, b, 1)
    lull.sleep(1)
    a:write "y"
    assert.equal("y", late:await())
    fill(a)
    lull.sleep(1)
    assert.is_nil(a:try_write "no")
    a:abort()
  end))

  it("lets the peer know at once who has closed", on(function()
    local fd, raw = probe.tcp()
    local s = core.stream(fd)
    local reader = lull.spawn(s.read, s)
    lull.sleep(1)
    s:close()
    local last
    local limit <const> = os.clock() + 10
    repeat last = probe.read(raw) until last or os.clock() > limit
    assert.equal("", last) -- no turn has passed
    assert.same({nil, "ECANCELED"}, {(reader:await()), (select(3, reader:result()))})
    probe.close_fd(raw)
  end))

  it("closes connections that it has taken and nobody wants", on(function()
    for closed = 1, 2 do
      local listener = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      local first = lull.spawn(listener.accept, listener)
      lull.sleep(0.01)
      local one = assert(net.connect("127.0.0.1", port))
      assert(first:await()):close()
      local second = lull.spawn(listener.accept, listener)
      lull.sleep(0.01)
      local clients = {}
      for i = 1, 40 do clients[i] = assert(net.connect("127.0.0.1", port)) end
      second:await():close()
      if closed == 1 then
        listener:close()
      else
        for _ = 3, 41 do listener:accept():close() end
        listener:close()
      end
      for _, client in ipairs(clients) do
        local line, _, code = client:read()
        assert.is_nil(line)
        assert.is_true(code == nil or code == "ECONNRESET", code)
        client:close()
      end
      one:close()
    end
  end, true))

  it("tells a listener who has called, also when he has gone again", on(function()
    local listener = assert(net.listen("127.0.0.1", 0))
    local host, port = listener:local_address()
    local accepted = {}
    lull.spawn(function()
      for i = 1, 4 do accepted[i] = assert(listener:accept()) end
    end)
    lull.sleep(0.01)
    for i = 1, 4 do
      local client = assert(net.connect(host, port))
      local _, own = client:local_address()
      if i == 3 then client:abort() else lull.sleep(0.01) end
      while not accepted[i] do lull.sleep(0.01) end
      local name, number = accepted[i]:peer()
      assert.is_true(i == 3 or (name == "127.0.0.1" and number == own))
      client:close()
    end
    for _, s in ipairs(accepted) do s:close() end
    listener:close()
  end, true))

  -- What a ring has locked is given back some time after it was closed.
  local function many()
    local shell <close> = io.popen "ulimit -l; grep CapEff /proc/self/status"
    local locked = tonumber(shell:read()) or math.huge
    local capabilities = shell:read():match "%x+$"
    return locked > 1 << 20 or tonumber(capabilities, 16) >> 14 & 1 == 1
  end

  for _, entry in ipairs(require "spec.sweep.network") do
    local name, scenario = entry[1], entry[2]

    it("is swept: " .. name, function()
      if not available then
        return pending "no io_uring here"
      elseif not many() then
        return pending "only few rings here"
      end
      local plan = {name = name, selector = "io_uring", seeds = 1}
      test.cancel_sweep(scenario, plan)
      plan.seeds, plan.cancels = 30, 2
      test.schedule_sweep(scenario, plan)
    end)
  end
end)
