---@meta lull
-- What an editor should know of lull: names, arguments, results.  The promises behind them
-- are in the manual.  For the Lua language server: "workspace.library": [".../lull/meta"].
--
-- "suspends" = other tasks run meanwhile.  Failures of the world are nil, message, code.

---@class lull
---@field version string "0.1.0"
---@field selector string the name of the selector that loops use by default
---@field net lull.net
---@field protocol lull.protocol
---@field process lull.process
---@field fs lull.fs
---@field signal lull.signal
---@field thread lull.thread
---@field test lull.test
---@field selectors lull.selectors
---@field stdin lull.Stream
---@field stdout lull.Stream
---@field stderr lull.Stream
lull = {}

---@alias lull.seconds number
---@alias lull.code string "ECONNREFUSED", "ETIMEDOUT", "EOF", "ETLS", "EAI_NONAME", ...

-- ---- running ------------------------------------------------------------------------

---Makes a loop, runs fn as the main task and waits for every task; inside a task it just
---calls fn.
---@param fn fun(...): ...
---@return any ... the results of fn
function lull.run(fn, ...) end

---Starts a task, which runs at the next turn and belongs to no scope or group.
---@param fn fun(...): ...
---@return lull.Task
function lull.spawn(fn, ...) end

---@return lull.Task?
function lull.current() end

---@return lull.Task[] # every live task
function lull.tasks() end

---Suspends; 0 or less gives the others one turn.
---@param seconds lull.seconds
function lull.sleep(seconds) end

---A ticker without drift: `for n in lull.every(1) do`.
---@param seconds lull.seconds
---@return fun(): integer
function lull.every(seconds) end

---The loop's monotonic clock.
---@return lull.seconds
function lull.now() end

---Seconds since 1970, with fraction.
---@return lull.seconds
function lull.time() end

---`local _ <close> = lull.defer(fn, ...)` runs fn when the block is left, however.
---@param fn function
---@return table closable
function lull.defer(fn, ...) end

---@param fn? fun(err: any, traceback: string?, task: lull.Task?)
---@return function? previous
function lull.on_unhandled(fn) end

---assert that lets a bare nil pass.
function lull.check(...) end

---The code of a raised message, as "ECONNRESET".
---@return lull.code?
function lull.code(err) end

---Is this the error that cancels the running task?
---@return boolean
function lull.is_cancelled(err) end

---pcall that lets cancellation pass.
---@return boolean ok, any ...
function lull.pcall(fn, ...) end

-- ---- futures and tasks --------------------------------------------------------------

---@class lull.Future
local Future = {}

---@return lull.Future
function lull.future() end

---Settles it with any number of values; raises when done.
function Future:set_result(...) end

---@param err any but nil
function Future:set_error(err) end

---@param reason? string
---@return boolean # false if already done
function Future:cancel(reason) end

---@return "pending"|"cancelled"|"finished"
function Future:status() end

---@return boolean
function Future:done() end

---@return boolean
function Future:cancelled() end

---Its values; raises its error, or when it is pending.
---@return any ...
function Future:result() end

---@return any? err
function Future:error() end

---Suspends until it is done; never cancels it.
---@return any ...
function Future:await() end

---@param fn fun(future: lull.Future) called in a later turn
function Future:add_done_callback(fn) end

---@return integer count
function Future:remove_done_callback(fn) end

---@class lull.Task: lull.Future
local Task = {}

---Cancels it and waits until it has ended; never raises its error.  Suspends.
function Task:close() end

---@param new? string
---@return string
function Task:name(new) end

---@return integer
function Task:id() end

---Makes it a task that nobody waits for at the end.
---@return lull.Task
function Task:daemon() end

---Where it stands, or where it failed.
---@return string
function Task:traceback() end

---Awaits a future, a task or any value with `__await`.
---@return any ...
function lull.await(x) end

---Waits for a callback: start(done) begins and may return a function that cancels.
---@param start fun(done: fun(...)): function?
---@return any ... what done was called with
function lull.await_callback(start) end

---An async generator: fn yields with coroutine.yield and may suspend.
---@param fn fun(...)
---@return fun(): ...
function lull.generator(fn, ...) end

