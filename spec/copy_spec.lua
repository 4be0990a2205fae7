-- What is copied between threads, and how what cannot be is refused.  core.copy packs its
-- arguments and unpacks them again, in one state.
local core = require "lull.core"
local helper = require "spec.helper"
local lull = require "lull"
local thread = require "lull.thread"

local copy = core.copy

-- Do a and b have the same shape?  Tables that are one in a must be one in b, and only
-- those; keys that are tables are left out.
local function same(a, b, seen)
  seen = seen or {there = {}, back = {}}
  if type(a) ~= "table" or type(b) ~= "table" then
    return math.type(a) == math.type(b) and (a == b or (a ~= a and b ~= b))
  end
  if seen.there[a] or seen.back[b] then
    return seen.there[a] == b and seen.back[b] == a
  end
  seen.there[a], seen.back[b] = b, a
  local count = 0
  for key, value in pairs(a) do
    if type(key) ~= "table" then
      if not same(value, b[key], seen) then return false end
      count = count + 1
    end
  end
  for key in pairs(b) do
    if type(key) ~= "table" then count = count - 1 end
  end
  return count == 0
end

local numbers = {
  0, 1, -1, 0.0, 1.5, 1e300, 1 / 0, -1 / 0, math.pi, math.maxinteger, math.mininteger,
  2^53, 255, 256,
}

-- A random value; tables come from a pool, so that they are shared and lead back.
local function random_value(pool, depth)
  local kind = math.random(depth > 0 and 8 or 5)
  if kind == 1 then return math.random() < 0.5 end
  if kind == 2 then return numbers[math.random(#numbers)] end
  if kind == 3 then return math.random(0) end
  if kind == 4 then return ("x\0y"):rep(math.random(0, 40)) end
  if kind == 5 then return ("long"):rep(math.random(60, 70)) end
  if kind == 6 and #pool > 0 then return pool[math.random(#pool)] end
  local t = {}
  pool[#pool + 1] = t
  for i = 1, math.random(0, 5) do t[i] = random_value(pool, depth - 1) end
  for _ = 1, math.random(0, 5) do
    local key = random_value(pool, 0)
    if key == key then t[key] = random_value(pool, depth - 1) end
  end
  return t
end

describe("copying", function()
  it("keeps numbers, strings, booleans and nil as they are", function()
    for _, n in ipairs(numbers) do
      assert.equal(n, (copy(n)))
      assert.equal(math.type(n), math.type((copy(n))))
    end
    assert.equal("-0.0", tostring((copy(-0.0))))
    assert.is_true(copy(0 / 0) ~= copy(0 / 0))
    for _, s in ipairs {"", "\0", ("x"):rep(255), ("x"):rep(256), ("\0y"):rep(100000)} do
      assert.is_true(s == copy(s))
    end
    assert.same(table.pack(nil, false, true, nil),
      table.pack(copy(nil, false, true, nil)))
    assert.equal(0, select("#", copy()))
  end)

  it("keeps the shape of tables", function()
    local shared = {1, 2, n = 2}
    local t = {shared, shared, [10] = "sparse", [1.5] = true, [true] = shared}
    t.self, t.deep = t, {{{t}}}
    local c, d = copy(t, shared)
    assert.is_true(same(t, c))
    assert.is_true(c ~= t and c.self == c and c.deep[1][1][1] == c)
    assert.is_true(c[1] == c[2] and c[1] == d and d ~= shared)
  end)

  it("keeps tables that are keys", function()
    local key = {"key"}
    local t = {[key] = "value", key = key}
    t[t] = t
    local c = copy(t)
    assert.equal("value", c[c.key])
    assert.equal(c, c[c])
  end)

  it("keeps random values, a thousand times", function()
    math.randomseed(4)
    for i = 1, 1000 do
      local value = random_value({}, 4)
      assert.is_true(same(value, (copy(value))), "value " .. i)
    end
  end)

  it("does not recurse, however deep tables are nested", function()
    local top = {}
    local t = top
    for i = 1, 200000 do
      t[1] = {i}
      t = t[1]
    end
    local c, depth = copy(top), 0
    while type(c[1]) == "table" do c, depth = c[1], depth + 1 end
    assert.equal(200000, depth)
  end)

  it("does not repeat a long string for every place that it is in", function()
    local text, list = ("x"):rep(1 << 20), {}
    for i = 1, 1000 do list[i] = text end
    collectgarbage()
    local c = copy(list)
    collectgarbage()
    assert.is_true(collectgarbage "count" < 100 * 1024)
    assert.is_true(c[1] == text and c[1000] == text)
  end)

  it("gives a state for itself what another had", function()
    helper.run(function()
      local function echo(...) return ... end
      local pool = {}
      for _ = 1, 20 do
        local value = random_value(pool, 3)
        assert.is_true(same(value, (thread.call(echo, value))))
      end
    end, {real = true})
  end)
end)

describe("what cannot be copied", function()
  local function refused(message, ...)
    local ok, err = pcall(copy, ...)
    assert.is_false(ok)
    assert.equal(message, (err:gsub("^[^ ]-:%d+: ", "")))
  end

  it("is refused with its kind and its place", function()
    refused("cannot copy a function (argument 1)", print)
    refused("cannot copy a coroutine (argument 3)", 1, {}, coroutine.create(print))
    refused("cannot copy a FILE* (argument 2, field 'out')", 1, {out = io.stdout})
    refused("cannot copy a Future (argument 1, field 'a.b.c')",
      {a = {b = {c = lull.future()}}})
    refused("cannot copy a function (argument 1, field 'list[3].run')",
      {list = {1, 2, {run = print}}})
    refused("cannot copy a function (argument 1, field '[2][true]')",
      {1, {[true] = print}})
    refused("cannot copy a function (argument 1, field 'a[a b].c')",
      {a = {["a b"] = {c = print}}})
    refused("cannot copy a function (argument 1, a key)", {[print] = 1})
    refused("cannot copy a function (argument 1, a key of 'a.b')",
      {a = {b = {[print] = 1}}})
  end)

  it("is a table with a metatable too", function()
    local object = setmetatable({}, {})
    refused("cannot copy a table with a metatable (argument 1)", object)
    refused("cannot copy a table with a metatable (argument 2, field 'x')", 1,
      {x = object})
  end)

  it("is found behind shared tables and cycles", function()
    local a, b = {}, {}
    a.b, b.a, b.bad = b, a, print
    refused("cannot copy a function (argument 2, field 'b.bad')", {}, a)
  end)
end)
