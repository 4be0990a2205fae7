/* A worker: a Lua state of its own, on another thread, that runs one function once. */
#ifndef LULL_WORKER_H
#define LULL_WORKER_H

#include <signal.h>
#include <stdatomic.h>

#include "parcel.h"
#include "sys.h"

struct strand;
struct mission;
struct kept;

struct worker {
    struct mission *mission; /* its function: mission.h */
    struct parcel *in;     /* what that gets */
    struct parcel *out;    /* results; or error and traceback; NULL: no memory */
    bool failed;
    struct strand *strand; /* whose thread it is, or NULL: it runs a call on the pool */
    atomic_bool stop;      /* it shall end */
    long fuel;             /* for specs: allocations that succeed, or 0 for no limit */
    bool anew;             /* for specs: no state was kept */
    /* of its own thread, and of the signal handler there */
    struct kept *kept;     /* its state: kept.h */
    bool finalizes;        /* something in there may have a finalizer */
    struct runtime *rt;
    lua_State *volatile current; /* the coroutine outside of tasks that runs, or NULL */
    volatile sig_atomic_t posted;
    volatile int64_t since; /* when it was told to stop, or 0 */
    int64_t raised;         /* when it was first interrupted, or 0 */
    uint32_t told;          /* serial of the loop that was told */
    lull_message message;
};

/* Packs what w is to run: the function at 1 and the n arguments above, which stay.
   Refuses by name what cannot be copied.  What it has packed is freed by
   lull_worker_fini. */
void lull_worker_pack(lua_State *L, struct worker *w, int n);

void lull_worker_init(struct worker *w);
void lull_worker_fini(struct worker *w);

/* On the thread: runs, fills `out`, and has the finalizers run.  Where keep is given what
   it had for that stays with the thread. */
void lull_worker_run(struct worker *w, sys_keep **keep);

/* From any thread: asks it to stop.  A nudge of its thread should follow. */
void lull_worker_stop(struct worker *w);

/* Pushes what came out: the results, returning their number; or raises the error. */
int lull_worker_outcome(lua_State *L, struct worker *w);

/* ---- halt.c ------------------------------------------------------------------------ */

/* Raises when the worker shall stop. */
void lull_worker_check(lua_State *L, struct worker *w);

/* What a nudge of its thread calls there. */
void lull_worker_nudged(void *ud);

/* Whose state this is. */
struct worker *lull_worker_of(lua_State *L);

#endif
