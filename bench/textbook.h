/* The textbook's timers: an indexed heap, binary, of pointers to timers that know their
   place.  The reference of whatever sleeps; lull's own heap is src/heap.c. */
#ifndef TEXTBOOK_H
#define TEXTBOOK_H

#include <stdint.h>

struct timer {
    int64_t deadline;
    uint32_t index;             /* place in the heap, from 1; 0: not started */
};

static struct timer **heap;     /* heap[1] is due first; the program makes the room */
static uint32_t count;

static inline void place(struct timer *t, uint32_t i)
{
    heap[i] = t;
    t->index = i;
}

static inline void rise(struct timer *t, uint32_t i)
{
    for (; i > 1 && heap[i / 2]->deadline > t->deadline; i /= 2)
        place(heap[i / 2], i);
    place(t, i);
}

static inline void sink(struct timer *t, uint32_t i)
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

static inline void settle(struct timer *t, uint32_t i)
{
    if (i > 1 && heap[i / 2]->deadline > t->deadline)
        rise(t, i);
    else
        sink(t, i);
}

static inline void start(struct timer *t, int64_t deadline)
{
    t->deadline = deadline;
    if (t->index)
        settle(t, t->index);
    else
        rise(t, ++count);
}

static inline void stop(struct timer *t)
{
    uint32_t i = t->index;
    struct timer *last = heap[count--];
    t->index = 0;
    if (last != t)
        settle(last, i);
}

#endif
