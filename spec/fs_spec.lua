-- Paths, directories and whole files.
local helper = require "spec.helper"
local lull = require "lull"
local fs = require "lull.fs"

local run, slurp, inside = helper.run, helper.slurp, helper.inside

local function code(...)
  return (select(3, ...))
end

local function listed(path)
  local names = {}
  for name, type in fs.scandir(path) do names[#names + 1] = name .. " " .. type end
  table.sort(names)
  return names
end

describe("read_file and write_file", function()
  it("hand over whole files of any bytes", inside(function(dir)
    local path = dir .. "/file"
    for _, text in ipairs {"", "x", "a\0b\r\n", ("0123456789"):rep(300000)} do
      assert.is_true(fs.write_file(path, text))
      assert.is_true(slurp(path) == text)
      assert.is_true(fs.read_file(path) == text)
    end
    assert.is_true(fs.write_file(path, 42))
    assert.equal("42", slurp(path))
  end))

  it("fail with the path in the message", inside(function(dir)
    local path = dir .. "/none/file"
    local expected = "ENOENT: no such file or directory (" .. path .. ")"
    assert.same({nil, expected, "ENOENT"}, {fs.read_file(path)})
    assert.same({nil, expected, "ENOENT"}, {fs.write_file(path, "x")})
    assert.equal("ENOENT", code(fs.write_file(path, "x", {atomic = true})))
    assert.equal("EISDIR", code(fs.read_file(dir)))
    assert.equal("EISDIR", code(fs.write_file(dir, "x")))
  end))

  it("replace a file as a whole, its permissions kept", inside(function(dir)
    local path = dir .. "/file"
    assert(fs.write_file(path, "old"))
    assert(fs.chmod(path, 384)) -- 0600
    local old <close> = assert(io.open(path))
    assert.is_true(fs.write_file(path, "new", {atomic = true}))
    assert.equal("old", old:read "a")
    assert.equal("new", slurp(path))
    assert.equal(384, fs.stat(path).mode)
    assert.same({"file file"}, listed(dir))
  end))

  it("leave nothing behind when a replacement fails or is cancelled", inside(function(dir)
    assert(fs.mkdir(dir .. "/taken"))
    assert.equal("EISDIR", code(fs.write_file(dir .. "/taken", "x", {atomic = true})))
    for i = 1, 30 do
      local task = lull.spawn(fs.write_file, dir .. "/file", "new", {atomic = true})
      for _ = 1, i do lull.sleep(0) end
      task:cancel()
      pcall(task.await, task)
    end
    for _ = 1, 1000 do -- a thread may still be at it
      if #listed(dir) <= 2 then break end
    end
    for _, name in ipairs(listed(dir)) do
      assert.truthy(name == "file file" or name == "taken directory", name)
    end
  end))
end)

describe("stat", function()
  it("tells what there is", inside(function(dir)
    local path = dir .. "/file"
    assert(fs.write_file(path, "12345"))
    assert(fs.chmod(path, 416)) -- 0640
    local st = fs.stat(path)
    assert.equal("file", st.type)
    assert.equal(5, st.size)
    assert.equal(416, st.mode)
    assert.equal(1, st.nlink)
    for _, field in ipairs {"uid", "gid", "ino", "size", "mode", "nlink"} do
      assert.equal("integer", math.type(st[field]), field)
    end
    assert.equal("float", math.type(st.mtime))
    assert.is_true(math.abs(st.mtime - os.time()) < 100)
  end))

  it("knows all the types", inside(function(dir)
    assert(os.execute("mkfifo " .. dir .. "/fifo"))
    assert(fs.symlink("fifo", dir .. "/link"))
    local _ <close> = assert(lull.net.listen_unix(dir .. "/socket"))
    assert.equal("directory", fs.stat(dir).type)
    assert.equal("fifo", fs.stat(dir .. "/fifo").type)
    assert.equal("fifo", fs.stat(dir .. "/link").type)
    assert.equal("link", fs.lstat(dir .. "/link").type)
    assert.equal("socket", fs.stat(dir .. "/socket").type)
    assert.equal("char", fs.stat("/dev/null").type)
    assert.same({"fifo fifo", "link link", "socket socket"}, listed(dir))
  end))

  it("fails for what is not there", inside(function(dir)
    assert.equal("ENOENT", code(fs.stat(dir .. "/none")))
    assert(fs.symlink("nowhere", dir .. "/dangling"))
    assert.equal("ENOENT", code(fs.stat(dir .. "/dangling")))
    assert.equal("link", fs.lstat(dir .. "/dangling").type)
    assert(fs.symlink("circle", dir .. "/circle"))
    assert.equal("ELOOP", code(fs.stat(dir .. "/circle")))
    assert.equal("ENOTDIR", code(fs.stat("/dev/null/x")))
    assert.equal("ENAMETOOLONG", code(fs.stat(dir .. "/" .. ("x"):rep(300))))
  end))
end)

describe("paths", function()
  it("are made, renamed and removed", inside(function(dir)
    assert.is_true(fs.mkdir(dir .. "/a"))
    assert.equal("EEXIST", code(fs.mkdir(dir .. "/a")))
    assert.equal("ENOENT", code(fs.mkdir(dir .. "/x/y")))
    assert.is_true(fs.mkdir(dir .. "/x/y//z/", {parents = true}))
    assert.is_true(fs.mkdir(dir .. "/x/y/z", {parents = true}))
    assert.is_true(fs.mkdir(dir .. "/secret", {mode = 448})) -- 0700
    assert.equal(448, fs.stat(dir .. "/secret").mode)
    assert(fs.write_file(dir .. "/a/file", "text"))
    assert.equal("ENOTEMPTY", code(fs.rmdir(dir .. "/a")))
    assert.is_true(fs.rename(dir .. "/a/file", dir .. "/moved"))
    assert.equal("text", slurp(dir .. "/moved"))
    assert.is_true(fs.rmdir(dir .. "/a"))
    assert.is_true(fs.remove(dir .. "/moved"))
    assert.equal("ENOENT", code(fs.remove(dir .. "/moved")))
    assert.is_true(fs.remove(dir .. "/secret"))
    assert.equal("ENOTEMPTY", code(fs.remove(dir .. "/x")))
    assert.is_true(fs.remove(dir .. "/x", {recursive = true}))
    assert.same({}, listed(dir))
  end))

  it("are not made through a file", inside(function(dir)
    assert(fs.write_file(dir .. "/file", ""))
    assert.equal("ENOTDIR", code(fs.mkdir(dir .. "/file/x/y", {parents = true})))
    assert.equal("EEXIST", code(fs.mkdir(dir .. "/file", {parents = true})))
  end))

  it("are removed with all below, but not what links lead to", inside(function(dir)
    assert(fs.mkdir(dir .. "/keep"))
    assert(fs.write_file(dir .. "/keep/file", "text"))
    assert(fs.mkdir(dir .. "/tree/deep/er", {parents = true}))
    assert(fs.symlink("../../keep", dir .. "/tree/deep/link"))
    for i = 1, 600 do assert(fs.write_file(dir .. "/tree/deep/er/" .. i, "")) end
    assert.is_true(fs.remove(dir .. "/tree", {recursive = true}))
    assert.equal("ENOENT", code(fs.remove(dir .. "/tree", {recursive = true})))
    assert.equal("text", slurp(dir .. "/keep/file"))
  end))

  it("are linked and resolved", inside(function(dir)
    assert(fs.mkdir(dir .. "/a"))
    assert(fs.symlink("a", dir .. "/b"))
    assert.equal("EEXIST", code(fs.symlink("a", dir .. "/b")))
    local _, message = fs.symlink("a", dir .. "/b")
    assert.equal("EEXIST: file exists (a -> " .. dir .. "/b)", message)
    assert.equal("a", fs.readlink(dir .. "/b"))
    assert.equal("EINVAL", code(fs.readlink(dir .. "/a")))
    assert.equal(assert(fs.realpath(dir)) .. "/a", fs.realpath(dir .. "/b/../b/."))
    assert.equal("ENOENT", code(fs.realpath(dir .. "/none")))
  end))

  it("with a NUL in them name nothing", function()
    run(function()
      for _, call in ipairs {fs.open, fs.read_file, fs.stat, fs.lstat, fs.mkdir, fs.rmdir,
        fs.remove, fs.readlink, fs.realpath, fs.watch} do
        assert.equal("EINVAL", code(call "/tmp\0x"))
      end
      assert.equal("EINVAL", code(fs.rename("/tmp", "/tmp\0x")))
      assert.equal("EINVAL", code(fs.symlink("/tmp\0x", "/tmp/x")))
      assert.equal("EINVAL", code(fs.write_file("/tmp\0x", "")))
      assert.error_matches(function() fs.scandir "/tmp\0x" end, "EINVAL")
    end)
  end)

  it("are strings", function()
    run(function()
      for _, name in ipairs {"open", "read_file", "write_file", "stat", "lstat", "mkdir",
        "rmdir", "remove", "rename", "symlink", "readlink", "realpath", "scandir",
        "lines", "chmod", "watch"} do
        assert.error_matches(function() fs[name]({}) end, "bad argument #1 to '")
        assert.error_matches(function() fs[name]() end, "bad argument #1 to '")
      end
      assert.error_matches(function() fs.rename "x" end, "bad argument #2")
      assert.error_matches(function() fs.mkdir("x", 1) end, "bad argument #2")
      assert.error_matches(function() fs.chmod("x", "rw") end, "bad argument #2")
      assert.error_matches(function() fs.write_file("/tmp/x") end, "bad argument #2")
    end)
  end)

  it("cannot be asked for outside of tasks", function()
    for _, name in ipairs {"open", "read_file", "stat", "mkdir", "scandir", "realpath"} do
      assert.error_matches(function() fs[name] "/" end, "outside of a task")
    end
    assert.error_matches(function() fs.tempdir() end, "outside of a task")
  end)
end)

describe("tempdir", function()
  it("is new and its user's own", inside(function()
    local a, b = assert(fs.tempdir()), assert(fs.tempdir())
    assert.not_equal(a, b)
    assert.equal("directory", fs.stat(a).type)
    assert.equal(448, fs.stat(a).mode) -- 0700
    assert.is_true(fs.rmdir(a))
    assert.is_true(fs.rmdir(b))
  end))

  it("is not left behind by who is cancelled", inside(function(dir)
    local getenv = os.getenv
    local _ <close> = helper.closer(function() os.getenv = getenv end) -- luacheck: ignore
    os.getenv = function() return dir end -- luacheck: ignore
    local function count() return #listed(dir) end
    for i = 1, 20 do
      local task = lull.spawn(function()
        local path = fs.tempdir()
        lull.shield(fs.rmdir, path)
      end)
      for _ = 1, i % 5 do lull.sleep(0) end
      task:cancel()
      pcall(task.await, task)
    end
    fs.stat "/" -- behind what the threads still do
    for _ = 1, 1000 do
      if count() == 0 then break end
    end
    assert.equal(0, count())
  end))
end)

describe("scandir", function()
  it("lists directories larger than one portion", inside(function(dir)
    local expected = {}
    for i = 1, 1500 do
      assert(io.open(dir .. "/" .. i, "w")):close()
      expected[i] = i .. " file"
    end
    table.sort(expected)
    assert.same(expected, listed(dir))
  end))

  it("raises at the call, where a directory cannot be listed", inside(function(dir)
    local ok, err = pcall(fs.scandir, dir .. "/none")
    assert.is_false(ok)
    assert.equal("ENOENT", lull.code(err))
    assert.error_matches(function() fs.scandir "/dev/null" end, "ENOTDIR")
  end))

  it("closes the directory when the loop is left", inside(function(dir)
    assert(fs.mkdir(dir .. "/a"))
    assert(fs.mkdir(dir .. "/b"))
    local function open()
      local n = 0
      for name in fs.scandir "/proc/self/fd" do
        if fs.readlink("/proc/self/fd/" .. name) == fs.realpath(dir) then n = n + 1 end
      end
      return n
    end
    local n = 0
    for _ in fs.scandir(dir) do
      n = n + open()
      if n > 0 then break end
    end
    assert.equal(1, n)
    collectgarbage()
    pcall(function()
      for _ in fs.scandir(dir) do error "left" end
    end)
    collectgarbage()
    for _ in fs.scandir(dir) do end
    assert.equal(0, open())
  end))

  it("goes on where one who waited for it was cancelled", inside(function(dir)
    for i = 1, 700 do assert(io.open(dir .. "/" .. i, "w")):close() end
    local next_entry, state = fs.scandir(dir)
    local seen, n = {}, 0
    repeat
      local task = lull.spawn(next_entry, state)
      if n % 3 == 0 then
        lull.sleep(0)
        task:cancel()
      end
      n = n + 1
      local ok, name = pcall(task.await, task)
      if ok and name then
        assert.is_nil(seen[name])
        seen[name] = true
      end
    until ok and not name
    for i = 1, 700 do assert.is_true(seen[tostring(i)], i) end
  end))
end)

describe("many calls at once", function()
  it("are done by a few threads, and can all be cancelled", inside(function(dir)
    lull.group(function(g)
      for i = 1, 300 do
        g:spawn(function()
          local path = dir .. "/" .. i % 10
          if i % 3 == 0 then
            fs.write_file(path, ("x"):rep(i * 100))
          elseif i % 3 == 1 then
            fs.read_file(path)
          else
            fs.stat(path)
          end
        end)
      end
      lull.sleep(0)
      if #dir % 2 == 0 then g:cancel() end
    end)
    local task = lull.spawn(function()
      lull.group(function(g)
        for i = 1, 300 do g:spawn(fs.write_file, dir .. "/" .. i, "x") end
      end)
    end)
    lull.sleep(0)
    lull.sleep(0)
    task:close()
  end))

  it("may be in the air when the loop is closed", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/file"
    for i = 1, 20 do
      local loop = lull.new_loop {clock = "virtual"}
      local file
      pcall(loop.run_until_complete, loop, function()
        lull.spawn(function() fs.read_file "/proc/self/maps" end)
        lull.spawn(function() for _ in fs.scandir "/proc" do end end)
        lull.spawn(function()
          file = fs.open(path, "w")
          file:write(("x"):rep(100000 * i))
          fs.watch(dir.path):next()
        end)
        for _ = 1, i do lull.sleep(0) end
        lull.loop():stop()
        lull.sleep(0)
      end)
      loop:close()
      if file then assert.is_true(file:close()) end
      collectgarbage()
    end
  end)
end)
