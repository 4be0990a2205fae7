# What lull stands on: Lua 5.4 (must be there) and system libraries, most of them optional.
# Leaves the targets Lua::headers, Lua::shared, Lua::static and Lua::whole, the system
# libraries in LULL_SYSTEM, and the line editor of the program in LULL_EDIT.

set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)

# ---- Lua -----------------------------------------------------------------------------

foreach(package lua5.4 lua-5.4 lua54 lua)
  pkg_check_modules(LUA QUIET IMPORTED_TARGET ${package}>=5.4.3)
  if(LUA_FOUND AND LUA_VERSION VERSION_LESS 5.5)
    set(LULL_LUA_PACKAGE ${package})
    break()
  endif()
endforeach()
if(NOT LULL_LUA_PACKAGE)
  message(FATAL_ERROR "Lua 5.4 (5.4.3 or later) not found; on Debian: liblua5.4-dev")
endif()
message(STATUS "Lua ${LUA_VERSION} (${LULL_LUA_PACKAGE})")

add_library(Lua::headers INTERFACE IMPORTED)
target_include_directories(Lua::headers INTERFACE ${LUA_INCLUDE_DIRS})
add_library(Lua::shared ALIAS PkgConfig::LUA)

# The archive stands beside the shared library; without one the programs link the latter.
find_library(LUA_ARCHIVE NAMES lib${LULL_LUA_PACKAGE}.a liblua5.4.a liblua.a
             HINTS ${LUA_LIBDIR})
add_library(Lua::static INTERFACE IMPORTED)
add_library(Lua::whole INTERFACE IMPORTED)
foreach(target Lua::static Lua::whole)
  target_link_libraries(${target} INTERFACE Lua::headers)
endforeach()
if(LUA_ARCHIVE)
  target_link_libraries(Lua::static INTERFACE ${LUA_ARCHIVE} m ${CMAKE_DL_LIBS})
  target_link_libraries(Lua::whole INTERFACE
    $<LINK_LIBRARY:WHOLE_ARCHIVE,${LUA_ARCHIVE}> m ${CMAKE_DL_LIBS})
else()
  message(STATUS "No static Lua library: programs will need the shared one")
  target_link_libraries(Lua::static INTERFACE Lua::shared)
  target_link_libraries(Lua::whole INTERFACE Lua::shared)
endif()

# ---- system --------------------------------------------------------------------------

set(LULL_SYSTEM m)    # what to link
set(LULL_PACKAGES "") # the packages, each after its name: for those who link us

# Found, it is LULL_HAVE_<name>; what nobody calls the linker drops.
function(optional name package purpose)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${package})
  if(NOT ${name}_FOUND)
    message(STATUS "No ${package}: lull does without ${purpose}")
    return()
  endif()
  add_compile_definitions(LULL_HAVE_${name})
  set(LULL_SYSTEM ${LULL_SYSTEM} PkgConfig::${name} PARENT_SCOPE)
  set(LULL_PACKAGES ${LULL_PACKAGES} ${name} ${package} PARENT_SCOPE)
endfunction()

optional(CARES libcares "a resolver on the loop")
optional(OPENSSL openssl>=3 "TLS")
optional(URING liburing>=2.3 "the io_uring selector")

pkg_check_modules(LIBEDIT QUIET IMPORTED_TARGET libedit)
if(LIBEDIT_FOUND)
  add_compile_definitions(LULL_HAVE_LIBEDIT)
  set(LULL_EDIT PkgConfig::LIBEDIT) # for main.c alone
else()
  message(STATUS "No libedit: the prompt does without line editing")
endif()
