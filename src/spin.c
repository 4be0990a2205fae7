/* Looking for a while before sleeping, for loops that were made to (lull_options.spin).

   Going to sleep and being woken costs some microseconds more than a look that finds
   something, and where the processor has dozed off meanwhile some tens.  Whoever has a
   core to spare may spend it on that: until `spin` has passed, or the next timer is due,
   the selector is asked without sleeping.

   A loop that waits for long would burn that time at each wait for nothing.  So every
   vain attempt doubles the number of waits that just sleep before the next one, and one
   that found something halves it.  It is a count, not a guess from how long things took:
   on a core that it shares with its peer, the peer answers quickly, but only once the
   loop sleeps. */
#include "loop.h"

enum { RAREST = 1023 }; /* waits that just sleep, at most, between two attempts */

/* Has it to sleep this time?  Counts down. */
static bool gives_up(lull_loop *loop)
{
    if (loop->spin <= 0)
        return true;
    return loop->skipped > 0 && loop->skipped-- > 0;
}

static void was_vain(lull_loop *loop)
{
    if (loop->vain < RAREST)
        loop->vain = loop->vain * 2 + 1;
    loop->skipped = loop->vain;
}

int lull_rest(lull_loop *loop, int64_t timeout)
{
    if (timeout == 0 || gives_up(loop))
        return lull_collect(loop, timeout);
    int64_t start = lull_now(loop), spent;
    bool due;
    do {
        int rc = lull_collect(loop, 0);
        spent = lull_now(loop) - start;
        due = timeout > 0 && spent >= timeout;
        if (rc != 0 || due || loop->stopping || !list_empty(&loop->ready)) {
            loop->vain /= 2;
            return rc;
        }
    } while (spent < loop->spin);
    was_vain(loop);
    return lull_collect(loop, timeout < 0 ? timeout : timeout - spent);
}
