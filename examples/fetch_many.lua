-- fetch_many.lua: thirty pages are fetched, five at a time; one of them is not there.
--
--   ./run examples/fetch_many.lua
--
-- Each fetch is a task; a semaphore holds back those beyond the fifth.  as_completed()
-- gives the tasks as they end, and await() then returns the page or raises the failure:
-- one that fails does not concern the others.

local lull = require "lull"
local net = require "lull.net"

local PAGES, BOUND = 30, 5

-- A server that takes its time, and hangs up on whoever asks for page 13.
local listener <close> = assert(net.listen("127.0.0.1", 0))
local host, port = listener:local_address()
lull.spawn(listener.serve, listener, function(stream)
  local page = assert(stream:read("n"))
  lull.sleep(0.1 + page % 7 / 100)
  if page ~= 13 then stream:write("this is page ", page) end
end):daemon()

local gate, now, most = lull.semaphore(BOUND), 0, 0

local function fetch(page)
  local _ <close> = gate:acquire()
  now = now + 1
  most = math.max(most, now)
  local _ <close> = lull.defer(function() now = now - 1 end)
  local stream <close> = assert(net.connect(host, port))
  assert(stream:write(page, "\n"))
  local text = assert(stream:read("a"))
  if text == "" then error(("page %d: no answer"):format(page), 0) end
  return text
end

local tasks = {}
for page = 1, PAGES do tasks[page] = lull.spawn(fetch, page) end

local fetched = 0
for task in lull.as_completed(tasks) do
  local ok, text = lull.pcall(task.await, task)
  if ok then
    fetched = fetched + 1
  else
    print("failed: " .. text)
  end
end
print(("%d of %d pages fetched, at most %d at once"):format(fetched, PAGES, most))
