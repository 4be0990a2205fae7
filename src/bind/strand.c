/* What a thread and its owner share: two bounded queues of parcels, and who waits for
   them.

   Each side may wait in two ways.  A task waits in the list of a bell, which belongs to
   its loop: the other side rings it by a post, and the loop then wakes as many as can go
   on, first come, first served.  A thread in which no loop runs blocks.

   The owner's loop is told how things stand by a reference that it holds while the
   thread can still act by itself: one that blocks until its owner does something
   cannot, so a program in which everybody waits for everybody is found to be one, and
   a virtual clock goes on. */
#include "strand.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nudge.h"
#include "post.h"

/* Who has sent so much that was not taken yet waits. */
enum { MANY = 64, MUCH = 1 << 20 };

/* ---- life -------------------------------------------------------------------------- */

struct strand *lull_strand_new(void)
{
    struct strand *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->refs = 1;
    pthread_mutex_init(&s->lock, NULL);
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    for (int i = 0; i < 2; i++) {
        list_init(&s->ends[i].inbox);
        list_init(&s->ends[i].bells);
    }
    lull_worker_init(&s->worker);
    s->worker.strand = s;
    return s;
}

static void destroy(struct strand *s)
{
    for (int i = 0; i < 2; i++) {
        struct end *e = &s->ends[i];
        while (!list_empty(&e->inbox))
            lull_parcel_free(container_of(list_pop(&e->inbox), struct parcel, link));
        while (!list_empty(&e->bells))
            free(container_of(list_pop(&e->bells), struct bell, link));
    }
    lull_worker_fini(&s->worker);
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

void lull_strand_unref(struct strand *s)
{
    pthread_mutex_lock(&s->lock);
    bool last = --s->refs == 0;
    pthread_mutex_unlock(&s->lock);
    if (last)
        destroy(s);
}

/* ---- bells ------------------------------------------------------------------------- */

/* Can something outside of the loop still wake who waits at this bell? */
static bool is_hopeful(const struct bell *b)
{
    const struct strand *s = b->strand;
    return !s->left && (b->side == INSIDE || (!s->over && !s->blocked));
}

/* On the bell's own thread. */
static void hold_loop(struct bell *b)
{
    bool wanted = b->loop != NULL && is_hopeful(b);
    if (b->loop != NULL && wanted && !b->ref)
        lull_loop_ref(b->loop);
    if (b->loop != NULL && !wanted && b->ref)
        lull_loop_unref(b->loop);
    b->ref = wanted;
}

/* The loops of the owner, on its thread. */
static void hold_loops(struct strand *s)
{
    lull_list *bells = &s->ends[OUTSIDE].bells;
    for (lull_list *link = bells->next; link != bells; link = link->next)
        hold_loop(container_of(link, struct bell, link));
}

/* Who is woken wants the lock: lets go of it, and then wakes them.  The caller has a
   reference, which he keeps. */
static void unlock(struct strand *s)
{
    lull_loop *posted[2];
    unsigned n = s->posts;
    bool changes = s->changes;
    memcpy(posted, s->posted, sizeof posted);
    s->posts = 0;
    s->changes = false;
    pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < n; i++)
        lull_post_end(posted[i]);
    if (changes)
        pthread_cond_broadcast(&s->changed);
}

/* Posts the message of b; its loop is woken by unlock, the third and more at once. */
static void post(struct strand *s, struct bell *b)
{
    lull_post_begin(b->loop, &b->message);
    if (s->posts < sizeof s->posted / sizeof *s->posted)
        s->posted[s->posts++] = b->loop;
    else
        lull_post_end(b->loop);
}

/* Everybody on that side looks again. */
static void ring(struct strand *s, enum side side, bool always)
{
    lull_list *bells = &s->ends[side].bells;
    for (lull_list *link = bells->next; link != bells; link = link->next) {
        struct bell *b = container_of(link, struct bell, link);
        if (b->loop == NULL || b->rung || !(b->waited || always))
            continue;
        b->rung = true;
        s->refs++;
        post(s, b);
    }
    if (side == INSIDE && s->blocked) {
        s->blocked = false; /* if it still has to wait it says so again */
        s->changes = true;
    }
}

static void wake_first(struct bell *b, lull_list *list, unsigned n)
{
    for (; n > 0 && !list_empty(list); n--)
        lull_wake(b->loop, container_of(list->next, lull_waiter, link), 0);
}

static unsigned room(const struct end *e)
{
    return e->bytes < MUCH && e->count < MANY ? MANY - e->count : 0;
}

