/* The four calls as a backend makes them that only knows when a descriptor is ready:
   try, and answer -EAGAIN where one would have to wait.  EINTR is retried here.  Whether
   a descriptor is a socket is learned from the first call that says it is not. */
#include <errno.h>
#include <limits.h>
#include <sys/socket.h>
#include <unistd.h>

#include "selector.h"

/* Whether the call that has just failed is to be made again. */
static bool again(lull_watch *w)
{
    if (errno == EINTR)
        return true;
    if (errno != ENOTSOCK || (w->flags & LULL_WATCH_NOSOCK))
        return false;
    w->flags |= LULL_WATCH_NOSOCK;
    return true;
}

static size_t bounded(size_t size)
{
    return size < INT_MAX ? size : INT_MAX;
}

int lull_call_recv(struct lull_selector *s, lull_watch *w, void *data, size_t size)
{
    ssize_t n;
    (void)s;
    do
        n = w->flags & LULL_WATCH_NOSOCK ? read(w->fd, data, bounded(size))
                                         : recv(w->fd, data, bounded(size), MSG_DONTWAIT);
    while (n < 0 && again(w));
    return n < 0 ? -errno : (int)n;
}

int lull_call_send(struct lull_selector *s, lull_watch *w, const void *data, size_t size)
{
    ssize_t n;
    (void)s;
    do
        n = w->flags & LULL_WATCH_NOSOCK
                ? write(w->fd, data, bounded(size))
                : send(w->fd, data, bounded(size), MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && again(w));
    return n < 0 ? -errno : (int)n;
}

/* Linux hands the trouble of a connection that died in the backlog to accept(2).  It is
   not the listener's, and the next connection may be well: see accept(2), "Error
   handling".  EOPNOTSUPP is in that list too but is what a wrong socket gets for ever. */
static bool stillborn(int error)
{
    switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENOPROTOOPT:
    case ENETDOWN:
    case ENETUNREACH:
    case EHOSTDOWN:
    case EHOSTUNREACH:
#ifdef ENONET
    case ENONET:
#endif
        return true;
    default:
        return false;
    }
}

int lull_call_accept(struct lull_selector *s, lull_watch *w, void *addr, unsigned *len)
{
    (void)s;
    for (int tries = 0; tries < 64; tries++) {
        socklen_t size = len ? *len : 0;
        int fd = accept4(w->fd, addr, len ? &size : NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && stillborn(errno))
            continue;
        if (len && fd >= 0)
            *len = size;
        return fd < 0 ? -errno : fd;
    }
    return -EAGAIN; /* so many dead ones: let others have a turn */
}

/* An interrupted connect goes on by itself.  A Unix socket says EAGAIN when the backlog
   of the listener is full: nothing has begun then, and LULL_WATCH_CONNECT stays off. */
static int begin_connect(lull_watch *w, const void *addr, unsigned len)
{
    if (connect(w->fd, addr, len) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EALREADY && errno != EINTR)
        return -errno;
    w->flags |= LULL_WATCH_CONNECT;
    return -EAGAIN;
}

/* The error, if any, is kept in the socket, and asked for first: a second connect after
   a failed one would begin anew on some systems.  No error may also mean no answer yet,
   for other events end a wait as well: the second connect tells. */
static int end_connect(lull_watch *w, const void *addr, unsigned len)
{
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(w->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0 && connect(w->fd, addr, len) < 0 && errno != EISCONN)
        error = errno;
    if (error == EALREADY || error == EINPROGRESS || error == EINTR)
        return -EAGAIN;
    w->flags &= (uint8_t)~LULL_WATCH_CONNECT;
    return -error;
}

int lull_call_connect(struct lull_selector *s, lull_watch *w, const void *addr,
                      unsigned len)
{
    (void)s;
    return w->flags & LULL_WATCH_CONNECT ? end_connect(w, addr, len)
                                         : begin_connect(w, addr, len);
}
