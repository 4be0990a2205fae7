-- No selector sleeps less than it was told.  In a process of its own, with all that are
-- opened open until the end: the kernel takes a ring of io_uring down some time after it
-- was closed, and that cuts sleeps of the thread short, as a signal would.
local probe = require "probe"
local selectors = require "lull".selectors

local MS = 1000000 -- nanoseconds

-- Asking which there are would open and close them.
local names = {"epoll", "poll", "select", "kqueue", "io_uring"}

describe("never less than it was told sleeps", function()
  local backends, objects = {}, {}

  setup(function()
    for _, name in ipairs(names) do
      backends[name] = probe.selector(name)
      objects[name] = selectors[name] and selectors[name]()
    end
  end)

  teardown(function()
    for _, s in pairs(backends) do s:close() end
    for _, s in pairs(objects) do s:close() end
  end)

  it("a backend", function()
    assert.truthy(next(backends))
    for name, s in pairs(backends) do
      for _, timeout in ipairs {1, 999, MS - 1, MS, MS + 1, 1234567} do
        local began = probe.time()
        assert.same({{}, 0}, {s:wait(timeout)})
        assert.is_true(probe.time() - began >= timeout, name .. " " .. timeout)
      end
    end
  end)

  it("a selector of lull.selectors", function()
    assert.truthy(next(objects))
    for name, s in pairs(objects) do
      for _, seconds in ipairs {0.0001, 0.001, 0.0015} do
        local began = probe.time()
        assert.same({}, s:select(seconds))
        assert.is_true(probe.time() - began >= seconds * 1e9, name .. " " .. seconds)
      end
    end
  end)
end)
