-- Files, beside those of io: each scenario runs on the same bytes through both, and what
-- it returns and what it leaves behind must be the same.
local helper = require "spec.helper"
local lull = require "lull"
local fs = require "lull.fs"

local run, slurp = helper.run, helper.slurp

-- ---- as io --------------------------------------------------------------------------

-- Failures have other words here, and other codes.
local function plain(...)
  local results = table.pack(...)
  if results.n == 3 and results[1] == nil and type(results[2]) == "string" then
    return {"failure"}
  end
  for i = 1, results.n do
    local value = results[i]
    if type(value) == "userdata" then value = "userdata" end
    if math.type(value) == "float" then value = "float " .. value end
    if value == nil then value = "nil" end
    results[i] = value
  end
  return results
end

local function observe(open, path, scenario)
  local seen = {}
  local function see(...) seen[#seen + 1] = plain(...) end
  if scenario.before then
    local file <close> = assert(io.open(path, "wb"))
    file:write(scenario.before)
  end
  local file = assert(open(path, scenario.mode))
  scenario[1](file, see, path)
  if tostring(file):find "^file %(closed" == nil then file:close() end
  return seen, slurp(path)
end

local text = "first line\nsecond\r\n\n  42 0x1p4 -7.5e1 tail\nno end"

local function reading(fn)
  return {mode = "r", before = text, fn}
end

local function numbers(bytes)
  return {mode = "rb", before = bytes, function(f, see)
    for _ = 1, 4 do see(f:read "n") end
    see(f:read "a")
  end}
end

local scenarios = {
  ["lines"] = reading(function(f, see)
    for _ = 1, 7 do see(f:read()) end
  end),
  ["lines with their ends"] = reading(function(f, see)
    for _ = 1, 7 do see(f:read "L") end
  end),
  ["counts"] = reading(function(f, see)
    see(f:read(3)) see(f:read(0)) see(f:read(1000)) see(f:read(0)) see(f:read(1))
  end),
  ["all"] = reading(function(f, see)
    see(f:read "a") see(f:read "a") see(f:read "l") see(f:read "n")
  end),
  ["several formats"] = reading(function(f, see)
    see(f:read("l", "L", 2)) see(f:read("n", "n", "n", "l")) see(f:read("l", "l", "l"))
  end),
  ["several formats, the first of which fails"] = reading(function(f, see)
    see(f:read("n", "l")) see(f:read "a")
  end),
  ["formats with the star of old"] = reading(function(f, see)
    see(f:read("*l", "*L", "*n", "*a"))
  end),
  ["wrong formats"] = reading(function(f, see)
    see(pcall(f.read, f, "x")) see(pcall(f.read, f, {})) see(pcall(f.read, f, 1.5))
    see((pcall(f.lines, f, "l")))
  end),
  ["lines, iterated"] = reading(function(f, see)
    for line in f:lines() do see(line) end
    see(f:read())
  end),
  ["lines, iterated in formats"] = reading(function(f, see)
    for a, b in f:lines(1, "L") do see(a, b) end
  end),
  ["seeking"] = reading(function(f, see)
    see(f:seek()) see(f:read(5)) see(f:seek()) see(f:seek("cur", 3)) see(f:read(2))
    see(f:seek "end") see(f:read(1)) see(f:seek("end", -3)) see(f:read "a")
    see(f:seek "set") see(f:read "l") see(f:seek("set", 100)) see(f:read(1))
    see(f:seek("set", -1)) see(f:seek("cur", -1000)) see(f:seek())
    see(f:seek("cur", -99)) see(f:read(4))
    see(pcall(f.seek, f, "nowhere")) see(pcall(f.seek, f, "set", 1.5))
  end),
  ["writing to what is open for reading"] = reading(function(f, see)
    see(f:write "x") see(f:flush()) see(f:read(4))
  end),
  ["being closed"] = reading(function(f, see)
    see(f:close())
    for _, name in ipairs {"read", "write", "seek", "lines", "flush", "setvbuf"} do
      see(pcall(f[name], f))
    end
  end),
  ["an empty file"] = {mode = "r", before = "", function(f, see)
    see(f:read "l") see(f:read "a") see(f:read(0)) see(f:read "n") see(f:seek "end")
  end},
  ["only an end of line"] = {mode = "r", before = "\n", function(f, see)
    see(f:read "l") see(f:read "l")
  end},
  ["bytes of all kinds"] = {mode = "rb", before = "a\0b\r\n\255\n\0", function(f, see)
    see(f:read "l") see(f:read "L") see(f:read "a")
  end},

  ["numerals"] = numbers " 12 -3\t+4.25\n0x10 rest",
  ["numerals that are none"] = numbers "12abc 0x 1e+ . - rest",
  ["numerals in other notations"] = numbers ".5 5. 1e3 0x.8p1 rest",
  ["numerals without end"] = numbers(("1"):rep(300) .. " 2 3 4 rest"),
  ["numerals at the end"] = numbers "1 2 3 4",
  ["numerals and blanks"] = numbers "   \n\t ",
  ["numerals with a NUL"] = numbers "1\0002 3 4 5",
  ["infinities"] = numbers "inf nan 0x1p9999 1e999",

  ["writing"] = {mode = "w", before = "old", function(f, see)
    see(f:write("a", 1, 1.0, -0.5, 1e100, 2^53, 1 << 62, 1/0, "") == f)
    see(f:seek()) see(f:flush()) see(f:seek()) see(f:write() == f) see(f:read(1))
    see(pcall(f.write, f, nil)) see(pcall(f.write, f, {})) see(pcall(f.write, f, true))
    see(f:write("tail"):seek())
  end},
  ["writing over"] = {mode = "r+", before = "0123456789", function(f, see)
    see(f:read(2)) f:seek "cur" f:write "ab" f:seek "cur" see(f:read(2)) see(f:seek())
    f:seek("set", 8) f:write "xyz" see(f:seek())
  end},
  ["writing behind the end"] = {mode = "r+", before = "0", function(f, see)
    f:seek("set", 5) f:write "5" see(f:seek "end") f:seek "set" see(f:read "a")
  end},
  ["writing and reading anew"] = {mode = "w+", before = "gone", function(f, see)
    see(f:read(1)) f:seek "set" f:write "one\ntwo\n" f:seek("set", 4) see(f:read "a")
    f:seek "set" see(f:read())
  end},
  ["appending"] = {mode = "a", before = "abc", function(f, see)
    see(f:seek()) f:write "def" see(f:seek()) see(f:seek "set") f:write "ghi"
    see(f:seek()) f:flush() see(f:seek()) see(f:read(1))
  end},
  ["appending and reading"] = {mode = "a+", before = "abc", function(f, see)
    see(f:seek "set") see(f:read(2)) f:seek "cur" f:write "def" see(f:seek())
    see(f:seek "set") see(f:read "a")
  end},
  ["making a new one"] = {mode = "w", function(f, see)
    see(f:seek()) f:write "new"
  end},
  ["appending to a new one"] = {mode = "a", function(f) f:write "new" end},
  ["without a buffer"] = {mode = "w", function(f, see, path)
    see(f:setvbuf "no") f:write "abc" see(slurp(path))
  end},
  ["with a buffer of lines"] = {mode = "w", function(f, see, path)
    see(f:setvbuf "line") f:write "abc" see(slurp(path)) f:write "d\n" see(slurp(path))
  end},
  ["with a full buffer"] = {mode = "w", function(f, see, path)
    see(f:setvbuf("full", 4096)) f:write "abc\n" see(slurp(path)) f:flush()
    see(slurp(path)) see(pcall(f.setvbuf, f, "what")) see(pcall(f.setvbuf, f))
  end},
  ["large things"] = {mode = "w+b", function(f, see)
    local line = ("x"):rep(70000)
    for i = 1, 20 do f:write(line, i, "\n") end
    f:write(line:rep(10)) f:seek("set", 3)
    see(#f:read "l") see(f:seek()) see(#f:read(200000)) see(f:seek())
    f:seek("end", -700005) see(f:read(5)) see(#f:read "a")
  end},
}

local names = {}
for name in pairs(scenarios) do names[#names + 1] = name end
table.sort(names)

describe("a file does as one of io", function()
  for _, name in ipairs(names) do
    it("with " .. name, function()
      local dir <close> = helper.tempdir()
      local expected, left = observe(io.open, dir.path .. "/io", scenarios[name])
      local got, bytes = run(function()
        return observe(fs.open, dir.path .. "/fs", scenarios[name])
      end)
      assert.same(expected, got)
      assert.equal(left, bytes)
    end)
  end

  it("in the modes that there are", function()
    local dir <close> = helper.tempdir()
    run(function()
      for _, mode in ipairs {"r", "w", "a", "r+", "w+", "a+", "rb", "w+b", "a+bb"} do
        local path = dir:write("file", "abc")
        local f, g = assert(io.open(path, mode)), assert(fs.open(path, mode))
        f:close()
        g:close()
      end
      for _, mode in ipairs {"", "x", "rw", "r+w", "br", "rb+", "r ", "+"} do
        assert.is_false(pcall(io.open, dir.path, mode))
        assert.error_matches(function() fs.open(dir.path, mode) end, "invalid mode")
      end
    end)
  end)
end)

-- ---- what io leaves open ------------------------------------------------------------

describe("a file", function()
  it("ends quietly when it is closed while its lines are read", function()
    local dir <close> = helper.tempdir()
    run(function()
      local f = assert(fs.open(dir:write("file", "1\n2\n3\n")))
      local n = 0
      for _ in f:lines() do
        n = n + 1
        if n == 2 then f:close() end
      end
      assert.equal(2, n)
    end)
  end)

  it("raises failures from lines", function()
    run(function()
      local f <close> = assert(fs.open "/")
      assert.error_matches(function() for _ in f:lines() do end end, "^EISDIR: ")
      assert.error_matches(function() fs.lines "/nowhere/x" end, "ENOENT: ")
    end)
  end)

  it("is closed by fs.lines at its end, and when the loop is left", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "1\n2\n3\n")
    run(function()
      local _, _, _, file = fs.lines(path)
      file:close()
      local seen = {}
      for line in fs.lines(path) do seen[#seen + 1] = line end
      pcall(function()
        for line in fs.lines(path, "L") do
          seen[#seen + 1] = line
          error "left"
        end
      end)
      assert.same({"1", "2", "3", "1\n"}, seen)
    end)
  end)

  it("tells its path and whether it is open", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "")
    run(function()
      local f = assert(fs.open(path))
      assert.equal("file (" .. path .. ")", tostring(f))
      assert.is_true(f:close())
      assert.is_true(f:close())
      assert.equal("file (closed: " .. path .. ")", tostring(f))
    end)
  end)

  it("mixes reading and writing without a seek in between", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "0123456789")
    run(function()
      local f <close> = assert(fs.open(path, "r+"))
      assert.equal("01", f:read(2))
      f:write "ab"
      assert.equal("45", f:read(2))
      f:write "cd"
      assert.equal("89", f:read "a")
      f:close()
      assert.equal("01ab45cd89", slurp(path))
    end)
  end)

  it("keeps both ends of a line in place", function()
    local dir <close> = helper.tempdir()
    run(function()
      local f <close> = assert(fs.open(dir:write("file", "a\r\nb\n")))
      assert.same({"a\r", "b"}, {f:read("l", "l")})
    end)
  end)

  it("is written when its block is left, and not before it is full", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/file"
    run(function()
      do
        local f <close> = assert(fs.open(path, "w"))
        f:write "text"
        assert.equal("", slurp(path))
      end
      assert.equal("text", slurp(path))
    end)
  end)

  it("is written when nobody keeps it, and when its loop has ended", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/file"
    run(function()
      assert(fs.open(path, "w")):write "forgotten"
      collectgarbage()
      collectgarbage()
      assert.equal("forgotten", slurp(path))
    end)
    local f = run(function() return fs.open(path, "w"):write "late" end)
    assert.is_true(f:close())
    assert.equal("late", slurp(path))
  end)

  it("is written at the end of a script, and by os.exit", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/file"
    for _, ending in ipairs {"", "os.exit(0)", "os.exit(0, true)",
      "lull.spawn(function() os.exit(0) end) lull.sleep(1)"} do
      os.remove(path)
      local script = ("file = lull.fs.open(%q, 'w'):write 'text' %s"):format(path, ending)
      local out, err, code = helper.child(script)
      assert.same({"", "", 0, "text"}, {out, err, code, slurp(path)})
    end
  end)

  it("is used on one loop after the other", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "one\ntwo\n")
    local f = run(function() return fs.open(path, "r+") end)
    assert.equal("one", run(function() return f:read() end))
    assert.equal("two", run(function() return f:read() end))
    run(function() f:write "three" end)
    run(function() assert(f:close()) end)
    assert.equal("one\ntwo\nthree", slurp(path))
  end)

  it("cannot be read outside of tasks, but closed", function()
    local dir <close> = helper.tempdir()
    local f = run(function() return fs.open(dir:write("file", "1")) end)
    assert.error(function() f:read() end)
    assert.is_true(f:close())
  end)

  it("lengthens and shortens", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "0123456789")
    run(function()
      local f <close> = assert(fs.open(path, "r+"))
      assert.equal("0123", f:read(4))
      assert.is_true(f:truncate())
      assert.equal("", f:read "a")
      assert.equal("0123", slurp(path))
      f:write "45"
      assert.is_true(f:truncate(8))
      assert.equal("012345\0\0", slurp(path))
      assert.is_true(f:sync())
      assert.error(function() f:truncate(-1) end)
    end)
  end)

  it("hands its descriptor on, at its place", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "one\ntwo\n")
    run(function()
      local f <close> = assert(fs.open(path))
      assert.equal("one", f:read())
      local copy <close> = assert(io.open("/proc/self/fdinfo/" .. f:fileno()))
      assert.equal(4, copy:read("n", "l") or copy:read "n" or 4)
      assert.error(function() lull.loop():add_reader(f:fileno(), print) end)
    end)
  end)

  it("sees what others append", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "one\n")
    run(function()
      local f <close> = assert(fs.open(path))
      assert.equal("one", f:read())
      assert.is_nil(f:read())
      local other <close> = assert(io.open(path, "a"))
      other:write "two\n"
      other:flush()
      assert.equal("two", f:read())
    end)
  end)
