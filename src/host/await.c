/* C functions of the host that wait.  What a wait needs stands on top of the task's own
   stack while it lasts: the continuation and its context as integers, above them what is
   waited for where that has to be let go of.  A function of the host has no runtime among
   its upvalues, so it is looked up; in a task it is at hand. */
#include "host.h"

#include "apart.h"

/* What stands on the stack; the last is there for some only. */
enum { OBJECT = -3, CONTINUATION = -2, CONTEXT = -1 };

static struct runtime *runtime_of(lua_State *L)
{
    struct runtime *rt = lull_here;
    if (rt != NULL && rt->running == L)
        return rt;
    luaL_checkstack(L, 4, NULL);
    rt = lull_pushruntime(L);
    lua_pop(L, 1);
    if (rt == NULL)
        luaL_error(L, "this state has no lull runtime");
    return rt;
}

void lull_push_frame(lua_State *L, lull_continuation k, intptr_t ctx)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_pushinteger(L, (lua_Integer)(intptr_t)k);
    lua_pushinteger(L, (lua_Integer)ctx);
}

/* Where every wait ends: takes the frame that ends at the top off the stack, and goes on. */
int lull_go_on(lua_State *L, int status)
{
    lull_continuation k = (lull_continuation)(intptr_t)lua_tointeger(L, CONTINUATION);
    intptr_t ctx = (intptr_t)lua_tointeger(L, CONTEXT);
    lua_pop(L, 2);
    if (k != NULL)
        return k(L, status, ctx);
    return status < 0 ? lull_pushfail(L, status, NULL) : 0;
}

int lull_enter_from(lua_State *L, lua_KFunction begin)
{
    struct runtime *rt = runtime_of(L);
    return lull_may(L, rt) ? begin(L, LUA_OK, 0) : lull_enter_slowly(L, rt, begin);
}

/* ---- a value --------------------------------------------------------------------- */

/* The stack ends with: Future | continuation | context. */
static int deliver(lua_State *L, struct runtime *rt)
{
    lull_continuation k = (lull_continuation)(intptr_t)lua_tointeger(L, CONTINUATION);
    intptr_t ctx = (intptr_t)lua_tointeger(L, CONTEXT);
    lua_pop(L, 2);
    int i = lua_gettop(L), n = lull_pushoutcome(L, rt, i);
    while (lua_gettop(L) > i - 1 + n) /* the future, and a table of many results */
        lua_remove(L, i);
    return k != NULL ? k(L, 0, ctx) : n;
}

/* Who owns what he awaits cancels it when he may not wait any longer. */
static void give_up(lua_State *L, struct runtime *rt)
{
    lull_future *f = lua_touserdata(L, OBJECT);
    if (f->state != 0)
        return;
    if (f->flags & LULL_IS_TASK)
        lull_scope_cancel(rt->loop, &((struct task *)(void *)f)->own, -ECANCELED);
    else {
        lua_pushnil(L);
        lull_settle(L, rt, OBJECT - 1, LULL_CANCELLED, 1);
    }
}

static int settled(lua_State *L, int status, lua_KContext owned)
{
    (void)status;
    struct runtime *rt = runtime_of(L);
    if (!rt->task->scope->cancelled)
        return deliver(L, rt);
    if (owned)
        give_up(L, rt);
    return lull_raisecancel(L, rt);
}

static int begin_future(lua_State *L, bool owned)
{
    struct runtime *rt = runtime_of(L);
    lull_future *f = lua_touserdata(L, OBJECT);
    if (f == &rt->task->future)
        return luaL_error(L, "a task cannot await itself");
    if (lull_future_bind(rt->loop, f) < 0)
        return luaL_error(L, "the future belongs to another loop");
    if (f->state != 0)
        return deliver(L, rt);
    lull_future_wait(rt->loop, f, &rt->task->waiter);
    return lull_park_raw(L, rt, owned, settled);
}

static int begin_observed(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return begin_future(L, false);
}

static int begin_owned(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return begin_future(L, true);
}

/* The results of an __await are above the frame, whose place is known. */
static int awaited(lua_State *L, int status, lua_KContext i)
{
    (void)status;
    int frame = (int)i;
    lull_continuation k = (lull_continuation)(intptr_t)lua_tointeger(L, frame);
    intptr_t ctx = (intptr_t)lua_tointeger(L, frame + 1);
    lua_remove(L, frame);
    lua_remove(L, frame);
    return k != NULL ? k(L, 0, ctx) : lua_gettop(L) - frame + 1;
}

/* The stack ends with: value | continuation | context. */
static int begin_object(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    int i = lua_gettop(L) - 2;
    if (luaL_getmetafield(L, i, "__await") == LUA_TNIL)
        return luaL_error(L, "a Future, a Task or a value with __await expected, got %s",
                          luaL_typename(L, i));
    lua_pushvalue(L, i);
    lua_remove(L, i);
    lua_callk(L, 1, LUA_MULTRET, i, awaited);
    return awaited(L, LUA_OK, i);
}

