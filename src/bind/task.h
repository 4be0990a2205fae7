/* What the rooms around tasks (task, co, future, scope, loop) tell one another. */
#ifndef LULL_TASK_H
#define LULL_TASK_H

#include "bind.h"
#include "compat.h"

/* task.c */

/* Places on the bottom of a task's stack. */
enum {
    LULL_AT_HANDLER = 1, LULL_AT_PARENT, LULL_AT_TASK, LULL_AT_SITE, LULL_AT_LINE,
    LULL_AT_BODY
};

/* The first half of lull_enter, where nothing stands in the way: no refusal, no
   cancellation, and the budget allows it.  Else lull_enter_slowly knows what to do. */
static inline bool lull_may(lua_State *L, struct runtime *rt)
{
    return rt->running == L && !rt->task->scope->cancelled && --rt->budget >= 0 &&
           lua_isyieldable(L);
}
int lull_enter_slowly(lua_State *L, struct runtime *rt, lua_KFunction k);

int lull_park_in(lua_State *L, struct runtime *rt, lua_KFunction k); /* lull_park */
/* The same with a continuation that looks at the scope itself. */
int lull_park_raw(lua_State *L, struct runtime *rt, lua_KContext ctx, lua_KFunction k);
int lull_turn(lua_State *L, struct runtime *rt, lua_KFunction k); /* lets others run */
/* The same for one who goes on although his scope is cancelled: k need not look at it,
   but it counts as a delivery that was ignored. */
int lull_overlook(lua_State *L, struct runtime *rt, lua_KFunction k);
/* Ends t the hard way: what is pending in it runs but cannot suspend. */
void lull_kill(struct runtime *rt, struct task *t);
/* Pushes the Task of a slot when it lives on that loop (else any value; NULL). */
struct task *lull_pushlive(lua_State *L, struct runtime *rt, uint32_t slot, uint32_t loop);
void lull_pushtasks(lua_State *L, struct runtime *rt, uint32_t loop); /* list of the live */
void lull_open_threads(lua_State *L);
struct task *lull_task_of(lull_waiter *w); /* whose waiter it is, or NULL */

bool lull_awaiting(lua_State *co); /* is co suspended by a park, not by a yield? */
/* Who resumed co, a nested coroutine that waits; NULL for any other. */
lua_State *lull_link_of(lua_State *co);
lua_State *lull_base_of(struct runtime *rt, struct task *t); /* its outermost coroutine */
/* The coroutine child, resumed by L, has parked: L waits around it, then k goes on. */
int lull_park_around(lua_State *L, lua_State *child, lua_KContext ctx, lua_KFunction k);

/* Closes a coroutine; what is pending in it runs where nobody may suspend. */
static inline int lull_end_coroutine(struct runtime *rt, lua_State *co, lua_State *from)
{
    lua_State *inner = rt->inner;
    rt->inner = co;
    int status = lull_closethread(co, from);
    rt->inner = inner;
    return status;
}

/* worker.c: on other threads it is known which coroutine runs. */
void lull_worker_begin(struct worker *w); /* a loop is about to run */
void lull_worker_watch(struct worker *w, lua_State *co); /* co is about to be resumed */
int lull_worker_resume(struct worker *w, lua_State *co, lua_State *from, int nargs,
                       int *nresults);
static inline int lull_resume(struct runtime *rt, lua_State *co, lua_State *from, int nargs,
                              int *nresults)
{
    if (rt->worker != NULL)
        return lull_worker_resume(rt->worker, co, from, nargs, nresults);
    return lua_resume(co, from, nargs, nresults);
}

/* refuse.c: raises why L cannot suspend. */
int lull_refuse(lua_State *L, struct runtime *rt);

