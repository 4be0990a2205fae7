-- Threads, in every order, cancelled anywhere: see spec/sweep/threads.lua.
local check = require "spec.sweep.check"

check("threads")
