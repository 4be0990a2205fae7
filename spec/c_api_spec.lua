-- The C API: what the header declares, what the library exports and what docs/c-api.md
-- lists are the same, and the header is good C11 and C++17 by itself.
local helper = require "spec.helper"
local pages = require "spec.pages"

-- The header without comments.
local function header()
  return (pages.read "include/lull.h":gsub("/%*.-%*/", " "))
end

local function sorted(set)
  local list = {}
  for name in pairs(set) do list[#list + 1] = name end
  table.sort(list)
  return list
end

-- Names of functions, from the declarations marked LULL_API.
local function functions()
  local set = {}
  for declaration in header():gmatch "LULL_API%s+(.-);" do
    if not declaration:find "define" then
      set[declaration:match "([%w_]+)%s*%("] = true
    end
  end
  return set
end

-- Names of types and constants.
local function others()
  local set, text = {}, header()
  for name in text:gmatch "#define (LULL_[%w_]+) " do set[name] = true end
  for body in text:gmatch "enum%s*(%b{})" do
    for name in body:gmatch "(LULL_[%u%d_]+)%s*[,=}]" do set[name] = true end
  end
  for _, pattern in ipairs {"struct%s+[%w_]+%s*%b{}%s*([%w_]+);",
                            "struct%s+[%w_]+%s+([%w_]+);", "[%w_]+%s+(lull_[%w_]+);",
                            "[^;]-%(%*(lull_[%w_]+)%)"} do
    for name in text:gmatch("typedef%s+" .. pattern) do set[name] = true end
  end
  set.LULL_API = nil
  return set
end

local function listed()
  local set = {}
  for line in pages.read "docs/c-api.md":gmatch "\n| ([^|]+) |" do
    for name in line:gmatch "`([%w_]+)`" do set[name] = true end
  end
  return set
end

describe("the C API", function()
  it("is listed in the manual, and nothing else is", function()
    local all = functions()
    for name in pairs(others()) do all[name] = true end
    assert.same(sorted(all), sorted(listed()))
  end)

  it("is what the library exports", function()
    local build = os.getenv "LULL_BUILD"
    if not build then return pending "no build directory" end
    local out = helper.execute {"nm", "-D", "--defined-only", build .. "/liblull.so"}
    local exported = {}
    for name in out:gmatch " [TDBR] ([%w_]+)" do
      if not name:find "^_" then exported[name] = true end
    end
    exported.luaopen_lull_core = nil -- a module's entry point, of nobody's business in C
    assert.same(sorted(functions()), sorted(exported))
  end)

  it("is good C11 and C++17 by itself", function()
    local c, cpp = {"cc", "-std=c11", "-x", "c"}, {"c++", "-std=c++17", "-x", "c++"}
    for _, words in ipairs {c, cpp} do
      local dir <close> = helper.tempdir()
      local source = dir:write("host", [[
#include <lull.h>
static lull_options options;
int main() { options.size = sizeof options; return lull_open(0, &options) != 0; }
]])
      for _, word in ipairs {"-Wall", "-Wextra", "-Wpedantic", "-Werror", "-Iinclude",
                             "-fsyntax-only", source} do
        words[#words + 1] = word
      end
      local out, err, code = helper.execute(words)
      assert.same({"", "", 0}, {out, err, code})
    end
  end)

  it("names no Lua and no system header", function()
    local names = {}
    for name in header():gmatch "#include <(.-)>" do names[#names + 1] = name end
    assert.same({"stdbool.h", "stddef.h", "stdint.h"}, names)
  end)
end)
