-- What tasks wait on each other with: lock, event, condition, semaphore, barrier.  Locks
-- and semaphores are in C (locklib.c, semaphorelib.c).  For the others the line of those
-- who wait is a lot (lotlib.c); here is what they are granted.
--
-- All hand over: who releases gives what he had to the first in line, who need not look
-- again, so nobody can come in between, and nothing is left for a wake-up to miss.  Who
-- was granted something and is cancelled before he runs refuses it: it goes to the next.
-- What must not fail after a wait is done before it.
local class = require "lull.class"
local core = require "lull.core"

local enter, new_lot, shield = core.enter, core.lot, core.shield
local EVERYBODY = math.maxinteger

local sync = { lock = core.lock }

-- Returns n, an integer that is no less than `least`, or raises for the caller's caller.
local function check_count(n, least, argument, name)
  local integer = type(n) == "number" and math.tointeger(n)
  if not integer or integer < least then
    error(("bad argument #%d to '%s' (an integer, %d or more, expected)"):format(
      argument, name, least), 3)
  end
  return integer
end

-- "lock (held, 2 waiting): 0x5581"
local function describe(self, name, state)
  local waiting = self.lot and self.lot:count() or 0
  if waiting > 0 then state = ("%s, %d waiting"):format(state, waiting) end
  return ("%s (%s): %p"):format(name, state, self)
end

-- ---- event ----------------------------------------------------------------------------

-- values: packed, or false for none; nil while the event is not set.
local Event = class "Event"

function sync.event()
  return setmetatable({}, Event)
end

local function pack(...)
  return select("#", ...) > 0 and table.pack(...)
end

local function unpack(values)
  if values then return table.unpack(values, 1, values.n) end
end

local function wake_all(event, values)
  if event.lot then event.lot:wake(EVERYBODY, values or nil) end
end

function Event:set(...)
  local values = pack(...)
  wake_all(self, values)
  self.values = values
end

-- Wakes those who wait now, with these values.
function Event:pulse(...)
  wake_all(self, pack(...))
end

function Event:clear()
  self.values = nil
end

function Event:is_set()
  return self.values ~= nil
end

function Event:wait()
  enter()
  if self.values ~= nil then return unpack(self.values) end
  self.lot = self.lot or new_lot()
  return unpack(self.lot:park())
end

function Event:__tostring()
  return describe(self, "event", self.values ~= nil and "set" or "not set")
end

-- ---- condition ------------------------------------------------------------------------

local Condition = class "Condition"

function sync.condition(lock)
  if lock ~= nil and not core.is_lock(lock) then
    error("bad argument #1 to 'condition' (a lock expected)", 2)
  end
  local self = { lock = lock or core.lock(), lot = new_lot() }
  -- Notified and cancelled: the notification goes to the next in line.
  self.refuse = function() self.lot:wake() end
  return setmetatable(self, Condition)
end

-- Returns the ticket of who holds it.
local function check_held(self)
  local ticket = core.ticket(self.lock)
  if not ticket then error("the lock of the condition is not held", 3) end
  return ticket
end

function Condition:acquire()
  return self.lock:acquire()
end

function Condition:release()
  check_held(self)
  self.lock:release()
end

-- However it ends, the lock is held again afterwards, by the same guard.  Who has been
-- notified and is cancelled while he waits for the lock returns all the same: what he was
-- told is his now, and the cancellation comes with the next call that suspends.
function Condition:wait()
  check_held(self)
  enter()
  local lock, ticket = self.lock, check_held(self)
  lock:release()
  local ok, err = pcall(self.lot.park, self.lot, self.refuse)
  if not core.try_take_back(lock, ticket) then shield(core.take_back, lock, ticket) end
  if not ok then error(err, 0) end
end

function Condition:wait_for(predicate)
  check_held(self)
  enter()
  local value = predicate()
  while not value do
    self:wait()
    value = predicate()
  end
  return value
end

function Condition:notify(n)
  check_held(self)
  self.lot:wake(n == nil and 1 or check_count(n, 0, 1, "notify"))
end

function Condition:notify_all()
  check_held(self)
  self.lot:wake(EVERYBODY)
end

function Condition:__tostring()
  return describe(self, "condition", self.lock:locked() and "held" or "free")
end

-- ---- semaphore ------------------------------------------------------------------------

function sync.semaphore(n, max)
  n = check_count(n, 0, 1, "semaphore")
  if max ~= nil then max = check_count(max, math.max(n, 1), 2, "semaphore") end
  return core.semaphore(n, max)
end

-- ---- barrier --------------------------------------------------------------------------

local Barrier = class "Barrier"

function sync.barrier(n)
  n = check_count(n, 1, 1, "barrier")
  return setmetatable({ parties = n, lot = new_lot(), aborted = false }, Barrier)
end

-- The last to arrive numbers the others in their order and lets all go.
function Barrier:wait()
  enter()
  local lot, parties = self.lot, self.parties
  local granted = self.aborted and "the barrier was aborted" or parties
  if granted == parties and lot:count() + 1 < parties then
    granted = lot:park(nil, false) -- a place for the index: making room may fail
  elseif granted == parties then
    for index = 1, parties - 1 do lot:wake(1, index) end
  end
  if type(granted) == "string" then return core.fail("ECANCELED", granted) end
  return granted
end

-- Those who wait get nil, "ECANCELED: ...", "ECANCELED", and so do all until reset.
function Barrier:abort()
  self.aborted = true
  self.lot:wake(EVERYBODY, "the barrier was aborted")
end

-- The same for those who wait now; those who come later begin anew.
function Barrier:reset()
  self.aborted = false
  self.lot:wake(EVERYBODY, "the barrier was reset")
end

function Barrier:__tostring()
  return describe(self, "barrier", self.aborted and "aborted" or "for " .. self.parties)
end

return sync
