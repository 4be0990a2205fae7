-- Files, in every order, cancelled anywhere: see spec/sweep/files.lua.
local check = require "spec.sweep.check"

check("files", {seeds = 40})
