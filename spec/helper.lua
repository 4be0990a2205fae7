-- What specs share.  run() makes a loop, runs a main task on it and lets its error pass
-- as it is, for busted knows failures by their metatable.  The clock is virtual, so that
-- sleeping takes no time; a body that does not end is cancelled after a minute of it, and
-- after some seconds in which the kernel may still deliver what is on its way.
-- child() is for what only a whole process can show: exit codes, stderr, signals.
local lull = require "lull"

local helper = {lull = lull}

local VIRTUAL_LIMIT, REAL_LIMIT, CHILD_LIMIT = 60, 60, 60 -- seconds
local LOOKS = 200 -- of a twentieth of a second each

-- The interpreter that runs the specs; ./test names it, by hand it is the first word.
function helper.interpreter()
  local first = 0
  while arg and arg[first - 1] do
    first = first - 1
  end
  return os.getenv "LULL" or arg[first]
end

local interpreter = helper.interpreter

-- Where everybody stands, for the message about a body that does not end.
local function standing()
  local list = {}
  for _, task in ipairs(lull.tasks()) do
    list[#list + 1] = tostring(task) .. "\n" .. task:traceback()
  end
  return table.concat(list, "\n")
end

-- Starts the deadline; calling what it returns ends it and tells whether it had come.  A
-- virtual clock is there at once when everybody waits, also for a packet that the kernel
-- has put off: then time passes for real first.
local function guard(loop, seconds, looks)
  local where, handle
  local function late()
    if looks > 0 then
      looks = looks - 1
      os.execute "sleep 0.05"
      handle = loop:call_later(seconds, late)
      return
    end
    where = standing()
    for _, task in ipairs(lull.tasks()) do
      task:cancel "the spec does not come to its end"
    end
  end
  handle = loop:call_later(seconds, late)
  return function()
    handle:cancel()
    if where then
      error("the spec took more than " .. seconds .. " s\n" .. where, 0)
    end
  end
end

local function told(reports)
  local list = {"errors that nobody looked at:"}
  for _, report in ipairs(reports) do
    list[#list + 1] = tostring(report.traceback or report.err)
  end
  return table.concat(list, "\n")
end

-- run(fn[, opts]) -> results of fn.  opts:
--   selector, seed    as for lull.new_loop
--   real = true       the real clock, for foreign peers
--   guard = false     no deadline: a timer of ours would keep a deadlock from being one
--   reports = {}      collects {err=, traceback=, task=}; without it a report fails
function helper.run(fn, opts)
  opts = opts or {}
  local loop = lull.new_loop {
    selector = opts.selector,
    seed = opts.seed,
    clock = not opts.real and "virtual" or nil,
  }
  local reports = opts.reports or {}
  loop:on_unhandled(function(err, traceback, task)
    reports[#reports + 1] = {err = err, traceback = traceback, task = task}
  end)
  local limit = opts.real and REAL_LIMIT or VIRTUAL_LIMIT
  local finish = opts.guard ~= false and guard(loop, limit, opts.real and 0 or LOOKS)
  local results = table.pack(pcall(loop.run_until_complete, loop, fn))
  if finish then
    finish()
  end
  loop:close()
  if not results[1] then
    error(results[2], 0)
  end
  if #reports > 0 and not opts.reports then
    error(told(reports), 0)
  end
  return table.unpack(results, 2, results.n)
end

-- run() as the error that fn raises, for those who expect one.
function helper.failure(fn, opts)
  local ok, err = pcall(helper.run, fn, opts)
  assert(not ok, "the body should have raised")
  return err
end

-- The selectors that this machine has: for _, backend in helper.backends() do ... end
function helper.backends()
  return ipairs(lull.selectors.available())
end

-- Collects what nobody needs, also what only finalizers had held: after it the garbage of
-- earlier specs closes nothing while descriptors are counted.
function helper.collect()
  for _ = 1, 3 do
    collectgarbage()
  end
end

-- Has this machine an IPv6 loopback?
function helper.has_inet6()
  local socket <close> = require "lull.core".socket("inet6", "dgram")
  return socket and socket:bind("::1", 0) and true or false
end

-- Gives all others n turns.
function helper.turns(n)
  for _ = 1, n do
    lull.sleep(0)
  end
end

-- Counts turns until the block is left: local turns <close> = helper.counter(); turns().
function helper.counter()
  local n = 0
  local task = lull.spawn(function()
    while true do
      n = n + 1
      lull.sleep(0)
    end
  end)
  return setmetatable({}, {
    __call = function() return n end,
    __close = function() task:close() end,
  })
end

-- The line of the caller, and lines below it by adding.
function helper.line()
  return debug.getinfo(2, "l").currentline
end

-- A closable that calls fn when it is left: the raw mechanism, without lull.defer.
function helper.closer(fn)
  return setmetatable({}, {__close = fn})
end

-- All of a file, read and written past lull.
function helper.slurp(path)
  local f <close> = assert(io.open(path, "rb"))
  return f:read "a"
end

function helper.spill(path, text)
  local f <close> = assert(io.open(path, "wb"))
  assert(f:write(text or ""))
end

local slurp, spill = helper.slurp, helper.spill

local function quote(word)
  return "'" .. word:gsub("'", "'\\''") .. "'"
end

-- A directory of one's own, removed with all that is in it when the block is left.
-- dir:write(name, text) -> path
function helper.tempdir()
  local path = os.tmpname()
  os.remove(path)
  assert(os.execute("mkdir -m 700 " .. quote(path)))
  local dir = {path = path}
  function dir.write(_, name, text)
    spill(path .. "/" .. name, text)
    return path .. "/" .. name
  end
  return setmetatable(dir, {__close = function()
    os.execute("rm -rf " .. quote(path))
  end})
end

-- What runs fn(path, dir) as run() does, in a directory of its own.
function helper.inside(fn)
  return function()
    local dir <close> = helper.tempdir()
    helper.run(function() fn(dir.path, dir) end)
  end
end

-- Runs a program: its stdout, stderr and exit code (128 + n for signal n).
function helper.execute(words, input)
  local dir <close> = helper.tempdir()
  local stdin = dir:write("stdin", input or "")
  local line = {"timeout", "-k", "1", tostring(CHILD_LIMIT)}
  for _, word in ipairs(words) do
    line[#line + 1] = quote(word)
  end
  local command = ("%s <%s >%s/stdout 2>%s/stderr"):format(
    table.concat(line, " "), stdin, dir.path, dir.path)
  local _, how, code = os.execute(command)
  code = how == "signal" and 128 + code or code
  return slurp(dir.path .. "/stdout"), slurp(dir.path .. "/stderr"), code
end

-- child(text, ...options) -> stdout, stderr, code: runs text as script.lua with the
-- interpreter, on the virtual clock unless an option says "--real".
function helper.child(text, ...)
  local dir <close> = helper.tempdir()
  local script = dir:write("script.lua", text)
  local words = {interpreter()}
  local clock = "--virtual-clock"
  for _, option in ipairs {...} do
    if option == "--real" then
      clock = nil
    else
      words[#words + 1] = option
    end
  end
  words[#words + 1] = clock
  words[#words + 1] = script
  return helper.execute(words)
end

-- The same in the stock lua5.4 with the module lull.so; nil where there is none, or where
-- it cannot load a module with sanitizers.
function helper.stock(text)
  local build = os.getenv "LULL_BUILD" or interpreter():match "^(.*)/" or "."
  if os.getenv "ASAN_OPTIONS" or not os.execute "command -v lua5.4 >/dev/null" then
    return nil
  end
  local dir <close> = helper.tempdir()
  local script = dir:write("script.lua", text)
  return helper.execute {
    "env", "LUA_CPATH_5_4=" .. build .. "/module/?.so;;", "lua5.4", script,
  }
end

-- The open descriptors of this process: number (a string) -> path.
local function descriptors()
  local lfs, map = require "lfs", {}
  for name in lfs.dir "/proc/self/fd" do
    map[name] = lfs.symlinkattributes("/proc/self/fd/" .. name, "target")
  end
  return map
end

-- Opens a file and finds its descriptor: with that path, and not there before.
function helper.open(path, mode)
  local before = descriptors()
  local f = assert(io.open(path, mode))
  f:setvbuf "no"
  for name, target in pairs(descriptors()) do
    if target == path and before[name] ~= path then
      return f, math.tointeger(name)
    end
  end
  error "the descriptor of a file was not found"
end

-- A pipe on raw descriptors that no lull object owns:
-- local reader, rfd, writer, wfd = helper.pipe(dir)
function helper.pipe(dir)
  local path = dir.path .. "/fifo"
  assert(os.execute("mkfifo " .. quote(path)))
  local both = assert(io.open(path, "r+")) -- so that neither open below blocks
  local reader, rfd = helper.open(path, "r")
  local writer, wfd = helper.open(path, "w")
  both:close()
  return reader, rfd, writer, wfd
end

return helper
