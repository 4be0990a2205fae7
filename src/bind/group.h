/* What a group is: group.c says how it lives and ends, grouplib.c how scripts use it. */
#ifndef LULL_GROUP_H
#define LULL_GROUP_H

#include "scope.h"

/* What the end of a child means. */
enum {
    PLAIN,   /* a failure ends the group */
    GATHER,  /* so does a child that was cancelled by itself: its result is missing */
    RACE,    /* so does the end of any child */
    DETACHED /* nothing: children fail alone, and no task is inside */
};

struct group {
    struct scope scope; /* first: a group is a scope */
    lull_list leavers;  /* the waiters of the tasks that wait for its end */
    lull_list line;     /* the tickets of those who wait until they may spawn */
    uint32_t limit;     /* so many children at once; 0: any number */
    uint32_t children, daemons;
    uint8_t kind;
    uint8_t first;  /* whose outcome is that of the group; held under this address */
    bool closing;   /* the body has ended */
    bool dismissed; /* only daemons are left, and have been cancelled */
    bool stillborn; /* it was given children when it had been cancelled already */
    bool ended;
    enum { WELL, UNWINDING, FAILED } body; /* UNWINDING: its error is on its way */
    int site; /* not 0: children are spawned in this line of the function uservalue 1 */
};

/* A place in the line of a group. */
struct ticket {
    lull_list link;
    lull_list holder; /* the waiter of the task that stands there, while it waits */
    struct group *group;
};

static inline lull_scope *lull_scope_of(struct group *g)
{
    return &g->scope.deadline.scope;
}

static inline bool lull_group_empty(const struct group *g)
{
    return g->children == 0 && list_empty(&g->line);
}

/* So many may be spawned now. */
static inline uint32_t lull_group_room(const struct group *g)
{
    return g->limit > g->children ? g->limit - g->children : 0;
}

/* Pushes a new detached group. */
struct group *lull_newgroup(lua_State *L, uint32_t limit);

/* Somebody has left g or its line, or it was cancelled: wakes those who wait for that. */
void lull_group_review(lull_loop *loop, struct group *g);

/* The body has ended; the stack is group | error, or group | handler | results.  Waits
   until nobody is left and raises what has to be raised; returns as a C function. */
int lull_group_leave(lua_State *L, struct runtime *rt, struct group *g);

/* Cancels the children of the detached group at 1 and waits for them; as above. */
int lull_group_close(lua_State *L, struct runtime *rt, struct group *g);

#endif
