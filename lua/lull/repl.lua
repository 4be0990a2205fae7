-- The prompt of the interpreter: reads a statement, runs it in the main task, prints what
-- it returns.  While one types, the loop turns and others run.  The terminal comes as
-- a table of functions (src/program/prompt.c); without a loop (--plain) it is waited for.

local complete = require "lull.complete"
local core = require "lull.core"
local lull = require "lull"

local traceback = debug.traceback
local output = io.stdout

return function(terminal)
  local loop = lull.current() and terminal.fd >= 0 and lull.loop()
  local typed -- the future of the line that is being typed
  local running -- the scope of the statement that runs

  -- Reading -----------------------------------------------------------------------------

  local function prompt(name, default)
    local text = _G[name]
    return text == nil and default or tostring(text)
  end

  local function feed()
    local line = terminal.feed(false)
    if line ~= nil then
      loop:remove_reader(terminal.fd) -- what follows belongs to whom the line runs
      typed:set_result(line)
    end
  end

  -- A line, false at the end of input, nil after Ctrl-C.
  local function read(text)
    terminal.begin(text)
    if not loop then return terminal.feed(true) end
    typed = lull.future()
    loop:add_reader(terminal.fd, feed)
    local _ <close> = lull.defer(loop.remove_reader, loop, terminal.fd)
    local line = typed:await()
    typed = nil
    return line
  end

  local function incomplete(message)
    return message:sub(-5) == "<eof>"
  end

  -- The chunk of a statement that begins with this line; nil, message when it makes no
  -- sense; nothing when it was given up.
  local function compile(line)
    line = line:gsub("^=", "return ")
    local chunk = load("return " .. line, "=stdin", "t")
    if chunk then
      terminal.remember(line)
      return chunk
    end
    while true do
      local message
      chunk, message = load(line, "=stdin", "t")
      if chunk or not incomplete(message) then
        terminal.remember(line)
        return chunk, message
      end
      local more = read(prompt("_PROMPT2", ">> "))
      if not more then return nil, more == false and message or nil end
      line = line .. "\n" .. more
    end
  end

  -- Running -----------------------------------------------------------------------------

  -- The part of a traceback that is the user's.
  local function trace(err)
    if lull.is_cancelled(err) then return nil end
    local text = traceback(nil, 3)
    local cut = text:find("\n\t%[C%]: in function 'xpcall'\n\tlull/repl.lua", 1)
    return cut and text:sub(1, cut) .. "\t[C]: in ?" or text
  end

  local function call(chunk)
    local where
    local function handler(err)
      where = trace(err)
      return err
    end
    local function body(scope)
      running = scope
      return table.pack(xpcall(chunk, handler))
    end
    local results = loop and lull.scope(body) or body()
    running = nil
    return results, where
  end

  local function complain(err, where)
    if lull.is_cancelled(err) then err = err.reason end
    terminal.complain(err, where)
  end

  local function show(results)
    if results.n == 1 then return end
    local ok, message = pcall(print, table.unpack(results, 2, results.n))
    if not ok then
      terminal.complain(("error calling 'print' (%s)"):format(tostring(message)))
    end
  end

  local function run(chunk)
    local results, where = call(chunk)
    if results[1] then
      show(results)
    else
      complain(results[2], where)
    end
  end

  -- What comes from elsewhere -----------------------------------------------------------

  -- Ctrl-C: the statement ends, or the line that is being typed.
  local function interrupt(computing)
    if computing then
      return -- and has got an error
    elseif typed and not typed:done() then
      terminal.drop()
      typed:set_result(nil)
    elseif running then
      running:cancel("interrupted!")
    end
  end

  -- Other tasks write above the line that is being typed.
  local function above(write, ...)
    terminal.hide()
    write(...)
    output:flush()
    terminal.show()
  end

  -- The Tab key: returns what is added to the line.
  function terminal.complete(text)
    local rest, list = complete(text)
    if list then above(output.write, output, table.concat(list, "  "), "\n") end
    return rest
  end

  local function attach()
    terminal.on_interrupt(interrupt)
    core.on_deadlock(function(report)
      if running then running:cancel(report) end
      return running ~= nil
    end)
    lull.on_unhandled(function(...)
      above(core.print_failure, ...)
    end)
    if terminal.tty then
      local plain_print = print
      function print(...) -- luacheck: ignore
        above(plain_print, ...)
      end
    end
  end

  local function leave()
    terminal.leave()
    for _, task in ipairs(lull.tasks()) do
      if task ~= lull.current() then task:cancel() end
    end
  end

  if loop then attach() end
  while true do
    local line = read(prompt("_PROMPT", "> "))
    if line == false then break end
    if line then
      local chunk, message = compile(line)
      if chunk then
        run(chunk)
      elseif message then
        terminal.complain(message)
      end
    end
  end
  output:write("\n")
  output:flush()
  if loop then leave() end
end
