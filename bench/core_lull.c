/* lull's timers measured where they live, in the core, without Lua: the same work as
   timers.c does with a textbook heap. */
#define _GNU_SOURCE
#include "bench.h"

#include <lull.h>

/* A timer and whom it wakes. */
struct sleeper {
    lull_timer timer;
    lull_waiter waiter;
};

static lull_loop *loop;
static long ran;

static void run(lull_loop *l, lull_waiter *w) { (void)l, (void)w, ran++; }

static void open_timers(long live)
{
    (void)live;
    lull_options options = {.size = sizeof options, .virtual_clock = true};
    if (lull_loop_new(&loop, &options) < 0)
        die("lull_loop_new");
}

static void begin(struct sleeper *s)
{
    lull_waiter_init(&s->waiter, run);
    lull_timer_init(&s->timer, &s->waiter);
    lull_wait(&s->waiter);
}

static void start(lull_timer *t, int64_t deadline)
{
    if (lull_timer_start(loop, t, deadline, 0) < 0)
        die("lull_timer_start");
}

static void stop(lull_timer *t) { lull_timer_stop(loop, t); }

/* A turn looks at the selector once, and runs those who are due. */
static void pass(int64_t time)
{
    if (lull_loop_advance(loop, time) < 0 || lull_loop_turn(loop) < 0)
        die("turn");
}

#include "timerrows.h"
