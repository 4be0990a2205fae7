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

set(LULL_SYSTEM m ${CMAKE_DL_LIBS}) # what to link
set(LULL_PACKAGES "") # the packages, each after its name: for those who link us

option(LULL_LOAD "Load OpenSSL, c-ares, ... when first needed instead of linking them" ON)

# The name by which the dynamic linker knows the library of a package; empty: none.
function(shared_name out name)
  set(${out} "" PARENT_SCOPE)
  if(NOT LULL_LOAD OR APPLE OR NOT CMAKE_OBJDUMP)
    return()
  endif()
  list(GET ${name}_LINK_LIBRARIES 0 file)
  execute_process(COMMAND ${CMAKE_OBJDUMP} -p ${file} OUTPUT_VARIABLE text ERROR_QUIET)
  if(text MATCHES "SONAME +([^\n ]+)")
    set(${out} ${CMAKE_MATCH_1} PARENT_SCOPE)
  endif()
endfunction()

# Found, it is LULL_HAVE_<name>; and where it is to be loaded when needed, LULL_LOAD_<name>
# is its file (src/library.h).  Else it goes to the list of what to link, from which
# the linker drops what nobody calls.
function(optional name package purpose list)
  pkg_check_modules(${name} QUIET IMPORTED_TARGET GLOBAL ${package})
  if(NOT ${name}_FOUND)
    message(STATUS "No ${package}: lull does without ${purpose}")
    return()
  endif()
  add_compile_definitions(LULL_HAVE_${name})
  if("LOAD" IN_LIST ARGN)
    shared_name(file ${name})
  endif()
  if(file)
    add_compile_definitions(LULL_LOAD_${name}="${file}")
    include_directories(SYSTEM ${${name}_INCLUDE_DIRS})
    return()
  endif()
  set(${list} ${${list}} PkgConfig::${name} PARENT_SCOPE)
  if("${list}" STREQUAL "LULL_SYSTEM")
    set(LULL_PACKAGES ${LULL_PACKAGES} ${name} ${package} PARENT_SCOPE)
  endif()
endfunction()

optional(CARES libcares "a resolver on the loop" LULL_SYSTEM LOAD)
optional(OPENSSL openssl>=3 "TLS" LULL_SYSTEM LOAD)
optional(URING liburing>=2.3 "the io_uring selector" LULL_SYSTEM LOAD)
optional(LIBEDIT libedit "line editing at the prompt" LULL_EDIT LOAD)
