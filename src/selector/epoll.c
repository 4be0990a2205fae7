/* epoll, level-triggered.

   What epoll keys on.  The kernel's set does not hold descriptors but pairs of number
   and open file.  The pair leaves the set by itself only when the last descriptor of
   the file is closed, and a duplicate (in a child, in a message under way) keeps it in;
   it is then reported under a pointer whose watch is gone, and as the number is no
   longer ours the kernel refuses to delete it.  Hence interest is removed before a
   descriptor is closed, always.  For the same reason an error on removal is no error:
   what is not in the set needs no removing.

   Why no EPOLLRDHUP and no EPOLLPRI.  The end of a stream is readable: EPOLLIN stands
   with every EPOLLRDHUP.  Urgent data is not: recv(2) steps around it, so a level of
   EPOLLPRI would be reported for ever to a reader who finds nothing.  Ordinary data
   behind the urgent mark is EPOLLIN as ever.

   The kernel takes ready descriptors in turn, so a small `max` starves nobody. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "selector.h"

enum { BATCH = 256 };

struct epoll {
    struct lull_selector base;
    int fd;
    bool coarse; /* the kernel cannot sleep finer than milliseconds */
};

static void epoll_close(struct lull_selector *base)
{
    struct epoll *s = (struct epoll *)base;
    close(s->fd);
    base->alloc(base->ud, s, sizeof *s, 0);
}

static int epoll_open(struct lull_selector **out, lull_alloc alloc, void *ud)
{
    struct epoll *s = alloc(ud, NULL, 0, sizeof *s);
    if (s == NULL)
        return -ENOMEM;
    *s = (struct epoll){.base = {alloc, ud}, .fd = epoll_create1(EPOLL_CLOEXEC)};
    if (s->fd < 0) {
        int rc = -errno;
        alloc(ud, s, sizeof *s, 0);
        return rc;
    }
    *out = &s->base;
    return 0;
}

static int control(struct epoll *s, int op, lull_watch *w, unsigned events)
{
    struct epoll_event e = {.data.ptr = w};
    if (events & LULL_READ)
        e.events |= EPOLLIN;
    if (events & LULL_WRITE)
        e.events |= EPOLLOUT;
    return epoll_ctl(s->fd, op, w->fd, &e) < 0 ? -errno : 0;
}

static int epoll_arm(struct lull_selector *base, lull_watch *w, unsigned events)
{
    struct epoll *s = (struct epoll *)base;
    int rc = 0;
    if (events == 0 && w->armed)
        control(s, EPOLL_CTL_DEL, w, 0);
    else if (events != 0)
        rc = control(s, w->armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, w, events);
    if (rc == -ENOENT) /* closed behind our back, and the number is in use again */
        rc = control(s, EPOLL_CTL_ADD, w, events);
    if (rc == 0)
        w->armed = (uint8_t)events;
    return rc;
}

/* epoll_pwait2 where there is one: its timeouts are nanoseconds. */
static int sleep_finely(struct epoll *s, struct epoll_event *e, int max, int64_t timeout)
{
#ifdef SYS_epoll_pwait2
    struct {
        int64_t sec, nsec;
    } t = {timeout / 1000000000, timeout % 1000000000};
    return (int)syscall(SYS_epoll_pwait2, s->fd, e, max, &t, NULL, (size_t)0);
#else
    (void)s, (void)e, (void)max, (void)timeout;
    errno = ENOSYS;
    return -1;
#endif
}

static int sleep_until(struct epoll *s, struct epoll_event *e, int max, int64_t timeout)
{
    if (timeout > 0 && !s->coarse) {
        int n = sleep_finely(s, e, max, timeout);
        if (n >= 0 || (errno != ENOSYS && errno != EPERM))
            return n;
        s->coarse = true; /* an older kernel, or a filter that does not know the call */
    }
    return epoll_wait(s->fd, e, max, lull_milliseconds(timeout));
}

static unsigned meaning(uint32_t events, unsigned armed)
{
    if (events & (EPOLLHUP | EPOLLERR))
        return armed;
    unsigned in = events & EPOLLIN ? LULL_READ : 0;
    unsigned out = events & EPOLLOUT ? LULL_WRITE : 0;
    return (in | out) & armed;
}

static int epoll_look(struct lull_selector *base, int64_t timeout,
                      struct lull_fact *facts, int max)
{
    struct epoll_event e[BATCH];
    int n = sleep_until((struct epoll *)base, e, max < BATCH ? max : BATCH, timeout);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    for (int i = 0; i < n; i++) {
        lull_watch *w = e[i].data.ptr;
        facts[i] = (struct lull_fact){w, meaning(e[i].events, w->armed)};
    }
    return n;
}

static int epoll_descriptor(struct lull_selector *base)
{
    return ((struct epoll *)base)->fd;
}

const struct lull_backend lull_epoll = {
    .name = "epoll",
    .open = epoll_open,
    .close = epoll_close,
    .arm = epoll_arm,
    .wait = epoll_look,
    .recv = lull_call_recv,
    .send = lull_call_send,
    .accept = lull_call_accept,
    .connect = lull_call_connect,
    .splice = lull_call_splice,
    .descriptor = epoll_descriptor,
};
