-- The standard streams: on files, pipes, terminals, sockets and nothing at all; beside
-- what print writes; and at every end that a script may come to.
local helper = require "spec.helper"
local net = require "lull.net"
local cast = require "spec.cast"
local run, spawn, see = helper.run, cast.spawn, cast.see

local real = {real = true}

-- Runs text as a script: run(opts...) of process.run; or speaks to it with fn(p).
local function script(text, opts, fn)
  local dir <close> = helper.tempdir()
  local path = dir:write("script.lua", 'local lull = require "lull"\n' .. text)
  return run(function()
    local words = {helper.interpreter(), path}
    if opts.plain then table.insert(words, 2, "--plain") end
    opts.plain = nil
    if not fn then
      local r = see(words, opts)
      return r.stdout, r.stderr, r.code
    end
    local p <close> = spawn(words, opts)
    return fn(p, dir)
  end, real)
end

local function output(text, input)
  local out, err, code = script(text, {input = input})
  assert.equal("", err)
  assert.equal(0, code)
  return out
end

-- A terminal: the program script(1) of the system makes one.
local function terminal(text, fn)
  local dir <close> = helper.tempdir()
  local path = dir:write("script.lua", 'local lull = require "lull"\n' .. text)
  run(function()
    local p <close> = spawn(
      {"script", "-qefc", ("%s %s"):format(helper.interpreter(), path), "/dev/null"},
      {stdin = "pipe", stdout = "pipe", stderr = "stdout", env = {SHELL = "/bin/sh"}})
    fn(p)
  end, real)
end

local upper = [[
  for line in lull.stdin:lines() do lull.stdout:write(line:upper(), "\n") end
]]

