/* A Thread as its owner has it, for threadlib.c (its life) and messagelib.c (what goes
   between the two). */
#ifndef LULL_THREAD_H
#define LULL_THREAD_H

#include "strand.h"

struct thread {
    struct strand *strand;
    lull_waiter settled; /* waits for the end of the task that waits for it */
    uint32_t id;
    bool started;        /* there is a thread */
    bool joined;
};

/* threadlib.c */
struct thread *lull_checkthread(lua_State *L); /* the Thread at 1, which was started */
/* The bell of that side for the running loop; raises for want of memory. */
struct bell *lull_thread_bell(lua_State *L, struct strand *s, enum side side);

/* messagelib.c */
int lull_thread_receive(lua_State *L); /* Thread:receive */
int lull_thread_send(lua_State *L);    /* Thread:send */
void lull_open_message(lua_State *L);

#endif
