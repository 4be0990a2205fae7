-- watch.lua: what happens in a directory, told as it happens.
--
--   ./run examples/watch.lua
--
-- One task watches, another one works.  New directories are watched too, and what was in
-- them before anybody could look is told as well.  In the end the directory is removed,
-- and with it ends the watch.

local lull = require "lull"
local fs = require "lull.fs"

local directory = assert(fs.tempdir())
local watch <close> = assert(fs.watch(directory, {recursive = true, debounce = 0.05}))

local heard = lull.queue()
local watcher = lull.spawn(function()
  for event, name, old in watch:events() do
    print(event, old and old .. " -> " .. name or name)
    heard:put(event .. " " .. name)
  end
  print "the watch has ended"
end)

-- Does something and waits until that was heard, so that the order is always the same.
local function step(expected, fn, ...)
  assert(fn(...))
  repeat until heard:get() == expected
end

local function path(name) return directory .. "/" .. name end

-- One change; fs.write_file empties a file first, and that is one more if it takes long.
local function append(name, text)
  local file <close> = assert(fs.open(name, "a"))
  return file:write(text) and file:close()
end

step("modify notes", append, path "notes", "milk")
step("modify notes", append, path "notes", ", bread")
step("create a/b/c", fs.mkdir, path "a/b/c", {parents = true})
step("modify a/b/c/list", append, path "a/b/c/list", "tea")
step("rename a/b/c/notes", fs.rename, path "notes", path "a/b/c/notes")
step("rename z", fs.rename, path "a/b", path "z")
step("modify z/c/notes", append, path "z/c/notes", ", tea")
step("delete z/c/list", fs.remove, path "z/c/list")
step("delete z", fs.remove, path "z", {recursive = true})
step("delete .", fs.remove, directory, {recursive = true})
watcher:await()
