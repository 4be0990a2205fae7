-- The table of `require "lull"`: what a script sees.  The core in C gives tasks, futures,
-- scopes and loops; here is the comfort on top, in plain Lua.
local arguments = require "lull.arguments"
local class = require "lull.class"
local core = require "lull.core"

local lull = {
  version = core.version,
  spawn = core.spawn, current = core.current, sleep = core.sleep, now = core.now,
  future = core.future, await = core.await,
  timeout = core.timeout, shield = core.shield, scope = core.scope, group = core.group,
  pcall = core.pcall, is_cancelled = core.is_cancelled,
  loop = core.loop, new_loop = core.new_loop, selectors = core.selectors,
  time = core.time,
}

local Task, Loop = core.methods.Task, core.methods.Loop

require = require "lull.require"

-- Modules load on first use: lull.net is require "lull.net".
local modules = { net = true, fs = true, process = true, signal = true, thread = true,
                  protocol = true, test = true }
-- So do the modules that add functions: lull.lock is that of require "lull.sync".
local added = { lock = "sync", event = "sync", condition = "sync", semaphore = "sync",
                barrier = "sync", queue = "queue", priority_queue = "queue",
                lifo_queue = "queue", clock = "clock", task_local = "local",
                gather = "wait", race = "wait", wait = "wait", as_completed = "wait",
                stdin = "stdio", stdout = "stdio", stderr = "stdio" }
setmetatable(lull, { __index = function(t, key)
  local module
  if key == "selector" then
    return core.selector_name()
  elseif modules[key] then
    module = require("lull." .. key)
  elseif added[key] then
    module = require("lull." .. added[key])[key]
  end
  rawset(t, key, module)
  return module
end })

-- ---- running ------------------------------------------------------------------------

-- Runs fn as the main task of a loop of its own and returns its results; inside a task
-- it just calls fn.
function lull.run(fn, ...)
  arguments.callable(1, "run", fn)
  if core.current() then return fn(...) end
  local loop <close> = core.new_loop()
  return loop:run(fn, ...)
end

-- Every live task of the running loop, in the order in which they were spawned.
function lull.tasks()
  local tasks = core.tasks()
  table.sort(tasks, function(a, b) return a:id() < b:id() end)
  return tasks
end

-- A ticker without drift: for n in lull.every(1) do ... end.  The first tick comes after
-- one period; ticks that were missed collapse into one that comes at once.
function lull.every(period)
  if not (type(period) == "number" and period > 0) then
    error("bad argument #1 to 'every' (a positive number of seconds expected)", 2)
  end
  local n, due = 0, core.now() + period
  return function()
    local now = core.now()
    if now < due then
      core.sleep_until(due)
      due = due + period
    else
      core.enter()
      due = due + period * ((now - due) // period + 1)
    end
    n = n + 1
    return n
  end
end

local Deferred = class "Deferred"

function Deferred:close()
  local fn = self.fn
  self.fn = nil
  if fn then fn(table.unpack(self, 1, self.n)) end
end
Deferred.__close = Deferred.close

-- local _ <close> = lull.defer(fn, ...): runs fn(...) when the block is left.
function lull.defer(fn, ...)
  arguments.callable(1, "defer", fn)
  local self = table.pack(...)
  self.fn = fn
  return setmetatable(self, Deferred)
end

-- ---- errors --------------------------------------------------------------------------

-- assert that lets a bare nil pass (the end of a stream).
function lull.check(...)
  local value, message = ...
  if value or value == nil and message == nil then return ... end
  error(message == nil and "assertion failed!" or message, 0)
end

-- Reads the code off a raised message: "ECONNRESET", or nil.
function lull.code(err)
  if type(err) ~= "string" then
    return core.is_cancelled(err) and tostring(err):match("^E[%u%d_]+%f[:]") or nil
  end
  return err:match("^E[%u%d_]+%f[:]") or err:match("^[^\n]-:%d+: (E[%u%d_]+):")
end
core.code = lull.code -- for servers

local unhandled -- the script's handler; nil: the default

local function print_failure(err, traceback, task)
  local ok, text = pcall(tostring, err)
  if not ok then text = ("an error of type %s that cannot be shown"):format(type(err)) end
  io.stdout:flush()
  io.stderr:write("lull: ", task and tostring(task) or "callback", ": ", text, "\n",
                  traceback and traceback .. "\n" or "")
end
core.print_failure = print_failure -- for the prompt, which writes around it

-- Tells the handler of an error that nobody looks at; quiet ones are no failures.  A host
-- is told of every error, and does the printing if he likes.
function core.report(err, traceback, task, quiet, told)
  told = told or core.tell_host(err, traceback, task)
  local loop = core.has_loop() and core.loop()
  local handler = loop and core.loop_handler(loop) or unhandled
  if handler then
    local ok, message = xpcall(handler, core.handler, err, traceback, task)
    if ok then return end
    core.failed()
    if told then error(message, 0) end
    core.print_failure(message, core.traceback(message))
  end
  if told then return end
  if not quiet then core.failed() end
  core.print_failure(err, traceback, task)
end
core.on_report(core.report)

-- fn(err, traceback, task | nil) is told of every failure that nobody looks at; nil
-- restores the default, which prints it.  Returns the previous handler.
function lull.on_unhandled(fn)
  if fn ~= nil then arguments.callable(1, "on_unhandled", fn) end
  local previous = unhandled
  unhandled = fn
  return previous
end

function Loop:on_unhandled(fn)
  if fn ~= nil then arguments.callable(1, "on_unhandled", fn) end
  return core.loop_handler(self, fn or false)
end

-- ---- tasks --------------------------------------------------------------------------

-- Cancels the task and waits until it has ended; never raises its error.
function Task:close()
  if self == core.current() then error("a task cannot close itself", 2) end
  self:take()
  if self:done() then return end
  self:cancel("closed")
  core.shield(self.wait, self)
end

-- Begins a callback-style operation: start(done) may return a function that cancels it.
-- The first done(...) resumes the caller with those values.
function lull.await_callback(start)
  arguments.callable(1, "await_callback", start)
  core.enter()
  local future = core.future()
  local cancel = start(function(...)
    if not future:done() then future:set_result(...) end
  end)
  local _ <close> = setmetatable({}, { __close = function()
    if not future:done() then
      future:cancel()
      if cancel then cancel() end
    end
  end })
  if future:done() then return future:result() end
  return future:await()
end

local Generator = { __name = "Generator" }
Generator.__close = function(self)
  core.unwind(self.co)
  if self.failed and not core.is_cancelled(self.err) then core.rethrow(self.err) end
end

-- for v in lull.generator(fn, ...) do: fn yields with coroutine.yield and may await; when
-- the loop is left it is closed, its <close> variables included.
function lull.generator(fn, ...)
  arguments.callable(1, "generator", fn)
  local self = setmetatable({}, Generator)
  local args = table.pack(...)

  -- the protected call is what lets the closers suspend while an error unwinds
  local function ended(ok, err)
    if not ok then self.failed, self.err = true, err end
  end
  self.co = coroutine.create(function()
    ended(xpcall(fn, core.handler, table.unpack(args, 1, args.n)))
  end)

  local function step(ok, ...)
    if not ok then error(..., 0) end
    if self.failed then
      self.failed = false
      core.rethrow(self.err)
    end
    return ...
  end
  local function next_value()
    if coroutine.status(self.co) == "dead" then return nil end
    return step(coroutine.resume(self.co))
  end
  return next_value, nil, nil, self
end

return lull
