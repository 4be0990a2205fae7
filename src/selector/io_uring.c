/* io_uring: the kernel is told in a ring what to watch for, and answers in another; all
   that was to be said since the last look goes along with the next, in one system call.

   Readiness.  A poll request is asked once and answered once, at once where the
   descriptor is ready: asked again before each look it is level-triggered, at the price
   of an entry in the ring for each descriptor that was ready.  What was answered outside
   of a look, or not reported by it, is forgotten and asked again, for it may have been
   used up since; not so where only lull could have done that, for whoever finds nothing
   goes on waiting.

   Streams and listeners of lull (LULL_WATCH_AHEAD) cost less: the kernel receives for
   them by itself.  That is in io_uring_ahead.c.

   Whose turn it is.  The ring works only while we are in the kernel because of it
   (DEFER_TASKRUN), hence nothing is received behind our back: once the answers have been
   read, whatever else a descriptor holds is younger, and an ordinary recv(2) may have it.

   Closing.  A request under way holds the file, so that close(2) would tell the peer
   nothing.  Forgetting a descriptor therefore takes its requests back, and looks until
   they are: an answer that comes later than that finds an entry without a watch. */
#include "io_uring.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

enum {
    ENTRIES = 256,  /* requests that are told at a time */
    ANSWERS = 4096, /* answers that have room; more wait in the kernel */
    PATIENCE = 100, /* looks for a request that was taken back */
    AGAIN = 4,      /* looks at what answers raise questions, or did not come at once */
    PORTION = 20    /* of what has happened, Linux from 6.13 on does so much at a time */
};

/* ---- entries ------------------------------------------------------------------------ */

static int grow(struct uring *s, uint32_t least)
{
    uint32_t n = s->capacity > 0 ? s->capacity : 64;
    while (n < least)
        n *= 2;
    struct uring_entry **entries = s->base.alloc(
        s->base.ud, s->entries, s->capacity * sizeof *entries, n * sizeof *entries);
    if (entries == NULL)
        return -ENOMEM;
    memset(entries + s->capacity, 0, (n - s->capacity) * sizeof *entries);
    s->entries = entries;
    s->capacity = n;
    return 0;
}

struct uring_entry *uring_find(struct uring *s, const lull_watch *w)
{
    struct uring_entry *e = (uint32_t)w->fd < s->capacity ? s->entries[w->fd] : NULL;
    return e != NULL && e->watch == w ? e : NULL;
}

