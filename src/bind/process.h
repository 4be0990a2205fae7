/* What the rooms of processes tell one another: spawnlib.c starts them, processlib.c
   looks after them to their end. */
#ifndef LULL_PROCESS_H
#define LULL_PROCESS_H

#include "grace.h"

struct process {
    lull_io io;         /* readable when it has ended */
    lull_waiter reaper; /* waits for that */
    lull_waiter killer; /* waits for the end of its grace */
    struct grace patience;
    lull_waiter end;   /* waits for the end of the loop */
    lull_list waiters; /* tasks */
    lull_list closers; /* tasks that wait for its group */
    lull_list link;    /* in the room's list, while it has not been reaped */
    struct runtime *rt;
    lull_loop *loop; /* that it is reaped on, or NULL */
    lua_Number grace;
    int64_t since, time, pause; /* ns: its grace; real time; between looks at the group */
    int pid, code, number; /* number: of the signal that killed it, or 0 */
    int lost;              /* -errno: nobody knows how it ended */
    bool alive, pidfd, group, closing, killed;
    bool rests;   /* it has ended, others of its group have not */
    bool lingers; /* who runs the loop to its end waits for it */
};

/* Pushes a child that does not live yet. */
struct process *lull_newprocess(lua_State *L, struct runtime *rt);

/* Has p, whose end p->io tells, reaped on that loop; 0 or -errno. */
int lull_process_attach(struct process *p, lull_loop *loop);

/* It lives, and is held from outside until it is reaped; cannot fail. */
void lull_process_begins(lua_State *L, struct process *p);

/* Reaps those that have ended and have no loop any more. */
void lull_process_reap_left(lua_State *L);

/* Adds the function child, which starts one. */
void lull_open_spawn(lua_State *L);

#endif
