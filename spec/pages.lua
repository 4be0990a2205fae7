-- What the specs of the documentation share: blocks of code in a page, and whether they
-- tell the truth.  The word behind the fence says what a block is:
--
--   lua         a program, run on the virtual clock; what it prints stands behind -->
--   lua real    the same, on the real clock
--   lua fails   the same, for a program that ends with the exit code 1; what it says on
--               stderr is compared as well
--   c run       a program in C on liblull alone
--   c src/io.c  (or any file) a quotation: its lines stand in that file, in this order,
--               however they are indented; a line of dots stands for what is left out
--
-- Anything else is prose.
local helper = require "spec.helper"
local assert = require "luassert"

local pages = {}

function pages.read(path)
  local file <close> = assert(io.open(path))
  return file:read "a"
end

-- The fenced blocks of a page: {page=, line=, info=, text=}, ...
function pages.blocks(page)
  local list, block, number = {}, nil, 0
  for line in pages.read(page):gmatch "([^\n]*)\n" do
    number = number + 1
    local info = line:match "^```(.*)$"
    if info and block then
      block.text = table.concat(block, "\n") .. "\n"
      list[#list + 1], block = block, nil
    elseif info then
      block = {page = page, line = number, info = info}
    elseif block then
      block[#block + 1] = line
    end
  end
  assert(not block, page .. ": a block does not end")
  return list
end

-- What a program says that it prints.
function pages.expected(program)
  local lines = {}
  for text in program:gmatch "%-%-> ([^\n]*)" do lines[#lines + 1] = text .. "\n" end
  return table.concat(lines)
end

local kinds = {}

local function run(block, ...)
  local out, err, code = helper.child(block.text, ...)
  assert.equal("", err)
  assert.equal(0, code)
  assert.equal(pages.expected(block.text), out)
end

kinds["lua"] = run
kinds["lua real"] = function(block) run(block, "--real") end

-- The path of the script is not the page's affair, nor are addresses.
kinds["lua fails"] = function(block)
  local out, err, code = helper.child(block.text)
  local said = (out .. err):gsub("/%S-/script%.lua", "script.lua"):gsub("0x%x+", "0x...")
  assert.equal(1, code)
  assert.equal(pages.expected(block.text), said)
end

-- What the build that is being tested was configured with.
local function setting(name)
  local first = 0
  while arg[first - 1] do first = first - 1 end
  local build = os.getenv "LULL_BUILD" or arg[first]:match "^(.*)/"
  local cache = pages.read(build .. "/CMakeCache.txt")
  return cache:match("\n" .. name .. ":%u+=([^\n]*)") or ""
end

kinds["c run"] = function(block)
  local dir <close> = helper.tempdir()
  local source, program = dir:write("page.c", block.text), dir.path .. "/page"
  local build, sanitizers = setting "lull_BINARY_DIR", setting "LULL_SANITIZE"
  local words = {
    setting "CMAKE_C_COMPILER", "-std=c11", "-Wall", "-Wextra", "-Iinclude",
    "-o", program, source, "-L" .. build, "-llull", "-Wl,-rpath," .. build,
  }
  if sanitizers ~= "" then words[#words + 1] = "-fsanitize=" .. sanitizers end
  for _, command in ipairs {words, {program}} do
    local out, err, code = helper.execute(command)
    assert.equal("", err)
    assert.equal(0, code)
    assert.equal(command == words and "" or pages.expected(block.text), out)
  end
end

-- Lines without indentation, the empty ones left out.
local function bare_lines(text)
  local lines = {}
  for line in text:gmatch "[^\n]+" do
    line = line:match "^%s*(.-)%s*$"
    if line ~= "" then lines[#lines + 1] = line end
  end
  return lines
end

local DOTS = "^[-/* ]*%.%.%.[*/ ]*$"

-- Do the lines of quote from i on stand in file at j, or, after dots, anywhere below?
-- Otherwise the line that is not there.
local function find(quote, i, file, j, anywhere)
  local line = quote[i]
  if not line then return true end
  if line:find(DOTS) then return find(quote, i + 1, file, j, true) end
  local missing = line
  for k = j, anywhere and #file or j do
    if file[k] == line then
      local ok, deeper = find(quote, i + 1, file, k + 1, false)
      if ok then return true end
      missing = deeper
    end
  end
  return false, missing
end

local function quoted(block, path)
  local ok, line = find(bare_lines(block.text), 1, bare_lines(pages.read(path)), 1, true)
  assert(ok, ("%s does not say, at this place: %s"):format(path, line))
end

-- A test for each block of a page that can be wrong: {name, function}, ...
function pages.tests(page)
  local list = {}
  for _, block in ipairs(pages.blocks(page)) do
    local kind, what = kinds[block.info], "does what it says"
    local path = block.info:match "^%l+ ([%w_/]+%.[%w_/%.]+)$"
    if not kind and path then
      kind, what = quoted, "is what " .. path .. " says"
    end
    if kind then
      list[#list + 1] = {
        ("line %d %s"):format(block.line, what),
        function() kind(block, path) end,
      }
    end
  end
  return list
end

return pages
