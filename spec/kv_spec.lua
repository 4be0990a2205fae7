-- examples/kv_server.lua, spoken to over socket pairs, where every byte arrives in the
-- order in which it was written, and once over TCP.
local helper = require "spec.helper"
local lull = require "lull"
local net = require "lull.net"

local run = helper.run

-- The words of a command as a client sends them.
local function encode(...)
  local parts = {"*" .. select("#", ...) .. "\r\n"}
  for _, word in ipairs {...} do
    parts[#parts + 1] = "$" .. #word .. "\r\n" .. word .. "\r\n"
  end
  return table.concat(parts)
end

-- Reads a reply: a string, an integer, a table, {err = text}, or nil for the null reply.
local function decode(stream)
  local line = assert(stream:read "l", "the server has hung up")
  local kind, rest = line:sub(1, 1), line:sub(2)
  local n = math.tointeger(tonumber(rest))
  if kind == "-" then
    return {err = rest}
  elseif kind == ":" then
    return n
  elseif kind == "$" then
    return n >= 0 and assert(stream:read_exactly(n + 2)):sub(1, -3) or nil
  elseif kind == "*" then
    local list = {n = n}
    for i = 1, n do
      list[i] = decode(stream)
    end
    return n >= 0 and list or nil
  end
  assert(kind == "+", line)
  return rest
end

-- A client of a new and empty server: client(words...) -> reply; client.stream, client.kv
local function connect(kv)
  kv = kv or dofile "examples/kv_server.lua"
  local here, there = net.pair()
  local task = lull.spawn(function()
    local _ <close> = there
    kv.handle(there)
  end)
  return setmetatable({stream = here, kv = kv, task = task}, {
    __call = function(_, ...)
      assert(here:write(encode(...)))
      return decode(here)
    end,
    __close = function()
      here:close()
      task:await()
    end,
  })
end

-- What the server answers to bytes that end with the end of the stream.
local function answer(bytes, kv)
  local client <close> = connect(kv)
  assert(client.stream:write(bytes))
  assert(client.stream:shutdown "write")
  return assert(client.stream:read "a")
end

local function refused(err)
  return {err = "ERR " .. err}
end

local WRONGTYPE = {
  err = "WRONGTYPE Operation against a key holding the wrong kind of value",
}
local NOT_INTEGER = refused "value is not an integer or out of range"

describe("kv_server's strings", function()
  it("are stored, read and deleted", function()
    run(function()
      local kv <close> = connect()
      assert.equal("PONG", kv("PING"))
      assert.equal("hello", kv("ping", "hello"))
      assert.equal("tea", kv("ECHO", "tea"))
      assert.is_nil(kv("GET", "a"))
      assert.equal("OK", kv("SET", "a", "1"))
      assert.equal("1", kv("get", "a"))
      assert.equal("OK", kv("MSET", "b", "2", "c", "3"))
      assert.same({n = 4, "1", nil, "3", "2"}, kv("MGET", "a", "x", "c", "b"))
      assert.equal(3, kv("DBSIZE"))
      assert.equal(3, kv("EXISTS", "a", "b", "a", "x"))
      assert.equal(2, kv("DEL", "a", "b", "x"))
      assert.equal(1, kv("DBSIZE"))
      assert.equal("OK", kv("FLUSHALL"))
      assert.equal(0, kv("DBSIZE"))
    end)
  end)

  it("hold any bytes, in keys too", function()
    run(function()
      local kv <close> = connect()
      local all = {}
      for i = 0, 255 do
        all[i + 1] = string.char(i)
      end
      local value = table.concat(all) .. "\r\n$3\r\n"
      assert.equal("OK", kv("SET", "k\0\r\n", value))
      assert.equal(value, kv("GET", "k\0\r\n"))
      assert.equal("OK", kv("SET", "", ""))
      assert.equal("", kv("GET", ""))
      local large = value:rep(4000) -- more than a mebibyte
      assert.equal("OK", kv("SET", "large", large))
      assert.is_true(large == kv("GET", "large"))
    end)
  end)

  it("are set under conditions", function()
    run(function()
      local kv <close> = connect()
      assert.is_nil(kv("SET", "a", "1", "XX"))
      assert.equal("OK", kv("SET", "a", "1", "nx"))
      assert.is_nil(kv("SET", "a", "2", "NX"))
      assert.equal("1", kv("SET", "a", "3", "XX", "GET"))
      assert.equal("3", kv("GET", "a"))
      assert.same(refused "syntax error", kv("SET", "a", "1", "NX", "XX"))
      assert.same(refused "syntax error", kv("SET", "a", "1", "EX"))
      assert.same(refused "syntax error", kv("SET", "a", "1", "EX", "1", "PX", "1"))
      assert.same(refused "syntax error", kv("SET", "a", "1", "PLEASE"))
      assert.same(NOT_INTEGER, kv("SET", "a", "1", "EX", "1.5"))
      assert.same(refused "invalid expire time in 'set' command",
        kv("SET", "a", "1", "EX", "0"))
    end)
  end)

  it("count", function()
    run(function()
      local kv <close> = connect()
      assert.equal(1, kv("INCR", "n"))
      assert.equal(11, kv("INCRBY", "n", "10"))
      assert.equal("11", kv("GET", "n"))
      assert.equal(2, kv("STRLEN", "n"))
      assert.equal(10, kv("DECR", "n"))
      assert.equal(-5, kv("DECRBY", "n", "15"))
      assert.equal(4, kv("APPEND", "n", "00"))
      assert.equal("-500", kv("GET", "n"))
      assert.equal(-499, kv("INCR", "n"))
      for _, text in ipairs {"x", "", " 1", "01", "-0", "1.0", "0x10", "1e3",
        "9223372036854775808", "-9223372036854775809"} do
        kv("SET", "n", text)
        assert.same(NOT_INTEGER, kv("INCR", "n"), text)
      end
      kv("SET", "n", "9223372036854775807")
      local overflow = refused "increment or decrement would overflow"
      assert.same(overflow, kv("INCR", "n"))
      assert.equal(9223372036854775806, kv("DECR", "n"))
      kv("SET", "n", "-9223372036854775808")
      assert.same(overflow, kv("DECR", "n"))
      assert.same(refused "decrement would overflow",
        kv("DECRBY", "n", "-9223372036854775808"))
    end)
  end)
end)

describe("kv_server's lists", function()
  it("grow and shrink at both ends", function()
    run(function()
      local kv <close> = connect()
      assert.equal(3, kv("RPUSH", "l", "a", "b", "c"))
      assert.equal(5, kv("LPUSH", "l", "y", "x"))
      assert.same({n = 5, "x", "y", "a", "b", "c"}, kv("LRANGE", "l", "0", "-1"))
      assert.same({n = 2, "y", "a"}, kv("LRANGE", "l", "1", "2"))
      assert.same({n = 2, "b", "c"}, kv("LRANGE", "l", "-2", "99"))
      assert.same({n = 0}, kv("LRANGE", "l", "3", "1"))
      assert.same({n = 0}, kv("LRANGE", "none", "0", "-1"))
      assert.equal("x", kv("LPOP", "l"))
      assert.equal("c", kv("RPOP", "l"))
      assert.same({n = 2, "y", "a"}, kv("LPOP", "l", "2"))
      assert.equal(1, kv("LLEN", "l"))
      assert.same({n = 1, "b"}, kv("RPOP", "l", "9"))
      assert.equal(0, kv("EXISTS", "l"))
      assert.is_nil(kv("LPOP", "l"))
      assert.is_nil(kv("LPOP", "l", "1"))
      assert.equal(0, kv("LLEN", "l"))
      assert.same(refused "value is out of range, must be positive",
        kv("LPOP", "l", "-1"))
    end)
  end)

  it("are not taken for strings, nor strings for lists", function()
    run(function()
      local kv <close> = connect()
      kv("SET", "s", "1")
      kv("RPUSH", "l", "1")
      for _, words in ipairs {{"GET", "l"}, {"INCR", "l"}, {"APPEND", "l", "x"},
        {"STRLEN", "l"}, {"SET", "l", "x", "GET"}, {"LPUSH", "s", "x"},
        {"RPUSH", "s", "x"}, {"LPOP", "s"}, {"RPOP", "s"}, {"LLEN", "s"},
        {"LRANGE", "s", "0", "1"}} do
        assert.same(WRONGTYPE, kv(table.unpack(words)), words[1])
      end
      assert.same({n = 2, nil, "1"}, kv("MGET", "l", "s"))
      assert.equal("OK", kv("SET", "l", "now a string"))
    end)
  end)
end)

describe("kv_server's keys", function()
  it("expire when somebody looks", function()
    run(function()
      local kv <close> = connect()
      kv("SET", "a", "1", "EX", "10")
      assert.equal(10, kv("TTL", "a"))
      assert.equal(10000, kv("PTTL", "a"))
      lull.sleep(9.75)
      assert.equal("1", kv("GET", "a"))
      assert.equal(250, kv("PTTL", "a"))
      lull.sleep(0.25)
      assert.is_nil(kv("GET", "a"))
      assert.equal(-2, kv("TTL", "a"))
      assert.equal(0, kv("DBSIZE"))
    end)
  end)

  it("get, change and lose a deadline", function()
    run(function()
      local kv <close> = connect()
      assert.equal(0, kv("EXPIRE", "a", "5"))
      kv("SET", "a", "1")
      assert.equal(-1, kv("TTL", "a"))
      assert.equal(1, kv("EXPIRE", "a", "5"))
      assert.equal(1, kv("EXPIRE", "a", "20"))
      kv("INCR", "a")
      kv("SET", "a", "3", "KEEPTTL")
      assert.equal(20, kv("TTL", "a"))
      assert.equal(1, kv("PERSIST", "a"))
      assert.equal(0, kv("PERSIST", "a"))
      kv("SET", "a", "1", "PX", "500")
      kv("SET", "a", "1")
      assert.equal(-1, kv("TTL", "a"))
      assert.equal(1, kv("EXPIRE", "a", "-1"))
      assert.equal(0, kv("EXISTS", "a"))
      assert.same(NOT_INTEGER, kv("EXPIRE", "a", "soon"))
      assert.same(refused "invalid expire time in 'expire' command",
        kv("EXPIRE", "a", "9223372036854775807"))
    end)
  end)

  it("are swept away when nobody looks", function()
    run(function()
      local server = dofile "examples/kv_server.lua"
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local _ <close> = lull.spawn(server.serve, listener)
      local kv <close> = connect(server)
      for i = 1, 2500 do
        kv("SET", "key" .. i, "1", "EX", "2")
      end
      kv("SET", "later", "1", "EX", "30")
      kv("SET", "key1", "1")
      lull.sleep(1)
      assert.equal(2501, kv("DBSIZE"))
      lull.sleep(3)
      assert.equal(2, kv("DBSIZE"))
      assert.equal(1, kv("EXISTS", "later"))
    end)
  end)
end)

describe("kv_server's protocol", function()
  local batch = encode("SET", "a key of twenty", "a value\r\n\0 of two lines")
    .. encode("GET", "a key of twenty") .. "PING\r\n" .. "set b 'two words'\nget b\r\n"
    .. encode("MGET", "b", ("x"):rep(150), "c", "d", "e", "f", "g", "h", "i", "j", "k")
    .. encode("NONSENSE", "x") .. encode("INCR", "b")

  it("answers a pipeline in order", function()
    run(function()
      local text = answer(batch)
      assert.equal("+OK\r\n$23\r\na value\r\n\0 of two lines\r\n+PONG\r\n+OK\r\n"
        .. "$9\r\ntwo words\r\n*11\r\n$9\r\ntwo words\r\n" .. ("$-1\r\n"):rep(10)
        .. "-ERR unknown command 'NONSENSE', with args beginning with: 'x' \r\n"
        .. "-ERR value is not an integer or out of range\r\n", text)
    end)
  end)

  it("does not mind where its input is cut", function()
    run(function()
      local whole = answer(batch)
      for cut = 1, #batch - 1 do
        local kv <close> = connect()
        kv.stream:write(batch:sub(1, cut))
        helper.turns(3)
        kv.stream:write(batch:sub(cut + 1)):shutdown "write"
        assert.equal(whole, kv.stream:read "a", "cut after byte " .. cut)
      end
      local kv <close> = connect()
      for byte in batch:gmatch "." do
        kv.stream:write(byte)
        helper.turns(3)
      end
      kv.stream:shutdown "write"
      assert.equal(whole, kv.stream:read "a", "one byte at a time")
    end)
  end)

  it("answers what is complete before it waits for the rest", function()
    run(function()
      local kv <close> = connect()
      kv.stream:write(encode("PING") .. "*2\r\n$4\r\nECHO\r\n$3\r\nte")
      assert.equal("PONG", decode(kv.stream))
      kv.stream:write "a\r\n"
      assert.equal("tea", decode(kv.stream))
    end)
  end)

  it("words its refusals as Redis does", function()
    run(function()
      local kv <close> = connect()
      for _, words in ipairs {{"get"}, {"GET", "a", "b"}, {"set", "a"},
        {"mset", "a", "1", "b"}, {"lpush", "a"}, {"ping", "a", "b"}, {"dbsize", "a"}} do
        assert.same(refused("wrong number of arguments for '" .. words[1]:lower()
          .. "' command"), kv(table.unpack(words)))
      end
      assert.same(refused "unknown command 'a  b', with args beginning with: 'c' ",
        kv("a\r\nb", "c"))
      assert.same(refused "DB index is out of range", kv("SELECT", "1"))
      assert.same(refused "unknown subcommand 'foo'. Try CONFIG HELP.",
        kv("CONFIG", "foo"))
    end)
  end)

  it("hangs up on bad input, and says why", function()
    run(function()
      local cases = {
        ["*1\r\n*3\r\nfoo\r\n"] = "expected '$', got '*'",
        ["*1\r\n$-1\r\n"] = "invalid bulk length",
        ["*1\r\n$abc\r\n"] = "invalid bulk length",
        ["*1\r\n$536870913\r\n"] = "invalid bulk length",
        ["*abc\r\n"] = "invalid multibulk length",
        ["*1048577\r\n"] = "invalid multibulk length",
        ["set a \"b\r\n"] = "unbalanced quotes in request",
        ["*" .. ("1"):rep(70000)] = "too big mbulk count string",
        ["*1\r\n$" .. ("1"):rep(70000)] = "too big bulk count string",
        [("x"):rep(70000)] = "too big inline request",
      }
      for input, message in pairs(cases) do
        local kv <close> = connect()
        kv.stream:write(encode("PING") .. input)
        assert.equal("PONG", decode(kv.stream))
        assert.same(refused("Protocol error: " .. message), decode(kv.stream))
        kv.task:await()
      end
    end)
  end)

  it("skips empty commands, and drops one that is cut off", function()
    run(function()
      assert.equal("+PONG\r\n", answer "*0\r\n*-1\r\n\r\n  \r\nPING\r\n")
      for _, part in ipairs {"P", "*", "*1", "*1\r", "*1\r\n$4", "*1\r\n$4\r\nPIN",
        "*1\r\n$4\r\nPING\r"} do
        assert.equal("+PONG\r\n", answer("PING\r\n" .. part), part)
      end
    end)
  end)

  it("ends with QUIT", function()
    run(function()
      local kv <close> = connect()
      kv.stream:write(encode("QUIT") .. encode("PING"))
      assert.equal("+OK\r\n", kv.stream:read "a")
    end)
  end)

  it("takes a client that sends without reading no further than it has room", function()
    run(function()
      local kv <close> = connect()
      local value = ("x"):rep(100000)
      kv("SET", "a", value)
      kv.stream:write(encode("GET", "a"):rep(1000))
      helper.turns(100)
      local other <close> = connect(kv.kv)
      local served = other("INFO"):match "total_commands_processed:(%d+)"
      assert.is_true(tonumber(served) < 50, served)
      for _ = 1, 1000 do
        assert.is_true(decode(kv.stream) == value)
      end
    end)
  end)

  it("serves many clients over TCP", function()
    run(function()
      local server = dofile "examples/kv_server.lua"
      local listener <close> = assert(net.listen("127.0.0.1", 0))
      local host, port = listener:local_address()
      local _ <close> = lull.spawn(server.serve, listener)
      local tasks = {}
      for i = 1, 50 do
        tasks[i] = lull.spawn(function()
          local stream <close> = assert(net.connect(host, port))
          for _ = 1, 20 do
            stream:write(encode("INCR", "shared") .. encode("SET", "own" .. i, "x"))
            decode(stream)
            assert(decode(stream) == "OK")
          end
        end)
      end
      for _, task in ipairs(tasks) do
        task:await()
      end
      local stream <close> = assert(net.connect(host, port))
      stream:write(encode("GET", "shared") .. encode("DBSIZE"))
      assert.equal("1000", decode(stream))
      assert.equal(51, decode(stream))
    end, {real = true})
  end)
end)

describe("kv_server's table of contents", function()
  it("is what clients ask for first", function()
    run(function()
      local kv <close> = connect()
      assert.same({n = 0}, kv("COMMAND", "DOCS"))
      assert.is_true(kv("COMMAND", "COUNT") > 20)
      assert.same({n = 2, "save", ""}, kv("CONFIG", "GET", "save"))
      assert.same({n = 0}, kv("CONFIG", "GET", "nonsense"))
      assert.equal("OK", kv("CONFIG", "SET", "save", "60 1"))
      assert.equal("OK", kv("SELECT", "0"))
      assert.truthy(kv("INFO"):find("redis_version:7.0.0\r\n", 1, true))
    end)
  end)
end)
