/* Rooms are held userdata with a finalizer of their own. */
#include "room.h"

#include <string.h>

void *lull_make_room(lua_State *L, const void *key, size_t size, lua_CFunction gc)
{
    void *room = memset(lua_newuserdatauv(L, size, 0), 0, size);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lull_hold(L, key);
    return room;
}

void *lull_room(lua_State *L, const void *key)
{
    lull_pushheld(L, key);
    void *room = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return room;
}
