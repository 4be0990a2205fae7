-- A picture that grows: words, bars and lines one after the other, as SVG.

local M = {}
M.__index = M

M.OURS, M.C, M.OTHER = "#c2410c", "#9ca3af", "#3b82f6"

function M.new() return setmetatable({}, M) end

local function escape(text)
  return (text:gsub("[<>&]", { ["<"] = "&lt;", [">"] = "&gt;", ["&"] = "&amp;" }))
end

-- Style is what stands in the tag besides.
function M:text(x, y, words, style)
  self[#self + 1] = ('<text x="%.0f" y="%.0f"%s>%s</text>'):format(x, y,
    style and " " .. style or "", escape(words))
end

function M:bar(x, y, width, height, colour)
  self[#self + 1] = ('<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>')
    :format(x, y, width, height, colour)
end

function M:dot(x, y, colour)
  self[#self + 1] = ('<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>'):format(x, y, colour)
end

-- Through points { x, y }.
function M:line(points, colour, style)
  local path = {}
  for i, point in ipairs(points) do
    path[i] = ("%s%.1f %.1f"):format(i == 1 and "M" or "L", point[1], point[2])
  end
  if #path == 0 then return end
  self[#self + 1] = ('<path d="%s" stroke="%s" fill="none" %s/>'):format(
    table.concat(path), colour, style or "")
end

-- The whole of it; the background is there for readers whose pages are dark.
function M:picture(width, height)
  return ('<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" '):format(width,
    height) .. 'font-family="sans-serif" font-size="12">\n'
    .. '<rect width="100%" height="100%" fill="white"/>\n' .. table.concat(self, "\n")
    .. "\n</svg>\n"
end

return M
