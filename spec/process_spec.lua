-- Child processes: how they start, what they get and what not, how they end, and that
-- nothing is left of them.  On the real clock, with programs of the system as peers.
local helper = require "spec.helper"
local core = require "lull.core"
local lull = require "lull"
local net = require "lull.net"
local fs = require "lull.fs"
local process = require "lull.process"
local cast = require "spec.cast"
local run, slurp = helper.run, helper.slurp
local spawn, see = cast.spawn, cast.see

local real = {real = true}

-- A shell that runs this text.
local function sh(text, ...)
  return {"sh", "-c", text, "sh", ...}
end

-- The state of a process as /proc knows it ("Z" for a zombie), or nil: it is gone.
local function state_of(pid)
  local f <close> = io.open(("/proc/%d/stat"):format(pid))
  local text = f and f:read "a" -- fails when it goes meanwhile
  return text and text:match "^.*%) (%u)"
end

-- How many children this process has that have ended and not been reaped.
local function zombies()
  local self, n = slurp("/proc/self/stat"):match "^(%d+)", 0
  for name in require "lfs".dir "/proc" do
    local f <close> = name:find "^%d+$" and io.open("/proc/" .. name .. "/stat") or nil
    local text = f and f:read "a"
    local state, parent = (text or ""):match "^.*%) (%u) (%d+)"
    if state == "Z" and parent == self then n = n + 1 end
  end
  return n
end

-- Nothing that a block opens may be left when it ends.
local function tidy(fn)
  return function()
    helper.collect()
    local before = core.descriptors()
    fn()
    helper.collect()
    assert.same(before, core.descriptors())
    assert.equal(0, zombies())
  end
end

-- Both ways of learning of an end.
local function both_ways(fn)
  for _, pidfd in ipairs {true, false} do fn(pidfd) end
end

