-- Child processes: spawn starts one, run starts one and sees it through.  How a program
-- is started and reaped is told in src/sys/child.c and src/bind/spawnlib.c.
local arguments = require "lull.arguments"
local core = require "lull.core"

local process = {}

local GRACE = 2              -- seconds between SIGTERM and SIGKILL
local LIMIT = 64 * 1024^2    -- bytes that run captures of each
local PATH = "/bin:/usr/bin" -- where there is none

-- ---- arguments ------------------------------------------------------------------------

local function check_string(value, what, name)
  if type(value) == "number" then value = tostring(value) end
  if type(value) ~= "string" then
    error(("'%s': %s must be a string, not a %s"):format(name, what, type(value)), 4)
  end
  if value:find("\0", 1, true) then
    error(("'%s': %s contains a zero byte"):format(name, what), 4)
  end
  return value
end

local function check_argv(argv, name)
  if type(argv) ~= "table" then
    error(("bad argument #1 to '%s' (table expected, got %s)"):format(name,
      argv == nil and "no value" or type(argv)), 3)
  end
  local list = {}
  for i = 1, #argv do
    list[i] = check_string(argv[i], ("argument %d"):format(i - 1), name)
  end
  if #list == 0 then
    error(("bad argument #1 to '%s' (an empty list)"):format(name), 3)
  end
  return list
end

local function check_number(opts, option, otherwise, name)
  local value = opts[option]
  if value == nil then return otherwise end
  if type(value) ~= "number" or value < 0 or value ~= value then
    error(("'%s': bad option '%s' (number >= 0 expected)"):format(name, option), 3)
  end
  return value
end

local function check_text(opts, option, name)
  return opts[option] ~= nil and check_string(opts[option], option, name) or nil
end

local modes = { inherit = true, pipe = true, null = true }

-- One of the words, or something with a descriptor.
local function check_file(opts, option, name)
  local value = opts[option]
  if value == nil then return "inherit" end
  if modes[value] or (option == "stderr" and value == "stdout") then return value end
  if io.type(value) == "file" then return value end
  local kind = type(value)
  if kind == "userdata" or kind == "table" then
    local ok, fileno = pcall(function() return value.fileno end)
    if ok and fileno then
      local open, fd = pcall(fileno, value)
      if not open then error(fd, 3) end
      return core.is_stream(value) and value or fd
    end
  end
  error(("'%s': bad option '%s' (\"inherit\", \"pipe\", \"null\", a stream or an open "
    .. "file expected)"):format(name, option), 3)
end

-- What was written to a File that the child will go on with comes first.  Suspends where
-- there is something to write.
local function flush_files(opts)
  for _, option in ipairs { "stdin", "stdout", "stderr" } do
    local file = opts[option]
    if core.is_file(file) then
      local ok, message, code = file:flush()
      if not ok then return nil, message, code end
    end
  end
  return true
end

-- ---- environment ----------------------------------------------------------------------

