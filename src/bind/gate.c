/* So many lookups at a time: who waits for what is told in resolve.h.  A gate belongs to
   its loop and ends with it; those who stood there then stand nowhere. */
#include <errno.h>
#include <stdlib.h>

#include "resolve.h"

enum { AT_ONCE = 64 };

struct gate {
    lull_list link; /* in the list of the runtime */
    lull_loop *loop;
    lull_waiter end; /* of the loop */
    lull_list asking, waiting;
    unsigned count; /* of those who ask */
};

static struct place *first(lull_list *list)
{
    return container_of(list_pop(list), struct place, link);
}

static void gate_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct gate *g = container_of(w, struct gate, end);
    while (!list_empty(&g->asking))
        first(&g->asking)->gate = NULL;
    while (!list_empty(&g->waiting))
        first(&g->waiting)->gate = NULL;
    list_remove(&g->link);
    free(g);
}

static struct gate *find(lull_list *gates, lull_loop *loop)
{
    for (lull_list *l = gates->next; l != gates; l = l->next)
        if (container_of(l, struct gate, link)->loop == loop)
            return container_of(l, struct gate, link);
    return NULL;
}

static struct gate *new (lull_list *gates, lull_loop *loop)
{
    struct gate *g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->loop = loop;
    list_init(&g->asking);
    list_init(&g->waiting);
    list_push(gates, &g->link);
    lull_waiter_init(&g->end, gate_ends);
    lull_loop_end(loop, &g->end);
    return g;
}

static void let_in(struct gate *g, struct place *p)
{
    g->count++;
    p->asks = true;
    list_push(&g->asking, &p->link);
}

void lull_place_init(struct place *p, void (*enter)(struct place *p))
{
    *p = (struct place){.enter = enter};
    list_init(&p->link);
}

int lull_place_take(lull_list *gates, lull_loop *loop, struct place *p)
{
    struct gate *g = find(gates, loop);
    if (g == NULL)
        g = new (gates, loop);
    if (g == NULL)
        return -ENOMEM;
    p->gate = g;
    if (g->count < AT_ONCE)
        let_in(g, p);
    else
        list_push(&g->waiting, &p->link);
    return 0;
}

void lull_place_leave(struct place *p)
{
    struct gate *g = p->gate;
    if (g == NULL)
        return;
    p->gate = NULL;
    list_remove(&p->link);
    g->count -= p->asks;
    while (g->count < AT_ONCE && !list_empty(&g->waiting)) {
        struct place *next = first(&g->waiting);
        let_in(g, next);
        next->enter(next);
    }
}
