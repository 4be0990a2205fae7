-- Scenarios for spec/sweep/check.lua: files, pipes, directories, watches.  Whoever is
-- cancelled: every byte is read once and in order, what was written is there in one
-- piece, nothing is half done, and no descriptor and no file stays behind.
-- What can be had without starting a program is: there are thousands of schedules.
local core = require "lull.core"
local lfs = require "lfs"
local lull = require "lull"
local fs = require "lull.fs"
local helper = require "spec.helper"
local crew = require "spec.sweep.crew"

local spawn_each, await_all, at_last = crew.spawn_each, crew.await_all, crew.at_last

local slurp, spill = helper.slurp, helper.spill

-- How many descriptors are open, and whether one of them is of something in dir.
local function look_at_descriptors(dir)
  local n, inside = 0, false
  for _, target in pairs(core.descriptors()) do
    n, inside = n + 1, inside or tostring(target):find(dir, 1, true) == 1
  end
  return n, inside
end

-- A directory of one's own for a scenario; it is removed, and the threads that still
-- close what they had opened for a cancelled call are waited for.
local function with_directory(scenario)
  return function(case)
    local path = os.tmpname()
    os.remove(path)
    assert(lfs.mkdir(path))
    local before = look_at_descriptors(path)
    local _ <close> = at_last(function()
      assert(fs.remove(path, {recursive = true}))
      collectgarbage()
      for _ = 1, 10000 do
        local n, inside = look_at_descriptors(path)
        if n <= before and not inside then break end
        fs.stat "/"
      end
    end)
    return scenario(case, path)
  end
end

-- ---- reading ------------------------------------------------------------------------

local text = {}
for i = 1, 40 do text[i] = ("line %d %s\n"):format(i, ("x"):rep(i * 97)) end
text = table.concat(text):rep(2)

