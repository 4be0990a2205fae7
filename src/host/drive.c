/* Driving a runtime: to the end, or step by step, and what a host between two steps has
   to know.  All of it is the same loop; only who sleeps differs. */
#include "host.h"

#include <stdlib.h>

#include "apart.h"

/* ---- steps and runs -------------------------------------------------------------- */

/* What has to be said beside how the loop came back; the most important first. */
static int conclude(lull *l, int rc)
{
    bool stopped = l->stopped, failed = l->failed;
    l->stopped = l->failed = false;
    if (l->doomed)
        return lull_close(l, l->grace) == 0 ? LULL_STEP_CLOSED : LULL_STEP_STOPPED;
    lull_guest_arm(l);
    if (rc < 0)
        return rc;
    if (failed)
        return LULL_STEP_FAILED;
    if (stopped)
        return LULL_STEP_STOPPED;
    bool done = l->object->tasks == l->object->daemons && l->object->lingering == 0;
    return rc == LULL_STEP_IDLE && done ? LULL_STEP_DONE : rc;
}

static int begin(lull *l, struct frame *saved)
{
    if (l->loop == NULL)
        return -ECANCELED;
    if (l->driving || l->ending || l->rt->object->running)
        return -EBUSY;
    if (l->doomed) /* it was called where nobody drove */
        return lull_close(l, l->grace) == 0 ? LULL_STEP_CLOSED : -EBUSY;
    lull_guest_disarm(l);
    *saved = lull_begin_run(l->L, l->rt, l->object);
    l->driving = true;
    return 0;
}

static int end(lull *l, struct frame saved, int rc)
{
    l->driving = false;
    lull_end_run(l->rt, l->object, saved);
    lua_settop(l->L, 0);
    return conclude(l, rc);
}

int lull_step(lull *l, const lull_budget *budget)
{
    struct frame saved;
    int rc = begin(l, &saved);
    if (rc != 0)
        return rc;
    lull_watch_step(l, budget);
    rc = lull_loop_step(l->loop, budget);
    lull_unwatch(l);
    return end(l, saved, rc);
}

/* (lull *, report): keeps a deadlock report as a failure of nobody. */
static int keep_report(lua_State *L)
{
    lull *l = lua_touserdata(L, 1);
    lua_settop(L, 4);
    lull_tell_host(L, l, 2);
    return 0;
}

/* Runs until all have ended, and tells of the failures that nobody can take any more;
   whom that started has to end as well. */
static int run_to_the_end(lull *l)
{
    struct loop *o = l->object;
    int rc;
    do {
        rc = lull_run_drained(l->L, o);
        if (rc != 0 || o->tasks != o->daemons)
            break;
        lull_review(l->rt, o);
    } while (o->tasks != o->daemons && !l->stopped && !l->doomed);
    return rc;
}

int lull_run(lull *l)
{
    struct frame saved;
    int rc = begin(l, &saved);
    if (rc != 0)
        return rc;
    lull_watch_run(l);
    rc = run_to_the_end(l);
    lull_unwatch(l);
    if (rc == -EDEADLK) {
        lull_protected_on(l->L, keep_report, l, 1, 0);
        l->failed = false; /* the result says so */
    } else if (rc == 0 && l->object->tasks != l->object->daemons)
        rc = LULL_STEP_STOPPED;
    return end(l, saved, rc);
}

void lull_stop(lull *l)
{
    l->stopped = true;
    if (l->loop != NULL)
        lull_loop_stop(l->loop);
}

/* ---- between two steps ----------------------------------------------------------- */

int64_t lull_next_wake(lull *l)
{
    return l->loop ? lull_loop_next_wake(l->loop) : LULL_FOREVER;
}

int lull_descriptor(const lull *l)
{
    return l->loop ? lull_loop_descriptor(l->loop) : -ECANCELED;
}

void lull_nudge(lull *l)
{
    if (l->guest != NULL && !l->driving && !l->ending)
        lull_wakeup(l->loop);
}

/* ---- calls from other threads ---------------------------------------------------- */

struct call {
    sys_letter letter;
    lull *l;
    void (*fn)(lull *l, void *ud);
    void *ud;
};

/* (call) */
static int call_in_lua(lua_State *L)
{
    struct call *call = lua_touserdata(L, 1);
    void (*fn)(lull *l, void *ud) = call->fn;
    call->fn = NULL;
    lua_settop(L, 0);
    fn(call->l, call->ud);
    return 0;
}

/* On the main stack, for that is what fn has at hand: what it raises there is
   reported. */
static void call_home(struct call *call)
{
    lua_State *L = call->l->main;
    if (!lua_checkstack(L, LUA_MINSTACK))
        return;
    lua_pushcfunction(L, call_in_lua);
    lua_pushlightuserdata(L, call);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK && call->fn == NULL)
        lull_report_callback(call->l, L);
    else if (call->fn != NULL)
        lua_pop(L, 1);
}

static void arrive(sys_letter *letter, bool late)
{
    struct call *call = container_of(letter, struct call, letter);
    if (!late)
        call_home(call);
    if (call->fn != NULL) /* nobody is at home, or has memory */
        call->fn(late ? NULL : call->l, call->ud);
    free(call);
}

int lull_call(lull *l, void (*fn)(lull *l, void *ud), void *ud, unsigned limit)
{
    struct call *call = malloc(sizeof *call); /* Lua's allocator belongs to its thread */
    if (call == NULL)
        return -ENOMEM;
    *call = (struct call){.letter.arrive = arrive, .l = l, .fn = fn, .ud = ud};
    int rc = sys_door_send(l->door, &call->letter, limit);
    if (rc < 0)
        free(call);
    return rc;
}
