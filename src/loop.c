/* The loop: what is ready, and in which order it runs.

   A turn is: sleep, collect, expire, run the batch.  User code runs only in its last
   part, so nothing moves while facts are being collected, and whoever becomes ready
   during the batch waits for the next turn.  The loop names no kernel and knows no Lua. */
#include "loop.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* With waiters ready the selector is asked only after this many have run: an empty look
   costs several task switches.  A count, not a time, so that seeded runs replay. */
enum { PATIENCE = 64 };

/* A look that came back full may have left out descriptors that are ready: nothing times
   out before one was not full, or so many were. */
enum { CROWD = 16 };

/* ---- waiting and waking --------------------------------------------------------- */

void lull_waiter_init(lull_waiter *w, void (*run)(lull_loop *loop, lull_waiter *w))
{
    list_init(&w->link);
    w->run = run;
    w->status = 0;
}

void lull_wait(lull_waiter *w)
{
    w->status = LULL_PENDING;
}

bool lull_wake(lull_loop *loop, lull_waiter *w, int status)
{
    if (w->status != LULL_PENDING)
        return false;
    w->status = status;
    list_remove(&w->link);
    list_push(&loop->ready, &w->link);
    if (loop->dozing)
        lull_stir(loop);
    return true;
}

void lull_forget(lull_waiter *w)
{
    list_remove(&w->link);
    w->status = 0;
}

/* ---- the turn ------------------------------------------------------------------- */

/* How long the selector may sleep: not at all while something is ready, else until the
   next deadline; -1 is for ever, -EDEADLK says that nothing can wake anybody. */
static int64_t patience(lull_loop *loop)
{
    if (!list_empty(&loop->ready))
        return 0;
    if (loop->timers.count == 0)
        return loop->refs > 0 || loop->forever || lull_io_awaited(loop) ? -1 : -EDEADLK;
    int64_t now = lull_now(loop), due = loop->timers.entries[0].key;
    if (due <= now)
        return 0;
    if (loop->clock.jump)
        return loop->refs > 0 ? -1 : 0;
    return due - now;
}

/* Sleeps at most that long and marks what became ready. */
int lull_collect(lull_loop *loop, int64_t timeout)
{
    int n = loop->backend->wait(loop->selector, timeout, loop->facts, LULL_FACTS);
    bool posted = false;
    for (int i = 0; i < n; i++) {
        if (loop->facts[i].watch == &loop->wake)
            posted = true;
        else
            lull_io_ready(loop, container_of(loop->facts[i].watch, lull_io, watch),
                          loop->facts[i].events);
    }
    lull_post_collect(loop, posted);
    loop->crowded = n == LULL_FACTS ? loop->crowded + 1 : 0;
    loop->ran = 0;
    loop->fresh = false;
    if (loop->timers.count > 0)
        lull_now(loop);
    return n;
}

void lull_loop_look(lull_loop *loop)
{
    loop->ran = PATIENCE;
}

/* Nothing is ready and no look found anything: a virtual clock goes on. */
static void jump(lull_loop *loop)
{
    if (loop->clock.jump && list_empty(&loop->ready) && loop->refs == 0 &&
        loop->timers.count > 0) {
        loop->clock.jump(loop->clock.ud, loop->timers.entries[0].key);
        loop->fresh = false;
        lull_now(loop);
    }
}

static lull_waiter *next(lull_loop *loop)
{
    lull_list *link = loop->batch.next;
    if (loop->random != 0) { /* xorshift64 picks one of the first few */
        loop->random ^= loop->random << 13;
        loop->random ^= loop->random >> 7;
        loop->random ^= loop->random << 17;
        for (unsigned n = (loop->random >> 32) % 16; n > 0; n--)
            link = link->next == &loop->batch ? loop->batch.next : link->next;
    }
    list_remove(link);
    return container_of(link, lull_waiter, link);
}

static inline void run_next(lull_loop *loop)
{
    lull_waiter *w = next(loop);
    loop->fresh = false;
    if (loop->probe)
        loop->probe(loop, w);
    w->run(loop, w);
}

void lull_run_next(lull_loop *loop)
{
    run_next(loop);
}

static int run_batch(lull_loop *loop)
{
    int n = 0;
    list_move(&loop->batch, &loop->ready);
    for (; !list_empty(&loop->batch); n++) /* newcomers wait a turn */
        run_next(loop);
    loop->ran += (unsigned)n;
    return n;
}

/* Wakes what is due; not right after a look that came back full. */
void lull_expire(lull_loop *loop)
{
    if (loop->crowded == 0 || loop->crowded > CROWD)
        lull_timers_expire(loop);
}

static int turn(lull_loop *loop, bool may_sleep)
{
    if (list_empty(&loop->ready) || loop->ran >= PATIENCE) {
        int64_t timeout = patience(loop);
        if (timeout == -EDEADLK && may_sleep && atomic_load(&loop->posted) == NULL)
            return -EDEADLK;
        int rc = lull_rest(loop, may_sleep && timeout != -EDEADLK ? timeout : 0);
        if (rc < 0)
            return rc;
        if (loop->crowded == 0) /* a full look may have left something unseen */
            jump(loop);
    }
    lull_expire(loop);
#ifdef LULL_STRESS
    if (heap_check(&loop->timers) != 0)
        abort();
#endif
    return run_batch(loop);
}

