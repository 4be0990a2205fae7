---@meta lull.signal
---@class lull.signal
local signal = {}

---Suspends until one of them comes.
---@param ... string "SIGINT", "SIGTERM", ...
---@return string name
function signal.wait(...) end
---@param ... string
---@return fun(): string
function signal.each(...) end
---@param name string
function signal.raise(name) end

return signal
