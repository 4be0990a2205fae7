/* Futures: someone's word, given once, and who awaits it.  A future that is already done
   is awaited without suspending.  Awaiting observes: it never cancels what it awaits. */
#include "task.h"

#include <errno.h>

/* ---- life ------------------------------------------------------------------------ */

/* Pushes a new pending Future. */
static lull_future *new_future(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_future *f = lull_newbare(L, rt, LULL_FUTURE, sizeof *f, 1);
    lull_future_init(f);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[LULL_FUTURE]);
    lua_setmetatable(L, -2);
    return f;
}

lull_future *lull_tofuture(lua_State *L, struct runtime *rt, int i)
{
    void *object;
    const void *class = lull_classof(L, i, &object);
    return class == rt->classes[LULL_FUTURE] ? object : (lull_future *)lull_totask(L, i);
}

void lull_take(struct runtime *rt, lull_future *f)
{
    rt->failures -= (f->flags & LULL_REPORTED) != 0;
    f->flags &= (uint8_t)~LULL_REPORTED;
    f->flags |= LULL_TAKEN;
}

static inline lull_future *checkfuture_in(lua_State *L, struct runtime *rt, int i)
{
    void *object;
    if (lull_classof(L, i, &object) == rt->classes[LULL_FUTURE])
        return object;
    lull_future *f = lull_tofuture(L, rt, i);
    if (f == NULL)
        luaL_typeerror(L, i, "Future");
    return f;
}

static lull_future *checkfuture(lua_State *L, int i)
{
    return checkfuture_in(L, lull_runtime(L), i);
}

/* ---- settling -------------------------------------------------------------------- */

/* Pops n values into the uservalue of the future at i. */
static void store(lua_State *L, lull_future *f, int i, int n)
{
    f->count = (uint16_t)(n == 1);
    if (n > 1) {
        lua_createtable(L, n, 1);
        lua_insert(L, -n - 1);
        for (int j = n; j > 0; j--)
            lua_rawseti(L, -j - 1, j);
        lua_pushinteger(L, n);
        lua_setfield(L, -2, "n");
        f->count = UINT16_MAX;
        n = 1;
    }
    if (n == 1)
        lua_setiuservalue(L, i, 1);
}

/* Has the done callbacks of the future at i called in a later turn. */
static void call_back(lua_State *L, struct runtime *rt, lull_future *f, int i)
{
    if (!lull_hasextra(L, i))
        return;
    f->flags &= (uint8_t)~LULL_CALLBACKS;
    lua_getfield(L, -1, "callbacks");
    for (lua_Integer j = 1; lua_rawgeti(L, -1, j) != LUA_TNIL; j++) {
        lua_pushvalue(L, i);
        lull_call_soon(L, rt, f->loop, 1);
    }
    lua_pop(L, 2);
    lua_pushnil(L);
    lua_setfield(L, -2, "callbacks");
    lua_pop(L, 1);
}

/* The same with the future, which stands at i > 0, at hand. */
static int settle(lua_State *L, struct runtime *rt, lull_future *f, int i, unsigned state,
                  int n)
{
    lull_loop *loop = lull_loop_of(rt, f);
    if (f->state != 0 || (f->loop != 0 && loop == NULL)) {
        lua_pop(L, n);
        return f->state != 0 ? -EALREADY : -EXDEV;
    }
    if (n > 1 || (f->flags & LULL_CALLBACKS))
        luaL_checkstack(L, 8, NULL);
    if (loop == NULL && (f->flags & LULL_CALLBACKS))
        return luaL_error(L, "no loop is running that could call the done callbacks");
    store(L, f, i, n);
    if (f->flags & LULL_CALLBACKS)
        call_back(L, rt, f, i);
    if (state == LULL_ERROR && !(f->flags & LULL_TAKEN))
        lull_untaken(L, rt, i);
    if (loop) /* from here on nothing can fail */
        lull_future_settle(loop, f, state);
    f->state = (uint8_t)state;
    return 0;
}