int lull_await_value(lua_State *L, lull_continuation k, intptr_t ctx)
{
    struct runtime *rt = runtime_of(L);
    bool future = lull_tofuture(L, rt, -1) != NULL;
    lull_push_frame(L, k, ctx);
    return lull_enter_from(L, future ? begin_observed : begin_object);
}

int lull_await_own(lua_State *L, lull_continuation k, intptr_t ctx)
{
    struct runtime *rt = runtime_of(L);
    if (lull_tofuture(L, rt, -1) == NULL)
        return luaL_error(L, "a Future or a Task expected");
    lull_push_frame(L, k, ctx);
    if (rt->running == L && rt->task->scope->cancelled)
        give_up(L, rt);
    return lull_enter_from(L, begin_owned);
}

/* ---- a moment -------------------------------------------------------------------- */

static int slept(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return lull_go_on(L, 0);
}

/* The stack ends with: ns | continuation | context. */
static int begin_sleep(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = runtime_of(L);
    int64_t ns = lua_tointeger(L, OBJECT);
    lua_remove(L, OBJECT);
    if (ns <= 0) {
        lull_wait_turn(rt->loop, &rt->task->waiter);
        return lull_park(L, slept);
    }
    lull_refresh(rt->loop);
    int64_t now = lull_now(rt->loop);
    lull_wait(&rt->task->waiter);
    return lull_await(L, ns >= LULL_FOREVER - now ? LULL_FOREVER : now + ns, slept);
}

int lull_await_sleep(lua_State *L, int64_t ns, lull_continuation k, intptr_t ctx)
{
    luaL_checkstack(L, LUA_MINSTACK, NULL);
    lua_pushinteger(L, ns);
    lull_push_frame(L, k, ctx);
    return lull_enter_from(L, begin_sleep);
}

/* ---- a descriptor ---------------------------------------------------------------- */

struct fd_wait {
    lull_io io;
    unsigned events;
    int64_t ns;
};

static int fd_close(lua_State *L)
{
    struct fd_wait *w = lua_touserdata(L, 1);
    lull_io_close(&w->io);
    return 0;
}

/* Gives the userdata on top a metatable that closes it. */
static void set_closer(lua_State *L, const char *name, lua_CFunction close)
{
    if (luaL_newmetatable(L, name)) {
        lua_pushcfunction(L, close);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, close);
        lua_setfield(L, -2, "__close");
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
}

/* The stack ends with: continuation | context | the object, which is to be closed. */
static int end_closed(lua_State *L, int status)
{
    lua_closeslot(L, -1);
    lua_pop(L, 1);
    return lull_go_on(L, status);
}

static int fd_ready(lua_State *L, int status, lua_KContext rc)
{
    (void)status;
    return end_closed(L, (int)rc);
}

static int begin_fd(lua_State *L, int status, lua_KContext rc)
{
    (void)status;
    struct runtime *rt = runtime_of(L);
    struct fd_wait *w = lua_touserdata(L, -1);
    lua_toclose(L, -1);
    rc = lull_io_wait(rt->loop, &w->io, w->events, &rt->task->waiter);
    if (rc < 0)
        return end_closed(L, (int)rc);
    lull_refresh(rt->loop);
    int64_t now = lull_now(rt->loop);
    return lull_await(L, w->ns >= LULL_FOREVER - now ? LULL_FOREVER : now + w->ns, fd_ready);
}

int lull_await_fd(lua_State *L, int fd, unsigned events, int64_t ns, lull_continuation k,
                  intptr_t ctx)
{
    if (events != LULL_READ && events != LULL_WRITE)
        return luaL_error(L, "LULL_READ or LULL_WRITE expected");
    lull_push_frame(L, k, ctx);
    struct fd_wait *w = lua_newuserdatauv(L, sizeof *w, 0);
    lull_io_init(&w->io, fd);
    w->events = events;
    w->ns = ns > 0 ? ns : 0;
    set_closer(L, "lull.fd_wait", fd_close);
    return lull_enter_from(L, begin_fd);
}

/* ---- looking --------------------------------------------------------------------- */

bool lull_can_await(lua_State *L)
{
    struct runtime *rt = lull_here;
    return rt != NULL && rt->running == L && lua_isyieldable(L);
}

bool lull_turn_due(lua_State *L)
{
    struct runtime *rt = lull_here;
    if (rt == NULL || rt->running != L)
        return false;
    lull *l = rt->object->host;
    return rt->budget <= 0 || rt->task->scope->cancelled ||
           (l != NULL && l->deadline > 0 && sys_now() >= l->deadline);
}
