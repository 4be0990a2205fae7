-- The programs in examples/.  Those that end are run, on the virtual clock where they
-- sleep, and print what examples/expected/ says; the servers are spoken to.
local helper = require "spec.helper"
local lull = require "lull"
local net = require "lull.net"

local run, slurp = helper.run, helper.slurp

-- Those that look at the real clock.
local real = {loops_from_nothing = true, three_styles = true, worker_threads = true}

describe("an example", function()
  for file in require "lfs".dir "examples/expected" do
    local name = file:match "^([%w_]+)%.txt$"
    if name then
      it(name .. " prints what it should", function()
        local script = ('dofile "examples/%s.lua"'):format(name)
        local out, err, code = helper.child(script, real[name] and "--real")
        assert.equal("", err)
        assert.equal(slurp("examples/expected/" .. file), out)
        assert.equal(0, code)
      end)
    end
  end

  it("has a line in the README", function()
    local readme = slurp "examples/README.md"
    for file in require "lfs".dir "examples" do
      if file:find "%.lua$" then
        assert.truthy(readme:find("[" .. file .. "](" .. file .. ")", 1, true), file)
      end
    end
    for file in require "lfs".dir "examples/embed" do
      if file:find "%.c%w*$" then
        local link = "[" .. file .. "](embed/" .. file .. ")"
        assert.truthy(readme:find(link, 1, true), file)
      end
    end
  end)
end)

describe("the tour", function()
  it("ends well, on one screen, with its figures", function()
    local out, err, code = helper.child('dofile "examples/tour.lua"', "--real")
    assert.equal("", err)
    assert.equal(0, code)
    local clients = out:match "A server and (%d+) clients" -- as many as may be open
    assert.truthy(out:find(clients .. " were connected at once"))
    local answers = out:match "([%d ]+) answers came, all of them right":gsub(" ", "")
    assert.equal(clients * 50, tonumber(answers))
    assert.truthy(out:find "gave nil, \"ETIMEDOUT: ")
    assert.truthy(out:find "hears out \"farewell\"")
    for _, figure in ipairs {"requests +[%d ]+ per second", "switches +[%d ]+ per second",
      "sleeping task +[%d ]+ bytes", "awaited +%d+ ns", "stopped +%d+ ns"} do
      assert.truthy(out:find(figure), figure)
    end
    local lines = 0
    for line in out:gmatch "(.-)\n" do
      lines = lines + 1
      assert.is_true(#line <= 80, line)
    end
    assert.is_true(lines <= 40)
    assert.is_nil(out:find "[\r\27]") -- no progress line where there is no terminal
  end)
end)

-- Runs a server of the examples as a task on a port of its own; what it prints goes to a
-- list.  Returns the task, the port and the list.
local function start(name)
  local address, printed = lull.future(), {}
  local env = setmetatable({
    arg = {[0] = name, "127.0.0.1", "0"},
    print = function(text)
      printed[#printed + 1] = text
      if #printed == 1 then
        address:set_result(math.tointeger(tonumber(text:match "port (%d+)")))
      end
    end,
  }, {__index = _G})
  local chunk = assert(loadfile("examples/" .. name .. ".lua", "t", env))
  local task = lull.spawn(chunk)
  return task, address:await(), printed
end

describe("the echo server", function()
  it("sends back what it receives, to several at once", function()
    run(function()
      local server <close>, port = start "echo_server"
      local a <close> = assert(net.connect("127.0.0.1", port))
      local b <close> = assert(net.connect("127.0.0.1", port))
      a:write "one\n"
      b:write "two\n"
      assert.equal("two", b:read())
      assert.equal("one", a:read())
      local large = ("0123456789"):rep(100000)
      a:write(large)
      a:shutdown "write"
      assert.is_true(a:read "a" == large)
      b:write "still here\n"
      assert.equal("still here", b:read())
      assert.is_false(server:done())
    end, {real = true})
  end)
end)

describe("the chat server", function()
  -- A guest who has come in under a name.
  local function guest(port, name)
    local stream = assert(net.connect("127.0.0.1", port))
    assert.equal("* welcome! who are you?", stream:read())
    stream:write(name, "\n")
    assert.truthy(stream:read():find("* hello " .. name, 1, true))
    return stream
  end

  it("tells everybody what anybody says", function()
    run(function()
      local _ <close>, port = start "chat_server"
      local ann <close> = guest(port, "ann")
      local bob <close> = guest(port, "bob")
      assert.equal("* bob has come", ann:read())
      bob:write "hello\27[2J there\r\n\n"
      assert.equal("bob: hello[2J there", ann:read())
      ann:write "/who\nbye\n/quit\n"
      assert.equal("* here: ann, bob", ann:read())
      assert.equal("* goodbye", ann:read())
      assert.is_nil(ann:read())
      assert.equal("ann: bye", bob:read())
      assert.equal("* ann has left", bob:read())
    end, {real = true})
  end)

  it("insists on a name that is free and printable", function()
    run(function()
      local _ <close>, port = start "chat_server"
      local ann <close> = guest(port, "ann")
      local other <close> = assert(net.connect("127.0.0.1", port))
      other:write("ann\n", "two words\n", "\n", ("x"):rep(17), "\n", "an-other\n")
      assert.equal("* welcome! who are you?", other:read())
      assert.equal("* ann is here already; another name?", other:read())
      for _ = 1, 3 do
        assert.equal("* up to 16 letters, digits, _ and -, please", other:read())
      end
      assert.truthy(other:read():find "^%* hello an%-other")
      assert.equal("* an-other has come", ann:read())
    end, {real = true})
  end)

  it("hangs up on a line that does not end", function()
    run(function()
      local _ <close>, port = start "chat_server"
      local ann <close> = guest(port, "ann")
      local bob <close> = guest(port, "bob")
      assert.equal("* bob has come", ann:read())
      bob:write(("x"):rep(2000))
      assert.equal("* that line is too long", bob:read())
      assert.equal("* goodbye", bob:read())
      assert.equal("* bob has left", ann:read())
    end, {real = true})
  end)

  it("drops who does not read, and the others notice nothing but that", function()
    run(function()
      local _ <close>, port, printed = start "chat_server"
      local ann <close> = guest(port, "ann")
      local slow <close> = assert(net.socket("inet", "stream"))
      slow:setoption("rcvbuf", 4096)
      assert(slow:connect("127.0.0.1", port))
      slow:sendall "slow\n"
      assert.equal("* slow has come", ann:read())
      local line = ("x"):rep(900) .. "\n"
      local writing <close> = lull.spawn(function()
        while ann:write(line) do
          lull.sleep(0)
        end
      end)
      assert.equal("* slow was dropped", ann:read())
      writing:close()
      assert.equal("slow was dropped: too slow", printed[2])
      local bob <close> = guest(port, "bob")
      bob:write "quiet here\n"
      assert.equal("* bob has come", ann:read())
      assert.equal("bob: quiet here", ann:read())
    end, {real = true})
  end)

  it("says goodbye when it is cancelled", function()
    run(function()
      local server, port, printed = start "chat_server"
      local ann <close> = guest(port, "ann")
      local bob <close> = guest(port, "bob")
      local early <close> = assert(net.connect("127.0.0.1", port))
      assert.equal("* welcome! who are you?", early:read())
      assert.equal("* bob has come", ann:read())
      server:close()
      assert.truthy(ann:read "a":find "%* goodbye\n")
      assert.truthy(bob:read "a":find "%* goodbye\n")
      assert.equal("* goodbye", early:read())
      assert.equal("chat server has closed", printed[#printed])
    end, {real = true})
  end)
end)
