/* Iterators over what is read, as file:lines and stream:lines give them. */
#ifndef LULL_LINES_H
#define LULL_LINES_H

#include "bind.h"

/* Makes an iterator of next, which has the runtime, for the object at 1 with the formats
   behind it, and pushes it. */
int lull_push_lines(lua_State *L, lua_CFunction next);

/* In next: puts the object at 1 and the formats behind it, as for a read; there is room
   for n values more. */
void lull_begin_lines(lua_State *L, int n);

/* The n results of a read: a failure is raised, but that its own object has been closed
   is just the end. */
int lull_end_lines(lua_State *L, int n);

#endif
