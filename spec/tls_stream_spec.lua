-- A stream under TLS is a stream: reads, backpressure, cancellation, how it ends.  All on
-- the virtual clock: both ends are ours, over a socket pair.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local net = require "lull.net"
local core = require "lull.core"
local meddler = require "spec.meddler"
local certificates

local failure, pattern, fill = cast.failure, cast.pattern, cast.fill

local HIGH_WATER = 64 * 1024

local function truncated(...)
  local code, message = failure(...)
  assert.equal("ETLS", code)
  assert.matches("truncated", message)
end

-- Both ends of a pair, with the streams below: an end that closes its descriptor shows
-- the other what a broken connection looks like.
local function plain(opts)
  return assert(net.pair(opts))
end

local function server_tls(more) return certificates("server", more) end

local function start_server(...) return certificates.serve(...) end
local function start_client(...) return certificates.meet(...) end

-- Client and server after the handshake.
local function ends(opts, more)
  local a, b = plain(opts)
  local server = lull.spawn(start_server, b)
  assert(start_client(a, more))
  assert(server:await())
  return a, b
end

-- Small socket buffers, so that everything comes in parts.
local function narrow(opts)
  local a, b = assert(core.pair())
  a:setoption("sndbuf", 1)
  b:setoption("sndbuf", 1)
  a, b = core.stream(a, opts), core.stream(b, opts)
  local server = lull.spawn(start_server, b)
  assert(start_client(a))
  assert(server:await())
  return a, b
end

