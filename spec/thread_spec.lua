-- Functions on other threads: calls on the pool, threads of their own, how they are
-- refused, interrupted and ended.  All on the real clock: other threads have no other.
local core = require "lull.core"
local helper = require "spec.helper"
local lull = require "lull"
local thread = require "lull.thread"

local function run(fn) return helper.run(fn, {real = true}) end

-- The thread sanitizer delivers signals only when memory is allocated or the system is
-- called, and loses its way after some ten thousand errors and yields.
local raced = (os.getenv "LULL_BUILD" or ""):find "tsan$"
local function busy(fn)
  return raced and function() while true do local _ = {} end end or fn
end

local function fails(fn, ...)
  local ok, err = pcall(fn, ...)
  assert.is_false(ok)
  return err
end

-- Has this process so many threads?  Others may still be on their way out.
local function threads()
  local n = 0
  for name in require "lfs".dir "/proc/self/task" do
    if name ~= "." and name ~= ".." then n = n + 1 end
  end
  return n
end

local function until_threads(n)
  while threads() > n do lull.sleep(0.001) end
end

describe("a call", function()
  it("runs a function elsewhere and returns its results", function()
    run(function()
      assert.same({n = 0}, table.pack(thread.call(function() end)))
      assert.same(table.pack(nil, 3, "x", nil),
        table.pack(thread.call(function(...) return nil, select("#", ...), "x", nil end,
          1, nil, nil)))
    end)
  end)

  it("lets the others run meanwhile", function()
    run(function()
      local dir <close> = helper.tempdir()
      lull.spawn(function()
        for _ = 1, 5 do lull.sleep(0.0005) end
        dir:write("enough", "")
      end)
      local sum = thread.call(function(path)
        local s
        repeat
          s = 0
          for i = 1, 1000 do s = s + i end
        until io.open(path)
        return s
      end, dir.path .. "/enough")
      assert.equal(1000 * 1001 // 2, sum)
    end)
  end)

  it("starts from nothing each time", function()
    run(function()
      for _ = 1, 3 do
        assert.is_nil(thread.call(function()
          local before = rawget(_G, "leftover")
          rawset(_G, "leftover", 1)
          rawset(string, "leftover", 1)
          package.loaded.leftover = 1
          return before
        end))
      end
      assert.same({"nil", "nil"}, {thread.call(function()
        return type(rawget(string, "leftover")), type(package.loaded.leftover)
      end)})
    end)
  end)

  it("has the libraries, and lull with a loop of its own", function()
    run(function()
      assert.equal("woke", thread.call(function()
        local inner = require "lull"
        assert(inner.thread == require "lull.thread")
        return inner.run(function()
          inner.sleep(0.001)
          return "woke"
        end)
      end))
      assert.equal(3, thread.call(function(path, cpath)
        assert(package.path == path and package.cpath == cpath)
        local co = coroutine.wrap(function(a) return a + coroutine.yield() end)
        co(1)
        return co(2)
      end, package.path, package.cpath))
    end)
  end)

  it("has the rest of lull from whichever module is asked for first", function()
    run(function()
      for _, first in ipairs {"lull", "lull.core", "lull.net", "lull.thread"} do
        assert.same({true, "waited"}, {thread.call(function(name)
          local module = require(name)
          local inner = require "lull"
          local same = module == package.loaded[name] and
            require "lull.core" == package.loaded["lull.core"]
          return same, inner.run(function()
            local a <close>, b = inner.net.pair()
            b:write "waited\n"
            b:close()
            return a:read()
          end)
        end, first)})
      end
      assert.same({"a", "b", "dead", "nil"}, {thread.call(function() -- and without it
        local co = coroutine.create(function() coroutine.yield "a" return "b" end)
        local _, a = coroutine.resume(co)
        local _, b = coroutine.resume(co)
        return a, b, coroutine.status(co), type(package.loaded["lu" .. "ll.core"])
      end)})
    end, {real = true})
  end)

  it("may call again", function()
    run(function()
      assert.equal("inner", thread.call(function()
        local inner = require "lull"
        return inner.run(inner.thread.call, function() return "inner" end)
      end))
    end)
  end)

  it("works a thousand times, many at once", function()
    run(function()
      local n, sum = raced and 200 or 1000, 0
      lull.group({limit = 50}, function(g)
        for i = 1, n do
          g:spawn(function()
            local x = thread.call(function(v) return v end, i)
            sum = sum + x
          end)
        end
      end)
      assert.equal(n * (n + 1) // 2, sum)
    end)
  end)

  it("raises what its function raises", function()
    run(function()
      assert.matches("^[^\n]*thread_spec.lua:%d+: broken$",
        fails(thread.call, function() error "broken" end))
      assert.same({code = 7, {}}, fails(thread.call, function() error {code = 7, {}} end))
      assert.equal(42, fails(thread.call, error and function() error(42) end))
      assert.is_nil(fails(thread.call, function() error(nil) end))
      assert.equal("shown", fails(thread.call, function()
        error(setmetatable({}, {__tostring = function() return "shown" end}))
      end))
      assert.matches("^function: ", fails(thread.call, function() error(print) end))
      assert.matches("cannot be copied", fails(thread.call, function()
        error(setmetatable({}, {__tostring = error}))
      end))
    end)
  end)

  it("tells where the error was raised", function()
    run(function()
      local line = helper.line()
      local task = lull.spawn(function()
        thread.call(function()
          local function deep() error "deep down" end
          deep()
        end)
      end)
      fails(task.await, task)
      local text = task:traceback()
      assert.matches(":" .. line + 3 .. ": in .-deep", text)
      assert.matches("%[called at%]: .-:" .. line + 2 .. ":", text)
    end)
  end)

  it("refuses by name what cannot go along", function()
    run(function()
      local x, y = 1, {}
      local function message(...)
        return (fails(thread.call, ...):gsub("^[^\n]-:%d+: ", ""))
      end
      assert.matches("bad argument #1 to '[%w._]*call' %(upvalue 'x'",
        message(function() return x end))
      assert.matches("upvalue 'y'", message(function() return y end))
      assert.matches("a function in C", message(print))
      assert.matches("function expected, got nil", message(nil))
      assert.equal("cannot copy a function (argument 3, field 'a.b')",
        message(function() end, 1, {a = {b = print}}))
      assert.equal("cannot copy a coroutine (argument 2)",
        message(function() end, coroutine.create(print)))
      assert.equal("cannot copy a Task (argument 2, field 'task')",
        message(function() end, {task = lull.current()}))
      assert.equal("cannot copy a function (result 2)",
        message(function() return 1, print end))
      assert.equal("cannot copy a table with a metatable (result 1)",
        message(function() return setmetatable({}, {}) end))
    end)
    assert.error_matches(function() thread.call(function() end) end, "outside of a task")
  end)

  it("that is interrupted may have a finalizer that runs a loop", function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/told"
    run(function()
      thread.limit("calls", 1)
      local _ <close> = lull.defer(thread.limit, "calls", 4)
      lull.timeout(0.02, thread.call, function(name)
        setmetatable({}, {__gc = function()
          local inner = require("lu" .. "ll")
          local ok = pcall(inner.run, inner.sleep, 3600)
          local f <close> = io.open(name, "w")
          f:write(ok and "slept" or "woken")
        end})
        while true do local _ = {} end
      end, path)
      thread.call(function() end)
    end)
    assert.equal("woken", helper.slurp(path))
  end)

  it("runs that function, though looking at the globals calls another", function()
    local out = helper.child([[
      local thread = require "lull.thread"
      local function other() return "other" end
      lull = nil
      setmetatable(_G, {__index = function(_, k)
        if k == "lull" then pcall(thread.call, other) end
      end})
      local function mine() return "mine", lull end
      for _ = 1, 3 do io.write(thread.call(mine), " ") end
    ]], "--real")
    assert.equal("mine mine mine", (out:gsub("%s+$", "")))
  end)

  it("cannot end or change the process", function()
    run(function()
      assert.matches("os.exit", fails(thread.call, function() os.exit(1) end))
      assert.matches("os.setlocale", fails(thread.call, function() os.setlocale "C" end))
      assert.equal(os.setlocale(), thread.call(function() return os.setlocale() end))
    end)
  end)

  it("is interrupted when it is cancelled, and the call returns at once", function()
    run(function()
      local before = threads()
      for _, endless in ipairs {
        busy(function() while true do end end),
        busy(function() while true do pcall(error) end end),
        busy(function() while true do pcall(function() while true do end end) end end),
        busy(function() coroutine.wrap(function() while true do end end)() end),
        function() while true do coroutine.wrap(function() local _ = {} end)() end end,
        busy(function()
          while true do
            coroutine.resume(coroutine.create(function() while true do end end))
          end
        end),
        function() local s = "" while true do s = (s .. "x"):sub(-100) end end,
        busy(function()
          local t = setmetatable({}, {__index = function(_, k) return k end})
          while true do local _ = t.x end
        end),
        busy(function() table.sort({3, 2, 1}, function() while true do end end) end),
        function() local l = require "lull"
          l.run(function() while true do local _ = {} end end)
        end,
        busy(function() local l = require "lull"
          l.run(function() while true do l.sleep(0) end end)
        end),
        function() local l = require "lull" l.run(l.sleep, 1e9) end,
        function() local l = require "lull"
          l.on_unhandled(function() end) -- it ignores its cancellation
          l.run(function() while true do pcall(l.sleep, 1) end end)
        end,
        function() local l = require "lull"
          l.run(l.thread.call, function() while true do local _ = {} end end)
        end,
      } do
        thread.limit("calls", 1) -- the next one finds the thread only when it is free
        local start = lull.now()
        local _, _, code = lull.timeout(0.02, thread.call, endless)
        assert.equal("ETIMEDOUT", code)
        assert.is_true(lull.now() - start < 50)
        assert.equal("free", thread.call(function() return "free" end))
      end
      thread.limit("calls", 4)
      assert.is_true(threads() <= before + 3)
    end)
  end)

  it("leaves its cleanup a moment", function()
    run(function()
      local path = os.tmpname()
      local _ <close> = lull.defer(os.remove, path)
      local function wait_for(pattern)
        repeat
          lull.sleep(0.001)
          local f <close> = io.open(path)
        until f:read "a":find(pattern)
      end
      local task = lull.spawn(thread.call, function(name)
        local f = io.open(name, "w")
        f:setvbuf "no"
        local _ <close> = setmetatable({}, {__close = function()
          for i = 1, 100 do f:write(i, "\n") end
          f:close()
        end})
        f:write "begun\n"
        while true do local _ = {} end
      end, path)
      wait_for "begun"
      task:cancel()
      wait_for "\n100\n$"
    end)
  end)

  it("can be cancelled before it has begun, and at any time after", function()
    run(function()
      for i = 1, raced and 40 or 200 do
        local task = lull.spawn(thread.call, function(n)
          local t = {}
          for j = 1, n do t[j] = tostring(j) end
          return t
        end, i * 10)
        for _ = 1, i % 7 do lull.sleep(0) end
        task:cancel()
        lull.sleep(0)
      end
      assert.equal(1, thread.call(function() return 1 end))
    end)
  end)

  it("fails when its memory runs out, at any allocation", function()
    run(function()
      local n, failures = 0, 0
      repeat
        n = n + (n < 50 and 1 or raced and 200 or 37)
        core.thread_fuel(n)
        local ok, result = pcall(thread.call, function(t)
          local list = {}
          for i = 1, 100 do list[i] = {tostring(i), t} end
          local co = coroutine.wrap(function() return #list end)
          return co(), list
        end, {("x"):rep(1000)})
        if not ok then
          assert.matches("not enough memory", result)
          failures = failures + 1
        end
      until ok
      core.thread_fuel(0)
      assert.is_true(failures > 45)
    end)
  end)
end)

describe("the pool", function()
  it("has as many threads for calls as it may", function()
    run(function()
      thread.limit("calls", 2)
      thread.call(function() end) -- the first thread of all may bring others along
      local g <close> = lull.group()
      local before = threads()
      for _ = 1, 10 do
        g:spawn(thread.call, function()
          local t = os.clock()
          while os.clock() < t + 0.01 do end
        end):daemon()
      end
      lull.sleep(0.005)
      assert.is_true(threads() <= before + 2)
      g:cancel()
    end)
    run(function()
      thread.limit("calls", 4)
      assert.error_matches(function() thread.limit("calls", 0) end, "from 1 to")
      assert.error_matches(function() thread.limit("work", 1) end, "invalid option")
    end)
  end)

  it("may end while calls run, in a loop that is closed", function()
    for i = 0, raced and 4 or 20 do
      local loop = lull.new_loop()
      loop:run_until_complete(function()
        for _ = 1, 6 do
          lull.spawn(thread.call, function() while true do local _ = {} end end):daemon()
        end
        for _ = 1, i % 5 do lull.sleep(0) end
      end)
      loop:close()
    end
    run(function() assert.equal(1, thread.call(function() return 1 end)) end)
  end)
end)

describe("a thread", function()
  it("runs a function and is awaited", function()
    run(function()
      local t = thread.spawn(function(...) return select("#", ...), ... end, 1, nil)
      assert.same(table.pack(2, 1, nil), table.pack(t:await()))
      assert.same(table.pack(2, 1, nil), table.pack(lull.await(t)))
      assert.is_true(t:done())
      assert.equal("finished", t:status())
      assert.matches("^thread %d+ %(ended%)$", tostring(t))
    end)
  end)

  it("takes part in what is waited for", function()
    run(function()
      local function spawn(n) return thread.spawn(function(x) return x end, n) end
      assert.same({1, 2, 3}, {lull.gather(spawn(1), spawn(2), spawn(3))})
      local endless = thread.spawn(function() while true do local _ = {} end end)
      assert.same({2, "quick"}, {lull.race(endless, function() return "quick" end)})
      endless:close()
    end)
  end)

  it("raises its error in who awaits it, with its traceback", function()
    run(function()
      local line = helper.line()
      local t = thread.spawn(function() error "thread fails" end)
      assert.matches("thread fails", fails(t.await, t))
      assert.matches(":" .. line + 1 .. ": ", t:traceback())
      assert.matches("thread fails", t:error())
    end)
  end)

  it("is reported when nobody looks at its failure", function()
    local reports = {}
    helper.run(function()
      local t = thread.spawn(function() error("unseen", 0) end)
      while not t:done() do lull.sleep(0) end
    end, {real = true, reports = reports})
    assert.equal(1, #reports)
    assert.equal("unseen", reports[1].err)
    assert.matches('"thread %d+"', tostring(reports[1].task))
  end)

  it("keeps its loop from ending, unless it is a daemon", function()
    local ended
    lull.run(function()
      lull.spawn(function()
        ended = thread.spawn(function() return "ended" end):await()
      end)
      thread.spawn(function() while true do local _ = {} end end):daemon()
      thread.spawn(function() require "lull.thread".receive() end):daemon()
    end)
    assert.equal("ended", ended)
  end)

  it("has a loop of its own, like others", function()
    run(function()
      local function body(name)
        local inner = require "lull"
        return inner.run(function()
          local log = {}
          inner.gather(function()
            for i = 1, 3 do
              log[#log + 1] = name .. i
              inner.sleep(0.002)
            end
          end, function() inner.sleep(0.003) end)
          return table.concat(log, " ")
        end)
      end
      assert.same({"a1 a2 a3", "b1 b2 b3"},
        {lull.gather(thread.spawn(body, "a"), thread.spawn(body, "b"))})
    end)
  end)

  it("is one of a hundred", function()
    run(function()
      local n, list = raced and 30 or 100, {}
      for i = 1, n do
        list[i] = thread.spawn(function(v)
          local t = require "lull.thread"
          t.send(v)
          return t.receive()
        end, i)
      end
      local sum = 0
      for i = 1, n do
        sum = sum + list[i]:receive()
        list[i]:send(i)
      end
      assert.equal(n * (n + 1) // 2, sum)
      for i = 1, n do assert.equal(i, list[i]:await()) end
      until_threads(20)
    end)
  end)

  it("is interrupted when it is closed, whatever it does", function()
    run(function()
      for _, body in ipairs {
        busy(function() while true do end end),
        busy(function() while true do pcall(error) end end),
        function() require "lull.thread".receive() end,
        busy(function() while true do pcall(require "lull.thread".receive) end end),
        function() while true do require "lull.thread".send(1) end end,
        function() local l = require "lull" l.run(l.sleep, 1e9) end,
        function() local l = require "lull" l.run(l.thread.receive) end,
        function() local l = require "lull"
          l.run(function() while true do l.thread.send "x" end end)
        end,
        function() local l = require "lull"
          while true do pcall(l.run, l.sleep, 1e9) end
        end,
        function() local l = require "lull"
          local t = l.thread
          local function endless() while true do local _ = {} end end
          l.run(function() t.spawn(endless):await() end)
        end,
      } do
        for _, time in ipairs {false, 0, 0.01} do
          local t = thread.spawn(body)
          if time then lull.sleep(time) end
          t:close()
          assert.is_true(t:done())
          assert.is_true(t:cancelled())
          assert.matches("ended", tostring(t))
        end
      end
    end)
  end)

  it("is interrupted too when it is cancelled before its task has begun", function()
    run(function()
      local t = thread.spawn(function() while true do local _ = {} end end)
      t:cancel()
      while not tostring(t):find "ended" do lull.sleep(0.001) end
      assert.is_true(t:cancelled())
    end)
  end)

  it("that is cancelled has its loop's tasks cancelled, with their cleanup", function()
    run(function()
      local t = thread.spawn(function()
        local l = require "lull"
        pcall(l.run, function()
          local _ <close> = l.defer(l.shield, function()
            l.sleep(0.005)
            l.thread.send "cleaned up"
          end)
          l.thread.send "ready"
          l.sleep(1e9)
        end)
      end)
      assert.equal("ready", t:receive())
      assert.is_true(t:cancel "enough")
      assert.equal("cleaned up", t:receive())
      assert.is_nil(t:receive())
      assert.matches("^ECANCELED: enough", fails(t.await, t))
      assert.is_false(t:cancel())
    end)
  end)

  it("is closed with its block", function()
    run(function()
      local kept
      do
        local t <close> = thread.spawn(function() while true do local _ = {} end end)
        kept = t
      end
      assert.is_true(kept:done())
    end)
  end)

  it("is left to itself, and this is told, when it is stuck in C", function()
    local reports = {}
    local dir <close> = helper.tempdir()
    helper.run(function()
      local t = thread.spawn(function(path)
        os.execute(": >" .. path .. "; exec sleep 10")
      end, dir.path .. "/begun")
      while not io.open(dir.path .. "/begun") do lull.sleep(0.001) end
      t:close()
      assert.is_true(t:done())
    end, {real = true, reports = reports})
    assert.equal(1, #reports)
    assert.matches("^ETIMEDOUT: thread %d+ %(running%) does not end", reports[1].err)
  end)

  it("may be garbage at any time", function()
    run(function()
      for i = 1, 50 do
        thread.spawn(function() require "lull.thread".send(1) end)
        if i % 5 == 0 then collectgarbage() end
      end
    end)
    collectgarbage()
  end)

  it("needs a loop, and a function that can be copied", function()
    assert.error_matches(function() thread.spawn(function() end) end, "no loop")
    run(function()
      assert.error_matches(function() thread.spawn(print) end, "#1 to '[%w._]*spawn'")
      assert.error_matches(function() thread.spawn(function() end, print) end,
        "cannot copy a function %(argument 2%)")
    end)
  end)

  it("is a failure of the world where no thread can be had", function()
    if os.getenv "ASAN_OPTIONS" or raced then
      return -- they need more memory than there is
    end
    local out, err = helper.execute {"sh", "-c", ([[
      ulimit -s 1048576 # a gigabyte for each thread, and room for fifteen and a half
      ulimit -v 16300000
      MALLOC_ARENA_MAX=1 exec %s -e '
        local t, list, message, code = lull.thread, {}
        repeat
          local x
          x, message, code = t.spawn(function() (require "lull.thread").receive() end)
          list[#list + 1] = x
        until not x or #list > 300
        print(code, (message or ""):match "^%%u+")
        for _, x in ipairs(list) do x:finish() end
        for _, x in ipairs(list) do x:await() end
        print(t.call(function() return "works again" end))'
    ]]):format(helper.interpreter())}
    assert.equal("", err)
    assert.equal("EAGAIN\tEAGAIN\nworks again\n", out)
  end)
end)

describe("a script", function()
  it("waits for its threads, and says how they failed", function()
    local out, err, code = helper.child([[
      local thread = lull.thread
      thread.spawn(function() print "done" end)
      thread.spawn(function() error("broken", 0) end)
    ]], "--real")
    assert.equal("done\n", out)
    assert.equal(1, code)
    assert.matches('^lull: task %d+ "thread 2" .-: broken\nstack traceback:', err)
  end)

  it("finds that a thread and its owner wait for each other", function()
    local _, err, code = helper.child([[
      local t = lull.thread.spawn(function() return lull.thread.receive() end)
      t:receive()
    ]], "--real")
    assert.equal(1, code)
    assert.matches("deadlock: ", err)
    assert.matches("receive thread 1 %(running%)", err)
  end)

  it("that fails has its threads interrupted", function()
    local _, err, code = helper.child([[
      lull.thread.spawn(function() while true do local _ = {} end end)
      lull.sleep(0.01)
      error "main fails"
    ]], "--real")
    assert.equal(1, code)
    assert.matches("main fails", err)
  end)

  it("may end by os.exit while threads run", function()
    for _, close in ipairs {"", ", true"} do
      local _, err, code = helper.child([[
        local list = {}
        for i = 1, 3 do
          list[i] = lull.thread.spawn(function() while true do local _ = {} end end)
          lull.spawn(lull.thread.call, function() while true do local _ = {} end end)
        end
        lull.sleep(0.01)
        os.exit(3]] .. close .. [[)
      ]], "--real")
      assert.equal("", err)
      assert.equal(3, code)
    end
  end)

  it("in a stock lua5.4 has threads too", function()
    local out, err, code = helper.stock [[
      local lull = require "lull"
      print(lull.run(function()
        local t = lull.thread.spawn(function()
          local inner = require "lull"
          return inner.run(function()
            inner.sleep(0.001)
            return inner.thread.receive()
          end)
        end)
        t:send "hello"
        return t:await(), lull.thread.call(function() return not rawget(_G, "lull") end)
      end))
    ]]
    if out == nil or raced then return end
    assert.equal("", err)
    assert.equal("hello\ttrue\n", out)
    assert.equal(0, code)
  end)
end)
