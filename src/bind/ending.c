/* The end of a loop: everybody is cancelled and waited for, as long as somebody has patience;
   who is left then is ended the hard way.  Nothing here may raise: see run.c. */
#include "grace.h"
#include "looplib.h"

#include <errno.h>

enum { TURNS = 10000 }; /* without waiting, at most */

/* Calls f for every live task of the loop; f may end it.  Needs no memory. */
static void each_task(lua_State *L, struct runtime *rt, struct loop *o,
                      void (*f)(lua_State *L, struct runtime *rt, struct task *t))
{
    int top = lua_gettop(L);
    for (uint32_t i = 1; i <= rt->idle.slots; i++, lua_settop(L, top)) {
        struct task *t = lull_pushlive(L, rt, i, o->serial);
        if (t != NULL)
            f(L, rt, t);
    }
}

/* cancel (task): with a reason, for which there may be no memory. */
static int cancel_because(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    lua_pushliteral(L, "the loop ends");
    lull_cancel(L, lull_pushruntime(L)->loop, &t->own, -ECANCELED, 2);
    return 0;
}

static void cancel_task(lua_State *L, struct runtime *rt, struct task *t)
{
    lua_pushcfunction(L, cancel_because);
    lua_pushlightuserdata(L, t);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lull_scope_cancel(rt->loop, &t->own, -ECANCELED);
}

static void kill_task(lua_State *L, struct runtime *rt, struct task *t)
{
    cancel_task(L, rt, t);
    lull_kill(rt, t);
}

/* ---- patience -------------------------------------------------------------------- */

struct patience {
    lull_waiter waiter;
    struct grace grace;
    int64_t time; /* LULL_FOREVER; 0: nothing is waited for */
    unsigned turns;
    bool over;
};

static void lose_patience(lull_loop *loop, lull_waiter *w)
{
    container_of(w, struct patience, waiter)->over = true;
    lull_loop_stop(loop);
}

static void begin(struct patience *p, lull_loop *loop, int64_t time)
{
    *p = (struct patience){.time = time, .turns = TURNS};
    lull_waiter_init(&p->waiter, lose_patience);
    lull_grace_init(&p->grace, &p->waiter);
    if (time > 0 && time < LULL_FOREVER / 2 &&
        lull_grace_start(loop, &p->grace, time) < 0)
        p->time = 0;
}

static void end(struct patience *p, lull_loop *loop)
{
    lull_grace_stop(loop, &p->grace);
}

/* Runs the loop; false: there is no point, or no patience, to run it any more. */
static bool run(struct patience *p, lull_loop *loop)
{
    lull_census left;
    if (p->over)
        return false;
    if (p->time > 0)
        return lull_loop_run(loop) == 0 && !p->over;
    lull_loop_census(loop, &left);
    return left.ready > 0 && p->turns-- > 0 && lull_loop_turn(loop) >= 0;
}

void lull_clear(lua_State *L, struct runtime *rt, struct loop *o, int64_t grace)
{
    struct patience p;
    begin(&p, o->core, grace);
    o->end = UNTIL_EMPTY;
    each_task(L, rt, o, cancel_task);
    do {
        while (!lull_drained(o)) {
            if (run(&p, o->core))
                continue;
            each_task(L, rt, o, kill_task);
            o->lingering = 0;
        }
    } while (lull_close_transports(o) || lull_close_streams(L, rt, o->core));
    o->end = UNTIL_STOPPED;
    end(&p, o->core);
}
