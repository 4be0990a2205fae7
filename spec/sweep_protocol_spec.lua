-- Protocol, in every order, cancelled anywhere: see spec/sweep/protocol.lua.
local check = require "spec.sweep.check"

check("protocol")
