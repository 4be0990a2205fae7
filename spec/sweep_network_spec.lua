-- Network, in every order, cancelled anywhere: see spec/sweep/network.lua.
local check = require "spec.sweep.check"

check("network", {at_least = 10000})
