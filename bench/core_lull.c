/* lull's timers measured where they live, in the core, without Lua: the same work as
   timers.c does with a textbook heap.
     core_lull start N      a timeout later than the LIVE others is started and stopped
     core_lull restart N    a random one of a million live timers gets a random deadline
     core_lull scale N      both among N live timers; then all of these fall due */
#define _GNU_SOURCE
#include "bench.h"

#include <lull.h>

enum { LIVE = 1000, MANY = 1000000, SPAN = 1000000000 };

/* A timer and whom it wakes. */
struct sleeper {
    lull_timer timer;
    lull_waiter waiter;
};

static lull_loop *loop;
static long ran;

static void run(lull_loop *l, lull_waiter *w) { (void)l, (void)w, ran++; }

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

static int64_t moment(void) { return (int64_t)(chance() % SPAN); }

static struct sleeper *prepare(long live)
{
    struct sleeper *all = calloc((size_t)live, sizeof *all);
    lull_options options = {.size = sizeof options, .virtual_clock = true};
    if (!all || lull_loop_new(&loop, &options) < 0)
        die("start");
    for (long i = 0; i < live; i++) {
        begin(&all[i]);
        start(&all[i].timer, moment());
    }
    return all;
}

/* Each returns nanoseconds per operation. */

static double time_start(long n)
{
    struct sleeper one;
    begin(&one);
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++) {
        start(&one.timer, SPAN + i);
        lull_timer_stop(loop, &one.timer);
    }
    return per(began, n);
}

static double time_restart(struct sleeper *all, long live, long n)
{
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++)
        start(&all[chance() % (uint64_t)live].timer, moment());
    return per(began, n);
}

/* Each turn looks at the selector once, and runs those who are due. */
static double time_firing(long live)
{
    int64_t began = cpu_ns(), step = stride(SPAN, live);
    while (ran < live)
        if (lull_loop_advance(loop, step) < 0 || lull_loop_turn(loop) < 0)
            die("turn");
    return per(began, live);
}

int main(int argc, char **argv)
{
    const char *mode = argc == 3 ? argv[1] : "";
    long n = argc == 3 ? atol(argv[2]) : 0, some = rounds(n) * n;
    if (strcmp(mode, "start") == 0) {
        prepare(LIVE);
        printf("row=timer-start ns=%.3f\n", time_start(n));
    } else if (strcmp(mode, "restart") == 0) {
        printf("row=timer-restart ns=%.3f\n", time_restart(prepare(MANY), MANY, n));
    } else {
        struct sleeper *all = prepare(n);
        double begun = time_start(TIMES), again = time_restart(all, n, some);
        printf("row=timer-scale start=%.3f restart=%.3f fire=%.3f\n", begun, again,
               time_firing(n));
    }
    return 0;
}
