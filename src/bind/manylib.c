/* Waiting for many futures, in the order in which they end.  One waiter stands in the
   list of each future; the waiters of those that are done form a queue, and whoever asks
   for the next waits only while that is empty.  It observes: nothing is cancelled. */
#include "task.h"

struct many;

struct watcher {
    lull_waiter waiter; /* first in the list of its future, then in the queue */
    struct many *many;
};

/* uservalue 1: the list of futures, in the order of the watchers. */
struct many {
    lull_list queue;    /* of the waiters of what is done and was not told yet */
    lull_list sleepers; /* tasks that wait for the next */
    uint32_t count, told;
    struct watcher watchers[];
};

static void arrive(lull_loop *loop, struct watcher *w)
{
    struct many *m = w->many;
    list_push(&m->queue, &w->waiter.link);
    lull_wake_all(loop, &m->sleepers, 0);
}

static void done(lull_loop *loop, lull_waiter *w)
{
    arrive(loop, container_of(w, struct watcher, waiter));
}

static struct many *new_many(lua_State *L, size_t n)
{
    struct many *m = lull_newobject(L, LULL_MANY, sizeof *m + n * sizeof *m->watchers, 1);
    list_init(&m->queue);
    list_init(&m->sleepers);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return m;
}

/* many (list) -> Many; the list is used, not copied */
static int many(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    luaL_checktype(L, 1, LUA_TTABLE);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    size_t n = lua_rawlen(L, 1);
    struct many *m = new_many(L, n);
    while (m->count < n) {
        struct watcher *w = &m->watchers[m->count++];
        lull_waiter_init(&w->waiter, done);
        w->many = m;
        lua_rawgeti(L, 1, m->count);
        lull_future *f = lull_tofuture(L, rt, -1);
        luaL_argcheck(L, f != NULL, 1, "futures expected");
        lull_take(rt, f);
        if (lull_future_bind(rt->loop, f) < 0)
            return luaL_error(L, "the future belongs to another loop");
        if (lull_future_wait(rt->loop, f, &w->waiter) < 0)
            arrive(rt->loop, w);
        lua_pop(L, 1);
    }
    return 1;
}

static struct many *checkmany(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_MANY);
}

static int nextk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct many *m = lua_touserdata(L, 1);
    if (m->told == m->count)
        return 0;
    if (!list_empty(&m->queue)) {
        lull_list *link = list_pop(&m->queue);
        lua_Integer i = container_of(link, struct watcher, waiter.link) - m->watchers + 1;
        m->told++;
        lua_getiuservalue(L, 1, 1);
        lua_rawgeti(L, -1, i);
        lua_pushinteger(L, i);
        return 2;
    }
    lull_wait(&rt->task->waiter);
    list_push(&m->sleepers, &rt->task->waiter.link);
    return lull_park(L, nextk);
}

/* many:next () -> future, its place in the list; nothing when all have been told */
static int next(lua_State *L)
{
    checkmany(L);
    lua_settop(L, 1);
    return lull_enter(L, nextk);
}

static int many_tostring(lua_State *L)
{
    struct many *m = checkmany(L);
    lua_pushfstring(L, "futures (%d of %d seen)", (int)m->told, (int)m->count);
    return 1;
}

/* Also the end of a loop over it: takes the waiters out of the futures. */
static int many_close(lua_State *L)
{
    struct many *m = lua_touserdata(L, 1);
    for (uint32_t i = 0; i < m->count; i++)
        lull_forget(&m->watchers[i].waiter);
    m->told = m->count;
    return 0;
}

static const luaL_Reg methods[] = {{"next", next}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", many_close},
                                       {"__gc", many_close},
                                       {"__tostring", many_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"many", many}, {NULL, NULL}};

void lull_open_many(lua_State *L)
{
    lull_newclass(L, LULL_MANY, "Futures", methods, metamethods);
    lull_setfuncs(L, functions);
}
