/* lull's timers measured where they live, in the core, without Lua: the same work as
   timers.c does with a textbook heap.
     core_lull start N      a timeout later than the LIVE others is started and stopped
     core_lull restart N    a random one of a million live timers gets a random deadline */
#define _GNU_SOURCE
#include "bench.h"

#include <lull.h>

enum { LIVE = 1000, MANY = 1000000, SPAN = 1000000000 };

static lull_loop *loop;
static lull_waiter nobody;

static void never(lull_loop *l, lull_waiter *w) { (void)l, (void)w; }

static void start(lull_timer *t, int64_t deadline)
{
    if (lull_timer_start(loop, t, deadline, 0) < 0)
        die("lull_timer_start");
}

static uint64_t chance(void)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

static int64_t moment(void) { return (int64_t)(chance() % SPAN); }

static lull_timer *prepare(size_t live)
{
    lull_timer *all = calloc(live, sizeof *all);
    if (!all || lull_loop_new(&loop, NULL) < 0)
        die("start");
    lull_waiter_init(&nobody, never);
    for (size_t i = 0; i < live; i++) {
        lull_timer_init(&all[i], &nobody);
        start(&all[i], moment());
    }
    return all;
}

int main(int argc, char **argv)
{
    long n = argc == 3 ? atol(argv[2]) : 0;
    int restart = argc == 3 && strcmp(argv[1], "restart") == 0;
    lull_timer one, *all = prepare(restart ? MANY : LIVE);
    lull_timer_init(&one, &nobody);
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++) {
        if (restart) {
            start(&all[chance() % MANY], moment());
        } else {
            start(&one, SPAN + i);
            lull_timer_stop(loop, &one);
        }
    }
    printf("row=timer-%s ns=%.3f\n", restart ? "restart" : "start",
           (double)(cpu_ns() - began) / (double)n);
    return 0;
}
