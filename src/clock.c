/* What time it is: the system's monotonic clock, the host's, or a virtual one that
   stands still until the loop jumps to the next deadline.  The loop looks at the clock
   through loop->clock only, and at most once between two runs of waiters. */
#include <errno.h>
#include <time.h>

#include "loop.h"

int64_t lull_real_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t monotonic_now(void *ud)
{
    (void)ud;
    return lull_real_now();
}

static int64_t virtual_now(void *ud)
{
    lull_loop *loop = ud;
    return loop->virtual_now;
}

static void virtual_jump(void *ud, int64_t deadline)
{
    lull_loop *loop = ud;
    if (deadline > loop->virtual_now)
        loop->virtual_now = deadline;
}

void lull_clock_init(lull_loop *loop, const lull_options *o)
{
    if (o->clock != NULL)
        loop->clock = *o->clock;
    else if (o->virtual_clock)
        loop->clock = (lull_time){virtual_now, virtual_jump, loop};
    else
        loop->clock = (lull_time){.now = monotonic_now};
    loop->now = loop->clock.now(loop->clock.ud);
}

int64_t lull_now(lull_loop *loop)
{
    if (!loop->fresh) {
        int64_t now = loop->clock.now(loop->clock.ud);
        if (now > loop->now) /* a host's clock may break its promise */
            loop->now = now;
        loop->fresh = true;
    }
    return loop->now;
}

int lull_loop_advance(lull_loop *loop, int64_t ns)
{
    if (loop->clock.jump == NULL || ns < 0)
        return -EINVAL;
    int64_t now = lull_now(loop);
    loop->clock.jump(loop->clock.ud, ns > INT64_MAX - now ? INT64_MAX : now + ns);
    loop->fresh = false;
    lull_now(loop);
    lull_expire(loop); /* who is due is ready before the caller's next turn */
    return 0;
}

void lull_refresh(lull_loop *loop)
{
    loop->fresh = false;
}
