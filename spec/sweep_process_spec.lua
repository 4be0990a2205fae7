-- Process, in every order, cancelled anywhere: see spec/sweep/process.lua.
local check = require "spec.sweep.check"

check("process")
