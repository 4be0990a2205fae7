---@meta lull.thread
---@class lull.thread
local thread = {}

---Runs fn on a pool of threads, in a Lua state of its own.  Arguments and results are
---copied: nil, booleans, numbers, strings, tables of those.  Suspends.
---@param fn fun(...): ... without upvalues but _ENV
---@return any ... its results; or nil, message, "EAGAIN" where no thread can be had
function thread.call(fn, ...) end

---Runs fn on a thread of its own; a task stands for it.
---@param fn fun(...): ... without upvalues but _ENV
---@return lull.Thread? thread or nil, message, code
---@return string? message
---@return string? code
function thread.spawn(fn, ...) end

---How many threads the pool may have.
---@param lane "calls"|"files"|"names"
---@param n integer
function thread.limit(lane, n) end

---Inside of a spawned thread: to its owner.  Suspends, or blocks where no loop runs.
---@param v any but nil
---@return boolean? sent true, or nil, message, "EPIPE"
---@return string? message
---@return string? code
function thread.send(v) end

---Inside of a spawned thread: from its owner.  Suspends, or blocks where no loop runs.
---@return any v nil: there is no more
function thread.receive() end

---@class lull.Thread
local Thread = {}

---Suspends while much waits there already.
---@param v any but nil
---@return boolean? sent true, or nil, message, "EPIPE"
---@return string? message
---@return string? code
function Thread:send(v) end

---@return any v nil: there is no more.  Suspends.
function Thread:receive() end

---Nothing more will be sent to it.
function Thread:finish() end

---Suspends.
---@return any ... the results of the function; raises its error
function Thread:await() end

---Interrupts it.
---@return boolean cancelled false if it was done
function Thread:cancel(reason) end

---Interrupts it and waits for its end.  Suspends.
function Thread:close() end

---@return lull.Thread self its owner's loop does not wait for it
function Thread:daemon() end

---@return "pending"|"cancelled"|"finished"
function Thread:status() end
---@return boolean
function Thread:done() end
---@return boolean
function Thread:cancelled() end
---@return any ... raises its error
function Thread:result() end
---@return any err or nil
function Thread:error() end
---@return string
function Thread:traceback() end
---@param new? string
---@return string
function Thread:name(new) end
---@param fn fun(task: lull.Task)
function Thread:add_done_callback(fn) end
---@return integer count
function Thread:remove_done_callback(fn) end
---@return lull.Task task that stands for it
function Thread:task() end

return thread
