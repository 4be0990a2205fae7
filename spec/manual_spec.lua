-- Every program in the manual runs, and prints what the manual says behind "-->".
local helper = require "helper"

local function read(path)
  local f = assert(io.open(path))
  local text = f:read "a"
  f:close()
  return text
end

-- The parts of a text between lines that begin with ```: prose and programs in turn.
local function parts(text)
  local list, line = {}, 1
  for part in (text .. "\n```\n"):gmatch "(.-\n)```[^\n]*\n" do
    list[#list + 1] = {line = line, text = part}
    line = line + select(2, part:gsub("\n", "")) + 1
  end
  return list
end

local function expected(program)
  local lines = {}
  for text in program:gmatch "%-%-> ([^\n]*)" do lines[#lines + 1] = text .. "\n" end
  return table.concat(lines)
end

describe("the manual", function()
  for i, part in ipairs(parts(read "docs/manual.md")) do
    if i % 2 == 0 then
      it("tells the truth in line " .. part.line, function()
        local out, err, code = helper.child(part.text)
        assert.equal("", err)
        assert.equal(0, code)
        assert.equal(expected(part.text), out)
      end)
    end
  end
end)
