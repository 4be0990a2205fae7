-- What changes in a directory.  The system tells of inodes, one directory at a time; here
-- this becomes names below the directory that is watched.
--
-- A new directory is watched first and listed then: what came into it in between is told
-- as created, and its own event, should there be one, is not told again.  Nothing is told
-- before that, so that who hears of a directory may rely on its being watched.  The two
-- halves of a move come one after the other, but not always at once, nor without others
-- in between: the first waits a moment for its other half, and keeps its place meanwhile.
local core = require "lull.core"
local sync = require "lull.sync"

local raw = core.fs

local OTHER_HALF = 0.1 -- seconds
local MANY = 1000 -- entries behind the first half of a move: it waits no longer

-- the bits of an event, as in errand.h
local CREATED, MODIFIED, DELETED, MOVED_FROM, MOVED_TO = 1, 2, 4, 8, 16
local GONE, MOVED, IGNORED, OVERFLOW, IS_DIRECTORY = 32, 64, 128, 256, 512

-- watcher, add: of the core; root: a directory; by_watch: number of a watch -> directory;
-- only: the one name that matters, or nil; todo: directories to be watched and listed;
-- out: what is to be told, from first to last; moving: cookie -> the entry there of a
-- move whose other half has not come; fresh: directories that were just listed;
-- quiet: name -> when it counts as modified
local Watch = { __name = "Watch" }
Watch.__index = Watch

-- ---- directories --------------------------------------------------------------------

local function new_directory(parent, name)
  return { parent = parent, name = name, children = {} }
end

local function name_in(directory, name)
  local below = directory.name and name_in(directory.parent, directory.name)
  return below and below .. "/" .. name or name
end

local function path_of(self, directory)
  if not directory.parent then return self.path end
  return (self.path:gsub("/$", "")) .. "/" .. name_in(directory.parent, directory.name)
end

local function set_child(directory, name, child)
  directory.children[name] = child
  if child then child.parent, child.name = directory, name end
end

-- Stops watching a directory and what is below it: they are elsewhere now.
local function let_go(self, directory)
  if directory.watch and self.by_watch[directory.watch] == directory then
    self.by_watch[directory.watch] = nil
    self.watcher:remove(directory.watch)
  end
  directory.gone = true
  for _, child in pairs(directory.children) do let_go(self, child) end
end

-- ---- telling ------------------------------------------------------------------------

local function tell(self, event, name, old)
  if self.only and name ~= self.only and name ~= "." then return end
  self.last = self.last + 1
  local entry = { event = event, name = name, old = old }
  self.out[self.last] = entry
  return entry
end

-- Several in a row are one, until it has been told.
local function tell_modified(self, name)
  if self.debounce > 0 then
    self.quiet[name] = core.now() + self.debounce
    return
  end
  local told = self.modified[name]
  if not (told and self.out[told] and self.out[told].name == name) then
    if tell(self, "modify", name) then self.modified[name] = self.last end
  end
end

-- The first time at which a name counts as modified; those that do by now are told.
local function tell_quiet(self)
  local now, first = core.now(), nil
  for name, due in pairs(self.quiet) do
    if due <= now then
      self.quiet[name] = nil
      tell(self, "modify", name)
    else
      first = math.min(due, first or due)
    end
  end
  return first
end

-- ---- watching and listing -----------------------------------------------------------

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
    tell(self, "create", name_in(directory, name))
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

