-- The directories that a watch watches: one, or all below it.
--
-- A new directory is watched first and listed then: what came into it in between is told
-- as created, and its own event, should there be one, is not told again.  Nothing is told
-- before that, so that who hears of a directory may rely on its being watched.
local core = require "lull.core"

local raw = core.fs

-- watcher, add: of the core; path: of the root; created: is called with each name that is
-- found; by_watch: number of a watch -> directory; todo: directories to be watched and
-- listed; fresh: those that were just listed
local Tree = { __name = "Tree" }
Tree.__index = Tree

local tree = {}

-- ---- directories ----------------------------------------------------------------------

local function new_directory(parent, name)
  return { parent = parent, name = name, children = {} }
end

function tree.new(watcher, add, path, recursive, created)
  local root = new_directory()
  return setmetatable({
    watcher = watcher, add = add, path = path, recursive = recursive, created = created,
    root = root, by_watch = {}, todo = { root }, fresh = {},
  }, Tree)
end

-- The name of an entry below the root.
function tree.name_in(directory, name)
  local below = directory.name and tree.name_in(directory.parent, directory.name)
  return below and below .. "/" .. name or name
end

local function path_of(self, directory)
  if not directory.parent then return self.path end
  return (self.path:gsub("/$", "")) .. "/" ..
         tree.name_in(directory.parent, directory.name)
end

local function set_child(directory, name, child)
  directory.children[name] = child
  child.parent, child.name = directory, name
end

-- An entry has gone: the directory that it was, or nil.
function tree.forget(directory, name)
  if directory.seen then directory.seen[name] = nil end
  local child = directory.children[name]
  directory.children[name] = nil
  return child
end

-- Has it been told as created already?  Once: with its own event, which this was.
function tree.was_seen(directory, name)
  local seen = directory.seen and directory.seen[name]
  if seen then directory.seen[name] = nil end
  return seen
end

-- Stops watching a directory and what is below it: they are elsewhere now.
function Tree:let_go(directory)
  if directory.watch and self.by_watch[directory.watch] == directory then
    self.by_watch[directory.watch] = nil
    self.watcher:remove(directory.watch)
  end
  directory.gone = true
  for _, child in pairs(directory.children) do self:let_go(child) end
end

-- ---- watching and listing -------------------------------------------------------------

-- Gone again, or nothing that we may look into: no failures of the watch.
local harmless = {
  ENOENT = true, ENOTDIR = true, EACCES = true, ELOOP = true, EPERM = true,
}

local function list(self, directory)
  local found = {}
  local next_entry, message, nothing, closing = raw.scandir(path_of(self, directory))
  if not next_entry then return nil, message, nothing end
  for name, type in next_entry, message, nothing, closing do
    found[#found + 1] = { name = name, type = type }
  end
  return found
end

local function adopt_entry(self, directory, entry, report)
  local name = entry.name
  if report then
    self.created(tree.name_in(directory, name))
    directory.seen = directory.seen or {}
    directory.seen[name] = true
  end
  if entry.type == "directory" then
    local child = directory.children[name]
    if not child then
      child = new_directory(directory, name)
      set_child(directory, name, child)
    end
    child.report = report
    table.insert(self.todo, child)
  end
end

-- To be watched and listed, or once more; what is in it is told as created.
local function take_up(self, directory)
  directory.report, directory.listed = true, nil
  table.insert(self.todo, directory)
end

-- What somebody else was known to be is the same directory: it was moved here, or we came
-- too late there and took for it what had its name by then.
local function register(self, directory, watch)
  local before = self.by_watch[watch]
  if before and before ~= directory then
    before.watch = nil
    local parent = before.listed and before.parent
    if parent and parent.children[before.name] == before then take_up(self, before) end
  end
  self.by_watch[watch] = directory
  directory.watch = watch
end

-- Begins to watch a directory, and with recursive those below it.  Does all or nothing:
-- who is cancelled in it begins anew.  -> true | nil, message, code
local function adopt(self, directory)
  local path = path_of(self, directory)
  local watch, message, code = self.add(path, directory.parent and 1 or 0)
  if not watch then return nil, message, code end
  register(self, directory, watch)
  if not self.recursive then return true end
  local found
  found, message, code = list(self, directory)
  if not found then return nil, message, code end
  for _, entry in ipairs(found) do
    adopt_entry(self, directory, entry, directory.report)
  end
  directory.listed = true
  if directory.seen then table.insert(self.fresh, directory) end
  return true
end

-- Those below it may have come on top.
local function done(self, directory)
  for i = #self.todo, 1, -1 do
    if self.todo[i] == directory then return table.remove(self.todo, i) end
  end
end

-- Watches the next directory that is to be.  -> true | nil, message, code
function Tree:grow()
  local directory = self.todo[#self.todo]
  if directory.gone then
    table.remove(self.todo)
    return true
  end
  local ok, message, code = adopt(self, directory)
  done(self, directory)
  if not ok and directory.parent and harmless[code] then return true end
  return ok, message, code
end

function Tree:complete()
  return #self.todo == 0
end

-- ---- what happens to them -------------------------------------------------------------

-- A directory has come.
function Tree:appear(directory, name)
  if not self.recursive then return end
  local child = new_directory(directory, name)
  set_child(directory, name, child)
  take_up(self, child)
end

-- What was renamed before it could be watched is not found by its old name.
local function look_again(self, directory)
  if not directory.listed then return take_up(self, directory) end
  for _, child in pairs(directory.children) do look_again(self, child) end
end

-- One that we know has another name now.
function Tree:move(directory, name, child)
  set_child(directory, name, child)
  look_again(self, child)
end

-- Events were lost: there may be directories that we know not of.
function Tree:look_for_more()
  if not self.recursive then return end
  self.root.report = nil
  table.insert(self.todo, self.root)
end

-- All that had come while new directories were listed has been seen.
function Tree:settle()
  for _, directory in ipairs(self.fresh) do directory.seen = nil end
  self.fresh = {}
end

return tree
