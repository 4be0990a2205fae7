/* What a module keeps for the whole state, beside what its objects keep: a piece of
   memory that is made when the module is opened, before any loop is.  So lua_close, which
   ends the youngest first, ends it after the loops. */
#ifndef LULL_ROOM_H
#define LULL_ROOM_H

#include "bind.h"

/* Makes the room under a key, zeroed; gc is called with it as its argument 1. */
void *lull_make_room(lua_State *L, const void *key, size_t size, lua_CFunction gc);

/* The room under a key. */
void *lull_room(lua_State *L, const void *key);

#endif
