/* io_uring, ahead of the readers: for a stream the kernel is told once to receive, and
   does so whenever something comes, into buffers lent to it; a listener accepts in the
   same way.  A read costs no system call then, only a copy.

   This is for descriptors that nobody else reads (LULL_WATCH_AHEAD).  What came is told
   once (LULL_WATCH_KEPT), for whoever reads goes on until there is nothing more, before
   he waits.  It is bounded: who does not read what was received for him is no longer
   received for, and the peer feels it; where much comes at once, or all buffers are
   taken, readiness and recv(2) do it as everywhere.  An order cannot be mistaken: what is
   in the buffers is older than what is in the socket. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io_uring.h"

enum {
    GROUP = 0,
    FIRST = 64,   /* pieces to begin with */
    HELD = 16,    /* pieces that one descriptor may have waiting */
    WAITING = 16, /* connections */
    SCARCE = URING_PIECES / 8, /* fewer buffers than that are for those who have them */
    BULK = 16     /* receives that are left to recv(2) after a full piece */
};

/* ---- buffers ------------------------------------------------------------------------ */

static size_t ring_bytes(void)
{
    return URING_PIECES * sizeof(struct io_uring_buf);
}

static char *bytes_of(struct uring *s, unsigned id)
{
    return s->bytes + (size_t)id * URING_PIECE;
}

static void lend(struct uring *s, unsigned id)
{
    io_uring_buf_ring_add(s->buffers, bytes_of(s, id), URING_PIECE, (uint16_t)id,
                          io_uring_buf_ring_mask(URING_PIECES), 0);
    io_uring_buf_ring_advance(s->buffers, 1);
    s->free++;
}

/* Twice as many pieces as before; false: there are no more.  The kernel goes round all
   that it has, so few of them stay in the cache where many would not. */
static bool lend_more(struct uring *s)
{
    unsigned goal = s->made == 0 ? FIRST : 2 * s->made;
    if (goal > URING_PIECES)
        return false;
    while (s->made < goal)
        lend(s, s->made++);
    return true;
}

/* The ring and the pieces in one mapping: the ring wants a page of its own, and pages
   that nothing was ever received into cost nothing. */
static bool make_buffers(struct uring *s)
{
    size_t size = ring_bytes() + (size_t)URING_PIECES * URING_PIECE;
    char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return false;
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)memory,
                                   .ring_entries = URING_PIECES, .bgid = GROUP};
    if (io_uring_register_buf_ring(&s->ring, &reg, 0) < 0) {
        munmap(memory, size);
        return false;
    }
    s->buffers = (struct io_uring_buf_ring *)(void *)memory;
    s->bytes = memory + ring_bytes();
    io_uring_buf_ring_init(s->buffers);
    return lend_more(s);
}

void uring_free_buffers(struct uring *s)
{
    if (s->buffers != NULL)
        munmap(s->buffers, ring_bytes() + (size_t)URING_PIECES * URING_PIECE);
}

/* ---- asking ------------------------------------------------------------------------- */

