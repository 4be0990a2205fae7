/* A line of tasks that wait for something, which they are given in their turn.
   Cancelling takes a task out of it without a word, as out of every list.

   Who is woken has been granted something.  He may still be cancelled before he runs;
   then the cancellation wins, and his continuation sees to it that the grant goes to the
   next in line.  What it may not do after a wait is fail. */
#ifndef LULL_LINE_H
#define LULL_LINE_H

#include "task.h"

static inline struct task *lull_first(const lull_list *waiters)
{
    return container_of(waiters->next, struct task, waiter.link);
}

/* What is waited for belongs to the loop of the first wait, whose serial *loop is; 0:
   there was none yet. */
static inline void lull_line_bind(lua_State *L, struct runtime *rt, uint32_t *loop)
{
    uint32_t here = lull_loop_serial(rt->loop);
    if (*loop == 0)
        *loop = here;
    if (*loop != here)
        luaL_error(L, "this belongs to another loop");
}

/* Waits at the end of a line of that loop.  k looks at the scope itself, and at what the
   waiter was woken with. */
static inline int lull_line_wait(lua_State *L, struct runtime *rt, lull_list *waiters,
                                 lua_KFunction k)
{
    lull_wait(&rt->task->waiter);
    list_push(waiters, &rt->task->waiter.link);
    return lull_park_raw(L, rt, 0, k);
}

/* Woken, but not by a grant: cancelled, unless that is over, for then he waits on. */
static inline int lull_line_disturbed(lua_State *L, struct runtime *rt,
                                      lull_list *waiters, lua_KFunction k)
{
    if (rt->task->scope->cancelled)
        return lull_raisecancel(L, rt);
    return lull_line_wait(L, rt, waiters, k);
}

/* The loop of those who wait; waking is possible from wherever it is alive. */
static inline lull_loop *lull_line_home(lua_State *L, struct runtime *rt, uint32_t serial)
{
    lull_loop *loop = lull_loop_with(rt, serial);
    if (loop == NULL)
        luaL_error(L, "the loop of those who wait is closed");
    return loop;
}

/* Cancelling takes them out behind our back, so they are counted when somebody asks. */
static inline int lull_line_count(const lull_list *waiters)
{
    int n = 0;
    for (const lull_list *link = waiters->next; link != waiters; link = link->next)
        n++;
    return n;
}

#endif
