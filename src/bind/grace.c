/* A timer of the loop, and beside it where the clock is virtual one of the system's. */
#include "grace.h"

#include <errno.h>

#include "sys.h"

void lull_grace_init(struct grace *g, lull_waiter *w)
{
    lull_timer_init(&g->timer, w);
    lull_io_init(&g->real, -1);
}

static int count_down(lull_loop *loop, struct grace *g, int64_t ns)
{
    int fd = sys_countdown(ns);
    if (fd < 0)
        return fd == -ENOSYS ? 0 : fd;
    lull_io_init(&g->real, fd);
    return lull_io_wait(loop, &g->real, LULL_READ, g->timer.waiter);
}

int lull_grace_start(lull_loop *loop, struct grace *g, int64_t ns)
{
    bool is_virtual = lull_loop_advance(loop, 0) == 0;
    lull_grace_stop(loop, g);
    lull_refresh(loop); /* somebody may have computed for long */
    int64_t now = lull_now(loop);
    lull_wait(g->timer.waiter);
    int rc = lull_timer_start(loop, &g->timer,
                              ns < LULL_FOREVER - now ? now + ns : LULL_FOREVER, 0);
    if (rc == 0 && is_virtual)
        rc = count_down(loop, g, ns);
    if (rc < 0)
        lull_grace_stop(loop, g);
    return rc;
}

void lull_grace_stop(lull_loop *loop, struct grace *g)
{
    lull_timer_stop(loop, &g->timer);
    lull_forget(g->timer.waiter);
    if (g->real.watch.fd < 0)
        return;
    lull_io_close(&g->real);
    sys_close(g->real.watch.fd);
    g->real.watch.fd = -1;
}
