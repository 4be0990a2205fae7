/* Interrupting what runs on another thread.

   `stop` is set, then the thread is nudged (sys/nudge.c explains why it takes a signal).
   The handler runs on the thread that it is about, so it may set a hook on whatever
   coroutine runs there, which raises an error; and if a loop runs there, post to it: its
   tasks are cancelled first, and only what goes on computing is interrupted.  Code that
   catches the error has a moment for its cleanup; then everything raises. */
#include <errno.h>
#include <time.h>

#include "task.h"
#include "worker.h"

#define INTERRUPTED "ECANCELED: interrupted"

enum {
    PATIENCE = 500 * 1000000, /* ns that a loop has to come to an end by itself */
    MERCY = 200 * 1000000,    /* ns that interrupted code has for its cleanup */
    PACE = 1000               /* instructions between two looks at the clock */
};

static int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static bool stops(struct worker *w)
{
    return atomic_load_explicit(&w->stop, memory_order_relaxed);
}

/* Code outside of loops is interrupted at once; a loop that was told has some time. */
static bool is_due(const struct worker *w)
{
    if (w->raised != 0)
        return clock_now() - w->raised >= MERCY;
    return w->told == 0 || w->rt->loop == NULL || clock_now() - w->since >= PATIENCE;
}

struct worker *lull_worker_of(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    return rt->worker;
}

static void interrupt(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct worker *w = lull_worker_of(L);
    bool first = w->raised == 0;
    if (!is_due(w)) {
        lua_sethook(L, interrupt, LUA_MASKCOUNT, L == w->current ? 1 : PACE);
        return;
    }
    if (first)
        w->raised = clock_now();
    lua_sethook(L, interrupt, LUA_MASKCOUNT, first ? PACE : 1);
    lua_pushliteral(L, INTERRUPTED);
    lua_error(L);
}

static void arm(lua_State *L)
{
    lua_sethook(L, interrupt, LUA_MASKCOUNT, 1);
}

/* Has the loop that runs in the worker cancel its tasks, once. */
static void tell(struct worker *w)
{
    lull_loop *loop = w->rt->loop;
    if (loop == NULL || w->posted || w->told == lull_loop_serial(loop))
        return;
    w->posted = 1;
    w->told = lull_loop_serial(loop);
    lull_post(loop, &w->message);
}

/* In a signal handler on the worker's thread. */
void lull_worker_nudged(void *ud)
{
    struct worker *w = ud;
    lua_State *L = w->current;
    if (L == NULL || !stops(w))
        return;
    if (w->since == 0)
        w->since = clock_now();
    tell(w);
    arm(w->rt->running ? w->rt->running : L);
}

static int cancel_tasks(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lull_pushtasks(L, rt, lull_loop_serial(rt->loop));
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        struct task *t = lua_touserdata(L, -1);
        lua_pushliteral(L, "interrupted");
        lull_cancel(L, rt->loop, &t->own, -ECANCELED, lua_gettop(L));
        lua_pop(L, 2);
    }
    return 0;
}

/* From now on each resume on this loop is looked at, as if it were debugged, by a clock
   that finds nothing slow; and whoever runs the loop finds a hook when he comes back, but
   for a finalizer at the end of the state, which no hook reaches. */
static void heard(lull_loop *loop, lull_waiter *waiter)
{
    (void)loop;
    struct worker *w = container_of(waiter, struct worker, message.waiter);
    w->posted = 0;
    w->rt->slow = INT64_MAX;
    lull_worker_watch(w, w->current);
    lull_callback(w->rt, cancel_tasks, w);
}

void lull_worker_begin(struct worker *w)
{
    if (!stops(w))
        return;
    if (w->posted && lull_loop_with(w->rt, w->told) == NULL)
        w->posted = 0; /* that loop was freed before it had heard */
    tell(w);
}

void lull_worker_watch(struct worker *w, lua_State *co)
{
    if (stops(w) && co != NULL)
        arm(co);
}

int lull_worker_resume(struct worker *w, lua_State *co, lua_State *from, int nargs,
                       int *nresults)
{
    lua_State *before = w->current;
    w->current = co;
    if (stops(w)) {
        tell(w);
        arm(co);
    }
    int status = lua_resume(co, from, nargs, nresults);
    w->current = before;
    if (stops(w))
        arm(from);
    return status;
}

void lull_worker_check(lua_State *L, struct worker *w)
{
    if (!stops(w))
        return;
    lua_pushliteral(L, INTERRUPTED);
    lua_error(L);
}

void lull_worker_stop(struct worker *w)
{
    atomic_store(&w->stop, true);
}

void lull_worker_init(struct worker *w)
{
    memset(w, 0, sizeof *w);
    atomic_init(&w->stop, false);
    lull_waiter_init(&w->message.waiter, heard);
}
