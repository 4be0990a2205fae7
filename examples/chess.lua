-- chess.lua: a chess master plays an exhibition against 24 amateurs.
--
--   ./run examples/chess.lua
--
-- She moves in 5 seconds, an opponent in 55, and a game has 30 pairs of moves.  Staying
-- at a board until its game has ended takes half a day; walking on while the opponent
-- thinks takes an hour.  Here both take no time: a loop with the virtual clock never
-- sleeps, it jumps to the next moment at which something happens.

local lull = require "lull"

local BOARDS, PAIRS, MASTER, OPPONENT = 24, 30, 5, 55

local function exhibition(play)
  local loop <close> = lull.new_loop {clock = "virtual"}
  return loop:run_until_complete(function()
    local start = lull.now()
    play()
    return (lull.now() - start) / 3600
  end)
end

-- The master can be at one board only.
local function game(master)
  for _ = 1, PAIRS do
    do
      local _ <close> = master:acquire()
      lull.sleep(MASTER)
    end
    lull.sleep(OPPONENT)
  end
end

local function one_by_one()
  local master = lull.lock()
  for _ = 1, BOARDS do game(master) end
end

local function all_at_once()
  local master = lull.lock()
  lull.group(function(group)
    for _ = 1, BOARDS do group:spawn(game, master) end
  end)
end

print(("board after board: %.1f hours"):format(exhibition(one_by_one)))
print(("all boards at once: %.1f hours"):format(exhibition(all_at_once)))