---Runs functions as tasks, awaits futures; the first failure cancels the rest.  Suspends.
---@return any ... first results, or a table of them for a table
function lull.gather(...) end

---The first to end wins, the others that it owns are cancelled.  Suspends.
---@return any index, any ...
function lull.race(...) end

---@param list lull.Future[]
---@param opts? {timeout: lull.seconds?, return_when: "all"|"first"|"first_error"?}
---@return lull.Future[] done, lull.Future[] pending
function lull.wait(list, opts) end

---@param list table
---@return fun(): lull.Future
function lull.as_completed(list) end

---@param seconds lull.seconds
---@param fn function
---@return any ... results of fn, or nil, "ETIMEDOUT: ...", "ETIMEDOUT"
function lull.timeout(seconds, fn, ...) end

---Runs fn protected from the cancellation of outer scopes.
function lull.shield(fn, ...) end

-- ---- structured concurrency ---------------------------------------------------------

---@class lull.Group
local Group = {}

---`local g <close> = lull.group()`, or `lull.group(function(g) ... end)`.
---@overload fun(options: {limit: integer?, detached: boolean?}): lull.Group
---@overload fun(fn: fun(g: lull.Group): ...): ...
---@return lull.Group
function lull.group() end

---@param fn fun(...): ...
---@return lull.Task
function Group:spawn(fn, ...) end

---@param reason? string
function Group:cancel(reason) end

---Cancels and waits (detached groups).  Suspends.
function Group:close() end

---@class lull.Scope
local Scope = {}

---@overload fun(fn: fun(s: lull.Scope): ...): ...
---@overload fun(seconds: lull.seconds, fn: fun(s: lull.Scope): ...): ...
---@param seconds? lull.seconds
---@return lull.Scope
function lull.scope(seconds) end

---@param reason? string
function Scope:cancel(reason) end

---@param seconds lull.seconds? from now on, anew
function Scope:timeout(seconds) end

---@return lull.seconds?
function Scope:remaining() end

---@return boolean
function Scope:cancelled() end

---Leaves it, as the end of its block does.
function Scope:close() end

-- ---- waiting on each other ----------------------------------------------------------

---@class lull.Guard
local Guard = {}
function Guard:close() end

---@class lull.Lock
local Lock = {}
---@return lull.Lock
function lull.lock() end
---@return lull.Guard
function Lock:acquire() end
function Lock:release() end
---@return boolean
function Lock:locked() end
---@return lull.Guard?
function Lock:try_acquire() end

---@class lull.Event
local Event = {}
---@return lull.Event
function lull.event() end
function Event:set(...) end
function Event:clear() end
---@return boolean
function Event:is_set() end
---@return any ... the values of set
function Event:wait() end
---Wakes those who wait now.
function Event:pulse(...) end

---@class lull.Condition
local Condition = {}
---@param lock? lull.Lock
---@return lull.Condition
function lull.condition(lock) end
---@return lull.Guard
function Condition:acquire() end
function Condition:release() end
function Condition:wait() end
---@param predicate fun(): any
---@return any
function Condition:wait_for(predicate) end
---@param n? integer
function Condition:notify(n) end
function Condition:notify_all() end

---@class lull.Semaphore
local Semaphore = {}
---@param n integer
---@param max? integer
---@return lull.Semaphore
function lull.semaphore(n, max) end
---@return lull.Guard
function Semaphore:acquire() end
---@param n? integer
function Semaphore:release(n) end
---@return lull.Guard?
function Semaphore:try_acquire() end
---@return integer
function Semaphore:value() end

---@class lull.Barrier
local Barrier = {}
---@param n integer
---@return lull.Barrier
function lull.barrier(n) end
---@return integer? index, string? message, lull.code? code
function Barrier:wait() end
function Barrier:abort() end
function Barrier:reset() end

