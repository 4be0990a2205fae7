-- files.lua: a large file is written and read while others go on.
--
--   ./run examples/files.lua
--
-- A system call that reads a file blocks whoever calls it, and no selector can tell when
-- it would not.  So lull has threads for it: the task waits, the thread reads, the loop
-- turns.  That it does is shown by a ticker that counts its turns meanwhile.

local lull = require "lull"
local fs = require "lull.fs"

local LINES = 400000

local directory = assert(fs.tempdir())
local _ <close> = lull.defer(lull.shield, fs.remove, directory, {recursive = true})
local path = directory .. "/numbers"

local turns = 0
local ticker <close> = lull.spawn(function()
  while true do
    turns = turns + 1
    lull.sleep(0)
  end
end)

-- Calls fn, and tells whether the ticker has been stopped by that.
local function beside_the_ticker(what, fn, ...)
  local before = turns
  local result = fn(...)
  local went_on = turns - before > 3
  print(what, result, went_on and "the ticker went on" or "the ticker stood still")
end

beside_the_ticker("written:", function()
  local file <close> = assert(fs.open(path, "w"))
  for i = 1, LINES do assert(file:write(i, "\n")) end
  return file:seek "cur" .. " bytes"
end)

beside_the_ticker("numbers:", function()
  local file <close> = assert(fs.open(path))
  local sum = 0
  for n in file:lines "n" do sum = sum + n end
  return "their sum is " .. sum
end)

beside_the_ticker("at once:", function()
  local text = assert(fs.read_file(path))
  return #text .. " bytes"
end)

-- Several tasks may use one file: each line goes to one of them.
local workers, lines = 4, 0
do
  local file <close> = assert(fs.open(path))
  lull.group(function(group)
    for _ = 1, workers do
      group:spawn(function()
        for _ in file:lines() do lines = lines + 1 end
      end)
    end
  end)
end
print("shared:", lines .. " lines for " .. workers .. " tasks")

-- Failures of the world are returned, with the path.
print(select(2, fs.open(directory .. "/none")) == "ENOENT: no such file or directory ("
  .. directory .. "/none)")
assert(ticker:done() == false)
