/* The coroutine library, replaced in place, so that an await works inside of nested
   coroutines.  When a nested coroutine parks, every coroutine around it parks too, each
   in its own call of resume; when the task is woken the innermost is resumed directly,
   and only when it ends or yields does the one around it go on (see tasklib.c).
   Coroutines that no task runs behave as Lua's own. */
#include "task.h"

#include <string.h>

enum { ROOM = LUA_MINSTACK / 2 }; /* so many values fit in a C function that keeps few */

/* How a nested coroutine came back to L: moves its n results (or its error) over.
   Returns their number, or -1 with the error on top. */
static int take_results(lua_State *L, lua_State *co, int status, int n)
{
    if (status != LUA_OK && status != LUA_YIELD) {
        lua_xmove(co, L, 1);
        return -1;
    }
    if (n > ROOM && !lua_checkstack(L, n + 1)) {
        lua_pop(co, n);
        lua_pushliteral(L, "too many results to resume");
        return -1;
    }
    if (n > 0)
        lua_xmove(co, L, n);
    return n;
}

/* Back in L, which runs a task: the scopes of the nested coroutine at i stay with it. */
static void came_back(lua_State *L, struct runtime *rt, int i, int status, lull_scope *outer)
{
    rt->running = L;
    if (rt->task->scope == outer)
        return;
    if (status == LUA_YIELD)
        lull_scope_pause(L, rt, i, outer);
    else
        lull_unwind(L, rt, outer, false);
}

/* The scopes in which coroutine i has paused can bind only a task of their own loop. */
static bool is_at_home(lua_State *L, struct runtime *rt, int i)
{
    uint32_t home = lull_scope_home(L, i);
    return home == 0 || (rt->running == L && rt->task->future.loop == home);
}

/* Where foreign code is between, and nobody may suspend. */
static int resume_inside(struct runtime *rt, lua_State *L, lua_State *co, int narg, int *n)
{
    lua_State *inner = rt->inner;
    rt->inner = co;
    int status = lull_resume(rt, co, L, narg, n);
    rt->inner = inner;
    return status;
}

/* Resumes co, the coroutine at i, with the top narg values of L. */
static int resume(lua_State *L, lua_State *co, int i, int narg, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    int n;
    if (lull_awaiting(co)) {
        lua_pushliteral(L, "cannot resume a coroutine that waits");
        return -1;
    }
    if (narg > 0 && !lua_checkstack(co, narg)) {
        lua_pushliteral(L, "too many arguments to resume");
        return -1;
    }
    if (rt->paused && !is_at_home(L, rt, i)) {
        lua_pushliteral(L, "cannot resume outside of its loop's tasks a coroutine in a scope");
        return -1;
    }
    if (narg > 0)
        lua_xmove(L, co, narg);
    if (rt->running != L) { /* of no task, or foreign code is between */
        int status = resume_inside(rt, L, co, narg, &n);
        return take_results(L, co, status, n);
    }
    lull_scope *outer = rt->task->scope;
    if (rt->paused)
        lull_scope_resume(L, rt, i);
    bool free = lua_isyieldable(L);
    rt->running = free ? co : NULL;
    int status = free ? lull_resume(rt, co, L, narg, &n)
                      : resume_inside(rt, L, co, narg, &n);
    if (rt->parked)
        return lull_park_around(L, co, (lua_KContext)outer, k);
    came_back(L, rt, i, status, outer);
    return take_results(L, co, status, n);
}

/* The same after a wait inside of co. */
static int resumed(lua_State *L, lua_State *co, int i, lua_KContext outer)
{
    struct runtime *rt = lull_runtime(L);
    came_back(L, rt, i, rt->child_status, (lull_scope *)outer);
    return take_results(L, co, rt->child_status, rt->child_count);
}

/* ---- resume and wrap ------------------------------------------------------------- */

static lua_State *getco(lua_State *L)
{
    lua_State *co = lua_tothread(L, 1);
    luaL_argexpected(L, co, 1, "coroutine");
    return co;
}