---@class lull.Queue
local Queue = {}
---@param maxsize? integer
---@return lull.Queue
function lull.queue(maxsize) end
---@param maxsize? integer
---@param less? fun(a: any, b: any): boolean
---@return lull.Queue
function lull.priority_queue(maxsize, less) end
---@param maxsize? integer
---@return lull.Queue
function lull.lifo_queue(maxsize) end
---@return true? ok, string? message, lull.code? code
function Queue:put(v) end
---@return any v bare nil when it is closed and empty
function Queue:get() end
---@return boolean? ok, string? message, lull.code? code
function Queue:try_put(v) end
---@return any? v
function Queue:try_get() end
---@return integer
function Queue:size() end
---@return boolean
function Queue:empty() end
---@return boolean
function Queue:full() end
function Queue:task_done() end
function Queue:join() end
function Queue:close() end
---@return fun(): any
function Queue:items() end

---@class lull.TaskLocal
local TaskLocal = {}
---@param default? any
---@return lull.TaskLocal
function lull.task_local(default) end
---@return any
function TaskLocal:get() end
---@return any old
function TaskLocal:set(v) end

-- ---- time that stops -----------------------------------------------------------------

---A clock that goes with the loop's until it is paused, scaled or turned: game time.
---@class lull.Clock
local Clock = {}
---@param opts? {scale: number?, paused: boolean?}
---@return lull.Clock
function lull.clock(opts) end
---@return lull.seconds # since it was made, by itself
function Clock:now() end
---Suspends, through any pause.
---@param seconds lull.seconds
function Clock:sleep(seconds) end
---As lull.timeout, by this clock.  Suspends.
---@param seconds lull.seconds
---@param fn function
---@return any ... results of fn, or nil, "ETIMEDOUT: ...", "ETIMEDOUT"
function Clock:timeout(seconds, fn, ...) end
function Clock:pause() end
function Clock:resume() end
---@return boolean
function Clock:paused() end
---@param factor? number so many of its seconds in one of the loop's
---@return number factor
function Clock:scale(factor) end
---Turns it forward.
---@param seconds lull.seconds
function Clock:advance(seconds) end

-- ---- the loop -----------------------------------------------------------------------

---@class lull.Handle
local Handle = {}
function Handle:cancel() end
---@return boolean
function Handle:cancelled() end
---@return lull.seconds
function Handle:when() end

---@class lull.Loop
local Loop = {}
---@return lull.Loop # the running one
function lull.loop() end
---@param opts? {selector: string?, clock: "virtual"?, seed: integer?, spin: lull.seconds?}
---@return lull.Loop
function lull.new_loop(opts) end
---@return any ...
function Loop:run_until_complete(fn_or_future) end
function Loop:run_forever() end
function Loop:stop() end
function Loop:close() end
---@return boolean
function Loop:is_running() end
---@param seconds lull.seconds (virtual clock)
function Loop:advance(seconds) end
---@return lull.seconds
function Loop:time() end
---@return lull.Handle
function Loop:call_soon(fn, ...) end
---@param seconds lull.seconds
---@return lull.Handle
function Loop:call_later(seconds, fn, ...) end
---@param time lull.seconds
---@return lull.Handle
function Loop:call_at(time, fn, ...) end
---@param fd integer
function Loop:add_reader(fd, fn, ...) end
---@return boolean
function Loop:remove_reader(fd) end
---@param fd integer
function Loop:add_writer(fd, fn, ...) end
---@return boolean
function Loop:remove_writer(fd) end
---@param fn? fun(err: any, traceback: string?, task: lull.Task?)
function Loop:on_unhandled(fn) end
---@param on? boolean
function Loop:debug(on) end
---@param seconds? lull.seconds
function Loop:slow_callback(seconds) end

---@class lull.Selector
local Selector = {}
---@param fd integer
---@param events "r"|"w"|"rw"
function Selector:register(fd, events, data) end
---@param fd integer
---@param events "r"|"w"|"rw"
function Selector:modify(fd, events, data) end
---@param fd integer
function Selector:unregister(fd) end
---@param timeout? lull.seconds
---@return {fd: integer, events: string, data: any}[]
function Selector:select(timeout) end
function Selector:close() end

---@class lull.selectors
---@field default fun(): lull.Selector
---@field epoll fun(): lull.Selector
---@field poll fun(): lull.Selector
---@field select fun(): lull.Selector
---@field io_uring fun(): lull.Selector
---@field kqueue fun(): lull.Selector
---@field available fun(): string[]
local selectors = {}

return lull
