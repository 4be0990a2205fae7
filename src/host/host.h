/* The host's side of the second half of lull.h: what a runtime is made of, for the rooms
   around it.  life opens and closes, drive and guest drive, tell tells, library and quota
   say what scripts may; spawn, survey and owner have tasks and groups, await, offload and
   promise the waits of C functions, pulse and gametime events and clocks.

   Whoever calls from outside may find any of it gone: the Lua state closed first, the
   runtime before its groups.  So everything the host holds is memory of its own, a part,
   which knows the runtime only as long as that lives. */
#ifndef LULL_HOST_H
#define LULL_HOST_H

#include "group.h"
#include "looplib.h"

#include <errno.h>
#include <string.h>

/* Something of the host's that may outlive the runtime. */
struct part {
    lull_list link; /* in the runtime's list */
    lull *l;        /* NULL: the runtime is gone */
    void (*end)(struct part *p); /* it is about to be: drops the part; or NULL */
};

struct lull {
    lua_State *main;     /* NULL: the state is closed */
    lua_State *L;        /* a coroutine of our own: everything is driven from here */
    struct runtime *rt;
    struct loop *object;
    lull_loop *loop;
    lull_options options;
    struct lull **anchor; /* a userdata that tells when the state is closed */
    bool own;            /* the state is ours to close */
    bool driving;        /* inside of a step, a run or the close */
    bool doomed;         /* to be closed when the drive comes back */
    bool stopped;        /* lull_stop was called */
    bool failed;         /* a failure was kept that no step has told of */
    bool lost;           /* one for which there was no memory */
    bool ending;         /* lull_close is at work */
    int64_t grace;       /* that of the close */
    int error;           /* why there is no loop, while opening */
    size_t memory;       /* bytes of the Lua state */
    lull_list parts, records;
    struct record **by_slot; /* of the tasks that the host has spawned */
    uint32_t slots;
    int64_t deadline;    /* of the step, on the real clock, or 0 */
    struct sys_door *door; /* for other threads */
    struct sys_vigil *guest;
    struct watch *watch; /* quota.c */
};

/* host.c */
void *lull_plain_alloc(void *ud, void *ptr, size_t osize, size_t nsize); /* malloc, free */
void *lull_counted_alloc(void *ud, void *ptr, size_t osize, size_t nsize); /* ud: the lull */
void *lull_host_alloc(const lull *l, size_t size); /* zeroed; or NULL */
void lull_host_free(const lull *l, void *p, size_t size);
void lull_add_part(lull *l, struct part *p);
void lull_drop_part(struct part *p);
void lull_end_parts(lull *l);
/* Calls f in protected mode on l's own coroutine with ud as its argument, and with the
   runtime as its upvalue.  0, or -ENOMEM, or -EINVAL for any other error, which is lost. */
int lull_protected(lull *l, lua_CFunction f, void *ud);
/* The same on L, with its top n values as the arguments that follow; they are taken, and
   where it went well nresults left. */
int lull_protected_on(lua_State *L, lua_CFunction f, void *ud, int n, int nresults);
int lull_errno_of(lua_State *L, int status); /* pops the error */
/* Cancels scope; without a reason where there is none or no memory for it. */
void lull_host_cancel(lull *l, lull_scope *scope, const char *reason);

/* drive.c */
void lull_nudge(lull *l); /* something has become ready between two steps */

/* tell.c */
void lull_open_tell(lull *l); /* raises */
/* Tells the error on top of L (popped), which a callback has raised. */
void lull_report_callback(lull *l, lua_State *L);

/* spawn.c */
lull_task lull_number_of(const struct task *t);
struct task *lull_pushnumber_task(lua_State *L, lull *l, lull_task number); /* or NULL */
void lull_end_records(lull *l); /* tells those that are left that they are lost */
uint64_t lull_allowance(lull *l, const struct task *t); /* instructions of its own, or 0 */

/* owner.c: 0 and its Group, -ECANCELED, or -EAGAIN by its limits */
int lull_group_admits(lull_group *g, const lull *l, struct group **out);
uint64_t lull_group_instructions(const lull_group *g);

/* library.c: (lull *, light): opens what scripts shall see; leaves nothing */
int lull_open_libraries(lua_State *L);

/* guard.c: keeps scripts where hooks reach them; raises */
void lull_guard(lua_State *L);

/* await.c: a wait of a function of the host's.  What it needs goes on top of the stack,
   the frame first; begin finds it there, in a task that may wait, and in the end takes
   off what it has put there and goes on. */
void lull_push_frame(lua_State *L, lull_continuation k, intptr_t ctx);
int lull_enter_from(lua_State *L, lua_KFunction begin);
int lull_go_on(lua_State *L, int status);

/* guest.c */
void lull_guest_arm(lull *l); /* a step is over */
void lull_guest_disarm(lull *l);

/* quota.c */
int lull_open_watch_of(lull *l);
void lull_close_watch_of(lull *l);
void lull_watch_step(lull *l, const lull_budget *budget);
void lull_watch_run(lull *l);
void lull_unwatch(lull *l);
/* As lull_protected_on, for what scripts may have changed: watched as a run is. */
int lull_protected_watched(lull *l, lua_State *L, lua_CFunction f, void *ud, int n);

#endif
