-- Which of several addresses a connection goes to (RFC 8305), when each is tried, and
-- what becomes of the others.  An address that does not answer is a listener whose
-- backlog is full; the clock is virtual.
local helper = require "spec.helper"
local connect = require "lull.connect"
local core = require "lull.core"
local lull = require "lull"
local nameserver = require "spec.nameserver"
local net = require "lull.net"
local run = helper.run

local function descriptors()
  local n = 0
  for _ in pairs(core.descriptors()) do n = n + 1 end
  return n
end

local function closing(...)
  local list = {...}
  return helper.closer(function()
    for _, object in ipairs(list) do object:close() end
  end)
end

-- A port on which 127.0.0.1 listens, 127.0.0.2 does not answer, and others refuse.
local function landscape()
  local good = assert(net.listen("127.0.0.1", 0))
  local _, port = good:local_address()
  local silent = assert(net.socket "inet")
  assert(silent:bind("127.0.0.2", port))
  assert(silent:listen(0))
  local held = {good, silent}
  for _ = 1, 10 do
    local socket = assert(net.socket "inet")
    held[#held + 1] = socket
    socket:settimeout(0.001)
    if not socket:connect("127.0.0.2", port) then
      return port, closing(table.unpack(held)), good
    end
  end
  error "the backlog is never full"
end

local GOOD, SILENT = "127.0.0.1", "127.0.0.2"
local REFUSING, REFUSING_TOO = "127.0.0.3", "127.0.0.4"

local function addresses(...)
  local list = {}
  for i, host in ipairs {...} do
    list[i] = {host = host, family = host:find ":" and "inet6" or "inet"}
  end
  return list
end

-- Connects to one of the hosts: the stream (or nil, message, code), and how long it took.
local function dial(port, opts, ...)
  local start = lull.now()
  local deadline = opts.timeout and start + opts.timeout
  local stream, message, code = connect.first(addresses(...), port, opts, deadline,
                                              connect.delay(opts))
  if stream then return stream, lull.now() - start end
  return nil, message, code, lull.now() - start
end

describe("connect, given several addresses,", function()
  it("takes the first that answers", function()
    run(function()
      local port, _ <close> = landscape()
      local stream <close>, seconds = dial(port, {}, GOOD, REFUSING)
      assert.equal(GOOD, (stream:peer()))
      assert.equal(0, seconds)
    end)
  end)

  it("goes on at once where one refuses", function()
    run(function()
      local port, _ <close> = landscape()
      local stream <close>, seconds = dial(port, {}, REFUSING, REFUSING_TOO, GOOD)
      assert.equal(GOOD, (stream:peer()))
      assert.equal(0, seconds)
    end)
  end)

  it("goes on after a quarter of a second where one does not answer", function()
    run(function()
      local port, _ <close> = landscape()
      local stream <close>, seconds = dial(port, {}, SILENT, GOOD)
      assert.equal(GOOD, (stream:peer()))
      assert.equal(0.25, seconds)
      local other <close>, later = dial(port, {}, SILENT, SILENT, REFUSING, GOOD)
      assert.equal(GOOD, (other:peer()))
      assert.equal(0.5, later)
    end)
  end)

  it("waits as long as it is told to, but not less than a little", function()
    run(function()
      local port, _ <close> = landscape()
      for given, expected in pairs {[1.5] = 1.5, [0] = 0.01} do
        local start = lull.now()
        local stream <close> = dial(port, {happy_eyeballs_delay = given}, SILENT, GOOD)
        assert.equal(GOOD, (stream:peer()))
        assert.is_true(math.abs(lull.now() - start - expected) < 1e-6)
      end
    end)
  end)

  it("tries one after the other where it is told to", function()
    run(function()
      local port, _ <close> = landscape()
      local opts = {happy_eyeballs_delay = false, timeout = 3}
      local stream <close> = dial(port, opts, REFUSING, GOOD)
      assert.equal(GOOD, (stream:peer()))
      local none, _, code, seconds = dial(port, opts, SILENT, GOOD)
      assert.is_nil(none)
      assert.equal("ETIMEDOUT", code)
      assert.is_true(math.abs(seconds - 3) < 1e-6)
    end)
  end)

  it("lets the families take turns", function()
    if not helper.has_inet6() then return pending "no IPv6 here" end
    run(function()
      local unheard <close> = assert(net.socket "inet")
      assert(unheard:bind("127.0.0.1", 0))
      local _, port = unheard:local_address()
      local _, message = dial(port, {}, "::1", "::1", "::1", REFUSING, REFUSING_TOO)
      local order = {}
      for host in message:gmatch "%(%[?([%x:.]-)%]?:%d+%)" do order[#order + 1] = host end
      assert.same({"::1", REFUSING, "::1", REFUSING_TOO}, order)
      assert.matches("and 1 more$", message)
    end)
  end)

  it("closes those that lost", function()
    run(function()
      local port, _ <close> = landscape()
      helper.collect()
      local before = descriptors()
      local stream = dial(port, {}, SILENT, SILENT, REFUSING, GOOD)
      stream:close()
      assert.equal(before, descriptors())
    end)
  end)

  it("closes all but one when several answer", function()
    run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      helper.collect()
      local before = descriptors()
      for _ = 1, 20 do
        local stream <close> = dial(port, {happy_eyeballs_delay = 0},
                                    "127.0.0.1", "127.0.0.1", "127.0.0.1")
        assert.equal(before + 1, descriptors())
        assert.equal("127.0.0.1", (stream:peer()))
      end
      assert.equal(before, descriptors())
    end)
  end)

  it("tells of all that failed, with the most telling code", function()
    run(function()
      local port, _ <close> = landscape()
      local none, message, code = dial(port, {}, REFUSING, REFUSING_TOO)
      assert.is_nil(none)
      assert.equal("ECONNREFUSED", code)
      assert.equal(("ECONNREFUSED: connection refused (127.0.0.3:%d); " ..
        "ECONNREFUSED: connection refused (127.0.0.4:%d)"):format(port, port), message)

      local seconds
      none, message, code, seconds = dial(port, {timeout = 2}, SILENT, REFUSING)
      assert.is_nil(none)
      assert.equal("ECONNREFUSED", code)
      assert.matches("^ECONNREFUSED: .*127.0.0.3.*; ETIMEDOUT: .*127.0.0.2", message)
      assert.is_true(math.abs(seconds - 2) < 1e-6)
    end)
  end)

  it("is over in time, however many there are", function()
    run(function()
      local port, _ <close> = landscape()
      local none, message, code, seconds = dial(port, {timeout = 1},
        SILENT, SILENT, SILENT, SILENT, SILENT, SILENT, SILENT)
      assert.is_nil(none)
      assert.equal("ETIMEDOUT", code)
      assert.matches("^ETIMEDOUT: connection timed out %(127.0.0.2:%d+%)", message)
      assert.is_true(math.abs(seconds - 1) < 1e-6, seconds)
    end)
  end)

  it("can be cancelled at any point, and leaves nothing", function()
    run(function()
      local port, _ <close> = landscape()
      helper.collect()
      local before = descriptors()
      for turns = 0, 25 do
        local task = lull.spawn(dial, port, {happy_eyeballs_delay = 0.01},
                                SILENT, REFUSING, SILENT, GOOD)
        helper.turns(turns)
        if turns % 3 == 0 then lull.sleep(turns / 1000) end
        task:cancel "enough"
        helper.turns(4)
        assert.is_true(task:done())
        if task:status() == "finished" then (task:result()):close() end
        assert.equal(before, descriptors())
      end
    end)
  end)

  it("names its attempts", function()
    run(function()
      local port, _ <close> = landscape()
      lull.spawn(dial, port, {}, SILENT, SILENT):daemon()
      helper.turns(3)
      local named = false
      for _, one in ipairs(lull.tasks()) do
        named = named or one:name() == "connect 127.0.0.2"
      end
      assert.is_true(named)
    end)
  end)
end)

describe("connect", function()
  it("spawns nobody for a single address", function()
    run(function()
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _, port = listener:local_address()
      local first = lull.spawn(function() end):id()
      assert(net.connect("127.0.0.1", port)):close()
      assert.equal(first + 1, lull.spawn(function() end):id())
    end)
  end)

  it("looks up the name, and takes what answers", function()
    run(function()
      local port, _ <close>, listener = landscape()
      local server <close> = nameserver.start {
        ["a.test"] = {A = {SILENT, GOOD}}, ["b.test"] = {A = {REFUSING}},
      }
      local opts = {servers = {server.address}}
      local stream <close> = assert(net.connect("a.test", port, opts))
      local peer <close> = assert(listener:accept())
      stream:write "hello\n"
      assert.equal("hello", peer:read())
      assert.equal("ECONNREFUSED", select(3, net.connect("b.test", port, opts)))
      local _, message, code = net.connect("c.test", port, opts)
      assert.equal("EAI_NONAME", code)
      assert.equal("EAI_NONAME: name not known (c.test)", message)
    end)
  end)

  it("counts the time of the look-up", function()
    run(function()
      local port, _ <close> = landscape()
      local server <close> = nameserver.start(function(query)
        lull.sleep(1.5)
        return nameserver.reply(query, {A = {SILENT}})
      end)
      local start = lull.now()
      local opts = {servers = {server.address}, timeout = 2}
      assert.equal("ETIMEDOUT", select(3, net.connect("a.test", port, opts)))
      assert.is_true(math.abs(lull.now() - start - 2) < 1e-6)
      start, opts.timeout = lull.now(), 1
      assert.equal("ETIMEDOUT", select(3, net.connect("a.test", port, opts)))
      assert.is_true(math.abs(lull.now() - start - 1) < 1e-6)
    end)
  end)

  it("raises outside of a task, and for options without sense", function()
    assert.error_matches(function() net.connect("127.0.0.1", 1) end, "outside of a task")
    run(function()
      for _, value in ipairs {-1, "x", true} do
        assert.error_matches(function()
          net.connect("127.0.0.1", 1, {happy_eyeballs_delay = value})
        end, "bad option 'happy_eyeballs_delay'")
      end
    end)
  end)

  it("waits for room in the backlog of a Unix listener, as long as it may", function()
    run(function()
      local name = ("\0lull-connect-%p-%d"):format(connect, os.time())
      local listener <close> = assert(net.listen_unix(name, {backlog = 0}))
      local first = assert(net.connect_unix(name))
      local start = lull.now()
      local none, message, code = net.connect_unix(name, {timeout = 2})
      assert.is_nil(none)
      assert.equal("ETIMEDOUT", code)
      assert.matches("^ETIMEDOUT: .*%(@lull%-connect", message)
      assert.is_true(math.abs(lull.now() - start - 2) < 1e-6)
      local second = lull.spawn(net.connect_unix, name)
      lull.sleep(1)
      assert.is_false(second:done())
      assert(listener:accept())
      assert(second:await()):close()
      first:close()
    end)
  end)
end)

describe("out of descriptors", function()
  -- Runs text with few descriptors, all of which are in use but n.
  local function starved(text)
    local dir <close> = helper.tempdir()
    local script = dir:write("script.lua", [[
      local lull, net = require "lull", require "lull.net"
      local ns = dofile "spec/nameserver.lua"
      local files = {}
      function starve(n)
        while true do
          local f = io.open("/dev/null")
          if not f then break end
          files[#files + 1] = f
        end
        for _ = 1, n do table.remove(files):close() end
      end
    ]] .. text)
    local command = ("ulimit -n 40; exec '%s' '%s'"):format(helper.interpreter(), script)
    return helper.execute {"sh", "-c", command}
  end

  it("connect says so, and works again later", function()
    local out, err, code = starved [[
      local listener = net.listen("127.0.0.1", 0)
      local _, port = listener:local_address()
      starve(0)
      print((select(3, net.connect("127.0.0.1", port))))
      print((select(3, net.connect("localhost", port))))
      starve(1)
      print(net.connect("127.0.0.1", port) ~= nil)
    ]]
    assert.equal("", err)
    assert.equal("EMFILE\nEMFILE\ntrue\n", out)
    assert.equal(0, code)
  end)

  it("a name server is not reached, and is later", function()
    local out, err, code = starved [[
      local server <close> = ns.start {["a.test"] = {A = {"192.0.2.1"}}}
      local opts = {servers = {server.address}}
      starve(0)
      print((select(3, net.resolve("a.test", opts))))
      print((select(3, net.connect("a.test", 1, opts))))
      print((select(3, net.udp("127.0.0.1", 0))))
      starve(1)
      print(net.resolve("a.test", opts)[1].host)
    ]]
    assert.equal("", err)
    assert.equal("EMFILE\nEMFILE\nEMFILE\n192.0.2.1\n", out)
    assert.equal(0, code)
  end)
end)
