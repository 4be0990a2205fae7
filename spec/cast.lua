-- Who and what appears in many specs: futures that are done, tasks that wait in line or
-- misbehave, and texts that tell where they were cut.
local assert = require "luassert"
local helper = require "spec.helper"
local process = require "lull.process"
local lull = helper.lull

local cast = {}

-- ---- futures --------------------------------------------------------------------------

function cast.finished(...)
  local future = lull.future()
  future:set_result(...)
  return future
end

function cast.failed(err)
  local future = lull.future()
  future:set_error(err)
  return future
end

function cast.cancelled(reason)
  local future = lull.future()
  future:cancel(reason)
  return future
end

-- ---- tasks ----------------------------------------------------------------------------

-- Spawns n tasks that call fn(i), each waiting before the next is spawned.
function cast.line_up(n, fn)
  local tasks = {}
  for i = 1, n do
    tasks[i] = lull.spawn(fn, i)
    lull.sleep(0)
  end
  return tasks
end

-- Waits for tasks, and raises what is wrong with them; that one was cancelled is not.
function cast.await_all(tasks)
  for _, task in ipairs(tasks) do
    local ok, err = pcall(task.await, task)
    if not ok and not tostring(err):find("ECANCELED: ", 1, true) then error(err, 0) end
  end
end

-- A function that returns these values, after some time.
function cast.after(seconds, ...)
  local values = table.pack(...)
  return function()
    lull.sleep(seconds)
    return table.unpack(values, 1, values.n)
  end
end

function cast.fail(seconds, err)
  lull.sleep(seconds)
  error(err, 0)
end

-- Fails while it is being cancelled.
function cast.fail_in_cleanup(err)
  local _ <close> = helper.closer(function() error(err, 0) end)
  lull.sleep(1000)
end

-- Sleeps until it is cancelled, then cleans up for some seconds and notes its name.
function cast.stubborn(log, name, seconds)
  local _ <close> = helper.closer(function(_, err)
    lull.shield(lull.sleep, seconds)
    log[#log + 1] = name .. ":" .. tostring(lull.is_cancelled(err))
  end)
  lull.sleep(1000)
end

-- ---- scopes and groups ----------------------------------------------------------------

-- Runs fn in a scope that is cancelled already.
function cast.within_cancelled(fn)
  return lull.scope(function(s)
    s:cancel "over"
    return fn(s)
  end)
end

-- Runs fn(g) in the function form and as a block: what is true of one is true of both.
function cast.both(fn)
  return ipairs {
    function() return lull.group(fn) end,
    function()
      local g <close> = lull.group()
      return fn(g)
    end,
  }
end

-- ---- what the world does --------------------------------------------------------------

-- For what a call has returned that must have failed -> code, message
function cast.failure(...)
  local value, message, code = ...
  assert.is_nil(value)
  assert.equal("string", type(message))
  assert.equal(code, message:match "^(%w+): ")
  return code, message
end

-- The same for TLS that was refused for such a reason.
function cast.refused(reason, ...)
  local code, message = cast.failure(...)
  assert.equal("ETLS", code)
  assert.matches(reason, message)
end

-- A child that must start; a program that must, run to its end.
function cast.spawn(...) return assert(process.spawn(...)) end
function cast.see(...) return assert(process.run(...)) end

-- Text that tells where it is cut or mixed up.
function cast.pattern(n, name)
  local piece = {}
  for i = 1, n // 16 + 1 do piece[i] = ("%s%14d,"):format(name or "x", i) end
  return table.concat(piece):sub(1, n)
end

-- Writes until the writer would have to wait; returns what was taken.
function cast.fill(stream)
  local text = {}
  repeat
    local piece = cast.pattern(10000, "f")
    local taken = stream:try_write(piece)
    if taken then text[#text + 1] = piece end
  until not taken
  return table.concat(text)
end

return cast
