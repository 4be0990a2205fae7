/* A list of waiters: those who wait for one thing, in the order in which they came. */
#ifndef LULL_WAITERS_H
#define LULL_WAITERS_H

#include "list.h"

/* Wakes all of them; the list is empty afterwards. */
static inline void lull_wake_all(lull_loop *loop, lull_list *waiters, int status)
{
    while (!list_empty(waiters))
        lull_wake(loop, container_of(waiters->next, lull_waiter, link), status);
}

#endif