describe("under TLS", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  for _, backend in helper.backends() do
    describe("on " .. backend, function()
      local function on(fn, opts)
        opts = opts or {}
        opts.selector = backend
        return function() return run(fn, opts) end
      end

      it("everything can be read in every format", on(function()
        local a, b = ends()
        a:write("a line\nanother\r\n", "12345", " 42 is it;", "the rest\nof it")
        assert.equal("a line", b:read())
        assert.same({"another\r\n", "12345", 42}, {b:read("L", 5, "n")})
        assert.equal(" is it;", b:read_until ";")
        assert.equal("the", b:read_exactly(3))
        assert.equal(" res", b:read_some(4))
        a:close()
        assert.equal("t\nof it", b:read "a")
        assert.equal("", b:read "a")
        assert.is_nil(b:read())
        assert.is_nil(b:read_some())
        b:close()
      end))

      it("much goes both ways at once", on(function()
        for _, make in ipairs {ends, narrow} do
          local a, b = make()
          local size = make == ends and 1000000 or 200000
          local up, down = pattern(size, "u"), pattern(size, "d")
          local tasks = {}
          for i, stream in ipairs {a, b} do
            tasks[i] = lull.spawn(function()
              for at = 1, size, 70000 do
                assert(stream:write((i == 1 and up or down):sub(at, at + 69999)))
              end
              assert(stream:shutdown "write")
            end)
            tasks[i + 2] = lull.spawn(stream.read, stream, "a")
          end
          lull.gather(table.unpack(tasks))
          assert.is_true(tasks[3]:result() == down)
          assert.is_true(tasks[4]:result() == up)
        end
      end))

      it("what is there is read without a turn", on(function()
        local a, b = ends()
        local turns = 0
        lull.spawn(function()
          while lull.sleep(0) ~= 0 do turns = turns + 1 end
        end):daemon()
        a:write(pattern(50001))
        b:read(1)
        turns = 0
        for _ = 1, 50 do assert.equal(1000, #b:read(1000)) end
        assert.equal(0, turns)
      end))

      it("a piece that is larger than everything goes through", on(function()
        local a, b = ends()
        local text = pattern(2 << 20)
        local writer = lull.spawn(a.write, a, "abc", text, "xyz")
        assert.is_true("abc" .. text .. "xyz" == b:read(#text + 6))
        assert.equal(a, writer:await())
      end))

      describe("a writer", function()
        it("waits while more than high_water is to be sent", on(function()
          local a, b = ends()
          local text = fill(a)
          assert.is_nil(a:try_write "x")
          local done
          local writer = lull.spawn(function()
            assert.equal(a, a:write "more")
            done = true
          end)
          lull.sleep(5)
          assert.is_nil(done)
          local got = b:read(#text - HIGH_WATER // 2)
          writer:await()
          a:close()
          assert.is_true(text .. "more" == got .. b:read "a")
        end))

        it("that is cancelled or out of time has written", on(function()
          local a, b = ends()
          local text = ""
          for _ = 1, 10 do -- a selector may receive ahead of b
            text = text .. fill(a)
            lull.sleep(1)
          end
          local writer = lull.spawn(a.write, a, "cancelled,")
          lull.sleep(1)
          writer:cancel()
          a:settimeout(1)
          assert.equal("ETIMEDOUT", (failure(a:write "out of time,")))
          assert.equal("ETIMEDOUT", (failure(a:flush())))
          a:settimeout(nil)
          lull.spawn(a.write, a, "patient")
          lull.sleep(0)
          a:shutdown "write"
          assert.is_true(text .. "cancelled,out of time,patient" == b:read "a")
        end))

        it("flushes", on(function()
          local a, b = narrow()
          local text = fill(a)
          local flushed = false
          local flusher = lull.spawn(function()
            assert.equal(a, a:flush())
            flushed = true
          end)
          lull.sleep(1)
          assert.is_false(flushed)
          local got = {}
          repeat got[#got + 1] = b:read_some() until flushed
          flusher:await()
          a:abort()
          repeat
            local part = b:read_some()
            got[#got + 1] = part
          until not part
          assert.is_true(text == table.concat(got))
        end))

        it("is told when the peer is gone", on(function()
          local a, b = ends()
          fill(a)
          local writer, flusher = lull.spawn(a.write, a, "x"), lull.spawn(a.flush, a)
          lull.sleep(1)
          b:abort()
          assert.equal("EPIPE", (failure(writer:await())))
          assert.equal("EPIPE", (failure(flusher:await())))
          assert.equal("EPIPE", (failure(a:try_write "x")))
          assert.is_true(({ETLS = true, ECONNRESET = true})[failure(a:read())])
        end))

        it("does not keep what is sent", on(function()
          local a, b = ends()
          local reader = lull.spawn(function() while b:read_some() do end end)
          local piece = pattern(1 << 20)
          collectgarbage()
          collectgarbage()
          local before = collectgarbage "count"
          for i = 1, 6 do a:write(piece:sub(i)) end
          a:flush()
          collectgarbage()
          collectgarbage()
          assert.is_true(collectgarbage "count" - before < 500)
          a:close()
          reader:await()
        end))
      end)

      describe("a reader", function()
        it("that is cancelled or out of time has taken nothing", on(function()
          local a, b = ends()
          a:write "half a li"
          local reader = lull.spawn(b.read, b)
          lull.sleep(1)
          reader:cancel()
          lull.sleep(1)
          b:settimeout(1)
          assert.equal("ETIMEDOUT", (failure(b:read())))
          b:settimeout(0)
          assert.equal("ETIMEDOUT", (failure(b:read())))
          a:write "ne\n"
          assert.equal("half a line", b:read())
        end))

        it("is the only one", on(function()
          local a, b = ends()
          local reader = lull.spawn(b.read, b)
          lull.sleep(0)
          assert.has_error(function() b:read() end, "another task is reading")
          a:write "x\n"
          assert.equal("x", reader:await())
        end))

        it("is woken by what OpenSSL has kept", on(function()
          local a, b = ends()
          local text = pattern(200000)
          lull.spawn(a.write, a, text)
          local got = {}
          while #table.concat(got) < #text do
            got[#got + 1] = b:read_some(777)
            if #got % 7 == 0 then lull.sleep(0) end
          end
          assert.is_true(text == table.concat(got):sub(1, #text))
        end, {seed = 5}))

        it("gets lines no longer than the limit", on(function()
          local a, b = ends {limit = 1000}
          a:write(("x"):rep(1001), "\n")
          assert.equal("EMSGSIZE", (failure(b:read())))
          assert.equal(1001, #b:read(1001))
        end))
      end)

      describe("the end", function()
        it("comes after everything that was written", on(function()
          for _, make in ipairs {ends, narrow} do
            local a, b = make()
            local text = fill(a)
            a:close()
            assert.is_true(text == b:read "a")
            assert.is_nil(b:read())
          end
        end))

        it("of one direction leaves the other", on(function()
          for _, version in ipairs {"1.2", "1.3"} do
            local a, b = ends(nil, {max_version = version})
            assert.equal("TLSv" .. version, a:tls_info().version)
            assert.equal(a, a:shutdown "write")
            assert.equal(a, a:shutdown "write")
            assert.equal("EPIPE", (failure(a:write "x")))
            assert.is_nil(b:read())
            local text = pattern(100000)
            local writer = lull.spawn(b.write, b, text)
            assert.is_true(text == a:read(#text))
            writer:await()
            b:close()
            assert.is_nil(a:read())
          end
        end))

        it("of one direction waits for what is pending", on(function()
          local a, b = narrow()
          local text = fill(a)
          a:shutdown "write"
          assert.is_true(text == b:read "a")
        end))

        it("of reading, by ourselves, is a clean one", on(function()
          local a, _ <close> = ends()
          a:shutdown "read"
          assert.same({n = 1}, table.pack(a:read()))
          assert.same({n = 1}, table.pack(a:read_some()))
        end))

        it("that nobody told is a failure, each time", on(function()
          local raw, server = plain()
          local a, b = ends()
          b:write "x" -- nothing may be left unread: that would be a reset
          a:read_some()
          a:write "last words"
          a:abort()
          assert.equal("last words", b:read_some())
          for _ = 1, 3 do
            truncated(b:read())
            truncated(b:read "a")
            truncated(b:read_some())
            truncated(b:read_exactly(3))
          end
          assert.is_nil(raw:tls_info() or server:tls_info())
        end))

        it("in the middle of a record is one too", on(function()
          local a, b = meddler(1000, function(direction, at, data)
            return (direction == "up" or at < 20000) and data
          end)
          local server = lull.spawn(start_server, b)
          assert(start_client(a))
          server:await()
          b:write(pattern(100000))
          assert.is_string(a:read_some())
          local code
          repeat
            local part, _, why = a:read_some()
            code = why
          until not part
          assert.equal("ETLS", code)
          truncated(a:read "a")
          b:close()
        end))

        it("is told by collection too", on(function()
          local function leave()
            local _, b = ends()
            return b
          end
          local b = leave()
          collectgarbage()
          collectgarbage()
          assert.is_nil(b:read())
        end))

        it("is told late where there is no room for it", on(function()
          -- how many flushed writes fit into the sockets, when nobody reads
          local function count(a, most)
            a:settimeout(0)
            local n = 0
            while n < most and a:write(("x"):rep(200)) and a:flush() do n = n + 1 end
            return n
          end
          local room = count(narrow(), 10000)
          local a, b = narrow()
          assert.equal(room, count(a, room))
          a:close()
          assert.equal(200 * room, #b:read "a")
          assert.is_nil(b:read())
        end))

        it("waits for a peer that reads slowly, not for ever", on(function()
          local a, b = ends {linger = 3}
          local text = fill(a)
          a:close()
          lull.sleep(4)
          local got = {}
          local code
          repeat
            local part, _, why = b:read_some()
            code = why
            got[#got + 1] = part
          until not part
          assert.is_true(#table.concat(got) < #text)
          assert.is_true(code == "ETLS" or code == "ECONNRESET", code)
        end))
      end)

      describe("relays", function()
        it("go in, out, and through", on(function()
          local text = pattern(1000000)
          local a, b = ends()
          local c, d = plain()
          local e, f = ends()
          local tasks = {
            lull.spawn(function() a:write(text) a:close() end),
            lull.spawn(function() assert.equal(#text, b:relay(c)) c:shutdown "write" end),
            lull.spawn(function() assert.equal(#text, d:relay(e)) e:shutdown "write" end),
          }
          assert.is_true(text == f:read "a")
          lull.gather(table.unpack(tasks))
        end))

        it("are cancelled without a loss", on(function()
          local text = pattern(400000)
          local a, b = ends()
          local c, d = narrow()
          local writer = lull.spawn(function() a:write(text) a:close() end)
          local reader = lull.spawn(d.read, d, "a")
          repeat
            local task = lull.spawn(b.relay, b, c)
            helper.turns(3)
            local done = task:done()
            task:cancel()
            pcall(task.await, task)
          until done
          c:close()
          writer:await()
          assert.is_true(text == reader:await())
        end))
      end)

      describe("the handshake", function()
        -- A client and a server whose handshake has not been made.
        local function strangers()
          local name = ("\0lull-tls-%p-%s"):format({}, backend)
          local listener <close> = assert(net.listen_unix(name, {tls = server_tls()}))
          local client = assert(net.connect_unix(name, {timeout = false}))
          return client, assert(listener:accept())
        end

        it("is made by who reads", on(function()
          local a, b = strangers()
          assert.is_nil(b:tls_info())
          local reader = lull.spawn(b.read, b)
          start_client(a)
          a:write "hello\n"
          assert.equal("hello", reader:await())
          assert.equal("localhost", b:tls_info().server_name)
        end))

        it("is made by who writes, in the background", on(function()
          local a, b = strangers()
          assert.equal(b, b:write "hello\n")
          start_client(a)
          assert.equal("hello", a:read())
        end))

        it("is made by try_write and close", on(function()
          local a, b = strangers()
          assert.equal(b, b:try_write(pattern(100000)))
          b:close()
          start_client(a)
          assert.is_true(pattern(100000) == a:read "a")
        end))

        it("is made by shutdown", on(function()
          local a, b = strangers()
          assert.equal(b, b:shutdown "write")
          start_client(a)
          a:write "x\n"
          assert.is_nil(a:read())
          assert.equal("x", b:read())
        end))

        it("is made by flush, and by handshake, for all who wait", on(function()
          local a, b = strangers()
          b:write "x\n"
          local tasks = {
            lull.spawn(b.flush, b), lull.spawn(b.handshake, b),
            lull.spawn(b.handshake, b), lull.spawn(b.read, b),
          }
          lull.sleep(1)
          start_client(a)
          a:write "y\n"
          for i = 1, 3 do assert.equal(b, tasks[i]:await()) end
          assert.equal("y", tasks[4]:await())
          assert.equal("x", a:read())
          assert.equal(b, b:handshake())
        end))

        it("is made by relays", on(function()
          local a, b = strangers()
          local c, d = plain()
          local relay = lull.spawn(b.relay, b, c)
          start_client(a)
          a:write "x\n"
          assert.equal("x", d:read())
          a:close()
          assert.equal(2, relay:await())
        end))

        it("survives those who give up waiting for it", on(function()
          local a, b = strangers()
          local tasks = {lull.spawn(b.read, b), lull.spawn(b.handshake, b)}
          lull.sleep(1)
          for _, task in ipairs(tasks) do task:close() end
          b:settimeout(1)
          assert.equal("ETIMEDOUT", (failure(b:handshake())))
          assert.equal("ETIMEDOUT", (failure(b:read())))
          b:settimeout(0)
          assert.equal("ETIMEDOUT", (failure(b:handshake())))
          b:settimeout(nil)
          local client = lull.spawn(start_client, a)
          lull.sleep(0)
          assert.equal(b, b:handshake())
          assert.equal(a, client:await())
        end))

        it("succeeds where the client has gone again, who is heard", on(function()
          local a, b = plain()
          local server = lull.spawn(start_server, b)
          assert(start_client(a))
          a:write "last words"
          a:close() -- while the server has tickets to give
          assert.equal(b, server:await())
          assert.equal("last words", b:read "a")
        end))

        it("fails for all who wait, in any order", function()
          for seed = 1, 10 do
            run(function()
              local a, b = strangers()
              b:write "x"
              local tasks = {
                lull.spawn(b.flush, b), lull.spawn(b.handshake, b), lull.spawn(b.read, b),
              }
              lull.sleep(1)
              a:write "GET / HTTP/1.0\r\n\r\n"
              for _, task in ipairs(tasks) do
                local code, message = failure(task:await())
                assert.equal("ETLS", code)
                assert.matches("http request", message)
              end
              assert.has_error(function() b:read() end, "attempt to use a closed stream")
              assert.is_nil(a:read_some())
            end, {selector = backend, seed = seed})
          end
        end)

        it("may bring a reader what somebody else has received", on(function()
          local a, b = plain()
          local raw, meanwhile = plain()
          local client = lull.spawn(function()
            assert(start_client(raw))
            raw:write "for the reader\n"
          end)
          local server = lull.spawn(start_server, b)
          a:write(meanwhile:read_some())
          lull.sleep(1)
          server:close()
          local reader = lull.spawn(b.read, b)
          meanwhile:write(a:read_some())
          client:await()
          lull.sleep(1)
          a:write(meanwhile:read_some())
          b:settimeout(0)
          failure(b:handshake()) -- now the next who comes looks again
          assert.equal(b, b:try_write "and this in between")
          assert.equal("for the reader", reader:await())
        end))

        it("tells a reader why another's call has closed the stream", on(function()
          local a, b = strangers()
          local reader = lull.spawn(b.read, b)
          lull.sleep(1)
          a:write "GET / HTTP/1.0\r\n\r\n"
          b:settimeout(0)
          assert.equal("ETLS", (failure(b:handshake())))
          assert.equal("ETLS", (failure(reader:await())))
        end))

        it("goes on when there is room for it, also for a reader", function()
          run(function()
            local name = certificates.path "long.pem"
            local file <close> = assert(io.open(certificates.path "server.pem"))
            local certificate = file:read "a"
            certificates.write("long.pem", certificate:rep(30))
            local socket = assert(net.socket "inet")
            socket:setoption("sndbuf", 1)
            assert(socket:bind("127.0.0.1", 0))
            assert(socket:listen(5))
            local listener <close> = core.listener(socket, nil, core.tls({
              cert_file = name, key_file = certificates.path "server.key",
            }, true))
            local near = assert(net.socket "inet")
            near:setoption("rcvbuf", 1)
            assert(near:connect(listener:local_address()))
            local a, b = core.stream(near), assert(listener:accept())
            local reader = lull.spawn(b.read, b)
            assert(start_client(a))
            a:write "hello\n"
            assert.equal("hello", reader:await())
          end, {selector = backend, real = true})
        end)

        it("can be cut short by closing", on(function()
          local a, b = strangers()
          local tasks = {lull.spawn(b.handshake, b), lull.spawn(b.read, b)}
          lull.sleep(1)
          b:close()
          for _, task in ipairs(tasks) do
            assert.equal("ECANCELED", (failure(task:await())))
          end
          assert.is_nil(a:read_some())
        end))

        it("goes through a byte at a time, and so does the rest", on(function()
          local a, b = meddler(1)
          local server = lull.spawn(start_server, b)
          assert(start_client(a))
          server:await()
          a:write "question\n"
          assert.equal("question", b:read())
          b:write(pattern(2000), "\n")
          assert.equal(pattern(2000), a:read())
          a:close()
          assert.is_nil(b:read())
          b:close()
        end))
      end)

      describe("starttls", function()
        it("comes after what was written in the clear", on(function()
          local a, b = plain()
          local text = fill(b)
          local server = lull.spawn(start_server, b)
          lull.sleep(1)
          assert.is_true(text == a:read(#text))
          assert(start_client(a))
          assert.equal(b, server:await())
          a:write "x\n"
          assert.equal("x", b:read())
        end))

        it("finds the greeting of a client in a hurry", on(function()
          local a, b = plain()
          local raw, meanwhile = plain()
          local client = lull.spawn(start_client, raw)
          local hello = meanwhile:read_some()
          a:write("STARTTLS\r\n", hello)
          assert.equal("STARTTLS", b:read())
          local server = lull.spawn(start_server, b)
          meanwhile:write(a:read_some())
          lull.spawn(a.relay, a, meanwhile):daemon()
          lull.spawn(meanwhile.relay, meanwhile, a):daemon()
          assert.equal(raw, client:await())
          assert.equal(b, server:await())
        end))

        it("takes nothing for encrypted that was not", on(function()
          local a, b = plain()
          a:write "STARTTLS\r\nMAIL FROM:<mallory>\r\n"
          assert.equal("STARTTLS", b:read())
          local code, message = failure(start_server(b))
          assert.equal("ETLS", code)
          assert.matches("wrong version number", message)
          b, a = plain()
          a:write "220 go ahead\r\n250 injected\r\n"
          assert.equal("220 go ahead", b:read())
          assert.equal("ETLS", (failure(start_client(b))))
        end))

        it("happens once", on(function()
          local a, b = ends()
          for _, start in ipairs {start_client, start_server} do
            assert.has_error(function() start(a) end, "the stream is under TLS already")
          end
          a:write "x\n"
          assert.equal("x", b:read())
        end))

        it("needs a stream that nobody reads, and that can be written", on(function()
          local a, _ <close> = plain()
          local reader = lull.spawn(a.read, a)
          lull.sleep(0)
          assert.has_error(function() start_client(a) end, "another task is reading")
          reader:close()
          a:shutdown "write"
          assert.equal("EPIPE", (failure(start_client(a))))
        end))

        it("fails where the peer has gone", on(function()
          for _, start in ipairs {start_client, start_server} do
            local a, b = plain()
            b:close()
            local code = failure(start(a))
            assert.is_true(code == "ETLS" or code == "EPIPE", code)
            assert.matches("closed", tostring(a))
          end
          local a, b = plain()
          b:close()
          assert.is_nil(a:read())
          truncated(start_server(a))
        end))
      end)
    end)
  end
end)
