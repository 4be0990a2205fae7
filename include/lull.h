/* lull: an asynchronous runtime for Lua 5.4.

   This is the whole public C API, in two parts.  The first is the loop in plain C: a list
   link, the waiter that sleeps, the loop that wakes it, then the three things to wait for
   (a moment, a descriptor, someone's word), who is cancelled with whom, and the door from
   other threads.  The second, "the runtime in Lua", is for a program that has Lua scripts
   in it; it needs nothing of the first.  Begin there if that is you: lull_open, then
   lull_task_spawn, then lull_run or, once a frame, lull_step.

   Conventions.  What can fail returns int: >= 0 for a result, -errno for a failure.
   Times are int64_t nanoseconds on the loop's monotonic clock.  A loop belongs to one
   thread at a time; what may be called from another says so.  Structs that begin with
   `size` grow at their end: set it to sizeof, zero the rest, and fill in what you need.
   The library never exits, prints, forks, installs a signal handler or starts a thread
   unasked.  Runtimes share nothing but what the process has once: its signals, for those
   who ask for them. */
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
struct lull;
struct lull_failure;
struct lull_slow;

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

/* Lets others run first: w is woken with 0 in the next turn; in a step, in the next
   step. */
LULL_API void lull_wait_turn(lull_loop *loop, lull_waiter *w);

/* Takes w out of whatever list it is in; it waits for nothing then. */
LULL_API void lull_forget(lull_waiter *w);

/* ---- loop ----------------------------------------------------------------------- */

/* For ever, as a moment and as a duration. */
#define LULL_FOREVER INT64_MAX

/* Where the loop takes the time from.  now must never go back.  With jump set the
   time is virtual: instead of sleeping until a deadline the loop calls jump. */
typedef struct lull_time {
    int64_t (*now)(void *ud);
    void (*jump)(void *ud, int64_t deadline);
    void *ud;
} lull_time;

/* For lull_loop_new, and below for lull_open and lull_attach.  All zero is a good
   choice. */
