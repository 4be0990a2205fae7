-- queue.lua: producers and consumers who know nothing of each other.
--
--   ./run examples/queue.lua
--
-- Producers put items at random moments, consumers take them at random moments.  When the
-- producers have ended and each item is done with, nobody needs the consumers any more:
-- as daemons of the group they are cancelled when its body has ended.

local lull = require "lull"

math.randomseed(444)

local function produce(name, queue)
  for i = 1, math.random(1, 4) do
    lull.sleep(math.random(0, 5))
    queue:put {name = name .. "-" .. i, made = lull.now()}
    print(("producer %s put %s-%d"):format(name, name, i))
  end
end

local function consume(name, queue)
  while true do
    lull.sleep(math.random(0, 5))
    local item = queue:get()
    print(("consumer %s took %s, which had waited %.0f s"):format(
      name, item.name, lull.now() - item.made))
    queue:task_done()
  end
end

local queue = lull.queue()
lull.group(function(group)
  for _, name in ipairs {"x", "y"} do
    group:spawn(consume, name, queue):daemon()
  end
  lull.gather(
    function() produce("a", queue) end,
    function() produce("b", queue) end,
    function() produce("c", queue) end)
  print "the producers have ended"
  queue:join()
end)
print "each item was taken"
