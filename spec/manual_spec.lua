-- Every program in the manual runs, and prints what the manual says behind "-->"; the
-- server of the README serves.
local helper = require "helper"

local function read(path)
  local f = assert(io.open(path))
  local text = f:read "a"
  f:close()
  return text
end

-- The parts of a text between lines that begin with ```: prose and programs in turn.
local function parts(text)
  local list, line = {}, 1
  for part in (text .. "\n```\n"):gmatch "(.-\n)```[^\n]*\n" do
    list[#list + 1] = {line = line, text = part}
    line = line + select(2, part:gsub("\n", "")) + 1
  end
  return list
end

local function expected(program)
  local lines = {}
  for text in program:gmatch "%-%-> ([^\n]*)" do lines[#lines + 1] = text .. "\n" end
  return table.concat(lines)
end

describe("the manual", function()
  for i, part in ipairs(parts(read "docs/manual.md")) do
    if i % 2 == 0 then
      it("tells the truth in line " .. part.line, function()
        local out, err, code = helper.child(part.text)
        assert.equal("", err)
        assert.equal(0, code)
        assert.equal(expected(part.text), out)
      end)
    end
  end
end)

describe("the README", function()
  it("shows a server that works", function()
    local out, err, code = helper.child(([[
      local lull, net = require "lull", require "lull.net"
      arg[1] = "0"
      local address = lull.future()
      function print(_, host, port) address:set_result(host, port) end
      local server = lull.spawn(assert(load(%q, "=README")))
      local host, port = address:await()
      local ann, bob = net.connect(host, port), net.connect(host, port)
      for _, name in ipairs {"ann", "bob"} do -- each hears itself before the next one speaks
        local stream = name == "ann" and ann or bob
        assert(stream:read_until "? " == "your name? ")
        stream:write(name, "\n", "I am ", name, "\n")
        repeat until stream:read() == name .. ": I am " .. name
      end
      repeat until ann:read() == "bob: I am bob"
      bob:write "bye\n"
      bob:shutdown "write"
      repeat until ann:read() == "bob: bye"
      io.write "heard\n"
      server:cancel()]]):format(parts(read "README.md")[2].text), "--real")
    assert.equal("", err)
    assert.equal("heard\n", out)
    assert.equal(0, code)
  end)
end)
