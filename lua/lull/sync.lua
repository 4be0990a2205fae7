-- What tasks wait on each other with: lock, event, condition, semaphore, barrier.  The
-- line of those who wait is a lot (lotlib.c); here is what they are granted.
--
-- All hand over: who releases gives what he had to the first in line, who need not look
-- again, so nobody can come in between, and nothing is left for a wake-up to miss.  Who
-- was granted something and is cancelled before he runs refuses it: it goes to the next.
-- What must not fail after a wait, as making a guard, is done before it.
local class = require "lull.class"
local core = require "lull.core"

local enter, new_lot, shield = core.enter, core.lot, core.shield
local EVERYBODY = math.maxinteger

local sync = {}

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

-- ---- lock -----------------------------------------------------------------------------

-- guard: nil while free; the guard of the holder; true from the release that hands the
-- lock over until the next in line runs.
local Lock = class "Lock"
local Guard = class "Guard"

local function hand_over(lock)
  local lot = lock.lot
  if lot and lot:wake() == 1 then
    lock.guard = true
  else
    lock.guard = nil
  end
end

local function wait_for_lock(lock)
  if not lock.lot then
    lock.refuse = function() hand_over(lock) end
    lock.lot = new_lot()
  end
  lock.lot:park(lock.refuse)
end

function sync.lock()
  return setmetatable({}, Lock)
end

function Lock:acquire()
  enter()
  local guard = setmetatable({ lock = self }, Guard)
  if self.guard then wait_for_lock(self) end
  self.guard = guard
  return guard
end

function Lock:try_acquire()
  if self.guard then return nil end
  self.guard = setmetatable({ lock = self }, Guard)
  return self.guard
end

function Lock:release()
  if type(self.guard) ~= "table" then error("the lock is not held", 2) end
  hand_over(self)
end

function Lock:locked()
  return self.guard ~= nil
end

function Lock:__tostring()
  return describe(self, "lock", self.guard and "held" or "free")
end

-- Releases the lock, if it is still this guard that holds it.
function Guard:close()
  if self.lock.guard == self then hand_over(self.lock) end
end
Guard.__close = Guard.close

function Guard:__tostring()
  return self.lock.guard == self and "guard (holds)" or "guard (released)"
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
  if lock ~= nil and getmetatable(lock) ~= Lock then
    error("bad argument #1 to 'condition' (a lock expected)", 2)
  end
  local self = { lock = lock or sync.lock(), lot = new_lot() }
  -- Notified and cancelled: the notification goes to the next in line.
  self.refuse = function() self.lot:wake() end
  return setmetatable(self, Condition)
end

local function check_held(self, level)
  if type(self.lock.guard) ~= "table" then
    error("the lock of the condition is not held", level or 3)
  end
end

function Condition:acquire()
  return self.lock:acquire()
end

function Condition:release()
  check_held(self)
  hand_over(self.lock)
end

-- Takes the lock for a guard that has held it before.
local function take_back(lock, guard)
  enter()
  if lock.guard then wait_for_lock(lock) end
  lock.guard = guard
end

-- However it ends, the lock is held again afterwards, by the same guard.  Who has been
-- notified and is cancelled while he waits for the lock returns all the same: what he was
-- told is his now, and the cancellation comes with the next call that suspends.
function Condition:wait()
  check_held(self)
  enter()
  local lock, guard = self.lock, self.lock.guard
  hand_over(lock)
  local ok, err = pcall(self.lot.park, self.lot, self.refuse)
  if lock.guard then
    shield(take_back, lock, guard)
  else
    lock.guard = guard
  end
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
  return describe(self, "condition", self.lock.guard and "held" or "free")
end

-- ---- semaphore ------------------------------------------------------------------------

-- free: permits that nobody has; while anybody waits there are none.
local Semaphore = class "Semaphore"
local Permit = class "Permit"

function sync.semaphore(n, max)
  n = check_count(n, 0, 1, "semaphore")
  if max ~= nil then max = check_count(max, math.max(n, 1), 2, "semaphore") end
  return setmetatable({ free = n, max = max }, Semaphore)
end

-- n permits to those who wait, the rest to those who will come.
local function give(semaphore, n)
  if semaphore.lot then n = n - semaphore.lot:wake(n) end
  semaphore.free = semaphore.free + n
end

local function wait_for_permit(semaphore)
  if not semaphore.lot then
    semaphore.refuse = function() give(semaphore, 1) end
    semaphore.lot = new_lot()
  end
  semaphore.lot:park(semaphore.refuse)
end

function Semaphore:acquire()
  enter()
  local permit = setmetatable({ semaphore = self }, Permit)
  if self.free > 0 then
    self.free = self.free - 1
  else
    wait_for_permit(self)
  end
  return permit
end

function Semaphore:try_acquire()
  if self.free == 0 then return nil end
  local permit = setmetatable({ semaphore = self }, Permit)
  self.free = self.free - 1
  return permit
end

function Semaphore:release(n)
  n = n == nil and 1 or check_count(n, 0, 1, "release")
  if self.max and self.free + n > self.max then
    error(("the semaphore would have more than %d permits"):format(self.max), 2)
  end
  give(self, n)
end

function Semaphore:value()
  return self.free
end

function Semaphore:__tostring()
  local of = self.max and " of " .. self.max or ""
  return describe(self, "semaphore", ("%d%s free"):format(self.free, of))
end

-- Gives its permit back, once.
function Permit:close()
  local semaphore = self.semaphore
  self.semaphore = nil
  if semaphore then semaphore:release() end
end
Permit.__close = Permit.close

function Permit:__tostring()
  return self.semaphore and "permit (held)" or "permit (released)"
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
