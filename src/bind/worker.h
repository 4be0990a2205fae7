/* A worker: a Lua state of its own, on another thread, that runs one function once. */
#ifndef LULL_WORKER_H
#define LULL_WORKER_H

#include <signal.h>
#include <stdatomic.h>

#include "parcel.h"

struct strand;

struct worker {
    struct parcel *in;     /* the function and what it gets; see lull_worker_pack */
    struct parcel *out;    /* results; or error and traceback; NULL: no memory */
    bool failed;
    struct strand *strand; /* whose thread it is, or NULL: it runs a call on the pool */
    atomic_bool stop;      /* it shall end */
    long fuel;             /* for specs: allocations that succeed, or 0 for no limit */
    /* of its own thread, and of the signal handler there */
    struct runtime *rt;
    lua_State *volatile current; /* the coroutine outside of tasks that runs, or NULL */
    volatile sig_atomic_t posted;
    volatile int64_t since; /* when it was told to stop, or 0 */
    int64_t raised;         /* when it was first interrupted, or 0 */
    uint32_t told;          /* serial of the loop that was told */
    lull_message message;
};

/* Packs what w is to run: the function at 1 and its arguments above; pops them.  Refuses
   by name what cannot be copied.  Pushes the box of w->in. */
void lull_worker_pack(lua_State *L, struct runtime *rt);

void lull_worker_init(struct worker *w);
void lull_worker_fini(struct worker *w);

/* On the thread: makes the state, runs, fills `out`, and closes the state. */
void lull_worker_run(struct worker *w);

/* From any thread: asks it to stop.  A nudge of its thread should follow. */
void lull_worker_stop(struct worker *w);

/* Pushes what came out: the results, returning their number; or raises the error. */
int lull_worker_outcome(lua_State *L, struct worker *w);

/* Raises when the worker shall stop. */
void lull_worker_check(lua_State *L, struct worker *w);

#endif
