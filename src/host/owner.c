/* Groups that belong to objects of the host.  In the state each is a detached Group of
   Lua's (group.c); the host's end of it outlives the runtime. */
#include "host.h"

struct lull_group {
    struct part part;
    struct group *group; /* NULL: there is none any more */
    unsigned max_tasks;
    uint64_t instructions;
    bool cancelled;
    void *ud;
    lull_alloc alloc;
};

static void release(lull_group *g)
{
    g->alloc(g->ud, g, sizeof *g, 0);
}

/* The runtime ends: so have the tasks. */
static void group_ends(struct part *p)
{
    container_of(p, lull_group, part)->group = NULL;
    lull_drop_part(p);
}

/* (lull_group *) */
static int make(lua_State *L)
{
    lull_group *g = lua_touserdata(L, 1);
    struct group *group = lull_newgroup(L, 0);
    group->scope.loop = g->part.l->object->serial;
    lull_hold(L, g);
    g->group = group;
    return 0;
}

int lull_group_new(lull *l, const lull_limits *limits, lull_group **out)
{
    lull_limits o = {0};
    if (limits != NULL)
        memcpy(&o, limits, limits->size < sizeof o ? limits->size : sizeof o);
    if (l->loop == NULL || l->ending)
        return -ECANCELED;
    if (o.instructions > 0 && l->watch == NULL)
        return -EINVAL;
    lull_group *g = lull_host_alloc(l, sizeof *g);
    if (g == NULL)
        return -ENOMEM;
    g->alloc = l->options.alloc;
    g->ud = l->options.alloc_ud;
    g->max_tasks = o.tasks;
    g->instructions = o.instructions;
    g->part.end = group_ends;
    lull_add_part(l, &g->part);
    int rc = lull_protected(l, make, g);
    if (rc < 0) {
        lull_drop_part(&g->part);
        release(g);
        return rc;
    }
    *out = g;
    return 0;
}

int lull_group_admits(lull_group *g, const lull *l, struct group **out)
{
    if (g->part.l != l || g->group == NULL || g->cancelled)
        return -ECANCELED;
    if (g->max_tasks > 0 && g->group->children >= g->max_tasks)
        return -EAGAIN;
    *out = g->group;
    return 0;
}

uint64_t lull_group_instructions(const lull_group *g)
{
    return g->instructions;
}

void lull_group_cancel(lull_group *g, const char *reason)
{
    lull *l = g->part.l;
    if (g->group == NULL || g->cancelled)
        return;
    g->cancelled = true;
    lull_host_cancel(l, lull_scope_of(g->group), reason);
    lull_group_review(l->loop, g->group);
    lull_nudge(l);
}

/* Its Group is given up as any that is collected: the children end alone. */
void lull_group_free(lull_group *g)
{
    if (g == NULL)
        return;
    lull_group_cancel(g, NULL);
    if (g->group != NULL && lua_checkstack(g->part.l->L, 8)) {
        lull_group_abandon(g->part.l->L, g->part.l->rt, &g->group->scope);
        lull_release(g->part.l->L, g);
    }
    lull_drop_part(&g->part);
    release(g);
}

unsigned lull_group_count(const lull_group *g)
{
    return g->group ? g->group->children : 0;
}
