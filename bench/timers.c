/* The reference of the timer rows: the textbook's heap (textbook.h).  The same work as
   core_lull.c does with lull's own timers. */
#define _GNU_SOURCE
#include "bench.h"
#include "textbook.h"

/* A timer and what it calls. */
struct sleeper {
    struct timer timer;
    void (*run)(struct sleeper *s);
};

static long ran;

static void run(struct sleeper *s) { (void)s, ran++; }

static void open_timers(long live)
{
    heap = calloc((size_t)live + 2, sizeof *heap);
    if (!heap)
        die("memory");
}

static void begin(struct sleeper *s) { s->run = run; }

static void pass(int64_t time)
{
    static int64_t now;
    now += time;
    while (count > 0 && heap[1]->deadline <= now) {
        struct sleeper *s = (struct sleeper *)heap[1];
        stop(&s->timer);
        s->run(s);
    }
}

#include "timerrows.h"
