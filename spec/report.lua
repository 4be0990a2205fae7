-- What a run of the specs prints: a line for each file, before it its failures in full,
-- and the sum.  With `-Xoutput path` the file `path` holds the counts for ./test; until
-- then it names the test that is running, in case the program does not come back.
local busted = require "busted"
local pretty = require "pl.pretty"

local SLOW = 2 -- seconds after which a test is named

local function text(message)
  local meta = getmetatable(message)
  if type(message) == "table" and not (meta and meta.__tostring) then
    return pretty.write(message)
  end
  return tostring(message)
end

local function fullname(element)
  local names = {}
  while element and element.descriptor ~= "file" and element.descriptor ~= "suite" do
    table.insert(names, 1, element.name or element.descriptor)
    element = busted.parent(element)
  end
  return table.concat(names, " ")
end

return function(options)
  local path = options.arguments[1]
  local total = {success = 0, failure = 0, pending = 0}
  local infile
  local files = 0

  local function leave(note)
    if path then
      local f = assert(io.open(path, "w"))
      f:write(note, "\n")
      f:close()
    end
  end

  local function count(status)
    total[status] = total[status] + 1
    if infile then
      infile[status] = infile[status] + 1
    end
  end

  local function summary(counts)
    local line = ("%d passed, %d failed"):format(counts.success, counts.failure)
    return counts.pending == 0 and line or line .. (", %d skipped"):format(counts.pending)
  end

  local on = {}

  function on.file_start()
    infile = {success = 0, failure = 0, pending = 0}
    return nil, true
  end

  function on.file_end(file)
    print(("%-28s %-24s %6.1f s"):format(file.name, summary(infile), file.duration or 0))
    infile = nil
    files = files + 1
    return nil, true
  end

  function on.test_start(test)
    leave("in: " .. fullname(test))
    return nil, true
  end

  function on.test_end(test, _, status)
    if status == "success" or status == "pending" then
      count(status)
    end
    if test.duration and test.duration > SLOW then
      print(("slow: %s (%.1f s)"):format(fullname(test), test.duration))
    end
    return nil, true
  end

  -- Of a test, or of what surrounds it: a file that does not load, a setup, a teardown.
  function on.failed(element, _, message, trace)
    count "failure"
    local name = fullname(element)
    print(("\nFAILED %s"):format(name ~= "" and name or element.name))
    print(text(message))
    if trace and trace.traceback then
      print((trace.traceback:gsub("^%s+", ""):gsub("%s+$", "")))
    end
    print ""
    return nil, true
  end

  function on.suite_end(suite)
    leave(("counts %d %d %d"):format(total.success, total.failure, total.pending))
    if files > 1 then
      print(("%s (%.1f s)"):format(summary(total), suite.duration or 0))
    end
    return nil, true
  end

  return {
    subscribe = function()
      require "busted.languages.en"
      busted.subscribe({"file", "start"}, on.file_start)
      busted.subscribe({"file", "end"}, on.file_end)
      busted.subscribe({"test", "start"}, on.test_start)
      busted.subscribe({"test", "end"}, on.test_end)
      busted.subscribe({"failure"}, on.failed)
      busted.subscribe({"error"}, on.failed)
      busted.subscribe({"suite", "end"}, on.suite_end)
    end,
  }
end