static int make_entry(struct uring *s, lull_watch *w)
{
    if ((uint32_t)w->fd >= s->capacity && grow(s, (uint32_t)w->fd + 1) < 0)
        return -ENOMEM;
    if (s->entries[w->fd] != NULL)
        return -EEXIST;
    struct uring_entry *e = s->base.alloc(s->base.ud, NULL, 0, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    *e = (struct uring_entry){.watch = w, .fd = w->fd};
    list_init(&e->ready);
    list_init(&e->todo);
    s->entries[w->fd] = e;
    return 0;
}

/* Frees e where nobody knows it any more. */
static void bury(struct uring *s, struct uring_entry *e)
{
    if (e->watch == NULL && e->flying == 0)
        s->base.alloc(s->base.ud, e, sizeof *e, 0);
}

void uring_announce(struct uring *s, struct uring_entry *e, unsigned events)
{
    if (e->events == 0) {
        bool lasts = e->watch->flags & LULL_WATCH_AHEAD;
        list_remove(&e->ready);
        list_push(lasts ? &s->ready : &s->fresh, &e->ready);
    }
    e->events |= (uint8_t)events;
    if (!s->looking)
        uring_ring(s, true);
}

void uring_again(struct uring *s, struct uring_entry *e)
{
    if (e->watch != NULL && list_empty(&e->todo))
        list_push(&s->todo, &e->todo);
}

/* ---- answers ------------------------------------------------------------------------ */

/* A poll was answered: what a look did not ask for is asked again instead. */
static void polled(struct uring *s, struct uring_entry *e, unsigned event, int result)
{
    unsigned armed = e->watch ? e->watch->armed : 0;
    if (result == -ECANCELED || !(armed & event))
        return;
    bool all = result < 0 || (result & (POLLHUP | POLLERR | POLLNVAL));
    if (s->looking)
        uring_announce(s, e, all ? armed : event);
}

static void answer(struct uring *s, const struct io_uring_cqe *cqe)
{
    unsigned event = cqe->user_data & (LULL_READ | LULL_WRITE);
    struct uring_entry *e =
        (struct uring_entry *)(uintptr_t)(cqe->user_data & ~(uint64_t)(LULL_READ | LULL_WRITE));
    if (e == NULL)
        return; /* of a cancellation */
    if (!(cqe->flags & IORING_CQE_F_MORE)) {
        e->flying &= (uint8_t)~event;
        e->leaving &= (uint8_t)~event;
    }
    if (event == LULL_READ && e->how != URING_POLL)
        uring_came(s, e, cqe);
    else
        polled(s, e, event, cqe->res);
    if (e->watch != NULL && (e->watch->armed & ~e->flying) && list_empty(&e->ready))
        uring_again(s, e);
    bury(s, e);
}

/* Reads all answers, also those that had no room; returns how many. */
static unsigned read_answers(struct uring *s)
{
    unsigned all = 0;
    do {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        io_uring_for_each_cqe(&s->ring, head, cqe) {
            answer(s, cqe);
            n++;
        }
        io_uring_cq_advance(&s->ring, n);
        all += n;
    } while (io_uring_cq_has_overflow(&s->ring) && io_uring_get_events(&s->ring) >= 0);
    return all;
}

/* ---- requests ----------------------------------------------------------------------- */

static int enable(struct uring *s)
{
    if (s->enabled)
        return 0;
    int rc = io_uring_register((unsigned)s->ring.ring_fd, IORING_REGISTER_ENABLE_RINGS,
                               NULL, 0);
    s->enabled = rc >= 0;
    return rc;
}

/* Says what there is to say, without sleeping. */
static void flush(struct uring *s)
{
    if (enable(s) >= 0)
        io_uring_submit_and_get_events(&s->ring);
    read_answers(s);
}

/* NULL: the kernel takes no more for now. */
static struct io_uring_sqe *request(struct uring *s)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&s->ring);
    if (sqe == NULL) {
        flush(s);
        sqe = io_uring_get_sqe(&s->ring);
    }
    return sqe;
}

/* Tells the kernel to give up these events. */
static void cancel(struct uring *s, struct uring_entry *e, unsigned events)
{
    for (unsigned event = LULL_READ; event <= LULL_WRITE; event <<= 1) {
        if (!(events & e->flying & ~e->leaving & event))
            continue;
        struct io_uring_sqe *sqe = request(s);
        if (sqe == NULL || !(e->flying & event)) /* answered meanwhile */
            continue;
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)e | event, 0);
        sqe->user_data = 0;
        e->leaving |= (uint8_t)event;
    }
}

static bool ask(struct uring *s, struct uring_entry *e, unsigned event)
{
    bool ahead = event == LULL_READ && uring_can_go_ahead(s, e);
    if (event == LULL_READ && !ahead && (e->held > 0 || e->over || e->connections > 0))
        return true; /* not before that is taken */
    struct io_uring_sqe *sqe = request(s);
    if (sqe == NULL)
        return false;
    if (ahead)
        uring_go_ahead(s, e, sqe);
    else
        io_uring_prep_poll_add(sqe, e->fd, event == LULL_READ ? POLLIN : POLLOUT);
    if (event == LULL_READ && !ahead) {
        e->how = URING_POLL;
        e->watch->flags &= (uint8_t)~LULL_WATCH_KEPT;
    }
    sqe->user_data = (uint64_t)(uintptr_t)e | event;
    e->flying |= (uint8_t)event;
    return true;
}

