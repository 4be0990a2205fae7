/* The inside of a loop, for the rooms of the core: loop, timer, io, future, scope, post
   and clock.  Bindings see lull.h only, and the few functions at the end. */
#ifndef LULL_LOOP_H
#define LULL_LOOP_H

#include <stdatomic.h>

#include "heap.h"
#include "list.h"
#include "selector.h"
#include "waiters.h"

#ifdef LULL_STRESS
#define LULL_FACTS 1 /* one event a poll, to give bugs a chance */
#else
#define LULL_FACTS 256
#endif

struct lull_loop {
    lull_list ready;   /* woken; the next turn's batch */
    lull_list batch;   /* what this turn still has to run */
    lull_list later;   /* what a step leaves to the next one */
    struct heap timers;
    int64_t now;       /* the last reading of the clock */
    bool fresh;        /* now was read since the last waiter ran */
    bool running, stopping;
    bool forever;      /* with nobody to wake it sleeps on */
    bool stepping;     /* this run is a step */
    bool dozing;       /* somebody else sleeps in its place */
    bool spent;        /* its budget is, says who counts something else */
    unsigned ran;      /* waiters run since the selector was last asked */
    unsigned crowded;  /* looks in a row that came back full */
    int64_t spin;      /* ns for which it looks before it sleeps */
    unsigned vain;     /* waits between two attempts at that ... */
    unsigned skipped;  /* ... and those that are left */
    unsigned refs;     /* outsiders who may still wake someone */
    void (*probe)(lull_loop *loop, lull_waiter *w); /* looks on; or NULL */
    uint32_t serial;   /* tells loops apart after their memory is reused */
    lull_list ios;     /* registered descriptors */
    lull_list enders;  /* who waits for the end of the loop */
    const struct lull_backend *backend;
    struct lull_selector *selector;
    lull_time clock;
    int64_t virtual_now;
    uint64_t random;   /* state of the seeded order; 0: first come, first served */
    _Atomic(lull_message *) posted; /* newest first */
    atomic_uint waiting; /* how many these are */
    atomic_uint posters; /* who have begun to post and not ended */
    atomic_bool awake; /* the wake-up descriptor has been written to */
    int wake_read, wake_write;
    lull_watch wake;
    lull_alloc alloc;
    void *alloc_ud;
    void *user;
    struct lull_fact facts[LULL_FACTS];
};

/* loop.c: looks at the selector, sleeping at most so long, and returns how many facts there
   were; wakes what is due; runs the next of the batch. */
int lull_collect(lull_loop *loop, int64_t timeout);
void lull_expire(lull_loop *loop);
void lull_run_next(lull_loop *loop);

/* spin.c: lull_collect for one who may look for a while before he sleeps. */
int lull_rest(lull_loop *loop, int64_t timeout);

/* step.c: wakes whom the last step has left to the next one. */
void lull_wake_later(lull_loop *loop);

/* clock.c */
void lull_clock_init(lull_loop *loop, const lull_options *o);
int64_t lull_real_now(void); /* whatever clock the loop has */

/* timer.c: wakes what is due by the last reading of the clock. */
void lull_timers_expire(lull_loop *loop);

/* io.c: a fact from the selector becomes wakes; is any descriptor waited for? */
void lull_io_ready(lull_loop *loop, lull_io *io, unsigned events);
bool lull_io_awaited(lull_loop *loop);

/* post.c: the wake-up descriptor, and moving what was posted to the ready list. */
int lull_post_open(lull_loop *loop);
void lull_post_close(lull_loop *loop);
void lull_post_collect(lull_loop *loop, bool readable);

/* step.c: has the descriptor be readable as soon as there is a reason for a step, also one
   that lull_loop_next_wake would tell; until that, or false. */
void lull_loop_doze(lull_loop *loop, bool dozes);
void lull_stir(lull_loop *loop);

#endif
