/* Hooks are what stops scripts that compute too much, and Lua has them off in two places:
   in a message handler, when it was a hook that raised the error, and in what is left to
   be closed of a coroutine that such an error has killed.  A loop there would never end.

   So in a runtime that watches its scripts xpcall does not call a handler from a hook, and
   a coroutine dies of an error that has left the hook behind. */
#include "host.h"

enum { DEEP = 4 }; /* calls between a hook and the error that it raises, at most */

static bool in_hook(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; level < DEEP && lua_getstack(L, level, &ar); level++)
        if (lua_getinfo(L, "n", &ar) && strcmp(ar.namewhat, "hook") == 0)
            return true;
    return false;
}

/* handle (error) -> message; upvalue: the handler of the script */
static int handle(lua_State *L)
{
    if (in_hook(L))
        return 1;
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static int finish(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return lua_gettop(L);
}

/* xpcall (fn, handler, ...); upvalues: the runtime, Lua's own */
static int guarded_xpcall(lua_State *L)
{
    luaL_checktype(L, 2, LUA_TFUNCTION);
    lua_pushvalue(L, 2);
    lua_pushcclosure(L, handle, 1);
    lua_replace(L, 2);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_insert(L, 1);
    lua_callk(L, lua_gettop(L) - 1, LUA_MULTRET, 0, finish);
    return finish(L, LUA_OK, 0);
}

static int body_ended(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status != LUA_OK && status != LUA_YIELD)
        return lua_error(L);
    return lua_gettop(L) - 1;
}

/* The body of a coroutine; upvalues: the runtime, the function. */
static int body(lua_State *L)
{
    lua_pushcfunction(L, lull_handler);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_rotate(L, 1, 2);
    int n = lua_gettop(L) - 2;
    return body_ended(L, lua_pcallk(L, n, LUA_MULTRET, 1, 0, body_ended), 0);
}

/* create (fn), wrap (fn); upvalues: the runtime, what makes it */
static int guarded_create(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    lua_pushvalue(L, lua_upvalueindex(2));
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, body, 2);
    lua_call(L, 1, 1);
    return 1;
}

/* Replaces the function `name` of the table on top by f, if there is one. */
static void guard(lua_State *L, const char *name, lua_CFunction f)
{
    if (lua_getfield(L, -1, name) == LUA_TFUNCTION) {
        lull_pushruntime(L);
        lua_insert(L, -2);
        lua_pushcclosure(L, f, 2);
        lua_setfield(L, -2, name);
    } else
        lua_pop(L, 1);
}

void lull_guard(lua_State *L)
{
    int top = lua_gettop(L);
    lua_pushglobaltable(L);
    guard(L, "xpcall", guarded_xpcall);
    if (lua_getfield(L, -1, LUA_COLIBNAME) == LUA_TTABLE) {
        guard(L, "create", guarded_create);
        guard(L, "wrap", guarded_create);
    }
    lua_settop(L, top);
}
