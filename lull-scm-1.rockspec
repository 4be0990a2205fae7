-- The module for a stock Lua 5.4: luarocks make
rockspec_format = "3.0"
package = "lull"
version = "scm-1"
description = {
  summary = "An asynchronous runtime for Lua 5.4",
  detailed = [[
    Tasks, futures, scopes and sockets on an event loop in C: you write plain, direct Lua,
    and while one task waits the others run.]],
  license = "MIT",
}
supported_platforms = {"unix"}
dependencies = {"lua >= 5.4, < 5.5"}
external_dependencies = {}
source = {url = "git+file://."}
build = {
  type = "cmake",
  variables = {
    CMAKE_BUILD_TYPE = "Release",
    CMAKE_INSTALL_PREFIX = "$(PREFIX)",
    LULL_MODULE_ONLY = "ON",
    LULL_LUA_CMOD = "$(LIBDIR)",
  },
}
