/* Iterators over what is read.  Upvalue 2 is the object, 3 the number of formats, behind
   it they are. */
#include "lines.h"

#include <string.h>

enum { FORMATS = 250 }; /* a function has no more than 255 upvalues */

int lull_push_lines(lua_State *L, lua_CFunction next)
{
    int n = lua_gettop(L) - 1;
    luaL_argcheck(L, n <= FORMATS, FORMATS + 2, "too many formats");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_pushinteger(L, n);
    lua_insert(L, 3);
    lua_pushcclosure(L, next, n + 3);
    return 1;
}

void lull_begin_lines(lua_State *L, int room)
{
    int n = (int)lua_tointeger(L, lua_upvalueindex(3));
    lua_settop(L, 0);
    luaL_checkstack(L, n + 1 + room, "too many formats");
    lua_pushvalue(L, lua_upvalueindex(2));
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, lua_upvalueindex(4 + i));
}

int lull_end_lines(lua_State *L, int n)
{
    if (n != 3 || !lua_isnil(L, -3) || lua_type(L, -2) != LUA_TSTRING)
        return n;
    if (strcmp(lua_tostring(L, -1), "ECANCELED") == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushvalue(L, -2);
    return lua_error(L);
}
