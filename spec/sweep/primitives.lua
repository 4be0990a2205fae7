-- Scenarios for spec/sweep/check.lua: what tasks wait on each other with.  Each is run
-- undisturbed, cancelled at every point there is, and in random orders; so each must come
-- to its end whoever is cancelled, and says by case:always and case:finally what holds.
local lull = require "lull"
local crew = require "spec.sweep.crew"

local spawn_each, await_all = crew.spawn_each, crew.await_all

-- Counts who is inside of something, whoever leaves how.
local function new_room(case, limit)
  local room = {inside = 0, entered = 0}
  case:always(function() assert(room.inside <= limit, "too many are inside") end)
  case:finally(function() assert(room.inside == 0, "somebody is still inside") end)
  function room.enter()
    room.inside, room.entered = room.inside + 1, room.entered + 1
    return lull.defer(function() room.inside = room.inside - 1 end)
  end
  return room
end

local function is_idle(object)
  assert(not tostring(object):find "wait", tostring(object))
end

-- ---- locks ----------------------------------------------------------------------------

local function lock_with_guards(case)
  local lock, room, arrived, last = lull.lock(), new_room(case, 1), 0, 0
  case:finally(function()
    assert(not lock:locked())
    is_idle(lock)
    assert(case.cancelled or room.entered == 8)
  end)
  spawn_each(4, function(i)
    for round = 1, 2 do
      if i % 2 == round % 2 then lull.sleep(0) end
      arrived = arrived + 1
      local me = arrived
      local _ <close> = lock:acquire()
      local _ <close> = room.enter()
      assert(me > last, "overtaken")
      last = me
      lull.sleep(i % 3)
    end
  end)
end

local function lock_within_time(case)
  local lock, room = lull.lock(), new_room(case, 1)
  case:finally(function() assert(not lock:locked()) is_idle(lock) end)
  spawn_each(4, function(i)
    for round = 1, 3 do
      lull.timeout((i + round) % 3, function()
        local _ <close> = lock:acquire()
        local _ <close> = room.enter()
        lull.sleep(1)
      end)
    end
  end)
end

local function lock_by_hand(case)
  local lock, room = lull.lock(), new_room(case, 1)
  case:finally(function() assert(not lock:locked()) is_idle(lock) end)
  spawn_each(3, function(i)
    lock:acquire()
    pcall(function()
      local _ <close> = room.enter()
      lull.sleep(0)
    end)
    lock:release()
    if lock:try_acquire() then
      local _ <close> = room.enter()
      lock:release()
    end
    lull.sleep(i % 2)
  end)
end

-- ---- events ---------------------------------------------------------------------------

local function event_set(case)
  local event, woken, waiting, due = lull.event(), 0, 0, 0
  local tasks = spawn_each(4, function(i)
    if i > 2 then lull.sleep(i) end
    waiting = waiting + 1
    local _ <close> = lull.defer(function() waiting = waiting - 1 end)
    local a, b = event:wait()
    woken = woken + 1
    assert(a == "tea" and b == i % 1)
  end)
  tasks[5] = lull.spawn(function()
    lull.sleep(3)
    due = waiting
    event:set("tea", 0)
    event:clear()
    lull.sleep(2)
  end)
  tasks[5]:add_done_callback(function() event:set("tea", 0) end)
  await_all(tasks)
  assert(case.cancelled or woken == 4 and due > 0)
  case:finally(function() is_idle(event) end)
end

