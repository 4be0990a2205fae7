-- Work on other threads.  A call runs on the pool; a thread of its own is watched by a
-- task, which stands for it among the tasks: it keeps the loop from ending, is told of
-- the thread's failure, and when it is cancelled interrupts the thread and waits for its
-- end.
local core = require "lull.core"

local Thread, Task = core.methods.Thread, core.methods.Task

local GRACE = 2 -- seconds in which an interrupted thread comes to its end

local begun = setmetatable({}, { __mode = "k" }) -- whose task runs, or has run

-- Interrupts it, and waits for its end for a while.
local function finish(self)
  if self:over() then return end
  self:stop()
  core.shield(core.timeout, GRACE, self.ended, self)
  if self:over() then return end
  self:leave()
  core.report(("ETIMEDOUT: %s does not end: it is left to itself"):format(self), nil,
    core.current())
end

local Guard = { __close = function(guard) finish(guard.thread) end }

-- The body of the task; a method, so that the story of the task has a name for it.
function Thread:run()
  begun[self] = true
  local _ <close> = setmetatable({ thread = self }, Guard)
  self:ended()
  return self:outcome()
end

core.on_thread(function(self, id)
  local task = core.spawn(self.run, self)
  task:name("thread " .. id)
  return task
end)

-- What a Thread can do as the task that stands for it does it.
for _, name in ipairs { "cancel", "done", "cancelled", "status", "result", "error",
                        "traceback", "name", "add_done_callback",
                        "remove_done_callback" } do
  local method = Task[name]
  Thread[name] = function(self, ...) return method(self:task(), ...) end
end

-- Cancels it and waits for its end, if its task has not begun to and now never will.
function Thread:close()
  self:task():close()
  if not begun[self] then
    begun[self] = true
    finish(self)
  end
end

-- Its owner's loop does not wait for it to end, but interrupts it at the end.
function Thread:daemon()
  self:task():daemon()
  return self
end

return { call = core.thread_call, spawn = core.thread_spawn, limit = core.thread_limit,
         send = core.thread_send, receive = core.thread_receive }
