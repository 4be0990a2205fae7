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
---@return string? data, string? message, lull.code? code
function fs.read_file(path) end
---@return true? ok, string? message, lull.code? code
function fs.write_file(path, data) end
---@return lull.Stat? stat, string? message, lull.code? code
function fs.stat(path) end
---`for name, type in fs.scandir(path) do`; a failure raises at the call.
---@return fun(): string, string
function fs.scandir(path) end
---@param opts? {parents: boolean?}
---@return true? ok, string? message, lull.code? code
function fs.mkdir(path, opts) end
---@return true? ok, string? message, lull.code? code
function fs.rmdir(path) end
---@return true? ok, string? message, lull.code? code
function fs.rename(from, to) end
---@return true? ok, string? message, lull.code? code
function fs.remove(path) end
---@return true? ok, string? message, lull.code? code
function fs.symlink(target, path) end
---@return string? path, string? message, lull.code? code
function fs.realpath(path) end
---@return string? path, string? message, lull.code? code
function fs.tempdir() end
---@param opts? {recursive: boolean?}
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
function File:setvbuf(mode, size) end
---@return lull.File? file, string? message, lull.code? code
function File:flush() end
---@return true? ok, string? message, lull.code? code
function File:close() end

---@class lull.Watch
local Watch = {}
---@return "create"|"modify"|"delete"|"rename"|"overflow"|nil event, string? name
function Watch:next() end
---@return fun(): string, string
function Watch:events() end
function Watch:close() end

return fs
