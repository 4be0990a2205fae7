/* select(2): for descriptors below FD_SETSIZE, on systems that have nothing else.

   select has no word for hang-up.  It calls a hung-up descriptor readable, and writable
   only where writing would fail; so for a descriptor that is armed for both and found
   readable alone, poll is asked which it is.  A descriptor that was closed behind our
   back makes select fail as a whole: the closed ones are then searched for and reported
   as ready, so that whoever waits for them learns from his call.

   A look begins behind the last descriptor that was reported, so that a small `max`
   starves nobody. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/select.h>
#include <time.h>

#include "selector.h"

struct select {
    struct lull_selector base;
    fd_set reads, writes;
    int top;   /* one above the highest descriptor */
    int first; /* where the next look begins */
    lull_watch *watches[FD_SETSIZE];
};

static void select_close(struct lull_selector *base)
{
    base->alloc(base->ud, base, sizeof(struct select), 0);
}

static int select_open(struct lull_selector **out, lull_alloc alloc, void *ud)
{
    struct select *s = alloc(ud, NULL, 0, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    memset(s, 0, sizeof *s);
    s->base = (struct lull_selector){alloc, ud};
    FD_ZERO(&s->reads);
    FD_ZERO(&s->writes);
    *out = &s->base;
    return 0;
}

static void mark(fd_set *set, int fd, bool wanted)
{
    if (wanted)
        FD_SET(fd, set);
    else
        FD_CLR(fd, set);
}

static int refusal(const struct select *s, const lull_watch *w)
{
    int rc = lull_pollable(w->fd);
    if (rc == 0 && w->fd >= FD_SETSIZE)
        rc = -EMFILE;
    if (rc == 0 && s->watches[w->fd] != NULL && w->armed == 0)
        rc = -EEXIST;
    return rc;
}

static int select_arm(struct lull_selector *base, lull_watch *w, unsigned events)
{
    struct select *s = (struct select *)base;
    int rc = events != 0 ? refusal(s, w) : 0;
    if (rc < 0 || (events == 0 && w->armed == 0))
        return rc;
    mark(&s->reads, w->fd, events & LULL_READ);
    mark(&s->writes, w->fd, events & LULL_WRITE);
    s->watches[w->fd] = events != 0 ? w : NULL;
    if (w->fd >= s->top)
        s->top = w->fd + 1;
    while (s->top > 0 && s->watches[s->top - 1] == NULL)
        s->top--;
    w->armed = (uint8_t)events;
    return 0;
}

static bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd};
    return poll(&p, 1, 0) > 0;
}

static unsigned meaning(const lull_watch *w, const fd_set *reads, const fd_set *writes)
{
    unsigned in = FD_ISSET(w->fd, reads) ? LULL_READ : 0;
    unsigned out = FD_ISSET(w->fd, writes) ? LULL_WRITE : 0;
    if (in && !out && w->armed & LULL_WRITE && hung_up(w->fd))
        out = LULL_WRITE;
    return in | out;
}

/* Fills the sets with those descriptors that are not open. */
static void find_closed(const struct select *s, fd_set *reads, fd_set *writes)
{
    for (int fd = 0; fd < s->top; fd++) {
        bool closed = s->watches[fd] != NULL && fcntl(fd, F_GETFD) < 0;
        mark(reads, fd, closed && FD_ISSET(fd, &s->reads));
        mark(writes, fd, closed && FD_ISSET(fd, &s->writes));
    }
}

static int select_look(struct lull_selector *base, int64_t timeout,
                       struct lull_fact *facts, int max)
{
    struct select *s = (struct select *)base;
    struct timespec t = {(time_t)(timeout / 1000000000), (long)(timeout % 1000000000)};
    fd_set reads = s->reads, writes = s->writes;
    int ready = pselect(s->top, &reads, &writes, NULL, timeout < 0 ? NULL : &t, NULL);
    if (ready < 0 && errno == EBADF)
        find_closed(s, &reads, &writes);
    else if (ready <= 0)
        return ready == 0 || errno == EINTR ? 0 : -errno;
    int n = 0, fd = s->first < s->top ? s->first : 0;
    for (int seen = 0; seen < s->top && n < max; seen++, fd = (fd + 1) % s->top) {
        unsigned events = s->watches[fd] ? meaning(s->watches[fd], &reads, &writes) : 0;
        if (events != 0)
            facts[n++] = (struct lull_fact){s->watches[fd], events};
    }
    s->first = fd;
    return n;
}

const struct lull_backend lull_select = {
    .name = "select",
    .open = select_open,
    .close = select_close,
    .arm = select_arm,
    .wait = select_look,
    .recv = lull_call_recv,
    .send = lull_call_send,
    .accept = lull_call_accept,
    .connect = lull_call_connect,
    .splice = lull_call_splice,
};
