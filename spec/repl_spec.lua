-- The prompt: fed by a pipe, and at a terminal, which script(1) makes.  A session waits
-- for what it expects by reading, so nothing depends on how long things take.
local helper = require "spec.helper"

local lull_path = os.getenv "LULL"
if not lull_path then
  local first = 0
  while arg[first - 1] do first = first - 1 end
  lull_path = arg[first]
end

-- What the prompt writes when these lines come through a pipe, without the banner.
local function piped(lines, ...)
  local words = {lull_path, ...}
  words[#words + 1] = "-i"
  local out, err, code = helper.execute(words, table.concat(lines, "\n") .. "\n")
  return out:gsub("^lull [^\n]*\n", ""), err, code
end

local TRACEBACK = "stack traceback:\n\t%[C%]: in function 'error'\n\z
  \tstdin:1: in main chunk\n\t%[C%]: in %?\n"

local quiet = "-e_PROMPT = '' _PROMPT2 = ''"

describe("the prompt on a pipe", function()
  it("says what it is and prompts", function()
    local out, err, code = helper.execute({lull_path, "-i"}, "x = 1\n")
    assert.truthy(out:find "^lull %d+%.%d+%.%d+, Lua 5%.4%.%d+ [^\n]*\n> > \n$", out)
    assert.equal("", err)
    assert.equal(0, code)
  end)

  it("prints the values of expressions, with and without =", function()
    assert.equal("2\n3\t4\nnil\nthree\n\n",
                 (piped({"1 + 1", "=3, 4", "nil", "('three')"}, quiet)))
  end)

  it("goes on where a statement does not end yet", function()
    local out = piped {"for i = 1, 2 do", "print(i)", "end", "a =", "10", "=a"}
    assert.equal("> >> >> 1\n2\n> >> > 10\n> \n", out)
  end)

  it("calls what is unfinished at the end an error", function()
    local _, err, code = piped({"for i = 1, 2 do"}, quiet)
    assert.equal("stdin:1: 'end' expected near <eof>\n", err)
    assert.equal(0, code)
  end)

  it("takes the prompts from _PROMPT and _PROMPT2, whatever they are", function()
    local prompts = [[-e
      _PROMPT = "alo: "
      _PROMPT2 = setmetatable({}, {__tostring = function() return "2:" end})]]
    assert.equal("alo: 2:2:alo: \n", (piped({"a =", "", "2"}, prompts)))
  end)

  it("keeps globals, and not locals, from line to line", function()
    assert.equal("1\tnil\n\n", (piped({"x = 1", "local y = 2", "x, y"}, quiet)))
  end)

  it("tells errors without a program name, and goes on", function()
    local out, err = piped({"error 'boom'", "x =)", "error {}", "1"}, quiet)
    assert.equal("1\n\n", out)
    assert.truthy(err:find("^stdin:1: boom\n" .. TRACEBACK ..
      "stdin:1: unexpected symbol near '%)'\n" ..
      "%(error object is a table value%)\n" .. TRACEBACK .. "$"), err)
  end)

  it("says when print fails", function()
    local out, err = piped({"print = nil", "10", "_PROMPT"}, quiet)
    assert.equal("\n", out)
    assert.truthy(err:find("^error calling 'print' %("), err)
  end)

  it("shares standard input with what it runs", function()
    assert.equal("typed\n5\n\n",
                 (piped({"line = io.read()", "typed", "line", "#line"}, quiet)))
  end)

  it("runs lines in the main task, where they suspend", function()
    local out = piped({"t = lull.now()", "lull.sleep(50) return lull.now() - t >= 50",
                       "lull.current() == lull.tasks()[1]"}, quiet, "--virtual-clock")
    assert.equal("true\ntrue\n\n", out)
  end)

  it("lets other tasks run between the lines, and cancels them at the end", function()
    local out, err, code = piped({
      "t = lull.spawn(function() local _ <close> = lull.defer(print, 'cleaned') \z
       n = 1 lull.sleep(1e9) end)", "n", "t:status()"}, quiet)
    assert.equal("1\npending\n\ncleaned\n", out)
    assert.equal("", err)
    assert.equal(0, code)
  end)

  it("ends a line, not the program, when there is a deadlock", function()
    local out, err, code = piped({"f = lull.future()", "f:await()", "f:status()"}, quiet)
    assert.equal("pending\n\n", out)
    assert.truthy(err:find("deadlock", 1, true), err)
    assert.equal(0, code)
  end)

  it("reports failures of tasks", function()
    local out, err = piped({"lull.spawn(error, 'alone') lull.sleep(2)", "1"}, quiet,
                           "--virtual-clock")
    assert.equal("1\n\n", out)
    assert.truthy(err:find("alone", 1, true), err)
  end)

  it("works under --plain", function()
    local out, err = piped({"lull.current() == nil", "error 'x'",
                            "lull.run(lull.current) ~= nil"}, quiet, "--plain")
    assert.equal("true\ntrue\n\n", out)
    assert.truthy(err:find("^stdin:1: x\n" .. TRACEBACK .. "$"), err)
  end)
end)

-- A session at a terminal.  s:type(keys), s:expect(text): reads on until text has come.
local function session(fn, ...)
  local dir <close> = helper.tempdir()
  assert(os.execute("mkfifo " .. dir.path .. "/keys"))
  local command = table.concat({"exec", lull_path, ...}, " ")
  local screen = io.popen((
    "TERM=xterm timeout 100 script -qefc '%s' /dev/null <%s/keys 2>&1; echo ended with $?"
  ):format(command, dir.path))
  local keys <close> = assert(io.open(dir.path .. "/keys", "w"))
  keys:setvbuf "no"
  local seen = ""
  local s = {}
  function s.type(_, text) keys:write(text) end
  function s.expect(_, text)
    local all = seen
    while true do
      local _, last = seen:find(text, 1, true)
      if last then
        seen = seen:sub(last + 1)
        return
      end
      local c = screen:read(1)
      if not c then error(("%q did not come after %q"):format(text, all), 2) end
      seen, all = seen .. c, all .. c
    end
  end
  function s.line(self, text, answer)
    self:type(text .. "\n")
    self:expect("\r\n" .. answer)
    self:expect "> "
  end
  s:expect "> "
  fn(s)
  s:type "\4"
  s:expect("ended with " .. (s.code or 0))
  screen:close()
end

describe("the prompt at a terminal", function()
  if not os.execute "command -v script >/dev/null" then
    pending "needs script(1)"
    return
  end

  it("evaluates what is typed and calls it back", function()
    session(function(s)
      s:line("6 * 7", "42\r\n")
      s:type "\27[A\n"
      s:expect "\r\n42\r\n> "
      s:type "if true then\n"
      s:expect ">> "
      s:line("print 'yes' end", "yes\r\n")
    end)
  end)

  it("completes names with the Tab key", function()
    session(function(s)
      s:type "string.for\t('%d', 42)\n"
      s:expect "\r\n42\r\n> "
      s:type "lull.s\t"
      s:expect "shield"
      s:expect "> lull.s"
      s:type "leep\t ~= nil\n"
      s:expect "\r\ntrue\r\n> "
    end)
  end)

  it("lets tasks run while a line is being typed", function()
    session(function(s)
      s:line("go = lull.future()", "")
      s:line("t = lull.spawn(function() go:await() print 'from a task' end)", "")
      s:line("lull.spawn(function() lull.sleep(0.05) go:set_result() end)", "task")
      s:type "1 + "
      s:expect "from a task\r\n"
      s:type "1\n"
      s:expect "\r\n2\r\n> "
    end)
  end)

  it("shows the unfinished line again below what a task reports", function()
    session(function(s)
      s:line("f = lull.spawn(function() lull.sleep(0.05) error 'alone' end)", "")
      s:type "1 + "
      s:expect "stdin:1: alone"
      s:expect "> 1 + "
      s:type "1\n"
      s:expect "\r\n2\r\n> "
    end)
  end)

  it("drops the line on Ctrl-C", function()
    session(function(s)
      s:type "this is no"
      s:expect "no"
      s:type "\3"
      s:expect "> "
      s:line("6 * 7", "42\r\n")
      s:type "for i = 1, 2 do\n"
      s:expect ">> "
      s:type "\3"
      s:expect "> "
      s:line("6 * 7", "42\r\n")
    end)
  end)

  it("interrupts a statement on Ctrl-C, waiting or computing, and goes on", function()
    session(function(s)
      s:type "print 'sleeps' lull.sleep(1000)\n"
      s:expect "\nsleeps\r\n"
      s:type "\3"
      s:expect "interrupted!\r\n"
      s:expect "> "
      s:type "print 'works' while true do end\n"
      s:expect "\nworks\r\n"
      s:type "\3"
      s:expect "interrupted!"
      s:expect "> "
      s:line("6 * 7", "42\r\n")
    end)
  end)

  it("survives a deadlock of a statement", function()
    session(function(s)
      s:type "lull.future():await()\n"
      s:expect "deadlock"
      s:expect "> "
      s:line("6 * 7", "42\r\n")
    end)
  end)

  it("cancels what runs on Ctrl-D, and cleanup may take its time", function()
    session(function(s)
      s:line("lull.spawn(function() local _ <close> = lull.defer(function() \z
        lull.shield(lull.sleep, 0.01) print 'cleaned' end) lull.sleep(1000) end)", "task")
      s:type "\4"
      s:expect "cleaned"
    end)
  end)

  it("gives the terminal back when a task ends the program", function()
    session(function(s)
      s:type "lull.spawn(function() lull.sleep(0.01) print 'bye' os.exit(7) end)\n"
      s:expect "bye\r\n"
      s.code = 7
    end)
  end)
end)
