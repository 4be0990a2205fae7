# Writes the Lua half of lull as C: the table lull_modules of bind.h, so that the binary
# runs alone.  Run as: cmake -D OUT=modules.c -D ROOT=lua -D FILES="a.lua;b.lua" -P embed.cmake

set(bytes "")
set(table "")
set(count 0)
foreach(path IN LISTS FILES)
  file(RELATIVE_PATH file ${ROOT} ${path})
  string(REGEX REPLACE "(/init)?[.]lua$" "" name ${file})
  string(REPLACE / . name ${name})

  file(READ ${path} hex HEX)
  string(REGEX REPLACE "(..)" "0x\\1," hex "${hex}")
  string(REPEAT "....." 16 line)
  string(REGEX REPLACE "(${line})" "\\1\n    " hex "${hex}")

  string(APPEND bytes "/* ${file} */\nstatic const unsigned char code${count}[] = {\n    ${hex}0};\n\n")
  string(APPEND table "    {\"${name}\", \"${file}\", (const char *)code${count}, sizeof code${count} - 1},\n")
  math(EXPR count "${count} + 1")
endforeach()

file(WRITE ${OUT} "/* Generated from lua/ by cmake/embed.cmake. */
#include \"bind.h\"

${bytes}const struct lull_module lull_modules[] = {
${table}    {NULL, NULL, NULL, 0},
};
")
