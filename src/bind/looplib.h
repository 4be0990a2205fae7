/* The Loop userdata, for the rooms that share it: looplib (the object), run (running it),
   handlelib (callbacks), report (failures that nobody looks at). */
#ifndef LULL_LOOPLIB_H
#define LULL_LOOPLIB_H

#include "task.h"

/* A Loop userdata; its uservalues are counted in task.h. */
struct loop {
    lull_loop *core; /* NULL: closed */
    struct loop *next;
    uint32_t serial;
    unsigned tasks, daemons, lingering;
    bool running, virtual_clock;
    enum { UNTIL_STOPPED, UNTIL_DAEMONS, UNTIL_EMPTY } end; /* what ends the run */
    lull_waiter until;  /* waits for the future that ends the run */
    lull_waiter review; /* and its timer: looks through the untaken failures */
    lull_timer review_timer;
    bool last_review;   /* the end: whatever is left is told */
    bool lost;          /* somebody has failed whom there was no memory to note */
    int64_t slow;       /* how long a resume may take when debugging, in ns */
    bool debug;
    lull_list transports; /* that live on it */
    lull_waiter orphans;  /* waits for the end of the core: what they are then */
    int handles;          /* how many are in its list of them */
    unsigned max_tasks; /* that may live on it; 0: any number */
    struct lull *host; /* who drives it, if a host does */
    struct runtime *rt;
};

/* What a run lays over the runtime and gives back: runs nest (virtual clocks). */
struct frame {
    lua_State *running, *L, *base, *outer, *inner;
    struct task *task;
    lull_loop *loop;
    struct loop *object;
    struct runtime *here;
    int budget;
    int64_t slow;
};

/* looplib.c */
/* Pushes a new Loop; NULL, and nothing, with -errno in *rc. */
struct loop *lull_newloop(lua_State *L, struct runtime *rt, const lull_options *options,
                          int *rc);
struct loop *lull_home(struct runtime *rt, uint32_t serial); /* the loop of that number */
/* Frees what the Loop at 1 holds; its tasks have ended or are given up. */
void lull_drop_loop(lua_State *L, struct runtime *rt, struct loop *o);
bool lull_drained(const struct loop *o); /* has it come to what ends the run? */
struct loop *lull_checkloopobject(lua_State *L); /* the Loop at 1, which must be open */
int64_t lull_tonanoseconds(lua_State *L, int i);

/* run.c: adds its methods to class Loop */
void lull_open_run(lua_State *L);
struct frame lull_begin_run(lua_State *L, struct runtime *rt, struct loop *o);
void lull_end_run(struct runtime *rt, struct loop *o, struct frame saved);
int lull_loop_close(lua_State *L); /* loop:close () */
/* Runs until nobody but daemons is left or the loop is stopped: 0, or -errno; -EDEADLK
   with the report on top of L. */
int lull_run_drained(lua_State *L, struct loop *o);

/* ending.c: cancels everybody and runs until nobody is left; who has not ended after so
   many ns (0: without waiting for anything) or cannot be woken is ended by force. */
void lull_clear(lua_State *L, struct runtime *rt, struct loop *o, int64_t grace);

/* handlelib.c */
void lull_open_handle(lua_State *L);
void lull_drop_handles(lua_State *L, int i); /* of the Loop at i, which ends */

/* host/tell.c: the host is told of the error, traceback and Task or nil at i */
void lull_tell_host(lua_State *L, struct lull *l, int i);
/* and of who kept its loop busy: the Task or nil at i, a traceback or nil above */
void lull_tell_slow(lua_State *L, struct lull *l, int i, lua_Number seconds);

/* report.c */
void lull_report_error(lua_State *L); /* an error on top (popped), as that of any callback */
void lull_review_init(struct loop *o);
void lull_review(struct runtime *rt, struct loop *o); /* now, whatever the time */
void lull_open_report(lua_State *L);

/* transport.c: closes all that are open; false when there was none */
bool lull_close_transports(struct loop *o);
void lull_transports_init(struct loop *o); /* which has a core */

#endif