void lull_bell_stir(struct bell *b)
{
    struct strand *s = b->strand;
    if (b->loop == NULL)
        return;
    pthread_mutex_lock(&s->lock);
    const struct end *mine = &s->ends[b->side], *other = &s->ends[!b->side];
    bool over = s->over || s->left;
    unsigned receivers = over || other->finished ? UINT_MAX : mine->count;
    unsigned senders = over || mine->finished ? UINT_MAX : room(other);
    b->waited = !list_empty(&b->receivers) || !list_empty(&b->senders) ||
                !list_empty(&b->joiners);
    hold_loop(b);
    pthread_mutex_unlock(&s->lock);
    wake_first(b, &b->receivers, receivers);
    wake_first(b, &b->senders, senders);
    wake_first(b, &b->joiners, over ? UINT_MAX : 0);
}

/* Takes b off its loop. */
static void silence(struct bell *b)
{
    lull_forget(&b->end);
    if (b->ref)
        lull_loop_unref(b->loop);
    b->loop = NULL;
    b->ref = b->waited = false;
}

static void rung(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct bell *b = container_of(w, struct bell, message.waiter);
    struct strand *s = b->strand;
    pthread_mutex_lock(&s->lock);
    b->rung = false;
    if (b->leaving)
        silence(b);
    pthread_mutex_unlock(&s->lock);
    lull_bell_stir(b);
    lull_strand_unref(s);
}

/* The loop is about to be freed, its tasks have ended.  A message that is under way is
   still linked there, so its memory has to stay for longer. */
static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct bell *b = container_of(w, struct bell, end);
    pthread_mutex_lock(&b->strand->lock);
    silence(b);
    if (b->rung)
        list_push(b->graves, &b->grave);
    pthread_mutex_unlock(&b->strand->lock);
}

void lull_bury(lull_list *graves)
{
    while (!list_empty(graves)) {
        struct bell *b = container_of(list_pop(graves), struct bell, grave);
        lull_strand_unref(b->strand);
    }
}

void lull_strand_leave(struct strand *s)
{
    pthread_mutex_lock(&s->lock);
    lull_list *bells = &s->ends[OUTSIDE].bells;
    for (lull_list *link = bells->next; link != bells; link = link->next) {
        struct bell *b = container_of(link, struct bell, link);
        b->leaving = true;
        if (b->loop != NULL && !b->rung)
            silence(b);
    }
    pthread_mutex_unlock(&s->lock);
    lull_strand_unref(s);
}

static struct bell *find_bell(struct strand *s, enum side side, lull_loop *loop)
{
    lull_list *bells = &s->ends[side].bells;
    for (lull_list *link = bells->next; link != bells; link = link->next)
        if (container_of(link, struct bell, link)->loop == loop)
            return container_of(link, struct bell, link);
    return NULL;
}

/* A bell that no loop has, nor a grave, may be used again. */
static struct bell *new_bell(struct strand *s, enum side side)
{
    struct bell *b = find_bell(s, side, NULL);
    if (b != NULL && !b->rung)
        return b;
    b = calloc(1, sizeof *b);
    if (b == NULL)
        return NULL;
    b->strand = s;
    b->side = side;
    list_push(&s->ends[side].bells, &b->link);
    return b;
}

struct bell *lull_bell(struct strand *s, enum side side, lull_loop *loop,
                       lull_list *graves)
{
    pthread_mutex_lock(&s->lock);
    struct bell *b = find_bell(s, side, loop);
    if (b == NULL && (b = new_bell(s, side)) != NULL) {
        lull_waiter_init(&b->message.waiter, rung);
        lull_waiter_init(&b->end, loop_ends);
        list_init(&b->receivers);
        list_init(&b->senders);
        list_init(&b->joiners);
        lull_loop_end(loop, &b->end);
        b->loop = loop;
        b->graves = graves;
        hold_loop(b);
    }
    pthread_mutex_unlock(&s->lock);
    return b;
}

/* ---- the queues -------------------------------------------------------------------- */

static size_t weight(const struct parcel *p)
{
    return p->size + p->tables * sizeof *p->shapes;
}

static int try_put(struct strand *s, enum side side, struct parcel *p)
{
    struct end *to = &s->ends[!side];
    if (s->over || s->left || s->ends[side].finished)
        return -EPIPE;
    if (room(to) == 0)
        return -EAGAIN;
    list_push(&to->inbox, &p->link);
    to->count++;
    to->bytes += weight(p);
    ring(s, !side, false);
    return 0;
}

