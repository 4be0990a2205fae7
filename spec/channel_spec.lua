-- What goes between a thread and its owner: in order, bounded, never lost, and with an
-- end that everybody hears of.
local helper = require "spec.helper"
local lull = require "lull"
local thread = require "lull.thread"

local function run(fn) return helper.run(fn, {real = true}) end

-- The thread sanitizer grows slower with every task switch.
local raced = (os.getenv "LULL_BUILD" or ""):find "tsan$"

-- A thread that sends back what it gets, until there is no more.
local function echo()
  local t = require "lull.thread"
  local count = 0
  for v in t.receive do
    t.send(v)
    count = count + 1
  end
  return count
end

-- The same on a loop of its own, by several tasks.
local function echo_in_tasks()
  local l = require "lull"
  local count = 0
  l.run(function()
    for _ = 1, 3 do
      l.spawn(function()
        for v in l.thread.receive do
          l.sleep(0)
          count = count + 1
          l.thread.send(v)
        end
      end)
    end
  end)
  return count
end

describe("a message", function()
  it("arrives as it was, each in its turn", function()
    run(function()
      local t <close> = thread.spawn(echo)
      for _, v in ipairs {1, 1.0, "", "x\0", true, false, {1, {2}}, {}} do
        assert.is_true(t:send(v))
        assert.same(v, t:receive())
      end
      for i = 1, 50 do t:send(i) end
      for i = 1, 50 do assert.equal(i, t:receive()) end
      t:finish()
      assert.is_nil(t:receive())
      assert.equal(58, t:await())
    end)
  end)

  it("is one of very many, on both sides bounded", function()
    for _, body in ipairs {echo, echo_in_tasks} do
      run(function()
        local n, sum = raced and 300 or 2000, 0
        local t <close> = thread.spawn(body)
        local most, sent, got = 0, 0, 0
        lull.gather(function()
          for i = 1, n do
            assert(t:send(i))
            sent = i
            most = math.max(most, sent - got)
          end
          t:finish()
        end, function()
          for v in t.receive, t do
            got, sum = got + 1, sum + v
            if got % 100 == 0 then lull.sleep(0) end
          end
        end)
        assert.equal(n * (n + 1) // 2, sum)
        assert.equal(n, t:await())
        assert.is_true(most <= 64 * 2 + 5, most)
      end)
    end
  end)

  it("waits when a mebibyte waits already, however few they are", function()
    run(function()
      local t <close> = thread.spawn(function()
        local tt = require "lull.thread"
        assert(tt.receive() == "go")
        local sizes = {}
        for v in tt.receive do sizes[#sizes + 1] = #v end
        return sizes
      end)
      t:send "go"
      local sent = 0
      local hold = thread.spawn(function()
        local l = require "lull"
        l.run(l.sleep, 1e9)
      end)
      local filler = lull.spawn(function()
        for _ = 1, 10 do
          assert(hold:send(("x"):rep(400000)))
          sent = sent + 1
        end
      end)
      lull.sleep(0.02)
      assert.is_true(sent >= 3 and sent <= 5, sent)
      filler:cancel()
      hold:close()
      for _ = 1, 5 do t:send(("y"):rep(3 << 20)) end
      t:finish()
      assert.equal(5, #t:await())
    end)
  end)

  it("cannot be nil, nor what cannot be copied", function()
    run(function()
      local t <close> = thread.spawn(echo)
      assert.error_matches(function() t:send(nil) end, "nil cannot be sent")
      assert.error_matches(function() t:send() end, "value expected")
      assert.error_matches(function() t:send {x = {print}} end,
        "cannot copy a function %(argument 1, field 'x%[1%]'%)")
      assert.error_matches(function() t.send(1, 2) end, "Thread expected, got number")
      assert.is_true(t:send "still alive")
      assert.equal("still alive", t:receive())
    end)
    assert.error_matches(function() thread.receive() end, "not a thread")
    assert.error_matches(function() thread.send(1) end, "not a thread")
    run(function()
      assert.error_matches(function()
        thread.call(function() require "lull.thread".receive() end)
      end, "not a thread")
    end)
  end)
end)

describe("the end", function()
  it("wakes everybody who waits", function()
    run(function()
      local t = thread.spawn(function() require "lull.thread".receive() end)
      local receivers, senders = {}, {}
      for i = 1, 3 do receivers[i] = lull.spawn(t.receive, t) end
      lull.sleep(0.005)
      t:finish()
      for i = 1, 3 do assert.is_nil(receivers[i]:await()) end
      t:await()

      local u = thread.spawn(function()
        local l = require "lull"
        l.run(l.sleep, 1e9)
      end)
      for i = 1, 100 do senders[i] = lull.spawn(u.send, u, i) end
      lull.sleep(0)
      u:close()
      local sent, refused = 0, 0
      for i = 1, 100 do
        local ok, message, code = senders[i]:await()
        if ok then
          sent = sent + 1
        else
          assert.equal("EPIPE", code)
          assert.equal("EPIPE: the thread has ended", message)
          refused = refused + 1
        end
      end
      assert.same({64, 36}, {sent, refused})
      assert.equal("EPIPE", select(3, u:send(1)))
      assert.is_nil(u:receive())
    end)
  end)

  it("leaves what was sent before it", function()
    run(function()
      local t = thread.spawn(function()
        for i = 1, 5 do require "lull.thread".send(i) end
      end)
      t:await()
      for i = 1, 5 do assert.equal(i, t:receive()) end
      assert.is_nil(t:receive())
      assert.is_nil(t:receive())
    end)
  end)

  it("leaves a finished thread what was sent to it", function()
    run(function()
      local t = thread.spawn(function()
        local l, n = require "lull", 0
        l.run(l.sleep, 0.01)
        for _ in l.thread.receive do n = n + 1 end
        assert(l.thread.receive() == nil)
        return n
      end)
      for i = 1, 10 do t:send(i) end
      t:finish()
      t:finish()
      assert.equal("EPIPE: the thread's input is finished", select(2, t:send(1)))
      assert.equal(10, t:await())
    end)
  end)

  it("comes when a thread is closed while it sends and others receive", function()
    run(function()
      for i = 1, 20 do
        local t = thread.spawn(function()
          while true do require "lull.thread".send "x" end
        end)
        local receiver = lull.spawn(function()
          local n = 0
          for _ in t.receive, t do n = n + 1 end
          return n
        end)
        for _ = 1, i do lull.sleep(0) end
        t:close()
        assert.is_true(receiver:await() >= 0)
      end
    end)
  end)
end)

describe("a wait", function()
  it("that is cancelled loses nothing", function()
    run(function()
      for _, body in ipairs {echo, echo_in_tasks} do
        local t <close> = thread.spawn(body)
        local sent, got = 0, 0
        local receivers = {}
        for round = 1, 200 do
          local receiver = lull.spawn(function()
            if t:receive() then got = got + 1 end
          end)
          receivers[#receivers + 1] = receiver
          lull.timeout(round % 3 * 0.0002, function()
            if t:send(round) then sent = sent + 1 end
          end)
          if round % 4 == 0 then receivers[round // 2]:cancel() end
        end
        t:finish()
        for _, receiver in ipairs(receivers) do pcall(receiver.await, receiver) end
        for _ in t.receive, t do got = got + 1 end
        assert.equal(sent, got)
        assert.equal(sent, t:await())
      end
    end)
  end)

  it("ends in order: who came first is served first", function()
    run(function()
      local t <close> = thread.spawn(echo)
      local order = {}
      for i = 1, 5 do
        lull.spawn(function() order[i] = t:receive() end)
      end
      lull.sleep(0)
      for i = 1, 5 do t:send(i) end
      while #order < 5 do lull.sleep(0.001) end
      assert.same({1, 2, 3, 4, 5}, order)
    end)
  end)

  it("of a cancelled receiver passes its wake on", function()
    run(function()
      local t <close> = thread.spawn(echo)
      for _ = 1, 50 do
        local first, second = lull.spawn(t.receive, t), lull.spawn(t.receive, t)
        lull.sleep(0)
        t:send "for one of them"
        local probe = lull.spawn(function()
          -- cancel the first at the very moment when it has been woken
          while not tostring(first):find "ready" do
            if first:done() then return end
            lull.sleep(0)
          end
          first:cancel()
        end)
        while not (first:done() or second:done()) do lull.sleep(0) end
        probe:await()
        if first:cancelled() then
          assert.equal("for one of them", second:await())
        else
          assert.equal("for one of them", first:await())
          second:close()
        end
      end
    end)
  end)

  it("takes its turn in a thread with and without a loop", function()
    run(function()
      local t <close> = thread.spawn(function()
        local l = require "lull"
        local a = l.thread.receive()
        local b = l.run(l.thread.receive)
        local c = l.thread.receive()
        local d, e = l.run(function()
          return l.gather(l.thread.receive, l.thread.receive)
        end)
        return a, b, c, d, e, l.thread.receive()
      end)
      for i = 1, 5 do
        t:send(i)
        lull.sleep(0.001)
      end
      t:finish()
      assert.same({1, 2, 3, 4, 5}, {t:await()})
    end)
  end)

  it("for a thread is no deadlock while the thread can act by itself", function()
    helper.run(function()
      local t <close> = thread.spawn(function()
        local l = require "lull"
        l.run(l.sleep, 0.01)
        return "slept"
      end)
      assert.equal("slept", t:await())
    end, {guard = false})
  end)

  it("is one when the thread waits for us, also in the middle of a send", function()
    local err = helper.failure(function()
      local t = thread.spawn(function()
        while true do require "lull.thread".send(1) end
      end)
      t:await()
    end, {guard = false})
    assert.matches("^deadlock", err)
  end)

  it("lets a virtual clock go on when the thread waits for us", function()
    helper.run(function()
      local t <close> = thread.spawn(echo)
      for i = 1, 5 do
        lull.sleep(10)
        t:send(i)
        assert.equal(i, t:receive())
      end
      assert.is_true(lull.now() >= 50)
    end)
  end)
end)

describe("a bell", function()
  it("may ring for a loop that is being closed", function()
    for i = 1, raced and 6 or 30 do
      local loop = lull.new_loop()
      loop:run_until_complete(function()
        for _ = 1, 4 do
          local t = thread.spawn(function()
            while true do require "lull.thread".send(("x"):rep(100)) end
          end)
          lull.spawn(function() for _ in t.receive, t do lull.sleep(0) end end)
        end
        for _ = 1, i do lull.sleep(0) end
      end)
      loop:close()
      if i % 10 == 0 then collectgarbage() end
    end
    collectgarbage()
    collectgarbage()
  end)

  it("serves one loop of a thread after the other, and loops within loops", function()
    run(function()
      local t <close> = thread.spawn(function()
        local l = require "lull"
        local sum = 0
        for _ = 1, 50 do
          local v = l.run(function()
            local first = l.thread.receive()
            local inner <close> = l.new_loop {clock = "virtual"}
            return first + inner:run_until_complete(l.thread.receive)
          end)
          sum = sum + v
        end
        return sum
      end)
      for i = 1, 100 do assert(t:send(i)) end
      assert.equal(5050, t:await())
    end)
  end)
end)
