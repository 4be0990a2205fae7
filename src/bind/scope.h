/* A scope as Lua has it, for the rooms that open some: scopelib.c and grouplib.c, whose
   groups begin with one. */
#ifndef LULL_BIND_SCOPE_H
#define LULL_BIND_SCOPE_H

#include "task.h"

struct scope {
    lull_deadline deadline; /* first: its first is the lull_scope */
    struct task *task;      /* who is inside; NULL before and after */
    lua_State *co;          /* the coroutine that opened it */
    uint32_t loop;          /* serial of its loop */
    bool paused;            /* outermost of a coroutine that is paused */
    int line;               /* of a block: where it was opened, with uservalue 1 */
};

/* A flag of a lull_scope, beside LULL_SHIELD: it is the first part of a struct group. */
#define LULL_IS_GROUP 2u

/* nesting.c */
/* Raises unless L is in a task and may open scopes. */
void lull_scope_check(lua_State *L, struct runtime *rt);

/* Opens s, the first part of an object born zeroed, around what follows.  Cannot fail. */
void lull_scope_enter(lua_State *L, struct runtime *rt, struct scope *s, unsigned flags);

/* Makes the object on top of the stack, whose scope is s, a block of whoever called. */
void lull_scope_block(lua_State *L, struct scope *s);

/* Raises unless L may leave the block s now. */
void lull_scope_checkleave(lua_State *L, struct runtime *rt, struct scope *s);

/* Is the running task inside of s? */
bool lull_scope_around(const struct runtime *rt, const struct scope *s);

/* Ends s, the innermost scope of the running task. */
void lull_scope_leave(lua_State *L, struct runtime *rt, struct scope *s);

/* Takes s out of its loop and of the tree, wherever it is. */
void lull_scope_end(lua_State *L, struct runtime *rt, struct scope *s);

/* Ends s, whose object is being collected, if it was never left. */
void lull_scope_collect(lua_State *L, struct runtime *rt, struct scope *s);

/* Is the error at i the cancellation of this very scope? */
bool lull_scope_raised(lua_State *L, struct runtime *rt, struct scope *s, int i);

/* group.c: a group ends in whose name nobody can wait any more: its children are
   cancelled and go on alone. */
void lull_group_abandon(lua_State *L, struct runtime *rt, struct scope *s);

#endif