static int try_get(struct strand *s, enum side side, struct parcel **p)
{
    struct end *from = &s->ends[side];
    if (from->count == 0)
        return s->over || s->left || s->ends[!side].finished ? -EPIPE : -EAGAIN;
    *p = container_of(list_pop(&from->inbox), struct parcel, link);
    from->count--;
    from->bytes -= weight(*p);
    ring(s, !side, false);
    return 0;
}

/* Somebody is about to wait at b; or has acted, and the other side with it. */
static int look_again(struct bell *b, int rc)
{
    if (rc == -EAGAIN)
        b->waited = true;
    hold_loop(b);
    return rc;
}

int lull_strand_put(struct strand *s, enum side side, struct parcel *p, struct bell *b)
{
    pthread_mutex_lock(&s->lock);
    int rc = look_again(b, try_put(s, side, p));
    unlock(s);
    return rc;
}

int lull_strand_get(struct strand *s, enum side side, struct parcel **p, struct bell *b)
{
    pthread_mutex_lock(&s->lock);
    int rc = look_again(b, try_get(s, side, p));
    unlock(s);
    return rc;
}

void lull_strand_return(struct strand *s, enum side side, struct parcel *p)
{
    struct end *to = &s->ends[side];
    pthread_mutex_lock(&s->lock);
    list_push(to->inbox.next, &p->link); /* before the first */
    to->count++;
    to->bytes += weight(p);
    pthread_mutex_unlock(&s->lock);
}

/* Blocks until something has changed; -EINTR: it shall stop. */
static int block(struct strand *s)
{
    if (atomic_load(&s->worker.stop))
        return -EINTR;
    s->blocked = true;
    ring(s, OUTSIDE, true); /* its loop need not reckon with us */
    unlock(s);
    pthread_mutex_lock(&s->lock);
    while (s->blocked)
        pthread_cond_wait(&s->changed, &s->lock);
    return 0;
}

int lull_strand_block_put(struct strand *s, struct parcel *p)
{
    int rc;
    pthread_mutex_lock(&s->lock);
    while ((rc = try_put(s, INSIDE, p)) == -EAGAIN && (rc = block(s)) == 0)
        ;
    unlock(s);
    return rc;
}

int lull_strand_block_get(struct strand *s, struct parcel **p)
{
    int rc;
    pthread_mutex_lock(&s->lock);
    while ((rc = try_get(s, INSIDE, p)) == -EAGAIN && (rc = block(s)) == 0)
        ;
    unlock(s);
    return rc;
}

/* ---- the end ----------------------------------------------------------------------- */

void lull_strand_finish(struct strand *s, enum side side)
{
    pthread_mutex_lock(&s->lock);
    s->ends[side].finished = true;
    ring(s, !side, true);
    ring(s, side, true);
    unlock(s);
}

bool lull_strand_over(struct strand *s, struct bell *b)
{
    pthread_mutex_lock(&s->lock);
    bool over = s->over;
    if (b != NULL && !over)
        b->waited = true;
    pthread_mutex_unlock(&s->lock);
    return over;
}

void lull_strand_ended(struct strand *s)
{
    pthread_mutex_lock(&s->lock);
    s->over = true;
    ring(s, OUTSIDE, true);
    s->changes = true;
    unlock(s);
    lull_strand_unref(s);
}

void lull_strand_stop(struct strand *s)
{
    pthread_mutex_lock(&s->lock);
    if (!s->over && !s->left) {
        lull_worker_stop(&s->worker);
        ring(s, INSIDE, false);
        sys_nudge(s->thread);
    }
    hold_loops(s);
    unlock(s);
}

static struct timespec later(int64_t ns)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    ns += t.tv_nsec;
    t.tv_sec += ns / 1000000000;
    t.tv_nsec = ns % 1000000000;
    return t;
}

bool lull_strand_join(struct strand *s, int64_t ns)
{
    struct timespec until = later(ns);
    int rc = 0;
    pthread_mutex_lock(&s->lock);
    while (!s->over && rc == 0 && ns > 0)
        rc = pthread_cond_timedwait(&s->changed, &s->lock, &until);
    bool over = s->over;
    s->left = true;
    ring(s, INSIDE, true);
    hold_loops(s);
    unlock(s);
    if (over)
        pthread_join(s->thread, NULL);
    else
        pthread_detach(s->thread);
    return over;
}
