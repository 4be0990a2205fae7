-- The heap of deadlines against the simplest thing that can be right: a sorted table.
local probe = require "probe"

-- The same operations on a list kept in order by inserting; equal keys as they came.
local function model()
  local list = {}
  local m = {list = list}
  function m.remove(node)
    for i, entry in ipairs(list) do
      if entry.node == node then
        return table.remove(list, i)
      end
    end
  end
  function m.set(node, key)
    m.remove(node)
    local i = #list + 1
    while i > 1 and list[i - 1].key > key do
      i = i - 1
    end
    table.insert(list, i, {node = node, key = key})
  end
  return m
end

local function sound(heap)
  local count, capacity, bytes, ok = heap:state()
  assert.is_true(ok)
  assert.equal(capacity * 16, bytes)
  return count, capacity
end

local function drain(heap)
  local nodes = {}
  for node in heap.first, heap do
    nodes[#nodes + 1] = node
    heap:remove(node)
    sound(heap)
  end
  return nodes
end

describe("heap", function()
  it("agrees with a sorted table on any sequence of operations", function()
    for seed = 1, 40 do
      math.randomseed(seed)
      local many = math.random(1, 120)
      local spread = math.random(1, 3) == 1 and 4 or 1000 -- few keys: many equal ones
      local heap, m = probe.heap(many), model()
      for _ = 1, 600 do
        local node = math.random(many)
        if math.random(3) == 1 then
          if m.remove(node) then
            heap:remove(node)
          end
        else
          local key = math.random(-spread, spread)
          m.set(node, key)
          heap:set(node, key)
        end
        assert.equal(#m.list, sound(heap))
        local first = m.list[1]
        if first then
          assert.same({first.node, first.key}, {heap:first()})
        end
      end
      local expected = {}
      for i, entry in ipairs(m.list) do
        expected[i] = entry.node
      end
      assert.same(expected, drain(heap))
    end
  end)

  it("lets equal keys go in the order in which they came", function()
    local heap = probe.heap(50)
    for node = 1, 50 do
      heap:set(node, 7)
    end
    heap:set(10, 7) -- moved, so it comes last
    local nodes = drain(heap)
    assert.equal(10, table.remove(nodes))
    for i, node in ipairs(nodes) do
      assert.equal(i < 10 and i or i + 1, node)
    end
  end)

  it("keeps the extremes of time apart", function()
    local heap = probe.heap(3)
    heap:set(1, math.maxinteger)
    heap:set(2, math.mininteger)
    heap:set(3, 0)
    assert.same({2, 3, 1}, drain(heap))
  end)

  it("moves a node without an allocation, however often", function()
    local heap = probe.heap(10, 2) -- the second allocation would fail
    for node = 1, 10 do
      assert(heap:set(node, node))
    end
    for i = 1, 1000 do
      assert(heap:set(i % 10 + 1, (i * 7919) % 101))
    end
    assert.equal(10, sound(heap))
  end)

  it("refuses a newcomer where memory is out, and loses nothing", function()
    for fail = 1, 8 do
      local heap = probe.heap(1000, fail)
      local missing = {}
      for node = 1, 1000 do
        local ok, code = heap:set(node, -node)
        if not ok then
          assert.equal("ENOMEM", code)
          missing[#missing + 1] = node
        end
        sound(heap)
      end
      assert.equal(fail <= 7 and 1 or 0, #missing)
      assert.equal(1000 - #missing, #drain(heap))
    end
  end)

  it("gives memory back when it has become much too large", function()
    local heap = probe.heap(10000)
    for node = 1, 10000 do
      heap:set(node, node)
    end
    local _, large = sound(heap)
    for node = 1, 9990 do
      heap:remove(node)
    end
    for node = 1, 20 do
      heap:set(node, node)
    end
    local count, small = sound(heap)
    assert.equal(30, count)
    assert.is_true(small < large / 50)
    heap:free()
    assert.equal(0, (select(3, heap:state())))
  end)

  it("goes on being large where shrinking fails", function()
    for fail = 8, 12 do
      local heap = probe.heap(1000, fail)
      for node = 1, 1000 do
        heap:set(node, node)
      end
      for node = 1, 1000 do
        heap:remove(node)
      end
      for node = 1, 10 do
        assert(heap:set(node, node))
        sound(heap)
      end
    end
  end)
end)

describe("list", function()
  it("agrees with a table on any sequence of operations", function()
    math.randomseed(3)
    local LISTS, LINKS = 4, 20
    local lists, model_of, place = probe.lists(LISTS, LINKS), {{}, {}, {}, {}}, {}
    local function remove(link)
      local list = model_of[place[link]]
      for i, l in ipairs(list or {}) do
        if l == link then
          table.remove(list, i)
        end
      end
      place[link] = nil
    end
    for _ = 1, 5000 do
      local link, a, b = math.random(LINKS), math.random(LISTS), math.random(LISTS)
      local what = math.random(5)
      if what <= 2 then
        lists:remove(link)
        remove(link)
        if what == 2 then
          lists:push(a, link)
          table.insert(model_of[a], link)
          place[link] = a
        end
      elseif what == 3 and model_of[a][1] then
        local first = model_of[a][1]
        assert.equal(first, lists:pop(a))
        remove(first)
      elseif what == 4 and a ~= b then
        lists:move(a, b)
        for _, l in ipairs(model_of[b]) do
          table.insert(model_of[a], l)
          place[l] = a
        end
        model_of[b] = {}
      end
      for i = 1, LISTS do
        assert.same(model_of[i], lists:items(i))
      end
      assert.equal(place[link] == nil, lists:free(link))
    end
  end)

  it("takes the removal of a link that is in no list", function()
    local lists = probe.lists(1, 2)
    lists:remove(1)
    lists:push(1, 1)
    lists:push(1, 2)
    lists:remove(1)
    lists:remove(1)
    assert.same({2}, lists:items(1))
  end)
end)
