/* Work in C that would hold up the loop, done by a thread of the pool while a task waits.
   A task that is cancelled meanwhile leaves the work to itself. */
#include "host.h"

#include <stdlib.h>

#include "sys.h"

struct work {
    sys_job job;
    void (*work)(void *ud);
    void (*release)(void *ud);
    void *ud;
    lull_list waiters;
    lull_loop *loop;
    bool done;
};

static void do_work(sys_job *job)
{
    struct work *w = container_of(job, struct work, job);
    w->work(w->ud);
}

static void work_done(sys_job *job)
{
    struct work *w = container_of(job, struct work, job);
    w->done = true;
    lull_wake_all(w->loop, &w->waiters, 0);
}

static void work_free(sys_job *job)
{
    struct work *w = container_of(job, struct work, job);
    if (w->release != NULL)
        w->release(w->ud);
    free(w);
}

static int guard_close(lua_State *L)
{
    struct work **guard = lua_touserdata(L, 1), *w = *guard;
    *guard = NULL;
    if (w == NULL)
        return 0;
    while (!list_empty(&w->waiters))
        list_pop(&w->waiters);
    sys_job_drop(&w->job);
    return 0;
}

/* (work) -> the guard that drops it */
static int make_guard(lua_State *L)
{
    struct work **guard = lua_newuserdatauv(L, sizeof(struct work *), 0);
    *guard = NULL;
    if (luaL_newmetatable(L, "lull.work")) {
        lua_pushcfunction(L, guard_close);
        lua_setfield(L, -2, "__gc");
        lua_pushcfunction(L, guard_close);
        lua_setfield(L, -2, "__close");
        lua_pushboolean(L, false);
        lua_setfield(L, -2, "__metatable");
    }
    lua_setmetatable(L, -2);
    *guard = lua_touserdata(L, 1);
    return 1;
}

static struct work *new_work(void (*fn)(void *ud), void (*release)(void *ud), void *ud)
{
    struct work *w = calloc(1, sizeof *w);
    if (w == NULL)
        return NULL;
    w->job.work = do_work;
    w->job.done = work_done;
    w->job.free = work_free;
    w->work = fn;
    w->release = release;
    w->ud = ud;
    list_init(&w->waiters);
    return w;
}

/* The stack ends with: continuation | context | guard. */
static int finish(lua_State *L, int status)
{
    lua_closeslot(L, -1);
    lua_pop(L, 1);
    return lull_go_on(L, status);
}

static int waitk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_here;
    struct work *w = *(struct work **)lua_touserdata(L, -1);
    if (w->done)
        return finish(L, 0);
    lull_wait(&rt->task->waiter);
    list_push(&w->waiters, &rt->task->waiter.link);
    return lull_park(L, waitk);
}

static int begin(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_here;
    struct work *w = *(struct work **)lua_touserdata(L, -1);
    lua_toclose(L, -1);
    w->loop = rt->loop;
    rc = sys_pool_submit(lull_pool(L), rt->loop, SYS_WORK, &w->job);
    return rc < 0 ? finish(L, (int)rc) : waitk(L, status, 0);
}

int lull_await_work(lua_State *L, void (*fn)(void *ud), void (*release)(void *ud), void *ud,
                    lull_continuation k, intptr_t ctx)
{
    struct work *w = lua_checkstack(L, LUA_MINSTACK) ? new_work(fn, release, ud) : NULL;
    if (w == NULL) {
        if (release != NULL)
            release(ud);
        return luaL_error(L, "not enough memory");
    }
    lull_push_frame(L, k, ctx);
    lua_pushcfunction(L, make_guard);
    lua_pushlightuserdata(L, w);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        work_free(&w->job);
        return lua_error(L);
    }
    return lull_enter_from(L, begin);
}