/* Asks for all that is armed and not asked for. */
static void ask_all(struct uring *s)
{
    lull_list now;
    list_init(&now);
    list_move(&now, &s->todo);
    while (!list_empty(&now)) {
        struct uring_entry *e = container_of(list_pop(&now), struct uring_entry, todo);
        bool all = true;
        if (e->watch != NULL && uring_is_ahead(e))
            cancel(s, e, LULL_READ);
        for (unsigned event = LULL_READ; event <= LULL_WRITE; event <<= 1)
            if (e->watch != NULL && (e->watch->armed & ~e->flying & event))
                all = ask(s, e, event) && all;
        if (!all)
            uring_again(s, e);
    }
}

/* ---- the backend -------------------------------------------------------------------- */

/* Forgets e: its requests are taken back before anybody closes the descriptor. */
static void forget(struct uring *s, struct uring_entry *e)
{
    s->entries[e->fd] = NULL;
    e->watch = NULL;
    list_remove(&e->ready);
    list_remove(&e->todo);
    if (list_empty(&s->ready))
        uring_ring(s, false);
    uring_show(s, e, 0);
    uring_drop(s, e);
    if (e->flying == 0) {
        bury(s, e);
        return;
    }
    e->flying |= URING_LEAVING; /* nobody else buries it */
    cancel(s, e, LULL_READ | LULL_WRITE);
    for (int i = 0; i < PATIENCE && e->flying != URING_LEAVING; i++)
        flush(s);
    e->flying &= (uint8_t)~URING_LEAVING;
    bury(s, e);
}

static int uring_arm(struct lull_selector *base, lull_watch *w, unsigned events)
{
    struct uring *s = (struct uring *)base;
    bool known = w->armed || (w->flags & LULL_WATCH_KEPT);
    struct uring_entry *e = known ? uring_find(s, w) : NULL;
    if (events == 0) {
        if (e != NULL)
            forget(s, e);
        w->flags &= (uint8_t)~LULL_WATCH_KEPT;
        w->armed = 0;
        return 0;
    }
    int rc = e == NULL ? lull_pollable(w->fd) : 0;
    if (rc == 0 && e == NULL)
        rc = make_entry(s, w);
    if (rc < 0)
        return rc;
    e = s->entries[w->fd];
    rc = uring_show(s, e, events);
    if (rc < 0) {
        if (!known)
            forget(s, e);
        return rc;
    }
    cancel(s, e, ~events);
    e->events &= (uint8_t)events;
    w->armed = (uint8_t)events;
    uring_again(s, e);
    return 0;
}

static int tell(struct uring *s, lull_list *from, struct lull_fact *facts, int max)
{
    int n = 0;
    for (; n < max && !list_empty(from); n++) {
        struct uring_entry *e = container_of(list_pop(from), struct uring_entry, ready);
        facts[n] = (struct lull_fact){e->watch, e->events};
        e->events = 0;
        list_push(&s->told, &e->ready);
    }
    return n;
}

/* What does not last is told before what does, but leaves it half of the room.  What then
   was not told, and will no longer be sure, is asked again first. */
static int report(struct uring *s, struct lull_fact *facts, int max)
{
    bool lasts = !list_empty(&s->ready);
    s->odd = !s->odd;
    int n = tell(s, &s->fresh, facts, lasts ? (max + s->odd) / 2 : max);
    n += tell(s, &s->ready, facts + n, max - n);
    n += tell(s, &s->fresh, facts + n, max - n);
    while (!list_empty(&s->fresh)) {
        struct uring_entry *e = container_of(list_pop(&s->fresh), struct uring_entry, ready);
        e->events = 0;
        uring_again(s, e);
    }
    return n;
}

/* What became of those who were told: who is ready once is asked again, and where nobody
   came back to wait, nothing more is received for him. */
