/* The reference of the timer rows: the textbook's heap (textbook.h).  Same work as
   core_lull.c does with lull's own timers:
     timers start N      a timeout later than the LIVE others is started and stopped
     timers restart N    a random one of a million live timers gets a random deadline
     timers scale N      both among N live timers; then all of these fall due */
#define _GNU_SOURCE
#include "bench.h"
#include "textbook.h"

enum { LIVE = 1000, MANY = 1000000, SPAN = 1000000000 };

/* A timer and what it calls. */
struct sleeper {
    struct timer timer;
    void (*run)(struct sleeper *s);
};

static long ran;

static void run(struct sleeper *s) { (void)s, ran++; }

static int64_t moment(void) { return (int64_t)(chance() % SPAN); }

static struct sleeper *prepare(long live)
{
    struct sleeper *all = calloc((size_t)live, sizeof *all);
    heap = calloc((size_t)live + 2, sizeof *heap);
    if (!all || !heap)
        die("memory");
    for (long i = 0; i < live; i++) {
        all[i].run = run;
        start(&all[i].timer, moment());
    }
    return all;
}

/* Each returns nanoseconds per operation. */

static double time_start(long n)
{
    struct timer one = {0};
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++) {
        start(&one, SPAN + i);
        stop(&one);
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
    int64_t began = cpu_ns();
    for (int64_t now = 0, step = stride(SPAN, live); count > 0; now += step)
        while (count > 0 && heap[1]->deadline <= now) {
            struct sleeper *s = (struct sleeper *)heap[1];
            stop(&s->timer);
            s->run(s);
        }
    if (ran != live)
        die("firing");
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
        double begin = time_start(TIMES), again = time_restart(all, n, some);
        printf("row=timer-scale start=%.3f restart=%.3f fire=%.3f\n", begin, again,
               time_firing(n));
    }
    return 0;
}
