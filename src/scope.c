/* Who is cancelled with whom, and until when.

   Scopes form a tree.  Cancellation is a state, not an event: a cancelled scope stays
   cancelled, and whoever wants to wait inside looks at it first.  So that this look is
   one load, each scope keeps in `cancelled` what holds for it with its ancestors
   counted: the outermost cancellation reaches through every scope that is not a shield.
   A change of that state walks the subtree, updates it and wakes each member once. */
#include <errno.h>

#include "loop.h"

static int inherited(const lull_scope *s)
{
    bool open = s->parent != NULL && !(s->flags & LULL_SHIELD);
    return open && s->parent->cancelled ? s->parent->cancelled : s->own;
}

/* The scope after s in a walk of root's subtree, parents first; below: s's children too. */
static lull_scope *following(lull_scope *root, lull_scope *s, bool below)
{
    if (below && s->children)
        return s->children->next;
    while (s != root && s == s->parent->children)
        s = s->parent;
    return s == root ? NULL : s->next;
}

/* Brings root's subtree up to date.  No recursion: scopes nest as deep as scripts do. */
static void spread(lull_loop *loop, lull_scope *root)
{
    for (lull_scope *s = root; s != NULL;) {
        int now = inherited(s);
        bool changed = s->cancelled != now;
        s->cancelled = (int16_t)now;
        if (changed && now != 0 && s->member)
            lull_wake(loop, s->member, -ECANCELED);
        s = following(root, s, changed || s == root);
    }
}

static void link_below(lull_scope *s, lull_scope *parent)
{
    s->parent = parent;
    s->prev = s->next = s;
    if (parent == NULL)
        return;
    if (parent->children) {
        s->prev = parent->children;
        s->next = parent->children->next;
        s->prev->next = s->next->prev = s;
    }
    parent->children = s;
}

static void unlink_scope(lull_scope *s)
{
    lull_scope *parent = s->parent;
    if (parent && parent->children == s)
        parent->children = s->prev == s ? NULL : s->prev;
    s->prev->next = s->next;
    s->next->prev = s->prev;
    s->prev = s->next = s;
    s->parent = NULL;
}

void lull_scope_open(lull_loop *loop, lull_scope *s, lull_scope *parent, unsigned flags)
{
    (void)loop;
    *s = (lull_scope){.flags = (uint16_t)flags};
    link_below(s, parent);
    s->cancelled = (int16_t)inherited(s);
}

void lull_scope_detach(lull_loop *loop, lull_scope *s)
{
    unlink_scope(s);
    spread(loop, s);
}

void lull_scope_attach(lull_loop *loop, lull_scope *s, lull_scope *parent)
{
    link_below(s, parent);
    spread(loop, s);
}

void lull_scope_close(lull_loop *loop, lull_scope *s)
{
    while (s->children) {
        lull_scope *child = s->children->next;
        unlink_scope(child);
        spread(loop, child);
    }
    unlink_scope(s);
}

bool lull_scope_cancel(lull_loop *loop, lull_scope *s, int status)
{
    if (s->own != 0)
        return false;
    s->own = (int16_t)status;
    spread(loop, s);
    return true;
}

lull_scope *lull_scope_culprit(lull_scope *s)
{
    lull_scope *culprit = NULL;
    for (; s != NULL; s = s->flags & LULL_SHIELD ? NULL : s->parent)
        if (s->own != 0)
            culprit = s;
    return culprit;
}

static void expire(lull_loop *loop, lull_waiter *w)
{
    lull_deadline *d = container_of(w, lull_deadline, expiry);
    lull_scope_cancel(loop, &d->scope, -ETIMEDOUT);
}

void lull_deadline_init(lull_deadline *d)
{
    lull_waiter_init(&d->expiry, expire);
    lull_timer_init(&d->timer, &d->expiry);
}

int lull_deadline_set(lull_loop *loop, lull_deadline *d, int64_t deadline)
{
    lull_wait(&d->expiry);
    return lull_timer_start(loop, &d->timer, deadline, 0);
}
