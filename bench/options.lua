-- What stands behind bench/run: options, and patterns that choose rows.  What means
-- nothing is an error: a run should not measure something else than it was asked for.

local M = {}

-- What there is; a mode takes some of it.
local known <const> = {
  { "rounds", "N", "so many rounds, a figure is their median" },
  { "requests", "N", "so many requests in a round" },
  { "quick", nil, "as short as it goes: does it all work?  not for quoting" },
  { "save", "FILE", "also writes what bench/plot draws" },
  { "list", nil, "names and titles, nothing is measured" },
  { "help", nil, "this text" },
}

local function usage(mode)
  local lines = { ("usage: %s [pattern...] [option...]"):format(mode.command), mode.about,
    "A pattern is a word in the name of a row; without one all are measured." }
  for _, option in ipairs(known) do
    local name, value, text = table.unpack(option, 1, 3)
    if mode[name] ~= nil then
      local default = value == "N" and (" (%d)"):format(mode[name]) or ""
      lines[#lines + 1] = ("  %-14s %s%s"):format(
        "--" .. name .. (value and " " .. value or ""), text, default)
    end
  end
  return table.concat(lines, "\n")
end

local function fail(form, ...)
  io.stderr:write(form:format(...), "\n")
  os.exit(2)
end

-- The value of an option that takes one; argument i is what may be it.
local function value_of(kind, name, text)
  local value = text
  if kind == "N" then
    value = math.tointeger(tonumber(text))
    value = value and value > 0 and value
  end
  return value or fail("--%s wants %s", name, kind == "N" and "a number" or "a file")
end

-- Reads arg for a mode, which has
--   command, about                 what is typed, what it does
--   rounds, requests               their defaults, where it takes these
--   quick                          so many rounds, where there is a quick run
--   save, list = false             where it takes these
-- Returns what was given or is by default, and patterns.
function M.read(mode)
  mode.help = false
  local options, kinds, i = { command = mode.command, patterns = {} }, {}, 0
  for _, option in ipairs(known) do
    if mode[option[1]] ~= nil then kinds[option[1]] = option[2] or "flag" end
  end
  while arg[i + 1] do
    i = i + 1
    local name = arg[i]:match "^%-%-(.*)"
    local kind = kinds[name]
    if kind == "flag" then
      options[name] = true
    elseif kind then
      i = i + 1
      options[name] = value_of(kind, name, arg[i])
    elseif name or arg[i]:find "^%-" then
      fail("unknown option: %s\n%s", arg[i], usage(mode))
    else
      table.insert(options.patterns, arg[i])
    end
  end
  if options.help then
    print(usage(mode))
    os.exit(0)
  end
  options.rounds = options.rounds or options.quick and mode.quick or mode.rounds
  options.requests = options.requests or mode.requests
  return options
end

-- Those rows whose id contains one of the patterns; all if there is none.  With --list
-- says which these are, and ends.
function M.choose(rows, options)
  local chosen, used = {}, {}
  for _, row in ipairs(rows) do
    local wanted = #options.patterns == 0
    for _, pattern in ipairs(options.patterns) do
      if row.id:find(pattern, 1, true) then wanted, used[pattern] = true, true end
    end
    if wanted then chosen[#chosen + 1] = row end
  end
  for _, pattern in ipairs(options.patterns) do
    if not used[pattern] then
      fail("no row's name contains %q: %s --list", pattern, options.command)
    end
  end
  if options.list then
    for _, row in ipairs(chosen) do print(("%-28s %s"):format(row.id, row.title)) end
    os.exit(0)
  end
  return chosen
end

return M
