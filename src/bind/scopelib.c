/* Scopes in Lua: scope, timeout and shield as functions around a call, and scope as a
   block.  How they are entered and left is in nesting.c. */
#include "scope.h"

#include <errno.h>
#include <math.h>

enum { SPARES = 32 }; /* in the table, which has room for them from the beginning */

/* ---- making one ----------------------------------------------------------------- */

static struct scope *new(lua_State *L, struct runtime *rt)
{
    lull_scope_check(L, rt);
    struct scope *s = lull_newobject(L, LULL_SCOPE, sizeof *s, 1);
    lull_deadline_init(&s->deadline);
    return s;
}

/* Scopes around calls that never see them are used again: to make and collect one, which
   has a finalizer, takes as long as all the rest.  One that was cancelled is not, for
   errors may be kept that know it.  Nothing here allocates. */
static struct scope *take_spare(lua_State *L, struct runtime *rt)
{
    if (rt->spare.count == 0)
        return new(L, rt);
    lull_scope_check(L, rt);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->spare.scopes);
    lua_rawgeti(L, -1, rt->spare.count);
    lua_pushnil(L);
    lua_rawseti(L, -3, rt->spare.count--);
    lua_replace(L, -2);
    struct scope *s = lua_touserdata(L, -1);
    lull_deadline_init(&s->deadline);
    return s;
}

/* Keeps the scope at 1, which has been left, if there is room. */
static void keep_spare(lua_State *L, struct runtime *rt, const struct scope *s)
{
    if (s->deadline.scope.own != 0 || rt->spare.count == SPARES)
        return;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->spare.scopes);
    lua_pushvalue(L, 1);
    lua_rawseti(L, -2, ++rt->spare.count);
    lua_pop(L, 1);
}

static void set_deadline(lua_State *L, lull_loop *loop, struct scope *s,
                         lua_Number seconds)
{
    lull_refresh(loop); /* its body may have computed for long before */
    int64_t deadline = seconds < 0 ? lull_now(loop) : lull_after(loop, seconds);
    if (deadline == LULL_FOREVER)
        lull_timer_stop(loop, &s->deadline.timer);
    else if (lull_deadline_set(loop, &s->deadline, deadline) < 0)
        luaL_error(L, "not enough memory");
}

/* ---- around a call -------------------------------------------------------------- */

/* The stack: scope | handler | results or error. */
static int left(lua_State *L, int status, lua_KContext passed)
{
    struct runtime *rt = lull_runtime(L);
    struct scope *s = lua_touserdata(L, 1);
    bool well = status == LUA_OK || status == LUA_YIELD;
    if (!lull_scope_around(rt, s)) { /* its coroutine was resumed behind our back */
        if (s->task != NULL)
            lull_scope_end(L, rt, s);
        return well ? lua_gettop(L) - 2 : lull_reraise(L);
    }
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_settop(L, 2);
        lua_pushliteral(L, "stack overflow (too many results)");
        well = false;
    }
    if (lull_unwind(L, rt, &s->deadline.scope, well))
        well = false;
    if (well || !lull_scope_raised(L, rt, s, -1)) {
        lull_scope_leave(L, rt, s);
        if (!passed)
            keep_spare(L, rt, s);
        return well ? lua_gettop(L) - 2 : lull_reraise(L);
    }
    lua_pushnil(L);
    lua_pushstring(L, lull_pushreason(L, &s->deadline.scope));
    lull_scope_leave(L, rt, s);
    return 3;
}

/* Calls the function and nargs arguments on top of the stack, at 2, inside a new scope,
   which takes the place of whatever is at 1 and is passed on or not. */
static int call_inside(lua_State *L, int nargs, unsigned flags, lua_Number seconds,
                       bool pass)
{
    struct runtime *rt = lull_runtime(L);
    struct scope *s = pass ? new(L, rt) : take_spare(L, rt);
    lua_replace(L, 1);
    if (seconds == seconds)
        set_deadline(L, rt->loop, s, seconds);
    lull_scope_enter(L, rt, s, flags); /* nothing fails between this and the call */
    if (pass)
        lua_pushvalue(L, 1);
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, 2);
    return left(L, lua_pcallk(L, nargs + pass, LUA_MULTRET, 2, pass, left), pass);
}

static lua_Number checkseconds(lua_State *L, int i)
{
    lua_Number seconds = luaL_checknumber(L, i);
    luaL_argcheck(L, seconds == seconds, i, "not a number");
    return seconds;
}

/* timeout (seconds, fn, ...) -> results of fn | nil, "ETIMEDOUT: ...", "ETIMEDOUT" */
static int timeout(lua_State *L)
{
    lua_Number seconds = checkseconds(L, 1);
    lull_checkcallable(L, 2);
    return call_inside(L, lua_gettop(L) - 2, 0, seconds, false);
}

