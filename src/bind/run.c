/* Running a loop: until a future is done, until everybody has ended, or for ever; and
   what a deadlock is told as.  How everybody is sent home is in ending.c.

   User code may run only inside protected calls here: the loop of the core knows no
   longjmp, so nothing may be raised between lull_begin_run and lull_end_run. */
#include "looplib.h"

#include <errno.h>

static const char deadlock_key;

_Thread_local struct runtime *lull_here;

struct frame lull_begin_run(lua_State *L, struct runtime *rt, struct loop *o)
{
    struct frame saved = {rt->running, rt->L, rt->base, rt->outer, rt->inner, rt->task,
                          rt->loop, rt->object, lull_here, rt->budget, rt->slow};
    lull_here = rt;
    rt->running = rt->outer = rt->inner = NULL;
    rt->task = NULL;
    rt->L = L;
    rt->loop = o->core;
    rt->object = o;
    rt->slow = o->debug ? o->slow : 0;
    o->running = true;
    if (rt->worker != NULL)
        lull_worker_begin(rt->worker);
    return saved;
}

void lull_end_run(struct runtime *rt, struct loop *o, struct frame saved)
{
    o->running = false;
    lull_here = saved.here;
    rt->running = saved.running;
    rt->L = saved.L;
    rt->base = saved.base;
    rt->outer = saved.outer;
    rt->inner = saved.inner;
    rt->task = saved.task;
    rt->loop = saved.loop;
    rt->object = saved.object;
    rt->budget = saved.budget;
    rt->slow = saved.slow;
}

static void until_done(lull_loop *core, lull_waiter *w)
{
    (void)w;
    lull_loop_stop(core);
}

/* One line and the stack of each task. */
static void push_deadlock(lua_State *L, struct runtime *rt, struct loop *o)
{
    luaL_Buffer b;
    int top = lua_gettop(L);
    lull_pushtasks(L, rt, o->serial);
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "deadlock: nothing can wake any of these tasks");
    for (lua_Integer j = 1;; j++) {
        if (lua_rawgeti(L, top + 1, j) == LUA_TNIL)
            break;
        struct task *t = lua_touserdata(L, -1);
        luaL_tolstring(L, -1, NULL);
        lull_pushstack(L, t);
        lua_pushfstring(L, "\n%s\n%s", lua_tostring(L, -2), lua_tostring(L, -1));
        lua_insert(L, -4);
        lua_pop(L, 3);
        luaL_addvalue(&b);
    }
    lua_pop(L, 1);
    luaL_pushresult(&b);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

static int deadlock_report(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    push_deadlock(L, rt, rt->object);
    if (lull_pushheld(L, &deadlock_key) == LUA_TFUNCTION) {
        lua_pushvalue(L, -2);
        lua_call(L, 1, 1);
        if (lua_toboolean(L, -1))
            return 0; /* somebody knows what to do */
    }
    lua_pop(L, 1);
    return 1;
}

/* How a run came out, beside -errno of the selector.  It is told after lull_end_run only. */
enum { WELL, STOPPED, DEADLOCK /* the report is on top of the stack */ };

/* Runs the core's loop until it is stopped. */
static int run_core(lua_State *L, struct loop *o, int (*run)(lull_loop *loop))
{
    for (;;) {
        int rc = run(o->core);
        if (rc != -EDEADLK)
            return rc;
        lua_pushcfunction(L, deadlock_report);
        if (lua_pcall(L, 0, 1, 0) != LUA_OK || !lua_isnil(L, -1))
            return DEADLOCK;
        lua_pop(L, 1);
    }
}

/* Raises how a run came out. */
static int fail(lua_State *L, int rc)
{
    if (rc == DEADLOCK)
        return lua_error(L);
    if (rc == STOPPED)
        return luaL_error(L, "the loop was stopped before the future was done");
    lull_pushfail(L, rc, NULL);
    lua_pop(L, 1);
    return lua_error(L);
}

/* Calls what was due when the last task ended, as its done callbacks were.  One turn
   only: nobody waits for what is called later still. */
static void last_turn(struct loop *o)
{
    lull_census left;
    lull_loop_census(o->core, &left);
    if (left.ready > 0)
        lull_loop_turn(o->core);
}

/* Runs until nobody but daemons is left. */
static int drain(lua_State *L, struct loop *o)
{
    int rc;
    bool ended;
    o->end = UNTIL_DAEMONS;
    do {
        rc = lull_drained(o) ? WELL : run_core(L, o, lull_loop_run);
        ended = rc == WELL && lull_drained(o);
        if (ended)
            last_turn(o);
    } while (ended && !lull_drained(o)); /* a callback has spawned somebody */
    o->end = UNTIL_STOPPED;
    return rc;
}

int lull_run_drained(lua_State *L, struct loop *o)
{
    int rc = drain(L, o);
    return rc == DEADLOCK ? -EDEADLK : rc;
}

