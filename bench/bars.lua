-- What bench/run --peers --save has measured, as pictures (bars, the best on top) and
-- tables (Markdown).  bench/plot places them.

local format = require "format"
local svg = require "svg"

local WIDTH <const>, EDGE <const>, STEP <const>, BAR <const> = 740, 12, 19, 13
local FIRST <const>, LAST <const> = 140, 500                 -- where bars begin and end
local TO_C <const>, TO_BEST <const> = 640, WIDTH - EDGE      -- where columns end

-- Bars end here, in units of lull's own, so that its neighbours can be told apart.
local LONGEST <const> = 4

-- The pictures, and what their rows have in common.
local GROUPS <const> = {
  { "echo-64", "echo, 64 B", "^echo%-64" },
  { "echo-16k", "echo, 16 KiB", "^echo%-16k" },
  { "echo-fair", "fairness", "^echo%-fair" },
  { "memory", "memory and start-up", "^idle$", "^sleepers$", "^start%-up$", "^size$" },
  { "tasks", "tasks and timers", "^switch$", "^spawn$", "^trip$", "^queue$", "^timer$",
    "^million$" },
  { "threads", "threads", "^call$", "^message$" },
}

local M = {}

local number = format.number

-- The best first.
local function ordered(row)
  local list = table.move(row, 1, #row, 1, {})
  table.sort(list, function(a, b) return a[2] < b[2] end)
  return list
end

local function bold(entry) return entry.ours and 'font-weight="bold"' or nil end

-- ---- pictures -------------------------------------------------------------------------

-- Which colour is whose, and what a notch means.
local function draw_key(out, y)
  local x = EDGE
  for i, name in ipairs { "lull", "in C", "others" } do
    out:bar(x, y - 10, 11, 11, ({ svg.OURS, svg.C, svg.OTHER })[i])
    out:text(x + 16, y, name)
    x = x + 68
  end
  out:text(x + 12, y, ("less is better; a broken bar is longer than %d times lull's")
    :format(LONGEST))
end

-- The length of a full bar: the longest there is, or what is too much for it.
local function full(list)
  local ours
  for _, entry in ipairs(list) do
    if entry.ours then ours = math.min(ours or entry[2], entry[2]) end
  end
  return math.min(list[#list][2], LONGEST * (ours or list[1][2]))
end

local function draw_entry(out, entry, y, longest)
  local colour = entry.ours and svg.OURS or entry.c and svg.C or svg.OTHER
  local length = math.min(entry[2] / longest, 1) * (LAST - FIRST)
  local base = y + BAR - 2
  out:text(EDGE, base, entry[1], bold(entry))
  out:bar(FIRST, y, length, BAR, colour)
  if entry[2] > longest then
    local x = FIRST + length - 24
    out:line({ { x, y + BAR + 2 }, { x + 8, y - 2 } }, "white", 'stroke-width="4"')
  end
  out:text(FIRST + length + 6, base, number(entry[2]), bold(entry))
  out:text(TO_C, base, number(entry.to_c), 'text-anchor="end"')
  out:text(TO_BEST, base, number(entry.to_best), 'text-anchor="end"')
end

-- Returns where the next row begins.
local function draw_row(out, row, y)
  local list = ordered(row)
  local longest = full(list)
  out:text(EDGE, y + 12, ("%s, %s"):format(row.title, row.unit), 'font-weight="bold"')
  out:text(TO_C, y + 12, "× C", 'text-anchor="end" fill="#4b5563"')
  out:text(TO_BEST, y + 12, "× best peer", 'text-anchor="end" fill="#4b5563"')
  for i, entry in ipairs(list) do draw_entry(out, entry, y + 2 + i * STEP, longest) end
  return y + (#list + 2) * STEP
end

local function draw(rows)
  local out, y = svg.new(), 36
  draw_key(out, 20)
  for _, row in ipairs(rows) do y = draw_row(out, row, y) end
  return out:picture(WIDTH, y)
end

-- ---- tables ---------------------------------------------------------------------------

local function table_of(row)
  local columns = { { "to_c", "× C" }, { "to_best", "× best peer" } }
  table.move(row.columns, 1, #row.columns, #columns + 1, columns)
  local head, rule = ("| %s | %s |"):format(row.title, row.unit), "|---|--:|"
  for _, column in ipairs(columns) do
    head, rule = head .. " " .. column[2] .. " |", rule .. "--:|"
  end
  local lines = { head, rule }
  for _, entry in ipairs(ordered(row)) do
    local name = entry.ours and "**" .. entry[1] .. "**" or entry[1]
    local line = ("| %s | %s |"):format(name, number(entry[2]))
    for _, column in ipairs(columns) do
      line = line .. " " .. number(entry[column[1]]) .. " |"
    end
    lines[#lines + 1] = line
  end
  return table.concat(lines, "\n")
end

-- ---- the page -------------------------------------------------------------------------

local function belongs(row, group)
  for i = 3, #group do
    if #row > 0 and row.id:find(group[i]) then return true end
  end
end

-- The parts of the page, and pictures by name.
function M.page(data)
  local page, pictures = {}, {}
  for _, group in ipairs(GROUPS) do
    local rows = {}
    for _, row in ipairs(data) do
      if belongs(row, group) then rows[#rows + 1] = row end
    end
    if #rows > 0 then
      pictures[group[1]] = draw(rows)
      page[#page + 1] = ("![%s](performance/%s.svg)"):format(group[2], group[1])
      for _, row in ipairs(rows) do page[#page + 1] = table_of(row) end
    end
  end
  return page, pictures
end

return M
