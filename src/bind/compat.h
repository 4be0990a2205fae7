/* What differs between Lua 5.4.3 and 5.4.8. */
#ifndef LULL_COMPAT_H
#define LULL_COMPAT_H

#include <lua.h>

/* Closes a coroutine with its pending <close> variables, which cannot suspend. */
static inline int lull_closethread(lua_State *co, lua_State *from)
{
#if LUA_VERSION_RELEASE_NUM >= 50406
    return lua_closethread(co, from);
#else
    (void)from;
    return lua_resetthread(co);
#endif
}

#endif
