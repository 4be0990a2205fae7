-- What a watch has to tell, from first to last.  Several changes of a file in a row are
-- one, until it has been told; with a debounce they are told when they have stopped.
--
-- The two halves of a move come one after the other, but not always at once, nor without
-- others in between: the first waits a moment for its other half, and keeps its place
-- meanwhile.
local core = require "lull.core"

local OTHER_HALF = 0.1 -- seconds
local MANY = 1000 -- entries behind the first half of a move: it waits no longer

-- only: the one name that matters, or nil; debounce: seconds; out: the entries first to
-- last, of which the half of a move has no event yet; moving: cookie -> that;
-- modified: name -> where in out; quiet: name -> when it counts as modified;
-- lost: is called with the directory that a move has taken out of sight
local News = { __name = "News" }
News.__index = News

local news = {}

function news.new(only, debounce, lost)
  return setmetatable({
    only = only, debounce = debounce, lost = lost,
    out = {}, first = 1, last = 0, moving = {}, modified = {}, quiet = {},
  }, News)
end

local function add(self, entry)
  self.out[self.last + 1] = entry
  self.last = self.last + 1
end

function News:tell(event, name)
  if self.only and name ~= self.only and name ~= "." then return false end
  add(self, { event = event, name = name })
  return true
end

-- ---- modifications --------------------------------------------------------------------

function News:modify(name)
  if self.debounce > 0 then
    self.quiet[name] = core.now() + self.debounce
    return
  end
  local told = self.modified[name]
  if told and self.out[told] and self.out[told].name == name then return end
  if self:tell("modify", name) then self.modified[name] = self.last end
end

-- The file has that name no more: it will not be told as modified under it.
function News:forget(name)
  self.quiet[name] = nil
end

-- Tells what has been quiet for long enough.  -> when the next one will have, or nil
local function tell_quiet(self)
  local now, first = core.now(), nil
  for name, due in pairs(self.quiet) do
    if due <= now then
      self.quiet[name] = nil
      self:tell("modify", name)
    else
      first = math.min(due, first or due)
    end
  end
  return first
end

-- ---- moves ----------------------------------------------------------------------------

-- The first half of a move: what becomes of it will be known with the second.
function News:depart(cookie, name, child)
  local move = {
    cookie = cookie, old = name, child = child, quiet = self.quiet[name],
    due = core.now() + OTHER_HALF,
  }
  self:forget(name)
  self.moving[cookie] = move
  add(self, move)
end

local function tell_deleted(self, move)
  move.event, move.name, move.old = "delete", move.old, nil
  move.skip = self.only and move.name ~= self.only
end

-- No other half has come, or none that is to be told.
function News:give_up(move)
  self.moving[move.cookie] = nil
  if move.child then self.lost(move.child) end
  tell_deleted(self, move)
end

-- The second half.
function News:arrive(move, name)
  self.moving[move.cookie] = nil
  self.quiet[name] = move.quiet
  if self.only and name ~= self.only then return tell_deleted(self, move) end
  move.event, move.name = "rename", name
end

-- Gives up those that waited long enough.  -> when the next one will have, or nil
local function give_up_late(self)
  local now, first = core.now(), nil
  for _, move in pairs(self.moving) do
    if move.due <= now then
      self:give_up(move)
    else
      first = math.min(move.due, first or move.due)
    end
  end
  return first
end

-- ---- taking them ----------------------------------------------------------------------

-- How long to wait for more; nil: until there is some.
function News:patience()
  local late, quiet = give_up_late(self), tell_quiet(self)
  local entry = self.out[self.first]
  if entry and entry.event then return 0 end
  local due = late and quiet and math.min(late, quiet) or late or quiet
  return due and math.max(0, due - core.now())
end

local function drop_first(self)
  self.out[self.first] = nil
  self.first = self.first + 1
end

-- The first entry, when it is known; skips what is not told.
function News:take()
  local entry = self.out[self.first]
  if entry and not entry.event and self.last - self.first > MANY then
    self:give_up(entry)
  end
  while entry and entry.skip do
    drop_first(self)
    entry = self.out[self.first]
  end
  if not (entry and entry.event) then return nil end
  drop_first(self)
  if entry.event == "modify" then self.modified[entry.name] = nil end
  return entry
end

function News:empty()
  return self.out[self.first] == nil
end

return news
