-- lull beside other people's C modules, in the stock lua5.4 and in the interpreter:
-- luasocket, lpeg and lfs know nothing of it, and go on working.
local helper = require "spec.helper"

local PROGRAM = [[
local lull = require "lull"
local net = require "lull.net"
local socket, lpeg, lfs = require "socket", require "lpeg", require "lfs"

local function tests()
  -- lfs: its iterator is a C function, with suspensions in the loop around it
  local names = 0
  for name in lfs.dir "." do
    lull.sleep(0)
    names = names + #name
  end
  assert(names > 0)
  assert(lfs.attributes(".", "mode") == "directory")

  -- lpeg: matches in tasks; inside of a capture nothing can suspend, and it says so
  local list = lpeg.Ct(lpeg.P { lpeg.C(lpeg.R "az" ^ 1) * ("," * lpeg.V(1)) ^ -1 })
  local a, b = lull.gather(
    function() lull.sleep(0.001) return #list:match "x,y,z" end,
    function() return #list:match "one,two" end)
  assert(a == 3 and b == 2)
  local ok, err = pcall(lpeg.match, lpeg.P "x" / function() lull.sleep(0) end, "x")
  assert(not ok and err:find "cannot suspend inside", err)

  -- luasocket: its descriptors may be watched, its peers are ours
  local listener <close> = assert(net.listen("127.0.0.1", 0))
  local serving <close> = lull.spawn(listener.serve, listener, function(stream)
    for line in stream:lines() do stream:write(line:upper(), "\n") end
  end)
  local host, port = listener:local_address()
  local client = assert(socket.connect(host, port))
  client:settimeout(0)
  assert(client:send "hello\n")
  assert(client:receive "*l" == nil)
  lull.await_callback(function(done)
    lull.loop():add_reader(client:getfd(), done)
    return function() lull.loop():remove_reader(client:getfd()) end
  end)
  lull.loop():remove_reader(client:getfd())
  assert(client:receive "*l" == "HELLO")
  client:close()

  -- a coroutine of somebody else is left alone
  local co = coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end)
  assert(co() + co() + co() == 6)
  assert(serving:status() == "pending")
  return "well"
end

print(lull.run(tests))
]]

local function check(out, err, code)
  assert.equal("", err)
  assert.equal("well\n", out)
  assert.equal(0, code)
end

describe("luasocket, lpeg and lfs", function()
  it("work beside lull in a stock lua5.4", function()
    local out, err, code = helper.stock(PROGRAM)
    if out then check(out, err, code) end -- none with sanitizers
  end)

  it("work in the interpreter", function()
    check(helper.child(PROGRAM, "--real"))
  end)

  it("work in the interpreter, where lull runs by itself only", function()
    check(helper.child(PROGRAM, "--real", "--plain"))
  end)
end)

describe("lull in a stock lua5.4", function()
  it("is loaded once, whatever it is called", function()
    local out, err, code = helper.stock [[
      local lull = require "lull"
      assert(lull == require "lull" and lull.net == require "lull.net")
      assert(package.loaded["lull.core"])
      print(lull.version, coroutine.isyieldable())]]
    if not out then return end
    assert.equal("", err)
    assert.equal(helper.lull.version .. "\tfalse\n", out)
    assert.equal(0, code)
  end)

  it("says which failure nobody has looked at, but leaves the exit code alone", function()
    local out, err, code = helper.stock [[
      local lull = require "lull"
      lull.run(function() lull.spawn(error, "lost") end)
      print "after"]]
    if not out then return end
    assert.matches("lost", err)
    assert.equal("after\n", out)
    assert.equal(0, code)
  end)

  it("ends a deadlock by an error", function()
    local out, err, code = helper.stock [[
      local lull = require "lull"
      lull.run(function() lull.future():await() end)]]
    if not out then return end
    assert.matches("deadlock: nothing can wake any of these tasks", err)
    assert.equal("", out)
    assert.equal(1, code)
  end)
end)
