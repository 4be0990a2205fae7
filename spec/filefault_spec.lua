-- Files when the world fails: full disks, no descriptors, interrupted calls, files that
-- change under the reader, no permission, and sizes that hurt.
local helper = require "spec.helper"
local lull = require "lull"
local fs = require "lull.fs"

local run = helper.run

local function code(...)
  return (select(3, ...))
end

local function skip(why)
  io.write(why, ": not tested\n")
end

local function is_root()
  local id <close> = assert(io.popen "id -u")
  return id:read "n" == 0
end

local function has(program)
  return os.execute("command -v " .. program .. " >/dev/null 2>&1")
end

-- Runs a script with so few descriptors, or what else the shell can arrange before.
local function after(preparation, script)
  local dir <close> = helper.tempdir()
  local path = dir:write("script.lua", script)
  return helper.execute {"sh", "-c", preparation .. '; exec "$0" "$1" "$2"',
    helper.interpreter(), path, dir.path}
end

describe("a full disk", function()
  local large = ("0123456789"):rep(300000)

  -- Calls fn with the path of a file on a disk of one megabyte, and with the device that
  -- is always full.
  local function on_full_disk(fn)
    local dir <close> = helper.tempdir()
    local disk = dir.path .. "/disk"
    os.execute("mkdir " .. disk)
    local mount = "mount -t tmpfs -o size=1m none " .. disk .. " 2>/dev/null"
    if is_root() and os.execute(mount) then
      local _ <close> = helper.closer(function() os.execute("umount " .. disk) end)
      run(function() fn(disk .. "/file") end)
    else
      skip "no disk of one's own"
    end
    run(function() fn "/dev/full" end)
  end

  it("is told by write, once it is known, and by all that come after", function()
    on_full_disk(function(path)
      local f = assert(fs.open(path, "w"))
      local ok, message, why = f:write(large)
      assert.is_nil(ok)
      assert.equal("ENOSPC: no space left on device (" .. path .. ")", message)
      assert.equal("ENOSPC", why)
      assert.equal("ENOSPC", code(f:write "more"))
      assert.equal("ENOSPC", code(f:flush()))
      assert.equal("ENOSPC", code(f:close()))
      assert.is_true(f:close())
    end)
  end)

  it("is told by flush and close, which are the first to know", function()
    run(function()
      for _, name in ipairs {"flush", "close", "sync"} do
        local f = assert(fs.open("/dev/full", "w"))
        assert.equal(f, f:write "a little")
        assert.equal("ENOSPC", code(f[name](f)))
        f:close()
      end
    end)
  end)

  it("is raised by a block that would else end well", function()
    run(function()
      local ok, err = pcall(function()
        local f <close> = assert(fs.open("/dev/full", "w"))
        f:write "a little"
      end)
      assert.is_false(ok)
      assert.equal("ENOSPC", lull.code(err))
      ok, err = pcall(function()
        local f <close> = assert(fs.open("/dev/full", "w"))
        f:write "a little"
        error "mine"
      end)
      assert.is_false(ok)
      assert.matches("mine", err)
      local f = assert(fs.open("/dev/full", "w"))
      f:write "a little"
      assert.is_nil((f:flush()))
      local _ <close> = f -- told already
    end)
  end)

  it("is told by write_file", function()
    on_full_disk(function(path)
      assert.equal("ENOSPC", code(fs.write_file(path, large)))
    end)
  end)

  it("can be read on", function()
    run(function()
      local limited = after("ulimit -f 8", [[
        local fs, path = require "lull.fs", arg[1] .. "/file"
        local f = assert(fs.open(path, "w+"))
        local line = ("x"):rep(1023) .. "\n"
        print(select(3, f:write(line:rep(1000))))
        print(f:seek "set", f:read "l" == ("x"):rep(1023))
        print(select(3, f:close()))
      ]])
      assert.equal("EFBIG\n0\ttrue\nEFBIG\n", limited)
    end, {real = true})
  end)
end)

