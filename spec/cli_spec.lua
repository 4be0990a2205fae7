-- The interpreter as a command: section 8 of the contract, clause by clause.  Each test
-- starts a lull of its own.
local helper = require "spec.helper"

local lull_path = os.getenv "LULL"
if not lull_path then
  local first = 0
  while arg[first - 1] do first = first - 1 end
  lull_path = arg[first]
end

-- lull(words [, input]) -> stdout, stderr, code
local function lull(words, input)
  return helper.execute({lull_path, table.unpack(words)}, input)
end

-- The same behind another command, as env with variables.
local function with(before, words, input)
  local line = {table.unpack(before)}
  line[#line + 1] = lull_path
  table.move(words, 1, #words, #line + 1, line)
  return helper.execute(line, input)
end

local function env(...)
  return {"env", ...}
end

-- What it writes when all goes well.
local function output(words, input)
  local out, err, code = lull(words, input)
  assert.equal("", err)
  assert.equal(0, code)
  return out
end

-- The exit code and the messages of what goes wrong.
local function failing(words, input)
  local out, err, code = lull(words, input)
  return code, err, out
end

describe("the command line", function()
  it("runs a script with its arguments", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("s.lua", "print(select('#', ...), ...) print(#arg, arg[1])")
    assert.equal("3\tone\ttwo words\t-e\n3\tone\n",
                 output {script, "one", "two words", "-e"})
  end)

  it("numbers arg around the script", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("s.lua", [[
      local first = 0
      while arg[first - 1] do first = first - 1 end
      print(first, arg[-1], arg[-2], arg[0] == ..., arg[1] == ...)]])
    assert.equal("-3\t--\t-v\tfalse\ttrue\n",
                 (output({"-v", "--", script, "x"}):gsub("^lull [^\n]*\n", "")))
    assert.equal("true\t-e\n", output {"-e", "print(arg[0] ~= nil, arg[1])"})
  end)

  it("runs -e in order, in one state, and no prompt after it", function()
    assert.equal("1\n2\n", output {"-e", "x = 1 print(x)", "-ex = x + 1", "-eprint(x)"})
    assert.equal("", output {"-e", ""})
  end)

  it("requires libraries with -l, and under another name with -l g=mod", function()
    local dir <close> = helper.tempdir()
    dir:write("mine.lua", "return {name = ..., 42}")
    local path = env("LUA_PATH=" .. dir.path .. "/?.lua")
    assert.equal("42\tmine\n",
                 (with(path, {"-l", "mine", "-e", "print(mine[1], mine.name)"})))
    assert.equal("42\tnil\n", (with(path, {"-lg=mine", "-e", "print(g[1], mine)"})))
    assert.equal("4\n", output {"-ls=string", "-e", "print(s.len 'four')"})
  end)

  it("reads the script from standard input where it is told - or nothing", function()
    assert.equal("in\tx\n", output({"-", "x"}, "print('in', ...)"))
    assert.equal("in\n", output({}, "print 'in'"))
    assert.equal("", output({"-e", ""}, "print 'in'"))
    assert.equal("", output({"-W", "-e", ""}, "print 'in'"))
  end)

  it("ends the options at --", function()
    local code, err = failing {"--", "-e"}
    assert.equal(1, code)
    assert.truthy(err:find("^lull: cannot open %-e"), err)
    assert.equal(1, (failing {"--", "-"}))
  end)

  it("says its version and Lua's with -v and --version", function()
    for _, option in ipairs {"-v", "--version"} do
      local out = output({option}, "print 'not this'")
      assert.truthy(out:find("^lull %d+%.%d+%.%d+, Lua 5%.4%.%d+  Copyright [^\n]*\n$"),
                    out)
    end
    assert.truthy(output({"-v", "-e", "print(1)"}):find("\n1\n$"))
  end)

  it("explains itself with --help", function()
    local out = output {"--help"}
    for _, option in ipairs {"-e", "-i", "-l", "-v", "-E", "-W", "--plain",
                             "--virtual-clock", "--selector"} do
      assert.truthy(out:find(option, 1, true), option)
    end
  end)

  it("refuses options that make no sense", function()
    for _, word in ipairs {"-h", "-vi", "-Ex", "--selector", "--pl", "---"} do
      local code, err, out = failing {word}
      assert.equal(1, code)
      assert.equal("", out)
      local message = "lull: unrecognized option '" .. word .. "'\nusage: lull"
      assert.equal(message, err:sub(1, #message))
    end
    for _, words in ipairs {{"-e"}, {"-l"}, {"-e", "-v"}} do
      local code, err = failing(words)
      assert.equal(1, code)
      assert.truthy(err:find("lull: '" .. words[1] .. "' needs argument\n", 1, true), err)
    end
  end)

  it("turns warnings on with -W", function()
    local _, err = lull {"-e", "warn 'no'", "-W", "-e", "warn 'yes'"}
    assert.equal("Lua warning: yes\n", err)
  end)

  it("takes the prompt after the script with -i", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("s.lua", "x = 20 _PROMPT = ''")
    local out, _, code = lull({"-i", script}, "x + 1\n")
    assert.equal(0, code)
    assert.truthy(out:find("^lull [^\n]*\n21\n\n$"), out)
  end)
end)

describe("the environment", function()
  it("runs LUA_INIT before all else, LUA_INIT_5_4 instead of it", function()
    assert.equal("7\n", (with(env "LUA_INIT=x = 7", {"-e", "print(x)"})))
    assert.equal("8\n", (with(env("LUA_INIT=x = 7", "LUA_INIT_5_4=x = 8"),
                              {"-e", "print(x)"})))
    local dir <close> = helper.tempdir()
    local file = dir:write("init.lua", "x = 9")
    assert.equal("9\n", (with(env("LUA_INIT=@" .. file), {"-e", "print(x)"})))
  end)

  it("names LUA_INIT in messages and stops there", function()
    local out, err, code = with(env "LUA_INIT=error 'early'", {"-e", "print 'late'"})
    assert.equal(1, code)
    assert.equal("", out)
    assert.truthy(err:find("^lull: LUA_INIT:1: early\nstack traceback:\n"), err)
  end)

  it("is not looked at with -E", function()
    local out = with(env("LUA_INIT=x = 7", "LUA_PATH=nowhere"),
                     {"-E", "-e", "print(x, package.path == 'nowhere')"})
    assert.equal("nil\tfalse\n", out)
  end)

  it("gives the paths of modules", function()
    local out = with(env("LUA_PATH=a;;", "LUA_CPATH_5_4=c"),
                     {"-e", "print(package.path:sub(1, 2), package.cpath)"})
    assert.equal("a;\tc\n", out)
  end)
end)

describe("an error", function()
  local function message_of(code)
    local dir <close> = helper.tempdir()
    local script = dir:write("script.lua", code)
    local exit, err = failing {script}
    assert.equal(1, exit)
    return (err:gsub(dir.path:gsub("%p", "%%%0") .. "/", ""))
  end

  it("is told with place and traceback, and ends with 1", function()
    local err = message_of "local function f()\n\n error 'boom'\nend\nf()"
    assert.truthy(err:find("^lull: script.lua:3: boom\nstack traceback:\n"), err)
    assert.truthy(err:find("script.lua:5: in main chunk", 1, true), err)
  end)

  it("shows where it was raised also after a suspension", function()
    local err = message_of [[
      local function deep() lull.sleep(0.001) error "later" end
      local function outer() deep() end
      outer()]]
    assert.truthy(err:find("^lull: script.lua:1: later\nstack traceback:\n"), err)
    assert.truthy(err:find("script.lua:2: in", 1, true), err)
    assert.truthy(err:find("script.lua:3: in main chunk", 1, true), err)
  end)

  it("of loading has no traceback", function()
    assert.equal("lull: script.lua:2: unexpected symbol near <eof>\n", message_of "\nx =")
    local _, err = failing {"nowhere.lua"}
    assert.truthy(err:find("^lull: cannot open nowhere.lua[^\n]*\n$"), err)
    local _, cl = failing {"-e", "x ="}
    assert.equal("lull: (command line):1: unexpected symbol near <eof>\n", cl)
  end)

  it("may be any value", function()
    assert.truthy(message_of "error {}":find "^lull: %(error object is a table value%)")
    assert.truthy(message_of "error(true)":find "^lull: %(.* is a boolean value%)")
    assert.truthy(message_of "error(12)":find "^lull: 12\nstack traceback:\n")
    assert.truthy(message_of
      "error(setmetatable({}, {__tostring = function() return 'made' end}))"
      :find "^lull: made\n")
    assert.truthy(message_of "error()":find "^lull: .*nil")
  end)

  it("stops what would come next on the command line", function()
    local code, err, out = failing {"-e", "error 'first'", "-e", "print 'second'"}
    assert.equal(1, code)
    assert.equal("", out)
    assert.truthy(err:find "^lull: %(command line%):1: first\n")
  end)

  it("of a library that is not there names the places", function()
    local code, err = failing {"-l", "no_such_library"}
    assert.equal(1, code)
    assert.truthy(err:find "^lull: module 'no_such_library' not found:\n")
  end)

  it("is said of an arg that is no table", function()
    local code, err = failing({"-e", "arg = 1", "-"}, "")
    assert.equal(1, code)
    assert.truthy(err:find("lull: 'arg' is not a table", 1, true), err)
  end)
end)

describe("os.exit", function()
  it("ends at once with its code, tasks or not", function()
    assert.equal(3, (failing {"-e", "lull.spawn(lull.sleep, 100) os.exit(3)"}))
    assert.equal(0, (failing {"-e", "os.exit(true, true)"}))
    assert.equal(1, (failing {"-e", "lull.sleep(0) os.exit(false, true)"}))
    assert.equal(4, (failing {"-e", "lull.spawn(os.exit, 4, true) lull.sleep(100)"}))
  end)
end)

describe("os.exit with close", function()
  it("closes the variables of the main chunk, as in lua", function()
    local out, err, code = helper.child [[
      local outer <close> = setmetatable({}, {__close = function(_, e)
        print("outer", e)
      end})
      local inner <close> = setmetatable({}, {__close = function()
        print("inner", (pcall(lull.sleep, 0)))
      end})
      kept = setmetatable({}, {__gc = function() print "collected" end})
      lull.spawn(lull.sleep, 100)
      lull.sleep(1)
      os.exit(5, true)]]
    assert.equal("inner\tfalse\nouter\tnil\ncollected\n", out)
    assert.equal("", err)
    assert.equal(5, code)
  end)
end)

describe("the main task", function()
  it("is where every chunk runs", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("s.lua", "print(lull.current() == init, ...)")
    dir:write("mine.lua", "assert(lull.current() == init)")
    local out, err = with(
      env("LUA_INIT=init = assert(lull.current())", "LUA_PATH=" .. dir.path .. "/?.lua"),
      {"-e", "assert(lull.current() == init)", "-l", "mine", script, "x"})
    assert.equal("", err)
    assert.equal("true\tx\n", out)
  end)

  it("may suspend anywhere: in LUA_INIT, -e, a library, the script", function()
    local dir <close> = helper.tempdir()
    local script = dir:write("s.lua", "lull.sleep(1) print(order .. 's', ...)")
    dir:write("mine.lua", "lull.sleep(1) order = order .. 'l' return 'lib'")
    local out, err = with(
      env("LUA_INIT=lull.sleep(1) order = 'i'", "LUA_PATH=" .. dir.path .. "/?.lua"),
      {"--virtual-clock", "-e", "lull.sleep(1) order = order .. 'e'", "-lg=mine",
       "-e", "assert(g == 'lib')", script, "x"})
    assert.equal("", err)
    assert.equal("iels\tx\n", out)
  end)

  it("has lull as a global and as a module", function()
    assert.equal("true\n", output {"-e", "print(lull == require 'lull')"})
    assert.equal("true\n", output {"--plain", "-e", "print(lull == require 'lull')"})
  end)

  it("is waited for together with the tasks that it started", function()
    local out = helper.child [[
      lull.spawn(function() lull.sleep(5) print "task" end)
      lull.spawn(function()
        local _ <close> = lull.defer(print, "daemon")
        lull.sleep(50)
      end):daemon()
      print "main"]]
    assert.equal("main\ntask\ndaemon\n", out)
  end)

  it("that fails takes the other tasks with it", function()
    local out, err, code = helper.child [[
      lull.spawn(function()
        local _ <close> = lull.defer(print, "cleaned")
        lull.sleep(100)
        print "not this"
      end)
      lull.sleep(0)
      error "main fails"]]
    assert.equal(1, code)
    assert.equal("cleaned\n", out)
    assert.truthy(err:find("script.lua:7: main fails\nstack traceback:", 1, true), err)
  end)
end)

describe("the exit code", function()
  it("is 1 after a failure that nobody took", function()
    local _, err, code = helper.child "lull.spawn(function() error 'alone' end)"
    assert.equal(1, code)
    assert.truthy(err:find("script.lua:1: alone", 1, true), err)
    assert.truthy(err:find("stack traceback:", 1, true), err)
  end)

  it("is the handler's affair where there is one", function()
    local out, err, code = helper.child [[
      lull.on_unhandled(function(e) print("handled", (e:gsub("^.*: ", ""))) end)
      lull.spawn(error, "alone")]]
    assert.equal("handled\talone\n", out)
    assert.equal("", err)
    assert.equal(0, code)
  end)

  it("is 1 after a deadlock, with a report of who waits for what", function()
    local _, err, code = helper.child [[
      lull.spawn(function() lull.future():await() end):name "stuck"
      lull.future():await()]]
    assert.equal(1, code)
    assert.truthy(err:find("deadlock", 1, true), err)
    assert.truthy(err:find('"stuck"', 1, true), err)
    assert.truthy(err:find("script.lua:1", 1, true), err)
    assert.truthy(err:find("script.lua:2", 1, true), err)
  end)
end)

describe("--plain", function()
  it("runs outside of any task, where suspending raises", function()
    assert.equal("nil\tfalse\n", output {"--plain", "-e",
      "print(lull.current(), (pcall(lull.sleep, 0)))"})
  end)

  it("can make loops", function()
    assert.equal("7\n", output {"--plain", "-e",
      "print(lull.run(function() lull.sleep(0) return 7 end))"})
  end)

  it("tells errors as without it", function()
    local code, err = failing {"--plain", "-e", "local function f() error 'x' end f()"}
    assert.equal(1, code)
    assert.truthy(err:find("^lull: %(command line%):1: x\nstack traceback:\n"), err)
    assert.truthy(err:find("%[C%]: in %?\n$"), err)
  end)
end)

describe("--virtual-clock", function()
  it("lets no time pass", function()
    assert.equal("true\n", output {"--virtual-clock", "-e",
      "local t = lull.now() lull.sleep(1e6) print(lull.now() - t >= 1e6)"})
  end)
end)

describe("--selector", function()
  it("waits with the one that is named", function()
    for _, name in helper.backends() do
      assert.equal(name .. "\n", output {"--selector=" .. name, "-e",
        "lull.sleep(0.001) print(lull.selector)"})
    end
  end)

  it("is refused where there is no such", function()
    local code, err = failing {"--selector=crystal-ball", "-e", ""}
    assert.equal(1, code)
    assert.truthy(err:find("^lull: [^\n]*crystal%-ball[^\n]*\n$"), err)
  end)
end)

describe("the process", function()
  it("survives a broken pipe, and its children do not inherit that", function()
    local out, _, code = lull {"-e", [[
      local pipe = io.popen("exec <&- ; exit 0", "w")
      io.popen("kill -PIPE $PPID"):close()
      print(select(2, os.execute("kill -PIPE $$")))]]}
    assert.equal("signal\t13\n", out)
    assert.equal(0, code)
  end)

  it("takes closed standard files for empty ones", function()
    local out, err, code = helper.execute {"sh", "-c", [[
      "$0" -i <&- | tail -n +2
      "$0" -e 'print "nowhere" lull.sleep(0.001)' >&- && echo well]], lull_path}
    assert.equal("> \nwell\n", out)
    assert.equal("", err)
    assert.equal(0, code)
  end)

  it("collects garbage seldom while there is little of it, but for --plain", function()
    local count = [[
      local n = 0
      local function mark()
        setmetatable({}, {__gc = function() n = n + 1 mark() end})
      end
      mark()
      for _ = 1, 4000 do local _ = ("x"):rep(math.random(1000, 1001)) end
      print(n)]]
    local seldom, often = output {"-e", count}, output {"--plain", "-e", count}
    assert.is_true(3 * tonumber(seldom) < tonumber(often), seldom .. often)
  end)

  it("raises its limit of open files as far as it may", function()
    local limits = io.open "/proc/self/limits"
    if not limits then return pending "needs /proc" end
    limits:close()
    local out = helper.execute {"sh", "-c", [[
      ulimit -Sn 64
      exec "$0" -e 'for line in io.lines "/proc/self/limits" do
        local soft, hard = line:match "^Max open files%s+(%S+)%s+(%S+)"
        if soft then print(soft == hard) end
      end']], lull_path}
    assert.equal("true\n", out)
  end)
end)

-- Ctrl-C, at once: with a shell that sends it half a second could pass before the script
-- goes on, which is how long code may compute until it is interrupted.
local CTRL_C = [[local function ctrl_c() require "lull.signal".raise "SIGINT" end
]]

describe("Ctrl-C", function()
  it("cancels the main task, whose cleanup runs, and ends with 130", function()
    local out, err, code = helper.child(CTRL_C .. [[
      local _ <close> = lull.defer(print, "cleaned")
      ctrl_c()
      lull.sleep(1000)
      print "not this"]], "--real")
    assert.equal("cleaned\n", out)
    assert.equal("lull: interrupted!\n", err)
    assert.equal(130, code)
  end)

  it("is a cancellation with a reason, and a body may finish in spite of it", function()
    local out, err, code = helper.child(CTRL_C .. [[
      ctrl_c()
      local ok, err = pcall(lull.sleep, 1000)
      print(ok, lull.is_cancelled(err), err.reason)]], "--real")
    assert.equal("false\ttrue\tinterrupted!\n", out)
    assert.equal("", err)
    assert.equal(130, code)
  end)

  it("reaches every task once main has ended", function()
    local out, _, code = helper.child(CTRL_C .. [[
      for i = 1, 2 do
        lull.spawn(function()
          local _ <close> = lull.defer(print, "cleaned")
          lull.sleep(1000)
        end)
      end
      lull.spawn(function() lull.sleep(0) ctrl_c() end)]], "--real")
    assert.equal("cleaned\ncleaned\n", out)
    assert.equal(130, code)
  end)

  it("interrupts code that does not come to an await", function()
    local out, err, code = helper.child(CTRL_C .. [[
      ctrl_c()
      local ok, err = pcall(function() while true do end end)
      print(ok, err:match "interrupted!")
      while true do lull.sleep(0) end]], "--real")
    assert.equal("false\tinterrupted!\n", out)
    assert.equal("lull: interrupted!\n", err)
    assert.equal(130, code)
  end)

  it("interrupts other tasks and nested coroutines that compute", function()
    local _, err, code = helper.child(CTRL_C .. [[
      lull.spawn(function()
        ctrl_c()
        while true do
          for _ in coroutine.wrap(function() coroutine.yield(1) end) do end
        end
      end):name "busy"
      lull.sleep(1000)]], "--real")
    assert.truthy(err:find("interrupted!", 1, true), err)
    assert.equal(130, code)
  end)

  it("ends at once when it comes twice", function()
    local out, _, code = helper.child(CTRL_C .. [[
      local _ <close> = lull.defer(print, "not this")
      ctrl_c()
      pcall(lull.sleep, 1000)
      lull.shield(lull.sleep, 0.1)
      print "between"
      io.stdout:flush()
      ctrl_c()
      print "nor that"]], "--real")
    assert.equal("between\n", out)
    assert.equal(130, code)
  end)

  it("is lua's under --plain", function()
    local out, err, code = helper.child(CTRL_C .. [[
      print(pcall(function() ctrl_c() while true do end end))]], "--plain")
    assert.truthy(out:find "^false\t.*interrupted!\n$", out)
    assert.equal("", err)
    assert.equal(0, code)
  end)
end)
