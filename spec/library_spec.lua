-- OpenSSL, c-ares, liburing and libedit come when they are needed, and not before: what
-- is in memory of a program that does or does not use them, and what is said where they
-- are not to be had.
local helper = require "spec.helper"

-- What a script begins with: mapped(name) tells whether that library is in memory.
local head = [[
  local lull, net = require "lull", require "lull.net"
  local pem = "examples/localhost.pem"
  local function mapped(name)
    for line in io.lines "/proc/self/maps" do
      if line:find("/lib" .. name .. ".so", 1, true) then return true end
    end
    return false
  end
]]

local function linked()
  local build = os.getenv "LULL_BUILD" or helper.interpreter():match "^(.*)/" or "."
  local cache = io.open(build .. "/CMakeCache.txt")
  return not cache or cache:read "a":find("LULL_LOAD:BOOL=OFF", 1, true)
end

if not io.open "/proc/self/maps" or linked() then
  return describe("libraries", function() pending "are linked, or there is no /proc" end)
end

local function run(text, ...)
  local out, err, code = helper.child(head .. text, ...)
  assert.same({"", 0}, {err, code})
  return out
end

-- Runs it where the library of that name is something else: nonsense, or a symbolic link
-- to another one.
local function without(library, text, other)
  local dir <close> = helper.tempdir()
  if other then
    assert(os.execute(("ln -s '%s' '%s/%s'"):format(other, dir.path, library)))
  else
    dir:write(library, "nonsense")
  end
  local script = dir:write("script.lua", head .. text)
  local out, err, code = helper.execute {"env", "LD_LIBRARY_PATH=" .. dir.path,
    helper.interpreter(), script}
  assert.same({"", 0}, {err, code})
  return out
end

describe("a library", function()
  it("is not in the memory of a program that does not need it", function()
    local text = head .. [[
      lull.run(function()
        local listener <close> = assert(net.listen("127.0.0.1", 0))
        local _, port = listener:local_address()
        local stream <close> = assert(net.connect("127.0.0.1", port))
      end)
      print(mapped "c", mapped "ssl", mapped "crypto", mapped "cares", mapped "uring",
        mapped "edit")
    ]]
    local nothing = "true" .. ("\tfalse"):rep(5) .. "\n"
    assert.same({nothing, "", 0}, {helper.child(text, "--real")})
    local out, err, code = helper.stock(text)
    if out then assert.same({nothing, "", 0}, {out, err, code}) end
  end)

  it("comes with the first certificate", function()
    assert.equal("false\ttrue\tfalse\n", run([[
      local before = mapped "ssl"
      assert(net.listen("127.0.0.1", 0, {tls = {cert_file = pem}})):close()
      print(before, mapped "ssl", mapped "cares")
    ]], "--real"))
  end)

  it("comes with the first name that is no number", function()
    assert.equal("false\ttrue\tfalse\n", run([[
      assert(net.resolve "127.0.0.1" and net.resolve "::1")
      local before = mapped "cares"
      assert(net.resolve("x.example", {servers = {"127.0.0.1:1"}, attempts = 1}) == nil)
      print(before, mapped "cares", mapped "ssl")
    ]], "--real"))
  end)

  it("comes with the selector that is made of it", function()
    assert.equal("false\ttrue\n", run [[
      local before = mapped "uring"
      pcall(lull.new_loop, {selector = "io_uring"}) -- not every kernel has it
      print(before, mapped "uring")
    ]])
  end)

  it("may be needed by several threads at once", function()
    assert.equal("8\n", run([[
      local thread, n = require "lull.thread", 0
      local tasks = {}
      for i = 1, 8 do
        tasks[i] = lull.spawn(function()
          local one = thread.call(function(pem)
            local lull, net = require "lull", require "lull.net"
            return lull.run(function()
              local one = net.listen("127.0.0.1", 0, {tls = {cert_file = pem}})
              return one and one:close() ~= false and 1 or 0
            end)
          end, pem)
          n = n + one
        end)
      end
      for _, task in ipairs(tasks) do task:await() end
      print(n)
    ]], "--real"))
  end)
end)

describe("where a library is not to be had", function()
  it("TLS fails and says so, each time; all else works", function()
    assert.equal("nil\tETLS\ttrue\nnil\tETLS\ttrue\ntrue\n", without("libssl.so.3", [[
      for _ = 1, 2 do
        local none, message, code = net.listen("127.0.0.1", 0, {tls = {cert_file = pem}})
        print(none, code, message:find "^ETLS: .*libssl%.so%.3: file too short" ~= nil)
      end
      print(net.listen("127.0.0.1", 0) ~= nil)
    ]]))
  end)

  it("the function that it lacks is named", function()
    local libm
    for line in io.lines "/proc/self/maps" do
      libm = libm or line:match "(/%S+/libm%.so%S*)"
    end
    if not libm then return end
    local out = without("libssl.so.3", [[
      print((select(2, net.listen("127.0.0.1", 0, {tls = {cert_file = pem}}))))
    ]], libm)
    assert.truthy(out:find "^ETLS: .*undefined symbol: BIO_%w+")
  end)

  it("names are the system's to resolve, unless name servers are asked for", function()
    assert.equal("true\nENOSYS\n", without("libcares.so.2", [[
      print(net.resolve "localhost" ~= nil)
      print((select(3, net.resolve("x.example", {resolver = "dns"}))))
    ]]))
  end)

  it("there is no such selector", function()
    assert.equal("true\tfalse\n", without("liburing.so.2", [[
      local found = {}
      for _, name in ipairs(lull.selectors.available()) do found[name] = true end
      print(found.poll, (pcall(lull.new_loop, {selector = "io_uring"})))
    ]]))
  end)
end)
