-- Primitives, in every order, cancelled anywhere: see spec/sweep/primitives.lua.
local check = require "spec.sweep.check"

check("primitives", {at_least = 10000})