int lull_settle(lua_State *L, struct runtime *rt, int i, unsigned state, int n)
{
    return settle(L, rt, lua_touserdata(L, i), lua_absindex(L, i), state, n);
}

static int set(lua_State *L, struct runtime *rt, lull_future *f, unsigned state, int n)
{
    int rc = settle(L, rt, f, 1, state, n);
    if (rc == -EALREADY)
        return luaL_error(L, "the future is done already");
    if (rc < 0)
        return luaL_error(L, "the future belongs to another loop");
    return 0;
}

/* future:set_result (...) */
static int set_result(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_future *f = lull_self(L, rt, LULL_FUTURE);
    return set(L, rt, f, LULL_RESULT, lua_gettop(L) - 1);
}

/* future:set_error (err) */
static int set_error(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_future *f = lull_check(L, rt, 1, LULL_FUTURE);
    luaL_argcheck(L, !lua_isnoneornil(L, 2), 2, "an error value expected");
    lua_settop(L, 2);
    return set(L, rt, f, LULL_ERROR, 1);
}

/* future:cancel ([reason]) -> boolean */
static int cancel(lua_State *L)
{
    lull_check(L, lull_runtime(L), 1, LULL_FUTURE);
    lua_settop(L, 2);
    lua_pushboolean(L, lull_settle(L, lull_runtime(L), 1, LULL_CANCELLED, 1) == 0);
    return 1;
}

/* ---- looking --------------------------------------------------------------------- */

/* Pushes "ECANCELED: reason" of the cancelled future at i. */
static void push_cancelled(lua_State *L, int i)
{
    lua_getiuservalue(L, i, 1);
    if (lua_isnil(L, -1)) {
        lua_pushliteral(L, "ECANCELED: cancelled");
    } else {
        const char *reason = luaL_tolstring(L, -1, NULL);
        lua_pushfstring(L, "ECANCELED: %s", reason);
        lua_replace(L, -2);
    }
    lua_replace(L, -2);
}

/* Raises the error of the failed future at i; its story is kept beside it. */
static int raise(lua_State *L, int i)
{
    lua_getiuservalue(L, i, 1);
    if (lua_isnil(L, -1))
        lua_pushliteral(L, "not enough memory"); /* not even its error could be kept */
    if (lull_hasextra(L, i)) {
        if (lua_getfield(L, -1, "traceback") != LUA_TNIL) {
            lua_pushliteral(L, "\n[awaited at]: ");
            luaL_traceback(L, L, NULL, 1);
            lua_concat(L, 3);
            lua_replace(L, -2);
            lull_keeptraceback(L, -2);
        } else
            lua_pop(L, 2);
    }
    return lua_error(L);
}

/* Unpacks the table of values on top of the stack. */
static int unpack(lua_State *L)
{
    int t = lua_gettop(L);
    lua_getfield(L, t, "n");
    int n = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    luaL_checkstack(L, n, "too many results");
    for (int j = 1; j <= n; j++)
        lua_rawgeti(L, t, j);
    return n;
}

/* Pushes the results of f, at i, which is done; or raises its error. */
static int push_outcome(lua_State *L, struct runtime *rt, lull_future *f, int i)
{
    lull_take(rt, f);
    if (f->state == LULL_ERROR)
        return raise(L, i);
    if (f->state == LULL_CANCELLED) {
        push_cancelled(L, i);
        return lua_error(L);
    }
    if (f->count == 0)
        return 0;
    lua_getiuservalue(L, i, 1);
    return f->count == 1 ? 1 : unpack(L);
}

int lull_pushoutcome(lua_State *L, struct runtime *rt, int i)
{
    return push_outcome(L, rt, lua_touserdata(L, i), lua_absindex(L, i));
}

/* future:result () -> values */
static int result(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_future *f = checkfuture_in(L, rt, 1);
    if (f->state == 0)
        return luaL_error(L, "the future is not done");
    return push_outcome(L, rt, f, 1);
}

