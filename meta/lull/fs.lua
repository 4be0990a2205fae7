---@meta lull.fs
---@class lull.fs
local fs = {}

---@class lull.Stat
---@field type "file"|"directory"|"link"|"fifo"|"socket"|"char"|"block"
---@field size integer
---@field mtime number
---@field mode integer
---@field uid integer
---@field gid integer
---@field ino integer
---@field nlink integer

---@param path string
---@param mode? string as for io.open
---@return lull.File? file, string? message, lull.code? code
function fs.open(path, mode) end
---As io.lines: closes the file at its end, or when the loop is left.
---@param path string
---@param ... "l"|"L"|"n"|"a"|integer
---@return fun(): ...
function fs.lines(path, ...) end
---@return string? data, string? message, lull.code? code
function fs.read_file(path) end
---@param path string
---@param data string
---@param opts? {atomic: boolean?} atomic: others see the old content or the new one
---@return true? ok, string? message, lull.code? code
function fs.write_file(path, data, opts) end
---Of what a link leads to.
---@return lull.Stat? stat, string? message, lull.code? code
function fs.stat(path) end
---Of the link itself.
---@return lull.Stat? stat, string? message, lull.code? code
function fs.lstat(path) end
---`for name, type in fs.scandir(path) do`; a failure raises at the call.
---@return fun(): string, string
function fs.scandir(path) end
---@param opts? {parents: boolean?, mode: integer?}
---@return true? ok, string? message, lull.code? code
function fs.mkdir(path, opts) end
---@return true? ok, string? message, lull.code? code
function fs.rmdir(path) end
---@return true? ok, string? message, lull.code? code
function fs.rename(from, to) end
---@param path string
---@param opts? {recursive: boolean?} recursive: with all in it; links are not followed
---@return true? ok, string? message, lull.code? code
function fs.remove(path, opts) end
---@return true? ok, string? message, lull.code? code
function fs.symlink(target, path) end
---@return string? target, string? message, lull.code? code
function fs.readlink(path) end
---@return string? path, string? message, lull.code? code
function fs.realpath(path) end
---@param path string
---@param mode integer 420 is rw-r--r--
---@return true? ok, string? message, lull.code? code
function fs.chmod(path, mode) end
---A new directory that only this user may enter.
---@return string? path, string? message, lull.code? code
function fs.tempdir() end
---@param path string
---@param opts? {recursive: boolean?, debounce: lull.seconds?}
---@return lull.Watch? watch, string? message, lull.code? code
function fs.watch(path, opts) end

---The methods of io's files; each suspends instead of blocking the loop.
---@class lull.File
local File = {}
---@param ... "l"|"L"|"n"|"a"|integer
---@return string|number|nil ...
function File:read(...) end
---@return fun(): ...
function File:lines(...) end
---@param ... string|number
---@return lull.File? file, string? message, lull.code? code
function File:write(...) end
---@param whence? "set"|"cur"|"end"
---@param offset? integer
---@return integer? position, string? message, lull.code? code
function File:seek(whence, offset) end
---@param mode "no"|"full"|"line"
---@param size? integer
---@return true? ok, string? message, lull.code? code
function File:setvbuf(mode, size) end
---Hands all to the system.
---@return true? ok, string? message, lull.code? code
function File:flush() end
---Brings all to the disk.
---@return true? ok, string? message, lull.code? code
function File:sync() end
---@param size? integer where it stands, if absent
---@return true? ok, string? message, lull.code? code
function File:truncate(size) end
---@return integer fd
function File:fileno() end
---@return true? ok, string? message, lull.code? code
function File:close() end

---@class lull.Watch
local Watch = {}
---@return "create"|"modify"|"delete"|"rename"|"overflow"|nil event, string? name, string? old
function Watch:next() end
---@return fun(): string, string, string?
function Watch:events() end
function Watch:close() end

return fs
