-- What changes in a directory.  The system tells of inodes, one directory at a time: here
-- this becomes names below the directory that is watched.  lull.tree knows which
-- directories these are, lull.news keeps what there is to be told.
local arguments = require "lull.arguments"
local core = require "lull.core"
local news = require "lull.news"
local sync = require "lull.sync"
local tree = require "lull.tree"

local raw = core.fs
local name_in = tree.name_in

-- the bits of an event, as in errand.h
local CREATED, MODIFIED, DELETED, MOVED_FROM, MOVED_TO = 1, 2, 4, 8, 16
local GONE, MOVED, IGNORED, OVERFLOW, IS_DIRECTORY = 32, 64, 128, 256, 512

-- watcher: of the core; tree, news: see there; lock: held by who takes the next event;
-- ended: the directory has gone
local Watch = { __name = "Watch" }
Watch.__index = Watch

-- ---- events -------------------------------------------------------------------------

local function appear(self, directory, name, is_directory)
  if tree.was_seen(directory, name) then return end
  self.news:tell("create", name_in(directory, name))
  if is_directory then self.tree:appear(directory, name) end
end

local function vanish(self, directory, name)
  local child = tree.forget(directory, name)
  if child then self.tree:let_go(child) end
  self.news:forget(name_in(directory, name))
  self.news:tell("delete", name_in(directory, name))
end

local function depart(self, directory, name, cookie)
  self.news:depart(cookie, name_in(directory, name), tree.forget(directory, name))
end

local function arrive(self, directory, name, cookie, is_directory)
  local move = self.news.moving[cookie]
  if not move then return appear(self, directory, name, is_directory) end
  if tree.was_seen(directory, name) then return self.news:give_up(move) end
  local replaced = tree.forget(directory, name)
  if replaced then self.tree:let_go(replaced) end
  if move.child then self.tree:move(directory, name, move.child) end
  self.news:arrive(move, name_in(directory, name))
end

-- The directory that is watched has gone, and with it all that could be told.
local function root_event(self, what)
  if self.ended then return end
  if what & (GONE | MOVED) ~= 0 then
    self.news:tell(what & GONE ~= 0 and "delete" or "rename", self.news.only or ".")
    self.ended = true
  elseif what & IGNORED ~= 0 then
    self.ended = true
  end
end

local function handle(self, watch, what, cookie, name)
  if what & OVERFLOW ~= 0 then
    self.news:tell("overflow", ".")
    return self.tree:look_for_more()
  end
  local directory = self.tree.by_watch[watch]
  if not directory then return end
  if what & IGNORED ~= 0 then self.tree.by_watch[watch] = nil end
  if name == "" then
    if directory == self.tree.root then root_event(self, what) end
    return
  end
  local is_directory = what & IS_DIRECTORY ~= 0
  if what & CREATED ~= 0 then
    appear(self, directory, name, is_directory)
  elseif what & MODIFIED ~= 0 then
    self.news:modify(name_in(directory, name))
  elseif what & DELETED ~= 0 then
    vanish(self, directory, name)
  elseif what & MOVED_FROM ~= 0 then
    depart(self, directory, name, cookie)
  elseif what & MOVED_TO ~= 0 then
    arrive(self, directory, name, cookie, is_directory)
  end
end

-- Takes a step: a directory, or an event.  -> true | nil, message, code
local function advance(self)
  if not self.tree:complete() then return self.tree:grow() end
  local watch, what, cookie, name = self.watcher:event(0)
  if not watch and cookie == "ETIMEDOUT" then
    self.tree:settle() -- all that had come before it was complete has been seen
    watch, what, cookie, name = self.watcher:event(self.news:patience())
  end
  if watch then
    handle(self, watch, what, cookie, name)
  elseif cookie ~= "ETIMEDOUT" then
    return nil, what, cookie
  end
  return true
end

-- ---- what scripts call --------------------------------------------------------------

-- watch:next() -> event, name [, old name] | nil: it was closed, or there is nothing to
-- be watched any more | nil, message, code
function Watch:next()
  core.enter()
  local _ <close> = self.lock:acquire()
  while true do
    if self.closed then return nil end
    local entry = self.tree:complete() and self.news:take()
    if entry then return entry.event, entry.name, entry.old end
    if self.ended and self.news:empty() then
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
  return ("watch (%s%s)"):format(self.closed and "closed: " or "", self.tree.path)
end

local function new_watch(watcher, add, path, only, opts)
  local self = setmetatable({ watcher = watcher, lock = sync.lock() }, Watch)
  self.news = news.new(only, opts.debounce or 0, function(directory)
    self.tree:let_go(directory)
  end)
  self.tree = tree.new(watcher, add, path, not only and opts.recursive, function(name)
    self.news:tell("create", name)
  end)
  return self
end

local watch = {}

local function check_arguments(path, opts)
  if type(path) ~= "string" then
    error(("bad argument #1 to 'watch' (string expected, got %s)"):format(
          path == nil and "no value" or type(path)), 3)
  end
  local debounce = opts.debounce
  if debounce ~= nil and not (type(debounce) == "number" and debounce >= 0) then
    error("'watch': bad option 'debounce' (seconds expected)", 3)
  end
end

-- Watches a directory, with opts.recursive all below it, or one file: that is whatever
-- has its name, also when another one takes its place.
function watch.watch(path, opts)
  opts = arguments.options(2, "watch", opts)
  check_arguments(path, opts)
  local stat, message, code = raw.stat(path)
  if not stat then return nil, message, code end
  local watcher, add
  watcher, add, code = raw.watcher()
  if not watcher then return nil, add, code end
  local only = stat.type ~= "directory" and path:match "[^/]+$" or nil
  if only then path = path:match "^(.*/)[^/]+$" or "." end
  local self = new_watch(watcher, add, path, only, opts)
  local failed <close> = setmetatable({ self }, { __close = function(t)
    if t[1] then t[1]:close() end
  end })
  repeat
    local ok, why, reason = self.tree:grow()
    if not ok then return nil, why, reason end
  until self.tree:complete()
  failed[1] = nil
  return self
end

return watch
