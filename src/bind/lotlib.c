/* A lot is a line of waiting tasks, and the one thing in C below event, condition and
   barrier (lua/lull/sync.lua), which call core.enter, look at their own state, and then
   wait here.

   Who is woken has been granted something by whoever woke him: the next turn, a permit, a
   value.  He may still be cancelled before he runs; then the cancellation wins, and he
   refuses the grant, which so goes to the next in line.  Before that, cancelling takes
   him out of the line without a word, as it does from every list. */
#include "line.h"

/* uservalue 1: a table, made at need, from a task's address to what it has been granted,
   or to what holds the place of that while it waits. */
struct lot {
    lull_list waiters;
    uint32_t loop; /* serial of the loop of the first wait; 0: not bound yet */
};

static struct lot *checklot(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_LOT);
}

/* ---- what a task was granted ----------------------------------------------------- */

/* Keeps value i for t in the lot at 1; nil needs no table. */
static void keep(lua_State *L, struct task *t, int i)
{
    lua_getiuservalue(L, 1, 1);
    if (lua_isnil(L, -1) && !lua_isnil(L, i)) {
        lua_newtable(L);
        lua_replace(L, -2);
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, 1);
    }
    if (lua_istable(L, -1)) {
        lua_pushvalue(L, i);
        lua_rawsetp(L, -2, t);
    }
    lua_pop(L, 1);
}

/* Pushes what is kept for t; it is kept no longer. */
static void take_kept(lua_State *L, struct task *t)
{
    lua_getiuservalue(L, 1, 1);
    if (lua_isnil(L, -1))
        return;
    if (lua_rawgetp(L, -1, t) != LUA_TNIL) { /* only existing keys are set to nil */
        lua_pushnil(L);
        lua_rawsetp(L, -3, t);
    }
    lua_replace(L, -2);
}

/* ---- waiting --------------------------------------------------------------------- */

/* Back from a wait; the stack is lot | refuse | place. */
static int woken(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct lot *lot = lua_touserdata(L, 1);
    struct task *t = rt->task;
    bool granted = t->waiter.status == 0, cancelled = t->scope->cancelled;
    if (!granted && !cancelled)
        return lull_line_wait(L, rt, &lot->waiters, woken);
    take_kept(L, t);
    if (!cancelled)
        return 1;
    if (granted && !lua_isnil(L, 2)) {
        lua_insert(L, 3);
        lua_settop(L, 3);
        lua_call(L, 1, 0);
    }
    return lull_raisecancel(L, rt);
}

/* lot:park ([refuse [, place]]) -> value: waits at the end of the line, right after
   core.enter, and returns what it was granted.  Who is cancelled after the grant has
   refuse(value) called, which cannot suspend.  A place that is not nil makes room for the
   grant now, where that may still fail. */
static int park(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct lot *lot = checklot(L);
    lua_settop(L, 3);
    if (rt->running != L || !lua_isyieldable(L))
        return lull_refuse(L, rt);
    lull_line_bind(L, rt, &lot->loop);
    keep(L, rt->task, 3);
    return lull_line_wait(L, rt, &lot->waiters, woken);
}

/* ---- waking ---------------------------------------------------------------------- */

/* lot:wake ([n [, value]]) -> how many: grants value to the first n in line (one). */
static int wake(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct lot *lot = checklot(L);
    lua_Integer n = luaL_optinteger(L, 2, 1), count = 0;
    lua_settop(L, 3);
    for (; count < n && !list_empty(&lot->waiters); count++) {
        struct task *t = lull_first(&lot->waiters);
        keep(L, t, 3); /* what may raise comes before the wake */
        lull_wake(lull_line_home(L, rt, lot->loop), &t->waiter, 0);
    }
    lua_pushinteger(L, count);
    return 1;
}

/* lot:count () -> how many wait */
static int count(lua_State *L)
{
    lua_pushinteger(L, lull_line_count(&checklot(L)->waiters));
    return 1;
}

static int lot_tostring(lua_State *L)
{
    checklot(L);
    count(L);
    lua_pushfstring(L, "lot (%I waiting)", lua_tointeger(L, -1));
    return 1;
}

/* ---- the module ------------------------------------------------------------------ */

/* lot () -> Lot */
static int new(lua_State *L)
{
    struct lot *lot = lull_newobject(L, LULL_LOT, sizeof *lot, 1);
    list_init(&lot->waiters);
    return 1;
}

/* compare (fn, ...) -> results of fn, which cannot suspend in here: for those who are in
   the middle of changing something. */
static int compare(lua_State *L)
{
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

static const luaL_Reg methods[] = {
    {"park", park}, {"wake", wake}, {"count", count}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", lot_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"lot", new}, {NULL, NULL}};

void lull_open_lot(lua_State *L)
{
    lull_newclass(L, LULL_LOT, "Lot", methods, metamethods);
    lull_setfuncs(L, functions);
    lua_pushcfunction(L, compare); /* not with the runtime: refuse.c shall name it */
    lua_setfield(L, -2, "compare");
}
