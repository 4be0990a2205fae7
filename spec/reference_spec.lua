-- docs/reference.md lists the whole Lua API: every name on it exists, and every name that
-- a module or an object shows to a script is on it.
local helper = require "spec.helper"
local lull = require "lull"
local pages = require "spec.pages"

-- What a script can see and is no part of the API: the modules' own way to their objects.
local private = {
  ["future:"] = {"take", "wait"},
  ["task:"] = {"take", "wait"},
  ["loop:"] = {"run"},
  ["listener:"] = {"try_accept"},
  ["socket:"] = {"detach", "family", "join", "leave", "timeout"},
  ["datagram:"] = {"bind", "family", "shutdown", "timeout"},
  ["thread:"] = {"ended", "leave", "outcome", "over", "run", "stop"},
}

-- One of each kind, by the name that it has on the page.
local function objects()
  local net, fs = lull.net, lull.fs
  local all = {["lull."] = lull}
  for name in ("net fs process signal thread protocol test"):gmatch "%a+" do
    all[name .. "."] = lull[name]
  end
  for _, name in ipairs {"lock", "event", "condition", "queue", "task_local", "clock"} do
    all[name .. ":"] = lull[name]()
  end
  all["semaphore:"], all["barrier:"] = lull.semaphore(1), lull.barrier(2)
  all["guard:"] = all["lock:"]:acquire()
  all["future:"], all["task:"], all["loop:"] = lull.future(), lull.current(), lull.loop()
  all["group:"] = lull.group {detached = true}
  lull.scope(function(s) all["scope:"] = s end)
  all["stream:"] = net.pair()
  all["transport:"] = lull.protocol.wrap(function() return {} end, (net.pair()))
  all["listener:"] = assert(net.listen("127.0.0.1", 0))
  all["datagram:"] = assert(net.udp("127.0.0.1", 0))
  all["socket:"] = assert(net.socket("inet", "stream"))
  all["file:"], all["watch:"] = assert(fs.open "/dev/null"), assert(fs.watch "docs")
  all["process:"] = assert(lull.process.spawn {"true"})
  all["thread:"] = assert(lull.thread.spawn(function() end))
  all["handle:"] = all["loop:"]:call_soon(print)
  all["handle:"]:cancel()
  all["selector:"] = lull.selectors.default()
  all["process:"]:wait()
  all["thread:"]:await()
  return all
end

-- The names that are there to see.
local function visible(value)
  local mt = debug.getmetatable(value)
  local methods = mt and type(mt.__index) == "table" and mt.__index
    or type(value) == "userdata" and mt or value
  local set = {}
  for name in pairs(methods) do
    if type(name) == "string" and not name:find "^_" then set[name] = true end
  end
  return set
end

-- {prefix = {name = true}} of all that stands in the indented lines.
local function listed()
  local all = {}
  for line in pages.read "docs/reference.md":gmatch "\n    ([^\n]*)" do
    for prefix, name in line:gmatch "%f[%a]([%a_]+[.:])([%a_]+)" do
      all[prefix] = all[prefix] or {}
      all[prefix][name] = true
    end
  end
  for name in pairs(all["future:"]) do all["task:"][name] = true end
  return all
end

local function sorted(list)
  table.sort(list)
  return list
end

describe("docs/reference.md", function()
  it("lists what there is", function()
    helper.run(function()
      local page, missing, unknown = listed(), {}, {}
      for prefix, object in pairs(objects()) do
        local has = visible(object)
        for name in pairs(page[prefix]) do
          if object[name] == nil then unknown[#unknown + 1] = prefix .. name end
        end
        for _, name in ipairs(private[prefix] or {}) do has[name] = nil end
        for name in pairs(has) do
          local module = prefix == "lull." and page[name .. "."]
          if not page[prefix][name] and not module then
            missing[#missing + 1] = prefix .. name
          end
        end
      end
      assert.same({{}, {}}, {sorted(missing), sorted(unknown)})
    end)
  end)
end)
