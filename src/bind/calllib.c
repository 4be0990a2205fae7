/* Calls on the pool: a function runs on another thread in a Lua state of its own, and the
   task that called it waits.  A task that gives up its wait has the function interrupted
   and thinks no more of it; the thread is free again when it is. */
#include <errno.h>
#include <stdlib.h>

#include "mission.h"
#include "worker.h"

/* What the pool has; it outlives the Call when that was given up. */
struct work {
    sys_job job; /* first */
    struct worker worker;
};

struct call {
    struct work *work; /* NULL: it is over */
    lull_list waiters; /* the task */
    lull_loop *loop;
    bool done;
};

/* ---- on the pool ------------------------------------------------------------------- */

static void run(sys_job *job)
{
    lull_worker_run(&container_of(job, struct work, job)->worker, job->keep);
}

static void release(sys_job *job)
{
    struct work *work = container_of(job, struct work, job);
    lull_worker_fini(&work->worker);
    free(work);
}

/* ---- on the loop ------------------------------------------------------------------- */

static void returned(sys_job *job)
{
    struct call *c = job->owner;
    c->done = true;
    lull_wake_all(c->loop, &c->waiters, 0);
}

static int call_close(lua_State *L)
{
    struct call *c = lua_touserdata(L, 1);
    struct work *work = c->work;
    if (work == NULL)
        return 0;
    c->work = NULL;
    while (!list_empty(&c->waiters))
        list_pop(&c->waiters);
    if (!c->done) {
        lull_worker_stop(&work->worker);
        sys_job_nudge(&work->job);
    }
    sys_job_drop(&work->job);
    return 0;
}

static _Thread_local long fuel; /* for specs: what the next call may allocate */
static _Thread_local bool anew; /* and whether it finds a state that was kept */

/* Pushes a Call. */
static struct call *newcall(lua_State *L)
{
    struct call *c = lull_newobject(L, LULL_CALL, sizeof *c, 0);
    list_init(&c->waiters);
    c->work = calloc(1, sizeof *c->work);
    if (c->work == NULL)
        luaL_error(L, "not enough memory");
    lull_worker_init(&c->work->worker);
    c->work->worker.fuel = fuel;
    c->work->worker.anew = anew;
    fuel = 0;
    anew = false;
    c->work->job.work = run;
    c->work->job.done = returned;
    c->work->job.free = release;
    c->work->job.owner = c;
    return c;
}

/* The stack: Call. */
static int waitk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct call *c = lua_touserdata(L, 1);
    if (c->done)
        return lull_worker_outcome(L, &c->work->worker);
    lull_wait(&rt->task->waiter);
    list_push(&c->waiters, &rt->task->waiter.link);
    return lull_park(L, waitk);
}

static int startk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct call *c = lua_touserdata(L, 1);
    c->loop = rt->loop;
    lua_toclose(L, 1);
    int failed = sys_pool_submit(lull_pool(L), rt->loop, SYS_WORK, &c->work->job);
    return failed ? lull_pushfail(L, failed, NULL) : waitk(L, LUA_OK, 0);
}

/* thread_call (fn, ...) -> results of fn, which ran on the pool; raises its error.
   nil, message, "EAGAIN": no thread can be had. */
static int thread_call(lua_State *L)
{
    int n = lua_gettop(L) - 1;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    const struct call *c = newcall(L);
    lull_worker_pack(L, &c->work->worker, n);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return lull_enter(L, startk);
}

/* thread_limit (lane, n): how many threads the pool may have for it. */
static int thread_limit(lua_State *L)
{
    static const char *const lanes[] = {"names", "files", "calls", NULL};
    enum sys_lane lane = (enum sys_lane)luaL_checkoption(L, 1, NULL, lanes);
    lua_Integer n = luaL_checkinteger(L, 2);
    luaL_argcheck(L, n >= 1 && n <= 1024, 2, "a number from 1 to 1024 expected");
    sys_pool_limit(lull_pool(L), lane, (unsigned)n);
    return 0;
}

/* thread_fuel (n, anew): for specs; allocation n of the next call fails, those for its
   state included if that is to be made anew. */
static int thread_fuel(lua_State *L)
{
    fuel = (long)luaL_checkinteger(L, 1);
    anew = lua_toboolean(L, 2);
    return 0;
}

static const luaL_Reg metamethods[] = {
    {"__gc", call_close}, {"__close", call_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"thread_call", thread_call},
                                     {"thread_limit", thread_limit},
                                     {"thread_fuel", thread_fuel},
                                     {NULL, NULL}};

void lull_open_call(lua_State *L)
{
    lull_newclass(L, LULL_CALL, "Call", NULL, metamethods);
    lull_open_mission(L);
    lull_setfuncs(L, functions);
}
