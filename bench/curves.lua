-- What bench/run --scale --save has measured, as pictures (SVG, both axes logarithmic)
-- and tables (Markdown).  bench/plot places them.

local format = require "format"

local WIDTH <const>, HEIGHT <const> = 720, 330
local LEFT <const>, RIGHT <const>, TOP <const>, BOTTOM <const> = 56, 250, 30, 34
local COLOURS <const> = { "#c2410c", "#1d4ed8", "#15803d", "#7e22ce", "#a16207",
  "#0e7490", "#be185d" }

local M = {}

local number, power = format.number, format.power

local function log10(x) return math.log(x, 10) end

local function escape(text)
  return (text:gsub("[<>&]", { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;" }))
end

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

local function text(out, x, y, words, style)
  out[#out + 1] = ('<text x="%.0f" y="%.0f" %s>%s</text>'):format(x, y, style or "",
    escape(words))
end

local function grid(out, curve, unit, x, y, low, high)
  local line = '<path d="M%.1f %.1fL%.1f %.1f" stroke="%s"/>'
  for exponent = low, high do
    local at = y(10 ^ exponent)
    out[#out + 1] = line:format(LEFT, at, WIDTH - RIGHT, at, "#d1d5db")
    text(out, LEFT - 6, at + 4, ("%g"):format(10.0 ^ exponent), 'text-anchor="end"')
    for factor = 2, exponent < high and 9 or 0 do
      at = y(factor * 10 ^ exponent)
      out[#out + 1] = line:format(LEFT, at, WIDTH - RIGHT, at, "#f3f4f6")
    end
  end
  for _, n in ipairs(curve.points) do
    out[#out + 1] = line:format(x(n), TOP, x(n), HEIGHT - BOTTOM, "#e5e7eb")
    text(out, x(n), HEIGHT - BOTTOM + 16, power(n), 'text-anchor="middle"')
  end
  text(out, 0, 16, ("%s: %s of CPU time each, among so many"):format(curve.title, unit),
    'font-weight="bold"')
end

local function draw_line(out, curve, list, colour, x, y, dashed)
  local path = {}
  for i, value in ipairs(list) do
    if value then
      local px, py = x(curve.points[i]), y(value)
      path[#path + 1] = ("%s%.1f %.1f"):format(#path == 0 and "M" or "L", px, py)
      if not dashed then
        out[#out + 1] = ('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>'):format(px, py,
          colour)
      end
    end
  end
  if #path > 0 then
    out[#out + 1] = ('<path d="%s" stroke="%s" fill="none" stroke-width="%s"/>'):format(
      table.concat(path), colour, dashed and '1" stroke-dasharray="4 3' or "2")
  end
end

-- The picture of a curve, as a string.
function M.picture(curve)
  local figures, out = drawn(curve), {}
  local x, y, low, high = scales(curve, figures)
  grid(out, curve, figures[1].unit, x, y, low, high)
  for i, figure in ipairs(figures) do
    local colour = COLOURS[i]
    draw_line(out, curve, figure.c, colour, x, y, true)
    draw_line(out, curve, figure.lull, colour, x, y)
    text(out, WIDTH - RIGHT + 16, TOP + 12 + i * 20, figure.title,
      ('fill="%s"'):format(colour))
  end
  text(out, WIDTH - RIGHT + 16, TOP + 20 + (#figures + 1) * 20, "lines with dots: lull")
  text(out, WIDTH - RIGHT + 16, TOP + 20 + (#figures + 2) * 20, "dashed: " .. curve.c)
  return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '):format(WIDTH,
    HEIGHT) .. 'font-family="sans-serif" font-size="12">\n'
    .. '<rect width="100%" height="100%" fill="white"/>\n' .. table.concat(out, "\n")
    .. "\n</svg>\n"
end

-- Rows are figures, columns are decades; the reference stands in brackets.
function M.table(curve)
  local head, rule = { curve.title .. ": lull (" .. curve.c .. ")" }, { "---" }
  for i, n in ipairs(curve.points) do head[i + 1], rule[i + 1] = power(n), "--:" end
  local lines = { head, rule }
  for _, figure in ipairs(curve) do
    local line = { figure.title .. ", " .. figure.unit }
    for i in ipairs(curve.points) do
      local ours, theirs = figure.lull[i], figure.c[i]
      line[i + 1] = (ours and number(ours) or "–")
        .. (theirs and (" (%s)"):format(number(theirs)) or "")
    end
    lines[#lines + 1] = line
  end
  for i, line in ipairs(lines) do lines[i] = "| " .. table.concat(line, " | ") .. " |" end
  return table.concat(lines, "\n")
end

-- The page, and pictures by name.
function M.page(data)
  local origin = "Measured on %s with `%s`: %s cores (%s), Linux %s; %s."
  local page, pictures = { origin:format(data.date, data.command, data.cores,
    data.machine, data.kernel, data.lull:match "^[^,]*") }, {}
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