describe("lull.stdin and lull.stdout", function()
  it("are told by their names", function()
    local full <close> = assert(io.open("/dev/full", "w"))
    local _, err = script([[
      io.stderr:write(tostring(lull.stdin), "\n", tostring(lull.stdout), "\n",
                      select(2, lull.stdout:write "x"), "\n")
    ]], {stdin = "null", stdout = full})
    assert.equal("stream 1 (stdin)\nstream 2 (stdout)\n"
      .. "ENOSPC: no space left on device (stdout)\n", err)
  end)

  it("are on pipes", function()
    assert.equal("ONE\nTWO\nLAST\n", output(upper, "one\ntwo\nlast"))
    assert.equal("", output(upper, ""))
    script(upper, {stdin = "pipe", stdout = "pipe"}, function(p)
      for _, word in ipairs {"a", "b", "c"} do -- each is answered before the next is sent
        p.stdin:write(word, "\n")
        assert.equal(word:upper(), p.stdout:read())
      end
      p.stdin:close()
      assert.is_nil(p.stdout:read())
      assert.equal(0, p:wait())
    end)
  end)

  it("are on files", function()
    local dir <close> = helper.tempdir()
    local lines = {}
    for i = 1, 20000 do lines[i] = "line " .. i end
    local text = table.concat(lines, "\n") .. "\n"
    local from = assert(io.open(dir:write("from", text)))
    local to = assert(io.open(dir.path .. "/to", "w"))
    local _, err, code = script(upper, {stdin = from, stdout = to})
    assert.same({"", 0}, {err, code})
    local f <close> = assert(io.open(dir.path .. "/to"))
    assert.equal(text:upper(), f:read "a")
  end)

  it("are on sockets", function()
    run(function()
      local ours, theirs <close> = net.pair()
      local _ <close> = ours
      local dir <close> = helper.tempdir()
      local path = dir:write("script.lua", upper)
      local p <close> = spawn({helper.interpreter(), path},
        {stdin = theirs, stdout = theirs})
      theirs:close()
      ours:write "over a socket\n"
      assert.equal("OVER A SOCKET", ours:read())
      ours:shutdown "write"
      assert.is_nil(ours:read())
      assert.equal(0, p:wait())
    end, real)
  end)

  it("are on a terminal", function()
    terminal([[
      lull.stdout:write "name? "
      print("hello " .. lull.stdin:read() .. ", " .. tostring(lull.stdin:read()))
    ]], function(p)
      assert.equal("name? ", p.stdout:read_until "? ")
      p.stdin:write "ann\n"
      assert.equal("ann", p.stdout:read()) -- the echo
      p.stdin:write "\4" -- the end of input
      assert.matches("hello ann, nil\r\n$", p.stdout:read "a")
    end)
  end)

  it("are on /dev/null", function()
    assert.equal("nil\n", output("print(lull.stdin:read())"))
    local _, err, code = script([[
      for i = 1, 10 do lull.stdout:write(("x"):rep(100000)) end
      lull.stdout:flush()]], {stdout = "null"})
    assert.same({"", 0}, {err, code})
  end)

  it("are there where none was open", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("script.lua", [[
      print(lull.stdin:read())
      lull.stdout:write "to nobody\n"
      lull.stderr:write "neither\n"]])
    local out, err, code = helper.execute {"sh", "-c",
      ("exec %s %s <&- >&- 2>&-"):format(helper.interpreter(), path)}
    assert.same({"", "", 0}, {out, err, code})
  end)

  it("leave the flags of what others use as they are", function()
    -- A pipe, a socket and a terminal; the shell looks at its own descriptors afterwards.
    local dir <close> = helper.tempdir()
    local path = dir:write("script.lua", [[
      lull.stdout:write "x\n"
      lull.stderr:write "y\n"
      lull.timeout(0.01, lull.stdin.read, lull.stdin)]])
    local look = ([[%s %s
      for i in 0 1 2; do
        read x flags < /proc/$$/fdinfo/$i; { read x; read x flags; } < /proc/$$/fdinfo/$i
        echo "flags $flags" >&2
      done]]):format(helper.interpreter(), path)
    local function check(text)
      local n = 0
      for flags in text:gmatch "flags (%d+)" do
        n = n + 1
        assert.equal(0, tonumber(flags, 8) & 2048, text)
      end
      assert.equal(3, n, text)
    end
    run(function()
      local p <close> = spawn({"sh", "-c", look},
        {stdin = "pipe", stdout = "pipe", stderr = "pipe"})
      check(p.stderr:read "a")
      local ours, theirs <close> = net.pair()
      local _ <close> = ours
      local q <close> = spawn({"sh", "-c", look},
        {stdin = theirs, stdout = theirs, stderr = theirs})
      theirs:close()
      check(ours:read "a")
      local t <close> = spawn({"script", "-qefc", look, "/dev/null"},
        {stdin = "pipe", stdout = "pipe", env = {SHELL = "/bin/sh"}})
      check(t.stdout:read "a")
      assert.truthy(p and q)
    end, real)
  end)

  it("do not stop the others", function()
    script([[
      local n, stop = 0, false
      lull.spawn(function()
        while not stop do
          lull.sleep(0.001)
          n = n + 1
        end
      end)
      local reader = lull.spawn(function() return lull.stdin:read() end)
      local writer = lull.spawn(function()
        lull.stdout:write(("x"):rep(1000000), "\n") -- more than anybody takes
        lull.stdout:flush()
      end)
      while n < 20 do lull.sleep(0.001) end
      lull.stderr:write(tostring(reader:done()), tostring(writer:done()), "\n")
      reader:await()
      writer:await()
      stop = true]], {stdin = "pipe", stdout = "pipe", stderr = "pipe"}, function(p)
      assert.equal("falsefalse", p.stderr:read())
      p.stdin:write "\n"
      assert.equal(1000000, #p.stdout:read_exactly(1000000))
      assert.equal(0, p:wait())
    end)
  end)

  it("go on where the pipe cannot be opened anew", function()
    -- a named pipe; and one that is shared with a child, which blocks then
    local dir <close> = helper.tempdir()
    assert(os.execute("mkfifo " .. dir.path .. "/fifo"))
    run(function()
      local path = dir:write("script.lua", upper)
      local p <close> = spawn({"sh", "-c", 'cat > "$1" & exec "$2" "$3" < "$1"',
        "sh", dir.path .. "/fifo", helper.interpreter(), path},
        {stdout = "pipe", stdin = "null"})
      assert.equal("", p.stdout:read "a")
      assert.equal(0, p:wait()) -- or it may have the named pipe open yet
      local q <close> = spawn({"sh", "-c",
        'exec 3<&0; cat <&3 > "$1" & exec "$2" "$3" < "$1"',
        "sh", dir.path .. "/fifo", helper.interpreter(), path},
        {stdout = "pipe", stdin = "pipe"})
      for _, word in ipairs {"one", "two"} do
        q.stdin:write(word, "\n")
        assert.equal(word:upper(), q.stdout:read())
      end
      q.stdin:close()
      assert.is_nil(q.stdout:read())
      assert.equal(0, q:wait())
    end, real)
    script([[
      local process = require "lull.process"
      assert(process.spawn({"true"}, {stdin = lull.stdin, stdout = lull.stdout})):wait()
      local text = ("x"):rep(300000)
      lull.stdout:write(text, "\n")
      print(lull.stdin:read())]], {stdin = "pipe", stdout = "pipe"}, function(p)
      assert.equal(300000, #p.stdout:read())
      p.stdin:write "well\n"
      assert.equal("well", p.stdout:read())
    end)
  end)

  it("tell that nobody reads any more", function()
    script([[
      lull.stdin:read()
      local stream, message, code = lull.stdout:write "to nobody"
      lull.stderr:write(tostring(stream), " ", code, "\n")]],
      {stdin = "pipe", stdout = "pipe", stderr = "pipe"}, function(p)
      p.stdout:close()
      p.stdin:write "\n"
      assert.equal("nil EPIPE", p.stderr:read())
      assert.equal(0, p:wait())
    end)
  end)

  it("are always the same", function()
    assert.equal("true\ttrue\ttrue\n", output [[
      print(lull.stdin == lull.stdin, lull.stdout == require "lull".stdout,
            lull.stderr ~= lull.stdout)]])
  end)
end)

describe("the example filter.lua", function()
  it("numbers lines", function()
    run(function()
      local words = {helper.interpreter(), "examples/filter.lua"}
      local r = see(words, {input = "one\ntwo\n\nfour"})
      assert.equal("", r.stderr)
      assert.equal("     1  one\n     2  two\n     3  \n     4  four\n", r.stdout)
    end, real)
  end)
end)

describe("what print wrote", function()
  it("comes before what is written to a stream after it", function()
    assert.equal("a\nb\nc d\ne\n", output [[
      print "a"
      lull.stdout:write "b\n"
      io.write "c "
      lull.stdout:write "d\n"
      print "e"]])
  end)

  it("comes first also where a stream is copied", function()
    assert.equal("a\nb\nc\n", output([[
      print "a"
      lull.stdin:relay(lull.stdout)
      lull.stdout:try_write "c\n"]], "b\n"))
  end)
end)

describe("what is still to be written", function()
  -- More than a pipe holds, and nobody reads before the script has come to its end.
  local function late(ending, opts)
    return script(([[
      lull.stdout:try_write(("0123456789"):rep(50000), "the end\n")
      lull.stderr:write "written\n"
      %s]]):format(ending), {stdout = "pipe", stderr = "pipe", plain = opts}, function(p)
      assert.equal("written", p.stderr:read())
      local text = p.stdout:read "a"
      assert.equal(500000 + 8, #text)
      assert.equal("the end\n", text:sub(-8))
      return p.stderr:read "a", p:wait()
    end)
  end

  it("is written at the end of a script", function()
    assert.same({"", 0}, {late ""})
    assert.same({"", 0}, {late "lull.stdout:close()"})
    assert.same({"", 0}, {late "lull.spawn(function() lull.sleep(0.01) end)"})
  end)

  it("is written when the script fails", function()
    local err, code = late "error 'failed'"
    assert.matches("failed", err)
    assert.equal(1, code)
    err, code = late "lull.future():await()"
    assert.matches("deadlock", err)
    assert.equal(1, code)
  end)

  it("is written by os.exit", function()
    assert.same({"", 7}, {late "os.exit(7)"})
    assert.same({"", 0}, {late "os.exit(true, true)"})
    assert.same({"", 5}, {late "lull.spawn(function() os.exit(5) end) lull.sleep(10)"})
  end)

  it("is written when a loop ends", function()
    local text = [[
      lull.run(function()
        lull.stdout:try_write(("x"):rep(400000), "\n")
      end)
      lull.run(function() lull.stdout:write "second\n" end)
      print "third"]]
    local out, err, code = script(text, {plain = true})
    assert.same({400000, "second\nthird\n", "", 0},
                {out:find "\n" - 1, out:match "\n(.*)$", err, code})
    out, err, code = helper.stock('local lull = require "lull"\n' .. text)
    if out then
      assert.same({400000, "second\nthird\n", "", 0},
                  {out:find "\n" - 1, out:match "\n(.*)$", err, code})
    end
  end)

  it("is dropped when nobody reads any more", function()
    script([[
      lull.stdout:try_write(("x"):rep(400000))
      lull.stderr:write "written\n"
      lull.stdin:read()]], {stdin = "pipe", stdout = "pipe", stderr = "pipe"}, function(p)
      assert.equal("written", p.stderr:read())
      p.stdout:close()
      p.stdin:write "\n"
      assert.equal("", p.stderr:read "a")
      assert.equal(0, p:wait())
    end)
  end)
end)

describe("closing a standard stream", function()
  it("leaves the file to the others", function()
    assert.equal("a\nb\n", output [[
      lull.stdout:write "a\n"
      lull.stdout:close()
      print "b"]])
    assert.equal("false\n", output [[
      lull.stdout:close()
      print((pcall(lull.stdout.write, lull.stdout, "x")))]])
  end)
end)

describe("the prompt", function()
  it("and a statement read lines from the same terminal", function()
    local out, _, code = helper.execute({helper.interpreter(), "-i"},
      "x = lull.stdin\nprint('got ' .. io.read())\nanother line\nprint 'still here'\n")
    assert.matches("got another line", out)
    assert.matches("still here", out)
    assert.equal(0, code)
    run(function()
      local p <close> = spawn(
        {"script", "-qefc", helper.interpreter() .. " -i", "/dev/null"},
        {stdin = "pipe", stdout = "pipe", env = {SHELL = "/bin/sh", TERM = "dumb"}})
      p.stdout:read_until "> "
      p.stdin:write "'got ' .. lull.stdin:read()\n"
      p.stdout:read() -- the echo
      p.stdin:write "this line\n"
      assert.truthy(p.stdout:read_until "got this line")
      p.stdout:read_until "> "
      p.stdin:write "6 * 7\n"
      assert.truthy(p.stdout:read_until "42")
      p.stdout:read_until "> "
      p.stdin:write "\4"
      assert.equal(0, p:wait())
    end, real)
  end)
end)