describe("a child", function()
  it("tells its exit code, or the signal that it died of", tidy(function()
    for _, selector in helper.backends() do
      run(function()
        both_ways(function(pidfd)
          local well = spawn(sh "exit 0", {pidfd = pidfd})
          local badly = spawn(sh "exit 42", {pidfd = pidfd})
          local killed = spawn(sh "kill -KILL $$", {pidfd = pidfd})
          assert.same({nil, "SIGKILL"}, {killed:wait()})
          assert.same({0}, {well:wait()})
          assert.same({42}, {badly:wait()})
          assert.same({42}, {badly:wait()})
        end)
      end, {real = true, selector = selector})
    end
  end))

  it("tells it to all who wait", tidy(function()
    run(function()
      both_ways(function(pidfd)
        local p = spawn(sh "read x; exit 7", {stdin = "pipe", pidfd = pidfd})
        local waiting = {}
        for i = 1, 5 do waiting[i] = lull.spawn(p.wait, p) end
        helper.turns(2)
        waiting[2]:cancel()
        p.stdin:write "\n"
        for i = 1, 5 do
          if i ~= 2 then assert.equal(7, waiting[i]:await()) end
        end
        assert.is_true(waiting[2]:cancelled())
        p:close()
      end)
    end, real)
  end))

  it("writes behind what the script has written to the file", tidy(function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/log"
    run(function()
      local file <close> = fs.open(path, "w")
      file:write "before\n"
      assert(process.spawn({"echo", "child"}, {stdout = file})):wait()
      file:close()
      assert.equal("before\nchild\n", fs.read_file(path))
    end, real)
  end))

  it("and its parent go on where the other has ended", tidy(function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/log"
    local function child(text, opts)
      assert(process.spawn({"sh", "-c", text}, opts)):wait()
    end
    run(function()
      local out <close> = fs.open(path, "w")
      out:write "before\n"
      child("echo one", {stdout = out})
      child("echo two", {stdout = out})
      assert.equal(15, out:seek())
      out:write "after\n"
      child("echo three", {stdout = out})
      out:close()
      assert.equal("before\none\ntwo\nafter\nthree\n", fs.read_file(path))
      local input <close> = fs.open(path)
      child("read line", {stdin = input})
      child("read line", {stdin = input})
      assert.equal("two", input:read())
      assert.equal("after", input:lines()())
      assert.equal(0, input:seek "set")
      assert.equal("before", input:read())
    end, real)
  end))

  it("that is a mistake is the caller's", tidy(function()
    local function says(message, fn, ...)
      local ok, err = pcall(function(...) return (fn(...)) end, ...)
      assert.is_false(ok)
      assert.truthy(err:find("process_spec.lua:%d+: " .. message), err)
    end
    run(function()
      local p <close> = spawn({"cat"}, {stdin = "pipe"})
      says("no such signal: SIGFOO", p.kill, p, "SIGFOO")
      says("no such signal: table", p.kill, p, {})
      says("'spawn': cwd must be", process.spawn, {"ls"}, {cwd = {}})
      says("'run': input must be", process.run, {"cat"}, {input = {}})
      says("'run': nobody would write", process.run, {"cat"}, {stdin = "pipe"})
      says("'listen': a TLS server needs", net.listen, "127.0.0.1", 0, {tls = true})
      says("'listen': bad option 'tls'", net.listen, "127.0.0.1", 0, {tls = 5})
      says("'connect': bad option 'tls'", net.connect, "127.0.0.1", 1, {tls = 5})
    end, real)
  end))

  it("goes on when the wait for it is cancelled", tidy(function()
    run(function()
      local p <close> = spawn({"cat"}, {stdin = "pipe", stdout = "pipe"})
      local _, _, code = lull.timeout(0.01, p.wait, p)
      assert.equal("ETIMEDOUT", code)
      p.stdin:write "still here\n"
      assert.equal("still here", p.stdout:read())
      p.stdin:close()
      assert.equal(0, p:wait())
    end, real)
  end))

  it("is reaped though nobody keeps it", tidy(function()
    run(function()
      local pid, stdin
      do
        local p = spawn(sh "read x", {stdin = "pipe"})
        pid, stdin = p:pid(), p.stdin
      end
      collectgarbage()
      collectgarbage()
      assert.truthy(state_of(pid))
      stdin:close()
      while state_of(pid) do lull.sleep(0.001) end
    end, real)
  end))

  it("is shown with its name and state", tidy(function()
    run(function()
      local p = spawn(sh "read x", {stdin = "pipe"})
      assert.matches("^process %d+ %(sh, running%)$", tostring(p))
      p:kill()
      p:wait()
      assert.matches("%(sh, ended by SIGTERM%)$", tostring(p))
      local q = spawn {"true"}
      q:wait()
      assert.matches("%(true, exited with 0%)$", tostring(q))
      assert.equal(math.type(q:pid()), "integer")
      p:close()
    end, real)
  end))

  it("is there two hundred times", tidy(function()
    run(function()
      local children = {}
      for i = 1, 200 do
        children[i] = spawn(sh("read x; exit $((x % 100))"),
          {stdin = "pipe", pidfd = i % 4 ~= 0})
      end
      for i, p in ipairs(children) do p.stdin:write(i, "\n") end
      for i, p in ipairs(children) do
        assert.equal(i % 100, p:wait())
        p:close()
      end
    end, real)
  end))

  it("outlives the script, and is not waited for", function()
    local dir <close> = helper.tempdir()
    local question, answer = dir.path .. "/q", dir.path .. "/a"
    assert(os.execute(("mkfifo %s %s"):format(question, answer)))
    local out, err, code = helper.child(([[
      local process = require "lull.process"
      process.spawn({"sh", "-c", "x=$(cat %s); echo $x > %s"},
        {stdin = "null", stdout = "null", stderr = "null"})
      print "the end"]]):format(question, answer), "--real")
    assert.same({"the end\n", "", 0}, {out, err, code})
    assert.equal("hello\n", (helper.execute {"sh", "-c",
      ("echo hello > %s; cat %s"):format(question, answer)}))
  end)

  it("keeps a program from being a deadlock", function()
    local _, err, code = helper.child([[
      local lull, process = require "lull", require "lull.process"
      local future = lull.future()
      local p = process.spawn({"sh", "-c", "read x"}, {stdin = "pipe"})
      lull.spawn(function() p:wait() future:set_result() end)
      lull.spawn(function() lull.sleep(0) p.stdin:close() end)
      future:await()]])
    assert.same({"", 0}, {err, code})
  end)

  it("can be waited for on another loop when its own has ended", tidy(function()
    both_ways(function(pidfd)
      local p = run(function()
        return process.spawn(sh "read x; exit 3", {stdin = "pipe", pidfd = pidfd})
      end, real)
      run(function()
        p.stdin:write "\n"
        assert.equal(3, p:wait())
        p:close()
      end, real)
    end)
  end))

  it("can be closed on another loop", tidy(function()
    local loop = lull.new_loop()
    local p = loop:run_until_complete(function() return spawn {"sleep", "100"} end)
    run(function()
      p:close()
      assert.same({nil, "SIGTERM"}, {p:wait()})
    end, real)
    loop:close()
  end))

  it("that a loop has left behind is reaped when another starts", tidy(function()
    local p = run(function()
      return process.spawn(sh "read x", {stdin = "pipe"})
    end, real)
    p.stdin:close()
    while state_of(p:pid()) ~= "Z" do os.execute "true" end
    run(function() assert.equal(0, process.spawn({"true"}):wait()) end, real)
    assert.is_nil(state_of(p:pid()))
  end))
end)

