/* io_uring, for hosts that poll.  The descriptor of the ring would not do: whoever sleeps
   on it is not told of what the kernel leaves to be done until we come (DEFER_TASKRUN).
   But nothing is received before that either, so the descriptors themselves are as ready
   as with any other selector: an epoll tells of those that are armed.

   What was received, and lull has not told yet, is in no socket any more: a bell stands
   for that. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io_uring.h"

/* Has the host see e as it is armed for `events`; 0 or -errno. */
int uring_show(struct uring *s, struct uring_entry *e, unsigned events)
{
    struct epoll_event event = {.events = (events & LULL_READ ? EPOLLIN : 0u) |
                                          (events & LULL_WRITE ? EPOLLOUT : 0u)};
    if (s->host < 0 || e->shown == events)
        return 0;
    int how = events == 0 ? EPOLL_CTL_DEL : e->shown == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    int rc = epoll_ctl(s->host, how, e->fd, &event);
    if (rc < 0 && errno == ENOENT && events != 0) /* the number is another's by now */
        rc = epoll_ctl(s->host, EPOLL_CTL_ADD, e->fd, &event);
    if (rc < 0 && how != EPOLL_CTL_DEL) /* else it is closed */
        return -errno;
    e->shown = (uint8_t)events;
    return 0;
}

void uring_ring(struct uring *s, bool rings)
{
    uint64_t n = 1;
    if (s->host < 0 || s->rings == rings)
        return;
    s->rings = rings;
    while ((rings ? write(s->bell, &n, sizeof n) : read(s->bell, &n, sizeof n)) < 0 &&
           errno == EINTR)
        ;
}

static int show_all(struct uring *s)
{
    struct epoll_event event = {.events = EPOLLIN};
    int rc = epoll_ctl(s->host, EPOLL_CTL_ADD, s->bell, &event) < 0 ? -errno : 0;
    for (uint32_t fd = 0; fd < s->capacity && rc == 0; fd++)
        if (s->entries[fd] != NULL)
            rc = uring_show(s, s->entries[fd], s->entries[fd]->watch->armed);
    if (rc == 0)
        uring_ring(s, !list_empty(&s->ready));
    return rc;
}

void uring_free_host(struct uring *s)
{
    if (s->host >= 0)
        close(s->host);
    if (s->bell >= 0)
        close(s->bell);
    for (uint32_t fd = 0; fd < s->capacity; fd++)
        if (s->entries[fd] != NULL)
            s->entries[fd]->shown = 0;
    s->host = s->bell = -1;
}

int uring_descriptor(struct lull_selector *base)
{
    struct uring *s = (struct uring *)base;
    if (s->host >= 0)
        return s->host;
    s->bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->host = s->bell < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    int rc = s->host < 0 ? -errno : show_all(s);
    if (rc < 0)
        uring_free_host(s);
    return rc < 0 ? rc : s->host;
}
