-- Every program in the manual runs, and prints what the manual says behind "-->"; the
-- server of the README serves.
local helper = require "spec.helper"
local pages = require "spec.pages"

describe("the manual", function()
  for _, test in ipairs(pages.tests "docs/manual.md") do it(table.unpack(test)) end
end)

describe("the README", function()
  it("shows a server that works", function()
    local server = pages.blocks("README.md")[1].text
    local out, err, code = helper.child(([[
      local lull, net = require "lull", require "lull.net"
      arg[1] = "0"
      local address = lull.future()
      function print(_, host, port) address:set_result(host, port) end
      local server = lull.spawn(assert(load(%q, "=README")))
      local host, port = address:await()
      local ann, bob = net.connect(host, port), net.connect(host, port)
      for _, name in ipairs {"ann", "bob"} do -- each hears itself before the next speaks
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
      server:cancel()]]):format(server), "--real")
    assert.equal("", err)
    assert.equal("heard\n", out)
    assert.equal(0, code)
  end)
end)
