-- luacheck: globals fails_at failed
-- What tasks wait on each other with, when memory runs out at each allocation in turn: a
-- call that has raised for want of memory can be made again, and then nobody is left
-- waiting, nothing is lost and nobody gets it twice.
local lull = require "lull"

-- Runs scenario(call) on a loop of its own, call(fn, ...) being fn with the n-th
-- allocation failing in it, and once more if it did; until no call makes so many.
local function each(name, scenario)
  local n = 0
  local reached
  repeat
    n, reached = n + 1, false
    local function call(fn, ...)
      fails_at(n)
      local results = table.pack(pcall(fn, ...))
      reached = reached or failed()
      fails_at(0)
      if results[1] then return table.unpack(results, 2, results.n) end
      assert(tostring(results[2]):find "not enough memory", results[2])
      return fn(...)
    end
    local loop = lull.new_loop {clock = "virtual"}
    local ok, err = xpcall(loop.run, debug.traceback, loop, scenario, call)
    fails_at(0)
    loop:close()
    assert(ok, ("%s, allocation %d: %s"):format(name, n, err))
  until not reached
end

-- n tasks that wait in fn, and what each has come back with.
local function waiters(n, fn)
  local tasks, log = {}, {}
  for i = 1, n do
    tasks[i] = lull.spawn(function()
      local results = table.pack(fn(i))
      log[i] = results
    end)
  end
  lull.sleep(0)
  return tasks, log
end

local function await_all(tasks)
  for _, task in ipairs(tasks) do task:await() end
end

each("a lock", function(call)
  local lock = lull.lock()
  call(lock.acquire, lock)
  local tasks = waiters(3, function()
    local _ <close> = lock:acquire()
    lull.sleep(0)
  end)
  call(lock.release, lock)
  await_all(tasks)
  assert(not lock:locked())
end)

each("a lock that is waited for", function(call)
  local lock = lull.lock()
  lock:acquire()
  local task = lull.spawn(function()
    local _ <close> = call(lock.acquire, lock)
  end)
  lull.sleep(0)
  fails_at(0)
  lock:release()
  task:await()
  assert(not lock:locked())
end)

each("an event", function(call)
  local event = lull.event()
  for _, method in ipairs {"pulse", "set"} do
    local tasks, log = waiters(3, function() return event:wait() end)
    call(event[method], event, "tea", "five")
    await_all(tasks)
    for i = 1, 3 do assert(log[i][1] == "tea" and log[i][2] == "five") end
  end
end)

each("a condition", function(call)
  local condition = lull.condition()
  local tasks = waiters(3, function()
    local _ <close> = condition:acquire()
    condition:wait()
  end)
  local _ <close> = condition:acquire()
  call(condition.notify_all, condition)
  condition:release()
  await_all(tasks)
end)

each("a semaphore", function(call)
  local semaphore = lull.semaphore(0, 5)
  local tasks = waiters(3, function() semaphore:acquire() end)
  call(semaphore.release, semaphore, 4)
  await_all(tasks)
  assert(semaphore:value() >= 1)
end)

each("a barrier", function(call)
  local barrier = lull.barrier(3)
  local tasks, log = waiters(2, function() return barrier:wait() end)
  assert(call(barrier.wait, barrier) == 3)
  await_all(tasks)
  assert(log[1][1] == 1 and log[2][1] == 2)
  tasks, log = waiters(2, function() return barrier:wait() end)
  call(barrier.abort, barrier)
  await_all(tasks)
  assert(log[1][3] == "ECANCELED" and log[2][3] == "ECANCELED")
end)

for _, make in ipairs {"queue", "lifo_queue", "priority_queue"} do
  each(make, function(call)
    local q = lull[make](2)
    for v = 1, 2 do call(q.put, q, v) end
    local tasks, log = waiters(2, function(i) return q:put(i + 2) end)
    local sum = 0
    for _ = 1, 4 do sum = sum + (call(q.get, q)) end
    assert(sum == 10)
    await_all(tasks)
    assert(log[1][1] and log[2][1] and q:empty())
    tasks, log = waiters(2, function() return q:get() end)
    call(q.put, q, "item")
    call(q.close, q)
    await_all(tasks)
    assert(log[1][1] == "item" and log[2][1] == nil)
  end)
end

each("task locals", function(call)
  local a, b = lull.task_local(1), lull.task_local(2)
  a:set "a"
  assert(call(b.set, b, "b") == 2)
  local task = call(lull.spawn, function() return a:get(), b:get() end)
  local x, y = task:await()
  assert(x == "a" and y == "b")
end)
