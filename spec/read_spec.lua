-- Reading from streams: every format, and that whoever gets nothing has consumed nothing.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local net = require "lull.net"
local failure = cast.failure

-- Two ends: what is written to the second is read from the first.
local function ends(opts)
  return assert(net.pair(opts))
end

-- A stream from which this text and then the end can be read.
local function holding(text, opts)
  local stream, peer = ends(opts)
  if text ~= "" then peer:write(text) end
  peer:close()
  return stream
end

-- A stream that gets the pieces one at a time, a virtual second apart, and then the end.
local function dripping(pieces, opts)
  local stream, peer = ends(opts)
  lull.spawn(function()
    for _, piece in ipairs(pieces) do
      lull.sleep(1)
      peer:write(piece)
    end
    lull.sleep(1)
    peer:close()
  end)
  return stream
end

local function bytes(text)
  local list = {}
  for c in text:gmatch "." do list[#list + 1] = c end
  return list
end

for _, backend in helper.backends() do
  describe("reading on " .. backend, function()
    local function on(fn)
      return function() return run(fn, {selector = backend}) end
    end

    describe("lines", function()
      it("end with \\n or \\r\\n, which are taken off", on(function()
        local s = holding "one\ntwo\r\n\n\r\nth\rree\r\r\nlast"
        assert.equal("one", s:read())
        assert.equal("two", s:read "l")
        assert.equal("", s:read "*l")
        assert.equal("", s:read())
        assert.equal("th\rree\r", s:read())
        assert.equal("last", s:read())
        assert.same({n = 1}, table.pack(s:read()))
        assert.same({n = 1}, table.pack(s:read()))
      end))

      it("keep their ends with L", on(function()
        local s = holding "one\ntwo\r\nlast"
        assert.equal("one\n", s:read "L")
        assert.equal("two\r\n", s:read "L")
        assert.equal("last", s:read "L")
        assert.is_nil(s:read "L")
      end))

      it("may come byte by byte", on(function()
        local s = dripping(bytes "ab\r\n\0c\nd\r")
        assert.equal("ab", s:read())
        assert.equal("\0c", s:read())
        assert.equal("d\r", s:read())
        assert.is_nil(s:read())
      end))

      it("are found in a torrent, in order", on(function()
        local s, peer = ends()
        local writer = lull.spawn(function()
          for i = 1, 20000 do peer:write(i, ("x"):rep(i % 50), "\n") end
          peer:close()
        end)
        local i = 0
        for line in s:lines() do
          i = i + 1
          assert.equal(i .. ("x"):rep(i % 50), line)
        end
        assert.equal(20000, i)
        writer:await()
      end))

      it("have a limit, beyond which nothing is consumed", on(function()
        local s, peer = ends {limit = 10}
        peer:write "0123456789\n0123456789\r\n0123456789\r0\n"
        assert.equal("0123456789", s:read())
        assert.equal("0123456789\r\n", s:read "L")
        assert.equal("EMSGSIZE", failure(s:read()))
        assert.equal("EMSGSIZE", failure(s:read "L"))
        assert.equal("0123456789\r0", s:read(12))
        assert.equal("", s:read())
        peer:write "0123456789\r"
        peer:close()
        assert.equal("EMSGSIZE", failure(s:read()))
        assert.equal("0123456789\r", s:read "a")
      end))

      it("that never end fail as soon as they are too long", on(function()
        local s, peer = ends()
        local writer = lull.spawn(function()
          while peer:write(("x"):rep(65536)) do end
        end)
        assert.equal("EMSGSIZE", failure(s:read()))
        assert.equal("EMSGSIZE", failure(s:read()))
        s:close()
        writer:await()
      end))
    end)

    describe("counts", function()
      it("give that many bytes, fewer only at the end", on(function()
        local s = dripping {"ab", "cde", "f"}
        assert.equal("abcd", s:read(4))
        assert.equal("ef", s:read(4))
        assert.is_nil(s:read(4))
      end))

      it("of 0 tell whether there is more", on(function()
        local s = dripping {"a"}
        assert.equal("", s:read(0))
        assert.equal("a", s:read(1))
        assert.is_nil(s:read(0))
      end))

      it("may be large", on(function()
        local s, peer = ends()
        local text = ("0123456789abcdef"):rep(65536)
        local writer = lull.spawn(peer.write, peer, text, text, "end")
        assert.is_true(text == s:read(#text))
        assert.is_true(text == s:read_exactly(#text))
        assert.equal("end", s:read(3))
        writer:await()
      end))
    end)

    it("a gives all there is, and an empty string at the end", on(function()
      local s = dripping {"a\n", "b", ("c"):rep(100000)}
      assert.equal("a\nb" .. ("c"):rep(100000), s:read "a")
      assert.equal("", s:read "a")
      assert.equal("", s:read "*a")
    end))

    describe("n", function()
      it("reads numerals as io does", on(function()
        local s = holding " 12\t-3.5\n0x1F 1e3 0x.8p1 +7,.5 9007199254740993 1e"
        assert.equal(12, s:read "n")
        assert.equal(-3.5, s:read "n")
        assert.equal(31, s:read "n")
        assert.equal(1000.0, s:read "n")
        assert.equal(1.0, s:read "n")
        assert.equal(7, s:read "n")
        assert.is_nil(s:read "n")
        assert.equal(",", s:read(1))
        assert.equal(0.5, s:read "n")
        assert.equal("integer", math.type(s:read "n"))
        assert.is_nil(s:read "n")
        assert.is_nil(s:read "n")
      end))

      it("agrees with io about what is used up", on(function()
        local cases = {
          "12x", "0x", "0xg", "+-1", "..1", "1.2.3", "e5", "1e+", "nan", "inf", "- 1",
          "0x1p", "1_000", "\0", "1\0002", ("1"):rep(199), ("1"):rep(200),
          ("1"):rep(201), "0" .. ("1"):rep(250),
        }
        for _, case in ipairs(cases) do
          local file = io.tmpfile()
          file:write(case)
          file:seek "set"
          local s = holding(case)
          assert.equal(file:read "n", s:read "n", case)
          assert.equal(file:read "a", s:read "a", case)
          file:close()
        end
      end))

      it("waits for the end of the numeral", on(function()
        local s = dripping {" ", "-", "1", "2", ".", "5", " ", "7"}
        assert.equal(-12.5, s:read "n")
        assert.equal(7, s:read "n")
      end))

      it("does not skip white space for ever", on(function()
        local s = holding((" "):rep(200) .. "1", {limit = 100})
        assert.equal("EMSGSIZE", failure(s:read "n"))
        assert.equal(201, #s:read "a")
      end))
    end)

    describe("several formats", function()
      it("give a result each", on(function()
        local s = dripping {"li", "ne\n12 ", "34 re", "st of", " it"}
        assert.same({"line", 12, 34, " ", "rest of it", n = 5},
                    table.pack(s:read("l", "n", "n", 1, "a")))
        assert.same({"", nil, n = 2}, table.pack(s:read("a", "l", "a")))
      end))

      it("stop at the first that fails, which is nil", on(function()
        local s = holding "x\n"
        assert.same({"x", nil, n = 2}, table.pack(s:read("l", "l", "l", "l")))
        s = holding "1 x 2"
        assert.same({1, nil, n = 2}, table.pack(s:read("n", "n", "n")))
        assert.equal("x 2", s:read "a")
      end))

      it("consume nothing when they do not come to their end", on(function()
        local s, peer = ends {limit = 10}
        peer:write "a\nb\n12"
        s:settimeout(1)
        assert.equal("ETIMEDOUT", failure(s:read("l", "L", "n")))
        peer:write "3456789012\n"
        assert.equal("EMSGSIZE", failure(s:read("l", "l", "l")))
        assert.same({"a", "b", 123456789012}, {s:read("l", "l", "n")})
      end))

      it("may be many", on(function()
        local s = holding(("x"):rep(200))
        local formats = {}
        for i = 1, 200 do formats[i] = 1 end
        assert.equal(200, select("#", s:read(table.unpack(formats))))
      end))
    end)

    describe("read_some", function()
      it("gives what is there", on(function()
        local s = dripping {"ab", "c", "def"}
        assert.equal("ab", s:read_some())
        assert.equal("c", s:read_some(10))
        assert.equal("d", s:read_some(1))
        assert.equal("ef", s:read_some())
        assert.same({n = 1}, table.pack(s:read_some()))
      end))
    end)

    describe("read_exactly", function()
      it("gives so many bytes or none", on(function()
        local s = dripping {"ab", "cdef", "g"}
        assert.equal("abcd", s:read_exactly(4))
        assert.equal("EOF", failure(s:read_exactly(4)))
        assert.equal("EOF", failure(s:read_exactly(4)))
        assert.equal("efg", s:read_exactly(3))
        assert.same({n = 1}, table.pack(s:read_exactly(1)))
        assert.equal("", s:read_exactly(0))
      end))
    end)

    describe("read_until", function()
      it("gives the data with the delimiter, however it comes", on(function()
        for _, s in ipairs {holding "a--b-----c", dripping(bytes "a--b-----c")} do
          assert.equal("a--", s:read_until "--")
          assert.equal("b---", s:read_until "---")
          assert.equal("--", s:read_until "--")
          assert.equal("EOF", failure(s:read_until "--"))
          assert.equal("c", s:read "a")
          assert.same({n = 1}, table.pack(s:read_until "--"))
        end
      end))

      it("fails beyond max bytes with the delimiter", on(function()
        local s, peer = ends()
        peer:write "12345;123456;"
        assert.equal("12345;", s:read_until(";", 6))
        assert.equal("EMSGSIZE", failure(s:read_until(";", 6)))
        assert.equal("123456;", s:read_until(";", 7))
        peer:write "123456"
        assert.equal("EMSGSIZE", failure(s:read_until(";", 6)))
        s:settimeout(1)
        assert.equal("ETIMEDOUT", failure(s:read_until(";", 7)))
      end))

      it("has the limit of lines where max is absent", on(function()
        local s = holding("12345678\0" .. "123456789\0", {limit = 9})
        assert.equal("12345678\0", s:read_until "\0")
        assert.equal("EMSGSIZE", failure(s:read_until "\0"))
      end))
    end)

    describe("lines()", function()
      it("iterates as file:lines", on(function()
        local list = {}
        for line in dripping({"a\nb", "\r\n", "c"}):lines() do list[#list + 1] = line end
        assert.same({"a", "b", "c"}, list)
        list = {}
        for n, rest in holding("1 a\n2 b\n"):lines("n", "L") do
          list[#list + 1] = n .. rest
        end
        assert.same({"1 a\n", "2 b\n"}, list)
        list = {}
        for two in holding "abcde":lines(2) do list[#list + 1] = two end
        assert.same({"ab", "cd", "e"}, list)
      end))

      it("raises failures", on(function()
        local ok, err = pcall(function()
          for _ in holding("12345\n123456\n", {limit = 5}):lines() do end
        end)
        assert.is_false(ok)
        assert.equal("EMSGSIZE", lull.code(err))
      end))

      it("ends quietly when its stream is closed", on(function()
        local s, peer = ends()
        peer:write "a\n"
        lull.spawn(function()
          lull.sleep(1)
          s:close()
        end)
        local count = 0
        for _ in s:lines() do count = count + 1 end
        assert.equal(1, count)
        s = holding "a\nb\n"
        for _ in s:lines() do s:close() end
      end))
    end)

    describe("a read that gets nothing", function()
      local reads = {
        line = function(s) return s:read() end,
        count = function(s) return s:read(100) end,
        all = function(s) return s:read "a" end,
        several = function(s) return s:read(1, "l", "n") end,
        exactly = function(s) return s:read_exactly(100) end,
        ["until"] = function(s) return s:read_until ";" end,
      }
      for name, read in pairs(reads) do
        it("has consumed nothing when it was cancelled: " .. name, on(function()
          local s, peer = ends()
          peer:write "ab"
          local reader = lull.spawn(read, s)
          lull.sleep(1)
          peer:write "cd"
          lull.sleep(1)
          reader:close()
          assert.equal("abcd", s:read_some())
        end))

        it("has consumed nothing when its time was over: " .. name, on(function()
          local s, peer = ends()
          peer:write "ab"
          s:settimeout(1)
          local began = lull.now()
          lull.spawn(function()
            lull.sleep(0.5)
            peer:write "cd"
          end)
          assert.equal("ETIMEDOUT", failure(read(s)))
          assert.equal(1, lull.now() - began)
          s:settimeout(nil)
          assert.equal("abcd", s:read_some())
        end))
      end

      it("raises the cancellation on entry, where it could have been done", on(function()
        local s, peer = ends()
        peer:write "abc"
        lull.sleep(1)
        lull.scope(function(scope)
          scope:cancel()
          assert.is_false(pcall(s.read_some, s))
        end)
        assert.equal("abc", s:read_some())
      end))

      it("whose task is cancelled after it was woken leaves the data", on(function()
        local s, peer = ends()
        local got
        local reader = lull.spawn(function() got = s:read_some() end)
        lull.sleep(1)
        lull.spawn(function()
          peer:write "x"
          lull.sleep(0)
          reader:cancel()
        end)
        pcall(reader.await, reader)
        assert.equal("x", got or s:read_some())
      end))
    end)

    describe("settimeout", function()
      it("of 0 gives what can be done now", on(function()
        local s, peer = ends()
        s:settimeout(0)
        assert.equal("ETIMEDOUT", failure(s:read()))
        assert.equal("ETIMEDOUT", failure(s:read_some()))
        peer:write "a\nb"
        assert.equal("a", s:read())
        assert.equal("ETIMEDOUT", failure(s:read()))
        assert.equal("b", s:read_some())
        peer:write "c"
        assert.equal("c", s:read_some())
        peer:close()
        assert.is_nil(s:read_some())
      end))

      it("counts for each call anew", on(function()
        local s = dripping {"a", "b", "c\n", "d"}
        s:settimeout(1.5)
        assert.equal("a", s:read_some())
        assert.equal("ETIMEDOUT", failure(s:read()))
        assert.equal("bc", s:read())
      end))
    end)

    describe("two tasks", function()
      it("cannot read at once", on(function()
        local s, peer = ends()
        local first = lull.spawn(s.read, s)
        lull.sleep(1)
        for _, read in ipairs {
          s.read, s.read_some, function() return s:read_exactly(1) end, s:lines(),
          function() return s:read("l", "l") end,
        } do
          local ok, err = pcall(read, s)
          assert.is_false(ok)
          assert.matches("another task is reading", err)
        end
        peer:write "line\n"
        assert.equal("line", first:await())
        peer:write "x"
        assert.equal("x", s:read_some())
      end))

      it("can read one after the other, or one while the other writes", on(function()
        local s, peer = ends()
        local first = lull.spawn(s.read, s)
        lull.sleep(1)
        first:close()
        local second = lull.spawn(s.read, s)
        lull.sleep(1)
        s:write "out"
        peer:write "in\n"
        assert.equal("in", second:await())
        assert.equal("out", peer:read_some())
      end))
    end)

    it("closing wakes who waits", on(function()
      local s, peer = ends()
      local reader = lull.spawn(s.read, s)
      lull.sleep(1)
      s:close()
      assert.equal("ECANCELED", failure(reader:await()))
      assert.has_error(function() s:read() end, "attempt to use a closed stream")
      peer:close() -- not before: a collected peer would end the stream
    end))

    it("gives others their turn while there is always something to read", on(function()
      local s, peer = ends()
      local writer = lull.spawn(function()
        for _ = 1, 500 do peer:write(("x"):rep(65536)) end
        peer:close()
      end)
      local turns <close> = helper.counter()
      assert.equal(500 * 65536, #s:read "a")
      writer:await()
      assert.is_true(turns() > 10)
    end))
  end)
end

describe("reading", function()
  it("refuses wrong arguments, also where it could wait", function()
    run(function()
      local s = holding "abc\n"
      for _, call in ipairs {
        {s.read, "x"}, {s.read, -1}, {s.read, 1.5}, {s.read, {}}, {s.read, "l", "q"},
        {s.read_some, 0}, {s.read_some, "x"}, {s.read_exactly}, {s.read_exactly, -1},
        {s.read_until}, {s.read_until, ""}, {s.read_until, "x", 0}, {s.lines, "x"},
      } do
        assert.is_false(pcall(call[1], s, table.unpack(call, 2)))
      end
      assert.is_false(pcall(s.read, nil))
      assert.is_false(pcall(s.read, io.stdout))
      assert.is_false(pcall(s.read, {}))
      assert.equal("abc", s:read())
    end)
  end)

  it("raises outside of a task", function()
    local s
    run(function() s = holding "abc\n" end)
    assert.has_error(function() s:read() end)
    s:close()
  end)
end)
