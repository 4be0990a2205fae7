-- The interpreter beside lua5.4: the same command line, the same input; and the same
-- output, messages and exit code, but for its name and version.
local helper = require "spec.helper"

-- What differs is taken out: the name of the program, its version, and in tracebacks the
-- C functions at the outer end, for a chunk is called by others here.
local function plain(text, dir)
  text = text:gsub("%f[^\0\n][^\n ]*lua5%.4: ", "PROGRAM: ")
  text = text:gsub("%f[^\0\n]lull: ", "PROGRAM: ")
  text = text:gsub("Lua 5%.4%.%d[^\n]*\n", "VERSION\n")
  text = text:gsub("lull %d[^\n]*\n", "VERSION\n")
  text = text:gsub("usage: %S+ .*$", "USAGE"):gsub(dir:gsub("%p", "%%%0"), "DIR")
  return (text:gsub("%f[^\0\n]\t%[C%]: in %?\n?%f[\0\n]", ""):gsub("\n+$", "\n"))
end

-- Its readline echoes what is typed, also where nobody types.
local function without_echo(out, input)
  for typed in (input or ""):gmatch "[^\n]+\n" do
    local from, to = out:find(typed, 1, true)
    if from then out = out:sub(1, from - 1) .. out:sub(to + 1) end
  end
  return out
end

