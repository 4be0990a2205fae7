/* poll(2): an array that is handed to the kernel at every look, so each look costs as
   much as there are descriptors.  Beside each entry stands its watch, which knows its
   slot, from 1; the last entry moves into the place of one that leaves.

   A look begins behind the last descriptor that was reported, so that a small `max`
   starves nobody.  A descriptor that was closed behind our back is reported as ready:
   whoever waits for it then learns from his call. */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <time.h>

#include "selector.h"

enum { SMALLEST = 16, LARGEST = 1 << 26 };

struct poll {
    struct lull_selector base;
    lull_watch **watches; /* one block: the watches, then the entries for poll */
    struct pollfd *fds;
    uint32_t count, capacity, first;
};

static size_t bytes(uint32_t capacity)
{
    return capacity * (sizeof(lull_watch *) + sizeof(struct pollfd));
}

static void poll_close(struct lull_selector *base)
{
    struct poll *s = (struct poll *)base;
    if (s->watches != NULL)
        base->alloc(base->ud, s->watches, bytes(s->capacity), 0);
    base->alloc(base->ud, s, sizeof *s, 0);
}

static int poll_open(struct lull_selector **out, lull_alloc alloc, void *ud)
{
    struct poll *s = alloc(ud, NULL, 0, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = (struct poll){.base = {alloc, ud}};
    *out = &s->base;
    return 0;
}

static int grow(struct poll *s)
{
    uint32_t capacity = s->capacity > 0 ? s->capacity * 2 : SMALLEST;
    lull_watch **watches = NULL;
    if (capacity <= LARGEST)
        watches = s->base.alloc(s->base.ud, NULL, 0, bytes(capacity));
    if (watches == NULL)
        return -ENOMEM;
    struct pollfd *fds = (struct pollfd *)(watches + capacity);
    if (s->count > 0) {
        memcpy(watches, s->watches, s->count * sizeof *watches);
        memcpy(fds, s->fds, s->count * sizeof *fds);
        s->base.alloc(s->base.ud, s->watches, bytes(s->capacity), 0);
    }
    s->watches = watches;
    s->fds = fds;
    s->capacity = capacity;
    return 0;
}

static int add(struct poll *s, lull_watch *w)
{
    for (uint32_t i = 0; i < s->count; i++) /* cheaper than one look */
        if (s->fds[i].fd == w->fd)
            return -EEXIST;
    if (s->count == s->capacity && grow(s) < 0)
        return -ENOMEM;
    s->watches[s->count] = w;
    s->fds[s->count] = (struct pollfd){.fd = w->fd};
    w->slot = ++s->count;
    return 0;
}

static void drop(struct poll *s, lull_watch *w)
{
    uint32_t i = w->slot - 1, last = --s->count;
    s->fds[i] = s->fds[last];
    s->watches[i] = s->watches[last];
    s->watches[i]->slot = i + 1;
    w->slot = 0;
}

static int poll_arm(struct lull_selector *base, lull_watch *w, unsigned events)
{
    struct poll *s = (struct poll *)base;
    int rc = events != 0 ? lull_pollable(w->fd) : 0;
    if (rc == 0 && events != 0 && w->armed == 0)
        rc = add(s, w);
    if (rc < 0)
        return rc;
    if (events != 0)
        s->fds[w->slot - 1].events = (short)((events & LULL_READ ? POLLIN : 0) |
                                             (events & LULL_WRITE ? POLLOUT : 0));
    else if (w->armed != 0)
        drop(s, w);
    w->armed = (uint8_t)events;
    return 0;
}

static int sleep_until(struct poll *s, int64_t timeout)
{
#ifdef __APPLE__
    return poll(s->fds, s->count, lull_milliseconds(timeout));
#else
    struct timespec t = {(time_t)(timeout / 1000000000), (long)(timeout % 1000000000)};
    return ppoll(s->fds, s->count, timeout < 0 ? NULL : &t, NULL);
#endif
}

static unsigned meaning(short events, unsigned armed)
{
    if (events & (POLLHUP | POLLERR | POLLNVAL))
        return armed;
    unsigned in = events & POLLIN ? LULL_READ : 0;
    unsigned out = events & POLLOUT ? LULL_WRITE : 0;
    return (in | out) & armed;
}

static int poll_look(struct lull_selector *base, int64_t timeout,
                     struct lull_fact *facts, int max)
{
    struct poll *s = (struct poll *)base;
    int ready = sleep_until(s, timeout), n = 0;
    if (ready < 0)
        return errno == EINTR ? 0 : -errno;
    uint32_t i = s->first < s->count ? s->first : 0;
    for (; n < ready && n < max; i = i + 1 < s->count ? i + 1 : 0)
        if (s->fds[i].revents != 0)
            facts[n++] = (struct lull_fact){
                s->watches[i], meaning(s->fds[i].revents, s->watches[i]->armed)};
    s->first = i;
    return n;
}

const struct lull_backend lull_poll = {
    .name = "poll",
    .open = poll_open,
    .close = poll_close,
    .arm = poll_arm,
    .wait = poll_look,
    .recv = lull_call_recv,
    .send = lull_call_send,
    .accept = lull_call_accept,
    .connect = lull_call_connect,
    .splice = lull_call_splice,
};
