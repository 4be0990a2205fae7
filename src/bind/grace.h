/* A grace: how long somebody outside may take.  It is over when the loop's clock says so,
   and on a virtual one, which stands still for as long as a thread or a child is at work,
   when so much real time has passed: nobody outside knows of that clock. */
#ifndef LULL_GRACE_H
#define LULL_GRACE_H

#include "bind.h"

struct grace {
    lull_timer timer;
    lull_io real; /* becomes readable when it is over, on a virtual clock */
};

/* w will be woken with 0. */
void lull_grace_init(struct grace *g, lull_waiter *w);

/* w waits from now on, for ns.  -errno: it does not. */
int lull_grace_start(lull_loop *loop, struct grace *g, int64_t ns);

/* w is forgotten.  Also one that is over has to be stopped. */
void lull_grace_stop(lull_loop *loop, struct grace *g);

#endif
