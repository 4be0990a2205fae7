# The programs that try lull: specs in C, the probe that opens the core to specs in Lua,
# the hand-written references of the benchmarks, the examples of embedding.

# Some programs measure a library that lull itself does not use.
pkg_check_modules(UV QUIET IMPORTED_TARGET libuv)
pkg_check_modules(GLIB QUIET IMPORTED_TARGET glib-2.0)
pkg_check_modules(SSL QUIET IMPORTED_TARGET libssl libcrypto)

# Every C file of a directory becomes a program in the same place of the build tree; those
# called *_uring, *_uv, *_tls and glib where there is that library.
function(programs directory)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "EXCEPT" "LINK;OPTIONS")
  file(GLOB sources CONFIGURE_DEPENDS ${directory}/*.c)
  foreach(source IN LISTS sources)
    get_filename_component(name ${source} NAME_WE)
    if(name STREQUAL "${arg_EXCEPT}" OR (name MATCHES _uring$ AND NOT URING_FOUND)
       OR (name MATCHES _uv$ AND NOT UV_FOUND) OR (name STREQUAL glib AND NOT GLIB_FOUND)
       OR (name MATCHES _tls$ AND NOT SSL_FOUND))
      continue()
    endif()
    string(MAKE_C_IDENTIFIER ${directory}_${name} target)
    add_executable(${target} ${source})
    set_target_properties(${target} PROPERTIES OUTPUT_NAME ${name}
                          RUNTIME_OUTPUT_DIRECTORY ${directory})
    target_compile_options(${target} PRIVATE ${arg_OPTIONS})
    target_link_libraries(${target} PRIVATE ${arg_LINK} Threads::Threads)
    if(name MATCHES _uring$)
      target_link_libraries(${target} PRIVATE PkgConfig::URING)
    elseif(name MATCHES _uv$)
      target_link_libraries(${target} PRIVATE PkgConfig::UV)
    elseif(name MATCHES _tls$)
      target_link_libraries(${target} PRIVATE PkgConfig::SSL)
    elseif(name STREQUAL glib)
      target_link_libraries(${target} PRIVATE PkgConfig::GLIB)
    endif()
  endforeach()
endfunction()

programs(spec LINK lull_static Lua::static EXCEPT probe)
programs(examples/embed LINK lull_static Lua::static)
programs(bench LINK lull_static Lua::static OPTIONS -O2)

# The probe has a core of its own, whose insides it may see.  It stays in memory, so that
# the leak checker can name its functions.
file(GLOB probe CONFIGURE_DEPENDS spec/probe.c spec/probe/*.c)
add_library(probe MODULE ${probe} $<TARGET_OBJECTS:core>)
set_target_properties(probe PROPERTIES PREFIX "" SUFFIX .so LIBRARY_OUTPUT_DIRECTORY spec)
target_include_directories(probe PRIVATE include src)
target_link_libraries(probe PRIVATE Lua::headers Threads::Threads ${LULL_SYSTEM})
lull_export_only(probe luaopen_probe)
if(NOT APPLE)
  target_link_options(probe PRIVATE -Wl,-z,nodelete)
endif()
