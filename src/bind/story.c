/* What can be told of a task: where it stands, across nested coroutines, what it waits
   for, and which line spawned it.  The bottom of its stack knows (see task.c). */
#include "task.h"

enum { ANCESTORS = 16 }; /* told of at most */

/* Pushes value `place` of the bottom of base, a task's outermost coroutine, or nil. */
static void push_bottom(lua_State *L, lua_State *base, int place)
{
    lua_Debug ar;
    int level = 0;
    while (lua_getstack(base, level, &ar))
        level++;
    if (level > 0) {
        lua_getstack(base, level - 1, &ar);
        if (lua_getlocal(base, &ar, place) == NULL)
            lua_pushnil(base);
    } else if (lua_gettop(base) > place) /* not begun: its function stands below */
        lua_pushvalue(base, place + 1);
    else
        lua_pushnil(base);
    if (base != L)
        lua_xmove(base, L, 1);
}

/* Room for a few values on top of co, which may not run.  One that was set aside by a
   hook stands in a function of Lua, whose top must stay: its collector would look at what
   is above, which is nothing.  There Lua keeps some room beyond. */
static void make_room(lua_State *co)
{
    lua_Debug ar;
    bool in_lua = lua_status(co) == LUA_YIELD && lua_getstack(co, 0, &ar) &&
                  lua_getinfo(co, "S", &ar) && *ar.what != 'C';
    if (!in_lua)
        luaL_checkstack(co, 4, NULL);
}

void lull_pushtask(lua_State *L, struct runtime *rt, struct task *t)
{
    if (t != rt->task || rt->ending == 0) {
        push_bottom(L, lull_base_of(rt, t), LULL_AT_TASK);
        return;
    }
    lua_pushvalue(rt->L, rt->ending);
    if (L != rt->L)
        lua_xmove(rt->L, L, 1);
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

/* Pushes "script.lua:12", where the task of base was spawned; false when nobody knows. */
static bool push_site(lua_State *L, lua_State *base)
{
    lua_Debug ar;
    push_bottom(L, base, LULL_AT_LINE);
    int line = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    push_bottom(L, base, LULL_AT_SITE);
    if (!lua_isfunction(L, -1) || line < 0) {
        lua_pop(L, 1);
        return false;
    }
    lua_getinfo(L, ">S", &ar);
    lua_pushfstring(L, "%s:%d", ar.short_src, line);
    return true;
}

/* Pushes the Task that spawned that of base, if it lives: its outermost coroutine. */
static lua_State *push_parent(lua_State *L, struct runtime *rt, lua_State *base)
{
    push_bottom(L, base, LULL_AT_PARENT);
    lua_Integer parent = lua_tointeger(L, -1);
    lua_pop(L, 1);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->threads);
    lua_rawgeti(L, -1, parent >> 32);
    lua_State *co = lua_tothread(L, -1);
    lua_pop(L, 2);
    if (parent == 0 || co == NULL)
        return NULL;
    push_bottom(L, co, LULL_AT_TASK);
    struct task *t = lull_test(L, rt, -1, LULL_TASK);
    if (t != NULL && t->id == (uint32_t)parent)
        return co;
    lua_pop(L, 1);
    return NULL;
}

lua_Integer lull_parent_of(lua_State *L, struct runtime *rt, struct task *t)
{
    int top = lua_gettop(L);
    lua_Integer parent = 0;
    if (push_parent(L, rt, lull_base_of(rt, t)) != NULL) {
        struct task *p = lua_touserdata(L, -1);
        parent = (lua_Integer)p->slot << 32 | p->id;
    }
    lua_settop(L, top);
    return parent;
}

/* On one line: where it was spawned, and by whom, up to main or to one that has ended. */
void lull_append_site(lua_State *L, lua_State *base)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    if (!push_site(L, base))
        return;
    lua_pushfstring(L, "%s\n\tspawned at %s", lua_tostring(L, -2), lua_tostring(L, -1));
    lua_replace(L, -3);
    lua_pop(L, 1);
    for (int n = 0; n < ANCESTORS && (base = push_parent(L, rt, base)) != NULL; n++) {
        lull_pushlabel(L, -1);
        lua_replace(L, -2);
        if (!push_site(L, base)) {
            lua_pop(L, 1);
            return;
        }
        lua_pushfstring(L, "%s by %s, spawned at %s", lua_tostring(L, -3),
                        lua_tostring(L, -2), lua_tostring(L, -1));
        lua_replace(L, -4);
        lua_pop(L, 2);
    }
}

void lull_pushstack(lua_State *L, struct task *t)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_State *base = lull_base_of(rt, t), *co = t->co;
    luaL_checkstack(L, 16, NULL);
    make_room(base);
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
        make_room(t->co);
        luaL_checkstack(L, 16, NULL);
        lull_pushcall(L, rt, t->co);
        const char *call = lua_tostring(L, -1);
        bool line = lull_pushline(L, t->co);
        lua_pushfstring(L, "waiting: %s%s%s", call, line && *call ? ", " : "",
                        line ? lua_tostring(L, -1) : "");
        lua_replace(L, line ? -3 : -2);
        lua_settop(L, line ? -2 : -1);
    }
}
