/* What a task waits for, in words: "read stream 7 (127.0.0.1:4000)".

   What waits is a function of C, which a script has called, or lull's own Lua, which a
   script has called in its turn: the call of the script gives the name, and of all these
   calls the first that is about something says what. */
#include "task.h"

#include <string.h>

enum { WORDS = 4, LONG = 64 }; /* arguments told of; characters of one */

/* ---- calls ------------------------------------------------------------------------- */

static bool is_ours(const lua_Debug *ar)
{
    return strncmp(ar->source, "@lull/", 6) == 0;
}

/* The level of the call that co waits in, as the script made it; -1: in none of C. */
static int find_call(lua_State *co)
{
    lua_Debug ar;
    int found = 0;
    if (!lua_getstack(co, 0, &ar) || !lua_getinfo(co, "S", &ar) || *ar.what != 'C')
        return -1;
    for (int level = 1; lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "S", &ar);
        if (is_ours(&ar))
            found = level;
        else if (*ar.what != 'C')
            break;
    }
    return found;
}

/* ---- names ------------------------------------------------------------------------- */

/* Pushes the name, or nil, under which the table on top has the value at i. */
static void push_key(lua_State *L, int i)
{
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        if (lua_rawequal(L, -1, i) && lua_type(L, -2) == LUA_TSTRING) {
            lua_pop(L, 1);
            return;
        }
    lua_pushnil(L);
}

/* Pushes the name that a module of lull's has for the function at i, "signal.wait" of
   lull.signal: for one that is all of a task, so that nobody called it anything. */
static void push_module_name(lua_State *L, int i)
{
    int top = lua_gettop(L);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    for (lua_pushnil(L); lua_next(L, top + 1); lua_settop(L, top + 2)) {
        const char *module = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";
        if (strncmp(module, "lull", 4) != 0 || !lua_istable(L, -1) ||
            strcmp(module, "lull.core") == 0)
            continue;
        push_key(L, i);
        if (lua_isnil(L, -1))
            continue;
        const char *name = module[4] ? module + 5 : module;
        lua_pushfstring(L, "%s.%s", name, lua_tostring(L, -1));
        lua_replace(L, top + 1);
        lua_settop(L, top + 1);
        return;
    }
    lua_settop(L, top);
    lua_pushnil(L);
}

/* Pushes the name of the call at a level, or nil: that of a method of the object on top,
   what its caller called it, or what a module of ours does.  A loop calls its iterator
   nothing. */
static void push_name(lua_State *L, lua_State *co, int level)
{
    lua_Debug ar;
    int object = lua_gettop(L);
    lua_getstack(co, level, &ar);
    lua_getinfo(co, "nf", &ar);
    lua_xmove(co, L, 1);
    bool called = ar.name != NULL && strcmp(ar.namewhat, "for iterator") != 0;
    bool methods = luaL_getmetafield(L, object, "__index") == LUA_TTABLE;
    if (methods)
        push_key(L, object + 1);
    if (!methods || lua_isnil(L, -1)) {
        if (called)
            lua_pushstring(L, ar.name);
        else
            push_module_name(L, object + 1);
    }
    lua_replace(L, object + 1);
    lua_settop(L, object + 1);
}

/* ---- what it is about -------------------------------------------------------------- */

/* Pushes argument n, from 1, of the call; false: it has no more that can be known.  What
   stands behind those of C functions is nobody's business. */
static bool push_argument(lua_State *L, lua_State *co, lua_Debug *ar, int n)
{
    bool in_c = *ar->what == 'C';
    int place = in_c || n <= ar->nparams ? n : ar->isvararg ? ar->nparams - n : 0;
    if ((in_c && n > 2) || place == 0 || lua_getlocal(co, ar, place) == NULL)
        return false;
    lua_xmove(co, L, 1);
    return true;
}

static bool is_word(lua_State *L, int i)
{
    size_t size;
    const char *text = lua_type(L, i) == LUA_TSTRING ? lua_tolstring(L, i, &size) : NULL;
    if (text == NULL)
        return lua_isinteger(L, i);
    for (size_t n = 0; n < size; n++)
        if (text[n] < ' ' || text[n] > '~')
            return false;
    return size > 0 && size <= LONG;
}

/* Replaces the string on top, argument 1, by all that are words: "127.0.0.1 80". */
static void add_words(lua_State *L, lua_State *co, lua_Debug *ar)
{
    for (int n = 2; n <= WORDS && push_argument(L, co, ar, n); n++) {
        if (!is_word(L, -1)) {
            lua_pop(L, 1);
            return;
        }
        const char *word = luaL_tolstring(L, -1, NULL);
        lua_pushfstring(L, "%s %s", lua_tostring(L, -3), word);
        lua_replace(L, -4);
        lua_pop(L, 2);
    }
}

/* Pushes argument 1 of the call at a level and what it is in words; else nothing. */
static bool push_subject(lua_State *L, struct runtime *rt, lua_State *co, int level)
{
    lua_Debug ar;
    lua_getstack(co, level, &ar);
    lua_getinfo(co, "Su", &ar);
    if (!push_argument(L, co, &ar, 1))
        return false;
    if (lull_test(L, rt, -1, LULL_TASK)) /* its tostring might come back to us */
        lull_pushlabel(L, -1);
    else if (luaL_getmetafield(L, -1, "__tostring") != LUA_TNIL) {
        lua_pop(L, 1);
        luaL_tolstring(L, -1, NULL);
    } else if (lua_type(L, -1) == LUA_TSTRING && is_word(L, -1)) {
        lua_pushvalue(L, -1);
        add_words(L, co, &ar);
    } else {
        lua_pop(L, 1);
        return false;
    }
    return true;
}

/* Pushes what is waited for in words, or "", and the object that it is.  A group inside of
   a call of ours is no more than how it waits, if there is something further in. */
static void find_subject(lua_State *L, struct runtime *rt, lua_State *co, int call)
{
    int top = lua_gettop(L);
    bool found = false;
    lua_pushliteral(L, "");
    lua_pushnil(L);
    for (int level = call; !found && level >= 0; level--, lua_settop(L, top + 2)) {
        if (!push_subject(L, rt, co, level))
            continue;
        found = level == call || lull_test(L, rt, top + 3, LULL_GROUP) == NULL;
        if (found || lua_isnil(L, top + 2)) {
            lua_replace(L, top + 1);
            lua_replace(L, top + 2);
        }
    }
}

void lull_pushcall(lua_State *L, struct runtime *rt, lua_State *co)
{
    int top = lua_gettop(L), call = find_call(co);
    if (call < 0) {
        lua_pushliteral(L, "");
        return;
    }
    find_subject(L, rt, co, call);
    const char *name = NULL, *subject = lua_tostring(L, top + 1);
    for (; call >= 0 && name == NULL; call--) {
        lua_settop(L, top + 2);
        push_name(L, co, call);
        name = lua_tostring(L, -1);
    }
    lua_pushfstring(L, "%s%s%s", name ? name : "next", *subject ? " " : "", subject);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

/* Pushes "worker.lua:12", the innermost line of the script, or nothing and false. */
bool lull_pushline(lua_State *L, lua_State *co)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Sl", &ar);
        if (ar.currentline < 0 || is_ours(&ar))
            continue;
        lua_pushfstring(L, "%s:%d", ar.short_src, ar.currentline);
        return true;
    }
    return false;
}
