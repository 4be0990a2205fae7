/* A clock that can be paused, scaled and turned, for clocklib.c and the host's end of it. */
#ifndef LULL_CLOCKLIB_H
#define LULL_CLOCKLIB_H

#include "looplib.h"
#include "heap.h"

struct nap;

/* A Clock userdata.  Its time runs from `since` of the loop's time on at so many of its
   seconds in one of the loop's, and was `then` at that moment. */
struct clock {
    uint32_t loop;   /* serial of its loop; 0: no loop has seen it yet, and it stands */
    lua_Number scale;
    bool paused;
    int64_t since, then;
    struct heap naps; /* who sleeps on it, by its time */
    struct nap *idle; /* places in it that nobody uses, in a list */
    lull_timer timer; /* of the loop, for the first of them */
    lull_waiter waiter;
    struct runtime *rt;
    lull_alloc alloc;
    void *ud;
};

/* Pushes a new Clock. */
struct clock *lull_newclock(lua_State *L, struct runtime *rt);
int64_t lull_clock_time(struct clock *c);
void lull_clock_set_paused(struct clock *c, bool paused);
void lull_clock_set_scale(struct clock *c, lua_Number scale);
void lull_clock_turn(struct clock *c, int64_t ns);

#endif