static bool listens(struct uring_entry *e)
{
    int value = 0;
    socklen_t size = sizeof value;
    if (!e->known)
        e->listens =
            getsockopt(e->fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 && value;
    e->known = true;
    return e->listens;
}

bool uring_can_go_ahead(struct uring *s, struct uring_entry *e)
{
    unsigned flags = e->watch->flags;
    if (!(flags & LULL_WATCH_AHEAD) || e->plain ||
        (flags & (LULL_WATCH_NOSOCK | LULL_WATCH_SHARED)))
        return false;
    if (listens(e))
        return e->connections < WAITING;
    if (e->starved && s->free > SCARCE)
        e->starved = false;
    if (e->starved || e->bulk > 0 || e->held > 0 || e->over || s->barren)
        return false;
    s->barren = s->buffers == NULL && !make_buffers(s);
    return !s->barren;
}

void uring_go_ahead(struct uring *s, struct uring_entry *e, struct io_uring_sqe *sqe)
{
    (void)s;
    e->watch->flags |= LULL_WATCH_KEPT;
    e->how = e->listens ? URING_ACCEPT : URING_RECV;
    if (e->listens) {
        io_uring_prep_multishot_accept(sqe, e->fd, NULL, NULL,
                                       SOCK_NONBLOCK | SOCK_CLOEXEC);
        return;
    }
    io_uring_prep_recv_multishot(sqe, e->fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = GROUP;
}

bool uring_is_ahead(const struct uring_entry *e)
{
    return (e->flying & LULL_READ) &&
           (e->held >= HELD || e->connections >= WAITING ||
            (e->how == URING_RECV && e->bulk == BULK));
}

/* ---- what came ---------------------------------------------------------------------- */

static void keep(struct uring *s, struct uring_entry *e, unsigned id, int size)
{
    s->pieces[id] = (struct uring_piece){.to = (uint16_t)size};
    if (e->held++ > 0)
        s->pieces[e->last].next = (uint16_t)id;
    else
        e->first = (uint16_t)id;
    e->last = (uint16_t)id;
}

/* The kernel will not receive for this one, or not now; all else is for the reader. */
static bool refused(struct uring *s, struct uring_entry *e, int result)
{
    switch (result) {
    case -ENOBUFS: /* more may have been lent since */
        e->starved = s->free == 0 && !lend_more(s);
        return true;
    case -ENOTSOCK:
    case -ENOTCONN: /* not yet */
    case -EINVAL:
    case -EOPNOTSUPP:
        return e->plain = true;
    default:
        return result == -ECANCELED || result == -EAGAIN || result == -EINTR;
    }
}

static void received(struct uring *s, struct uring_entry *e, const struct io_uring_cqe *cqe)
{
    int n = cqe->res;
    if (cqe->flags & IORING_CQE_F_BUFFER) {
        unsigned id = cqe->flags >> IORING_CQE_BUFFER_SHIFT;
        s->free--;
        if (n > 0 && e->watch != NULL)
            keep(s, e, id, n);
        else
            lend(s, id);
    }
    if (e->watch == NULL || refused(s, e, n))
        return;
    if (n <= 0) {
        e->over = true;
        e->end = n;
    }
    if (n == URING_PIECE)
        e->bulk = BULK;
    if (uring_is_ahead(e))
        uring_again(s, e);
    uring_announce(s, e, LULL_READ);
}

static bool note(struct uring *s, struct uring_entry *e, int fd)
{
    if (e->connections == e->room) {
        unsigned room = e->room > 0 ? 2 * e->room : WAITING;
        int *p = s->base.alloc(s->base.ud, e->accepted, e->room * sizeof *p,
                               room * sizeof *p);
        if (p == NULL)
            return false;
        e->accepted = p;
        e->room = room;
    }
    e->accepted[e->connections++] = fd;
    return true;
}

static void accepted(struct uring *s, struct uring_entry *e, int fd)
{
    if (fd >= 0 && (e->watch == NULL || !note(s, e, fd)))
        close(fd);
    if (e->watch == NULL || fd == -ECANCELED)
        return;
    if (fd < 0) /* accept(2) finds the error again, and readiness tells when to ask it */
        e->plain = true;
    if (uring_is_ahead(e))
        uring_again(s, e);
    uring_announce(s, e, LULL_READ);
}

void uring_came(struct uring *s, struct uring_entry *e, const struct io_uring_cqe *cqe)
{
    if (e->how == URING_ACCEPT)
        accepted(s, e, cqe->res);
    else
        received(s, e, cqe);
}

void uring_drop(struct uring *s, struct uring_entry *e)
{
    for (unsigned id = e->first; e->held > 0; id = s->pieces[id].next, e->held--)
        lend(s, id);
    while (e->connections > 0)
        close(e->accepted[--e->connections]);
    s->base.alloc(s->base.ud, e->accepted, e->room * sizeof *e->accepted, 0);
    e->accepted = NULL;
    e->room = 0;
}

/* ---- what was received is taken ------------------------------------------------------- */

static size_t take(struct uring *s, struct uring_entry *e, char *data, size_t size)
{
    size_t done = 0;
    while (e->held > 0 && done < size) {
        unsigned id = e->first;
        struct uring_piece *p = &s->pieces[id];
        size_t n = p->to - p->from;
        if (n > size - done)
            n = size - done;
        memcpy(data + done, bytes_of(s, id) + p->from, n);
        p->from = (uint16_t)(p->from + n);
        done += n;
        if (p->from < p->to)
            break;
        e->first = p->next;
        e->held--;
        lend(s, id);
    }
    return done;
}

/* There is nothing in the buffers: the socket itself is asked, or what ended it told. */
static int ask_socket(struct uring *s, struct uring_entry *e, lull_watch *w, void *data,
                      size_t size)
{
    if (e != NULL && e->over) {
        e->over = false;
        uring_again(s, e);
        return e->end;
    }
    int n = lull_call_recv(&s->base, w, data, size);
    if (e != NULL && e->bulk > 0 && n < URING_PIECE)
        e->bulk--;
    return n;
}

int uring_recv(struct lull_selector *base, lull_watch *w, void *data, size_t size)
{
    struct uring *s = (struct uring *)base;
    struct uring_entry *e = w->flags & LULL_WATCH_AHEAD ? uring_find(s, w) : NULL;
    if (e == NULL || e->held == 0)
        return ask_socket(s, e, w, data, size);
    size_t n = take(s, e, data, size);
    if (e->held == 0 && e->over)
        uring_announce(s, e, LULL_READ); /* whoever takes this for all would wait */
    if (e->held == 0 && !(e->flying & LULL_READ))
        uring_again(s, e);
    return (int)n;
}

int uring_splice(struct lull_selector *base, lull_watch *w, unsigned event, int pipe,
                 size_t size)
{
    struct uring *s = (struct uring *)base;
    struct uring_entry *e = event == LULL_READ ? uring_find(s, w) : NULL;
    if (e != NULL && (e->held > 0 || e->over))
        return -EBUSY;
    return lull_call_splice(base, w, event, pipe, size);
}

/* accept(2) would have said who it was.  Of one who is gone again the kind is known. */
static void name_peer(int fd, void *addr, unsigned *len)
{
    socklen_t size = *len;
    if (getpeername(fd, addr, &size) < 0) {
        size = *len;
        memset(addr, 0, size);
        getsockname(fd, addr, &size);
        memset((char *)addr + sizeof(sa_family_t), 0, size - sizeof(sa_family_t));
    }
    *len = size;
}

int uring_accept(struct lull_selector *base, lull_watch *w, void *addr, unsigned *len)
{
    struct uring *s = (struct uring *)base;
    struct uring_entry *e = uring_find(s, w);
    if (e == NULL || e->connections == 0)
        return lull_call_accept(base, w, addr, len);
    int fd = e->accepted[0];
    memmove(e->accepted, e->accepted + 1, --e->connections * sizeof fd);
    if (len)
        name_peer(fd, addr, len);
    if (e->connections == 0 && !(e->flying & LULL_READ))
        uring_again(s, e);
    return fd;
}
