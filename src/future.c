/* Waiting for someone's word, given once.  What the word is belongs to the owner; here
   is only who waits for it.  A future binds to the loop of its first wait or settlement,
   by serial number, for the loop may be gone when it is looked at again. */
#include <errno.h>

#include "loop.h"

void lull_future_init(lull_future *f)
{
    *f = (lull_future){0};
    list_init(&f->waiters);
}

int lull_future_bind(lull_loop *loop, lull_future *f)
{
    if (f->loop == 0)
        f->loop = loop->serial;
    return f->loop == loop->serial ? 0 : -EXDEV;
}

int lull_future_wait(lull_loop *loop, lull_future *f, lull_waiter *w)
{
    if (f->state != 0)
        return -EALREADY;
    if (lull_future_bind(loop, f) < 0)
        return -EXDEV;
    w->status = LULL_PENDING;
    list_push(&f->waiters, &w->link);
    return 0;
}

int lull_future_settle(lull_loop *loop, lull_future *f, unsigned state)
{
    if (f->state != 0)
        return -EALREADY;
    if (lull_future_bind(loop, f) < 0)
        return -EXDEV;
    f->state = (uint8_t)state;
    lull_wake_all(loop, &f->waiters, 0);
    return 0;
}
