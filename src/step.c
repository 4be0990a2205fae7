/* Driven by somebody else: the step, which never sleeps, how long it has time until the
   next, and what a host may poll meanwhile.

   A step is one look, then the ready until there are none.  It does not look again: so
   neither a timer that is started anew all the time nor a peer that answers at once can
   keep a step from ending.  Only who wakes each other without end can, hence the budget. */
#include "loop.h"

#include <errno.h>
#include <string.h>

/* ---- turns ------------------------------------------------------------------------ */

void lull_wait_turn(lull_loop *loop, lull_waiter *w)
{
    lull_wait(w);
    if (loop->stepping) /* waits there like anywhere: a cancellation may wake it before */
        list_push(&loop->later, &w->link);
    else
        lull_wake(loop, w, 0);
}

void lull_wake_later(lull_loop *loop)
{
    lull_wake_all(loop, &loop->later, 0);
}

/* ---- the step --------------------------------------------------------------------- */

static bool was_called(const lull_loop *loop)
{
    return atomic_load(&loop->awake) || atomic_load(&loop->posted) != NULL;
}

/* The selector is not asked where there is nothing that it could tell. */
static int look(lull_loop *loop)
{
    if (!list_empty(&loop->ios) || was_called(loop))
        return lull_collect(loop, 0);
    loop->crowded = 0;
    loop->fresh = false;
    if (loop->timers.count > 0)
        lull_now(loop);
    return 0;
}

void lull_loop_spend(lull_loop *loop)
{
    loop->spent = true;
}

static bool is_spent(const lull_loop *loop, const lull_budget *b, uint64_t ran, int64_t start)
{
    return loop->spent || (b->resumes > 0 && ran >= b->resumes) ||
           (b->ns > 0 && lull_real_now() - start >= b->ns);
}

static int run_ready(lull_loop *loop, const lull_budget *b, int64_t start)
{
    for (uint64_t ran = 0;; ran++) {
        if (list_empty(&loop->batch))
            list_move(&loop->batch, &loop->ready);
        if (loop->stopping)
            return LULL_STEP_STOPPED;
        if (list_empty(&loop->batch))
            return loop->spent ? LULL_STEP_SPENT : LULL_STEP_IDLE;
        if (ran > 0 && is_spent(loop, b, ran, start))
            return LULL_STEP_SPENT;
        lull_run_next(loop);
    }
}

int lull_loop_step(lull_loop *loop, const lull_budget *budget)
{
    lull_budget b = {0};
    if (loop->running)
        return -EBUSY;
    if (budget != NULL)
        memcpy(&b, budget, budget->size < sizeof b ? budget->size : sizeof b);
    int64_t start = b.ns > 0 ? lull_real_now() : 0;
    loop->running = loop->stepping = true;
    loop->spent = false;
    lull_wake_later(loop);
    int rc = look(loop);
    if (rc >= 0) {
        lull_expire(loop);
        rc = run_ready(loop, &b, start);
        list_move(&loop->batch, &loop->ready); /* who did not come to run is first now */
        list_move(&loop->ready, &loop->batch);
    }
    loop->running = loop->stepping = loop->stopping = false;
    return rc;
}

/* ---- between two steps ------------------------------------------------------------ */

int64_t lull_loop_next_wake(lull_loop *loop)
{
    if (!list_empty(&loop->ready) || !list_empty(&loop->later) || loop->crowded > 0 ||
        was_called(loop))
        return 0;
    if (loop->timers.count == 0)
        return LULL_FOREVER;
    lull_refresh(loop);
    int64_t now = lull_now(loop), due = loop->timers.entries[0].key;
    return due > now ? due - now : 0;
}

void lull_loop_doze(lull_loop *loop, bool dozes)
{
    loop->dozing = dozes;
}

void lull_stir(lull_loop *loop)
{
    loop->dozing = false;
    lull_wakeup(loop);
}

int lull_loop_descriptor(const lull_loop *loop)
{
    if (loop->backend->descriptor == NULL)
        return -ENOSYS;
    return loop->backend->descriptor(loop->selector);
}
