-- Watches: what changes is told once, by its name below the watched directory.
-- Changes are made with io, from outside of lull's files, and all is told before the last
-- file, which is called "end".
local helper = require "spec.helper"
local lull = require "lull"
local core = require "lull.core"
local fs = require "lull.fs"

local run, inside, spill = helper.run, helper.inside, helper.spill

local function mkdir(path)
  assert(os.execute("mkdir -p " .. path))
end

-- What is told until "end" is made: {"create x", "rename new old", ...}
local function told(watch, dir)
  spill(dir .. "/end")
  local list = {}
  for event, name, old in watch:events() do
    if name == "end" then break end
    list[#list + 1] = event .. " " .. name .. (old and " " .. old or "")
  end
  os.remove(dir .. "/end")
  assert.equal("delete", (watch:next()))
  return list
end

describe("a watch", function()
  it("tells of files that are made, changed, renamed and removed", inside(function(dir)
    local w <close> = assert(fs.watch(dir))
    spill(dir .. "/a", "text")
    os.rename(dir .. "/a", dir .. "/b")
    os.remove(dir .. "/b")
    mkdir(dir .. "/sub")
    spill(dir .. "/sub/unseen", "text")
    assert.same({"create a", "modify a", "rename b a", "delete b", "create sub"},
      told(w, dir))
  end))

  it("gives the event and the name", inside(function(dir)
    local w = assert(fs.watch(dir))
    spill(dir .. "/a")
    local event, name = w:next()
    assert.equal("create", event)
    assert.equal("a", name)
    assert.equal("watch (" .. dir .. ")", tostring(w))
    w:close()
    w:close()
    assert.is_nil(w:next())
    assert.equal("watch (closed: " .. dir .. ")", tostring(w))
    for _ in w:events() do error "closed" end
  end))

  it("wakes who waits when it is closed", inside(function(dir)
    local w = assert(fs.watch(dir))
    local tasks = {}
    for i = 1, 3 do tasks[i] = lull.spawn(function() return "nil", w:next() end) end
    lull.sleep(0)
    w:close()
    for i = 1, 3 do assert.same({"nil"}, {tasks[i]:await()}) end
  end))

  it("gives each event to one of those who wait, the first first", inside(function(dir)
    local w <close> = assert(fs.watch(dir))
    local got = {}
    local tasks = {}
    for i = 1, 3 do
      tasks[i] = lull.spawn(function() got[i] = select(2, w:next()) end)
    end
    lull.sleep(0)
    for i = 1, 3 do spill(dir .. "/" .. i) end
    for i = 1, 3 do tasks[i]:await() end
    assert.same({"1", "2", "3"}, got)
  end))

  it("loses nothing when who waits is cancelled", inside(function(dir)
    local w <close> = assert(fs.watch(dir, {recursive = true}))
    mkdir(dir .. "/a/b/c")
    for i = 1, 20 do spill(dir .. "/a/b/c/" .. i) end
    spill(dir .. "/end")
    local seen, n, steps = {}, 0, 0
    repeat
      steps = steps + 1
      local task = lull.spawn(function() return w:next() end)
      for _ = 1, steps % 6 do lull.sleep(0) end
      if steps % 4 ~= 0 then task:cancel() end
      local ok, event, name = pcall(task.await, task)
      if ok then
        assert.equal("create", event)
        assert.is_nil(seen[name], name)
        seen[name], n = true, n + 1
      end
    until n == 24
    assert.is_true(seen["a/b/c/20"] and seen["a/b/c"] and seen["end"])
  end))

  it("fails where it cannot begin", inside(function(dir)
    local w, message, code = fs.watch(dir .. "/none")
    assert.is_nil(w)
    assert.equal("ENOENT: no such file or directory (" .. dir .. "/none)", message)
    assert.equal("ENOENT", code)
    assert.error_matches(function() fs.watch(dir, {debounce = "x"}) end, "debounce")
    assert.error_matches(function() fs.watch(dir, true) end, "bad argument #2")
  end))

  it("tells a change once until it has been heard", inside(function(dir)
    spill(dir .. "/a")
    spill(dir .. "/b")
    local w <close> = assert(fs.watch(dir))
    for _ = 1, 50 do
      for name in ("ab"):gmatch "." do
        local f <close> = assert(io.open(dir .. "/" .. name, "a"))
        f:write "x"
      end
    end
    assert.same({"modify a", "modify b"}, (function()
      local list = told(w, dir)
      table.sort(list)
      for i = #list, 2, -1 do
        if list[i] == list[i - 1] then table.remove(list, i) end
      end
      return list
    end)())
  end))
end)

describe("a watch with debounce", function()
  it("tells of a change when it has been quiet for so long", inside(function(dir)
    spill(dir .. "/a")
    local w <close> = assert(fs.watch(dir, {debounce = 2}))
    local writer = lull.spawn(function()
      local f <close> = assert(io.open(dir .. "/a", "a"))
      f:setvbuf "no"
      for _ = 1, 5 do
        f:write "x"
        lull.sleep(1)
      end
    end)
    local start = lull.now()
    assert.same({"modify", "a"}, {w:next()})
    assert.is_true(lull.now() - start >= 5.9, lull.now() - start)
    writer:await()
    spill(dir .. "/b")
    assert.same({"create", "b"}, {w:next()})
    assert.equal("ETIMEDOUT", select(3, lull.timeout(20, w.next, w)))
  end))

  it("tells of no change of what is removed, and follows what is renamed",
    inside(function(dir)
      spill(dir .. "/a")
      spill(dir .. "/b")
      local w <close> = assert(fs.watch(dir, {debounce = 1}))
      spill(dir .. "/a", "x")
      spill(dir .. "/b", "x")
      os.remove(dir .. "/a")
      os.rename(dir .. "/b", dir .. "/c")
      assert.same({"delete", "a"}, {w:next()})
      assert.same({"rename", "c", "b"}, {w:next()})
      assert.same({"modify", "c"}, {w:next()})
    end))
end)

describe("a watch of one file", function()
  it("tells of that name only, also when another takes its place", inside(function(dir)
    spill(dir .. "/config", "1")
    local w <close> = assert(fs.watch(dir .. "/config"))
    spill(dir .. "/other", "1")
    spill(dir .. "/config", "2")
    spill(dir .. "/config.new", "3")
    os.rename(dir .. "/config.new", dir .. "/config")
    spill(dir .. "/config", "4")
    os.rename(dir .. "/config", dir .. "/config.old")
    spill(dir .. "/config", "5")
    os.remove(dir .. "/config")
    local list = {}
    repeat
      local event, name, old = w:next()
      assert.equal("config", name)
      list[#list + 1] = event .. (old and " " .. old or "")
    until event == "delete" and #list > 5
    assert.same({"modify", "rename config.new", "modify", "delete", "create", "modify",
      "delete"}, list)
  end))

  it("works for a name without a directory", function()
    run(function()
      local w <close> = assert(fs.watch "README.md")
      assert.equal("watch (.)", tostring(w))
    end)
  end)
end)

describe("a watch of all below", function()
  local function recursive(fn)
    return inside(function(dir)
      mkdir(dir .. "/in/there")
      local w <close> = assert(fs.watch(dir, {recursive = true}))
      fn(dir, w)
    end)
  end

  it("knows the directories that are there", recursive(function(dir, w)
    spill(dir .. "/in/there/a", "x")
    spill(dir .. "/in/b")
    os.remove(dir .. "/in/there/a")
    assert.same({"create in/there/a", "modify in/there/a", "create in/b",
      "delete in/there/a"}, told(w, dir))
  end))

  it("tells what came into new ones before they were watched", recursive(function(dir, w)
    mkdir(dir .. "/x/y/z")
    spill(dir .. "/x/y/z/file", "text")
    spill(dir .. "/x/file", "text")
    local list = told(w, dir)
    table.sort(list)
    assert.same({"create x", "create x/file", "create x/y", "create x/y/z",
      "create x/y/z/file"}, list)
    spill(dir .. "/x/y/z/file", "more")
    assert.same({"modify x/y/z/file"}, {(table.concat(told(w, dir), ","):gsub(
      ",modify x/y/z/file", ""))})
  end))

  it("goes with a directory that is renamed", recursive(function(dir, w)
    os.rename(dir .. "/in", dir .. "/out")
    spill(dir .. "/out/there/a")
    assert.same({"rename out in", "create out/there/a"}, told(w, dir))
    mkdir(dir .. "/d")
    assert.same({"create d"}, told(w, dir))
    os.rename(dir .. "/out/there", dir .. "/d/here")
    spill(dir .. "/d/here/b")
    assert.same({"rename d/here out/there", "create d/here/b"}, told(w, dir))
  end))

  it("leaves a directory that is moved away, and takes up one that comes",
    inside(function(dir)
      mkdir(dir .. "/root/a/b")
      mkdir(dir .. "/else/c/d")
      spill(dir .. "/else/c/d/file")
      local w <close> = assert(fs.watch(dir .. "/root", {recursive = true}))
      local root = dir .. "/root"
      os.rename(root .. "/a", dir .. "/else/a")
      assert.same({"delete a"}, told(w, root))
      spill(dir .. "/else/a/b/unseen")
      assert.same({}, told(w, root))
      os.rename(dir .. "/else/c", root .. "/c")
      local list = told(w, root)
      table.sort(list)
      assert.same({"create c", "create c/d", "create c/d/file"}, list)
      spill(root .. "/c/d/new")
      assert.same({"create c/d/new"}, told(w, root))
      os.rename(dir .. "/else/a", root .. "/a")
      list = told(w, root)
      table.sort(list)
      assert.same({"create a", "create a/b", "create a/b/unseen"}, list)
    end))

  it("watches what it tells of", recursive(function(dir, w)
    mkdir(dir .. "/x")
    assert.same({"create", "x"}, {w:next()})
    spill(dir .. "/x/a", "text")
    assert.same({"create x/a", "modify x/a"}, told(w, dir))
  end))

  it("finds what was renamed before it was watched", recursive(function(dir, w)
    mkdir(dir .. "/x")
    spill(dir .. "/x/a", "text")
    os.rename(dir .. "/x", dir .. "/y")
    assert.same({"create x", "rename y x", "create y/a"}, told(w, dir))
    mkdir(dir .. "/y/p/q")
    os.rename(dir .. "/y", dir .. "/z")
    assert.same({"create y/p", "rename z y", "create z/p/q"}, told(w, dir))
    spill(dir .. "/z/p/q/b")
    assert.same({"create z/p/q/b"}, told(w, dir))
  end))

  it("does not take one for another that has its name by now", recursive(function(dir, w)
    mkdir(dir .. "/x")
    os.rename(dir .. "/x", dir .. "/y")
    mkdir(dir .. "/x")
    assert.same({"create x", "rename y x", "create x"}, told(w, dir))
    spill(dir .. "/y/a")
    spill(dir .. "/x/b")
    assert.same({"create y/a", "create x/b"}, told(w, dir))
  end))

  it("takes up again what was removed and made anew", recursive(function(dir, w)
    for _ = 1, 3 do
      os.execute("rm -r " .. dir .. "/in")
      assert.same({"delete in/there", "delete in"}, told(w, dir))
      mkdir(dir .. "/in/there")
      assert.same({"create in", "create in/there"}, told(w, dir))
      spill(dir .. "/in/there/file")
      assert.same({"create in/there/file"}, told(w, dir))
      os.remove(dir .. "/in/there/file")
      assert.same({"delete in/there/file"}, told(w, dir))
    end
  end))

  it("does not follow links", recursive(function(dir, w)
    os.execute("ln -s .. " .. dir .. "/in/loop")
    os.execute("ln -s in " .. dir .. "/link")
    spill(dir .. "/in/a")
    assert.same({"create in/loop", "create link", "create in/a"}, told(w, dir))
  end))

  it("survives directories that come and go at once", recursive(function(dir, w)
    for i = 1, 30 do
      mkdir(dir .. "/" .. i .. "/x/y")
      os.execute("rm -r " .. dir .. "/" .. i)
    end
    for _, line in ipairs(told(w, dir)) do
      assert.truthy(line:find "^create " or line:find "^delete ", line)
    end
    mkdir(dir .. "/31")
    assert.same({"create 31"}, told(w, dir))
    spill(dir .. "/31/file")
    assert.same({"create 31/file"}, told(w, dir))
  end))
end)

-- Moves come in two halves; what the system tells is made up here, with the times in
-- between: {seconds, what, cookie, name}, ...
describe("the other half of a move", function()
  local FROM, TO, MADE, CHANGED = 8, 16, 1, 2

  -- A watch that is told these events.
  local function watch(dir, events, opts)
    local watcher = {close = function() end, remove = function() end}
    function watcher.event(_, seconds)
      local e = events[1]
      if not e and not seconds then error "there are no more" end
      if not e or seconds and e[1] > seconds then
        if e then e[1] = e[1] - seconds end
        if seconds > 0 then lull.sleep(seconds) end
        return nil, "ETIMEDOUT: no event", "ETIMEDOUT"
      end
      if e[1] > 0 then lull.sleep(e[1]) end
      return 1, table.unpack(table.remove(events, 1), 2)
    end
    local add, real = function() return 1 end, core.fs.watcher
    core.fs.watcher = function() return watcher, add end
    local w, message = fs.watch(dir, opts)
    core.fs.watcher = real
    return assert(w, message)
  end

  local function all(w)
    local list = {}
    while true do
      local ok, event, name, old = pcall(w.next, w)
      if not ok then return list end
      list[#list + 1] = event .. " " .. name .. (old and " " .. old or "")
    end
  end

  it("may come a little later", inside(function(dir)
    local w = watch(dir, {{0, FROM, 7, "a"}, {0.05, TO, 7, "b"}, {0, MADE, 0, "c"}})
    assert.same({"rename b a", "create c"}, all(w))
    w = watch(dir, {{0, FROM, 7, "a"}, {1, TO, 7, "b"}, {0, MADE, 0, "c"}})
    assert.same({"delete a", "create b", "create c"}, all(w))
  end))

  it("is waited for although there is a change to tell of", inside(function(dir)
    local w = watch(dir, {{0, CHANGED, 0, "c"}, {0.04, FROM, 7, "a"}, {0.05, TO, 7, "b"}},
      {debounce = 0.05})
    assert.same({"rename b a", "modify c"}, all(w))
  end))

  it("may come after those of others", inside(function(dir)
    local w = watch(dir, {{0, FROM, 7, "a"}, {0, MADE, 0, "x"}, {0, FROM, 8, "b"},
      {0, FROM, 9, "c"}, {0.01, TO, 8, "B"}, {0.01, TO, 7, "A"}})
    assert.same({"rename A a", "create x", "rename B b", "delete c"}, all(w))
  end))

  it("is not waited for when too much is told meanwhile", inside(function(dir)
    local events = {{0, FROM, 7, "a"}}
    for i = 1, 5000 do events[i + 1] = {0.00001, MADE, 0, tostring(i)} end
    local w = watch(dir, events)
    assert.same({"delete", "a"}, {w:next()})
    assert.is_true(#events > 3000)
    assert.same({"create", "1"}, {w:next()})
  end))
end)

describe("a watch whose directory goes", function()
  it("tells that and ends", inside(function(dir)
    for _, recursive in ipairs {true, false} do
      mkdir(dir .. "/root")
      spill(dir .. "/root/file")
      local w = assert(fs.watch(dir .. "/root", {recursive = recursive}))
      os.execute("rm -r " .. dir .. "/root")
      assert.same({"delete", "file"}, {w:next()})
      assert.same({"delete", "."}, {w:next()})
      assert.is_nil(w:next())
      assert.is_nil(w:next())
      assert.truthy(tostring(w):find "closed")
    end
  end))

  it("ends when it is renamed, too", inside(function(dir)
    mkdir(dir .. "/root")
    local w = assert(fs.watch(dir .. "/root"))
    os.rename(dir .. "/root", dir .. "/other")
    assert.same({"rename", "."}, {w:next()})
    assert.is_nil(w:next())
  end))
end)

describe("a watch that is told too much", function()
  it("says that events were lost, and goes on with all directories", inside(function(dir)
    local limit <close> = assert(io.open "/proc/sys/fs/inotify/max_queued_events")
    local count = limit:read "n"
    if count > 100000 then
      io.write("a queue of ", count, " events is not filled: not tested\n")
      return
    end
    local w <close> = assert(fs.watch(dir, {recursive = true}))
    for _ = 1, count / 2 + 100 do
      spill(dir .. "/file")
      os.remove(dir .. "/file")
    end
    mkdir(dir .. "/unknown")
    local n, event = 0
    repeat
      event = w:next()
      n = n + 1
    until event == "overflow" or n > 3 * count
    assert.equal("overflow", event)
    spill(dir .. "/end")
    repeat until select(2, w:next()) == "end"
    spill(dir .. "/unknown/file")
    assert.same({"create", "unknown/file"}, {w:next()})
  end))
end)
