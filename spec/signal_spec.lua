-- Signals: who hears of them, which ones are kept, and that what was there before comes
-- back.  Signals to this process come from itself, others from a shell.
local helper = require "spec.helper"
local core = require "lull.core"
local lull = require "lull"
local process = require "lull.process"
local signal = require "lull.signal"
local run, slurp = helper.run, helper.slurp

local real = {real = true}

local pid = slurp("/proc/self/stat"):match "^%d+"

-- Is there a handler for this signal?
local function handled(number)
  local set = slurp "/proc/self/status":match "SigCgt:%s*(%x+)"
  return tonumber(set, 16) >> (number - 1) & 1 == 1
end

local USR1, USR2, HUP = 10, 12, 1 -- on Linux

-- Runs a script; fn(p) speaks to it.
local function with(text, fn)
  local dir <close> = helper.tempdir()
  local path = dir:write("script.lua", text)
  run(function()
    local p <close> = assert(process.spawn({helper.interpreter(), path},
      {stdin = "pipe", stdout = "pipe", stderr = "stdout"}))
    fn(p)
  end, real)
end

describe("signal.wait", function()
  it("is what a task is told to wait in that does nothing else", function()
    run(function()
      local tasks = {lull.spawn(signal.wait, "SIGUSR1"), lull.spawn(lull.sleep, 50),
                     lull.spawn(process.run, {"sleep", "50"})}
      local waits = {"signal.wait SIGUSR1)", "lull.sleep)", "process.run process"}
      for i, name in ipairs(waits) do
        local words = "(waiting: " .. name
        repeat -- the program is started first, and that is waited for elsewhere
          lull.sleep(0.001)
        until tostring(tasks[i]):find(words, 1, true) or tasks[i]:done()
        assert.truthy(tostring(tasks[i]):find(words, 1, true), tostring(tasks[i]))
        tasks[i]:close()
      end
    end, real)
  end)

  it("returns the name of the signal that has come", function()
    for _, selector in helper.backends() do
      run(function()
        for _, name in ipairs {"SIGUSR1", "SIGHUP", "SIGTERM", "SIGINT", "SIGRTMIN+3"} do
          local waiting = lull.spawn(signal.wait, "SIGUSR2", name)
          lull.sleep(0)
          signal.raise(name)
          assert.equal(name, waiting:await())
        end
      end, {selector = selector})
    end
  end)

  it("hears of other processes", function()
    run(function()
      local waiting = lull.spawn(signal.wait, "SIGUSR1")
      lull.sleep(0)
      process.run {"sh", "-c", "kill -USR1 " .. pid}
      assert.equal("SIGUSR1", waiting:await())
    end, real)
  end)

  it("tells all who wait", function()
    run(function()
      local function wait(...) return signal.wait(...) end
      local a, b = lull.spawn(wait, "SIGUSR1"), lull.spawn(wait, "SIGUSR1", "SIGUSR2")
      local c = lull.spawn(wait, "SIGUSR2")
      helper.turns(1)
      signal.raise "SIGUSR1"
      assert.equal("SIGUSR1", a:await())
      assert.equal("SIGUSR1", b:await())
      assert.is_false(c:done())
      signal.raise "SIGUSR2"
      assert.equal("SIGUSR2", c:await())
    end)
  end)

  it("has kept what came between two waits, once", function()
    run(function()
      local first = lull.spawn(signal.wait, "SIGUSR1")
      helper.turns(1)
      signal.raise "SIGUSR1"
      first:await()
      for _ = 1, 5 do signal.raise "SIGUSR1" end
      local other = lull.spawn(signal.wait, "SIGUSR1", "SIGUSR2")
      assert.equal("SIGUSR1", signal.wait "SIGUSR1")
      helper.turns(3)
      assert.is_false(other:done())
      signal.raise "SIGUSR2"
      assert.equal("SIGUSR2", other:await())
      assert.equal("ETIMEDOUT", select(3, lull.timeout(1, signal.wait, "SIGUSR1")))
    end)
  end)

  it("loses nothing when it is cancelled", function()
    run(function()
      local a, b = lull.spawn(signal.wait, "SIGUSR1"), lull.spawn(signal.wait, "SIGUSR1")
      helper.turns(1)
      signal.raise "SIGUSR1"
      a:cancel()
      assert.equal("SIGUSR1", b:await())
      local c = lull.spawn(signal.wait, "SIGUSR1")
      helper.turns(1)
      c:cancel()
      helper.turns(1)
      signal.raise "SIGUSR1" -- to nobody
      assert.equal("SIGUSR1", signal.wait "SIGUSR1")
    end)
  end)

  it("wakes at the moment, whoever drains what", function()
    -- One that is woken, one that waits anew, and one that begins to wait, all at once.
    run(function()
      local heard = {0, 0, 0}
      for i = 1, 3 do
        lull.spawn(function()
          for _ = 1, i do lull.sleep(0) end
          for _ in signal.each "SIGUSR1" do
            heard[i] = heard[i] + 1
            for _ = 1, i do lull.sleep(0) end
          end
        end):daemon()
      end
      helper.turns(5)
      for n = 1, 50 do
        signal.raise "SIGUSR1"
        lull.sleep(1)
        assert.same({n, n, n}, heard)
      end
    end)
  end)

  it("raises where it was called wrongly", function()
    run(function()
      for _, fn in ipairs {signal.wait, signal.each} do
        for _, case in ipairs {
          {"SIGFOO", "no such signal: SIGFOO"}, {"TERM", "no such signal: TERM"},
          {"SIGKILL", "SIGKILL cannot be waited for"},
          {"SIGSTOP", "SIGSTOP cannot be waited for"},
          {"SIGSEGV", "SIGSEGV cannot be waited for"}, {nil, "name of a signal expected"},
        } do
          local ok, err = pcall(fn, case[1])
          assert.is_false(ok)
          assert.matches(case[2], err)
        end
      end
      assert.has_error(function() signal.raise "FOO" end)
      assert.has_error(function() signal.raise() end)
    end)
    assert.has_error(function() signal.each "SIGUSR1" end)
    assert.is_false(handled(USR1))
  end)

  it("is no deadlock, and does not stop a virtual clock", function()
    local out, err, code = helper.child([[
      local lull, signal = require "lull", require "lull.signal"
      lull.spawn(function() lull.sleep(1000) signal.raise "SIGUSR1" end)
      print(signal.wait "SIGUSR1")]])
    assert.same({"SIGUSR1\n", "", 0}, {out, err, code})
    with([[
      local signal = require "lull.signal"
      local watch = require "lull.core".watch_signals(true, "SIGTERM")
      print "ready"
      print(watch:next())]], function(p)
      assert.equal("ready", p.stdout:read())
      p:kill "SIGTERM"
      assert.equal("SIGTERM\n", p.stdout:read "a")
      assert.equal(0, p:wait())
    end)
  end)

  it("lets a deadlock be one when nobody waits for a signal any more", function()
    local _, err, code = helper.child([[
      local lull, signal = require "lull", require "lull.signal"
      lull.timeout(1, signal.wait, "SIGUSR1")
      lull.future():await()]])
    assert.matches("deadlock", err)
    assert.equal(1, code)
  end)
end)

