/* lull: an asynchronous runtime for Lua 5.4.

   This is the whole public C API.  It reads from the bottom up: a list link, the
   waiter that sleeps, the loop that wakes it, then the three things to wait for
   (a moment, a descriptor, someone's word), who is cancelled with whom, the door
   from other threads, and at last the runtime in Lua.

   Conventions.  What can fail returns int: >= 0 for a result, -errno for a failure.
   Times are int64_t nanoseconds on the loop's monotonic clock.  A loop belongs to one
   thread; only lull_post and lull_wakeup may be called from another.  The library
   never exits, prints, forks, installs a signal handler or starts a thread unasked. */
#ifndef LULL_H
#define LULL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LULL_VERSION_MAJOR 0
#define LULL_VERSION_MINOR 1
#define LULL_VERSION_PATCH 0
#define LULL_VERSION "0.1.0"
#define LULL_VERSION_NUM 100 /* major * 10000 + minor * 100 + patch */

#if defined(__GNUC__)
#define LULL_API __attribute__((visibility("default")))
#else
#define LULL_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

struct lua_State;

/* ---- allocator ------------------------------------------------------------------ */

/* Lua's own signature (lua_Alloc), so that one account covers both sides. */
typedef void *(*lull_alloc)(void *ud, void *ptr, size_t osize, size_t nsize);

/* ---- waiter --------------------------------------------------------------------- */

typedef struct lull_loop lull_loop;

/* A link of an intrusive ring; a link that is in no list points at itself. */
typedef struct lull_list {
    struct lull_list *prev, *next;
} lull_list;

/* The status of a waiter that nobody has woken yet. */
#define LULL_PENDING INT32_MAX

/* Waits for one event, once.  A waiter is in at most one list: that of the thing it
   waits for, or the loop's ready list.  It lives inside whoever sleeps; its owner must
   lull_forget it before it dies. */
typedef struct lull_waiter {
    lull_list link;
    void (*run)(lull_loop *loop, struct lull_waiter *w);
    int status; /* LULL_PENDING, 0, or -errno */
} lull_waiter;

/* Prepares w: it waits for nothing and run will be called each time it is woken. */
LULL_API void lull_waiter_init(lull_waiter *w,
                               void (*run)(lull_loop *loop, lull_waiter *w));

/* Begins a wait that is in no list: a timer, a scope or a later lull_wake ends it. */
LULL_API void lull_wait(lull_waiter *w);

/* Makes w ready with a status; its run is called in a later turn's batch, in order of
   wakes.  Of several wakes the first counts: returns false when w was not waiting. */
LULL_API bool lull_wake(lull_loop *loop, lull_waiter *w, int status);

/* Takes w out of whatever list it is in; it waits for nothing then. */
LULL_API void lull_forget(lull_waiter *w);

/* ---- loop ----------------------------------------------------------------------- */

/* Where the loop takes the time from.  now must never go back.  With jump set the
   clock is virtual: instead of sleeping until a deadline the loop calls jump. */
typedef struct lull_clock {
    int64_t (*now)(void *ud);
    void (*jump)(void *ud, int64_t deadline);
    void *ud;
} lull_clock;

typedef struct lull_options {
    size_t size;          /* sizeof(lull_options): what the caller knows of */
    lull_alloc alloc;     /* NULL: malloc and free */
    void *alloc_ud;
    const char *selector; /* NULL: the best that the machine has */
    bool virtual_clock;   /* time stands still and jumps to the next deadline */
    const lull_clock *clock; /* NULL: CLOCK_MONOTONIC; copied */
    uint64_t seed;        /* not 0: ready waiters run in a random order */
    void *user;           /* what lull_loop_user returns */
} lull_options;

/* Makes a loop.  options may be NULL.  -ENOMEM, -EMFILE, -ENOSYS (no such selector). */
LULL_API int lull_loop_new(lull_loop **out, const lull_options *options);

/* Frees a loop that is not running.  Waiters still linked to it are forgotten. */
LULL_API void lull_loop_free(lull_loop *loop);

/* Makes w wait for the end of the loop: its run is called at once, with -ECANCELED, when
   lull_loop_free begins, while the loop is still whole.  lull_forget ends the wait. */
LULL_API void lull_loop_end(lull_loop *loop, lull_waiter *w);

/* Runs until lull_loop_stop (returns 0) or until nothing can wake anybody any more
   (returns -EDEADLK).  -EBUSY when it runs already; else the selector's failure. */
LULL_API int lull_loop_run(lull_loop *loop);

/* The same, but with nobody to wake it sleeps on, for the world may still post. */
LULL_API int lull_loop_run_forever(lull_loop *loop);

