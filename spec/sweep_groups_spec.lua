-- Groups, in every order, cancelled anywhere: see spec/sweep/groups.lua.
local check = require "spec.sweep.check"

check("groups")
