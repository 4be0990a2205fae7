-- Clock, in every order, cancelled anywhere: see spec/sweep/clock.lua.
local check = require "spec.sweep.check"

check("clock")