/* One turn that never sleeps: collects what is ready, expires what is due, runs the
   batch.  Returns how many waiters ran, or -errno. */
LULL_API int lull_loop_turn(lull_loop *loop);

/* Makes lull_loop_run return after the turn it is in. */
LULL_API void lull_loop_stop(lull_loop *loop);

/* The loop's monotonic time, read at most once between two runs of waiters. */
LULL_API int64_t lull_now(lull_loop *loop);

/* Has lull_now read the clock again: somebody may have computed for long. */
LULL_API void lull_refresh(lull_loop *loop);

/* Moves a virtual clock forward by ns; -EINVAL on a real one. */
LULL_API int lull_loop_advance(lull_loop *loop, int64_t ns);

LULL_API const char *lull_loop_selector(const lull_loop *loop);
/* The name of the selector that a loop has unless told otherwise. */
LULL_API const char *lull_default_selector(void);
LULL_API void *lull_loop_user(const lull_loop *loop);
/* A number that no other loop of this process has had. */
LULL_API uint32_t lull_loop_serial(const lull_loop *loop);

/* Says that something outside (a pool job, a signal, a host) may still wake a task, so
   that waiting for it is no deadlock.  Calls nest. */
LULL_API void lull_loop_ref(lull_loop *loop);
LULL_API void lull_loop_unref(lull_loop *loop);

/* For tests.  Has fn called before each waiter runs; it may wake and cancel whom it likes
   but must not end w.  NULL: nobody is called. */
LULL_API void lull_loop_probe(lull_loop *loop, void (*fn)(lull_loop *loop, lull_waiter *w));

/* What a loop still has to do, to find what was left behind. */
typedef struct lull_census {
    unsigned ready;  /* waiters that were woken and have not run */
    unsigned timers; /* that were started */
    unsigned ios;    /* descriptors that the selector knows */
    unsigned refs;   /* outsiders who may still wake someone */
} lull_census;

LULL_API void lull_loop_census(const lull_loop *loop, lull_census *out);

/* ---- a moment: timer ------------------------------------------------------------ */

typedef struct lull_timer {
    lull_waiter *waiter;
    /* private */
    uint64_t order; /* of equal deadlines the first started falls due first */
    uint32_t index; /* place in the heap, from 1; 0: not started */
    int status;     /* what the waiter is woken with */
} lull_timer;

LULL_API void lull_timer_init(lull_timer *t, lull_waiter *w);

/* Wakes the timer's waiter with status once deadline has come, never before.  Starting
   a started timer moves it.  -ENOMEM leaves it stopped. */
LULL_API int lull_timer_start(lull_loop *loop, lull_timer *t, int64_t deadline, int status);

/* A timer that is not started may be stopped too. */
LULL_API void lull_timer_stop(lull_loop *loop, lull_timer *t);

LULL_API bool lull_timer_started(const lull_timer *t);

/* When a started timer falls due. */
LULL_API int64_t lull_timer_deadline(const lull_loop *loop, const lull_timer *t);

/* ---- a descriptor: io ----------------------------------------------------------- */

#define LULL_READ 1u
#define LULL_WRITE 2u

/* What a selector knows of a descriptor. */
typedef struct lull_watch {
    int fd;
    /* private */
    uint32_t slot;   /* the selector's own place for it */
    uint8_t armed;   /* LULL_READ | LULL_WRITE as told to the kernel */
    uint8_t flags;
} lull_watch;

/* A descriptor that waiters can wait for.  The owner opens and closes the descriptor. */
typedef struct lull_io {
    lull_watch watch;
    /* private */
    lull_loop *loop; /* the loop it is registered with, or NULL */
    lull_list readers, writers;
    lull_list link; /* in the loop's list of registered descriptors */
} lull_io;

/* fd should be non-blocking.  Cannot fail: registration happens at the first wait. */
LULL_API void lull_io_init(lull_io *io, int fd);

/* Makes w wait until fd is ready for event (LULL_READ or LULL_WRITE); hang-up and error
   count as both.  Descriptors that cannot be polled are always ready.  Any number may
   wait; all are woken.  -errno: w does not wait. */
LULL_API int lull_io_wait(lull_loop *loop, lull_io *io, unsigned event, lull_waiter *w);

/* Forgets that the descriptor was found drained, for who looks again without waiting. */
LULL_API void lull_io_retry(lull_io *io);

/* Ends the registration and wakes all who wait with -ECANCELED.  Call it before close(2). */
LULL_API void lull_io_close(lull_io *io);

/* recv(2), send(2), accept(2) and connect(2) through the loop's backend; -EAGAIN: wait
   with lull_io_wait and call again.  A receive that got less than it asked for has
   drained the descriptor: the next returns -EAGAIN without a system call. */