-- The environment as a list, nil where it is the one that is here; and its PATH.
local function make_environment(opts, name)
  local env, list = opts.env, {}
  if env == nil and not opts.clear_env then return nil, os.getenv "PATH" end
  if env ~= nil and type(env) ~= "table" then
    error(("'%s': bad option 'env' (table expected)"):format(name), 3)
  end
  env = env or {}
  local path = env.PATH
  if path == nil and not opts.clear_env then path = os.getenv "PATH" end
  for _, entry in ipairs(opts.clear_env and {} or core.environment()) do
    if env[entry:match "^(.[^=]*)="] == nil then list[#list + 1] = entry end
  end
  local added = #list
  for key, value in pairs(env) do
    check_string(key, "the name of a variable", name)
    if type(key) ~= "string" or key == "" or key:find "=" then
      error(("'%s': '%s' cannot be the name of a variable"):format(name, key), 3)
    end
    if value then
      value = check_string(value, "the variable " .. key, name)
      table.insert(list, added + 1, key .. "=" .. value)
    end
  end
  return list, path or nil
end

-- What may be meant by the name of a program, which is looked for where the child would
-- look.
local function make_paths(file, path)
  if file:find "/" or file == "" then return { file } end
  local list = {}
  for dir in ((path and tostring(path) or PATH) .. ":"):gmatch "([^:]*):" do
    list[#list + 1] = (dir == "" and "." or dir) .. "/" .. file
  end
  return list
end

-- ---- a process ------------------------------------------------------------------------

local Process = { __name = "Process" }
Process.__index = Process

-- Suspends until it has ended: its exit code; nil and the name of the signal it died of.
function Process:wait()
  return self.child:wait()
end

-- Sends a signal, by default SIGTERM.
function Process:kill(signal)
  return self.child:kill(signal)
end

function Process:pid()
  return self.child:pid()
end

-- Closes the streams of a process when close is left, however.
local Rest = { __close = function(rest)
  local self = rest.process
  if self.stdin then self.stdin:close() end
  if self.stdout then self.stdout:close() end
  if self.stderr then self.stderr:close() end
end }

-- Those who read get a turn for its last words before the streams are closed.
local function wait_for_end(child)
  child:wait()
  child:outlive()
  core.sleep(0)
end

-- Ends it: SIGTERM and, when the grace is over, SIGKILL; waits until it has ended, also
-- in a task that is cancelled.  Then its streams are closed.
function Process:close()
  local _ <close> = self.rest
  local runs = self.child:terminate()
  if self.stdin then self.stdin:abort() end
  if runs and core.current() then core.shield(wait_for_end, self.child) end
end
Process.__close = Process.close

function Process:__tostring()
  local ended, code, signal = self.child:ended()
  local state = not ended and "running" or code and "exited with " .. code
    or "ended by " .. tostring(signal)
  return ("process %d (%s, %s)"):format(self.child:pid(), self.name, state)
end

-- Starts a program: argv[1], looked for along PATH, with the arguments that follow.
function process.spawn(argv, opts)
  argv, opts = check_argv(argv, "spawn"), arguments.options(2, "spawn", opts)
  local env, path = make_environment(opts, "spawn")
  local self = setmetatable({ -- first: the child must not run without one
    name = argv[1], child = false, stdin = false, stdout = false, stderr = false,
  }, Process)
  self.rest = setmetatable({ process = self }, Rest)
  local flushed, message, code = flush_files(opts)
  if not flushed then return nil, message, code end
  local child, stdin, stdout, stderr = core.child {
    argv = argv, env = env, paths = make_paths(argv[1], path),
    cwd = check_text(opts, "cwd", "spawn"),
    stdin = check_file(opts, "stdin", "spawn"),
    stdout = check_file(opts, "stdout", "spawn"),
    stderr = check_file(opts, "stderr", "spawn"),
    process_group = opts.process_group,
    grace = check_number(opts, "grace", GRACE, "spawn"),
    pidfd = opts.pidfd, limit = opts.limit, high_water = opts.high_water,
    linger = opts.linger,
  }
  if not child then return nil, stdin, stdout end
  self.child, self.stdin, self.stdout, self.stderr = child, stdin, stdout, stderr
  return self
end

-- ---- run ------------------------------------------------------------------------------

-- Reads a stream to its end into the list; what is too much ends the process.
local function capture(stream, list, limit, self)
  local size = 0
  while true do
    local data = stream:read_some()
    if not data then return end
    size = size + #data
    if size > limit then
      list.full = true
      self.child:terminate()
      return
    end
    list[#list + 1] = data
  end
end

-- A program need not read all that it is given.
local function feed(stream, input)
  stream:write(input)
end

-- A task that moves what goes through a stream, which is closed when it has ended, also
-- if it is cancelled before it begins: nobody may wait for it then.
local function pump(group, stream, fn, ...)
  local task = group:spawn(fn, stream, ...):daemon()
  task:add_done_callback(function() stream:close() end)
  return task
end

local function join(tasks)
  for _, task in ipairs(tasks) do task:wait() end
end

-- A descriptor may be held open by what the program has started and left behind: it gets
-- no more than the grace.
local function see_through(self, group, input, limit, grace)
  local readers, captured, tasks = {}, {}, {}
  for _, name in ipairs { "stdout", "stderr" } do
    if self[name] then
      captured[name] = {}
      readers[#readers + 1] =
        pump(group, self[name], capture, captured[name], limit, self)
      tasks[#tasks + 1] = readers[#readers]
    end
  end
  if input then tasks[#tasks + 1] = pump(group, self.stdin, feed, input) end
  local code, signal, errno = self:wait()
  core.timeout(grace, join, readers)
  for _, task in ipairs(tasks) do
    if task:cancelled() then -- something is missing
      return core.fail("ECANCELED", "interrupted", self.name)
    end
  end
  return code, signal, errno, captured
end

local function text_of(list, limit, what)
  if not list then return nil end
  if list.full then
    return nil, core.fail("EMSGSIZE", ("more than %d bytes came"):format(limit), what)
  end
  return table.concat(list)
end

-- Starts a program, gives it its input, and waits for its end: {code=, signal=, stdout=,
-- stderr=}.
function process.run(argv, opts)
  argv, opts = check_argv(argv, "run"), arguments.options(2, "run", opts)
  local input = check_text(opts, "input", "run")
  local limit = check_number(opts, "limit", LIMIT, "run")
  local grace = check_number(opts, "grace", GRACE, "run")
  if input and opts.stdin ~= nil then
    error("'run': there can be input or stdin, not both", 2)
  end
  if opts.stdin == "pipe" then
    error("'run': nobody would write to stdin = \"pipe\": give it input", 2)
  end
  core.enter()
  local plan = arguments.part(opts, "spawn")
  plan.limit = nil
  plan.stdin = input and "pipe" or opts.stdin or "null"
  plan.stdout, plan.stderr = opts.stdout or "pipe", opts.stderr or "pipe"
  local self <close>, message, why = process.spawn(argv, plan)
  if not self then return nil, message, why end
  local code, signal, errno, captured = core.group(function(group)
    return see_through(self, group, input, limit, grace)
  end)
  if errno then return nil, signal, errno end
  local result = { code = code, signal = signal }
  for name, list in pairs(captured) do
    local text, _, failure, kind = text_of(list, limit, name)
    if not text then return nil, failure, kind end
    result[name] = text
  end
  return result
end

return process