static int push_status(lua_State *L, lua_State *co, int n)
{
    lua_pushboolean(L, n >= 0);
    if (n == 0)
        return 1;
    if (n > 0) {
        lua_insert(L, -(n + 1));
        return n + 1;
    }
    /* what dies of a cancellation is closed at once: nobody may ever come back to it */
    lua_insert(L, -2);
    if (lull_test(L, lull_runtime(L), -1, LULL_CANCEL) && lua_status(co) > LUA_YIELD) {
        lua_pushvalue(L, -1);
        lua_xmove(L, co, 1);
        lull_end_coroutine(lull_runtime(L), co, L);
        lua_settop(co, 0);
    }
    return 2;
}

static int co_resumek(lua_State *L, int status, lua_KContext outer)
{
    (void)status;
    lua_State *co = lua_tothread(L, 1);
    return push_status(L, co, resumed(L, co, 1, outer));
}

/* coroutine.resume (co, ...) */
static int co_resume(lua_State *L)
{
    lua_State *co = getco(L);
    return push_status(L, co, resume(L, co, 1, lua_gettop(L) - 1, co_resumek));
}

/* Keeps where the error on top of L was raised inside of co, before that is closed. */
static void keep_story(lua_State *L, lua_State *co)
{
    if (lull_test(L, lull_runtime(L), -1, LULL_CANCEL) || !lua_checkstack(L, 32) ||
        lua_isnil(L, -1) || lua_type(L, -1) == LUA_TNUMBER)
        return;
    luaL_traceback(L, co, NULL, 0);
    luaL_traceback(L, L, "", 1);
    lua_concat(L, 2);
    lull_keeptraceback(L, -2);
}

/* An error goes on: the coroutine is closed and a message gets its position, as in Lua;
   where it was raised is kept first, for afterwards it is gone. */
static int propagate(lua_State *L, lua_State *co)
{
    int status = lua_status(co);
    if (status != LUA_OK && status != LUA_YIELD) {
        keep_story(L, co);
        lua_pushvalue(L, -1);
        lua_xmove(L, co, 1); /* closing wants the error on top of its stack */
        status = lull_end_coroutine(lull_runtime(L), co, L);
        if (status != LUA_OK) {
            lua_pop(L, 1);
            lua_xmove(co, L, 1);
        }
    }
    if (status != LUA_ERRMEM && lua_type(L, -1) == LUA_TSTRING) {
        luaL_where(L, 1);
        lua_insert(L, -2);
        lua_concat(L, 2);
    }
    return lua_error(L);
}

static int wrapk(lua_State *L, int status, lua_KContext outer)
{
    (void)status;
    lua_State *co = lua_tothread(L, lua_upvalueindex(2));
    int n = resumed(L, co, lua_upvalueindex(2), outer);
    return n < 0 ? propagate(L, co) : n;
}

static int wrapped(lua_State *L)
{
    lua_State *co = lua_tothread(L, lua_upvalueindex(2));
    int n = resume(L, co, lua_upvalueindex(2), lua_gettop(L), wrapk);
    return n < 0 ? propagate(L, co) : n;
}

/* coroutine.wrap (fn) */
static int co_wrap(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_State *co = lua_newthread(L);
    lua_pushvalue(L, 1);
    lua_xmove(L, co, 1);
    lua_pushcclosure(L, wrapped, 2);
    return 1;
}

/* ---- yield ----------------------------------------------------------------------- */

static int turnk(lua_State *L, int status, lua_KContext rc)
{
    (void)L, (void)status, (void)rc;
    return 0;
}

static int pausek(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    lull_wait_turn(rt->loop, &rt->task->waiter);
    return lull_park(L, turnk);
}

/* In a task's own body: a turn for the others, or an await. */
static int yield_task(lua_State *L, struct runtime *rt)
{
    if (lua_gettop(L) == 0)
        return lull_enter(L, pausek);
    bool future = lull_test(L, rt, 1, LULL_FUTURE) || lull_test(L, rt, 1, LULL_TASK);
    if (!future || lua_gettop(L) > 1)
        return luaL_error(L, "a task yields nothing, or a future to await it");
    return lull_await_future(L, rt, lua_touserdata(L, 1));
}

/* Where a nested coroutine comes back to; one that is being unwound raises here. */
static int yielded(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    struct runtime *rt = (struct runtime *)ctx;
    if (rt->unwinding == L) {
        rt->unwinding = NULL;
        return lull_raiseleft(L);
    }
    return lua_gettop(L);
}

