-- What bench/run --scale --save has measured, as pictures (SVG, both axes logarithmic)
-- and tables (Markdown).  bench/plot places them.

local format = require "format"
local svg = require "svg"

local WIDTH <const>, HEIGHT <const> = 740, 330
local LEFT <const>, RIGHT <const>, TOP <const>, BOTTOM <const> = 60, 260, 36, 34
local COLOURS <const> = { svg.OURS, "#1d4ed8", "#15803d", "#7e22ce", "#a16207",
  "#0e7490", "#be185d" }

local M = {}

local number, power = format.number, format.power

local function log10(x) return math.log(x, 10) end

-- Memory is in the table only: a picture has one unit.
local function drawn(curve)
  local list = {}
  for _, figure in ipairs(curve) do
    if figure.unit ~= "bytes" then list[#list + 1] = figure end
  end
  return list
end

-- The decades that hold all of it, at least one.
local function range(figures)
  local low, high = math.huge, 0
  for _, figure in ipairs(figures) do
    for _, side in ipairs { figure.lull, figure.c } do
      for _, y in ipairs(side) do
        if y then low, high = math.min(low, y), math.max(high, y) end
      end
    end
  end
  low = math.floor(log10(low))
  return low, math.max(low + 1, math.ceil(log10(high)))
end

-- Where a point of the curve stands in the picture.
local function scales(curve, figures)
  local first, last = log10(curve.points[1]), log10(curve.points[#curve.points])
  local low, high = range(figures)
  local function x(n)
    return LEFT + (log10(n) - first) / math.max(last - first, 1) * (WIDTH - LEFT - RIGHT)
  end
  local function y(value)
    return HEIGHT - BOTTOM - (log10(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM)
  end
  return x, y, low, high
end

local function grid(out, curve, unit, x, y, low, high)
  local function line(x1, y1, x2, y2, colour)
    out:line({ { x1, y1 }, { x2, y2 } }, colour)
  end
  for exponent = low, high do
    local at = y(10 ^ exponent)
    line(LEFT, at, WIDTH - RIGHT, at, "#d1d5db")
    out:text(LEFT - 6, at + 4, ("%g"):format(10.0 ^ exponent), 'text-anchor="end"')
    for factor = 2, exponent < high and 9 or 0 do
      at = y(factor * 10 ^ exponent)
      line(LEFT, at, WIDTH - RIGHT, at, "#f3f4f6")
    end
  end
  for _, n in ipairs(curve.points) do
    line(x(n), TOP, x(n), HEIGHT - BOTTOM, "#e5e7eb")
    out:text(x(n), HEIGHT - BOTTOM + 16, power(n), 'text-anchor="middle"')
  end
  out:text(12, 20, ("%s: %s of CPU time each, among so many"):format(curve.title, unit),
    'font-weight="bold"')
end

local function draw_line(out, curve, list, colour, x, y, dashed)
  local points = {}
  for i, value in ipairs(list) do
    if value then points[#points + 1] = { x(curve.points[i]), y(value) } end
  end
  for _, point in ipairs(dashed and {} or points) do
    out:dot(point[1], point[2], colour)
  end
  out:line(points, colour, dashed and 'stroke-dasharray="4 3"' or 'stroke-width="2"')
end

-- How many times the reference, by decade; false where one of them is missing.
local function ratios(curve, figure)
  local list = {}
  for i in ipairs(curve.points) do
    local ours, theirs = figure.lull[i], figure.c[i]
    list[i] = ours and theirs and theirs > 0 and ours / theirs
  end
  return list
end

-- A line's name in its colour, and under it the ratios at both ends.
local function draw_name(out, curve, figure, y, colour)
  local list = ratios(curve, figure)
  out:text(WIDTH - RIGHT + 16, y, figure.title, ('fill="%s"'):format(colour))
  if list[1] and list[#list] then
    local words = ("%s … %s × %s"):format(number(list[1]), number(list[#list]), curve.c)
    out:text(WIDTH - RIGHT + 16, y + 15, words, 'font-size="11" fill="#4b5563"')
  end
end

-- The picture of a curve, as a string.
function M.picture(curve)
  local figures, out = drawn(curve), svg.new()
  local x, y, low, high = scales(curve, figures)
  grid(out, curve, figures[1].unit, x, y, low, high)
  for i, figure in ipairs(figures) do
    draw_line(out, curve, figure.c, COLOURS[i], x, y, true)
    draw_line(out, curve, figure.lull, COLOURS[i], x, y)
    draw_name(out, curve, figure, TOP + 10 + (i - 1) * 36, COLOURS[i])
  end
  out:text(WIDTH - RIGHT + 16, TOP + 14 + #figures * 36,
    "dots: lull; dashed: " .. curve.c)
  return out:picture(WIDTH, HEIGHT)
end

-- Rows are figures, columns are decades; in brackets how many times the reference.
function M.table(curve)
  local head, rule = { ("%s: lull (× %s)"):format(curve.title, curve.c) }, { "---" }
  for i, n in ipairs(curve.points) do head[i + 1], rule[i + 1] = power(n), "--:" end
  local lines = { head, rule }
  for _, figure in ipairs(curve) do
    local line, list = { figure.title .. ", " .. figure.unit }, ratios(curve, figure)
    for i in ipairs(curve.points) do
      line[i + 1] = number(figure.lull[i])
        .. (list[i] and (" (%s)"):format(number(list[i])) or "")
    end
    lines[#lines + 1] = line
  end
  for i, line in ipairs(lines) do lines[i] = "| " .. table.concat(line, " | ") .. " |" end
  return table.concat(lines, "\n")
end

-- The parts of the page, and pictures by name.
function M.page(data)
  local page, pictures = {}, {}
  for _, curve in ipairs(data) do
    if #curve.points > 1 then
      local name = "scale-" .. curve.id
      pictures[name] = M.picture(curve)
      page[#page + 1] = ("![%s](performance/%s.svg)"):format(curve.title, name)
      page[#page + 1] = M.table(curve)
      for j = 1, math.huge do
        if not curve["note" .. j] then break end
        page[#page + 1] = curve["note" .. j] .. "."
      end
    end
  end
  return page, pictures
end

return M
