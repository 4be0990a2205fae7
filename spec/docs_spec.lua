-- The pages of docs/: programs run and print what the page says, quotations stand in the
-- file that they are from, functions in the file that is named, links lead somewhere.
-- (docs/manual.md and the server of the README: manual_spec.lua.)
local pages = require "spec.pages"
local lfs = require "lfs"

local function list()
  local names = {}
  for name in lfs.dir "docs" do
    if name:find "%.md$" then names[#names + 1] = "docs/" .. name end
  end
  table.sort(names)
  return names
end

-- The prose of a page: no blocks.
local function prose(page)
  return (("\n" .. pages.read(page)):gsub("\n```.-\n```%f[\n]", "\n"))
end

-- The name that GitHub gives to a heading.
local function anchor(heading)
  return (heading:lower():gsub("[^%w%- _]", ""):gsub(" ", "-"))
end

local function anchors(page)
  local set = {}
  for heading in prose(page):gmatch "\n#+ ([^\n]+)" do set[anchor(heading)] = true end
  return set
end

for _, page in ipairs(list()) do
  describe(page, function()
    if page ~= "docs/manual.md" then
      for _, test in ipairs(pages.tests(page)) do it(table.unpack(test)) end
    end

    it("names functions where they are", function()
      for name, path in prose(page):gmatch "`([%w_]+)`,%s+`(%l[%w_/]*%.[chlua]+)`" do
        local source = pages.read(path)
        assert.truthy(source:find("%f[%w_]" .. name .. "%f[^%w_]"),
          ("%s is not in %s"):format(name, path))
      end
    end)

    it("links to what there is", function()
      for target in prose(page):gmatch "%]%(([^)]+)%)" do
        local path, place = target:match "^([^#]*)#?(.*)$"
        if not path:find "^%a+:" then
          path = path == "" and page or "docs/" .. path
          assert.truthy(lfs.attributes(path), target)
          if place ~= "" then assert.truthy(anchors(path)[place], target) end
        end
      end
    end)
  end)
end

describe("docs/README.md", function()
  it("has a line for every page", function()
    local index = pages.read "docs/README.md"
    for _, page in ipairs(list()) do
      local name = page:match "[^/]+$"
      assert.truthy(name == "README.md" or index:find("](" .. name .. ")", 1, true), name)
    end
  end)
end)