LULL_API int lull_io_recv(lull_loop *loop, lull_io *io, void *data, size_t size);
LULL_API int lull_io_send(lull_loop *loop, lull_io *io, const void *data, size_t size);
/* addr, len as in accept(2); returns a new descriptor, non-blocking and close-on-exec. */
LULL_API int lull_io_accept(lull_loop *loop, lull_io *io, void *addr, unsigned *len);
/* First call: begins to connect.  Later, when ready for LULL_WRITE: how it went. */
LULL_API int lull_io_connect(lull_loop *loop, lull_io *io, const void *addr, unsigned len);

/* ---- someone's word: future ----------------------------------------------------- */

typedef struct lull_future {
    lull_list waiters;
    /* private */
    uint32_t loop;  /* serial number of the loop it is bound to, 0 while unbound */
    uint8_t state;  /* 0 pending, else as settled */
    uint8_t flags;  /* the owner's */
    uint16_t count; /* the owner's */
} lull_future;

LULL_API void lull_future_init(lull_future *f);

/* Binds f to loop if it is free.  -EXDEV: it is bound to another. */
LULL_API int lull_future_bind(lull_loop *loop, lull_future *f);

/* Makes w wait until f is settled.  -EXDEV: f is bound to another loop; -EALREADY: f is
   settled. */
LULL_API int lull_future_wait(lull_loop *loop, lull_future *f, lull_waiter *w);

/* Settles f with a state of 1..255 and wakes all who wait, in order.  -EALREADY, -EXDEV. */
LULL_API int lull_future_settle(lull_loop *loop, lull_future *f, unsigned state);

/* ---- who is cancelled with whom: scope ------------------------------------------ */

/* Scopes form a tree.  Cancellation is a state of a scope: it holds for the scope and
   everything below it that is not shielded, from now on, and wakes whoever waits there. */
typedef struct lull_scope {
    struct lull_scope *parent;
    struct lull_scope *prev, *next; /* ring of siblings */
    struct lull_scope *children;    /* the last child; its next is the first */
    lull_waiter *member;            /* who is directly inside now, or NULL */
    int16_t own;       /* 0, or the -errno it was cancelled with */
    int16_t cancelled; /* the same with the ancestors' counted: look here */
    uint16_t flags;    /* LULL_SHIELD */
    uint16_t delivered; /* the owner's: how often a cancellation was raised */
} lull_scope;

#define LULL_SHIELD 1u

/* Opens s below parent (or NULL) with no member. */
LULL_API void lull_scope_open(lull_loop *loop, lull_scope *s, lull_scope *parent,
                              unsigned flags);
/* Takes s out of the tree; its children, if any, stay below it. */
LULL_API void lull_scope_detach(lull_loop *loop, lull_scope *s);
/* Puts a detached scope below parent. */
LULL_API void lull_scope_attach(lull_loop *loop, lull_scope *s, lull_scope *parent);
/* Detaches s and cuts its children loose. */
LULL_API void lull_scope_close(lull_loop *loop, lull_scope *s);
/* Cancels s with a status < 0; false when it was cancelled before. */
LULL_API bool lull_scope_cancel(lull_loop *loop, lull_scope *s, int status);
/* The scope whose cancellation counts for s: the outermost one, or NULL. */
LULL_API lull_scope *lull_scope_culprit(lull_scope *s);

/* A scope with a deadline: it cancels itself with -ETIMEDOUT. */
typedef struct lull_deadline {
    lull_scope scope;
    lull_timer timer;
    lull_waiter expiry;
} lull_deadline;

LULL_API void lull_deadline_init(lull_deadline *d);
/* (Re)sets when d's scope is cancelled; -ENOMEM. */
LULL_API int lull_deadline_set(lull_loop *loop, lull_deadline *d, int64_t deadline);

/* ---- the door from other threads: post ------------------------------------------ */

/* A message that lives in the sender's memory until its waiter has run. */
typedef struct lull_message {
    lull_waiter waiter; /* its run is called on the loop's thread */
    struct lull_message *next;
} lull_message;

/* From any thread: m's waiter runs on the loop, messages of one thread in order.
   Never fails and never waits.  m must not be posted again before it has run. */
LULL_API void lull_post(lull_loop *loop, lull_message *m);

/* From any thread or a signal handler: makes the loop look around. */
LULL_API void lull_wakeup(lull_loop *loop);

/* ---- the runtime in Lua --------------------------------------------------------- */

/* Opens the library in L and leaves the table of require "lull" on the stack; the entry
   point that require calls (lua_CFunction).  Raises Lua errors. */
LULL_API int luaopen_lull(struct lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
