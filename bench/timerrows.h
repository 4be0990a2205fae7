/* The rows of timers, the same work for lull's own (core_lull.c) and for the textbook's
   (timers.c).  Comes last in either, which says before it what a sleeper is, with a timer
   in it, and how to open, begin, start, stop and let time pass; who falls due counts in ran.
     PROGRAM start N      a timeout later than the LIVE others is started and stopped
     PROGRAM restart N    a random one of a million live timers gets a random deadline
     PROGRAM scale N      both among N live timers; then all of these fall due */
#ifndef TIMERROWS_H
#define TIMERROWS_H

#include "bench.h"

enum { LIVE = 1000, MANY = 1000000, SPAN = 1000000000 };

static int64_t moment(void)
{
    return (int64_t)(chance() % SPAN);
}

static struct sleeper *prepare(long live)
{
    struct sleeper *all = calloc((size_t)live, sizeof *all);
    if (!all)
        die("memory");
    open_timers(live);
    for (long i = 0; i < live; i++) {
        begin(&all[i]);
        start(&all[i].timer, moment());
    }
    return all;
}

/* Each returns nanoseconds per operation. */

static double time_start(long n)
{
    struct sleeper one = {0};
    begin(&one);
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++) {
        start(&one.timer, SPAN + i);
        stop(&one.timer);
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

static double time_firing(long live)
{
    int64_t began = cpu_ns(), step = stride(SPAN, live);
    while (ran < live)
        pass(step);
    return per(began, live);
}

int main(int argc, char **argv)
{
    const char *mode = argc == 3 ? argv[1] : "";
    long n = argc == 3 ? atol(argv[2]) : 0;
    if (n <= 0)
        die("usage: start|restart|scale N");
    if (strcmp(mode, "start") == 0) {
        prepare(LIVE);
        printf("row=timer-start ns=%.3f\n", time_start(n));
    } else if (strcmp(mode, "restart") == 0) {
        printf("row=timer-restart ns=%.3f\n", time_restart(prepare(MANY), MANY, n));
    } else {
        struct sleeper *all = prepare(n);
        double first = time_start(TIMES), again = time_restart(all, n, rounds(n) * n);
        printf("row=timer-scale start=%.3f restart=%.3f fire=%.3f\n", first, again,
               time_firing(n));
    }
    return 0;
}

#endif
