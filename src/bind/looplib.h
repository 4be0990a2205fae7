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
    struct runtime *rt;
};

/* looplib.c */
struct loop *lull_home(struct runtime *rt, uint32_t serial); /* the loop of that number */
/* Frees what the Loop at 1 holds; its tasks have ended or are given up. */
void lull_drop_loop(lua_State *L, struct runtime *rt, struct loop *o);
bool lull_drained(const struct loop *o); /* has it come to what ends the run? */
struct loop *lull_checkloopobject(lua_State *L); /* the Loop at 1, which must be open */
int64_t lull_tonanoseconds(lua_State *L, int i);

/* run.c: adds its methods to class Loop */
void lull_open_run(lua_State *L);
int lull_loop_close(lua_State *L); /* loop:close () */

/* handlelib.c */
void lull_open_handle(lua_State *L);
void lull_drop_handles(lua_State *L, int i); /* of the Loop at i, which ends */

/* report.c */
void lull_review_init(struct loop *o);
void lull_review(struct runtime *rt, struct loop *o); /* now, whatever the time */
void lull_open_report(lua_State *L);

/* transport.c: closes all that are open; false when there was none */
bool lull_close_transports(struct loop *o);

#endif