-- What a program says: {out=, err=, code=}.
local function try(program, words, input, env)
  local dir <close> = helper.tempdir()
  dir:write("script.lua", "print('script', arg[0] ~= nil, ...)")
  dir:write("mod.lua", "print('mod', ...) return {value = 7}")
  dir:write("init.lua", "print 'init file'")
  local line = {"env", "-i", "PATH=" .. os.getenv "PATH",
    "LUA_PATH=" .. dir.path .. "/?.lua",
    "ASAN_OPTIONS=" .. (os.getenv "ASAN_OPTIONS" or "")}
  for name, value in pairs(env or {}) do
    line[#line + 1] = name .. "=" .. value:gsub("DIR", dir.path)
  end
  line[#line + 1] = program
  for _, word in ipairs(words) do line[#line + 1] = (word:gsub("DIR", dir.path)) end
  local out, err, code = helper.execute(line, input)
  if program == "lua5.4" then out = without_echo(out, input) end
  return {out = plain(out, dir.path), err = plain(err, dir.path), code = code}
end

-- The same of lua5.4, asked once.
local function theirs_of(case)
  case.theirs = case.theirs or try("lua5.4", table.unpack(case, 2, 4))
  return case.theirs
end

local CLOSING = [[
  local x <close> = setmetatable({}, {__close = function(_, e) print('closed', e) end})
]]

-- Each: what it is about, the words, and maybe input and environment.
local cases = {
  {"a statement", {"-e", "print(1, ...)"}},
  {"statements in order", {"-e", "x = 1", "-e", "x = x + 1", "-e", "print(x)"}},
  {"a word that sticks", {"-eprint(1)"}},
  {"-e without a statement", {"-e"}},
  {"-e before another option", {"-e", "-v"}},
  {"an error in a statement", {"-e", "error 'oh'"}},
  {"an error of level 2", {"-e", "local function f() error('oh', 2) end f()"}},
  {"a syntax error", {"-e", "x = = 1"}},
  {"an unfinished statement", {"-e", "for"}},
  {"an unfinished string", {"-e", "x = 'abc"}},
  {"an error deep inside",
    {"-e", "local function f(n) if n > 0 then f(n - 1) end error 'deep' end f(3)"}},
  {"an endless recursion",
    {"-e", "local function f() return 1 + f() end print(pcall(f))"}},
  {"a table as error", {"-e", "error {}"}},
  {"a table that knows its message",
    {"-e", "error(setmetatable({}, {__tostring = function() return 'mine' end}))"}},
  {"nil as error", {"-e", "error()"}},
  {"a number as error", {"-e", "error(42)"}},
  {"false as error", {"-e", "error(false)"}},
  {"a function as error", {"-e", "error(print)"}},
  {"what stops the rest",
    {"-e", "error 'first'", "-e", "print 'never'", "DIR/script.lua"}},
  {"a library", {"-l", "mod", "-e", "print(mod.value)"}},
  {"a library under another name", {"-l", "g=mod", "-e", "print(g.value, mod)"}},
  {"a library that sticks", {"-lmod", "-e", "print(mod.value)"}},
  {"a library that is not there", {"-l", "nowhere"}},
  {"-l without a name", {"-l"}},
  {"a script", {"DIR/script.lua", "a", "b"}},
  {"a script with options of its own", {"DIR/script.lua", "-e", "x", "--"}},
  {"a script after --", {"--", "DIR/script.lua", "a"}},
  {"a script that is not there", {"DIR/nowhere.lua"}},
  {"a directory as script", {"DIR"}},
  {"standard input", {"-", "a", "b"}, "print('in', ...)"},
  {"standard input with an error", {"-"}, "\n\nerror 'oh'"},
  {"standard input with a syntax error", {"-"}, "print(\n"},
  {"standard input that is not asked for", {}, "print(1)"},
  {"a first line for the shell", {"-"}, "#!/usr/bin/lua\nprint(1)\nerror 'line 3'"},
  {"input that the script reads", {"-e", "print(io.read(), io.read 'n', io.read 'a')"},
    "one\n 2 rest\n"},
  {"all arguments",
    {"-e", "a = 1", "-W", "-l", "mod", "DIR/script.lua", "x", "y"}},
  {"arg", {"-e", "for i = -5, 3 do print(i, i > -3 and arg[i]) end", "-", "x"},
    "print(#arg)"},
  {"arg for an error", {"-e", "arg = 1", "DIR/script.lua"}},
  {"an option that nobody knows", {"-x"}},
  {"a long one that nobody knows", {"-vx"}},
  {"a version and a statement", {"-v", "-e", "print(1)"}},
  {"a version only", {"-v"}},
  {"warnings that are off", {"-e", "warn 'hidden'"}},
  {"warnings that are on",
    {"-W", "-e", "warn('shown', ' twice') warn '@off' warn 'hidden'"}},
  {"warnings turned on", {"-e", "warn '@on' warn 'shown'"}},
  {"LUA_INIT", {"-e", "print(2)"}, nil, {LUA_INIT = "print(1)"}},
  {"LUA_INIT from a file", {"-e", "print(2)"}, nil, {LUA_INIT = "@DIR/init.lua"}},
  {"LUA_INIT from no file", {"-e", "print(2)"}, nil, {LUA_INIT = "@DIR/nowhere.lua"}},
  {"LUA_INIT with an error", {"-e", "print(2)"}, nil, {LUA_INIT = "error 'oh'"}},
  {"LUA_INIT with a syntax error", {"-e", "print(2)"}, nil, {LUA_INIT = "x ="}},
  {"LUA_INIT_5_4", {"-e", "print(2)"}, nil,
    {LUA_INIT = "print(1)", LUA_INIT_5_4 = "print(54)"}},
  {"-E against LUA_INIT", {"-E", "-e", "print(2)"}, nil, {LUA_INIT = "print(1)"}},
  {"-E against LUA_PATH",
    {"-E", "-e", "print(package.path:find 'DIR', pcall(require, 'mod'))"}},
  {"a path with the usual one inside", {"-e", "print(package.path)"}, nil,
    {LUA_PATH_5_4 = "/x/?.lua;;/y/?.lua"}},
  {"paths for C", {"-e", "print(package.cpath)"}, nil, {LUA_CPATH = ";;/y/?.so"}},
  {"os.exit with a number", {"-e", "os.exit(7)"}},
  {"os.exit with true", {"-e", "os.exit(true)"}},
  {"os.exit with false", {"-e", "os.exit(false)"}},
  {"os.exit that closes", {"-e",
    "setmetatable({}, {__gc = function() print 'gone' end}) os.exit(3, true)"}},
  {"what is collected in the end", {"-e",
    "for i = 1, 3 do _G[i] = setmetatable({}, {__gc = function() print(i) end}) end"}},
  {"an error while collecting", {"-W", "-e",
    "setmetatable({}, {__gc = function() error 'gc' end}) collectgarbage()"}},
  {"variables that are closed", {"-e", CLOSING}},
  {"variables that are closed by an error", {"-e", CLOSING .. " error('oh', 0)"}},
  {"bytes", {"-e", "io.write('a\\0b\\255\\n') io.stderr:write 'err\\n'"}},
  {"a chunk in bytecode", {"-e", "load(string.dump(function() print 'dumped' end))()"}},
  {"integer division by zero",
    {"-e", "print(pcall(load 'return 1 // 0'))", "-e", "return 1 // 0"}},
  {"an attempt to call nil", {"-e", "local t = {} t.x.y()"}},
  {"a global that is not there", {"-e", "nothing()"}},
  {"debug.traceback",
    {"-e", "print((debug.traceback('here', 1):match '^[^\\n]*\\n[^\\n]*'))"}},
  {"xpcall", {"-e", "print(xpcall(error, function(m) return 'handled ' .. m end, 'x'))"}},
  {"coroutines", {"-e", [[
    local co = coroutine.create(function(a)
      local b = coroutine.yield(a + 1)
      error('oh' .. b)
    end)
    print(coroutine.resume(co, 1)) print(coroutine.resume(co, 2))
    print(coroutine.status(co))
    print(coroutine.resume(co)) print(coroutine.close(co), coroutine.isyieldable(co))
    print(pcall(coroutine.wrap(function() error 'wrapped' end)))
    local function three() for i = 1, 3 do coroutine.yield(i) end end
    for i in coroutine.wrap(three) do print(i) end
  ]]}},
  {"require twice, and of what is not there", {"-e", [[
    print(require 'mod' == require 'mod', select(2, require 'mod'):match '[^/]*$')
    print(pcall(require, 'nowhere'))]]}},
  {"the prompt", {"-i"}, "1 + 1\n= 3\nprint 'x'\nreturn 1, nil, 'z'\n"},
  {"the prompt over several lines", {"-i"},
    "for i = 1, 2 do\nprint(i)\nend\nx = [[\na]]\nx\n"},
  {"the prompt and errors", {"-i"},
    "error 'oh'\nx = = 1\nprint(x.y)\nerror {}\nerror()\n1 +\n"},
  {"the prompt after a statement", {"-i", "-e", "x = 5"}, "x\n"},
  {"the prompt after an error", {"-i", "-e", "error 'oh'"}, "print 'still'\n"},
  {"the prompt after a script", {"-i", "DIR/script.lua", "a"}, "arg[1]\n"},
  {"a prompt of one's own", {"-i", "-e", "_PROMPT, _PROMPT2 = '1>', '2>'"},
    "for i = 1, 1 do\nend\n"},
  {"locals at the prompt", {"-i"}, "local x = 1\nprint(x)\n"},
}

-- Known differences, of what is told beside the first line of the message.
local apart = {
  ["a table that knows its message"] = "it has a traceback here",
  ["nil as error"] = "in a task it becomes a message that says so",
  ["a library that is not there"] = "require is written in Lua",
  ["variables that are closed by an error"] = "errors travel unchanged",
}

local function compare(case, ours)
  local theirs = theirs_of(case)
  if not apart[case[1]] then return assert.same(theirs, ours) end
  assert.equal(theirs.code, ours.code)
  assert.equal(theirs.out:match "^[^\n]*", ours.out:match "^[^\n]*")
  assert.equal(theirs.err:match "^%w+:", ours.err:match "^%w+:")
end

describe("lull is as lua5.4 is with", function()
  for _, case in ipairs(cases) do
    it(case[1], function()
      compare(case, try(helper.interpreter(), table.unpack(case, 2, 4)))
    end)
  end
end)

describe("under --plain lull is as lua5.4 is with", function()
  for _, case in ipairs(cases) do
    if case[2][1] == "-e" then
      it(case[1], function()
        local words = {"--plain", table.unpack(case[2])}
        compare(case, try(helper.interpreter(), words, case[3], case[4]))
      end)
    end
  end
end)
