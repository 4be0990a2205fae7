-- Files and directories.  What is one call of the system is done in C, on threads; here
-- is what takes several, and in lull.watch what is told of changes.
local arguments = require "lull.arguments"
local core = require "lull.core"

local raw = core.fs

local fs = {
  stat = raw.stat, lstat = raw.lstat, rmdir = raw.rmdir,
  rename = raw.rename, symlink = raw.symlink, readlink = raw.readlink,
  realpath = raw.realpath, watch = require("lull.watch").watch,
}

local PEER = 0.02 -- seconds until a pipe is tried again that nobody reads yet

-- ---- arguments ----------------------------------------------------------------------

local function check_mode(n, name, mode, otherwise)
  if mode == nil and otherwise then return otherwise end
  if math.type(mode) ~= "integer" or mode < 0 or mode > 4095 then -- 07777
    error(("bad argument #%d to '%s' (permissions expected)"):format(n, name), 3)
  end
  return mode
end

-- ---- files --------------------------------------------------------------------------

-- A pipe that nobody reads cannot be opened for writing: like io we wait for a reader.
local function is_lonely_pipe(path, code)
  local stat = code == "ENXIO" and raw.stat(path)
  return stat and stat.type == "fifo"
end

-- As io.open, but without keeping anybody waiting.
function fs.open(path, mode)
  arguments.string(1, "open", path)
  if mode ~= nil and not (type(mode) == "string" and mode:find "^[rwa]%+?b*$") then
    error("bad argument #2 to 'open' (invalid mode)", 2)
  end
  local file, message, code = raw.open(path, mode)
  while not file and is_lonely_pipe(path, code) do
    core.sleep(PEER)
    file, message, code = raw.open(path, mode)
  end
  if file then return file end
  return nil, message, code
end

-- The whole of a file, as a string.
function fs.read_file(path)
  arguments.string(1, "read_file", path)
  local file <close>, message, code = fs.open(path, "rb")
  if not file then return nil, message, code end
  return file:read "a"
end

local function write_and_close(file, data, sync)
  local ok, message, code = file:write(data)
  if ok and sync then ok, message, code = file:sync() end
  if not ok then return nil, message, code end
  return file:close()
end

local function beside(path)
  return ("%s.%08x~"):format(path, math.random(0) & 0xffffffff)
end

-- Into a new file, which takes the place of the old one when all is well.
local function replace_file(path, data)
  local temporary, file, message, code
  repeat
    temporary = beside(path)
    file, message, code = raw.open(temporary, "wb", true)
  until code ~= "EEXIST"
  if not file then return nil, message, code end
  local replaced
  local _ <close> = setmetatable({}, { __close = function()
    if not replaced then core.shield(raw.remove, temporary) end
  end })
  local _ <close> = file
  local old = raw.stat(path)
  if old then raw.chmod(temporary, old.mode) end
  local written
  written, message, code = write_and_close(file, data, true)
  if not written then return nil, message, code end
  replaced, message, code = raw.rename(temporary, path)
  if replaced then return true end
  return nil, message, code
end

-- Makes data the content of a file.  opts.atomic: others see the old one or the new one.
function fs.write_file(path, data, opts)
  arguments.string(1, "write_file", path)
  if type(data) == "number" then data = tostring(data) end
  arguments.string(2, "write_file", data)
  opts = arguments.options(3, "write_file", opts)
  if opts.atomic then return replace_file(path, data) end
  local file <close>, message, code = fs.open(path, "wb")
  if not file then return nil, message, code end
  return write_and_close(file, data)
end

local function closing_lines(file, ...)
  local next_line = file:lines(...)
  local function step(first, ...)
    if first == nil then file:close() end
    return first, ...
  end
  return function() return step(next_line()) end, nil, nil, file
end

-- As io.lines: the file is closed at its end, and when the loop is left.
function fs.lines(path, ...)
  arguments.string(1, "lines", path)
  local file, message = fs.open(path)
  if not file then error(message, 2) end
  return closing_lines(file, ...)
end

-- ---- directories --------------------------------------------------------------------

local function is_directory(path)
  local stat = raw.stat(path)
  return stat and stat.type == "directory"
end

local function make_all(path, mode)
  local ok, message, code = raw.mkdir(path, mode)
  if code == "ENOENT" then
    local parent = path:match "^(.*[^/])/+[^/]+/*$"
    if not parent then return nil, message, code end
    local made, why, reason = make_all(parent, 511) -- 0777
    if not made then return nil, why, reason end
    ok, message, code = raw.mkdir(path, mode)
  end
  if ok or is_directory(path) then return true end
  return nil, message, code
end

-- opts.parents: with all directories above it, and it may be there; opts.mode: its
-- permissions.
function fs.mkdir(path, opts)
  arguments.string(1, "mkdir", path)
  opts = arguments.options(2, "mkdir", opts)
  local mode = check_mode(2, "mkdir", opts.mode, 511) -- 0777
  if not opts.parents then return raw.mkdir(path, mode) end
  return make_all(path, mode)
end

function fs.chmod(path, mode)
  arguments.string(1, "chmod", path)
  return raw.chmod(path, check_mode(2, "chmod", mode))
end

local function remove_all(path)
  local stat, message, code = raw.lstat(path)
  if not stat then return nil, message, code end
  if stat.type ~= "directory" then return raw.remove(path) end
  local names = {}
  for name in raw.scandir(path) do names[#names + 1] = name end
  for _, name in ipairs(names) do
    local ok
    ok, message, code = remove_all(path .. "/" .. name)
    if not ok and code ~= "ENOENT" then return nil, message, code end
  end
  return raw.rmdir(path)
end

-- As os.remove: a file, or a directory that is empty; opts.recursive: with all in it.
function fs.remove(path, opts)
  arguments.string(1, "remove", path)
  if not arguments.options(2, "remove", opts).recursive then return raw.remove(path) end
  local ok, result, message, code = core.pcall(remove_all, path)
  if ok and result then return true end
  if ok then return nil, message, code end
  code = type(result) == "string" and result:match "^(E%u%w*): "
  if not code then core.rethrow(result) end
  return nil, result, code
end

-- A new directory that only this user may enter.
function fs.tempdir()
  local above = os.getenv "TMPDIR"
  if above == nil or above == "" then above = "/tmp" end
  return raw.tempdir(above:gsub("(.)/+$", "%1") .. "/lull-")
end

-- scandir raises: it is made for the generic for.
function fs.scandir(path)
  arguments.string(1, "scandir", path)
  local next_entry, message, nothing, directory = raw.scandir(path)
  if not next_entry then error(message, 2) end
  return next_entry, message, nothing, directory
end

return fs