/* shield (fn, ...) -> results: no cancellation from outside reaches fn. */
static int shield(lua_State *L)
{
    lull_checkcallable(L, 1);
    lua_pushnil(L);
    lua_insert(L, 1);
    return call_inside(L, lua_gettop(L) - 2, LULL_SHIELD, NAN, false);
}

/* scope (fn) / scope (seconds, fn) -> results;  scope ([seconds]) -> Scope, a block */
static int scope(lua_State *L)
{
    lua_Number seconds = lua_isnumber(L, 1) ? checkseconds(L, 1) : NAN;
    int f = lua_isnumber(L, 1) ? 2 : 1;
    if (!lua_isnoneornil(L, f)) {
        lull_checkcallable(L, f);
        lua_settop(L, f);
        if (f == 1) {
            lua_pushnil(L);
            lua_insert(L, 1);
        }
        return call_inside(L, 0, 0, seconds, true);
    }
    struct runtime *rt = lull_runtime(L);
    struct scope *s = new(L, rt);
    lull_scope_block(L, s);
    if (seconds == seconds)
        set_deadline(L, rt->loop, s, seconds);
    lull_scope_enter(L, rt, s, 0);
    return 1;
}

/* ---- methods -------------------------------------------------------------------- */

static struct scope *checkscope(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_SCOPE);
}

/* The end of a block: its own cancellation goes on as a plain error, for a close handler
   cannot swallow one. */
static int scope_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct scope *s = checkscope(L);
    lua_settop(L, 2);
    if (s->task == NULL)
        return 0;
    lull_scope_checkleave(L, rt, s);
    bool raise = lull_unwind(L, rt, &s->deadline.scope, lua_isnil(L, 2));
    if (!raise && lull_scope_raised(L, rt, s, 2)) {
        lull_pushreason(L, &s->deadline.scope);
        raise = true;
    }
    lull_scope_leave(L, rt, s);
    return raise ? lua_error(L) : 0;
}

/* s:cancel ([reason]) */
static int scope_cancel(lua_State *L)
{
    struct scope *s = checkscope(L);
    lull_loop *loop = lull_loop_with(lull_runtime(L), s->loop);
    bool open = loop != NULL && s->task != NULL;
    lua_pushboolean(L, open && lull_cancel(L, loop, &s->deadline.scope, -ECANCELED, 2));
    return 1;
}

/* s:timeout (seconds | nil): from now on, anew */
static int scope_timeout(lua_State *L)
{
    struct scope *s = checkscope(L);
    lua_Number seconds = lua_isnoneornil(L, 2) ? HUGE_VAL : checkseconds(L, 2);
    lull_loop *loop = s->task ? lull_loop_with(lull_runtime(L), s->loop) : NULL;
    if (loop != NULL)
        set_deadline(L, loop, s, seconds);
    return 0;
}

/* s:remaining () -> seconds | nil */
static int scope_remaining(lua_State *L)
{
    struct scope *s = checkscope(L);
    lull_loop *loop = s->task ? lull_loop_with(lull_runtime(L), s->loop) : NULL;
    if (loop == NULL || !lull_timer_started(&s->deadline.timer))
        return 0;
    int64_t left = lull_timer_deadline(loop, &s->deadline.timer) - lull_now(loop);
    lua_pushnumber(L, left > 0 ? (lua_Number)left / 1e9 : 0);
    return 1;
}

/* s:cancelled () -> boolean: by itself or from outside */
static int scope_cancelled(lua_State *L)
{
    struct scope *s = checkscope(L);
    lua_pushboolean(L, s->deadline.scope.own || s->deadline.scope.cancelled);
    return 1;
}

static int scope_tostring(lua_State *L)
{
    struct scope *s = checkscope(L);
    const char *how = s->task == NULL              ? "left"
                      : s->deadline.scope.cancelled ? "cancelled"
                                                    : "open";
    lua_pushfstring(L, "scope (%s)", how);
    return 1;
}

static int scope_gc(lua_State *L)
{
    lull_scope_collect(L, lull_runtime(L), lua_touserdata(L, 1));
    return 0;
}

static const luaL_Reg methods[] = {
    {"cancel", scope_cancel},       {"timeout", scope_timeout},
    {"remaining", scope_remaining}, {"cancelled", scope_cancelled},
    {"close", scope_close},         {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__close", scope_close}, {"__tostring", scope_tostring}, {"__gc", scope_gc},
    {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"scope", scope}, {"timeout", timeout}, {"shield", shield}, {NULL, NULL}};

void lull_open_scope(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    lua_createtable(L, SPARES, 0);
    rt->spare.scopes = luaL_ref(L, LUA_REGISTRYINDEX);
    lull_newclass(L, LULL_SCOPE, "Scope", methods, metamethods);
    lull_setfuncs(L, functions);
}
