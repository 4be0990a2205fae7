-- Signals of the system, awaited by tasks.  Nothing is installed before somebody waits;
-- what was there before comes back when the loop ends (see src/sys/signal.c).
local core = require "lull.core"

local signal = {}

-- Begins to listen; mistakes are those of the caller of `name`.
local function watch_signals(name, keeps, ...)
  for i = 1, math.max(select("#", ...), 1) do
    if type((select(i, ...))) ~= "string" then
      error(("bad argument #%d to '%s' (the name of a signal expected)"):format(i,
        name), 3)
    end
  end
  local ok, watch = pcall(core.watch_signals, keeps, ...)
  if not ok then error(watch, 3) end
  return watch
end

-- Suspends until one of the signals comes, and returns its name.  One that has come since
-- the last wait for it returns at once.
function signal.wait(...)
  core.enter()
  local watch <close> = watch_signals("wait", true, ...)
  return watch:next()
end

-- for name in signal.each("SIGHUP", ...) do: every signal from this call on; those of one
-- name that come while the body runs are one.
function signal.each(...)
  local watch = watch_signals("each", false, ...)
  local function next_signal()
    local name, message = watch:next()
    if not name then error(message, 0) end
    return name
  end
  return next_signal, nil, nil, watch
end

-- Sends a signal to this process.
function signal.raise(name)
  if type(name) ~= "string" then
    error("bad argument #1 to 'raise' (the name of a signal expected)", 2)
  end
  local ok, err, message = pcall(core.raise_signal, name)
  if not ok then error(err, 2) end
  if message then error(message, 0) end
end

return signal
