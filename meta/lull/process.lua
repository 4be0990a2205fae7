---@meta lull.process
---@class lull.process
local process = {}

---@alias lull.stdio "inherit"|"pipe"|"null"|lull.Stream|lull.Socket|lull.File

---@class lull.process_options
---@field stdin? lull.stdio
---@field stdout? lull.stdio
---@field stderr? lull.stdio|"stdout"
---@field cwd? string
---@field env? table<string, string|false> laid over the current one; false removes
---@field clear_env? boolean
---@field process_group? boolean
---@field limit? integer as for streams, of its pipes
---@field high_water? integer
---@field linger? lull.seconds
---@field grace? lull.seconds between SIGTERM and SIGKILL; default 2

---@class lull.run_options: lull.process_options
---@field input? string
---@field limit? integer for each of stdout and stderr

---@param argv string[]
---@param opts? lull.process_options
---@return lull.Process? process, string? message, lull.code? code
function process.spawn(argv, opts) end

---Suspends until it has ended and all is read; cancellation ends it.
---@param argv string[]
---@param opts? lull.run_options
---@return {code: integer?, signal: string?, stdout: string, stderr: string}? result, string? message, lull.code? code
function process.run(argv, opts) end

---@class lull.Process
---@field stdin lull.Stream? where "pipe"
---@field stdout lull.Stream?
---@field stderr lull.Stream?
local Process = {}
---Suspends.
---@return integer? code, string? signal "SIGKILL" when a signal ended it
function Process:wait() end
---@param signal? string|integer default "SIGTERM"
function Process:kill(signal) end
---@return integer
function Process:pid() end
---Terminates it, after grace kills it, and reaps it.  Suspends.
function Process:close() end

return process