/* future:error () -> err | nil */
static int error(lua_State *L)
{
    lull_future *f = checkfuture(L, 1);
    lull_take(lull_runtime(L), f);
    if (f->state == LULL_CANCELLED)
        push_cancelled(L, 1);
    else if (f->state == LULL_ERROR)
        lua_getiuservalue(L, 1, 1);
    else
        lua_pushnil(L);
    return 1;
}

/* future:status () -> "pending" | "cancelled" | "finished" */
static int status(lua_State *L)
{
    static const char *const names[] = {"pending", "cancelled", "finished", "finished"};
    lua_pushstring(L, names[checkfuture(L, 1)->state]);
    return 1;
}

static int done(lua_State *L)
{
    lua_pushboolean(L, checkfuture(L, 1)->state != 0);
    return 1;
}

static int cancelled(lua_State *L)
{
    lua_pushboolean(L, checkfuture(L, 1)->state == LULL_CANCELLED);
    return 1;
}

/* future:take (): somebody will look at how it ends; for the modules in Lua. */
static int take(lua_State *L)
{
    lull_take(lull_runtime(L), checkfuture(L, 1));
    lua_settop(L, 1);
    return 1;
}

/* future:add_done_callback (fn): fn(future) is called in a later turn, in order. */
static int add_done_callback(lua_State *L)
{
    lull_future *f = checkfuture(L, 1);
    lull_checkcallable(L, 2);
    lua_settop(L, 2);
    lull_take(lull_runtime(L), f);
    if (f->state != 0) {
        lua_insert(L, 1);
        lull_call_soon(L, lull_runtime(L), f->loop, 1);
        return 0;
    }
    lull_pushextra(L, 1);
    luaL_getsubtable(L, -1, "callbacks");
    lua_pushvalue(L, 2);
    lua_rawseti(L, -2, luaL_len(L, -2) + 1);
    f->flags |= LULL_CALLBACKS;
    return 0;
}

/* future:remove_done_callback (fn) -> how many there were */
static int remove_done_callback(lua_State *L)
{
    lull_future *f = checkfuture(L, 1);
    luaL_checkany(L, 2);
    lua_Integer kept = 0, removed = 0;
    if ((f->flags & LULL_CALLBACKS) && lull_hasextra(L, 1)) {
        lua_getfield(L, -1, "callbacks");
        lua_Integer n = luaL_len(L, -1);
        for (lua_Integer j = 1; j <= n; j++) {
            lua_rawgeti(L, -1, j);
            bool same = lua_rawequal(L, -1, 2);
            removed += same;
            lua_rawseti(L, -2, same ? n + 1 : ++kept);
        }
        for (lua_Integer j = kept + 1; j <= n + 1; j++) {
            lua_pushnil(L);
            lua_rawseti(L, -2, j);
        }
    }
    lua_pushinteger(L, removed);
    return 1;
}

/* ---- awaiting -------------------------------------------------------------------- */

/* Woken: f is done, unless a cancellation came first. */
static int settled(lua_State *L, int status, lua_KContext f)
{
    (void)status;
    struct runtime *rt = lull_runtime(L);
    if (rt->task->scope->cancelled)
        return lull_raisecancel(L, rt);
    return push_outcome(L, rt, (lull_future *)f, 1);
}

static int await_future(lua_State *L, struct runtime *rt, lull_future *f)
{
    if (f == &rt->task->future)
        return luaL_error(L, "a task cannot await itself");
    if (lull_future_bind(rt->loop, f) < 0)
        return luaL_error(L, "the future belongs to another loop");
    if (f->state != 0)
        return push_outcome(L, rt, f, 1);
    lull_future_wait(rt->loop, f, &rt->task->waiter);
    return lull_park_raw(L, rt, (lua_KContext)f, settled);
}

static int awaitk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return await_future(L, lull_runtime(L), lua_touserdata(L, 1));
}

