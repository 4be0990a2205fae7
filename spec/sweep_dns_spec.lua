-- Names and datagrams, in every order, cancelled anywhere: see spec/sweep/dns.lua.
local check = require "spec.sweep.check"

check("dns")
