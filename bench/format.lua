-- Numbers and tables as the commands of bench/run print them.

local M = {}

function M.sorted(list)
  local copy = table.move(list, 1, #list, 1, {})
  table.sort(copy)
  return copy
end

function M.median(list)
  local s, n = M.sorted(list), #list
  return n > 0 and (s[(n + 1) // 2] + s[n // 2 + 1]) / 2 or nil
end

function M.number(x)
  if not x then return "–" end
  local digits = x < 10 and 2 or x < 100 and 1 or 0
  return ("%." .. digits .. "f"):format(x)
end

local RAISED <const> = { [0] = "⁰", "¹", "²", "³", "⁴", "⁵", "⁶", "⁷", "⁸", "⁹" }

-- A count as a power of ten where it is one.
function M.power(n)
  local digits = ("%d"):format(n)
  local zeros = n > 1 and digits:match "^1(0+)$"
  return zeros and "10" .. RAISED[#zeros] or digits
end

-- The first column to the left, the others to the right.
function M.print_table(head, lines, write)
  write = write or function(line) print(line) end
  local widths = {}
  table.insert(lines, 1, head)
  for _, line in ipairs(lines) do
    for i, cell in ipairs(line) do
      widths[i] = math.max(widths[i] or 0, utf8.len(cell))
    end
  end
  for _, line in ipairs(lines) do
    local parts = {}
    for i, cell in ipairs(line) do
      local blanks = (" "):rep(widths[i] - utf8.len(cell))
      parts[i] = i == 1 and cell .. blanks or blanks .. cell
    end
    write(table.concat(parts, "  "))
  end
  write ""
end

return M
