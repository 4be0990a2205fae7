-- TLS, in every order, cancelled anywhere: see spec/sweep/tls.lua.
local check = require "spec.sweep.check"

check("tls", {seeds = 100})