int lull_await_future(lua_State *L, struct runtime *rt, lull_future *f)
{
    return lull_may(L, rt) ? await_future(L, rt, f) : lull_enter_slowly(L, rt, awaitk);
}

/* future:await () -> values: suspends until it is done, raises its error. */
static int await(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    return lull_await_future(L, rt, checkfuture_in(L, rt, 1));
}

static int awaited(lua_State *L, int first, lua_KContext ctx)
{
    (void)first, (void)ctx;
    return lua_gettop(L);
}

/* The stack: metamethod | value. */
static int call_await(lua_State *L, int first, lua_KContext rc)
{
    (void)first, (void)rc;
    lua_callk(L, 1, LUA_MULTRET, 0, awaited);
    return awaited(L, LUA_OK, 0);
}

/* await (x) -> values: a Future, a Task, or a value with an __await metamethod. */
static int await_any(lua_State *L)
{
    lua_settop(L, 1);
    struct runtime *rt = lull_runtime(L);
    lull_future *f = lull_tofuture(L, rt, 1);
    if (f != NULL)
        return lull_await_future(L, rt, f);
    if (luaL_getmetafield(L, 1, "__await") == LUA_TNIL)
        return luaL_typeerror(L, 1, "Future, Task or value with __await");
    lua_insert(L, 1);
    return lull_enter(L, call_await);
}

static int waitk(lua_State *L, int first, lua_KContext rc)
{
    (void)first, (void)rc;
    struct runtime *rt = lull_runtime(L);
    lull_future *f = lua_touserdata(L, 1);
    if (f->state != 0)
        return 0;
    if (lull_future_wait(rt->loop, f, &rt->task->waiter) < 0)
        return luaL_error(L, "the future belongs to another loop");
    return lull_park(L, waitk);
}

/* future:wait (): suspends until it is done and says nothing of how. */
static int wait(lua_State *L)
{
    lull_future *f = checkfuture(L, 1);
    lull_take(lull_runtime(L), f);
    if (f == (lull_future *)(void *)lull_runtime(L)->task)
        return luaL_error(L, "a task cannot await itself");
    return lull_enter(L, waitk);
}

static int future_tostring(lua_State *L)
{
    static const char *const states[] = {"pending", "cancelled", "finished", "failed"};
    lull_future *f = checkfuture(L, 1);
    lua_pushfstring(L, "future (%s): %p", states[f->state], lua_topointer(L, 1));
    return 1;
}

/* future () -> Future */
static int new(lua_State *L)
{
    new_future(L);
    return 1;
}

/* is_future (x) -> boolean, is it a task */
static int is_future(lua_State *L)
{
    lull_future *f = lull_tofuture(L, lull_runtime(L), 1);
    lua_pushboolean(L, f != NULL);
    lua_pushboolean(L, f != NULL && (f->flags & LULL_IS_TASK));
    return 2;
}

static const luaL_Reg shared[] = {{"result", result},
                                  {"error", error},
                                  {"status", status},
                                  {"done", done},
                                  {"cancelled", cancelled},
                                  {"take", take},
                                  {"add_done_callback", add_done_callback},
                                  {"remove_done_callback", remove_done_callback},
                                  {"await", await},
                                  {"wait", wait},
                                  {NULL, NULL}};

static const luaL_Reg own[] = {{"set_result", set_result},
                               {"set_error", set_error},
                               {"cancel", cancel},
                               {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", future_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"future", new}, {"await", await_any}, {"is_future", is_future}, {NULL, NULL}};

void lull_inherit_future(lua_State *L, const luaL_Reg *methods)
{
    lull_addmethods(L, LULL_TASK, shared);
    lull_addmethods(L, LULL_TASK, methods);
}

void lull_open_future(lua_State *L)
{
    lull_newclass(L, LULL_FUTURE, "Future", NULL, metamethods);
    lull_addmethods(L, LULL_FUTURE, shared);
    lull_addmethods(L, LULL_FUTURE, own);
    lull_setfuncs(L, functions);
}
