/* What the rooms around tasks (task, co, future, scope, loop) tell one another. */
#ifndef LULL_TASK_H
#define LULL_TASK_H

#include "bind.h"
#include "compat.h"

/* tasklib.c */
void lull_pushtask(lua_State *L, struct task *t);  /* the Task of a live t */
void lull_pushtasks(lua_State *L, struct runtime *rt, uint32_t loop); /* list of the live */
void lull_pushstack(lua_State *L, struct task *t); /* where a live t stands now */
/* Ends t the hard way: what is pending in it runs but cannot suspend. */
void lull_kill(struct runtime *rt, struct task *t);
bool lull_awaiting(lua_State *co); /* is co suspended by lull_park, not by a yield? */
/* The coroutine that a waiting one carries: who resumed it, or the innermost; or NULL. */
lua_State *lull_link_of(lua_State *co);
/* The coroutine child, resumed by L, has parked: L waits around it, then k goes on. */
int lull_park_around(lua_State *L, lua_State *child, lua_KContext ctx, lua_KFunction k);
int lull_turn(lua_State *L, struct runtime *rt, lua_KFunction k); /* lets others run */

/* futurelib.c */
void lull_inherit_future(lua_State *L, const luaL_Reg *methods); /* into class Task */
int lull_await_outcome(lua_State *L, int status, lua_KContext rc); /* of the future at 1 */
int lull_pushoutcome(lua_State *L, int i); /* pushes the results, or raises the error */
/* Pushes "ECANCELED: reason" of the cancelled future at i. */
void lull_pushcancelled(lua_State *L, int i);

/* scopelib.c */
/* Leaves the scopes inside of `until` that were left open; when well, an error that names
   them is pushed and true returned. */
bool lull_unwind(lua_State *L, struct runtime *rt, lull_scope *until, bool well);
/* A nested coroutine goes on or pauses (at index i of L): its scopes come and go with it. */
void lull_scope_resume(lua_State *L, struct runtime *rt, int i);
void lull_scope_pause(lua_State *L, struct runtime *rt, int i, lull_scope *outer);
void lull_scope_drop(lua_State *L, struct runtime *rt, int i); /* it never goes on */

/* looplib.c */
lull_loop *lull_loop_with(struct runtime *rt, uint32_t serial); /* or NULL: it is gone */
void lull_task_began(struct runtime *rt, struct task *t);
void lull_task_ended(struct runtime *rt, struct task *t);
void lull_task_daemon(struct runtime *rt, struct task *t); /* became one */
void lull_untaken(lua_State *L, struct runtime *rt, int i); /* the failed future at i */

#endif