static void review(struct uring *s)
{
    while (!list_empty(&s->told)) {
        struct uring_entry *e = container_of(list_pop(&s->told), struct uring_entry, ready);
        lull_watch *w = e->watch;
        if ((w->flags & (LULL_WATCH_KEPT | LULL_WATCH_WANTED)) == LULL_WATCH_KEPT) {
            cancel(s, e, LULL_READ);
            w->armed &= (uint8_t)~LULL_READ;
            uring_show(s, e, w->armed); /* of less: where that fails, it is too much */
        }
        if (w->armed & ~e->flying)
            uring_again(s, e);
    }
}

static int look(struct uring *s, int64_t timeout)
{
    struct io_uring_cqe *cqe;
    struct __kernel_timespec t = {timeout / 1000000000, timeout % 1000000000};
    if (timeout == 0 || !list_empty(&s->ready))
        return io_uring_submit_and_get_events(&s->ring);
    if (timeout < 0)
        return io_uring_submit_and_wait(&s->ring, 1);
    return io_uring_submit_and_wait_timeout(&s->ring, &cqe, 1, &t, NULL);
}

static int uring_wait(struct lull_selector *base, int64_t timeout, struct lull_fact *facts,
                      int max)
{
    struct uring *s = (struct uring *)base;
    int rc = enable(s);
    if (rc < 0)
        return rc;
    s->looking = true;
    review(s);
    bool again = true; /* a request that was given up may be followed by another */
    for (int i = 0; again && i < AGAIN; i++) {
        ask_all(s);
        rc = look(s, i == 0 ? timeout : 0);
        again = read_answers(s) >= PORTION || !list_empty(&s->todo);
    }
    s->looking = false;
    if (rc < 0 && rc != -ETIME && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
        return rc;
    int n = report(s, facts, max);
    uring_ring(s, !list_empty(&s->ready));
    return n;
}

static void uring_close(struct lull_selector *base)
{
    struct uring *s = (struct uring *)base;
    for (uint32_t fd = 0; fd < s->capacity; fd++)
        if (s->entries[fd] != NULL)
            forget(s, s->entries[fd]);
    io_uring_queue_exit(&s->ring);
    uring_free_buffers(s);
    uring_free_host(s);
    base->alloc(base->ud, s->entries, s->capacity * sizeof *s->entries, 0);
    base->alloc(base->ud, s, sizeof *s, 0);
}

#ifdef LULL_LOAD_URING
struct lull_liburing lull_liburing;
#endif

static int load(void)
{
#ifdef LULL_LOAD_URING
    static const char *const functions[] = {LULL_LIBURING(LULL_LIBRARY_NAME) NULL};
    static struct lull_library library = {LULL_LOAD_URING, functions, &lull_liburing, false};
    return lull_library_load(&library, NULL, 0);
#else
    return 0;
#endif
}

/* Linux 6.1 is needed.  A ring that is not enabled yet belongs to no thread. */
static int uring_open(struct lull_selector **out, lull_alloc alloc, void *ud)
{
    struct io_uring_params p = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE,
        .cq_entries = ANSWERS,
    };
    if (load() < 0)
        return -ENOSYS;
    struct uring *s = alloc(ud, NULL, 0, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    memset(s, 0, sizeof *s);
    s->host = s->bell = -1;
    s->base = (struct lull_selector){alloc, ud};
    list_init(&s->ready);
    list_init(&s->fresh);
    list_init(&s->todo);
    list_init(&s->told);
    int rc = io_uring_queue_init_params(ENTRIES, &s->ring, &p);
    if (rc < 0) {
        alloc(ud, s, sizeof *s, 0);
        return rc == -EINVAL ? -ENOSYS : rc;
    }
    *out = &s->base;
    return 0;
}

const struct lull_backend lull_io_uring = {
    .name = "io_uring",
    .open = uring_open,
    .close = uring_close,
    .arm = uring_arm,
    .wait = uring_wait,
    .recv = uring_recv,
    .send = lull_call_send,
    .accept = uring_accept,
    .connect = lull_call_connect,
    .splice = uring_splice,
    .descriptor = uring_descriptor,
};
