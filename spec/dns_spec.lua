-- Names from name servers: a small one of the suite's own answers, or does not, or lies.
-- All of it on the virtual clock, as both sides are on one loop, and never with this
-- machine's configuration.
local helper = require "spec.helper"
local lull = require "lull"
local nameserver = require "spec.nameserver"
local net = require "lull.net"
local run = helper.run

local A, AAAA = "192.0.2.1", "2001:db8::1"

-- The addresses of a name as one string, "192.0.2.1 2001:db8::1", sorted; or the failure.
local function ask(server, name, opts)
  local all = {servers = {server.address}}
  for key, value in pairs(opts or {}) do all[key] = value end
  local list, message, code = net.resolve(name, all)
  if not list then return nil, message, code end
  local hosts = {}
  for i, entry in ipairs(list) do
    assert.equal(entry.host:find ":" and "inet6" or "inet", entry.family)
    hosts[i] = entry.host
  end
  table.sort(hosts)
  return table.concat(hosts, " ")
end

local function code_of(...)
  return (select(3, ask(...)))
end

-- How many descriptors this process has open.
local function descriptors()
  local n = 0
  for _ in pairs(require "lull.core".descriptors()) do n = n + 1 end
  return n
end

describe("a name server", function()
  it("is asked for both families at once", function()
    run(function()
      local server <close> = nameserver.start {["a.test"] = {A = {A}, AAAA = {AAAA}}}
      assert.equal(A .. " " .. AAAA, ask(server, "a.test"))
      assert.equal(1, server:asked("a.test", "A"))
      assert.equal(1, server:asked("a.test", "AAAA"))
    end)
  end)

  it("is asked for one family where only that is wanted", function()
    run(function()
      local server <close> = nameserver.start {["a.test"] = {A = {A}, AAAA = {AAAA}}}
      assert.equal(A, ask(server, "a.test", {family = "inet"}))
      assert.equal(0, server:asked("a.test", "AAAA"))
      assert.equal(AAAA, ask(server, "a.test", {family = "inet6"}))
    end)
  end)

  it("may know one family only", function()
    run(function()
      local server <close> = nameserver.start {a = {A = {A}}, aaaa = {AAAA = {AAAA}}}
      assert.equal(A, ask(server, "a"))
      assert.equal(AAAA, ask(server, "aaaa"))
      assert.equal("EAI_NODATA", code_of(server, "a", {family = "inet6"}))
    end)
  end)

  it("may itself be reached over IPv6", function()
    run(function()
      if not helper.has_inet6() then return end
      local server <close> = nameserver.start({["a.test"] = {A = {A}}}, "::1")
      assert.matches("^%[::1%]:%d+$", server.address)
      assert.equal(A, ask(server, "a.test"))
    end)
  end)

  it("says by the usual codes what is wrong", function()
    run(function()
      local server <close> = nameserver.start {
        ["none.test"] = {}, ["servfail.test"] = {rcode = "SERVFAIL"},
        ["refused.test"] = {rcode = "REFUSED"}, ["notimp.test"] = {rcode = "NOTIMP"},
        ["formerr.test"] = {rcode = "FORMERR"},
      }
      for name, expected in pairs {
        ["gone.test"] = "EAI_NONAME: name not known (gone.test)",
        ["none.test"] = "EAI_NODATA: no address associated with the name (none.test)",
        ["servfail.test"] = "EAI_AGAIN: failure of the name server (servfail.test)",
        ["refused.test"] = "EAI_FAIL: the name server refuses to answer (refused.test)",
        ["notimp.test"] =
          "EAI_FAIL: the name server does not know how to answer (notimp.test)",
        ["formerr.test"] = "EAI_FAIL: the name server does not understand (formerr.test)",
      } do
        local list, message, code = ask(server, name)
        assert.is_nil(list)
        assert.equal(expected, message)
        assert.equal(expected:match "^[%u_]+", code)
      end
    end)
  end)

  it("follows an alias for us", function()
    run(function()
      local server <close> = nameserver.start {
        ["www.test"] = {CNAME = "a.test", A = {A}}, ["loop.test"] = {CNAME = "loop.test"},
        ["dangling.test"] = {CNAME = "gone.test"},
      }
      assert.equal(A, ask(server, "www.test"))
      assert.equal("EAI_NODATA", code_of(server, "loop.test"))
      assert.equal("EAI_NODATA", code_of(server, "dangling.test"))
    end)
  end)

  it("is asked again over TCP when the answer does not fit", function()
    run(function()
      local many = {}
      for i = 1, 200 do many[i] = "10.0.0." .. i end
      local server <close> = nameserver.start {["many.test"] = {A = many}}
      local list = assert(net.resolve("many.test", {servers = {server.address}}))
      assert.equal(200, #list)
      local tcp = 0
      for _, query in ipairs(server.log) do tcp = tcp + (query.tcp and 1 or 0) end
      assert.equal(1, tcp)
    end)
  end)

  it("cannot fill our memory, and each address comes once", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        if query.type ~= "A" then return nameserver.reply(query, {}) end
        if not query.tcp then return nameserver.packet(query, {}, 0x0200) end
        local records = {}
        for i = 0, 3999 do
          local address = ("10.1.%d.%d"):format(i // 250 % 4, i % 250)
          records[i + 1] = nameserver.record("A", address)
        end
        return nameserver.packet(query, records)
      end)
      local list = assert(net.resolve("many.test", {servers = {server.address}}))
      assert.equal(256, #list)
      local seen = {}
      for _, entry in ipairs(list) do
        assert.is_nil(seen[entry.host])
        seen[entry.host] = true
      end
    end)
  end)
end)

describe("a bad name server", function()
  it("is given up when it never answers, at the time that it should be", function()
    run(function()
      local server <close> = nameserver.start(function() end)
      local start = lull.now()
      local list, message, code = ask(server, "a.test")
      assert.is_nil(list)
      assert.equal("EAI_AGAIN", code)
      assert.equal("EAI_AGAIN: no name server answers (a.test)", message)
      assert.equal(6, lull.now() - start) -- 3 attempts of 2 s
      assert.equal(3, server:asked("a.test", "A"))

      start = lull.now()
      local opts = {attempts = 2, attempt_timeout = 0.5}
      assert.equal("EAI_AGAIN", code_of(server, "b.test", opts))
      assert.equal(1, lull.now() - start)
    end)
  end)

  it("does not make us wait longer than we want to", function()
    run(function()
      local server <close> = nameserver.start(function() end)
      local start = lull.now()
      local list, message, code = ask(server, "a.test", {timeout = 0.75})
      assert.is_nil(list)
      assert.equal("ETIMEDOUT", code)
      assert.matches("^ETIMEDOUT: .* %(a.test%)$", message)
      assert.equal(0.75, lull.now() - start)
      assert.equal("ETIMEDOUT", code_of(server, "a.test", {timeout = 0}))
      assert.equal(0.75, lull.now() - start)
    end)
  end)

  it("is left for the next one", function()
    run(function()
      local good <close> = nameserver.start {["a.test"] = {A = {A}}}
      local silent <close> = nameserver.start(function() end)
      local broken <close> = nameserver.start {["a.test"] = {rcode = "SERVFAIL"}}
      local closed <close> = assert(net.socket("inet", "dgram"))
      assert(closed:bind("127.0.0.1", 0))
      local _, port = closed:local_address()
      closed:close()
      local refusing = {address = "127.0.0.1:" .. port}
      for bad, seconds in pairs {[silent] = 2, [broken] = 0, [refusing] = 0} do
        local start = lull.now()
        local servers = {bad.address, good.address}
        assert.equal(A, assert(net.resolve("a.test", {servers = servers}))[1].host)
        assert.equal(seconds, lull.now() - start)
        local opts = {servers = servers, family = "inet"}
        assert.equal(A, assert(net.resolve("a.test", opts))[1].host)
        assert.equal(2 * seconds, lull.now() - start)
      end
    end)
  end)

  it("may know the one family and be silent on the other", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        if query.type == "A" then return nameserver.reply(query, {A = {A}}) end
      end)
      local start = lull.now()
      assert.equal(A, ask(server, "a.test"))
      assert.equal(2, lull.now() - start)
      assert.equal(1, server:asked("a.test", "A"))
    end)
  end)

  it("may be slow", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        lull.sleep(1.9)
        return nameserver.reply(query, {A = {A}, AAAA = {AAAA}})
      end)
      local start = lull.now()
      assert.equal(A .. " " .. AAAA, ask(server, "a.test"))
      assert.equal(1.9, lull.now() - start)
    end)
  end)

  it("may send garbage before the answer, or nothing else", function()
    run(function()
      local truth
      local function wrong_id(query)
        local reply = nameserver.reply(query, {A = {"6.6.6.6"}})
        return string.pack(">I2", query.id ~ 1) .. reply:sub(3)
      end
      local function wrong_question(query)
        local question = "\1x" .. query.question
        local other = {id = query.id, type = query.type, question = question}
        return nameserver.reply(other, {A = {"6.6.6.6"}, AAAA = {"2001:db8::6"}})
      end
      local lies = {
        [""] = true, ["x"] = true, [("\0"):rep(12)] = true, [("\xff"):rep(300)] = true,
        [wrong_id] = true, [wrong_question] = true,
      }
      local server <close> = nameserver.start(function(query)
        local answers = {}
        for lie in pairs(lies) do
          answers[#answers + 1] = type(lie) == "string" and lie or lie(query)
        end
        if truth then answers[#answers + 1] = nameserver.reply(query, {A = {A}}) end
        return answers
      end)
      truth = true
      assert.equal(A, ask(server, "a.test", {family = "inet"}))
      truth = false
      local start = lull.now()
      assert.equal("EAI_AGAIN", code_of(server, "b.test"))
      assert.equal(6, lull.now() - start)
    end)
  end)

  it("gains no time by talking", function()
    run(function()
      local server
      server = nameserver.start(function(query)
        local answers = {}
        for i = 1, 10 do answers[i] = ("\xff"):rep(12 + i) end
        lull.spawn(function()
          for _ = 1, 20 do
            lull.sleep(0.5)
            if server.closed then return end
            server.socket:sendto(("\xff"):rep(40), query.host, query.port)
          end
        end)
        return answers
      end)
      local _ <close> = server
      local start = lull.now()
      assert.equal("EAI_AGAIN", code_of(server, "a.test", {family = "inet"}))
      assert.equal(6, lull.now() - start)
    end)
  end)

  it("may cut its answers anywhere", function()
    run(function()
      local cut
      local server <close> = nameserver.start(function(query)
        local whole = nameserver.reply(query, {CNAME = "b.test", A = {A, "192.0.2.2"}})
        return whole:sub(1, math.max(0, #whole - cut))
      end)
      for i = 0, 60 do
        cut = i
        local got = ask(server, "a.test", {family = "inet", attempts = 1})
        assert.is_true(got == nil or got:find "192.0.2" ~= nil, got)
      end
    end)
  end)

  it("may twist any byte of its answers", function()
    run(function()
      local at, value
      local server <close> = nameserver.start(function(query)
        local whole = nameserver.reply(query, {CNAME = "b.test", A = {A}})
        return whole:sub(1, at - 1) .. string.char(value) .. whole:sub(at + 1)
      end)
      for i = 1, 70 do
        for _, v in ipairs {0, 1, 63, 192, 255} do
          at, value = i, v
          ask(server, "a.test", {family = "inet", attempts = 1, attempt_timeout = 0.1})
        end
      end
    end)
  end)

  it("may do as it likes over TCP", function()
    run(function()
      local tcp
      local server <close> = nameserver.start(function(query)
        if not query.tcp then return nameserver.packet(query, {}, 0x0200) end
        return tcp(query)
      end)
      tcp = function() return "" end
      assert.is_nil((ask(server, "a.test", {attempts = 1})))
      tcp = function() return ("\xff"):rep(65535) end
      assert.is_nil((ask(server, "a.test", {attempts = 1})))
      tcp = function() end
      local start = lull.now()
      assert.equal("EAI_AGAIN", code_of(server, "a.test", {attempts = 1}))
      assert.equal(2, lull.now() - start)
      server.listener:close() -- truncated, and nobody listens
      assert.equal("EAI_AGAIN", code_of(server, "a.test", {attempts = 1}))
    end)
  end)

  it("may hang up in the middle of an answer", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        return nameserver.packet(query, {}, 0x0200)
      end)
      local address = server.address
      server.listener:close()
      local listener <close> = assert(net.listen("127.0.0.1", server.port))
      lull.spawn(function()
        for stream in listener:accepts() do
          stream:read_exactly(2)
          stream:write "\1\0half"
          stream:close()
        end
      end):daemon()
      local start = lull.now()
      local list, _, code = net.resolve("a.test", {servers = {address}, family = "inet"})
      assert.is_nil(list)
      assert.equal("EAI_AGAIN", code)
      assert.equal(0, lull.now() - start)
    end)
  end)
end)

describe("a lookup", function()
  it("goes through the search list as resolv.conf(5) says", function()
    run(function()
      local server <close> = nameserver.start {
        ["db.b.test"] = {A = {A}}, ["x.y"] = {A = {"192.0.2.9"}},
      }
      assert.equal(A, ask(server, "db", {search = {"a.test", "b.test"}}))
      assert.equal(1, server:asked("db.a.test", "A"))
      assert.equal("EAI_NONAME", code_of(server, "db"))
      assert.equal("EAI_NONAME", code_of(server, "db.", {search = {"b.test"}}))
      assert.equal("192.0.2.9", ask(server, "x.y", {search = {"b.test"}}))
      assert.equal(0, server:asked("x.y.b.test"))
      assert.equal("192.0.2.9", ask(server, "x.y", {search = {"b.test"}, ndots = 2}))
      assert.equal(1, server:asked("x.y.b.test", "A"))
    end)
  end)

  it("gives each question of a search its time", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        lull.sleep(1.5)
        return nameserver.reply(query, query.name == "db.c" and {A = {A}} or nil)
      end)
      local start = lull.now()
      assert.equal(A, ask(server, "db", {search = {"a", "b", "c"}, family = "inet"}))
      assert.equal(4.5, lull.now() - start)
    end)
  end)

  it("looks into the hosts file first, where that is wanted", function()
    local dir <close> = helper.tempdir()
    local hosts = dir:write("hosts", table.concat({
      "# a comment", "", "192.0.2.5 here.test alias # and more", "2001:db8::5\there.test",
      "nonsense here.test", "192.0.2.6", "* everywhere.test",
      "192.0.2.7 Upper.TEST",
    }, "\n"))
    run(function()
      local server <close> = nameserver.start {["a.test"] = {A = {A}}}
      local opts = {hosts = hosts}
      assert.equal("192.0.2.5 2001:db8::5", ask(server, "here.test", opts))
      assert.equal("192.0.2.5", ask(server, "ALIAS", opts))
      assert.equal("192.0.2.7", ask(server, "upper.test.", opts))
      opts.family = "inet"
      assert.equal("192.0.2.5", ask(server, "here.test", opts))
      opts.family = nil
      assert.equal("192.0.2.5", ask(server, "alias", {hosts = hosts, timeout = 0}))
      assert.equal(0, #server.log)
      assert.equal(A, ask(server, "a.test", opts))
      assert.equal("EAI_NONAME", code_of(server, "everywhere.test", opts))
      assert.equal("EAI_NONAME", code_of(server, "here.test"))
      assert.equal(A, ask(server, "a.test", {hosts = dir.path .. "/absent"}))
      assert.equal(A, ask(server, "a.test", {hosts = dir.path}))
      assert.equal(A, ask(server, "a.test", {hosts = "/dev/zero"}))
    end)
  end)

  it("never asks anybody who localhost is", function()
    run(function()
      local server <close> = nameserver.start {}
      for _, name in ipairs {"localhost", "LocalHost.", "x.localhost"} do
        assert.equal("127.0.0.1 ::1", ask(server, name))
      end
      assert.equal("127.0.0.1", ask(server, "localhost", {family = "inet"}))
      assert.equal("EAI_NONAME", code_of(server, "mylocalhost"))
      assert.equal(0, server:asked "localhost")
    end)
  end)

  it("never asks for what cannot be a name", function()
    run(function()
      local server <close> = nameserver.start {}
      for _, name in ipairs {
        "", ".", "..", "a..b", ".a", "a b", "a\tb", "a\0b", "1.2.3", "1", "a.1", "0x7f.1",
        ("x"):rep(64), ("x."):rep(128), "a/b", "a@b", "[::1]", "::g", "*.a",
      } do
        local list, message, code = ask(server, name)
        assert.is_nil(list, name)
        assert.equal("EAI_NONAME", code, name)
        assert.matches("^EAI_NONAME: ", message)
      end
      assert.equal("EAI_ADDRFAMILY", code_of(server, "127.0.0.1", {family = "inet6"}))
      assert.equal(0, #server.log)
    end)
  end)

  it("runs beside many others", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        lull.sleep(query.id % 7 / 10)
        return nameserver.reply(query, {A = {"10.0.0." .. query.name:match "%d+"}})
      end)
      local tasks = {}
      for i = 1, 200 do
        tasks[i] = lull.spawn(ask, server, ("n%d.test"):format(i), {family = "inet"})
      end
      for i = 1, 200 do assert.equal("10.0.0." .. i, (tasks[i]:await())) end
    end)
  end)

  it("waits for its turn where there are very many", function()
    run(function()
      local now, most = 0, 0
      local server <close> = nameserver.start(function(query)
        now = now + 1
        most = math.max(most, now)
        lull.sleep(1)
        now = now - 1
        return nameserver.reply(query, {A = {A}})
      end)
      local start = lull.now()
      local tasks = {}
      for i = 1, 200 do
        tasks[i] = lull.spawn(ask, server, ("n%d.test"):format(i), {family = "inet"})
      end
      lull.sleep(0.5)
      tasks[1]:cancel() -- who asks makes room
      tasks[150]:cancel() -- who only waits does not
      tasks[200]:await()
      for i = 2, 199 do
        if i ~= 150 then assert.equal(A, (tasks[i]:result())) end
      end
      assert.equal(65, most) -- one of them asks on, without anybody who listens
      assert.equal(4, math.ceil(lull.now() - start))
      assert.equal(198 + 1, #server.log)
    end)
  end)

  it("that waits for its turn is not forgotten, whoever goes", function()
    run(function()
      local silent <close> = nameserver.start(function() end)
      local good <close> = nameserver.start {["a.test"] = {A = {A}}}
      local first = {}
      for i = 1, 64 do first[i] = lull.spawn(ask, silent, "a.test") end
      helper.turns(3)
      local late = lull.spawn(ask, good, "a.test")
      helper.turns(3)
      assert.equal(0, #good.log)
      local start = lull.now()
      assert.equal("ETIMEDOUT", code_of(good, "a.test", {timeout = 1}))
      assert.equal(1, lull.now() - start)
      first[5]:cancel()
      assert.equal(A, (late:await()))
      assert.equal(1, lull.now() - start)
      for i = 1, 64 do first[i]:cancel() end
    end)
    for turns = 0, 5 do -- and where the loop goes
      local loop = lull.new_loop()
      loop:run_until_complete(function()
        local silent = nameserver.start(function() end)
        for _ = 1, 80 do lull.spawn(ask, silent, "a.test"):daemon() end
        helper.turns(turns)
      end)
      loop:close()
      collectgarbage()
    end
  end)

  it("comes from a port of its own", function()
    run(function()
      local ports = {}
      local server <close> = nameserver.start(function() end)
      local recvfrom = server.socket.recvfrom
      server.tasks[1]:close()
      server.tasks[1] = lull.spawn(function()
        while true do
          local data, _, port = recvfrom(server.socket)
          if not data then return end
          ports[port] = true
        end
      end):daemon()
      for i = 1, 5 do ask(server, "a" .. i, {attempts = 1}) end
      local n = 0
      for _ in pairs(ports) do n = n + 1 end
      assert.equal(5, n)
    end)
  end)

  it("can be cancelled at any point, and leaves nothing", function()
    run(function()
      local server <close> = nameserver.start(function(query)
        if not query.tcp then return nameserver.packet(query, {}, 0x0200) end
        return nameserver.reply(query, {A = {A}, AAAA = {AAAA}})
      end)
      ask(server, "a.test")
      lull.sleep(1) -- what is on its way has come
      helper.collect()
      local before = descriptors()
      for turns = 0, 30 do
        local task = lull.spawn(ask, server, "a.test")
        helper.turns(turns)
        task:cancel "enough"
        helper.turns(2)
        assert.is_true(task:done())
        collectgarbage()
        lull.sleep(turns % 3)
      end
      lull.sleep(1)
      helper.collect()
      assert.equal(before, descriptors())
    end)
  end)

  it("ends with the group that wanted it", function()
    run(function()
      local server <close> = nameserver.start(function() end)
      local start = lull.now()
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, ask, server, "a.test")))
      assert.equal(1, lull.now() - start)
    end)
  end)

  it("may be unfinished when its loop is closed", function()
    for turns = 0, 12 do
      for _, backend in helper.backends() do
        local loop = lull.new_loop {selector = backend}
        loop:run_until_complete(function()
          local server = nameserver.start(function(query)
            if turns % 2 == 0 then return nil end
            return nameserver.packet(query, {}, 0x0200)
          end)
          for i = 1, 10 do lull.spawn(ask, server, "a.test", {attempts = i}):daemon() end
          helper.turns(turns)
        end)
        loop:close()
        collectgarbage()
      end
    end
  end)

  it("belongs to its loop: another may look up names meanwhile", function()
    run(function()
      local server <close> = nameserver.start(function() end)
      local outer = lull.spawn(ask, server, "a.test", {timeout = 50})
      helper.turns(3)
      local inner = lull.new_loop {clock = "virtual"}
      assert.equal(A, inner:run_until_complete(function()
        local mine <close> = nameserver.start {["a.test"] = {A = {A}}}
        return ask(mine, "a.test")
      end))
      inner:close()
      assert.is_false(outer:done())
      outer:cancel()
    end)
  end)

  for _, backend in helper.backends() do
    it("works on " .. backend, function()
      run(function()
        local many = {}
        for i = 1, 100 do many[i] = "10.0.0." .. i end
        local server <close> = nameserver.start {
          ["a.test"] = {A = {A}, AAAA = {AAAA}}, ["many.test"] = {A = many},
        }
        assert.equal(A .. " " .. AAAA, ask(server, "a.test"))
        assert.equal("EAI_NONAME", code_of(server, "b.test"))
        assert.equal(100, select(2, ask(server, "many.test"):gsub("10%.0%.0%.%d+", "")))
        server.listener:close() -- truncated, and nobody to ask again
        assert.equal("EAI_AGAIN", code_of(server, "many.test"))
        server.socket:close()
        assert.equal("EAI_AGAIN", code_of(server, "a.test"))
      end, {selector = backend})
      run(function() -- on the real clock as well
        local server <close> = nameserver.start {["a.test"] = {A = {A}, AAAA = {AAAA}}}
        assert.equal(A .. " " .. AAAA, ask(server, "a.test"))
        local silent <close> = nameserver.start(function() end)
        local opts = {attempts = 2, attempt_timeout = 0.02}
        assert.equal("EAI_AGAIN", code_of(silent, "a.test", opts))
      end, {selector = backend, real = true})
    end)
  end

  it("says what is wrong with its options", function()
    run(function()
      for message, opts in pairs {
        ["'servers' %(a short list"] = {servers = "127.0.0.1"},
        ["'servers' %(at least one"] = {servers = {}},
        ["no address: 'localhost'"] = {servers = {"localhost"}},
        ["no address: '127.0.0.1:0'"] = {servers = {"127.0.0.1:0"}},
        ["no address: '127.0.0.1:x'"] = {servers = {"127.0.0.1:x"}},
        ["no address: '%[::1%]:99999'"] = {servers = {"[::1]:99999"}},
        ["no address: ''"] = {servers = {""}},
        ["'search'"] = {search = {1}},
        ["'ndots'"] = {ndots = 99},
        ["'attempts'"] = {attempts = 0},
        ["'attempt_timeout'"] = {attempt_timeout = "x"},
        ["'hosts'"] = {hosts = 1},
      } do
        assert.error_matches(function() net.resolve("a.test", opts) end, message)
      end
    end)
  end)
end)
