-- pipeline.lua: programs of the system in a pipeline, with Lua at both ends.
--
--   ./run examples/pipeline.lua
--
-- Each program reads what the one before it writes, directly: no byte between them comes
-- through here.  The input is written while the output is read.

local lull = require "lull"
local process = require "lull.process"

-- Starts the programs; they are all closed when the list is.
local function pipeline(programs)
  local list = setmetatable({}, {__close = function(list)
    for _, p in ipairs(list) do p:close() end
  end})
  for i, argv in ipairs(programs) do
    local before = list[i - 1]
    list[i] = assert(process.spawn(argv, {
      stdin = before and before.stdout or "pipe",
      stdout = "pipe",
    }))
    if before then before.stdout:close() end -- it is the next one's now
  end
  return list
end

local text = [[
the rain in spain falls mainly on the plain
the cat sat on the mat and the dog sat on the cat
]]

local programs <close> = pipeline {
  {"tr", " ", "\n"},
  {"sort"},
  {"uniq", "-c"},
  {"sort", "-k1,1nr", "-k2"},
  {"head", "-n", "5"},
}

lull.spawn(function()
  programs[1].stdin:write(text)
  programs[1].stdin:close()
end)

for line in programs[#programs].stdout:lines() do
  local count, word = line:match "(%d+) (%w+)"
  print(("%-6s%s"):format(word, ("*"):rep(tonumber(count))))
end

for i, p in ipairs(programs) do
  local code, signal = p:wait()
  if code ~= 0 then print(("program %d: %s"):format(i, code or signal)) end
end