/* story.c */
void lull_pushtask(lua_State *L, struct runtime *rt, struct task *t); /* of a live t */
void lull_pushtask_of(lua_State *L, lua_State *base); /* or nil, when base is at rest */
void lull_pushstack(lua_State *L, struct task *t); /* where a live t stands now */
void lull_pushstate(lua_State *L, struct runtime *rt, struct task *t); /* "waiting: ..." */
/* Who has spawned t: slot << 32 | id if that lives, else 0. */
lua_Integer lull_parent_of(lua_State *L, struct runtime *rt, struct task *t);
void lull_pushlabel(lua_State *L, int i); /* task 7 "worker", of the Task at i */
void lull_append_site(lua_State *L, lua_State *base); /* "spawned at", to the top string */

/* futurelib.c */
lull_future *lull_tofuture(lua_State *L, struct runtime *rt, int i); /* or NULL */
void lull_take(struct runtime *rt, lull_future *f); /* somebody looks, or will, how it ends */
void lull_inherit_future(lua_State *L, const luaL_Reg *methods); /* into class Task */
/* A whole suspending call: awaits f, which stands at 1. */
int lull_await_future(lua_State *L, struct runtime *rt, lull_future *f);
/* Pushes the results of the future at i, which is done, or raises its error. */
int lull_pushoutcome(lua_State *L, struct runtime *rt, int i);

/* locallib.c: for spawning and ending, while rt->locals is set */
void lull_inherit_locals(lua_State *L, struct runtime *rt, struct task *t);
void lull_drop_locals(lua_State *L, struct task *t); /* allocates nothing */

/* nesting.c */
/* Leaves the scopes inside of `until` that were left open; when well, an error that names
   them is pushed and true returned. */
bool lull_unwind(lua_State *L, struct runtime *rt, lull_scope *until, bool well);
/* A nested coroutine (at i of L) goes on or pauses: its scopes come and go with it. */
void lull_scope_resume(lua_State *L, struct runtime *rt, int i);
void lull_scope_pause(lua_State *L, struct runtime *rt, int i, lull_scope *outer);
/* The serial of the loop in whose scopes it paused, or 0. */
uint32_t lull_scope_home(lua_State *L, int i);
void lull_scope_drop(lua_State *L, struct runtime *rt, int i); /* it never goes on */

/* group.c: for tasks whose own scope has a parent, which is that of a group */
/* The Task at i is about to be settled with what is on top (an error, a reason). */
void lull_child_ends(lua_State *L, struct runtime *rt, int i, unsigned state);
void lull_child_ended(struct runtime *rt, struct task *t, lull_scope *parent);
void lull_child_daemon(struct runtime *rt, struct task *t); /* became one */

/* report.c: the clock before something that may keep the loop; and after it, with the
   Task or nil on top of the loop's state (popped): too long is told. */
int64_t lull_watch_begin(struct runtime *rt);
void lull_watch_end(struct runtime *rt, int64_t start);
void lull_untaken(lua_State *L, struct runtime *rt, int i); /* the failed future at i */
void lull_lost(struct runtime *rt); /* the same, where there is no memory to note it */

/* tasklib.c: the method close that the modules in Lua gave to a class, as a metamethod */
int lull_task_close(lua_State *L);

/* awaited.c: what co, which is not running, waits for: "read stream 7 (...)", or "" */
void lull_pushcall(lua_State *L, struct runtime *rt, lua_State *co);
/* "worker.lua:12", the innermost line of the script in co; or nothing, and false. */
bool lull_pushline(lua_State *L, lua_State *co);

/* looplib.c */
enum { /* uservalues of a Loop */
    LULL_LOOP_UNTAKEN = 1, LULL_LOOP_WATCHERS, LULL_LOOP_HANDLES, LULL_LOOP_HANDLER
};
lull_loop *lull_checkloop(lua_State *L); /* the Loop at 1, which must be open */
lull_loop *lull_loop_with(struct runtime *rt, uint32_t serial); /* or NULL: it is gone */
void lull_task_begins(lua_State *L, struct runtime *rt); /* may still fail */
void lull_task_began(struct runtime *rt, struct task *t);
void lull_task_ended(struct runtime *rt, struct task *t);
void lull_task_daemon(struct runtime *rt, struct task *t); /* became one */

/* watchlib.c: adds the readers and writers to class Loop */
void lull_open_watch(lua_State *L);

#endif