describe("signal.each", function()
  it("gives every signal, those of one name that come meanwhile as one", function()
    run(function()
      local names = {}
      lull.spawn(function()
        lull.sleep(1)
        signal.raise "SIGUSR2"
        signal.raise "SIGUSR1"
        signal.raise "SIGUSR1"
        lull.sleep(1)
        signal.raise "SIGUSR1"
        lull.sleep(10)
        signal.raise "SIGHUP"
      end)
      for name in signal.each("SIGUSR1", "SIGUSR2", "SIGHUP") do
        names[#names + 1] = name
        if name == "SIGHUP" then break end
        lull.sleep(3)
      end
      assert.same({"SIGUSR1", "SIGUSR2", "SIGUSR1", "SIGHUP"}, names)
    end)
  end)

  it("listens from the call on", function()
    run(function()
      local next_signal, _, _, closer = signal.each "SIGUSR1"
      signal.raise "SIGUSR1"
      assert.equal("SIGUSR1", next_signal())
      assert.is_true(handled(USR1))
      local _ <close> = closer
    end)
    assert.is_false(handled(USR1))
  end)

  it("gives the signal back however it is left", function()
    run(function()
      local function listen(leave)
        lull.spawn(function() lull.sleep(1) signal.raise "SIGUSR1" end)
        for _ in signal.each "SIGUSR1" do
          assert.is_true(handled(USR1))
          if leave() then break end
        end
      end
      listen(function() return true end)
      assert.is_false(handled(USR1))
      assert.has_error(function() listen(function() error "left" end) end)
      assert.is_false(handled(USR1))
      local task = lull.spawn(listen, function() lull.sleep(10) end)
      lull.sleep(2)
      assert.is_true(handled(USR1))
      task:close()
      assert.is_false(handled(USR1))
    end)
  end)
end)

describe("what was there before", function()
  it("comes back when the loop has ended", function()
    assert.is_false(handled(USR1))
    run(function()
      signal.raise "SIGCONT" -- harmless by default
      lull.timeout(1, signal.wait, "SIGUSR1", "SIGUSR2", "SIGHUP")
      for _, number in ipairs {USR1, USR2, HUP} do assert.is_true(handled(number)) end
    end)
    for _, number in ipairs {USR1, USR2, HUP} do assert.is_false(handled(number)) end
  end)

  it("comes back when the last of several loops has ended", function()
    run(function()
      local outer = lull.spawn(signal.wait, "SIGUSR1")
      lull.sleep(0)
      run(function()
        local inner = lull.spawn(signal.wait, "SIGUSR1")
        lull.sleep(0)
        signal.raise "SIGUSR1"
        assert.equal("SIGUSR1", inner:await())
      end)
      assert.is_true(handled(USR1))
      assert.equal("SIGUSR1", outer:await())
    end)
    assert.is_false(handled(USR1))
  end)

  it("is ignored again, where it was", function()
    local dir <close> = helper.tempdir()
    local path = dir:write("script.lua", [[
      local lull, signal = require "lull", require "lull.signal"
      signal.raise "SIGUSR1" -- ignored
      lull.run(function()
        lull.spawn(function() lull.sleep(0.01) signal.raise "SIGUSR1" end)
        print(signal.wait "SIGUSR1")
      end)
      signal.raise "SIGUSR1"
      print "ignored"]])
    local out, err, code = helper.execute {"env", "--ignore-signal=USR1",
                                           helper.interpreter(), "--plain", path}
    assert.same({"SIGUSR1\nignored\n", "", 0}, {out, err, code})
  end)

  it("leaves no descriptor", function()
    helper.collect()
    local before = core.descriptors()
    run(function() lull.timeout(1, signal.wait, "SIGUSR1") end)
    assert.same(before, core.descriptors())
  end)
end)

describe("several threads", function()
  it("hear of the same signals, each on its loop", function()
    run(function()
      local thread = lull.thread.spawn(function()
        local lull = require "lull" -- luacheck: ignore
        local outside = require "lull.thread"
        lull.run(function()
          local inside = require "lull.signal"
          local next_signal, _, _, closer = inside.each("SIGUSR1", "SIGUSR2")
          local _ <close> = closer
          outside.send "ready"
          for _ = 1, 3 do outside.send(next_signal()) end
        end)
      end)
      assert.equal("ready", thread:receive())
      local heard = 0
      local listener = lull.spawn(function()
        for _ in signal.each "SIGUSR1" do
          heard = heard + 1
          if heard == 2 then break end
        end
      end)
      lull.sleep(0)
      for _, name in ipairs {"SIGUSR1", "SIGUSR2", "SIGUSR1"} do
        local before = heard
        signal.raise(name)
        assert.equal(name, thread:receive())
        while name == "SIGUSR1" and heard == before do lull.sleep(0) end
      end
      thread:await()
      listener:await()
      assert.equal(2, heard)
    end, real)
    assert.is_false(handled(USR1))
  end)
end)

describe("Ctrl-C", function()
  it("is the script's while it waits for it", function()
    local out, err, code = helper.child([[
      local lull, signal = require "lull", require "lull.signal"
      lull.spawn(function()
        for _ = 1, 3 do lull.sleep(1) signal.raise "SIGINT" end
      end)
      for i = 1, 3 do print(i, signal.wait "SIGINT") end]])
    assert.same({"1\tSIGINT\n2\tSIGINT\n3\tSIGINT\n", "", 0}, {out, err, code})
  end)

  it("goes back to the program when nobody waits for it and one is kept", function()
    local out, err, code = helper.child([[
      local lull, signal = require "lull", require "lull.signal"
      lull.timeout(1, signal.wait, "SIGINT")
      signal.raise "SIGINT"
      print(signal.wait "SIGINT")
      signal.raise "SIGINT"
      lull.sleep(1)
      signal.raise "SIGINT"
      print(pcall(lull.sleep, 1))]])
    assert.same({"SIGINT\nfalse\tECANCELED: interrupted!\n", 130}, {out, code})
    assert.equal("", err)
  end)

  it("goes back to the program when signal.each is left", function()
    local out, err, code = helper.child([[
      local lull, signal = require "lull", require "lull.signal"
      lull.spawn(function() lull.sleep(1) signal.raise "SIGINT" end)
      for name in signal.each "SIGINT" do print(name) break end
      signal.raise "SIGINT"
      lull.sleep(1)
      print "never"]])
    assert.same({"SIGINT\n", "lull: interrupted!\n", 130}, {out, err, code})
  end)

  it("ends a program that has ended", function()
    local out, err, code = helper.child([[
      local lull, signal = require "lull", require "lull.signal"
      lull.timeout(1, signal.wait, "SIGINT")
      setmetatable({}, {__gc = function() signal.raise "SIGINT" end})
      setmetatable({}, {__gc = function() signal.raise "SIGINT" end})]])
    assert.same({"", "", 130}, {out, err, code})
  end)
end)