typedef struct lull_options {
    size_t size;          /* sizeof(lull_options): what the caller knows of */
    lull_alloc alloc;     /* NULL: malloc and free */
    void *alloc_ud;
    const char *selector; /* NULL: the best that the machine has */
    bool virtual_clock;   /* time stands still and jumps to the next deadline */
    const lull_time *clock; /* NULL: CLOCK_MONOTONIC; copied */
    uint64_t seed;        /* not 0: ready waiters run in a random order */
    void *user;           /* what lull_loop_user and lull_user return */

    /* Of the runtime in Lua only; a loop alone does not look at them.  Callbacks: see
       "what the host is told". */
    unsigned libraries;    /* LULL_LIB_...; 0: LULL_LIB_ALL, or none when attaching */
    unsigned flags;        /* LULL_REPLACE | LULL_GLOBAL, when attaching */
    void (*on_error)(struct lull *l, const struct lull_failure *failure);
    void (*on_slow)(struct lull *l, const struct lull_slow *slow);
    int64_t slow;          /* ns that a task may run without suspending, untold; 0: any */
    unsigned preempt;      /* LULL_PREEMPT_...: may a task that computes be set aside? */
    int preempt_signal;    /* for LULL_PREEMPT_SIGNAL; 0: SIGURG */
    uint64_t instructions; /* that a task may run without suspending; 0: any number */
    size_t memory;         /* bytes that the Lua state may have; 0: any; lull_open only */
    unsigned tasks;        /* that may live at once; 0: any number */
    unsigned descriptors;  /* that scripts may have open at once; 0: any number */

    /* Of a loop again. */
    int64_t spin; /* ns for which a run looks again and again before it sleeps; 0: not */
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

/* Has the step that runs return LULL_STEP_SPENT: somebody counts something else. */
LULL_API void lull_loop_spend(lull_loop *loop);

/* How much a step may do before it returns.  0: as much as there is to do. */
typedef struct lull_budget {
    size_t size;           /* sizeof(lull_budget) */
    int64_t ns;            /* real time; a waiter that runs is not interrupted */
    uint64_t resumes;      /* waiters run; of the runtime in Lua: tasks resumed */
    uint64_t instructions; /* of Lua, in all; needs LULL_PREEMPT_COUNT, see there */
} lull_budget;

/* Why a step came back. */
enum {
    LULL_STEP_IDLE,    /* nobody is ready: see lull_loop_next_wake, lull_next_wake */
    LULL_STEP_SPENT,   /* the budget is; others are ready */
    LULL_STEP_STOPPED, /* lull_loop_stop, or lull_stop, was called */
    /* of the runtime in Lua only */
    LULL_STEP_DONE,    /* every task has ended (those that are daemons need not) */
    LULL_STEP_FAILED,  /* an error that nobody looks at: lull_take_failure tells it */
    LULL_STEP_CLOSED   /* lull_close was called meanwhile: the runtime is gone */
};

/* For a host with a loop of its own: looks once, without sleeping, at descriptors, timers
   and posts, then runs who is ready and whom these make ready, until nobody is or the
   budget is spent.  Who asks for a turn (sleep(0) in Lua) has it in the next step, so a
   frame is a step.  budget may be NULL.  A step that finds nothing to do costs well under
   a microsecond.  Time does not jump in a step, be it virtual: lull_loop_advance. */
LULL_API int lull_loop_step(lull_loop *loop, const lull_budget *budget);

/* For how many ns there is no need for a step: 0 when somebody is ready now, LULL_FOREVER
   when no timer runs.  Ask after the last call that may have woken or started something;
   the descriptor below and lull_post can end the wait earlier. */
LULL_API int64_t lull_loop_next_wake(lull_loop *loop);

/* A descriptor that is readable whenever a step would find a descriptor ready or a post
   waiting: to be polled by the host, and by nobody read or closed.  It is in step with
   what is waited for at any moment between two steps.  -ENOSYS: the selector has none
   (poll and select; epoll and io_uring have one); -EMFILE. */
LULL_API int lull_loop_descriptor(const lull_loop *loop);

/* The loop's monotonic time, read at most once between two runs of waiters. */
LULL_API int64_t lull_now(lull_loop *loop);

/* Has lull_now read the clock again: somebody may have computed for long. */
LULL_API void lull_refresh(lull_loop *loop);

/* Has the next turn ask the selector, which is not asked in every turn while somebody is
   ready: whoever ran now has run for long. */
LULL_API void lull_loop_look(lull_loop *loop);

/* Moves a virtual clock forward by ns, and makes ready who is due; -EINVAL on a real one. */
LULL_API int lull_loop_advance(lull_loop *loop, int64_t ns);

LULL_API const char *lull_loop_selector(const lull_loop *loop);
/* The name of the selector that a loop has unless told otherwise. */
LULL_API const char *lull_default_selector(void);
/* Is there one of that name?  NULL: the default. */
LULL_API bool lull_has_selector(const char *name);
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

/* Nobody else reads from the descriptor, or accepts: a backend that can may do so before
   it is asked, and keep what came until it is.  Whoever says so reads until -EAGAIN
   before he waits. */
LULL_API void lull_io_own(lull_io *io);

/* The descriptor blocks, and has to, for others use its open file too: from now on it is
   asked whether it is ready before each call, and little is written at a time. */
LULL_API void lull_io_share(lull_io *io);

/* Ends the registration and wakes all who wait with -ECANCELED.  Call it before
   close(2). */
LULL_API void lull_io_close(lull_io *io);

/* recv(2), send(2), accept(2) and connect(2) through the loop's backend; -EAGAIN: wait
   with lull_io_wait and call again.  A receive that got less than it asked for has
   drained the descriptor: the next returns -EAGAIN without a system call. */
LULL_API int lull_io_recv(lull_loop *loop, lull_io *io, void *data, size_t size);
LULL_API int lull_io_send(lull_loop *loop, lull_io *io, const void *data, size_t size);
/* Moves bytes from the descriptor into an empty pipe (LULL_READ), or from a pipe to it
   (LULL_WRITE), where that saves copying them.  -EAGAIN: wait for event and call again;
   -EINVAL: not with this descriptor; -EBUSY: receive first what is there already. */
LULL_API int lull_io_splice(lull_loop *loop, lull_io *io, unsigned event, int pipe,
                            size_t size);
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

/* Settles f with a state of 1..255 and wakes all who wait, in order.  -EALREADY,
   -EXDEV. */
LULL_API int lull_future_settle(lull_loop *loop, lull_future *f, unsigned state);

/* ---- who is cancelled with whom: scope ------------------------------------------ */

/* Scopes form a tree.  Cancellation is a state of a scope: it holds for the scope and
   everything below it that is not shielded, from now on, and wakes whoever waits
   there. */
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

/* The same with a bound: -EAGAIN, and nothing posted, while `limit` messages or more have
   not come to the loop. */
LULL_API int lull_try_post(lull_loop *loop, lull_message *m, unsigned limit);

/* Moves what was posted to those that are ready; nothing runs.  A message is no longer in
   anybody's way then, and lull_forget takes it back. */
LULL_API void lull_take_posts(lull_loop *loop);

/* From any thread or a signal handler: makes the loop look around. */
LULL_API void lull_wakeup(lull_loop *loop);

/* ---- the runtime in Lua --------------------------------------------------------- */

/* A Lua state with a loop in it, whose tasks are Lua coroutines.

   There are two kinds of functions.  Those that take a runtime, a group, a promise, a
   clock or an event are for the host: they never raise a Lua error and never suspend.
   Those that take a lua_State first are for the C functions that your scripts call: L is
   what Lua has given you, they raise Lua errors as luaL_check... do, and those called
   lull_await_... suspend the task that calls.

   A runtime belongs to the thread that drives it; it may move to another between two
   calls.  What may be called from any thread says so.  Any number of runtimes may live in
   a process, in a thread too, and know nothing of each other.

   Callbacks are called on the thread that drives the runtime, from inside lull_step,
   lull_run or lull_close, on a coroutine of lull's own: never on that which registered
   them.  They may call everything here, lull_close too, but do not nest lull_step or
   lull_run (-EBUSY).  A Lua error that they raise on the lua_State that they are given, or
   the function of lull_call on lull_state(l), is reported as any other.  Where a callback
   is given none, what may raise on lull_state(l) needs a lua_pcall, as between two steps.
   No Lua error ever passes through a frame of yours. */
typedef struct lull lull;

/* A task, by number: safe to keep for ever.  No other task of the runtime has had it. */
typedef uint64_t lull_task; /* 0: no task */

/* Which libraries scripts see, of Lua's and of lull's.  Those that are left out are not
   only hidden: scripts have no way to them. */
enum {
    LULL_LIB_BASE = 1u << 0,      /* print, pcall, ...; load takes no bytecode and there is
                                     no loadfile nor dofile, unless LULL_LIB_PACKAGE is there */
    LULL_LIB_PACKAGE = 1u << 1,   /* require, package */
    LULL_LIB_COROUTINE = 1u << 2,
    LULL_LIB_TABLE = 1u << 3,
    LULL_LIB_IO = 1u << 4,
    LULL_LIB_OS = 1u << 5,
    LULL_LIB_STRING = 1u << 6,
    LULL_LIB_MATH = 1u << 7,
    LULL_LIB_UTF8 = 1u << 8,
    LULL_LIB_DEBUG = 1u << 9,
    LULL_LIB_LULL = 1u << 10,     /* the global lull: tasks, scopes, groups, queues, ... */
    LULL_LIB_NETWORK = 1u << 11,  /* lull.net, lull.protocol */
    LULL_LIB_SYSTEM = 1u << 12,   /* lull.fs, .process, .signal, .thread, .stdin ..., loops */
    LULL_LIB_ALL = (1u << 13) - 1,
    /* for scripts that you do not trust */
    LULL_LIB_SAFE = LULL_LIB_BASE | LULL_LIB_COROUTINE | LULL_LIB_TABLE | LULL_LIB_STRING |
                    LULL_LIB_MATH | LULL_LIB_UTF8 | LULL_LIB_LULL
};

/* flags of lull_attach */
#define LULL_REPLACE 1u /* let coroutine.* and require suspend, as lull.run would have it */
#define LULL_GLOBAL 2u  /* set the global lull */

/* -- life -- */

/* Makes a runtime with a Lua state of its own.  options may be NULL.  -ENOMEM, -EMFILE,
   -ENOSYS (no such selector), -EINVAL. */
LULL_API int lull_open(lull **out, const lull_options *options);

/* Makes a runtime in a Lua state of yours, one at a time (-EEXIST), and not where a
   script is inside of lull.run (-EBUSY).  It opens no library, sets no global and
   replaces nothing unless options say so; require "lull" works where there is require.
   Without LULL_REPLACE a task cannot suspend inside of a nested coroutine.  The state
   stays yours to close, before lull_close or after. */
LULL_API int lull_attach(lull **out, struct lua_State *L, const lull_options *options);

/* Cancels every task, drives the loop until their cleanup is through, at most grace ns
   (0: as far as it goes without waiting), ends by force who is left, and frees l; the
   state of lull_open is closed with it.  Groups, promises, clocks and events stay valid
   until they are freed, and do nothing any more.  Inside of a callback or of a C function
   that a script calls it returns -EINPROGRESS: it happens when the call that drives the
   runtime comes back, with LULL_STEP_CLOSED, or where none does in the next step, the
   next lull_close, or when the state is closed.  So it is where you have resumed a
   coroutine yourself, as long as that is to be found on the main stack, in the registry
   (as by luaL_ref) or in a global: do not close from one that nobody but a closure knows.
   NULL does nothing. */
LULL_API int lull_close(lull *l, int64_t grace);

/* The main lua_State, for luaL_loadfile and all the rest; NULL once the host has closed
   the state that was attached to.  Between two steps its stack is yours alone. */
LULL_API struct lua_State *lull_state(const lull *l);
/* The runtime of any coroutine of its state; NULL: there is none. */
LULL_API lull *lull_of(struct lua_State *L);
/* What was given as `user` in the options. */
LULL_API void *lull_user(const lull *l);
/* The loop, for the plain C half of this file: timers, descriptors, posts.  lull drives
   it: call neither lull_loop_run, _turn, _step nor _free. */
LULL_API lull_loop *lull_get_loop(const lull *l);
/* Bytes that the Lua state and the loop have now; the limit is `memory` in the
   options. */
LULL_API size_t lull_memory(const lull *l);

/* -- driving: four ways, one engine -- */

/* Runs until every task has ended (LULL_STEP_DONE; those that are daemons need not), or
   as below.  Then it tells of the errors that nobody has looked at.  Sleeps while nothing is to be done.  -EDEADLK: nothing can wake any of the
   tasks; lull_take_failure tells which.  -EBUSY: called from inside. */
LULL_API int lull_run(lull *l);

/* Runs what is ready and returns, never sleeping: see lull_loop_step, which this is for
   tasks.  LULL_STEP_..., or -errno.  A script that computes is interrupted when the
   budget is spent only if the options say how (`preempt`).  A step returns within its
   budget then, plus one call of a C function, or a sort, match or other call of Lua's
   own library that cannot be interrupted. */
LULL_API int lull_step(lull *l, const lull_budget *budget);

/* Has lull_step or lull_run return as soon as the task that runs suspends. */
LULL_API void lull_stop(lull *l);

/* How long the host may sleep, and what it may poll meanwhile: see lull_loop_next_wake
   and lull_loop_descriptor. */
LULL_API int64_t lull_next_wake(lull *l);
LULL_API int lull_descriptor(const lull *l);

/* Guest mode, for a host whose loop can neither poll a descriptor nor time out, as that
   of a GUI: a thread of lull's waits in its place and calls wake(ud), on any thread and
   at most once for each step, when there is something to do.  wake has the host call
   lull_step soon (PostMessage, g_idle_add, SDL_PushEvent) and nothing else.  -ENOSYS: the
   selector cannot; -EAGAIN: no thread can be had. */
LULL_API int lull_guest_start(lull *l, void (*wake)(void *ud), void *ud);
/* Ends it; no call of wake is under way any more. */
LULL_API void lull_guest_stop(lull *l);

/* From any thread, as long as l lives: has fn(l, ud) called by the next step or run, in
   order.  -ENOMEM; with limit > 0 -EAGAIN while so many wait already.  When the runtime
   is closed before, fn is called with l NULL, on the thread that closes, to free ud. */
LULL_API int lull_call(lull *l, void (*fn)(lull *l, void *ud), void *ud, unsigned limit);

/* -- what the host is told -- */

/* An error that nobody looks at: of a task, after the second in which somebody may take
   it (at once where the host spawned it, or lull_run is through), or of a callback.  The strings live as long as
   the call; those of lull_take_failure until its next. */
typedef struct lull_failure {
    size_t size;
    lull_task task;        /* 0: a callback, or a deadlock */
    const char *name;      /* task 7 "worker", or callback */
    const char *message;   /* the error as a string */
    const char *traceback; /* of where it was raised, or NULL */
    struct lua_State *L;   /* on_error only: the error value is on top of its stack */
} lull_failure;

/* Takes the oldest failure; false: there is none.  Only where there is no on_error: else
   they go there.  The last 100 are kept. */
LULL_API bool lull_take_failure(lull *l, lull_failure *out);

/* A task ran longer than `slow` without suspending, or used up its instructions. */
typedef struct lull_slow {
    size_t size;
    lull_task task;        /* 0: a callback */
    const char *name;      /* as above */
    const char *traceback; /* where it stands now, or NULL: it has ended */
    int64_t ns;            /* how long it ran */
    bool preempted;        /* it was set aside until the next step; told once a task */
} lull_slow;

/* What may become of a task that computes when its instructions or the budget of the step
   are used up.  OFF: it runs on; where `instructions` is set it gets the error
   "instruction quota exceeded".  COUNT: Lua counts, which makes scripts slower by a
   factor of two and is exact to a thousand; SIGNAL: a timer of the thread interrupts it,
   which costs nothing until it happens, counts no instructions and looks at the time
   alone.  In both the task goes on in the next step; lull_slow names it.  Where Lua
   cannot suspend (in a table.sort comparator, say) it goes on until it can. */
enum { LULL_PREEMPT_OFF, LULL_PREEMPT_COUNT, LULL_PREEMPT_SIGNAL };

/* -- tasks -- */

/* How a task stands. */
enum {
    LULL_TASK_GONE,      /* it has ended, or there was none of that number */
    LULL_TASK_READY,     /* it runs in this step or the next */
    LULL_TASK_RUNNING,   /* it is the one that calls */
    LULL_TASK_WAITING,
    /* the ends, for done: */
    LULL_TASK_FINISHED,  /* its n results are on L */
    LULL_TASK_FAILED,    /* its error is on L, n is 1; it counts as looked at */
    LULL_TASK_CANCELLED, /* the reason is on L, n is 1 */
    LULL_TASK_LOST       /* the state was closed, or no memory left for it: L is NULL */
};

typedef struct lull_group lull_group;

typedef struct lull_task_options {
    size_t size;
    const char *name;  /* in messages; copied */
    lull_group *group; /* cancelled with it; NULL: with nobody */
    void *user;        /* what lull_task_user returns */
    /* Called once for each task that was spawned, when it has ended, in whatever way:
       the place to free user.  The first value is at index 1 of L. */
    void (*done)(lull *l, lull_task task, int how, struct lua_State *L, int n, void *user);
    bool daemon;       /* nobody waits for its end */
    uint64_t instructions; /* that it may run without suspending; 0: as the group's limits
                              say, or lull_options.  Where neither those nor `preempt`
                              have anything counted nothing is: -EINVAL */
} lull_task_options;

/* Starts a task: the function and its nargs arguments are taken from the top of L, which
   is lull_state(l) or any other coroutine of it.  It first runs in the next turn.
   options may be NULL.  -ENOMEM; -EINVAL: that is no function; -EAGAIN: there are as many
   tasks as the limits allow; -ECANCELED: the group is cancelled, or the runtime gone.
   They are taken from the stack in any case. */
LULL_API int lull_task_spawn(lull *l, struct lua_State *L, int nargs,
                             const lull_task_options *options, lull_task *out);

/* Cancels it: what it awaits raises, again and again, until it has ended.  reason may be
   NULL.  -ESRCH: it has ended. */
LULL_API int lull_task_cancel(lull *l, lull_task task, const char *reason);
LULL_API int lull_task_state(lull *l, lull_task task); /* LULL_TASK_... */
LULL_API void *lull_task_user(lull *l, lull_task task); /* NULL when it has ended */
LULL_API lull_task lull_task_current(lull *l);          /* the one that runs, or 0 */
LULL_API unsigned lull_task_count(const lull *l);       /* that live */

/* The task tree, for a debugger, a console, a hang report.  The strings live as long as
   the call. */
typedef struct lull_task_info {
    size_t size;
    lull_task task;
    lull_task parent;      /* who spawned it, if that lives; 0: the host, or it is gone */
    const char *name;      /* task 7 "worker" */
    int state;             /* LULL_TASK_... */
    const char *awaiting;  /* waiting: read stream 3 (127.0.0.1:80), worker.lua:12 */
    const char *traceback; /* where it stands, and who spawned it */
    bool daemon;
    void *user;
} lull_task_info;

/* Calls fn for each live task until it returns false; fn may spawn and cancel.
   -ENOMEM. */
LULL_API int lull_task_each(lull *l, bool (*fn)(const lull_task_info *info, void *ud),
                            void *ud);

/* -- groups: tasks that belong to an object of yours -- */

typedef struct lull_limits {
    size_t size;
    unsigned tasks; /* of the group that may live at once; 0: any number */
    uint64_t instructions; /* of each of them, as in lull_task_options */
} lull_limits;

/* The tasks of a group fail alone and are cancelled together: give each monster, each
   connection, each window a group and free it when that dies.  limits may be NULL. */
LULL_API int lull_group_new(lull *l, const lull_limits *limits, lull_group **out);
/* Cancels its tasks and whoever is spawned into it from now on. */
LULL_API void lull_group_cancel(lull_group *g, const char *reason);
/* Cancels its tasks, whose cleanup runs in the steps to come, and lets go of it.  Any
   time, also from inside of its tasks and after the runtime.  NULL does nothing. */
LULL_API void lull_group_free(lull_group *g);
LULL_API unsigned lull_group_count(const lull_group *g); /* tasks of it that live */

/* -- C functions that await -- */

/* How do I await in C?

       static int answered(lua_State *L, int status, intptr_t ctx)
       {
           return lua_gettop(L);                  (the values that the device has given)
       }
       static int ask(lua_State *L)               (ask() -> values, for scripts)
       {
           lua_settop(L, 0);
           device_ask(lull_promise_new(L, NULL, NULL));
           return lull_await_own(L, answered, 0);
       }

   and on the device's thread, when it has an answer:  lull_promise_resolve(p, push, ud).

   k is called in the task, on the same L with the stack as it was left, when the wait is
   over: with status 0, or -ETIMEDOUT, or another -errno where the wait could not begin.
   It returns as any lua_CFunction, and may await again: it is called for each wait.  k NULL
   ends your function there, with the values that the wait has brought (or nil, message,
   code for a status < 0).  What the wait needs from your side stands on the Lua stack, in
   a userdata, not in your frame, which is gone.  Cancellation never comes to k: it is
   raised, and unwinds; what must be released then is a userdata with __close (lua_toclose)
   or __gc.  Outside of a task, or where Lua cannot suspend, these raise. */
typedef int (*lull_continuation)(struct lua_State *L, int status, intptr_t ctx);

/* Awaits the Future, the Task or the object with __await on top of the stack (popped);
   its results are pushed, its error is raised. */
LULL_API int lull_await_value(struct lua_State *L, lull_continuation k, intptr_t ctx);
/* The same by who owns the Future or the Task: where a cancellation cuts the wait short,
   it is cancelled too, as on_cancel of a promise tells. */
LULL_API int lull_await_own(struct lua_State *L, lull_continuation k, intptr_t ctx);
/* Waits for ns; 0 or less: until the next turn. */
LULL_API int lull_await_sleep(struct lua_State *L, int64_t ns, lull_continuation k,
                              intptr_t ctx);
/* Waits until fd is ready for events (LULL_READ, LULL_WRITE: one of them), at most ns.
   lull forgets fd when the wait is over, however it ends: close it afterwards as you
   like, but not during it. */
LULL_API int lull_await_fd(struct lua_State *L, int fd, unsigned events, int64_t ns,
                           lull_continuation k, intptr_t ctx);
/* Has work(ud) done by a thread of lull's pool and waits for it.  The task may be
   cancelled meanwhile; the work is done all the same.  release(ud), if given, is the last
   call, on either thread, whatever happens. */
LULL_API int lull_await_work(struct lua_State *L, void (*work)(void *ud),
                             void (*release)(void *ud), void *ud, lull_continuation k,
                             intptr_t ctx);

/* May the calling task suspend here? */
LULL_API bool lull_can_await(struct lua_State *L);
/* For helpers that compute for long in C: is it time for a lull_await_sleep(L, 0, k,
   ctx), because the step's budget is spent or the task has been running for long? */
LULL_API bool lull_turn_due(struct lua_State *L);

/* -- promises: futures that the host resolves -- */

typedef struct lull_promise lull_promise;

/* Pushes a new Future, for scripts to await, to store, to share, and returns the end of
   it that you keep.  It keeps lull_run from a deadlock until it is settled.  Settle it
   once, from any thread, on any day, also when the runtime is gone: that frees it.

   on_cancel(ud), if given, is called at most once when nobody can want the answer any
   more: the script has cancelled the future or the runtime is closed.  It may settle.  It
   is called on the runtime's thread and may race with your answer: both are fine. */
LULL_API lull_promise *lull_promise_new(struct lua_State *L, void (*on_cancel)(void *ud),
                                        void *ud);

/* Pushes the results of a promise on L and returns how many; an error that it raises is
   that of the future.  Called once, on the runtime's thread; where the answer is wanted
   no more, with L NULL, to free ud. */
typedef int (*lull_push)(struct lua_State *L, void *ud);

/* From any thread.  push NULL: no results.  Cannot fail: the memory is the promise's. */
LULL_API void lull_promise_resolve(lull_promise *p, lull_push push, void *ud);
/* From any thread: there will be no answer; who awaits it gets "ECANCELED: ...". */
LULL_API void lull_promise_drop(lull_promise *p);

/* -- events: what the host tells all who listen -- */

typedef struct lull_event lull_event;

/* A lull.event: scripts that have been given it call e:wait(). */
LULL_API int lull_event_new(lull *l, lull_event **out);
LULL_API void lull_event_push(struct lua_State *L, const lull_event *e);
/* Wakes those who wait now, with the top n values of L (popped). -ENOMEM; -ECANCELED. */
LULL_API int lull_event_pulse(lull_event *e, struct lua_State *L, int n);
/* The same, and nobody waits from now on until it is cleared. */
LULL_API int lull_event_set(lull_event *e, struct lua_State *L, int n);
LULL_API int lull_event_clear(lull_event *e);
/* Lets go of it; scripts may keep it.  Any time, as all the others. */
LULL_API void lull_event_free(lull_event *e);

/* -- clocks: time that the host stops, slows and turns -- */

typedef struct lull_clock lull_clock;

/* A clock that starts at 0 and goes as the loop's does, for game time: scripts that have
   been given it call c:sleep(s), c:now(), c:timeout(s, fn), and sleep through a pause.
   The loop's own clock stays real, so network time-outs keep their meaning. */
LULL_API int lull_clock_new(lull *l, lull_clock **out);
LULL_API void lull_clock_push(struct lua_State *L, const lull_clock *c);
LULL_API int64_t lull_clock_now(const lull_clock *c);
LULL_API void lull_clock_pause(lull_clock *c, bool paused);
/* So many of its seconds in one of the loop's; -EINVAL unless 0 < factor <= 1e6. */
LULL_API int lull_clock_scale(lull_clock *c, double factor);
/* Turns it forward: who sleeps until then wakes in the next step.  -EINVAL: ns < 0. */
LULL_API int lull_clock_advance(lull_clock *c, int64_t ns);
LULL_API void lull_clock_free(lull_clock *c);

/* -- as a module -- */

/* Opens the library in L and leaves the table of require "lull" on the stack; the entry
   point that require calls (lua_CFunction).  Raises Lua errors.  For states whose scripts
   drive lull themselves by lull.run; a host uses lull_open or lull_attach. */
LULL_API int luaopen_lull(struct lua_State *L);

#ifdef __cplusplus
}
#endif
#endif