static int run(lull_loop *loop, bool forever)
{
    if (loop->running)
        return -EBUSY;
    loop->running = true;
    loop->forever = forever;
    lull_wake_later(loop);
    int rc = 0;
    while (!loop->stopping && rc >= 0)
        rc = turn(loop, true);
    loop->running = loop->stopping = false;
    return rc < 0 ? rc : 0;
}

int lull_loop_run(lull_loop *loop)
{
    return run(loop, false);
}

int lull_loop_run_forever(lull_loop *loop)
{
    return run(loop, true);
}

int lull_loop_turn(lull_loop *loop)
{
    if (loop->running)
        return -EBUSY;
    loop->running = true;
    int rc = turn(loop, false);
    loop->running = loop->stopping = false;
    return rc;
}

void lull_loop_stop(lull_loop *loop)
{
    loop->stopping = true;
}

/* ---- life ----------------------------------------------------------------------- */

static void *plain_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)osize;
    if (nsize > 0)
        return realloc(ptr, nsize);
    free(ptr);
    return NULL;
}

/* Opens the selector asked for, or the best that opens. */
static int open_selector(lull_loop *loop, const char *name)
{
    int rc = -ENOSYS;
    for (int i = 0; rc < 0 && lull_backends[i] != NULL; i++) {
        if (name != NULL && strcmp(name, lull_backends[i]->name) != 0)
            continue;
        loop->backend = lull_backends[i];
        rc = loop->backend->open(&loop->selector, loop->alloc, loop->alloc_ud);
    }
    return rc;
}

/* Options from a caller who knows fewer of them read as zero. */
static lull_options complete(const lull_options *given)
{
    lull_options o = {0};
    if (given != NULL)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    if (o.alloc == NULL)
        o.alloc = plain_alloc;
    return o;
}

int lull_loop_new(lull_loop **out, const lull_options *options)
{
    static _Atomic uint32_t serials;
    lull_options o = complete(options);
    lull_loop *loop = o.alloc(o.alloc_ud, NULL, 0, sizeof *loop);
    if (loop == NULL)
        return -ENOMEM;
    memset(loop, 0, sizeof *loop);
    list_init(&loop->ready);
    list_init(&loop->batch);
    list_init(&loop->later);
    list_init(&loop->ios);
    list_init(&loop->enders);
    loop->alloc = o.alloc;
    loop->alloc_ud = o.alloc_ud;
    loop->random = o.seed;
    loop->user = o.user;
    loop->serial = atomic_fetch_add(&serials, 1) + 1;
    lull_clock_init(loop, &o);
    loop->spin = loop->clock.jump ? 0 : o.spin;
    int rc = open_selector(loop, o.selector);
    if (rc < 0)
        goto no_selector;
    rc = lull_post_open(loop);
    if (rc < 0)
        goto no_post;
    *out = loop;
    return 0;
no_post:
    loop->backend->close(loop->selector);
no_selector:
    o.alloc(o.alloc_ud, loop, sizeof *loop, 0);
    return rc;
}

static void forget_all(lull_list *waiters)
{
    while (!list_empty(waiters))
        lull_forget(container_of(waiters->next, lull_waiter, link));
}

void lull_loop_end(lull_loop *loop, lull_waiter *w)
{
    lull_wait(w);
    list_push(&loop->enders, &w->link);
}

void lull_loop_free(lull_loop *loop)
{
    while (!list_empty(&loop->enders)) {
        lull_waiter *w = container_of(list_pop(&loop->enders), lull_waiter, link);
        w->status = -ECANCELED;
        w->run(loop, w);
    }
    while (!list_empty(&loop->ios))
        lull_io_close(container_of(loop->ios.next, lull_io, link));
    while (loop->timers.count > 0)
        heap_remove(&loop->timers, loop->timers.entries[0].node);
    forget_all(&loop->ready);
    forget_all(&loop->batch);
    forget_all(&loop->later);
    lull_post_close(loop);
    heap_free(&loop->timers, loop->alloc, loop->alloc_ud);
    loop->backend->close(loop->selector);
    loop->alloc(loop->alloc_ud, loop, sizeof *loop, 0);
}

const char *lull_loop_selector(const lull_loop *loop)
{
    return loop->backend->name;
}

const char *lull_default_selector(void)
{
    return lull_backends[0]->name;
}

void *lull_loop_user(const lull_loop *loop)
{
    return loop->user;
}

uint32_t lull_loop_serial(const lull_loop *loop)
{
    return loop->serial;
}

void lull_loop_ref(lull_loop *loop)
{
    loop->refs++;
}

void lull_loop_unref(lull_loop *loop)
{
    loop->refs--;
}

/* ---- for tests -------------------------------------------------------------------- */

void lull_loop_probe(lull_loop *loop, void (*fn)(lull_loop *loop, lull_waiter *w))
{
    loop->probe = fn;
}

static unsigned length(const lull_list *list)
{
    unsigned n = 0;
    for (const lull_list *link = list->next; link != list; link = link->next)
        n++;
    return n;
}

void lull_loop_census(const lull_loop *loop, lull_census *out)
{
    out->ready = length(&loop->ready) + length(&loop->batch) + length(&loop->later);
    out->timers = loop->timers.count;
    out->ios = length(&loop->ios);
    out->refs = loop->refs;
}
