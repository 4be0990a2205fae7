-- Scenarios for spec/sweep/check.lua: calls on the pool, threads, and what goes between
-- them and their owner.  Whoever is cancelled, every thread comes to its end, and every
-- message that was sent has been received or waits to be.  What the threads do meanwhile
-- is theirs, so a run is not the same each time; what must hold is.
local lull = require "lull"
local thread = require "lull.thread"
local crew = require "spec.sweep.crew"
local race = lull.race -- loads its module, before anything is counted

local spawn_each, await_all, at_last = crew.spawn_each, crew.await_all, crew.at_last

-- ---- calls ----------------------------------------------------------------------------

local function double(n)
  return n * 2, { n }
end

local function calls(case)
  local answered = 0
  case:finally(function() assert(case.cancelled or answered == 4) end)
  await_all(spawn_each(4, function(i)
    local twice, list = thread.call(double, i)
    assert(twice == 2 * i and list[1] == i)
    answered = answered + 1
  end))
end

local function failing_calls(case)
  local failed = 0
  case:finally(function() assert(case.cancelled or failed == 3) end)
  await_all(spawn_each(3, function(i)
    local ok, err = lull.pcall(thread.call, function(n) error { n } end, i)
    assert(not ok and (lull.is_cancelled(err) or err[1] == i))
    failed = failed + 1
  end))
end

local function race_of_calls()
  race(function() return thread.call(double, 1) end, function()
    thread.call(function() while true do local _ = {} end end)
  end)
end

-- ---- threads --------------------------------------------------------------------------

local function echo()
  local inner = require "lull.thread"
  for value in inner.receive do inner.send(value) end
end

local function conversation(case)
  local sent, got = 0, 0
  local t <close> = thread.spawn(echo)
  case:finally(function()
    assert(case.cancelled or got == 6)
    assert(got <= sent)
  end)
  await_all(spawn_each(3, function(i)
    for round = 1, 2 do
      if t:send(i * 10 + round) then sent = sent + 1 end
    end
  end))
  t:finish()
  await_all(spawn_each(2, function()
    for _ in t.receive, t do got = got + 1 end
  end))
end

-- Nothing that was sent is lost: what nobody has received is still there afterwards.
local function nothing_is_lost(case)
  local sent, got = 0, 0
  local t <close> = thread.spawn(echo)
  local _ <close> = at_last(function()
    t:finish()
    for _ in t.receive, t do got = got + 1 end
    t:close() -- it may be about to be cancelled
    assert(got == sent or t:cancelled(), got .. " of " .. sent .. " were received")
  end)
  case:finally(function() assert(case.cancelled or sent == 4) end)
  local receivers = spawn_each(4, function()
    if t:receive() then got = got + 1 end
  end)
  await_all(spawn_each(2, function(i)
    for round = 1, 2 do
      if t:send(i + round) then sent = sent + 1 end
    end
  end))
  receivers[1]:cancel()
  t:finish()
  await_all(receivers)
end

local function awaited_by_many(case)
  local awaited = 0
  local t <close> = thread.spawn(function(n) return n end, 5)
  case:finally(function()
    assert(case.cancelled or awaited == 3)
    assert(t:done() and tostring(t):find "ended", tostring(t))
  end)
  await_all(spawn_each(3, function()
    assert(lull.await(t) == 5)
    awaited = awaited + 1
  end))
end

local function closed_at_work(case)
  local t <close> = thread.spawn(function() while true do local _ = {} end end)
  case:finally(function() assert(t:done() and tostring(t):find "ended") end)
  local waiting = lull.spawn(t.receive, t)
  lull.sleep(0)
  t:close()
  pcall(waiting.await, waiting)
end

local function failing_thread(case)
  local t <close> = thread.spawn(function() error("broken", 0) end)
  case:finally(function() assert(t:done()) end)
  local ok, err = lull.pcall(t.await, t)
  assert(not ok and (err == "broken" or tostring(err):find "ECANCELED"))
end

return {
  { "calls", calls },
  { "calls that fail", failing_calls },
  { "a race of calls", race_of_calls },
  { "a conversation with a thread", conversation },
  { "a conversation in which nothing is lost", nothing_is_lost },
  { "a thread awaited by many", awaited_by_many },
  { "a thread closed at its work", closed_at_work },
  { "a thread that fails", failing_thread },
}