describe("spawn", function()
  it("says what could not be run", tidy(function()
    run(function()
      local function failure(...)
        local p, message, code = process.spawn(...)
        assert.is_nil(p)
        return message, code
      end
      assert.same({"ENOENT: no such file or directory (no-such-program)", "ENOENT"},
                  {failure {"no-such-program"}})
      assert.same({"ENOENT: no such file or directory (/no/such)", "ENOENT"},
                  {failure {"/no/such"}})
      assert.same({"EACCES: permission denied (/etc/passwd)", "EACCES"},
                  {failure {"/etc/passwd"}})
      local nowhere = {cwd = "/nowhere", stdin = "pipe", stdout = "pipe"}
      assert.same({"ENOENT: no such file or directory (/nowhere)", "ENOENT"},
                  {failure({"true"}, nowhere)})
      assert.equal("ENOTDIR", select(2, failure({"true"}, {cwd = "/etc/passwd"})))
      assert.equal("ENOENT", select(2, failure {""}))
      local dir <close> = helper.tempdir()
      local text = dir:write("text", "no program\n")
      assert(os.execute("chmod +x " .. text))
      assert.equal("ENOEXEC", select(2, failure {text}))
      assert.equal("E2BIG", select(2, failure {"true", ("x"):rep(3000000)}))
      local many = {"true"}
      for i = 2, 40000 do many[i] = ("y"):rep(100) end
      assert.equal("E2BIG", select(2, failure(many)))
    end, real)
  end))

  it("raises where it was called wrongly", function()
    run(function()
      local function mistake(pattern, ...)
        local ok, err = pcall(process.spawn, ...)
        assert.is_false(ok)
        assert.matches(pattern, err)
      end
      mistake "bad argument #1 to 'spawn' %(table expected, got no value%)"
      mistake("table expected, got string", "ls -l")
      mistake("an empty list", {})
      mistake("argument 1 contains a zero byte", {"echo", "a\0b"})
      mistake("argument 1 must be a string, not a table", {"echo", {}})
      mistake("cwd contains a zero byte", {"true"}, {cwd = "/\0"})
      mistake("bad option 'stdin'", {"true"}, {stdin = "pipes"})
      mistake("bad option 'stdin'", {"true"}, {stdin = "stdout"})
      mistake("bad option 'stdout'", {"true"}, {stdout = 7})
      mistake("bad option 'grace'", {"true"}, {grace = -1})
      mistake("bad option 'env'", {"true"}, {env = "A=1"})
      mistake("'A=B' cannot be the name", {"true"}, {env = {["A=B"] = "1"}})
      mistake("the variable A contains a zero byte", {"true"}, {env = {A = "\0"}})
      local closed = io.tmpfile()
      closed:close()
      mistake("bad option 'stdout'", {"true"}, {stdout = closed})
      local a, b = net.pair()
      a:close()
      b:close()
      mistake("closed stream", {"true"}, {stdout = a})
    end, real)
    assert.has_error(function() process.spawn {"true"} end)
  end)

  it("passes arguments as they are", function()
    run(function()
      local given = {"", " ", "a b", "'\"$x`", "\n", "-n", "\xff\x01", 12, "1.5"}
      local r = see {"printf", "<%s>", table.unpack(given)}
      local expected = {}
      for i, word in ipairs(given) do expected[i] = "<" .. word .. ">" end
      assert.equal(table.concat(expected), r.stdout)
    end, real)
  end)

  it("lays variables over the environment", function()
    run(function()
      local function value(name, opts)
        return see(sh("printf %s \"${" .. name .. "-unset}\""), opts).stdout
      end
      assert.equal(os.getenv "PATH", value("PATH"))
      assert.equal("x y", value("LULL_SPEC", {env = {LULL_SPEC = "x y"}}))
      assert.equal(os.getenv "PATH", value("PATH", {env = {LULL_SPEC = 1}}))
      assert.equal("unset", value("HOME", {env = {HOME = false}}))
      assert.equal("unset", value("HOME",
        {clear_env = true, env = {PATH = os.getenv "PATH"}}))
      local all = see({"/usr/bin/env"}, {clear_env = true, env = {A = "1"}})
      assert.equal("A=1\n", all.stdout)
      all = see({"/usr/bin/env"}, {clear_env = true})
      assert.equal("", all.stdout)
    end, real)
  end)

  it("looks for a program where the child would", function()
    local dir <close> = helper.tempdir()
    local program = dir:write("a-program-of-ours", "#!/bin/sh\necho \"ours: $0\"\n")
    run(function()
      assert.equal("ENOENT", select(3, process.spawn {"a-program-of-ours"}))
      -- not executable: another one may be, but if not this is what is told
      local opts = {env = {PATH = "/nowhere:" .. dir.path .. ":/bin"}}
      assert.equal("EACCES", select(3, process.spawn({"a-program-of-ours"}, opts)))
      assert(os.execute("chmod +x " .. program))
      local r = see({"a-program-of-ours"}, opts)
      assert.equal("ours: " .. program .. "\n", r.stdout)
      r = see({"./a-program-of-ours"}, {cwd = dir.path})
      assert.equal("ours: ./a-program-of-ours\n", r.stdout)
      r = see({"a-program-of-ours"}, {cwd = dir.path, env = {PATH = ""}})
      assert.equal("ours: ./a-program-of-ours\n", r.stdout)
      r = see({"true"}, {env = {PATH = false}})
      assert.equal(0, r.code)
    end, real)
  end)

  it("runs in another directory", function()
    local dir <close> = helper.tempdir()
    run(function()
      assert.equal(dir.path .. "\n", see({"pwd", "-P"}, {cwd = dir.path}).stdout)
    end, real)
  end)

  it("hands on no descriptor, also those that others forgot to mark", function()
    local f <close> = assert(io.open "/etc/passwd") -- by fopen: not close-on-exec
    run(function()
      local a, b <close> = net.pair()
      local _ <close> = a
      for _ = 1, 2 do
        local r = see(sh "ls /proc/$$/fd; true")
        assert.equal("0\n1\n2\n", r.stdout)
      end
      assert.truthy(a and b)
    end, real)
    assert.truthy(f:read())
  end)

  it("hands on no blocked or ignored signal, and the old limit of files", function()
    local text = [[
      local process = require "lull.process"
      io.write(process.run {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}.stdout)
      io.write(process.run {"sh", "-c", "ulimit -Sn"}.stdout)]]
    local dir <close> = helper.tempdir()
    local script = dir:write("script.lua", text)
    local out, err = helper.execute {"sh", "-c", [[
      ulimit -Sn 100
      exec env --ignore-signal=HUP --ignore-signal=PIPE --block-signal=USR1,TERM "$@"]],
      "sh", helper.interpreter(), script}
    assert.equal("", err)
    assert.equal("SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n100\n", out)
  end)

  it("leads a group of processes when told so", tidy(function()
    run(function()
      local plain = see(sh "cut -d' ' -f1,5 /proc/$$/stat").stdout
      local pid, group = plain:match "(%d+) (%d+)"
      assert.not_equal(pid, group)
      local p = spawn(sh "exec 3<&0; cat <&3 & cat <&3 & echo $$; wait",
        {process_group = true, stdin = "pipe", stdout = "pipe"})
      assert.equal(tostring(p:pid()), p.stdout:read())
      assert.is_true(p:kill "SIGKILL")
      assert.equal("", p.stdout:read "a") -- all that held the pipe have gone
      assert.same({nil, "SIGKILL"}, {p:wait()})
      p:close()
    end, real)
  end))

  it("leaves nothing when descriptors run out", function()
    local script = [[
      local core, process = require "lull.core", require "lull.process"
      local function count()
        local n = 0
        for _ in pairs(assert(core.descriptors())) do n = n + 1 end
        return n
      end
      local files, failed, well = {}, 0, 0
      for i = 1, 100 do files[i] = io.open "/dev/null" end
      table.remove(files):close() -- counting takes one
      while files[1] do
        local before = count()
        local p, message, code = process.spawn({"true"},
          {stdin = "pipe", stdout = "pipe", stderr = "null", pidfd = PIDFD})
        if p then
          well = well + 1
          assert(p:wait() == 0)
          p:close()
        else
          failed = failed + 1
          assert(code == "EMFILE", message)
        end
        p = nil
        collectgarbage()
        assert(count() == before, "left behind")
        table.remove(files):close()
      end
      print(failed > 2, well > 2)]]
    for _, pidfd in ipairs {"true", "false"} do
      local dir <close> = helper.tempdir()
      local path = dir:write("script.lua", (script:gsub("PIDFD", pidfd)))
      local out, err, code = helper.execute {"sh", "-c", 'ulimit -n 40; exec "$@"', "sh",
                                             helper.interpreter(), path}
      assert.same({"true\ttrue\n", "", 0}, {out, err, code})
    end
  end)
end)

