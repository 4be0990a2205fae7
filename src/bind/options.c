/* Tables of options: a misspelt one is a mistake.  Those of functions in Lua are in
   lua/lull/arguments.lua. */
#include "bind.h"

#include <string.h>

static bool is_known(const char *const known[], const char *name)
{
    for (; name != NULL && *known != NULL; known++)
        if (strcmp(*known, name) == 0)
            return true;
    return false;
}

void lull_checkoptions(lua_State *L, int i, const char *function, const char *const known[])
{
    luaL_checktype(L, i, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : NULL;
        if (!is_known(known, name))
            luaL_error(L, "'%s': unknown option '%s'", function,
                       luaL_tolstring(L, -2, NULL));
    }
}
