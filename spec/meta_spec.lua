-- The annotations for editors in meta/ and what a script really finds: every public name
-- is in both.
local helper = require "spec.helper"
local core = require "lull.core"
local lull = helper.lull

local slurp = helper.slurp

-- ---- what is annotated --------------------------------------------------------------

-- declared["lull.net"].connect, declared["lull.Stream"].read; parents["lull.Task"].
local declared, parents = {}, {}

local function declare(class, name)
  declared[class] = declared[class] or {}
  declared[class][name] = true
end

local function read_meta(path)
  local classes, class = {lull = "lull"}, nil
  for line in (slurp(path) .. "\n"):gmatch "(.-)\n" do
    local new, parent = line:match "^%-%-%-@class ([%w_.]+):? ?([%w_.]*)"
    local field = line:match "^%-%-%-@field ([%w_]+)"
    local variable = line:match "^local ([%w_]+) = {}"
    local owner, name = line:match "^function ([%w_.]+)[.:]([%w_]+)%("
    if new then
      class = new
      declared[class] = declared[class] or {}
      parents[class] = parent ~= "" and parent or nil
    elseif field then
      declare(class, field)
    elseif variable then
      classes[variable] = class
    elseif owner then
      declare(assert(classes[owner], path .. ": whose is " .. line), name)
    end
  end
end

read_meta "meta/lull.lua"
for name in require "lfs".dir "meta/lull" do
  if name:find "%.lua$" then read_meta("meta/lull/" .. name) end
end

local function is_declared(class, name)
  while class do
    if declared[class] and declared[class][name] then return true end
    class = parents[class]
  end
  return false
end

-- ---- what there is ------------------------------------------------------------------

-- The names of the table lull, those that are loaded when they are asked for included.
local function load_all()
  local index = getmetatable(lull).__index
  for i = 1, 10 do
    local name, value = debug.getupvalue(index, i)
    if name == "modules" or name == "added" then
      for key in pairs(value) do assert(lull[key] ~= nil, key) end
    end
  end
  return lull
end

-- An object of each class that is written in Lua, and that of C by its methods.
local function classes()
  local clock = lull.clock() -- adds the half of its methods that is in Lua
  local lock = lull.lock()
  local watch = assert(lull.fs.watch "meta")
  local process = assert(lull.process.spawn({"true"}, {stdin = "null"}))
  local objects = {
    Lock = lock, Guard = lock:acquire(), Event = lull.event(),
    Condition = lull.condition(), Semaphore = lull.semaphore(1),
    Barrier = lull.barrier(1), Queue = lull.queue(),
    TaskLocal = lull.task_local(), Watch = watch, Process = process, Clock = clock,
  }
  local found = {}
  for name, object in pairs(objects) do found[name] = getmetatable(object).__index end
  for _, name in ipairs {"Future", "Task", "Thread", "Stream", "Listener", "Socket",
    "Datagram", "File", "Handle", "Loop", "Scope", "Group", "Selector", "Transport",
    "DatagramTransport"} do
    found[name] = core.methods[name]
  end
  objects.Guard:close()
  watch:close()
  process:close()
  return found
end

local function modules()
  local found = {lull = load_all(), ["lull.selectors"] = lull.selectors}
  for _, name in ipairs {"net", "fs", "process", "signal", "thread", "protocol",
    "test"} do
    found["lull." .. name] = require("lull." .. name)
  end
  return found
end

-- In the table, and nobody else's business.
local private = {
  ["lull.Future"] = {take = "lull.wait asks who has a result",
    wait = "lull.wait waits for several"},
  ["lull.Loop"] = {run = "is lull.run"},
  ["lull.Thread"] = {run = "the task that stands for it", ended = "of that",
    leave = "of that", outcome = "of that", over = "of that", stop = "of that"},
  ["lull.Listener"] = {try_accept = "serve takes who is there already"},
}

-- Annotated, and not in the table of methods.
local elsewhere = {
  ["lull.Process"] = {stdin = "a field", stdout = "a field", stderr = "a field"},
  ["lull"] = {selector = "is computed"},
}

local function excused(list, class, name)
  while class do
    if list[class] and list[class][name] then return true end
    class = parents[class]
  end
  return false
end

-- Adds what is in one only.
local function compare(wrong, class, names)
  for name in pairs(names) do
    if not tostring(name):find "^_" and not is_declared(class, name) and
      not excused(private, class, name) then
      wrong[#wrong + 1] = class .. "." .. tostring(name) .. " is not annotated"
    end
  end
  local annotated = class
  while annotated do
    for name in pairs(declared[annotated] or {}) do
      if names[name] == nil and not excused(elsewhere, class, name) then
        wrong[#wrong + 1] = class .. "." .. name .. " does not exist"
      end
    end
    annotated = parents[annotated]
  end
end

describe("meta/", function()
  it("has every function of the modules, and no other", function()
    local wrong = {}
    for name, module in pairs(modules()) do compare(wrong, name, module) end
    assert.same({}, wrong)
  end)

  it("has every method of the objects, and no other", function()
    helper.run(function()
      local wrong = {}
      for name, methods in pairs(classes()) do
        compare(wrong, "lull." .. name, methods)
      end
      assert.same({}, wrong)
    end, {real = true})
  end)

  it("is Lua", function()
    for class in pairs(declared) do assert.truthy(class:find "^lull") end
    for name in require "lfs".dir "meta/lull" do
      if name:find "%.lua$" then assert(loadfile("meta/lull/" .. name)) end
    end
    assert(loadfile "meta/lull.lua")
  end)
end)
