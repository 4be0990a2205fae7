-- Scopes against a model of them: random programs of scopes, shields, nested coroutines
-- and generators, cancelled anywhere at any time.  The model knows of each scope its
-- parent, whether it was cancelled and whether it is a shield: so how a sleep must end.
local helper = require "spec.helper"
local lull = helper.lull

local SEEDS, TASKS, DEPTH = 100, 10, 5

local random = math.random

-- The scope whose cancellation holds for m: the outermost that is not shielded from.
local function culprit(m)
  local found
  while m do
    found = m.cancelled and m or found
    m = not m.shield and m.parent or nil
  end
  return found
end

local function cancel(m)
  if m.scope and not m.cancelled and not m.left then
    m.cancelled = true
    m.scope:cancel(m) -- the reason tells which one it was
  end
end

local actions = {}

local function go(m, depth)
  for _ = 1, random(4) do
    local action = depth > 0 and actions[random(#actions)] or actions[1]
    action(m, depth - 1)
  end
end

-- A sleep ends well when nothing holds for it, before or after.
local function sleep(m)
  local before = culprit(m)
  local ok, err = pcall(lull.sleep, random(2) == 1 and 0 or 0.1)
  local after = culprit(m)
  assert.equal(after == nil, ok)
  assert.is_true(not (before and ok))
  if not ok then
    assert.is_true(lull.is_cancelled(err))
    assert.equal(after, err.reason)
    if random(2) == 1 then error(err, 0) end
  end
end

-- A scope ends its own cancellation and no other.
local function scope(m, depth)
  local n = {parent = m}
  local ok, first, _, code = pcall(lull.scope, function(s)
    n.scope = s
    if random(3) == 1 then cancel(n) end
    if random(3) == 1 then lull.loop():call_later(random(0, 3) / 20, cancel, n) end
    go(n, depth)
    return "finished"
  end)
  n.left = true
  if not ok then
    assert.is_true(lull.is_cancelled(first), tostring(first))
    assert.not_equal(n, first.reason)
    error(first, 0)
  elseif first == nil then
    assert.is_true(n.cancelled)
    assert.equal("ECANCELED", code)
  else
    assert.equal("finished", first)
  end
end

local function shield(m, depth)
  lull.shield(go, {parent = m, shield = true}, depth)
end

local function cancel_ancestor(m)
  for _ = 1, random(0, 4) do m = m.parent or m end
  cancel(m)
end

local function nested(m, depth)
  coroutine.wrap(go)(m, depth)
end

-- While the generator is paused its scope does not bind the body of the loop.
local function generator(m, depth)
  local function generate()
    local n = {parent = m}
    local first = lull.scope(function(s)
      n.scope = s
      if random(3) == 1 then cancel(n) end
      coroutine.yield(1)
      go(n, depth)
      return "finished"
    end)
    n.left = true
    assert.is_true(first == "finished" or n.cancelled)
  end
  for _ in lull.generator(generate) do
    go(m, depth)
    if random(3) == 1 then break end
  end
end

actions = {
  sleep, sleep, sleep, scope, scope, shield, cancel_ancestor, nested, generator,
}

local function program()
  for _ = 1, TASKS do
    go({}, DEPTH)
    assert.equal(1, #lull.tasks())
  end
end

describe("scopes agree with their model", function()
  it("in random programs", function()
    for seed = 1, SEEDS do
      math.randomseed(seed)
      local ok, err = pcall(helper.run, program, {guard = false, seed = seed})
      assert.is_true(ok, "seed " .. seed .. ": " .. tostring(err))
    end
  end)
end)