/* coroutine.yield (...) */
static int co_yield(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->running == L && rt->base == L)
        return yield_task(L, rt);
    return lua_yieldk(L, lua_gettop(L), (lua_KContext)rt, yielded);
}

/* ---- the rest -------------------------------------------------------------------- */

static const char *status_of(lua_State *L, lua_State *co)
{
    lua_Debug ar;
    if (co == L)
        return "running";
    switch (lua_status(co)) {
    case LUA_YIELD: /* one that awaits is as good as running: only its wake resumes it */
        return lull_awaiting(co) ? "normal" : "suspended";
    case LUA_OK:
        if (lua_getstack(co, 0, &ar))
            return "normal";
        return lua_gettop(co) == 0 ? "dead" : "suspended";
    default:
        return "dead";
    }
}

/* coroutine.status (co) */
static int co_status(lua_State *L)
{
    lua_pushstring(L, status_of(L, getco(L)));
    return 1;
}

/* coroutine.running () -> co, ismain */
static int co_running(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->running == L && rt->base == L)
        rt->task->future.flags |= LULL_ESCAPED;
    lua_pushboolean(L, lua_pushthread(L));
    return 2;
}

/* coroutine.close (co) */
static int co_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lua_State *co = getco(L);
    const char *status = status_of(L, co);
    if (*status != 'd' && *status != 's')
        return luaL_error(L, "cannot close a %s coroutine", status);
    if (rt->paused)
        lull_scope_drop(L, rt, 1);
    rt->closing = co;
    int rc = lull_end_coroutine(rt, co, L);
    rt->closing = NULL;
    if (rc == LUA_OK) {
        lua_pushboolean(L, true);
        return 1;
    }
    lua_pushboolean(L, false);
    lua_xmove(co, L, 1);
    return 2;
}

/* unwind (co, ...): resumes a generator that is paused so that its yield raises and its
   <close> variables run, which may suspend; what it yields then is refused again. */
static int unwindk(lua_State *L, int status, lua_KContext outer);

enum { PATIENCE = 100 }; /* times that a generator may refuse to end */

/* The stack: co | times that it refused. */
static int unwind_once(lua_State *L, int n)
{
    struct runtime *rt = lull_runtime(L);
    lua_State *co = lua_tothread(L, 1);
    int refused = (int)luaL_optinteger(L, 2, 0);
    for (; n >= 0 && lua_status(co) == LUA_YIELD && refused < PATIENCE; refused++) {
        lua_settop(L, 1);
        lua_pushinteger(L, refused + 1);
        if (rt->paused && !is_at_home(L, rt, 1))
            lull_scope_drop(L, rt, 1); /* they can bind nobody here */
        rt->unwinding = co;
        n = resume(L, co, 1, 0, unwindk);
    }
    if (n < 0)
        return lua_error(L);
    if (lua_status(co) == LUA_YIELD) {
        if (rt->paused)
            lull_scope_drop(L, rt, 1);
        lull_end_coroutine(rt, co, L);
    }
    return 0;
}

static int unwindk(lua_State *L, int status, lua_KContext outer)
{
    (void)status;
    lua_State *co = lua_tothread(L, 1);
    return unwind_once(L, resumed(L, co, 1, outer));
}

static int unwind(lua_State *L)
{
    lua_State *co = getco(L);
    if (lua_status(co) != LUA_YIELD || lull_awaiting(co))
        return 0;
    return unwind_once(L, 0);
}

static const luaL_Reg replacements[] = {
    {"resume", co_resume}, {"wrap", co_wrap},       {"yield", co_yield}, {"status", co_status},
    {"close", co_close},   {"running", co_running}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"unwind", unwind}, {NULL, NULL}};

void lull_open_co(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_getglobal(L, "pcall");
    rt->pcall = lua_tocfunction(L, -1);
    lua_getglobal(L, "xpcall");
    rt->xpcall = lua_tocfunction(L, -1);
    lua_pop(L, 3);
    lull_setfuncs(L, functions);
    bool private = lull_pushprivate(L); /* or nil */
    if (private)
        lua_getfield(L, -1, LUA_COLIBNAME);
    else
        lua_getglobal(L, LUA_COLIBNAME);
    if (lua_istable(L, -1))
        lull_setfuncs(L, replacements);
    lua_pop(L, 2);
}
