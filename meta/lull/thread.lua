---@meta lull.thread
---@class lull.thread
local thread = {}

---Runs fn on a pool of threads, in a Lua state of its own.  Arguments and results are
---copied: nil, booleans, numbers, strings, tables of those.  Suspends.
---@param fn fun(...): ... without upvalues but _ENV
---@return any ... its results
function thread.call(fn, ...) end

---@param fn fun(...): ...
---@return lull.Thread
function thread.spawn(fn, ...) end

---Inside of a spawned thread: to its owner.
function thread.send(v) end
---Inside of a spawned thread: from its owner.
---@return any v
function thread.receive() end

---@class lull.Thread
local Thread = {}
function Thread:send(v) end
---@return any v
function Thread:receive() end
---@return any ... the results of its function
function Thread:await() end
function Thread:close() end

return thread