describe("the standard files of a child", function()
  it("are pipes, with streams at our ends", tidy(function()
    run(function()
      local p <close> = spawn(sh [[while read x; do echo out $x; echo err $x >&2; done]],
        {stdin = "pipe", stdout = "pipe", stderr = "pipe"})
      for _, word in ipairs {"one", "two", "three"} do
        p.stdin:write(word, "\n")
        assert.equal("out " .. word, p.stdout:read())
        assert.equal("err " .. word, p.stderr:read())
      end
      p.stdin:close()
      assert.is_nil(p.stdout:read())
      assert.is_nil(p.stderr:read())
      assert.equal(0, p:wait())
    end, real)
  end))

  it("can be shut down, though they are pipes", tidy(function()
    run(function()
      for _, size in ipairs {10, 1000000} do -- sent at once, or later
        local p <close> = spawn({"cat"}, {stdin = "pipe", stdout = "pipe"})
        local text = ("x"):rep(size)
        p.stdin:try_write(text)
        assert.equal(p.stdin, p.stdin:shutdown "write")
        assert.is_true(p.stdout:read "a" == text)
        assert.equal("EPIPE", select(3, p.stdin:write "more"))
        assert.equal(p.stdin, p.stdin:shutdown "write")
        assert.equal(0, p:wait())
        assert.equal("ENOTSOCK", select(3, p.stdout:shutdown "write"))
      end
    end, real)
  end))

  it("are absent, or one and the same", tidy(function()
    run(function()
      local p <close> = spawn(sh "cat; echo out; echo err >&2",
        {stdin = "null", stdout = "pipe", stderr = "stdout"})
      assert.is_nil(p.stdin)
      assert.is_nil(p.stderr)
      assert.equal("out\nerr\n", p.stdout:read "a")
      local q <close> = spawn(sh "echo out; echo err >&2",
        {stdout = "null", stderr = "pipe"})
      assert.equal("err\n", q.stderr:read "a")
    end, real)
  end))

  it("are streams and files of ours", tidy(function()
    local dir <close> = helper.tempdir()
    run(function()
      local file = assert(io.open(dir.path .. "/log", "w"))
      file:write "before\n" -- still in the buffer
      local input = assert(io.open(dir:write("input", "from a file\n")))
      local a, b <close> = net.pair()
      local _ <close> = a
      local p = spawn(sh "cat; echo err >&2", {stdin = input, stdout = a, stderr = file})
      assert.equal(0, p:wait())
      input:close()
      file:close()
      a:close()
      assert.equal("from a file\n", b:read "a")
      assert.equal("before\nerr\n", slurp(dir.path .. "/log"))
    end, real)
  end))

  it("may change places", function()
    local out, err, code = helper.child([[
      local process = require "lull.process"
      local p = process.spawn({"sh", "-c", "echo out; echo err >&2"},
        {stdout = io.stderr, stderr = io.stdout})
      assert(p:wait() == 0)]], "--real")
    assert.same({"err\n", "out\n", 0}, {out, err, code})
  end)

  it("block for the child, but not for us", tidy(function()
    run(function()
      local flags = [[awk '/flags/ {print $2}' /proc/self/fdinfo/0]]
      local function nonblocking(text)
        return tonumber(text, 8) & 2048 ~= 0 -- O_NONBLOCK
      end
      -- a socket, and a pipe that belongs to us because another child has its other end
      local a, b <close> = net.pair()
      local _ <close> = a
      local p = spawn(sh(flags), {stdin = a, stdout = "pipe"})
      assert.is_false(nonblocking(p.stdout:read()))
      local from <close> = spawn(sh "cat; sleep 10",
        {stdin = "pipe", stdout = "pipe"})
      local q = spawn(sh(flags), {stdin = from.stdout, stdout = "pipe"})
      assert.is_false(nonblocking(q.stdout:read()))
      for _, stream in ipairs {a, from.stdout} do
        local _, _, code = lull.timeout(0.01, stream.read, stream)
        assert.equal("ETIMEDOUT", code)
      end
      from.stdin:write "late\n"
      b:write "later\n"
      assert.equal("late", from.stdout:read())
      assert.equal("later", a:read())
      -- more than either holds, with nobody reading yet
      local to <close> = spawn({"cat"}, {stdin = "pipe", stdout = "pipe"})
      assert.equal(0, spawn({"true"}, {stdin = "null", stdout = to.stdin}):wait())
      local text = ("0123456789abcdef"):rep(20000)
      for _, pair in ipairs {{to.stdin, to.stdout}, {a, b}} do
        local writing = lull.spawn(function() pair[1]:write(text) end)
        assert.is_true(text == pair[2]:read(#text))
        writing:await()
      end
      p:close()
      q:close()
    end, real)
  end))

  it("make a pipeline", tidy(function()
    run(function()
      local a = spawn(sh "seq 1 50000", {stdout = "pipe"})
      local b = spawn({"sort", "-rn"}, {stdin = a.stdout, stdout = "pipe"})
      a.stdout:close() -- it is b's now
      local c = spawn({"head", "-n", "3"}, {stdin = b.stdout, stdout = "pipe"})
      b.stdout:close()
      assert.equal("50000\n49999\n49998\n", c.stdout:read "a")
      assert.equal(0, a:wait())
      assert.same({nil, "SIGPIPE"}, {b:wait()}) -- as it would be in a shell
      assert.equal(0, c:wait())
      c:close()
    end, real)
  end))

  it("tell of a reader who has gone", tidy(function()
    run(function()
      local p <close> = spawn(sh "exec <&-; echo; read x <&1",
        {stdin = "pipe", stdout = "pipe"})
      p.stdout:read()
      local stream, message, code = p.stdin:write "too late"
      assert.is_nil(stream)
      assert.equal("EPIPE", code)
      assert.equal("EPIPE: broken pipe", message)
    end, real)
  end))
end)

describe("in a stock lua", function()
  it("a broken pipe is an error too, and nothing is installed", function()
    local out, err, code = helper.stock [[
      local lull = require "lull"
      local process = require "lull.process"
      local function handled()
        local f <close> = io.open "/proc/self/status"
        return f:read "a":match "SigCgt:%s*(%x+)"
      end
      local before = handled()
      lull.run(function()
        local p <close> = assert(process.spawn({"sh", "-c", "exec <&-; echo; sleep 10"},
          {stdin = "pipe", stdout = "pipe"}))
        p.stdout:read()
        print(select(3, p.stdin:write "too late"))
        print(process.run({"cat"}, {input = "hello"}).stdout)
        print(handled() == before)
      end)]]
    if out then assert.same({"EPIPE\nhello\ntrue\n", "", 0}, {out, err, code}) end
  end)
end)

describe("signals to a child", function()
  it("have names and numbers", tidy(function()
    run(function()
      both_ways(function(pidfd)
        for _, case in ipairs {{nil, "SIGTERM"}, {"SIGKILL", "SIGKILL"}, {9, "SIGKILL"},
                               {"SIGUSR1", "SIGUSR1"}, {"SIGRTMIN+2", "SIGRTMIN+2"},
                               {"SIGRTMIN", "SIGRTMIN"}} do
          local p = spawn({"sleep", "100"}, {pidfd = pidfd})
          assert.is_true(p:kill(0))
          assert.is_true(p:kill(case[1]))
          assert.same({nil, case[2]}, {p:wait()})
          assert.same({nil, "ESRCH: no such process", "ESRCH"}, {p:kill()})
        end
      end)
      local p <close> = spawn {"sleep", "100"}
      for _, wrong in ipairs {"TERM", "SIGRTMIN+99", "SIGRTMIN-1", "", 99, -1, 1.5} do
        local ok, err = pcall(p.kill, p, wrong)
        assert.is_false(ok)
        assert.matches("no such signal: ", err)
      end
    end, real)
  end))
end)

describe("closing a process", function()
  it("asks it to end, and waits", tidy(function()
    local dir <close> = helper.tempdir()
    run(function()
      both_ways(function(pidfd)
        local p = spawn(
          sh([[trap 'echo bye > $1/bye; exit 5' TERM; echo
               while :; do sleep 0.01; done]], dir.path),
          {stdin = "pipe", stdout = "pipe", stderr = "null", pidfd = pidfd,
           process_group = true})
        p.stdout:read()
        local waiter = lull.spawn(p.wait, p)
        helper.turns(1)
        p:close()
        assert.equal(5, waiter:await())
        assert.equal("bye\n", slurp(dir.path .. "/bye"))
        assert.is_nil(state_of(p:pid()))
        p:close()
        assert.equal(5, p:wait())
      end)
    end, real)
  end))

  it("kills what does not listen when the grace is over", tidy(function()
    run(function()
      for _, grace in ipairs {0.05, 0} do
        local ended
        do
          local p <close> = spawn(sh "trap '' TERM; echo; sleep 100; true",
            {stdout = "pipe", grace = grace, process_group = true})
          p.stdout:read()
          ended = p
        end
        assert.is_nil(state_of(ended:pid()))
        assert.same({nil, "SIGKILL"}, {ended:wait()})
      end
    end, real)
  end))

  it("does so on the virtual clock, which stands while a child runs", tidy(function()
    run(function()
      local p = spawn(sh "trap '' TERM; echo; sleep 100; true",
        {stdout = "pipe", grace = 0.05, process_group = true})
      p.stdout:read()
      local start = lull.now()
      p:close()
      assert.same({nil, "SIGKILL"}, {p:wait()})
      assert.equal(start, lull.now())
    end)
  end))

  -- Starts a leader that SIGTERM ends, and in its group another that runs text; both hold
  -- the stream that is returned first, which so tells when nobody is left.
  local function lead(text, opts)
    local here, there = net.pair()
    local leader = "sh -c \"$1\" & wait"
    opts.stdout, opts.process_group = there, true
    local p = spawn(sh(leader, text), opts)
    there:close()
    assert.equal("ready", here:read())
    return here, p
  end

  it("kills what a leader leaves behind when the grace is over", tidy(function()
    run(function()
      local held, p =
        lead("trap '' TERM; echo ready; while :; do sleep 1; done", {grace = 0.05})
      p:close()
      assert.same({nil, "SIGTERM"}, {p:wait()})
      assert.equal("", held:read "a")
    end, real)
  end))

  it("leaves a group the grace that its leader did not need", tidy(function()
    for _, clock in ipairs {real, {}} do
      run(function()
        local held, p = lead(
          [[trap 'sleep 0.05; echo bye; exit' TERM; echo ready
            while :; do sleep 0.01; done]],
          {grace = 60})
        p:close()
        assert.same({nil, "SIGTERM"}, {p:wait()})
        assert.equal("bye\n", held:read "a")
      end, clock)
    end
  end))

  it("has a script's end wait for a group", tidy(function()
    local dir <close> = helper.tempdir()
    local out, err, code = helper.child(([[
      local process = require "lull.process"
      local member = "exec 2>/dev/null\n" -- for the shell may tell of the end of sleep
        .. "trap 'sleep 0.05; echo bye > %s/bye; exit' TERM; echo; "
        .. "while :; do sleep 0.01; done"
      local p = assert(process.spawn({"sh", "-c", "sh -c \"$1\" & wait", "sh", member},
        {process_group = true, stdout = "pipe", grace = 60}))
      p.stdout:read()
      lull.loop():call_soon(p.close, p)
    ]]):format(dir.path), "--real")
    assert.same({"", "", 0}, {out, err, code})
    assert.equal("bye\n", slurp(dir.path .. "/bye"))
  end))

  it("wakes what is stopped", tidy(function()
    run(function()
      local p = spawn {"sleep", "100"}
      p:kill "SIGSTOP"
      while state_of(p:pid()) ~= "T" do lull.sleep(0.001) end
      p:close()
      assert.same({nil, "SIGTERM"}, {p:wait()})
    end, real)
  end))

  it("waits in a task that is cancelled", tidy(function()
    run(function()
      local pid
      local task = lull.spawn(function()
        local p <close> = spawn(sh [[trap 'sleep 0.05; exit' TERM; echo
                                     while :; do sleep 0.01; done]],
          {stdout = "pipe", stderr = "null", process_group = true})
        p.stdout:read()
        pid = p:pid()
        lull.sleep(100)
      end)
      while not pid do lull.sleep(0.001) end
      task:cancel()
      pcall(task.await, task)
      assert.is_nil(state_of(pid))
    end, real)
  end))

  it("closes its streams and tells who reads", tidy(function()
    run(function()
      local p = spawn({"sleep", "100"}, {stdout = "pipe", stdin = "pipe"})
      p.stdin:write(("x"):rep(100000)) -- more than a pipe holds
      local reader = lull.spawn(function() return p.stdout:read() end)
      helper.turns(1)
      p:close()
      assert.is_nil(reader:await())
      assert.has_error(function() p.stdout:read() end)
      assert.has_error(function() p.stdin:write "x" end)
    end, real)
  end))

  it("where nobody waits is waited for at the end of the script", function()
    for _, trap in ipairs {"''", "'exit 5'"} do
      local out, err, code = helper.child(([[
        local lull, process = require "lull", require "lull.process"
        local p = assert(process.spawn({"sh", "-c",
          "trap %s TERM; echo; while :; do read x || sleep 0.01; done"},
          {stdin = "null", stdout = "pipe", grace = 0.1}))
        p.stdout:read()
        lull.loop():call_soon(function() p:close() end)
        print(p:pid())]]):format(trap), "--real")
      assert.same({"", 0}, {err, code})
      assert.is_nil(state_of(tonumber(out)))
    end
  end)

  it("outside of a task only begins it", tidy(function()
    run(function()
      local p = spawn {"sleep", "100"}
      lull.loop():call_soon(function() p:close() end)
      assert.same({nil, "SIGTERM"}, {p:wait()})
    end, real)
  end))
end)

describe("ignoring SIGCHLD", function()
  it("is not inherited: children can be waited for", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("script.lua", [[
      local process = require "lull.process"
      print(process.run({"sh", "-c", "exit 3"}).code)
      print(os.execute "exit 4")]])
    local out, err, code = helper.execute {"env", "--ignore-signal=CHLD",
                                           helper.interpreter(), path}
    assert.same({"3\nnil\texit\t4\n", "", 0}, {out, err, code})
  end)

  it("is told by who waits, where a host does it", function()
    if not helper.stock "" then return end
    local dir <close> = helper.tempdir()
    local path = dir:write("script.lua", [[
      local lull = require "lull"
      local process = require "lull.process"
      lull.run(function()
        for _, pidfd in ipairs {true, false} do
          local p = assert(process.spawn({"sh", "-c", "read x; exit 3"},
            {stdin = "pipe", pidfd = pidfd}))
          p.stdin:close()
          print(select(3, p:wait()))
          p:close()
        end
      end)]])
    local build = os.getenv "LULL_BUILD" or helper.interpreter():match "^(.*)/"
    local out, err, code = helper.execute {
      "env", "--ignore-signal=CHLD", "LUA_CPATH_5_4=" .. build .. "/module/?.so",
      "lua5.4", path,
    }
    assert.same({"ECHILD\nECHILD\n", "", 0}, {out, err, code})
  end)
end)

describe("process.run", function()
  it("gives input and takes output", tidy(function()
    run(function()
      local r = see({"tr", "a-z", "A-Z"}, {input = "shout\n"})
      assert.same({code = 0, stdout = "SHOUT\n", stderr = ""}, r)
      r = see(sh "echo out; echo err >&2; exit 3")
      assert.same({code = 3, stdout = "out\n", stderr = "err\n"}, r)
      r = see(sh "echo out; echo err >&2", {stderr = "stdout"})
      assert.same({code = 0, stdout = "out\nerr\n"}, r)
      r = see(sh "cat; kill -9 $$")
      assert.same({signal = "SIGKILL", stdout = "", stderr = ""}, r)
      assert.equal("ENOENT", select(3, process.run {"no-such-program"}))
      assert.has_error(function() process.run({"cat"}, {input = "x", stdin = "null"}) end)
    end, real)
  end))

  it("moves much in all directions at once", tidy(function()
    run(function()
      local input = {}
      for i = 1, 100000 do input[i] = ("%06d %s\n"):format(i, ("x"):rep(i % 80)) end
      input = table.concat(input)
      local r = see({"tee", "/dev/stderr"}, {input = input})
      assert.is_true(r.stdout == input)
      assert.is_true(r.stderr == input)
      assert.equal(0, r.code)
    end, real)
  end))

  it("may give more than is read", tidy(function()
    run(function()
      local r = see({"head", "-c", "3"}, {input = ("abc"):rep(1000000)})
      assert.same({code = 0, stdout = "abc", stderr = ""}, r)
    end, real)
  end))

  it("has a limit", tidy(function()
    run(function()
      local r, message, code = process.run({"yes"}, {limit = 100000})
      assert.is_nil(r)
      assert.equal("EMSGSIZE", code)
      assert.equal("EMSGSIZE: more than 100000 bytes came (stdout)", message)
      assert.equal("EMSGSIZE", select(3, process.run(sh "echo err >&2; cat >&2",
        {limit = 3, input = ""})))
      assert.equal("four", see({"printf", "four"}, {limit = 4}).stdout)
    end, real)
  end))

  it("does not wait long for those whom the program has left behind", tidy(function()
    run(function()
      local start = lull.now()
      local r = see(sh "sleep 100 & echo $!", {grace = 0.05})
      assert.is_true(lull.now() - start < 50)
      assert.same({0, ""}, {r.code, r.stderr})
      os.execute("kill " .. assert(r.stdout:match "^(%d+)\n$"))
    end, real)
  end))

  it("ends the program when it is cancelled", tidy(function()
    local dir <close> = helper.tempdir()
    assert(os.execute("mkfifo " .. dir.path .. "/fifo"))
    run(function()
      local pid = lull.future()
      local running = lull.spawn(process.run,
        sh("echo $$ > \"$1/fifo\"; exec sleep 100", dir.path))
      lull.spawn(function()
        local r = see {"cat", dir.path .. "/fifo"}
        pid:set_result(math.tointeger(tonumber(r.stdout)))
      end)
      local number = pid:await()
      assert.truthy(state_of(number))
      running:close()
      assert.is_nil(state_of(number))
      local _, _, code = lull.timeout(0.01, process.run, {"sleep", "100"})
      assert.equal("ETIMEDOUT", code)
    end, real)
  end))
end)

describe("a child and us", function()
  -- Sends blocks through cat and back; what comes is compared byte for byte.
  local function through_cat(megabytes)
    return helper.child(([[
      local lull, process = require "lull", require "lull.process"
      local p <close> = assert(process.spawn({"cat"}, {stdin = "pipe", stdout = "pipe"}))
      local filler = {}
      for i = 1, 65536 - 8 do filler[i] = string.char(i * 7 %% 251) end
      filler = table.concat(filler)
      local blocks = %d * 16
      lull.spawn(function()
        for i = 1, blocks do assert(p.stdin:write(string.pack("<i8", i), filler)) end
        p.stdin:close()
      end)
      for i = 1, blocks do
        local block = assert(p.stdout:read_exactly(65536))
        assert(string.unpack("<i8", block) == i and block:sub(9) == filler)
      end
      assert(p.stdout:read(1) == nil and p:wait() == 0)
      local f <close> = io.open "/proc/self/status"
      print(f:read "a":match "VmHWM:%%s*(%%d+)")]]):format(megabytes), "--real")
  end

  it("move 256 MiB in bounded memory", function()
    local size = os.getenv "ASAN_OPTIONS" and 64 or 256
    local out, err, code = through_cat(size)
    assert.same({"", 0}, {err, code})
    local peak = tonumber(out) / 1024
    io.write(("%d MiB through a child and back, peak memory %.1f MiB\n"):format(size,
      peak))
    assert.is_true(peak < 64 or os.getenv "ASAN_OPTIONS" ~= nil)
  end)

  it("are not disturbed by a storm of signals", tidy(function()
    run(function()
      local signal = require "lull.signal"
      local n = 0
      local counter = lull.spawn(function()
        for _ in signal.each "SIGUSR1" do n = n + 1 end
      end)
      helper.turns(1)
      local self = slurp("/proc/self/stat"):match "^(%d+)"
      local storm <close> = spawn(sh("while kill -USR1 $1; do :; done", self))
      local input = ("0123456789abcdef"):rep(20000)
      for _ = 1, 2 do
        local r = see({"cat"}, {input = input})
        assert.is_true(r.stdout == input)
        assert.equal(0, r.code)
      end
      while n < 50 do lull.sleep(0.001) end
      storm:kill "SIGKILL"
      storm:wait()
      counter:close()
    end, real)
  end))
end)
