-- Much at a time counts as several operations: who sends or receives without ever having
-- to wait gives way after some hundred KiB, whatever it goes through.  The other end is
-- the bare descriptor, which costs the task nothing.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local core = require "lull.core"
local net = require "lull.net"
local probe = require "probe"
local certificates

local SIZE <const> = 16 * 1024
local PIECE <const> = ("x"):rep(SIZE)
local FEW <const> = 20 -- without the bytes it would be all the 128 of a budget

-- Takes n bytes, or a datagram, from a descriptor.
local function drain(fd, n)
  repeat
    local data = probe.read(fd)
    n = n - (data and #data or n)
  until n <= 0
end

local function sockets(kind)
  return assert(core.pair(kind))
end

local function datagrams()
  local a, b = assert(core.datagram "inet"), assert(core.datagram "inet")
  assert(a:bind("127.0.0.1", 0))
  assert(b:bind("127.0.0.1", 0))
  local _, port_a = a:local_address()
  local _, port_b = b:local_address()
  assert(a:connect("127.0.0.1", port_b))
  assert(b:connect("127.0.0.1", port_a))
  return a, b, port_b
end

local function streams()
  return assert(net.pair())
end

-- Room for more than is received at a time.
local function wide()
  local a, b = assert(core.pair())
  assert(b:setoption("sndbuf", 1 << 20))
  return core.stream(a), core.stream(b)
end

local function secured()
  local a, b = streams()
  local server = lull.spawn(certificates.serve, b)
  assert(certificates.meet(a))
  assert(server:await())
  return a, b
end

-- One operation of a, whose other end has the descriptor fd.
local function sends(method, ...)
  local more = {...}
  return function(a, fd)
    assert(a[method](a, PIECE, table.unpack(more)))
    drain(fd, SIZE)
  end
end

-- There is always more than it takes, so that none of them has emptied the socket.
local function receives(method)
  return function(a, fd, n)
    for _ = n == 1 and 0 or 1, 1 do assert(probe.write(fd, PIECE)) end
    assert.equal(PIECE, (a[method](a, SIZE)))
  end
end

local function many(a, fd)
  assert(a:write(PIECE, PIECE, PIECE, PIECE, PIECE)) -- more than is joined
  drain(fd, 5 * SIZE)
end

local moves = {
  {"recv of a socket", sockets, receives "recv"},
  {"recvfrom of a socket", function() return sockets "dgram" end, receives "recvfrom"},
  {"recvmsg of a socket", sockets, receives "recvmsg"},
  {"send of a socket", sockets, sends "send"},
  {"sendall of a socket", sockets, sends "sendall"},
  {"sendmsg of a socket", sockets, sends("sendmsg", {})},
  {"recvfrom of a datagram", datagrams, receives "recvfrom"},
  {"send of a datagram", datagrams, sends "send"},
  {"sendto of a datagram", datagrams, function(a, fd, _, port)
    assert(a:sendto(PIECE, "127.0.0.1", port))
    drain(fd, SIZE)
  end},
  {"write of a stream", streams, sends "write"},
  {"write of many strings", streams, many},
  {"write under TLS", secured, sends "write"},
  {"write of many strings under TLS", secured, many},
}

local kinds = { -- pieces, and after how many ends the turn has come
  {"a stream", streams, 4, 5},
  {"a stream under TLS", secured, 4, 5},
  {"more than comes at a time", wide, 6, 3},
}

describe("one who moves much", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  for _, backend in helper.backends() do
    for _, move in ipairs(moves) do
      it("gives way sooner by " .. move[1] .. ", on " .. backend, function()
        run(function()
          local a, b, more = move[2]()
          local fd, turn, n = b:fileno(), false, 0
          lull.sleep(0) -- a budget that is whole
          lull.spawn(function() turn = true end)
          repeat
            n = n + 1
            move[3](a, fd, n, more)
          until turn or n > FEW
          assert.is_true(turn, n .. " operations")
          for _, x in ipairs {a, b} do
            if x.abort then x:abort() else x:close() end
          end
        end, {selector = backend, real = true})
      end)
    end

    -- Here it is lull that sends, before the budget counts.
    for _, kind in ipairs(kinds) do
      it("gives way sooner by reading " .. kind[1] .. ", on " .. backend, function()
        run(function()
          local ends, n, turn = {}, 0, false
          for i = 1, 8 do
            local a, b = kind[2]()
            b:write(PIECE:rep(kind[3]))
            assert(b:flush())
            ends[i] = {a, b}
          end
          lull.sleep(0)
          lull.spawn(function() turn = true end)
          repeat
            n = n + 1
            ends[n][1]:read(1)
            ends[n][1]:read_exactly(kind[3] * SIZE - 1)
          until turn or n == #ends
          assert.is_true(turn and n <= kind[4], n .. " reads")
          for _, pair in ipairs(ends) do
            pair[1]:abort()
            pair[2]:abort()
          end
        end, {selector = backend})
      end)
    end
  end
end)
