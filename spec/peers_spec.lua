-- Foreign peers, plain and under TLS: curl, nginx, Redis, socat.  (Python: asyncio_spec;
-- the command openssl: tls_foreign_spec.)
local helper = require "spec.helper"
local http = require "spec.peers.http"
local lull, run = helper.lull, helper.run
local net = require "lull.net"
local peers = require "spec.peers"
local protocol = require "lull.protocol"
local certificates

local real = {real = true}

local function on(fn)
  return function() return run(fn, real) end
end

local MEGABYTE = peers.pattern(1 << 20)

describe("a server of ours and curl", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  for _, scheme in ipairs {"http", "https"} do
    -- Serves HTTP: the requests, the address, what closes it, what has gone wrong.
    local function serve()
      local requests = {}
      local opts = scheme == "https" and {tls = certificates "server"} or nil
      local port, closer, errors = peers.listen(function(stream)
        http.serve(stream, requests)
      end, opts)
      return requests, ("%s://localhost:%d"):format(scheme, port), closer, errors
    end

    local function curl(...)
      return peers.run {"curl", "-sS", "--noproxy", "*", "-4", "--max-time", "50",
        "--cacert", certificates.ca, ...}
    end

    describe("over " .. scheme, function()
      it("keep a connection for several requests", on(function()
        local requests, url, _ <close> = serve()
        local out = curl("-w", "%{num_connects}\n", url .. "/a", url .. "/b", url .. "/c")
        local empty = http.sum ""
        assert.equal(("GET /a %s\n1\nGET /b %s\n0\nGET /c %s\n0\n"):format(empty, empty,
          empty), out)
        assert.equal(3, #requests)
      end))

      it("transfer much, its length told, in chunks, until the end", on(function()
        local _, url, _ <close> = serve()
        local text = peers.pattern(5000000)
        for _, kind in ipairs {"big", "chunked", "until"} do
          assert.is_true(curl(("%s/%s?%d"):format(url, kind, #text)) == text, kind)
        end
      end))

      it("ask for the head only", on(function()
        local _, url, _ <close> = serve()
        local out = curl("-I", url .. "/big?5000000")
        assert.equal("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n", out)
      end))

      it("upload much, having asked whether they may", on(function()
        local requests, url, _ <close> = serve()
        local dir <close> = helper.tempdir()
        local text = peers.pattern(5000000)
        local file = dir:write("upload", text)
        assert.equal("PUT /x " .. http.sum(text) .. "\n", curl("-T", file, url .. "/x"))
        assert.is_true(requests[1].continued)
        assert.equal("POST /y " .. http.sum(text) .. "\n",
          curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@" .. file,
               url .. "/y"))
        assert.equal("chunked", requests[2].headers["transfer-encoding"])
      end))

      it("part in the middle, and others notice nothing", on(function()
        local _, url, _ <close>, errors = serve()
        local dir <close> = helper.tempdir()
        local result = require "lull.process".run({"curl", "-sS", "--noproxy", "*", "-4",
          "--cacert", certificates.ca, "--max-filesize", "1000000",
          "-o", dir.path .. "/out", url .. "/big?9000000"})
        assert.equal(63, result.code)
        assert.equal("GET /x " .. http.sum "" .. "\n", curl(url .. "/x"))
        for _, err in ipairs(errors) do
          local code = lull.code(err)
          assert.is_true(code == "ECONNRESET" or code == "EPIPE", err)
        end
      end))
    end)
  end

  it("understand each other in the callback style", on(function()
    local listener <close> = assert(protocol.listen(function()
      local p = {buffer = ""}
      function p:connection_made(transport) self.transport = transport end
      function p:data_received(data)
        self.buffer = self.buffer .. data
        if not self.buffer:find("\r\n\r\n", 1, true) then return end
        self.transport:writelines {"HTTP/1.1 200 OK\r\n", "Connection: close\r\n\r\n"}
        self.transport:write(MEGABYTE, MEGABYTE)
        self.transport:close()
      end
      return p
    end, "127.0.0.1", 0))
    local url = ("http://127.0.0.1:%d/"):format(select(2, listener:local_address()))
    local out = peers.run {"curl", "-sS", "--noproxy", "*", url}
    assert.is_true(out == MEGABYTE .. MEGABYTE)
  end))
end)

describe("a proxy of ours before nginx", function()
  local CONFIGURATION = [[
    daemon off;
    master_process off;
    pid nginx.pid;
    error_log error.log;
    events { worker_connections 64; }
    http {
      access_log off;
      client_body_temp_path body;
      proxy_temp_path proxy;
      fastcgi_temp_path fastcgi;
      uwsgi_temp_path uwsgi;
      scgi_temp_path scgi;
      server {
        listen 127.0.0.1:%d;
        client_max_body_size 64m;
        root files;
        location /whoami { return 200 "$http_x_forwarded_for $request_method\n"; }
        location /lull/ { proxy_pass http://127.0.0.1:%d; proxy_http_version 1.1;
                          proxy_set_header Connection ""; }
      }
    }]]

  -- nginx, and the example before it: the address of that.
  local function start(back)
    local server, port = peers.serve(function(port, dir)
      assert(os.execute(("mkdir %s/files"):format(dir.path)))
      dir:write("files/small", "a small file\n")
      dir:write("files/big", MEGABYTE:rep(5))
      dir:write("nginx.conf", CONFIGURATION:format(port, back or 1))
      return {"nginx", "-p", dir.path, "-c", dir.path .. "/nginx.conf",
        "-e", dir.path .. "/error.log"}
    end)
    local address = lull.future()
    local env = setmetatable({
      arg = {[0] = "reverse_proxy", "127.0.0.1", port, "127.0.0.1", 0},
      print = function(text) address:set_result(text:match "port (%d+)") end,
    }, {__index = _G})
    local proxy = lull.spawn(assert(loadfile("examples/reverse_proxy.lua", "t", env)))
    local url = "http://127.0.0.1:" .. address:await()
    return url, helper.closer(function()
      proxy:close()
      getmetatable(server).__close()
    end), server.program
  end

  local function curl(...)
    return peers.run {"curl", "-sS", "--noproxy", "*", "--max-time", "50", ...}
  end

  it("passes files, heads, ranges and errors", on(function()
    local url, _ <close> = start()
    assert.equal("a small file\n1\na small file\n0\n", curl("-w", "%{num_connects}\n",
      url .. "/small", url .. "/small"))
    assert.is_true(curl(url .. "/big") == MEGABYTE:rep(5))
    local head = curl("-I", url .. "/small")
    assert.matches("^HTTP/1.1 200 OK\r\n.*Content%-Length: 13\r\n", head)
    assert.equal("small", curl("-r", "2-6", url .. "/small"))
    assert.matches("404 Not Found", curl(url .. "/none"))
    assert.equal("127.0.0.1 GET\n", curl(url .. "/whoami"))
  end))

  it("passes bodies up, to a server of ours behind it", on(function()
    local requests = {}
    local port, _ <close> = peers.listen(function(stream)
      http.serve(stream, requests)
    end)
    local url, _ <close> = start(port)
    local dir <close> = helper.tempdir()
    local file = dir:write("upload", MEGABYTE)
    assert.equal("PUT /lull/x " .. http.sum(MEGABYTE) .. "\n",
      curl("-T", file, url .. "/lull/x"))
    assert.equal("POST /lull/y " .. http.sum(MEGABYTE) .. "\n",
      curl("-H", "Transfer-Encoding: chunked", "--data-binary", "@" .. file,
           url .. "/lull/y"))
    assert.equal("127.0.0.1", requests[1].headers["x-forwarded-for"])
  end))

  it("says so when nginx is gone", on(function()
    local url, _ <close>, nginx = start()
    nginx:close()
    assert.equal("502", curl("-w", "%{http_code}", url .. "/small"))
  end))
end)

describe("a client of ours and Redis", function()
  local redis = dofile "examples/redis_client.lua"

  local function start()
    local server, port = peers.serve(function(port, dir)
      return {"redis-server", "--port", tostring(port), "--bind", "127.0.0.1",
        "--save", "", "--appendonly", "no", "--daemonize", "no", "--dir", dir.path}
    end)
    return server, port
  end

  it("set and get, of any size and content", on(function()
    local _ <close>, port = start()
    local client <close> = assert(redis.connect("127.0.0.1", port))
    assert.equal("PONG", client:call "PING")
    for _, value in ipairs {"", "green", "\r\n$-1\r\n\0", MEGABYTE:rep(3)} do
      assert.equal("OK", client:call("SET", "key", value))
      assert.is_true(client:call("GET", "key") == value)
    end
    assert.is_nil(client:call("GET", "none"))
    local value, message, code = client:call("INCR", "key")
    assert.is_nil(value)
    assert.equal("ERR", code)
    assert.matches("^ERR value is not an integer", message)
    assert.equal(3, client:call("RPUSH", "list", "a", "b", "c"))
    assert.same({n = 3, "a", "b", "c"}, client:call("LRANGE", "list", 0, -1))
  end))

  it("pipeline: each of many tasks gets its own answer", on(function()
    local _ <close>, port = start()
    local client <close> = assert(redis.connect("127.0.0.1", port))
    local tasks = {}
    for i = 1, 50 do
      tasks[i] = lull.spawn(function()
        for round = 1, 20 do
          local text = i .. "." .. round
          assert.equal(text, client:call("ECHO", text))
        end
      end)
    end
    tasks[7]:cancel() -- its answer comes, and is nobody else's
    lull.sleep(0)
    tasks[8]:cancel()
    for i, task in ipairs(tasks) do
      if i ~= 7 and i ~= 8 then task:await() end
    end
  end))

  it("publish and subscribe", on(function()
    local _ <close>, port = start()
    local speaker <close> = assert(redis.connect("127.0.0.1", port))
    local listener <close> = assert(redis.connect("127.0.0.1", port))
    local next_message, news = listener:messages "news"
    local listening = lull.spawn(function()
      local got = {}
      for message in next_message, news do
        got[#got + 1] = message
        if message == "300" then return got end
      end
    end)
    for i = 1, 300 do assert.equal(1, speaker:call("PUBLISH", "news", i)) end
    local got = listening:await()
    assert.equal(300, #got)
    for i = 1, 300 do assert.equal(tostring(i), got[i]) end
  end))

  it("part when Redis ends", on(function()
    local server <close>, port = start()
    local client <close> = assert(redis.connect("127.0.0.1", port))
    local waiting = lull.spawn(client.call, client, "BLPOP", "never", 0)
    assert.equal("PONG", (assert(redis.connect("127.0.0.1", port)):call "PING"))
    server.program:close()
    local value, message = waiting:await()
    assert.is_nil(value)
    assert.is_string(message)
  end))

  it("run the example", on(function()
    local _ <close>, port = start()
    local out = peers.run {helper.interpreter(), "examples/redis_client.lua", "127.0.0.1",
      tostring(port)}
    assert.matches("100 times INCR at once\t100\n", out)
  end))
end)

describe("streams of ours and socat", function()
  setup(function() certificates = require "spec.certificates" () end)
  teardown(function() certificates.close() end)

  local function echo_after_end(stream)
    stream:write(stream:read "a")
  end

  it("half-close, from TCP to a Unix socket and back", on(function()
    local dir <close> = helper.tempdir()
    local path = dir.path .. "/ours"
    local listener <close> = assert(net.listen_unix(path))
    local serving <close> = lull.spawn(listener.serve, listener, echo_after_end)
    local _ <close>, port = peers.serve(function(port)
      return {"socat", ("TCP-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork"):format(port),
        "UNIX-CONNECT:" .. path}
    end)
    for _ = 1, 3 do
      local stream <close> = assert(net.connect("127.0.0.1", port))
      stream:write(MEGABYTE)
      stream:shutdown "write"
      assert.is_true(stream:read "a" == MEGABYTE)
    end
    assert.is_truthy(serving)
  end))

  it("half-close, from a Unix socket to TCP and back", on(function()
    local port, _ <close> = peers.listen(echo_after_end)
    local _ <close>, path = peers.serve_unix(function(path)
      return {"socat", "UNIX-LISTEN:" .. path .. ",fork", "TCP:127.0.0.1:" .. port}
    end)
    local stream <close> = assert(net.connect_unix(path))
    stream:write(MEGABYTE)
    stream:shutdown "write"
    assert.is_true(stream:read "a" == MEGABYTE)
  end))

  it("are reset, which is no end", on(function()
    local listener <close> = assert(net.listen("127.0.0.1", 0))
    local _, port = listener:local_address()
    local client <close> = assert(require "lull.process".spawn({"socat", "-u", "STDIN",
      ("TCP:127.0.0.1:%d,linger=0"):format(port)}, {stdin = "pipe"}))
    client.stdin:write "before\n"
    local stream <close> = listener:accept()
    assert.equal("before", stream:read())
    client:kill "SIGKILL"
    local data, _, code = stream:read()
    assert.is_nil(data)
    assert.equal("ECONNRESET", code)
  end))

  it("are reset in the callback style, too", on(function()
    local made, lost = lull.future(), lull.future()
    local listener <close> = assert(protocol.listen(function()
      local p = {}
      function p.data_received(_, data) made:set_result(data) end
      function p.eof_received() error "no end" end
      function p.connection_lost(_, err) lost:set_result(err) end
      return p
    end, "127.0.0.1", 0))
    local _, port = listener:local_address()
    local client <close> = assert(require "lull.process".spawn({"socat", "-u", "STDIN",
      ("TCP:127.0.0.1:%d,linger=0"):format(port)}, {stdin = "pipe"}))
    client.stdin:write "before\n"
    assert.equal("before\n", made:await())
    client:kill "SIGKILL"
    assert.equal("ECONNRESET", lull.code(lost:await()))
  end))

  it("talk TLS as servers", on(function()
    local port, _ <close> = peers.listen(function(stream)
      for line in stream:lines() do stream:write(line:upper(), "\n") end
    end, {tls = certificates "server"})
    local out = peers.run({"socat", "-t", "50", "STDIO",
      ("OPENSSL:localhost:%d,pf=ip4,cafile=%s"):format(port, certificates.ca)},
      {input = "hello\nworld\n"})
    assert.equal("HELLO\nWORLD\n", out)
  end))

  it("talk TLS as clients", on(function()
    local back, _ <close> = peers.listen(function(stream)
      stream:relay(stream)
    end)
    local _ <close>, port = peers.serve(function(port)
      return {"socat", ("OPENSSL-LISTEN:%d,bind=127.0.0.1,reuseaddr,fork,verify=0,cert=%s"
        .. ",key=%s"):format(port, certificates.path "server.pem",
        certificates.path "server.key"), "TCP:127.0.0.1:" .. back}
    end)
    local stream <close> = assert(net.connect("localhost", port, {
      tls = {ca_file = certificates.ca},
    }))
    local writing <close> = lull.spawn(stream.write, stream, MEGABYTE)
    assert.is_true(stream:read(#MEGABYTE) == MEGABYTE)
    assert.is_truthy(writing)
  end))
end)
