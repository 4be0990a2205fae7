/* Why a suspending call cannot suspend here, told in one line: "script.lua:3: cannot
   suspend inside table.sort".  Only reached to raise that error, so nothing is hurried. */
#include "task.h"

#include <string.h>

/* Replaces the function at i by "module.name" if that module of package.loaded has it. */
static bool find_name(lua_State *L, int i, const char *module)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (lua_getfield(L, -1, module) == LUA_TTABLE) {
        for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
            if (!lua_rawequal(L, -1, i) || lua_type(L, -2) != LUA_TSTRING)
                continue;
            bool global = strcmp(module, LUA_GNAME) == 0;
            lua_pushfstring(L, "%s%s%s", global ? "" : module, global ? "" : ".",
                            lua_tostring(L, -2));
            lua_replace(L, i);
            lua_settop(L, i);
            return true;
        }
    }
    lua_settop(L, i);
    return false;
}

/* Replaces the function on top by the name under which the script knows it; of a library
   of Lua, for others may have it too. */
static void push_function_name(lua_State *L, const char *known)
{
    static const char *const modules[] = {LUA_GNAME, LUA_TABLIBNAME, LUA_STRLIBNAME,
                                          LUA_COLIBNAME, LUA_IOLIBNAME, LUA_OSLIBNAME,
                                          LUA_DBLIBNAME, LUA_UTF8LIBNAME, LUA_MATHLIBNAME};
    int function = lua_gettop(L);
    for (size_t i = 0; i < sizeof modules / sizeof *modules; i++)
        if (find_name(L, function, modules[i]))
            return;
    lua_pushstring(L, known ? known : "a C function");
    lua_replace(L, function);
}

/* Does the C function on top let its callers suspend?  Ours do, and Lua's pcalls. */
static bool is_transparent(lua_State *L, struct runtime *rt)
{
    lua_CFunction f = lua_tocfunction(L, -1);
    bool transparent = f == rt->pcall || f == rt->xpcall;
    if (!transparent && lua_getupvalue(L, -1, 1) != NULL) {
        transparent = lua_touserdata(L, -1) == rt;
        lua_pop(L, 1);
    }
    return transparent;
}

/* Pushes the name of what forbids to suspend in L, where a task runs. */
static void push_obstacle(lua_State *L, struct runtime *rt)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Snf", &ar);
        if (ar.name && strcmp(ar.name, "__gc") == 0) {
            lua_pushliteral(L, "__gc");
            return;
        }
        if (ar.namewhat && strcmp(ar.namewhat, "hook") == 0) {
            lua_pushliteral(L, "a hook");
            return;
        }
        if (*ar.what == 'C' && !is_transparent(L, rt)) {
            push_function_name(L, ar.name);
            if (strcmp(lua_tostring(L, -1), "error") != 0)
                return;
            break; /* it has called a message handler */
        }
        lua_pop(L, 1);
    }
    lua_pushliteral(L, "a message handler");
}

static void push_reason(lua_State *L, struct runtime *rt)
{
    if (rt->task == NULL)
        lua_pushliteral(L, "outside of a task");
    else if (rt->closing == L)
        lua_pushliteral(L, "inside coroutine.close");
    else if (rt->running == L) {
        push_obstacle(L, rt);
        lua_pushfstring(L, "inside %s", lua_tostring(L, -1));
    } else if (rt->running == NULL)
        lua_pushliteral(L, "in a coroutine resumed where Lua cannot yield");
    else
        lua_pushliteral(L, "in a coroutine that foreign code resumed");
}

/* Pushes "script.lua:3: " of the innermost line of the script. */
static void push_where(lua_State *L)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "@lull/", 6) != 0) {
            lua_pushfstring(L, "%s:%d: ", ar.short_src, ar.currentline);
            return;
        }
    }
    lua_pushliteral(L, "");
}

int lull_refuse(lua_State *L, struct runtime *rt)
{
    luaL_checkstack(L, 16, NULL);
    push_where(L);
    const char *where = lua_tostring(L, -1);
    push_reason(L, rt);
    lua_pushfstring(L, "%scannot suspend %s", where, lua_tostring(L, -1));
    return lua_error(L);
}