local function event_pulse(case)
  local event, got, missed = lull.event(), {}, 0
  local listeners = spawn_each(3, function(i)
    got[i] = {}
    while true do
      local n = event:wait()
      if not n then return end
      table.insert(got[i], n)
    end
  end)
  local pulser = lull.spawn(function()
    for n = 1, 3 do
      lull.sleep(1)
      event:pulse(n)
      event:pulse(n + 100) -- nobody can be back already
      missed = missed + 1
    end
  end)
  pcall(pulser.await, pulser)
  lull.sleep(1)
  event:pulse(nil)
  await_all(listeners)
  case:finally(function()
    is_idle(event)
    for _, list in pairs(got) do
      for n, value in ipairs(list) do assert(n == value) end
      assert(case.cancelled or #list == missed)
    end
  end)
end

-- ---- conditions -----------------------------------------------------------------------

-- One token for each who waits, one notification for each token: a lost one shows as a
-- deadlock.
local function condition_tokens(case)
  local condition, tokens, closed, taken = lull.condition(), 0, false, 0
  local room = new_room(case, 1)
  local function take()
    local _ <close> = condition:acquire()
    condition:wait_for(function()
      local _ <close> = room.enter()
      return tokens > 0 or closed
    end)
    if tokens > 0 then tokens, taken = tokens - 1, taken + 1 end
  end
  local takers = spawn_each(4, take)
  local giver = lull.spawn(function()
    for i = 1, 3 do
      lull.sleep(i % 2)
      local _ <close> = condition:acquire()
      tokens = tokens + 1
      condition:notify()
      lull.sleep(i % 2)
    end
  end)
  pcall(giver.await, giver)
  lull.sleep(1)
  assert(tokens == 0 or case.cancelled, "a token was not taken")
  local waiting = 0
  for _, task in ipairs(takers) do waiting = waiting + (task:done() and 0 or 1) end
  assert(tokens == 0 or waiting == 0, "a notification was lost")
  local _ <close> = condition:acquire()
  closed = true
  condition:notify_all()
  condition:release()
  await_all(takers)
  case:finally(function()
    assert(not condition.lock:locked())
    is_idle(condition)
    assert(case.cancelled or taken == 3 and tokens == 0)
  end)
end

local function condition_within_time(case)
  local condition, room = lull.condition(), new_room(case, 1)
  case:finally(function() assert(not condition.lock:locked()) is_idle(condition) end)
  spawn_each(3, function(i)
    local _ <close> = condition:acquire()
    for round = 1, 2 do
      lull.timeout((i + round) % 3, condition.wait, condition)
      local _ <close> = room.enter()
      assert(condition.lock:locked())
      lull.sleep(0)
      condition:notify()
    end
  end)
end

-- ---- semaphores -----------------------------------------------------------------------

local function semaphore_with_guards(case)
  local semaphore, room = lull.semaphore(2, 2), new_room(case, 2)
  case:finally(function()
    assert(semaphore:value() == 2)
    is_idle(semaphore)
    assert(case.cancelled or room.entered == 10)
  end)
  spawn_each(5, function(i)
    for round = 1, 2 do
      local _ <close> = semaphore:acquire()
      local _ <close> = room.enter()
      lull.sleep((i + round) % 3)
    end
  end)
end

local function semaphore_within_time(case)
  local semaphore, room = lull.semaphore(2), new_room(case, 2)
  case:finally(function() assert(semaphore:value() == 2) is_idle(semaphore) end)
  spawn_each(5, function(i)
    for round = 1, 2 do
      lull.timeout((i + round) % 3, function()
        local _ <close> = semaphore:acquire()
        local _ <close> = room.enter()
        lull.sleep(1)
      end)
      local permit <close> = semaphore:try_acquire()
      if permit then
        local _ <close> = room.enter()
        lull.sleep(0)
      end
    end
  end)
end

-- Permits that one makes and others use up.
local function semaphore_as_counter(case)
  local semaphore, used = lull.semaphore(0), 0
  local users = spawn_each(4, function()
    semaphore:acquire()
    used = used + 1
  end)
  local maker = lull.spawn(function()
    for n = 1, 2 do
      lull.sleep(n)
      semaphore:release(2)
    end
  end)
  maker:add_done_callback(function()
    if maker:cancelled() then semaphore:release(4) end
  end)
  await_all(users)
  case:finally(function()
    is_idle(semaphore)
    assert(case.cancelled or used == 4 and semaphore:value() == 0)
  end)
end

-- ---- barriers -------------------------------------------------------------------------

local function barrier_rounds(case)
  local barrier, rounds, ended = lull.barrier(3), {}, 0
  case:finally(function()
    is_idle(barrier)
    assert(case.cancelled or ended == 3)
  end)
  local tasks = spawn_each(3, function(i)
    for round = 1, 3 do
      lull.sleep((i + round) % 3)
      local index = barrier:wait()
      if not index then return end
      rounds[round] = rounds[round] or {}
      assert(index >= 1 and index <= 3 and not rounds[round][index])
      rounds[round][index] = true
    end
    ended = ended + 1
  end)
  for _, task in ipairs(tasks) do
    task:add_done_callback(function()
      if task:cancelled() then barrier:abort() end
    end)
  end
end

local function barrier_reset(case)
  local barrier, codes = lull.barrier(3), 0
  local tasks = spawn_each(2, function()
    for _ = 1, 2 do
      local index, _, code = barrier:wait()
      assert(index or code == "ECANCELED")
      if code then codes = codes + 1 end
    end
  end)
  for _ = 1, 2 do
    lull.sleep(1)
    barrier:reset()
  end
  barrier:abort()
  await_all(tasks)
  assert(select(3, barrier:wait()) == "ECANCELED")
  case:finally(function()
    is_idle(barrier)
    assert(case.cancelled or codes == 4)
  end)
end

-- ---- queues ---------------------------------------------------------------------------

-- Producers and consumers; when the last of a kind has ended the queue is closed.  Every
-- item that was accepted is got once, or still there; of one producer in order.
local function queue_of(make, maxsize, opts)
  return function(case)
    local q, got, accepted, last = lull[make](maxsize), {}, {}, {}
    local closed = false

    local function note(v)
      assert(not got[v], "an item was doubled")
      got[v] = true
      if not opts.ordered then return end
      local producer = v // 100
      assert(v > (last[producer] or 0), "items changed places")
      last[producer] = v
    end

    local function produce(i)
      for v = i * 100 + 1, i * 100 + 3 do
        if q:put(v) then accepted[v] = true end
        lull.sleep((i + v) % 2)
      end
    end

    local function consume(i)
      for v in q:items() do
        note(v)
        if i == 1 then lull.sleep(0) end
      end
    end

    local function consume_impatiently(i)
      while not (closed and q:empty()) do
        local v = lull.timeout(i - 1, q.get, q)
        if v then note(v) else lull.sleep(1) end
      end
    end

    local function start(n, fn)
      local tasks, left = spawn_each(n, fn), n
      for _, task in ipairs(tasks) do
        task:add_done_callback(function()
          left = left - 1
          if left == 0 then
            closed = true
            q:close()
          end
        end)
      end
      return tasks
    end
    local producers = opts.producers_first and start(3, produce)
    local consumers = start(2, opts.impatient and consume_impatiently or consume)
    await_all(producers or start(3, produce))
    await_all(consumers)

    case:finally(function()
      is_idle(q)
      while not q:empty() do note(q:try_get()) end
      for v in pairs(accepted) do assert(got[v], "an item was lost") end
      for v in pairs(got) do assert(accepted[v], "an item was refused and came") end
    end)
  end
end

local function queue_join(case)
  local q, done = lull.queue(2), 0
  local workers = spawn_each(2, function()
    for _ in q:items() do
      local _ <close> = lull.defer(function() done = done + 1 q:task_done() end)
      lull.sleep(1)
    end
  end)
  local left = #workers
  local function work_without_them()
    while left == 0 and q:try_get() do q:task_done() end
  end
  for _, worker in ipairs(workers) do
    worker:add_done_callback(function()
      left = left - 1
      work_without_them()
    end)
  end
  local joined = false
  local joiner = lull.spawn(function()
    lull.sleep(0)
    q:join()
    assert(done == 5 or case.cancelled)
    joined = true
  end)
  for n = 1, 5 do q:put(n) end
  work_without_them()
  q:join()
  pcall(joiner.await, joiner)
  q:close()
  await_all(workers)
  case:finally(function()
    is_idle(q)
    assert(case.cancelled or joined)
  end)
end

-- ---- task locals ----------------------------------------------------------------------

local function locals(case)
  local var = lull.task_local "nobody"
  case:finally(function() assert(var:get() == "nobody") end)
  var:set "main"
  spawn_each(3, function(i)
    assert(var:get() == "main" and var:set(i) == "main")
    lull.sleep(i % 2)
    lull.spawn(function()
      assert(var:get() == i)
      var:set "child"
      lull.sleep(0)
      assert(var:get() == "child")
    end)
    lull.sleep(0)
    assert(var:get() == i)
  end)
end

return {
  {"a lock with guards", lock_with_guards},
  {"a lock waited for within a time", lock_within_time},
  {"a lock released by hand", lock_by_hand},
  {"an event set and cleared", event_set},
  {"an event pulsed", event_pulse},
  {"a condition and tokens", condition_tokens},
  {"a condition waited for within a time", condition_within_time},
  {"a semaphore with guards", semaphore_with_guards},
  {"a semaphore waited for within a time", semaphore_within_time},
  {"a semaphore as a counter", semaphore_as_counter},
  {"a barrier in rounds", barrier_rounds},
  {"a barrier reset", barrier_reset},
  {"a queue", queue_of("queue", 0, {ordered = true})},
  {"a queue of one", queue_of("queue", 1, {ordered = true})},
  {"a queue of two, producers first", queue_of("queue", 2,
    {ordered = true, producers_first = true})},
  {"a queue waited for within a time", queue_of("queue", 1,
    {ordered = true, impatient = true})},
  {"a priority queue", queue_of("priority_queue", 2, {})},
  {"a lifo queue", queue_of("lifo_queue", 2, {producers_first = true})},
  {"a queue that is joined", queue_join},
  {"task locals", locals},
}
