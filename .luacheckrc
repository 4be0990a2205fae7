std = "lua54"
max_line_length = 90
exclude_files = {"build"}

-- The interpreter sets lull; in lua/ it is the module itself that is being made.
files["examples"] = {read_globals = {"lull"}}
files["bench"] = {read_globals = {"lull"}}
files["spec"] = {std = "+busted", read_globals = {"lull"}}
