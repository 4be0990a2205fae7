-- The micro rows with cqueues.  lua5.4 micro_cqueues.lua ROW N

local cqueues = require "cqueues"
local promise = require "cqueues.promise"

local RING <const> = 100
local rows = {}
local loop = cqueues.new()

function rows.switch(n)
  for _ = 1, RING do
    loop:wrap(function()
      for _ = 1, n // RING do cqueues.sleep(0) end
    end)
  end
end

function rows.spawn(n)
  local function body() end
  loop:wrap(function()
    for _ = 1, n // RING do
      for _ = 1, RING do loop:wrap(body) end
      cqueues.sleep(0)
    end
  end)
end

function rows.trip(n)
  local box
  loop:wrap(function()
    for _ = 1, n do
      box = promise.new()
      box:get()
    end
  end)
  loop:wrap(function()
    for i = 1, n do
      while not box do cqueues.sleep(0) end
      local asked = box
      asked:set(true, i)
      while box == asked and i < n do cqueues.sleep(0) end
    end
  end)
end

local function resident()
  for line in io.lines "/proc/self/smaps_rollup" do
    local kib = line:match "^Rss:%s*(%d+) kB"
    if kib then return tonumber(kib) * 1024 end
  end
end

function rows.sleepers(n)
  loop:wrap(function()
    local function body() cqueues.sleep(1e6) end
    collectgarbage()
    local before = resident()
    for _ = 1, n do loop:wrap(body) end
    cqueues.sleep(0)
    collectgarbage()
    print(("row=sleepers bytes=%.1f"):format((resident() - before) / n))
    os.exit(0)
  end)
end

function rows.million(n)
  loop:wrap(function()
    dofile "bench/million.lua" (n, { now = cqueues.monotime, sleep = cqueues.sleep,
      spawn = function(fn) loop:wrap(fn) end, resident = resident })
  end)
end

local row, n = arg[1], tonumber(arg[2])
local began = os.clock()
rows[row](n)
assert(loop:loop())
print(("row=%s ns=%.3f"):format(row, (os.clock() - began) / n * 1e9))
