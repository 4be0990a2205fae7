-- lull as a stranger has it: installed, moved elsewhere, found by CMake and pkg-config.
-- The hosts of examples/embed/ are built against that, outside of the tree, and run, with
-- the sanitizers of the build under test.
local helper = require "spec.helper"

local BUILD = os.getenv "LULL_BUILD" or helper.interpreter():match "^(.*)/" or "."
local MINUTES = 2 -- that a build may take on a busy machine

local function slurp(path)
  local file = io.open(path, "rb")
  local text = file and file:read "a"
  if file then file:close() end
  return text
end

-- The values that the build under test was configured with.
local function read_cache()
  local cache, text = {}, assert(slurp(BUILD .. "/CMakeCache.txt"))
  for name, value in text:gmatch "\n([%w_]+):%u+=([^\n]*)" do
    cache[name] = value
  end
  return cache
end

local cache = read_cache()
local sanitizers = cache.LULL_SANITIZE or ""
local sanitized = sanitizers ~= ""

-- Compiler flags: warnings are errors, and the sanitizers.
local flags = "-g -Wall -Wextra -pedantic -Werror" .. (sanitized and
  " -fno-sanitize-recover=all -fno-omit-frame-pointer -fsanitize=" .. sanitizers or "")

local dir -- a temporary directory, for all of it
local prefix, hosts -- where lull is, and the source of the hosts

-- Runs a shell command; fails with what it has printed.
local function sh(command)
  local log = dir.path .. "/log"
  local line = ("cd %s && timeout -k 5 %d sh -c '%s' >%s 2>&1 </dev/null"):format(
    dir.path, MINUTES * 60, command, log)
  if not os.execute(line) then
    error(command .. "\n" .. slurp(log), 0)
  end
  return slurp(log)
end

local function cmake(source, build, targets, ...)
  local words = {"cmake -G Ninja -S", source, "-B", build,
    "-D CMAKE_PREFIX_PATH=" .. prefix,
    "-D CMAKE_C_COMPILER=" .. cache.CMAKE_C_COMPILER,
    ('-D CMAKE_C_FLAGS="%s" -D CMAKE_CXX_FLAGS="%s"'):format(flags, flags), ...}
  if (cache.CMAKE_C_COMPILER_LAUNCHER or "") ~= "" then
    for _, language in ipairs {"C", "CXX"} do
      words[#words + 1] = ("-D CMAKE_%s_COMPILER_LAUNCHER=%s"):format(
        language, cache.CMAKE_C_COMPILER_LAUNCHER)
    end
  end
  sh(table.concat(words, " "))
  sh("cmake --build " .. build .. " -j2 --target " .. targets)
end

-- What each host prints: patterns, in that order.
local expected = {
  minimal = {args = {"minimal.lua"}, "^hello from a script\n$"},
  await = {"asked\n", "squared is"},
  plain_c = {"tick 3\n", "the word is given\n$"},
  poll = {"hello poll\t1\n", "echo\tround trip\n"},
  two_threads = {"^329994490\t10\n$"},
  glib = {"^ONE ROUND TRIP\n", "clicked at\t640\t480\n", "GLib has had 5 ticks\n$"},
  cpp = {"^yes\tYES\n", "the monster has died\n", "caught task %d+: .*it was thrown\n$"},
  sandbox = {"fair +200 moves", "busy +200 moves", "slow +%d+ moves, .-set aside",
    "many +200 moves", "endless +0 moves, .-set aside", "stubborn +1 moves, .-set aside",
    "hungry .-not enough memory", "binary .-refused", "%d+ ways out, 0 open\n$"},
  game = {args = {"--fast", "--frames", "240", "--npcs", "1000"},
    "1000 NPCs, 240 frames, 2.50 s of the game\n", "resumed: %d+ tasks a frame",
    'in an endless loop: task %d+ "madman"\n', "had taken up something.-0 errors\n$"},
}

-- The optional ones are left out where their library is not there.
local function has(package)
  return os.execute("pkg-config --exists " .. package .. " 2>/dev/null")
end

