/* What the rooms of queues tell one another.

   An item stays in its store until the task that gets it runs.  Who waits for an item is
   not given the item but a promise of one, and a promise that is refused, because its
   task was cancelled, goes to the next in line: so items are never under way, where they
   could be lost or lose their place.  What is promised no longer counts in the size.  Who
   waits to put has his item on his own stack, from where it is taken when it is let in.

   While anybody waits to get nothing is free; while anybody waits to put, no room is. */
#ifndef LULL_QUEUE_H
#define LULL_QUEUE_H

#include "line.h"

enum lull_order { LULL_FIFO, LULL_LIFO, LULL_BY_PRIORITY };

/* uservalues: the store, which is a ring in a table, or what the two functions know */
enum { LULL_QUEUE_STORE = 1, LULL_QUEUE_PUSH, LULL_QUEUE_POP };

/* what those who wait are woken with */
enum { LULL_PROMISED, LULL_LET_IN, LULL_REJECTED, LULL_DISMISSED };

struct queue {
    lull_list getters, putters, joiners; /* those who wait */
    lua_Integer limit, stored;           /* stored: how many items there are */
    lua_Integer promised;   /* how many of them wait for the task that gets them */
    lua_Integer unfinished; /* for join */
    uint32_t first, places; /* of the ring; the number of places is a power of two */
    uint32_t loop;          /* serial of the loop of the first wait; 0: not bound yet */
    enum lull_order order;
    bool closed;
};

static inline lua_Integer lull_queue_free(const struct queue *q)
{
    return q->stored - q->promised;
}

static inline bool lull_queue_full(const struct queue *q)
{
    return lull_queue_free(q) >= q->limit;
}

/* queue.c; the Queue is at 1 */

/* Adds the value at i > 0.  What may raise comes before anything has changed. */
void lull_queue_insert(lua_State *L, struct runtime *rt, struct queue *q, int i);
/* Pushes the next item and takes it out. */
void lull_queue_fetch(lua_State *L, struct runtime *rt, struct queue *q);
/* The same where an item is free: who waits to put is let in.  Returns 1. */
int lull_queue_fetch_free(lua_State *L, struct runtime *rt, struct queue *q);
/* An item has become free: the first in line is promised it. */
void lull_queue_promise(lua_State *L, struct runtime *rt, struct queue *q);
/* Wakes all of a line: nothing will come. */
void lull_queue_dismiss(lua_State *L, struct runtime *rt, struct queue *q,
                        lull_list *line);

#endif
