# How C is compiled: standard, warnings, sanitizers, and the few flags that differ between
# compilers and linkers.

set(CMAKE_C_STANDARD 11)
set(CMAKE_C_STANDARD_REQUIRED ON)
set(CMAKE_C_EXTENSIONS OFF)
set(CMAKE_C_VISIBILITY_PRESET hidden)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()
string(REPLACE -O3 -O2 CMAKE_C_FLAGS_RELEASE "${CMAKE_C_FLAGS_RELEASE}")

# A continuation has parameters that it does not need, hence -Wno-unused-parameter.
add_compile_options(-Wall -Wextra -Wpedantic -Wno-unused-parameter -Wshadow -Wundef -Wvla
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wpointer-arith
  -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough)
if(LULL_WERROR)
  add_compile_options(-Werror)
endif()

# What is public may be called directly, and inlined, inside the library itself.
check_c_compiler_flag(-fno-semantic-interposition HAVE_NO_INTERPOSITION)
if(HAVE_NO_INTERPOSITION)
  add_compile_options(-fno-semantic-interposition)
endif()

# Empty, as in the files that define it themselves.
add_compile_definitions(_GNU_SOURCE=)
if(LULL_STRESS)
  add_compile_definitions(LULL_STRESS=1)
endif()

if(LULL_SANITIZE)
  add_compile_options(-fsanitize=${LULL_SANITIZE} -fno-sanitize-recover=all
                      -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${LULL_SANITIZE})
endif()

if(LULL_LTO AND CMAKE_BUILD_TYPE STREQUAL Release AND NOT LULL_SANITIZE)
  include(CheckIPOSupported)
  check_ipo_supported(RESULT works OUTPUT reason LANGUAGES C)
  set(CMAKE_INTERPROCEDURAL_OPTIMIZATION ${works})
  if(NOT works)
    message(STATUS "No optimisation across files: ${reason}")
  elseif(CMAKE_C_COMPILER_ID STREQUAL GNU)
    # Machine code beside the intermediate code: liblull.a serves any linker.
    set(CMAKE_C_COMPILE_OPTIONS_IPO -flto=auto -ffat-lto-objects)
  endif()
endif()

# Optional libraries are found at configure time, and needed only if something calls them.
if(NOT APPLE)
  add_link_options(-Wl,--as-needed)
  set(LULL_SHARED_OPTIONS -Wl,-Bsymbolic-functions)
  if(NOT LULL_SANITIZE)
    list(APPEND LULL_SHARED_OPTIONS -Wl,--no-undefined)
  endif()
endif()

# Exports the named functions of a target and nothing else.
function(lull_export_only target)
  set(list ${PROJECT_BINARY_DIR}/${target}.exports)
  if(APPLE)
    list(TRANSFORM ARGN PREPEND _)
    list(JOIN ARGN "\n" names)
    file(CONFIGURE OUTPUT ${list} CONTENT "@names@\n")
    target_link_options(${target} PRIVATE -Wl,-exported_symbols_list,${list}
                        -undefined dynamic_lookup)
  else()
    list(JOIN ARGN "; " names)
    file(CONFIGURE OUTPUT ${list} CONTENT "{ global: @names@; local: *; };\n" @ONLY)
    target_link_options(${target} PRIVATE -Wl,--version-script,${list})
  endif()
endfunction()