/* Runs until the future at i is done. */
static int run_until(lua_State *L, struct loop *o, int i)
{
    lull_future *f = lua_touserdata(L, i);
    if (f->state != 0)
        return WELL;
    lull_waiter_init(&o->until, until_done);
    lull_future_wait(o->core, f, &o->until);
    int rc = run_core(L, o, lull_loop_run);
    lull_forget(&o->until);
    return rc == WELL && f->state == 0 ? STOPPED : rc;
}

/* (runtime, fn, ...) -> Task */
static int spawn_protected(lua_State *L)
{
    lull_spawn(L, lua_touserdata(L, 1), lua_gettop(L) - 2, NULL);
    return 1;
}

/* Spawns the main task of function and arguments from index 2 on: it stands there then.
   Nothing may be raised once the runtime has been laid over, so this comes first. */
static struct task *spawn_main(lua_State *L, struct runtime *rt, struct loop *o)
{
    lull_loop *loop = rt->loop;
    struct loop *object = rt->object;
    luaL_checkstack(L, 40, NULL); /* the run itself pushes on this state */
    rt->loop = o->core;
    rt->object = o;
    lua_pushcfunction(L, spawn_protected);
    lua_pushlightuserdata(L, rt);
    lua_rotate(L, 2, 2);
    int status = lua_pcall(L, lua_gettop(L) - 2, 1, 0);
    rt->loop = loop;
    rt->object = object;
    if (status != LUA_OK)
        lua_error(L);
    return lua_touserdata(L, 2);
}

/* A loop runs where no loop runs, or, on the virtual clock, anywhere. */
static struct loop *checkidle(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = lull_checkloopobject(L);
    if (o->running)
        luaL_error(L, "the loop is running already");
    if (o->host != NULL)
        luaL_error(L, "this loop is driven by the host");
    if (rt->loop != NULL && rt->object->running && !o->virtual_clock)
        luaL_error(L, "a loop cannot run inside of another one");
    return o;
}

/* loop:run (fn, ...) -> results: fn as the main task, then every task that is no daemon;
   then daemons are cancelled.  If fn fails all the others are cancelled at once. */
static int loop_run(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkidle(L);
    lull_checkcallable(L, 2);
    struct task *main = spawn_main(L, rt, o);
    struct frame saved = lull_begin_run(L, rt, o);
    int rc = run_until(L, o, 2);
    if (rc == WELL && main->future.state == LULL_RESULT)
        rc = drain(L, o);
    main->future.flags |= LULL_TAKEN;
    lull_clear(L, rt, o, LULL_FOREVER);
    last_turn(o);
    lull_clear(L, rt, o, LULL_FOREVER);
    lull_review(rt, o);
    lull_end_run(rt, o, saved);
    return rc == WELL ? lull_pushoutcome(L, rt, 2) : fail(L, rc);
}

/* loop:run_until_complete (fn | future, ...) -> results: other tasks stay where they are. */
static int run_until_complete(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkidle(L);
    bool future = lull_test(L, rt, 2, LULL_FUTURE) || lull_test(L, rt, 2, LULL_TASK);
    if (!future) {
        lull_checkcallable(L, 2);
        spawn_main(L, rt, o);
    }
    lull_future *f = lua_touserdata(L, 2);
    f->flags |= LULL_TAKEN;
    if (lull_future_bind(o->core, f) < 0)
        return luaL_error(L, "the future belongs to another loop");
    struct frame saved = lull_begin_run(L, rt, o);
    int rc = run_until(L, o, 2);
    lull_end_run(rt, o, saved);
    return rc == WELL ? lull_pushoutcome(L, rt, 2) : fail(L, rc);
}

/* loop:run_forever (): until loop:stop */
static int run_forever(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkidle(L);
    struct frame saved = lull_begin_run(L, rt, o);
    int rc = run_core(L, o, lull_loop_run_forever);
    lull_end_run(rt, o, saved);
    return rc == WELL ? 0 : fail(L, rc);
}

/* loop:close (): cancels and ends what still runs on it, then frees it. */
int lull_loop_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = lull_check(L, rt, 1, LULL_LOOP);
    if (o->core == NULL)
        return 0;
    if (o->running || o->host != NULL)
        return luaL_error(L, "the loop is running");
    luaL_checkstack(L, 40, NULL);
    struct frame saved = lull_begin_run(L, rt, o);
    lull_clear(L, rt, o, LULL_FOREVER);
    lull_review(rt, o);
    lull_end_run(rt, o, saved);
    lull_drop_loop(L, rt, o);
    return 0;
}

/* on_deadlock (fn): is told the report, and may know what to do. */
static int on_deadlock(lua_State *L)
{
    lua_settop(L, 1);
    lull_hold(L, &deadlock_key);
    return 0;
}

static const luaL_Reg methods[] = {{"run", loop_run},
                                   {"run_until_complete", run_until_complete},
                                   {"run_forever", run_forever},
                                   {"close", lull_loop_close},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"on_deadlock", on_deadlock}, {NULL, NULL}};

void lull_open_run(lua_State *L)
{
    lull_addmethods(L, LULL_LOOP, methods);
    lull_setfuncs(L, functions);
}
