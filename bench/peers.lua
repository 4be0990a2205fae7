-- Whom bench/run --peers measures beside lull.  A peer has
--   id, title       and the name in rows where it does not matter which server it is
--   c, ours         in C, or lull; all columns compare with the reference
--   echo            the command of its echo server, which prints "port N"
--   micro           what runs a micro row: this, the row, a count
--   threads, timers the same for those of threads and of timers
--   million         what runs that row: this, a count, the length of a day
--   hello           a program that does nothing
--   needs           a command that succeeds where the peer is installed
--   package         what else has to be installed
-- Each program is the idiomatic one of its kind; see bench/peers/.

local measure = require "measure"

local build = measure.build
local lull = build .. "/lull"
local python = "/usr/bin/python3"

local function lua_has(interpreter, module)
  return ("%s -e 'require %q'"):format(interpreter, module)
end

-- Prints a package and its version.
local function packaged(name)
  return "dpkg-query -Wf '${Package} ${Version}' " .. name
end

local function python_has(module)
  return ("%s -c 'import %s'"):format(python, module)
end

local peers = {
  { id = "epoll", title = "C, epoll", name = "C", c = true, reference = true,
    echo = build .. "/bench/echo_epoll", micro = build .. "/bench/switch_lua",
    threads = build .. "/bench/threads", timers = build .. "/bench/timers",
    million = build .. "/bench/crowd", hello = "true" },
  { id = "uring", title = "C, io_uring", c = true, echo = build .. "/bench/echo_uring",
    needs = "test -x " .. build .. "/bench/echo_uring", package = "liburing-dev" },
  { id = "libuv", title = "C, libuv", c = true, echo = build .. "/bench/echo_uv",
    needs = "test -x " .. build .. "/bench/echo_uv", package = "libuv1-dev" },
  { id = "lull", title = "lull", ours = true, echo = lull .. " bench/echo.lua",
    micro = lull .. " bench/micro.lua", threads = lull .. " bench/micro.lua",
    hello = lull .. " -e ''" },
  { id = "lull-protocol", title = "lull, protocol", ours = true,
    echo = lull .. " bench/peers/echo_lull_protocol.lua" },
  { id = "lull-uring", title = "lull, io_uring", ours = true,
    echo = lull .. " --selector=io_uring bench/echo.lua",
    needs = lull .. " --selector=io_uring -e ''", package = "a kernel with io_uring" },
  { id = "luv", title = "luv, callbacks", name = "luv",
    echo = "lua5.4 bench/peers/echo_luv.lua",
    micro = "lua5.4 bench/peers/micro_luv.lua",
    threads = "lua5.4 bench/peers/micro_luv.lua", hello = "lua5.4 -l luv -e ''",
    needs = lua_has("lua5.4", "luv"), package = "lua-luv" },
  { id = "luv-co", title = "luv, coroutines", echo = "lua5.4 bench/peers/echo_luv_co.lua",
    needs = lua_has("lua5.4", "luv"), package = "lua-luv" },
  { id = "cqueues", title = "cqueues", echo = "lua5.4 bench/peers/echo_cqueues.lua",
    micro = "lua5.4 bench/peers/micro_cqueues.lua", hello = "lua5.4 -l cqueues -e ''",
    needs = lua_has("lua5.4", "cqueues"), package = "lua-cqueues" },
  { id = "copas", title = "copas", echo = "lua5.1 bench/peers/echo_copas.lua",
    hello = "lua5.1 -l copas -e ''", needs = lua_has("lua5.1", "copas"),
    package = "lua-copas" },
  { id = "asyncio", title = "asyncio, streams", name = "asyncio",
    echo = python .. " bench/peers/echo_asyncio.py streams",
    micro = python .. " bench/peers/micro_asyncio.py",
    threads = python .. " bench/peers/micro_asyncio.py",
    hello = python .. " -c 'import asyncio'", needs = python_has "asyncio",
    package = "python3" },
  { id = "asyncio-protocol", title = "asyncio, protocol",
    echo = python .. " bench/peers/echo_asyncio.py protocol",
    needs = python_has "asyncio", package = "python3" },
  { id = "uvloop", title = "uvloop, streams", name = "uvloop",
    echo = python .. " bench/peers/echo_asyncio.py streams uvloop",
    micro = "UVLOOP=1 " .. python .. " bench/peers/micro_asyncio.py",
    threads = "UVLOOP=1 " .. python .. " bench/peers/micro_asyncio.py",
    hello = python .. " -c 'import uvloop'", needs = python_has "uvloop",
    package = "python3-uvloop" },
  { id = "uvloop-protocol", title = "uvloop, protocol",
    echo = python .. " bench/peers/echo_asyncio.py protocol uvloop",
    needs = python_has "uvloop", package = "python3-uvloop" },
  { id = "node", title = "Node.js", echo = "node bench/peers/echo_node.js",
    micro = "node --expose-gc bench/peers/micro_node.js",
    threads = "node bench/peers/micro_node.js", hello = "node -e ''",
    needs = "command -v node", package = "nodejs" },
}

-- Timers and the million sleepers are rows of the micro programs, except where a peer has
-- programs of their own; a version is that of the package.
for _, peer in ipairs(peers) do
  peer.timers = peer.timers or peer.micro
  peer.version = peer.package and packaged(peer.package)
  peer.million = peer.million or peer.micro and peer.micro .. " million"
end

return peers
