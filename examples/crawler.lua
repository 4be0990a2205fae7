-- crawler.lua: workers explore a web, politely.
--
--   ./run examples/crawler.lua
--
-- A queue holds the pages to visit; four workers take from it and put in the links that
-- they find.  Three limits: workers at all, two visits at once per host, thirty pages.
-- When each page put in has been dealt with, join() returns, and the workers, daemons of
-- the group, are cancelled.  (The web is made up: a page links to three others.)

local lull = require "lull"

local WORKERS, PER_HOST, PAGES = 4, 2, 30

local function fetch(url)
  local n = tonumber(url:match("%d+$"))
  lull.sleep(0.1 + n % 5 / 10)
  if n % 11 == 10 then return nil, "EPROTO: no such page" end
  local links = {}
  for i = 1, 3 do
    local to = (3 * n + i) % 100
    links[i] = ("host%d/page%d"):format(to % 3, to)
  end
  return links
end

local queue, seen, count = lull.queue(), {}, 0
local hosts, busy, busiest = {}, {}, 0

local function add(url)
  if seen[url] or count == PAGES then return end
  seen[url], count = true, count + 1
  queue:put(url)
end

-- Fetches when fewer than PER_HOST do so from the same host.
local function visit(url)
  local host = url:match("^[^/]+")
  hosts[host] = hosts[host] or lull.semaphore(PER_HOST)
  local _ <close> = hosts[host]:acquire()
  busy[host] = (busy[host] or 0) + 1
  busiest = math.max(busiest, busy[host])
  local _ <close> = lull.defer(function() busy[host] = busy[host] - 1 end)
  return lull.timeout(1, fetch, url)
end

local visited, failed = 0, 0

local function worker()
  for url in queue:items() do
    local links, err = visit(url)
    if links then
      visited = visited + 1
      for _, link in ipairs(links) do add(link) end
    else
      failed = failed + 1
      print(url .. ": " .. err)
    end
    queue:task_done()
  end
end

local start = lull.now()
add("host0/page0")
lull.group(function(group)
  for _ = 1, WORKERS do group:spawn(worker):daemon() end
  queue:join()
end)
local seconds = lull.now() - start
print(("%d pages visited, %d failed, in %.1f s"):format(visited, failed, seconds))
print(("at most %d at once from one host"):format(busiest))
