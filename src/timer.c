/* Waiting for a moment.  A timer points at the waiter that it wakes; falling due is a
   wake like any other.  Most timers are timeouts that never fire, so starting and
   stopping are what must be cheap: the heap removes for real. */
#include <errno.h>

#include "loop.h"

void lull_timer_init(lull_timer *t, lull_waiter *w)
{
    *t = (lull_timer){.waiter = w};
}

int lull_timer_start(lull_loop *loop, lull_timer *t, int64_t deadline, int status)
{
    t->status = status;
    int rc = heap_set(&loop->timers, t, deadline, loop->alloc, loop->alloc_ud);
    if (loop->dozing && t->index == 1)
        lull_stir(loop); /* it is the first, and nobody knows */
    return rc;
}

void lull_timer_stop(lull_loop *loop, lull_timer *t)
{
    if (t->index != 0)
        heap_remove(&loop->timers, t);
}

bool lull_timer_started(const lull_timer *t)
{
    return t->index != 0;
}

int64_t lull_timer_deadline(const lull_loop *loop, const lull_timer *t)
{
    return loop->timers.entries[t->index - 1].key;
}

void lull_timers_expire(lull_loop *loop)
{
    struct heap *h = &loop->timers;
    while (h->count > 0 && h->entries[0].key <= loop->now) {
        lull_timer *t = h->entries[0].node;
        heap_remove(h, t);
        lull_wake(loop, t->waiter, t->status);
    }
}