describe("out of descriptors", function()
  it("open, scandir and watch fail, and work again later", function()
    local out, err, status = after("ulimit -n 40", [[
      local lull = require "lull"
      local fs = require "lull.fs"
      lull.sleep(0)
      fs.stat "/" -- the pool has what it needs
      local files, f, message, code = {}, nil, nil, nil
      repeat
        f, message, code = fs.open "/dev/null"
        files[#files + 1] = f
      until not f
      print(code, message:match "^EMFILE: too many open files")
      print(select(2, pcall(fs.scandir, "/")):match "^EMFILE")
      print((select(3, fs.watch "/")), (select(3, fs.read_file "/etc/passwd")))
      print((select(3, fs.write_file(arg[1] .. "/x", "y", {atomic = true}))))
      print(fs.stat "/".type)
      for _, file in ipairs(files) do file:close() end
      print(#fs.read_file "/etc/passwd" > 0)
      fs.watch("/"):close()
      for _ in fs.scandir "/" do end
    ]])
    assert.equal("", err)
    assert.equal("EMFILE\tEMFILE: too many open files\nEMFILE\nEMFILE\tEMFILE\nEMFILE\n"
      .. "directory\ntrue\n", out)
    assert.equal(0, status)
  end)
end)

describe("a file that changes under its reader", function()
  it("ends where it ends now", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", ("x"):rep(1000000))
    run(function()
      local f <close> = assert(fs.open(path))
      assert.equal(10, #f:read(10))
      os.execute(": >" .. path)
      local rest = f:read "a"
      assert.is_true(#rest < 1000000 - 10)
      assert.equal(#rest + 10, f:seek())
      assert.equal("", f:read "a")
      assert.is_nil(f:read(1))
      assert.equal(0, f:seek "end")
    end)
  end)

  it("shrinks between two portions of one read", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/file"
    os.execute("truncate -s 64M " .. path)
    run(function()
      local f <close> = assert(fs.open(path))
      local task = lull.spawn(function() return f:read "a" end)
      lull.sleep(0)
      os.execute("truncate -s 10M " .. path)
      local data = task:await()
      assert.is_true(#data >= 10 << 20 and #data <= 64 << 20, #data)
      assert.equal(#data, f:seek())
    end)
  end)

  it("has been removed, and is read to its end", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("file", ("x"):rep(1000000))
    run(function()
      local f <close> = assert(fs.open(path))
      assert.equal(10, #f:read(10))
      os.remove(path)
      assert.equal(999990, #f:read "a")
    end)
  end)
end)

describe("without permission", function()
  it("paths are refused", function()
    if is_root() and not has "setpriv" then return skip "root may do everything" end
    local dir <close> = helper.tempdir()
    local path = dir:write("secret", "text")
    os.execute("chmod 755 " .. dir.path .. " && chmod 600 " .. path)
    if not is_root() then os.execute("chmod 0 " .. path) end
    local script = dir:write("script.lua", [[
      local fs, dir = require "lull.fs", arg[1]
      print((select(3, fs.open(dir .. "/secret"))), (select(3, fs.mkdir(dir .. "/x/y"))))
    ]])
    local words = {helper.interpreter(), script, dir.path}
    if is_root() then
      words = {"setpriv", "--reuid=65534", "--clear-groups", table.unpack(words)}
    end
    local out, err = helper.execute(words)
    if out == "" then return skip("others cannot start the interpreter: " .. err) end
    assert.matches("^EACCES\t", out)
  end)
end)

describe("calls that are interrupted", function()
  it("are made again", function()
    if not has "strace" then return skip "no strace" end
    local dir <close> = helper.tempdir()
    local script = dir:write("script.lua", [[
      local lull = require "lull"
      local fs, dir = require "lull.fs", arg[1]
      local data = ("0123456789"):rep(50000)
      assert(fs.write_file(dir .. "/file", data))
      for _ = 1, 60 do assert(fs.read_file(dir .. "/file") == data) end
      local w = assert(fs.watch(dir))
      assert(fs.mkdir(dir .. "/sub"))
      assert(w:next() == "create")
      os.execute("mkfifo " .. dir .. "/pipe")
      local r = assert(fs.open(dir .. "/pipe"))
      local p = assert(fs.open(dir .. "/pipe", "w"))
      p:write "through"
      assert(p:close())
      assert(r:read "a" == "through")
      print "well"
    ]])
    local function interrupted(call, when)
      return helper.execute {"env", "ASAN_OPTIONS=detect_leaks=0", "strace", "-f", "-qq",
        "-o", "/dev/null", "-e", ("inject=%s:error=EINTR:when=%s"):format(call, when),
        helper.interpreter(), script, dir.path}
    end
    -- (the dynamic linker reads too, and takes no interruption)
    for call, when in pairs {pread64 = "40+3", pwrite64 = "1+2"} do
      os.execute("rm -rf " .. dir.path .. "/sub " .. dir.path .. "/pipe")
      local out, err = interrupted(call, when)
      if out == "" and err:find "ptrace" then return skip "no ptrace" end
      assert.equal("", err)
      assert.equal("well\n", out)
    end
  end)
end)

describe("short of memory", function()
  it("raises or fails, and has lost nothing", function()
    if os.getenv "ASAN_OPTIONS" then return skip "address space is needed here" end
    local dir <close> = helper.tempdir()
    local text = ("0123456789"):rep(2000000)
    dir:write("file", text)
    local out, err = after("ulimit -v 200000", [[
      local fs, dir = require "lull.fs", arg[1]
      local f = assert(fs.open(dir .. "/file", "w+"))
      local part = ("0123456789abcdef"):rep(1 << 16)
      for _ = 1, 150 do assert(f:write(part)) end
      f:seek "set"
      local ok, data, message, code = pcall(f.read, f, "a")
      print(ok and code or data)
      print(f:seek())
      local n = 0
      repeat
        local piece = assert(f:read(1 << 20) or "")
        n = n + #piece
      until piece == ""
      print(n == 150 << 20)
    ]])
    if out == "" then
      return skip("address space cannot be limited here " .. err:sub(1, 60))
    end
    assert.equal("0\ntrue\n", out:gsub("^ENOMEM\n", ""):gsub("^not enough memory\n", ""))
  end)
end)

describe("256 MiB through a file", function()
  it("are the same afterwards, with memory bounded", function()
    local script = [[
      local lull = require "lull"
      local fs, dir, blocks = require "lull.fs", arg[1], tonumber(arg[2])
      local path = dir .. "/large"
      local function block(i) return ("%015d\n"):format(i):rep(65536) end
      local function peak()
        collectgarbage()
        return fs.read_file "/proc/self/status":match "VmHWM:%s+(%d+)" // 1024
      end
      collectgarbage "generational"
      -- in pieces
      do
        local f <close> = assert(fs.open(path, "w"))
        for i = 1, blocks do assert(f:write(block(i))) end
      end
      do
        local f <close> = assert(fs.open(path))
        for i = 1, blocks do assert(f:read(1 << 20) == block(i)) end
        assert(f:read(1) == nil)
      end
      local pieces = peak()
      -- at once
      local whole = fs.read_file(path)
      assert(#whole == blocks << 20)
      for i = 1, blocks do
        assert(whole:sub((i - 1 << 20) + 1, i << 20) == block(i))
      end
      assert(fs.write_file(path .. "2", whole))
      whole = nil
      collectgarbage()
      print(pieces, peak())
      assert(os.execute("cmp -s " .. path .. " " .. path .. "2"))
    ]]
    local sanitized = (os.getenv "LULL_BUILD" or ""):find "san"
    local blocks = sanitized and 32 or 256
    local out, err, status = after("set -- \"$1\" \"$2\"",
      ("arg[2] = %d\n"):format(blocks) .. script)
    assert.equal("", err)
    assert.equal(0, status)
    local pieces, whole = out:match "(%d+)%s+(%d+)"
    io.write(("%d MiB through a file: peak %s MiB in pieces, %s MiB at once\n"):format(
      blocks, pieces, whole))
    if not sanitized then
      assert.is_true(tonumber(pieces) < 64, pieces)
      assert.is_true(tonumber(whole) < 2 * blocks + 64, whole)
    end
  end)
end)
