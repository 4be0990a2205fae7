-- What is said to bench/run, and what bench/plot makes of a file of figures.  Nothing is
-- measured here.
local helper = require "spec.helper"

local function bench(...)
  return helper.execute {"bench/run", ...}
end

local modes = {{}, {"--peers"}, {"--scale"}, {"--kv"}}

local function said(mode, ...)
  local words = table.move(mode, 1, #mode, 1, {})
  return bench(table.unpack(table.move({...}, 1, select("#", ...), #words + 1, words)))
end

describe("bench/run", function()
  it("tells the options of each mode", function()
    for _, mode in ipairs(modes) do
      local out, err, code = said(mode, "--help")
      local usage = "usage: bench/run" .. (mode[1] and " " .. mode[1] or "")
      assert.equal(usage .. " [pattern...] [option...]", out:match "[^\n]*")
      assert.matches("\n  %-%-list ", out)
      assert.same({"", 0}, {err, code})
    end
  end)

  it("lists its rows, and those whose name has a word in it", function()
    for _, mode in ipairs(modes) do
      local out, _, code = said(mode, "--list")
      assert.equal(0, code)
      local name = out:match "^%S+"
      local some = said(mode, name, "--list")
      assert.equal(name, some:match "^%S+")
      assert.is_true(#some < #out)
    end
  end)

  it("refuses an option or a word that means nothing", function()
    for _, mode in ipairs(modes) do
      local out, err, code = said(mode, "--list", "--sqve")
      assert.matches("^unknown option: %-%-sqve\nusage: ", err)
      assert.same({"", 2}, {out, code})
      out, err, code = said(mode, "--list", "ehco")
      assert.matches('^no row\'s name contains "ehco"', err)
      assert.same({"", 2}, {out, code})
    end
    local _, err, code = bench("--list", "--rounds", "many")
    assert.same({"--rounds wants a number\n", 2}, {err, code})
  end)
end)

describe("what was measured", function()
  local path = package.path
  setup(function() package.path = "bench/?.lua;" .. path end)
  teardown(function() package.path = path end)

  it("is drawn as bars, the best on top, with both ratios", function()
    local page, pictures = require "bars".page {
      {id = "switch", title = "task switch", unit = "ns", columns = {},
        {"<other>", 500.0, to_c = 10, to_best = 1},
        {"lull", 80.0, ours = true, to_c = 1.6, to_best = 0.16},
        {"C", 50.0, c = true, to_c = 1, to_best = 0.1}},
      {id = "spawn", title = "nobody has it", unit = "ns", columns = {}},
    }
    assert.same({"![tasks and timers](performance/tasks.svg)", [[
| task switch | ns | × C | × best peer |
|---|--:|--:|--:|
| C | 50.0 | 1.00 | 0.10 |
| **lull** | 80.0 | 1.60 | 0.16 |
| <other> | 500 | 10.0 | 1.00 |]]}, page)
    assert.matches("^<svg .*>C<.*=\"bold\">lull<.*>&lt;other&gt;<.*</svg>\n$",
                   pictures.tasks)
  end)

  it("is drawn as curves, with the ratio to the reference", function()
    local page, pictures = require "curves".page {
      {id = "timers", title = "timers", c = "C", points = {10, 100}, note1 = "no more",
        {title = "start", unit = "ns", lull = {2.0, 4.0}, c = {1.0, false}}},
    }
    assert.same({"![timers](performance/scale-timers.svg)", [[
| timers: lull (× C) | 10¹ | 10² |
| --- | --: | --: |
| start, ns | 2.00 (2.00) | 4.00 |]], "no more."}, page)
    assert.matches("^<svg .*>start</text>.*</svg>\n$", pictures["scale-timers"])
  end)
end)
