/* The reference of the timer rows: the textbook indexed heap, binary, of pointers to
   timers that know their place.  Same work as core_lull.c does with lull's own timers:
     timers start N      a timeout later than the LIVE others is started and stopped
     timers restart N    a random one of a million live timers gets a random deadline */
#define _GNU_SOURCE
#include "bench.h"

enum { LIVE = 1000, MANY = 1000000, SPAN = 1000000000 };

struct timer {
    int64_t deadline;
    uint32_t index;             /* place in the heap, from 1; 0: not started */
};

static struct timer **heap;     /* heap[1] is due first */
static uint32_t count;

static void place(struct timer *t, uint32_t i)
{
    heap[i] = t;
    t->index = i;
}

static void rise(struct timer *t, uint32_t i)
{
    for (; i > 1 && heap[i / 2]->deadline > t->deadline; i /= 2)
        place(heap[i / 2], i);
    place(t, i);
}

static void sink(struct timer *t, uint32_t i)
{
    for (uint32_t child; (child = 2 * i) <= count; i = child) {
        if (child < count && heap[child + 1]->deadline < heap[child]->deadline)
            child++;
        if (heap[child]->deadline >= t->deadline)
            break;
        place(heap[child], i);
    }
    place(t, i);
}

static void settle(struct timer *t, uint32_t i)
{
    if (i > 1 && heap[i / 2]->deadline > t->deadline)
        rise(t, i);
    else
        sink(t, i);
}

static void start(struct timer *t, int64_t deadline)
{
    t->deadline = deadline;
    if (t->index)
        settle(t, t->index);
    else
        rise(t, ++count);
}

static void stop(struct timer *t)
{
    uint32_t i = t->index;
    struct timer *last = heap[count--];
    t->index = 0;
    if (last != t)
        settle(last, i);
}

static uint64_t chance(void)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

static int64_t moment(void) { return (int64_t)(chance() % SPAN); }

static struct timer *prepare(size_t live)
{
    struct timer *all = calloc(live, sizeof *all);
    heap = calloc(live + 2, sizeof *heap);
    if (!all || !heap)
        die("memory");
    for (size_t i = 0; i < live; i++)
        start(&all[i], moment());
    return all;
}

int main(int argc, char **argv)
{
    long n = argc == 3 ? atol(argv[2]) : 0;
    int restart = argc == 3 && strcmp(argv[1], "restart") == 0;
    struct timer *all = prepare(restart ? MANY : LIVE), one = {0};
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++) {
        if (restart) {
            start(&all[chance() % MANY], moment());
        } else {
            start(&one, SPAN + i);
            stop(&one);
        }
    }
    printf("row=timer-%s ns=%.3f\n", restart ? "restart" : "start",
           (double)(cpu_ns() - began) / (double)n);
    return 0;
}