local function check_host(name, place)
  local words = {place .. "/" .. name}
  for _, word in ipairs(expected[name].args or {}) do
    words[#words + 1] = (word:gsub("^minimal%.lua$", dir.path .. "/minimal.lua"))
  end
  local out, err, code = helper.execute(words)
  assert.equal("", err)
  local from = 1
  for _, pattern in ipairs(expected[name]) do
    local _, last = out:find(pattern, pattern:sub(1, 1) == "^" and 1 or from)
    assert(last, ("no \"%s\" in what %s has printed:\n%s"):format(pattern, name, out))
    from = last
  end
  assert.equal(0, code)
  return out
end

local function each_host(fn)
  for name in pairs(expected) do
    if name ~= "glib" or has "glib-2.0" then fn(name) end
  end
end

setup(function()
  dir = helper.tempdir()
  dir:write("minimal.lua", "lull.sleep(0.001) print 'hello from a script'")
  local here = io.popen "pwd":read "l"
  local build = BUILD:sub(1, 1) == "/" and BUILD or here .. "/" .. BUILD
  sh(("cmake --install %s --prefix %s/first"):format(build, dir.path))
  prefix = dir.path .. "/elsewhere"
  assert(os.rename(dir.path .. "/first", prefix))
  hosts = prefix .. "/share/doc/lull/examples/embed"
end)

teardown(function()
  getmetatable(dir).__close()
end)

describe("the header", function()
  for _, how in ipairs {"cc -x c -std=c11", "c++ -x c++ -std=c++17"} do
    it("stands alone without a warning: " .. how, function()
      dir:write("header.h", "#include <lull.h>\n")
      sh(how .. " -Wall -Wextra -pedantic -Wshadow -Wundef -Wconversion -Werror " ..
        "-fsyntax-only -I" .. prefix .. "/include header.h")
    end)
  end
end)

describe("by CMake", function()
  it("the hosts are built with the shared library, and run", function()
    cmake(hosts, "shared", "all", "-D HOSTS_STATIC=OFF")
    each_host(function(name) check_host(name, dir.path .. "/shared") end)
  end)

  it("the static one is taken when asked for", function()
    local names = {"minimal", "plain_c", "two_threads", "cpp"}
    cmake(hosts, "static", table.concat(names, " "), "-D HOSTS_STATIC=ON")
    for _, name in ipairs(names) do
      check_host(name, dir.path .. "/static")
      assert.is_nil(sh("ldd static/" .. name):find "liblull")
    end
  end)

  it("the game keeps to its budget, and everybody cleans up", function()
    local out, slowest
    for _ = 1, 5 do -- a virtual machine may be set aside in the middle of a frame
      out = check_host("game", dir.path .. "/shared")
      slowest = tonumber(out:match "processor time: max ([%d.]+)")
      if slowest < (sanitized and 40 or 15) then break end
    end
    assert(slowest < (sanitized and 40 or 15), out)
    local taken, dropped = out:match "end (%d+) had taken up something, (%d+) dropped"
    assert.equal(taken, dropped)
    local died = tonumber(out:match "and (%d+) died")
    assert.equal(41, died)
  end)
end)

describe("by pkg-config", function()
  local function make(options)
    local line = "export PKG_CONFIG_PATH=%s/lib/pkgconfig; mkdir -p made; " ..
      'cp %s/* made; cd made; make clean; make -j2 CC="%s" CFLAGS="%s" CXXFLAGS="%s" '
    sh(line:format(prefix, hosts, cache.CMAKE_C_COMPILER, flags, flags) .. options)
  end

  it("the hosts are built with the shared library, and run", function()
    make ""
    for _, name in ipairs {"minimal", "plain_c", "cpp"} do
      check_host(name, dir.path .. "/made")
    end
    each_host(function(name) assert.truthy(slurp(dir.path .. "/made/" .. name), name) end)
  end)

  it("the static one is taken when asked for", function()
    make "STATIC=1 minimal cpp"
    for _, name in ipairs {"minimal", "cpp"} do
      check_host(name, dir.path .. "/made")
      assert.is_nil(sh("ldd made/" .. name):find "liblull")
    end
  end)
end)

describe("what is installed", function()
  it("is the program, its manual page, and what an editor wants to know", function()
    local program = prefix .. "/bin/lull"
    local out, err, code = helper.execute {program, "-e", "print(lull.version)"}
    assert.same({"", 0}, {err, code})
    assert.truthy(slurp(prefix .. "/include/lull.h"):find(out:match "%S+", 1, true))
    assert.truthy(slurp(prefix .. "/share/man/man1/lull.1"))
    assert.truthy(slurp(prefix .. "/share/lull/meta/lull.lua"))
    assert.truthy(slurp(prefix .. "/share/doc/lull/README.md"))
    assert.is_nil(slurp(prefix .. "/include/lauxlib.h"))
  end)

  it("is a module for the stock lua5.4, beside luasocket and lpeg", function()
    if sanitized then
      return -- such a module needs a program with sanitizers
    end
    dir:write("stock.lua", [[
      local socket, lull, lpeg = require "socket", require "lull", require "lpeg"
      assert(package.searchpath("lull", package.cpath):find(arg[1], 1, true))
      local word = lpeg.C(lpeg.R "az" ^ 1)
      print(lull.run(function()
        local a, b = lull.net.pair()
        local task = lull.spawn(function() return word:match(b:read()) end)
        local udp = assert(socket.udp())
        assert(udp:setsockname("127.0.0.1", 0))
        udp:close()
        a:write("hello 1\n")
        lull.sleep(0.001)
        assert(socket.gettime() > 0)
        return task:await()
      end))]])
    local line = "env LUA_CPATH_5_4=\"%s/lib/lua/5.4/?.so;;\" lua5.4 stock.lua %s"
    assert.equal("hello\n", sh(line:format(prefix, prefix)))
  end)
end)

describe("add_subdirectory", function()
  it("gives a project lull::static and lull::shared", function()
    if sanitized then
      return -- it would build everything again, and slowly
    end
    local root = io.popen "pwd":read "l"
    sh("mkdir -p around && cp " .. hosts .. "/minimal.c around")
    dir:write("around/CMakeLists.txt", ([[
      cmake_minimum_required(VERSION 3.25)
      project(around LANGUAGES C)
      add_subdirectory("%s" lull EXCLUDE_FROM_ALL)
      find_package(PkgConfig REQUIRED)
      pkg_check_modules(MINE REQUIRED IMPORTED_TARGET lua5.4)
      add_executable(minimal minimal.c)
      target_link_libraries(minimal PRIVATE lull::shared PkgConfig::MINE)
      if(NOT TARGET lull::static)
        message(FATAL_ERROR "no lull::static")
      endif()
    ]]):format(root))
    local saved = flags
    flags = "-O0"
    cmake("around", "inside", "minimal", "-D CMAKE_BUILD_TYPE=Debug")
    flags = saved
    check_host("minimal", dir.path .. "/inside")
  end)
end)
