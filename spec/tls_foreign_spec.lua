-- TLS with others: openssl's client and server, curl.
local helper = require "spec.helper"
local lull, run = helper.lull, helper.run
local cast = require "spec.cast"
local net = require "lull.net"
local process = require "lull.process"
local certificates

local failure = cast.failure

local real = {real = true}

-- A server of ours for as long as the block lasts: what is known of its connections, and
-- what became of those that failed.
local function serving(tls, handler)
  local seen, errors = {}, {}
  local listener = assert(net.listen("127.0.0.1", 0, {tls = tls}))
  local task = lull.spawn(listener.serve, listener, function(stream)
    seen[#seen + 1] = stream:tls_info()
    handler(stream)
  end, {on_error = function(err) errors[#errors + 1] = err end})
  local _, port = listener:local_address()
  return math.tointeger(port), helper.closer(function()
    listener:close()
    task:close()
  end), seen, errors
end

local function shout(stream)
  for line in stream:lines() do stream:write(line:upper(), "\n") end
end

local function s_client(port, ...)
  return process.spawn({
    "openssl", "s_client", "-connect", "127.0.0.1:" .. port, "-CAfile", certificates.ca,
    "-verify_return_error", "-quiet", "-no_ign_eof", ...,
  }, {stdin = "pipe", stdout = "pipe", stderr = "pipe"})
end

-- Says something, and what the server answers.
local function ask(client, line)
  client.stdin:write(line, "\n")
  return client.stdout:read()
end

local function talk(port, ...)
  local client <close> = s_client(port, ...)
  local answer = ask(client, "hello")
  client.stdin:close()
  local why = client.stderr:read "a"
  client:wait()
  return answer, why
end

-- openssl's server, on a port or, where that is given, at a path.
local function s_server_at(path, ...)
  local server = assert(process.spawn({
    "openssl", "s_server", path and "-unix" or "-accept", path or "127.0.0.1:0",
    "-CAfile", certificates.ca,
    "-cert", certificates.path "server.pem", "-key", certificates.path "server.key", ...,
  }, {stdin = "pipe", stdout = "pipe", stderr = "null"}))
  for line in server.stdout:lines() do
    if line:find "^ACCEPT" then
      lull.spawn(function() while server.stdout:read_some() do end end):daemon()
      return path or math.tointeger(line:match ":(%d+)$"), server
    end
  end
  error "openssl s_server did not start"
end

local function s_server(...) return s_server_at(nil, ...) end

local function connect(port, more)
  local tls = {ca_file = certificates.ca}
  for key, value in pairs(more or {}) do tls[key] = value end
  return net.connect("localhost", port, {tls = tls})
end

describe("TLS with others", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  describe("openssl s_client", function()
    it("is served, in either version", function()
      run(function()
        local port, _ <close>, seen = serving(certificates("server", {
          alpn = {"lull", "other"},
        }), shout)
        for i, version in ipairs {"1_2", "1_3"} do
          assert.equal("HELLO", talk(port, "-tls" .. version, "-servername", "localhost",
                                     "-alpn", "other,lull"))
          assert.equal("TLSv" .. version:gsub("_", "."), seen[i].version)
          assert.equal("lull", seen[i].alpn)
          assert.equal("localhost", seen[i].server_name)
          assert.is_nil(seen[i].peer_certificate)
        end
        assert.is_nil((talk(port, "-alpn", "third")))
      end, real)
    end)

    it("is refused with an old version, or no cipher in common", function()
      run(function()
        local port, _ <close>, _, errors = serving(certificates("server", {
          min_version = "1.3",
        }), shout)
        local answer, why = talk(port, "-tls1_2")
        assert.is_nil(answer)
        assert.matches("alert protocol version", why)
        local other, _ <close>, _, more = serving(certificates("server", {
          ciphers = "ECDHE-ECDSA-AES256-GCM-SHA384", max_version = "1.2",
        }), shout)
        assert.is_nil((talk(other, "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")))
        assert.matches("^ETLS: unsupported protocol", errors[1])
        assert.matches("^ETLS: no shared cipher", more[1])
      end, real)
    end)

    it("shows its certificate", function()
      run(function()
        local port, _ <close>, seen = serving(certificates("server", {
          verify = true, ca_file = certificates.ca,
        }), shout)
        assert.equal("HELLO", talk(port, "-cert", certificates.path "client.pem", "-key",
                                   certificates.path "client.key"))
        assert.is_true(seen[1].verified)
        local answer, why = talk(port)
        assert.is_nil(answer)
        assert.matches("alert certificate required", why)
      end, real)
    end)

    it("resumes", function()
      for _, version in ipairs {"-tls1_2", "-tls1_3"} do
        run(function()
          local port, _ <close>, seen = serving(certificates "server", shout)
          local file = certificates.path "session"
          assert.equal("HELLO", talk(port, version, "-sess_out", file))
          assert.equal("HELLO", talk(port, version, "-sess_in", file))
          assert.is_false(seen[1].resumed)
          assert.is_true(seen[2].resumed)
        end, real)
      end
    end)

    it("cannot renegotiate", function()
      run(function()
        local port, _ <close>, _, errors = serving(certificates "server", shout)
        local client <close> = process.spawn({
          "openssl", "s_client", "-connect", "127.0.0.1:" .. port, "-tls1_2",
        }, {stdin = "pipe", stdout = "pipe", stderr = "null"})
        client.stdin:write "hello\n"
        repeat local line = client.stdout:read() until line == "HELLO"
        client.stdin:write "R\n"
        assert.not_equal(0, client:wait())
        helper.turns(2)
        assert.is_true(#errors <= 1)
        assert.equal("HELLO", (talk(port)))
      end, real)
    end)

    it("updates its keys", function()
      run(function()
        local port, _ <close>, _, errors = serving(certificates "server", shout)
        local client <close> = process.spawn({
          "openssl", "s_client", "-connect", "127.0.0.1:" .. port, "-tls1_3",
        }, {stdin = "pipe", stdout = "pipe", stderr = "pipe"})
        for _, command in ipairs {"k", "K", "K"} do
          client.stdin:write "hello\n"
          repeat local line = client.stdout:read() until line == "HELLO"
          client.stdin:write(command, "\n")
          repeat local line = client.stderr:read() until line == "KEYUPDATE"
        end
        client.stdin:write "hello again\n"
        repeat local line = client.stdout:read() until line == "HELLO AGAIN"
        assert.same({}, errors)
      end, real)
    end)

    it("is noticed when it is killed", function()
      run(function()
        local got = lull.future()
        local port, _ <close> = serving(certificates "server", function(stream)
          stream:write(stream:read(), "\n")
          got:set_result(stream:read())
        end)
        local client <close> = s_client(port)
        assert.equal("hello", ask(client, "hello"))
        client:kill "SIGKILL"
        local code, message = failure(got:await())
        assert.equal("ETLS", code)
        assert.matches("truncated", message)
      end, real)
    end)

    it("takes starttls", function()
      run(function()
        local listener <close> = assert(net.listen("127.0.0.1", 0))
        local _, port = listener:local_address()
        local client <close> = s_client(math.tointeger(port), "-starttls", "smtp")
        local stream <close> = assert(listener:accept())
        stream:write "220 lull\r\n"
        assert.matches("^EHLO", stream:read())
        stream:write "250-lull\r\n250 STARTTLS\r\n"
        assert.equal("STARTTLS", stream:read())
        stream:write "220 go ahead\r\n"
        local tls = certificates("server", {server = true})
        assert.equal(stream, stream:starttls(tls))
        client.stdin:write "hello\n"
        assert.equal("hello", stream:read())
      end, real)
    end)
  end)

  describe("openssl s_server", function()
    it("serves us, in either version", function()
      for _, version in ipairs {"1.2", "1.3"} do
        run(function()
          local port, _ <close> = s_server("-rev", "-alpn", "lull",
                                           "-tls" .. version:gsub("%.", "_"))
          local resumed = {}
          for i = 1, 3 do
            local stream <close> = assert(connect(port, {alpn = {"other", "lull"}}))
            stream:write "hello\n"
            assert.equal("olleh", stream:read())
            local info = stream:tls_info()
            assert.equal("TLSv" .. version, info.version)
            assert.equal("lull", info.alpn)
            assert.is_true(info.verified)
            resumed[i] = info.resumed
          end
          assert.same({false, true, true}, resumed)
        end, real)
      end
    end)

    it("asks for our certificate", function()
      run(function()
        local port, _ <close> = s_server("-rev", "-Verify", "1", "-verify_return_error")
        local stream <close> = assert(connect(port, certificates "client"))
        stream:write "hello\n"
        assert.equal("olleh", stream:read())
        stream:close()
        local stranger <close> = assert(connect(port))
        assert.equal("ETLS", (failure(stranger:read())))
      end, real)
    end)

    it("is noticed when it is killed", function()
      run(function()
        local port, server = s_server()
        local _ <close> = server
        local stream <close> = assert(connect(port))
        server.stdin:write "hello\n"
        assert.equal("hello", stream:read())
        server:kill "SIGKILL"
        for _ = 1, 2 do
          local code, message = failure(stream:read())
          assert.equal("ETLS", code)
          assert.matches("truncated", message)
        end
      end, real)
    end)

    it("talks and says nothing", function()
      run(function()
        -- over TCP it would wait for our acknowledgement after each of them
        local path, _ <close> = s_server_at(certificates.path "socket", "-num_tickets",
                                            "2000", "-tls1_3")
        local stream <close> = assert(net.connect_unix(path, {tls = {
          ca_file = certificates.ca, server_name = "localhost",
        }}))
        local code, message = failure(stream:read())
        assert.equal("ETLS", code)
        assert.matches("too many records without data", message)
        assert.equal("ETLS", (failure(stream:write "x")))
      end, real)
    end)

    it("stalls in the middle of the handshake", function()
      run(function()
        local port, server = s_server()
        local _ <close> = server
        server:kill "SIGSTOP"
        local stream, message, code = net.connect("localhost", port, {
          tls = true, timeout = 0.1,
        })
        assert.is_nil(stream)
        assert.equal("ETIMEDOUT", code)
        assert.matches("^ETIMEDOUT: .*%(127.0.0.1:" .. port .. "%)$", message)
        server:kill "SIGCONT"
      end, real)
    end)
  end)

  describe("curl", function()
    -- A request's first line and body; an answer.
    local function web(answer)
      return function(stream)
        while true do
          local request, length = stream:read(), 0
          if not request then return end
          for line in stream:lines() do
            length = tonumber(line:lower():match "^content%-length: (%d+)") or length
            if line == "" then break end
          end
          local body = answer(request, stream:read_exactly(length))
          stream:write("HTTP/1.1 200 OK\r\nContent-Length: ", #body, "\r\n\r\n", body)
        end
      end
    end

    local function curl(port, ...)
      local words = {"curl", "-sS", "--max-time", "50", ...}
      words[#words + 1] = ("https://localhost:%d/page"):format(port)
      return process.run(words, {input = "body"})
    end

    it("trusts us, or not", function()
      run(function()
        local port, _ <close>, seen = serving(certificates("server", {
          alpn = {"http/1.1"},
        }), web(function(request) return request end))
        local result = curl(port, "--cacert", certificates.ca)
        assert.equal("", result.stderr)
        assert.equal("GET /page HTTP/1.1", result.stdout)
        assert.equal("http/1.1", seen[1].alpn)
        assert.equal(60, curl(port).code)
        assert.equal(0, curl(port, "-k", "--tls-max", "1.2").code)
        assert.equal(60, curl(port, "--cacert", certificates.path "other.pem").code)
      end, real)
    end)

    it("sends and gets much", function()
      run(function()
        local big = ("0123456789abcdef"):rep(1 << 16)
        local path = certificates.write("big", big)
        local port, _ <close> = serving(certificates "server", web(function(_, body)
          return body .. big
        end))
        local result = curl(port, "--cacert", certificates.ca, "-H", "Expect:",
                            "--data-binary", "@" .. path)
        assert.equal("", result.stderr)
        assert.is_true(big .. big == result.stdout)
      end, real)
    end)
  end)
end)