-- The next directory that is to be watched.
local function adopt_next(self)
  local directory = self.todo[#self.todo]
  if directory.gone then
    table.remove(self.todo)
    return true
  end
  local ok, message, code = adopt(self, directory)
  if self.todo[#self.todo] == directory then
    table.remove(self.todo)
  else -- those below it have come on top
    for i = #self.todo, 1, -1 do
      if self.todo[i] == directory then
        table.remove(self.todo, i)
        break
      end
    end
  end
  if not ok and directory.parent and harmless[code] then return true end
  return ok, message, code
end

-- ---- events -------------------------------------------------------------------------

local function appear(self, directory, name, is_directory)
  if directory.seen and directory.seen[name] then
    directory.seen[name] = nil
    return
  end
  tell(self, "create", name_in(directory, name))
  if is_directory and self.recursive then
    local child = new_directory(directory, name)
    set_child(directory, name, child)
    take_up(self, child)
  end
end

-- What was renamed before it could be watched is not found by its old name.
local function look_again(self, directory)
  if not directory.listed then return take_up(self, directory) end
  for _, child in pairs(directory.children) do look_again(self, child) end
end

local function forget(self, directory, name)
  self.quiet[name_in(directory, name)] = nil
  if directory.seen then directory.seen[name] = nil end
  local child = directory.children[name]
  directory.children[name] = nil
  return child
end

local function vanish(self, directory, name)
  local child = forget(self, directory, name)
  if child then let_go(self, child) end
  tell(self, "delete", name_in(directory, name))
end

-- The first half of a move: what becomes of it will be known with the second.
local function depart(self, directory, name, cookie)
  local old = name_in(directory, name)
  local pending = self.quiet[old]
  self.last = self.last + 1
  local move = {
    cookie = cookie, old = old, child = forget(self, directory, name), quiet = pending,
    due = core.now() + OTHER_HALF,
  }
  self.out[self.last], self.moving[cookie] = move, move
end

-- Nothing has come: it was moved out of sight.
local function settle_move(self, move)
  self.moving[move.cookie] = nil
  if move.child then let_go(self, move.child) end
  move.event, move.name, move.old = "delete", move.old, nil
  move.skip = self.only and move.name ~= self.only
end

-- Settles those that waited long enough.  -> when the next one will have
local function settle_late(self)
  local now, first = core.now(), nil
  for _, move in pairs(self.moving) do
    if move.due <= now then
      settle_move(self, move)
    else
      first = math.min(move.due, first or move.due)
    end
  end
  return first
end

local function follow(self, directory, name, move)
  local replaced = forget(self, directory, name)
  if replaced then let_go(self, replaced) end
  if move.child then
    set_child(directory, name, move.child)
    look_again(self, move.child)
  end
end

local function arrive(self, directory, name, cookie, is_directory)
  local move = self.moving[cookie]
  if not move then return appear(self, directory, name, is_directory) end
  if directory.seen and directory.seen[name] then -- told as created already
    directory.seen[name] = nil
    return settle_move(self, move)
  end
  self.moving[cookie] = nil
  local new = name_in(directory, name)
  follow(self, directory, name, move)
  if move.quiet then self.quiet[new] = move.quiet end
  if self.only and new ~= self.only then
    move.event, move.name, move.old = "delete", move.old, nil
    move.skip = move.name ~= self.only
  else
    move.event, move.name = "rename", new
  end
end

-- The directory that is watched has gone, and with it all that could be told.
local function root_event(self, what)
  if self.ended then return end
  if what & (GONE | MOVED) ~= 0 then
    tell(self, what & GONE ~= 0 and "delete" or "rename", self.only or ".")
    self.ended = true
  elseif what & IGNORED ~= 0 then
    self.ended = true
  end
end

local function overflow(self)
  tell(self, "overflow", ".")
  if self.recursive then
    self.root.report = nil
    table.insert(self.todo, self.root) -- there may be directories that we know not of
  end
end

local function handle(self, watch, what, cookie, name)
  if what & OVERFLOW ~= 0 then return overflow(self) end
  local directory = self.by_watch[watch]
  if not directory then return end
  if what & IGNORED ~= 0 then self.by_watch[watch] = nil end
  if name == "" then
    if directory == self.root then root_event(self, what) end
    return
  end
  local is_directory = what & IS_DIRECTORY ~= 0
  if what & CREATED ~= 0 then
    appear(self, directory, name, is_directory)
  elseif what & MODIFIED ~= 0 then
    tell_modified(self, name_in(directory, name))
  elseif what & DELETED ~= 0 then
    vanish(self, directory, name)
  elseif what & MOVED_FROM ~= 0 then
    depart(self, directory, name, cookie)
  elseif what & MOVED_TO ~= 0 then
    arrive(self, directory, name, cookie, is_directory)
  end
end

-- All that had come while new directories were listed has been seen.
local function drained(self)
  for _, directory in ipairs(self.fresh) do directory.seen = nil end
  self.fresh = {}
end

-- How long to wait for an event; nil: until there is one.
local function patience(self)
  local late, quiet = settle_late(self), tell_quiet(self)
  local entry = self.out[self.first]
  if entry and entry.event then return 0 end
  local due = late and quiet and math.min(late, quiet) or late or quiet
  return due and math.max(0, due - core.now())
end

-- Takes a step: a directory, or an event.  -> true | nil, message, code
local function advance(self)
  if #self.todo > 0 then return adopt_next(self) end
  local watch, what, cookie, name = self.watcher:event(0)
  if not watch and cookie == "ETIMEDOUT" then
    drained(self)
    watch, what, cookie, name = self.watcher:event(patience(self))
  end
  if watch then
    handle(self, watch, what, cookie, name)
  elseif cookie ~= "ETIMEDOUT" then
    return nil, what, cookie
  end
  return true
end

-- ---- what scripts call --------------------------------------------------------------

-- Takes the first entry off what is to be told, when it is known; skips what is not told.
local function take(self)
  if #self.todo > 0 then return nil end
  local entry = self.out[self.first]
  if entry and not entry.event and self.last - self.first > MANY then
    settle_move(self, entry)
  end
  while entry and entry.skip do
    self.out[self.first] = nil
    self.first = self.first + 1
    entry = self.out[self.first]
  end
  if not (entry and entry.event) then return nil end
  self.out[self.first] = nil
  self.first = self.first + 1
  if entry.event == "modify" then self.modified[entry.name] = nil end
  return entry
end

-- watch:next() -> event, name [, old name] | nil: it was closed, or there is nothing to
-- be watched any more | nil, message, code
function Watch:next()
  core.enter()
  local _ <close> = self.lock:acquire()
  while true do
    if self.closed then return nil end
    local entry = take(self)
    if entry then return entry.event, entry.name, entry.old end
    if self.ended and not self.out[self.first] then
      self:close()
      return nil
    end
    local ok, message, code = advance(self)
    if not ok and not self.closed then return nil, message, code end
  end
end

local function check_event(event, ...)
  if event == nil and ... ~= nil then error(..., 0) end
  return event, ...
end

-- for event, name in watch:events() do
function Watch:events()
  return function() return check_event(self:next()) end
end

function Watch:close()
  self.closed = true
  self.watcher:close()
end

Watch.__close = Watch.close

function Watch:__tostring()
  return ("watch (%s%s)"):format(self.closed and "closed: " or "", self.path)
end

local function new_watch(watcher, add, path, opts)
  return setmetatable({
    watcher = watcher, add = add, path = path, lock = sync.lock(),
    recursive = opts.recursive, debounce = opts.debounce or 0,
    root = new_directory(), by_watch = {}, todo = {}, fresh = {},
    out = {}, first = 1, last = 0, modified = {}, moving = {},
    quiet = {},
  }, Watch)
end

local watch = {}

local function check_arguments(path, opts)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'watch' (string expected, got %s)"):format(
          path == nil and "no value" or type(path)), 3)
  end
  if opts ~= nil and type(opts) ~= "table" then
    error("bad argument #2 to 'watch' (table expected)", 3)
  end
  local debounce = opts and opts.debounce
  if debounce ~= nil and not (type(debounce) == "number" and debounce >= 0) then
    error("'watch': bad option 'debounce' (seconds expected)", 3)
  end
end

-- Watches a directory, with opts.recursive all below it, or one file: that is whatever
-- has its name, also when another one takes its place.
function watch.watch(path, opts)
  check_arguments(path, opts)
  local stat, message, code = raw.stat(path)
  if not stat then return nil, message, code end
  local watcher, add
  watcher, add, code = raw.watcher()
  if not watcher then return nil, add, code end
  local self = new_watch(watcher, add, path, opts or {})
  local failed <close> = setmetatable({ self }, { __close = function(t)
    if t[1] then t[1]:close() end
  end })
  if stat.type ~= "directory" then
    self.only, self.recursive = path:match "[^/]+$", nil
    self.path = path:match "^(.*/)[^/]+$" or "."
  end
  local ok
  ok, message, code = adopt(self, self.root)
  while ok and #self.todo > 0 do ok, message, code = adopt_next(self) end
  if not ok then return nil, message, code end
  failed[1] = nil
  return self
end

return watch