end)

-- ---- several tasks ------------------------------------------------------------------

describe("a file that several tasks use", function()
  it("gives each line to one of them, in the order of their calls", function()
    local dir <close> = helper.tempdir()
    local lines = {}
    for i = 1, 30000 do lines[i] = "line " .. i end
    local path = dir:write("file", table.concat(lines, "\n"))
    run(function()
      local f <close> = assert(fs.open(path))
      local seen = {}
      lull.group(function(g)
        for _ = 1, 5 do
          g:spawn(function()
            for line in f:lines() do seen[#seen + 1] = line end
          end)
        end
      end)
      assert.same(lines, seen)
    end)
  end)

  it("keeps each write in one piece, in the order of the calls", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/file"
    local expected = {}
    run(function()
      local f <close> = assert(fs.open(path, "w"))
      lull.group(function(g)
        for i = 1, 20 do
          local part = ("%d "):format(i):rep(i * 5000)
          expected[i] = part .. "\n"
          g:spawn(function() assert(f:write(part, "\n")) end)
        end
      end)
    end)
    assert.is_true(table.concat(expected) == slurp(path))
  end)

  it("lets nobody read between the calls that came before", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", ("x"):rep(200000) .. "end")
    run(function()
      local f <close> = assert(fs.open(path))
      local large = lull.spawn(function() return f:read(200000) end)
      local small = lull.spawn(function() return f:read(3) end)
      local place = lull.spawn(function() return f:seek() end)
      assert.equal(200000, #large:await())
      assert.equal("end", small:await())
      assert.equal(200003, place:await())
    end)
  end)

  it("wakes all who wait when it is closed", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", ("x"):rep(200000))
    run(function()
      local f = assert(fs.open(path))
      local tasks = {}
      for i = 1, 3 do tasks[i] = lull.spawn(function() return f:read(100000) end) end
      lull.sleep(0)
      assert.is_true(f:close())
      for i = 1, 3 do
        local data, message, code = tasks[i]:await()
        assert.is_nil(data)
        assert.matches("^ECANCELED: ", message)
        assert.equal("ECANCELED", code)
      end
    end)
  end)
end)

-- ---- cancellation -------------------------------------------------------------------

describe("a file whose caller is cancelled", function()
  it("has lost nothing that was to be read", function()
    local dir <close> = helper.tempdir()
    local numbered = {}
    for i = 1, 40000 do numbered[i] = i end
    numbered = table.concat(numbered, "\n")
    local path = dir:write("file", numbered)
    run(function()
      local f <close> = assert(fs.open(path))
      local got = {}
      for i = 1, 200 do
        local task = lull.spawn(function() return f:read(1000 + i) end)
        if i % 2 == 0 then
          lull.sleep(0)
          task:cancel()
        end
        local ok, data = pcall(task.await, task)
        if ok then got[#got + 1] = data end
        assert.equal(#table.concat(got), f:seek())
      end
      got[#got + 1] = f:read "a"
      assert.is_true(table.concat(got) == numbered)
    end)
  end)

  it("still writes what it was given", function()
    local dir <close> = helper.tempdir()
    local path, large = dir.path .. "/file", ("0123456789"):rep(500000)
    run(function()
      local f = assert(fs.open(path, "w"))
      local task = lull.spawn(function() f:write(large) end)
      lull.sleep(0)
      assert.is_true(task:cancel())
      pcall(task.await, task)
      assert.is_true(task:cancelled())
      f:write "end"
      assert.is_true(f:close())
      assert.is_true(slurp(path) == large .. "end")
    end)
  end)

  it("is written when the block is left by that, and the loop waits for it", function()
    local dir <close> = helper.tempdir()
    local path, large = dir.path .. "/file", ("0123456789"):rep(500000)
    run(function()
      local writing
      local task = lull.spawn(function()
        local f <close> = assert(fs.open(path, "w"))
        writing = true
        f:write(large, "end")
      end)
      repeat lull.sleep(0) until writing
      task:cancel()
    end)
    assert.is_true(slurp(path) == large .. "end")
  end)

  it("has not begun when its scope was cancelled before", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "text")
    run(function()
      local f <close> = assert(fs.open(path, "r+"))
      lull.scope(function(s)
        s:cancel()
        assert.is_true(lull.is_cancelled(select(2, pcall(f.read, f))))
        assert.is_true(lull.is_cancelled(select(2, pcall(f.write, f, "x"))))
        assert.is_true(lull.is_cancelled(select(2, pcall(f.seek, f))))
        assert.is_true(lull.is_cancelled(select(2, pcall(fs.remove, path))))
      end)
      assert.equal("text", f:read "a")
      assert.equal("text", slurp(path))
    end)
  end)

  it("is not opened behind its back", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", "text")
    run(function()
      for _ = 1, 50 do
        local task = lull.spawn(fs.open, path)
        lull.sleep(0)
        task:cancel()
        pcall(task.await, task)
      end
      collectgarbage()
      collectgarbage()
    end)
  end)
end)

describe("the loop", function()
  it("goes on while files are read and written", function()
    local dir <close> = helper.tempdir()
    local path, large = dir.path .. "/file", ("0123456789"):rep(3000000)
    run(function()
      local ticks, before = 0, 0
      local _ <close> = lull.spawn(function()
        while true do
          ticks = ticks + 1
          lull.sleep(0)
        end
      end)
      assert(fs.write_file(path, large))
      assert.is_true(ticks > before + 20, ticks)
      before = ticks
      assert.is_true(fs.read_file(path) == large)
      assert.is_true(ticks > before + 5, ticks)
    end)
  end)
end)

-- ---- pipes and devices --------------------------------------------------------------

describe("a named pipe", function()
  local function with_pipe(fn)
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/pipe"
    assert(os.execute("mkfifo " .. path))
    run(function() fn(path) end)
  end

  it("is opened without waiting and read when somebody writes", function()
    with_pipe(function(path)
      local r <close> = assert(fs.open(path))
      local lines = {}
      local reader = lull.spawn(function()
        for line in r:lines() do lines[#lines + 1] = line end
      end)
      lull.sleep(0)
      assert.is_false(reader:done())
      local w = assert(fs.open(path, "w"))
      w:write "one\ntw"
      w:flush()
      w:write "o\n"
      assert.is_true(w:close())
      reader:await()
      assert.same({"one", "two"}, lines)
    end)
  end)

  it("waits for a reader to be opened for writing, and can be left", function()
    with_pipe(function(path)
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, fs.open, path, "w")))
      local writer = lull.spawn(function()
        local w <close> = assert(fs.open(path, "w"))
        w:write "hello"
      end)
      lull.sleep(1)
      local r <close> = assert(fs.open(path))
      assert.equal("hello", r:read "a")
      writer:await()
    end)
  end)

  it("carries more than it holds", function()
    local large = ("0123456789"):rep(200000)
    with_pipe(function(path)
      local r <close> = assert(fs.open(path))
      local w = assert(fs.open(path, "w"))
      local writer = lull.spawn(function()
        assert(w:write(large, "end"))
        assert.is_true(w:close())
      end)
      assert.is_true(r:read(1000) == large:sub(1, 1000))
      assert.is_true(r:read "a" == large:sub(1001) .. "end")
      writer:await()
    end)
  end)

  it("tells who writes that nobody reads any more", function()
    with_pipe(function(path)
      local r = assert(fs.open(path))
      local w = assert(fs.open(path, "w"))
      r:close()
      w:write "x"
      assert.equal("EPIPE", select(3, w:flush()))
      assert.equal("EPIPE", select(3, w:write "y"))
      assert.equal("EPIPE", select(3, w:close()))
    end)
  end)

  it("gives back its reader and its writer when it is closed", function()
    with_pipe(function(path)
      local r = assert(fs.open(path))
      local reader = lull.spawn(function() return r:read() end)
      lull.sleep(0)
      r:close()
      assert.equal("ECANCELED", select(3, reader:await()))
      r = assert(fs.open(path))
      local w = assert(fs.open(path, "w"))
      local writer = lull.spawn(function() return w:write(("x"):rep(1000000)) end)
      lull.sleep(0)
      local closer = lull.spawn(function() return w:close() end)
      lull.sleep(0)
      assert.equal("ECANCELED", select(3, writer:await()))
      r:close()
      assert.equal("EPIPE", select(3, closer:await()))
    end)
  end)

  it("has no positions", function()
    with_pipe(function(path)
      local r <close> = assert(fs.open(path))
      assert.equal("ESPIPE", select(3, r:seek()))
      assert.equal("ESPIPE", select(3, r:seek("set", 1)))
    end)
  end)
end)

describe("a device", function()
  it("is read and written", function()
    run(function()
      local zero <close> = assert(fs.open "/dev/zero")
      assert.equal(("\0"):rep(100000), zero:read(100000))
      local null <close> = assert(fs.open("/dev/null", "r+"))
      assert.is_nil(null:read())
      assert(null:write(("x"):rep(100000)))
      assert.is_true(null:close())
      assert.is_true(#fs.read_file "/proc/self/status" > 100)
    end)
  end)
end)