-- Several read from one file in turns, each in its own way; who is cancelled has read
-- nothing.
local function readers(_, dir)
  local path = dir .. "/file"
  spill(path, text)
  local f <close> = assert(fs.open(path))
  local got = {}
  local ways = {
    function() return f:read "L" end,
    function() return f:read(1000) end,
    function() return lull.timeout(0, f.read, f, 70000) end,
  }
  local tasks = spawn_each(3, function(i)
    for _ = 1, 3 do
      local data = ways[i]()
      got[#got + 1] = data
    end
  end)
  local _ <close> = at_last(function()
    await_all(tasks)
    got[#got + 1] = f:read "a"
    assert(table.concat(got) == text)
    assert(f:seek() == #text)
  end)
end

local function closed_while_read(_, dir)
  local path = dir .. "/file"
  spill(path, text)
  local f = assert(fs.open(path))
  local tasks = spawn_each(3, function()
    for line in f:lines "L" do assert(text:find(line, 1, true)) end
  end)
  lull.sleep(0)
  lull.sleep(0)
  local _ <close> = at_last(function()
    assert(f:close() == true)
    await_all(tasks)
    assert(not pcall(f.read, f))
  end)
end

-- ---- writing ------------------------------------------------------------------------

-- What several write is there in pieces that are whole, in the order of the calls.
local function writers(_, dir)
  local path = dir .. "/file"
  local called, returned = {}, {}
  local f = assert(fs.open(path, "w"))
  f:setvbuf("full", 1024)
  local tasks = spawn_each(4, function(i)
    for j = 1, 2 do
      local name = i .. "." .. j
      called[name] = true
      local part = name .. ("x"):rep(i % 2 == 0 and 40000 or 10)
      if f:write(part, "\n") then returned[name] = true end
    end
    if i == 3 then f:flush() end
  end)
  local _ <close> = at_last(function()
    await_all(tasks)
    assert(f:close())
    local seen = {}
    for line in slurp(path):gmatch "([^\n]*)\n" do
      local name, rest = line:match "^(%d%.%d)(x*)$"
      assert(called[name] and not seen[name])
      assert(#rest == 10 or #rest == 40000)
      seen[name] = true
    end
    for name in pairs(returned) do assert(seen[name], name) end
  end)
end

local function mixed(_, dir)
  local path = dir .. "/file"
  spill(path, ("0"):rep(30))
  local f <close> = assert(fs.open(path, "r+"))
  local tasks = spawn_each(3, function(i)
    f:seek("set", (i - 1) * 10)
    f:write(("%d"):format(i):rep(10))
    f:flush()
    f:seek("end")
    assert(f:read "a")
    f:sync()
  end)
  local _ <close> = at_last(function()
    await_all(tasks)
    assert(f:close())
    assert(not slurp(path):find "[^0-3]")
  end)
end

-- A block that is left writes all, even if nobody waits for that.
local function blocks(_, dir)
  local path = dir .. "/file"
  local wrote
  local task = lull.spawn(function()
    local f <close> = assert(fs.open(path, "w"))
    f:write(("x"):rep(200000))
    wrote = true
  end)
  local _ <close> = at_last(function()
    await_all {task}
    for _ = 1, 10000 do
      local stat = fs.stat(path)
      if not wrote or stat.size == 200000 then return end
    end
    error "it was never written"
  end)
end

-- ---- whole files and directories ----------------------------------------------------

local function replacing(_, dir)
  local path = dir .. "/file"
  spill(path, "old")
  local tasks = spawn_each(2, function(i)
    assert(fs.write_file(path, "new " .. i, {atomic = true}))
  end)
  local _ <close> = at_last(function()
    await_all(tasks)
    local now = slurp(path)
    assert(now == "old" or now:find "^new [12]$", now)
    for _ = 1, 10000 do
      local n = 0
      for _ in fs.scandir(dir) do n = n + 1 end
      if n == 1 then return end
    end
    error "a temporary file was left behind"
  end)
end

local function trees(_, dir)
  local tasks = spawn_each(2, function(i)
    local below = dir .. "/a/b"
    assert(fs.mkdir(below, {parents = true}))
    assert(fs.write_file(below .. "/" .. i, "x"))
    for name, type in fs.scandir(below) do
      assert(type == "file" and fs.stat(below .. "/" .. name))
    end
    local temporary = fs.tempdir()
    local _ <close> = lull.defer(lull.shield, fs.rmdir, temporary)
    assert(fs.realpath(temporary))
  end)
  local _ <close> = at_last(function()
    await_all(tasks)
    assert(fs.mkdir(dir .. "/a", {parents = true}))
    assert(fs.remove(dir .. "/a", {recursive = true}))
  end)
end

-- ---- pipes --------------------------------------------------------------------------

local function make_pipe()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkfifo " .. path))
  return setmetatable({path = path}, {__gc = function() os.remove(path) end})
end

local pipe -- of which each schedule has a link; it is empty when nobody has it open

local function pipes(case, dir)
  local path = dir .. "/pipe"
  pipe = pipe or make_pipe()
  assert(lfs.link(pipe.path, path))
  local got, sent = {}, {}
  local r <close> = assert(fs.open(path))
  lull.spawn(function() -- who waits for ever would wait for a descriptor
    lull.sleep(1000)
    r:close()
    error "nothing moves any more"
  end):daemon()
  local keep = assert(fs.open(path, "w")) -- so that there is no end before all is sent
  local reader = lull.spawn(function()
    for data in r:lines(1000) do got[#got + 1] = data end
  end)
  local writer = lull.spawn(function()
    local w <close> = assert(fs.open(path, "w"))
    for i = 1, 3 do
      sent[i] = ("%d"):format(i):rep(40000)
      w:write(sent[i])
    end
  end)
  writer:add_done_callback(function() keep:close() end)
  local _ <close> = at_last(function()
    await_all {reader}
    local left = r:read "a"
    got[#got + 1] = left
    await_all {writer}
    got, sent = table.concat(got), table.concat(sent)
    assert(sent:sub(1, #got) == got)
    assert(case.cancelled or got == sent)
  end)
end

-- ---- watches ------------------------------------------------------------------------

local function watches(_, dir)
  local w = assert(fs.watch(dir, {recursive = true}))
  local _ <close> = w
  local seen = {}
  local function note(event, name)
    if event == nil then return false end
    if event == "create" then
      assert(not seen[name], name)
      seen[name] = true
    end
    return name ~= "end"
  end
  local tasks = spawn_each(2, function()
    for event, name in w:events() do
      if not note(event, name) then w:close() end
    end
  end)
  assert(lfs.mkdir(dir .. "/a") and lfs.mkdir(dir .. "/a/b"))
  spill(dir .. "/a/b/c")
  spill(dir .. "/end")
  local _ <close> = at_last(function()
    await_all(tasks)
    while not w.closed and note(w:next()) do end
    assert(seen.a and seen["end"])
  end)
end

local scenarios = {
  {"several read from a file", readers},
  {"a file is closed under its readers", closed_while_read},
  {"several write to a file", writers},
  {"seeking, writing and reading", mixed},
  {"a block writes its file", blocks},
  {"a file is replaced", replacing},
  {"directories come and go", trees},
  {"a named pipe", pipes},
  {"a watch of all below", watches},
}
for _, entry in ipairs(scenarios) do entry[2] = with_directory(entry[2]) end

return scenarios
