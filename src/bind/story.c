/* What can be told of a task: where it stands, across nested coroutines, what it waits
   for, and which line spawned it.  The bottom of its stack knows (see task.c). */
#include "task.h"

#include <string.h>

/* Pushes value `place` of the bottom of base, a task's outermost coroutine, or nil. */
static void push_bottom(lua_State *L, lua_State *base, int place)
{
    lua_Debug ar;
    int level = 0;
    while (lua_getstack(base, level, &ar))
        level++;
    if (level > 0) {
        lua_getstack(base, level - 1, &ar);
        lua_getlocal(base, &ar, place);
    } else if (lua_gettop(base) > place) /* not begun: its function stands below */
        lua_pushvalue(base, place + 1);
    else
        lua_pushnil(base);
    if (base != L)
        lua_xmove(base, L, 1);
}

void lull_pushtask(lua_State *L, struct runtime *rt, struct task *t)
{
    push_bottom(L, lull_base_of(rt, t), LULL_AT_TASK);
}

void lull_pushtask_of(lua_State *L, lua_State *base)
{
    push_bottom(L, base, LULL_AT_TASK);
}

/* Appends the traceback of co to the string on top of L. */
static void append_trace(lua_State *L, lua_State *co)
{
    lua_pushliteral(L, "\n");
    luaL_traceback(L, co, NULL, co == L ? 1 : 0);
    lua_concat(L, 3);
}

void lull_append_site(lua_State *L, lua_State *base)
{
    lua_Debug ar;
    push_bottom(L, base, LULL_AT_LINE);
    int line = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    push_bottom(L, base, LULL_AT_SITE);
    if (!lua_isfunction(L, -1) || line < 0) {
        lua_pop(L, 1);
        return;
    }
    lua_getinfo(L, ">S", &ar);
    lua_pushfstring(L, "\n\tspawned at %s:%d", ar.short_src, line);
    lua_concat(L, 2);
}

void lull_pushstack(lua_State *L, struct task *t)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_State *base = lull_base_of(rt, t), *co = t->co;
    luaL_checkstack(L, 16, NULL);
    luaL_checkstack(base, 4, NULL);
    lua_pushliteral(L, "");
    if (t == rt->task) {
        append_trace(L, rt->running ? rt->running : L);
        co = rt->outer;
    }
    for (; co != NULL; co = co == base ? NULL : lull_link_of(co))
        append_trace(L, co);
    lull_append_site(L, base);
    lua_pushstring(L, lua_tostring(L, -1) + 1);
    lua_replace(L, -3);
    lua_pop(L, 1);
}

void lull_pushlabel(lua_State *L, int i)
{
    struct task *t = lua_touserdata(L, i);
    if (lull_hasextra(L, i)) {
        if (lua_getfield(L, -1, "name") == LUA_TSTRING) {
            lua_pushfstring(L, "task %d \"%s\"", (int)t->id, lua_tostring(L, -1));
            lua_replace(L, -3);
            lua_pop(L, 1);
            return;
        }
        lua_pop(L, 2);
    }
    lua_pushfstring(L, "task %d", (int)t->id);
}

/* Appends to b the call that co waits in: "read stream 7 (127.0.0.1:4000)". */
static void add_call(lua_State *L, struct runtime *rt, lua_State *co, luaL_Buffer *b)
{
    lua_Debug ar;
    if (!lua_getstack(co, 0, &ar) || !lua_getinfo(co, "nS", &ar) || *ar.what != 'C')
        return;
    luaL_addstring(b, ar.name ? ar.name : "waiting");
    if (lua_getlocal(co, &ar, 1) == NULL)
        return;
    lua_xmove(co, L, 1);
    if (lull_test(L, rt, -1, LULL_TASK)) { /* its tostring might come back to us */
        luaL_addchar(b, ' ');
        lull_pushlabel(L, -1);
        lua_replace(L, -2);
        luaL_addvalue(b);
    } else if (lua_type(L, -1) == LUA_TUSERDATA) {
        luaL_tolstring(L, -1, NULL);
        lua_pushfstring(L, " %s", lua_tostring(L, -1));
        lua_replace(L, -3);
        lua_pop(L, 1);
        luaL_addvalue(b);
    } else
        lua_pop(L, 1);
}

/* Appends ", worker.lua:12": the innermost line of the script. */
static void add_line(lua_State *L, lua_State *co, luaL_Buffer *b)
{
    lua_Debug ar;
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Sl", &ar);
        if (ar.currentline < 0 || strncmp(ar.source, "@lull/", 6) == 0)
            continue;
        lua_pushfstring(L, ", %s:%d", ar.short_src, ar.currentline);
        luaL_addvalue(b);
        return;
    }
}

void lull_pushstate(lua_State *L, struct runtime *rt, struct task *t)
{
    static const char *const ends[] = {"", "cancelled", "finished", "failed"};
    if (t->co == NULL || t->future.state != 0)
        lua_pushstring(L, ends[t->future.state]);
    else if (t == rt->task)
        lua_pushliteral(L, "running");
    else if (t->waiter.status != LULL_PENDING)
        lua_pushliteral(L, "ready");
    else {
        luaL_Buffer b;
        luaL_checkstack(t->co, 4, NULL);
        luaL_buffinit(L, &b);
        luaL_addstring(&b, "waiting: ");
        add_call(L, rt, t->co, &b);
        add_line(L, t->co, &b);
        luaL_pushresult(&b);
    }
}
