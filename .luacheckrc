std = "lua54"
max_line_length = 90
exclude_files = {"build"}

-- lull replaces require, the interpreter sets lull.
files["lua"] = {globals = {"require"}}
files["examples"] = {read_globals = {"lull"}}
files["bench"] = {read_globals = {"lull"}}
files["spec"] = {std = "+busted", read_globals = {"lull"}}
files["meta"] = {only = {"0"}} -- declarations for editors
files["*.rockspec"] = {std = "+rockspec"}
