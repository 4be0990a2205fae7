# Compiles lua/ with the Lua that lull is built with: a program that starts has nothing to
# parse, and loads a module in a fifth of the time.  All of Lua 5.4 has one virtual machine.
# Leaves the files in `modules`, below `root`.  Who builds for another machine embeds text.

set(root ${PROJECT_SOURCE_DIR}/lua)
if(CMAKE_CROSSCOMPILING)
  return()
endif()

add_executable(precompile cmake/precompile.c)
target_link_libraries(precompile PRIVATE Lua::static)
set_target_properties(precompile PROPERTIES RUNTIME_OUTPUT_DIRECTORY cmake)

set(sources ${modules})
set(modules "")
foreach(source IN LISTS sources)
  file(RELATIVE_PATH name ${root} ${source})
  set(compiled ${PROJECT_BINARY_DIR}/lua/${name})
  get_filename_component(directory ${compiled} DIRECTORY)
  file(MAKE_DIRECTORY ${directory})
  add_custom_command(OUTPUT ${compiled}
    COMMAND precompile ${source} ${compiled} ${name}
    DEPENDS ${source} precompile COMMENT "" VERBATIM)
  list(APPEND modules ${compiled})
endforeach()
set(root ${PROJECT_BINARY_DIR}/lua)
