/* The four calls as a backend makes them that only knows when a descriptor is ready: try,
   and answer -EAGAIN where one would have to wait.  EINTR is retried here.  Whether a
   descriptor is a socket is learned from the first call that says it is not.

   Sockets need not be non-blocking for this, for there is MSG_DONTWAIT.  Other
   descriptors have to, or be marked as shared: then poll(2) is asked before each call.
   What it says holds for one read, unless another program is quicker, and for a write of
   PIPE_BUF. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <time.h>
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

static bool ready(int fd, short event)
{
    struct pollfd p = {.fd = fd, .events = event};
    int n;
    do
        n = poll(&p, 1, 0);
    while (n < 0 && errno == EINTR);
    errno = EAGAIN;
    return n != 0;
}

static ssize_t receive(lull_watch *w, void *data, size_t size)
{
    if (!(w->flags & LULL_WATCH_NOSOCK))
        return recv(w->fd, data, size, MSG_DONTWAIT);
    bool may = !(w->flags & LULL_WATCH_SHARED) || ready(w->fd, POLLIN);
    return may ? read(w->fd, data, size) : -1;
}

int lull_call_recv(struct lull_selector *s, lull_watch *w, void *data, size_t size)
{
    ssize_t n;
    (void)s;
    do
        n = receive(w, data, bounded(size));
    while (n < 0 && again(w));
    return n < 0 ? -errno : (int)n;
}

/* Around a call that may raise SIGPIPE: where it would kill, it is blocked meanwhile, and
   the one that was raised is taken away. */
struct hush {
    sigset_t broken, before, pending;
    bool needed;
};

static void hush(struct hush *h)
{
    struct sigaction action;
    h->needed = sigaction(SIGPIPE, NULL, &action) < 0 || action.sa_handler == SIG_DFL;
    if (!h->needed)
        return;
    sigemptyset(&h->broken);
    sigaddset(&h->broken, SIGPIPE);
    sigpending(&h->pending);
    pthread_sigmask(SIG_BLOCK, &h->broken, &h->before);
}

static ssize_t unhush(struct hush *h, ssize_t n)
{
    const struct timespec now = {0};
    int error = errno;
    if (h->needed) {
        if (n < 0 && error == EPIPE && !sigismember(&h->pending, SIGPIPE))
            sigtimedwait(&h->broken, NULL, &now);
        pthread_sigmask(SIG_SETMASK, &h->before, NULL);
    }
    errno = error;
    return n;
}

static ssize_t write_quietly(int fd, const void *data, size_t size)
{
    struct hush h;
    hush(&h);
    return unhush(&h, write(fd, data, size));
}

/* Piece by piece as long as there is room. */
static ssize_t write_carefully(int fd, const char *data, size_t size)
{
    enum { MOST = 64 * 1024 };
    size_t done = 0;
    if (size > MOST)
        size = MOST;
    while (done < size && ready(fd, POLLOUT)) {
        size_t piece = size - done < PIPE_BUF ? size - done : PIPE_BUF;
        ssize_t n = write_quietly(fd, data + done, piece);
        if (n < 0)
            return done > 0 ? (ssize_t)done : n;
        done += (size_t)n;
    }
    return done > 0 || size == 0 ? (ssize_t)done : -1;
}

static ssize_t transmit(lull_watch *w, const void *data, size_t size)
{
    if (!(w->flags & LULL_WATCH_NOSOCK))
        return send(w->fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (w->flags & LULL_WATCH_SHARED)
        return write_carefully(w->fd, data, size);
    return write_quietly(w->fd, data, size);
}

int lull_call_send(struct lull_selector *s, lull_watch *w, const void *data, size_t size)
{
    ssize_t n;
    (void)s;
    do
        n = transmit(w, data, bounded(size));
    while (n < 0 && again(w));
    return n < 0 ? -errno : (int)n;
}

int lull_call_splice(struct lull_selector *s, lull_watch *w, unsigned event, int pipe,
                     size_t size)
{
    (void)s;
#ifdef SPLICE_F_NONBLOCK /* on Linux */
    bool in = event == LULL_READ;
    ssize_t n;
    if (w->flags & LULL_WATCH_SHARED)
        return -EINVAL; /* it would block */
    do {
        struct hush h;
        hush(&h);
        n = unhush(&h, splice(in ? w->fd : pipe, NULL, in ? pipe : w->fd, NULL, bounded(size),
                              SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
#else
    (void)w, (void)event, (void)pipe, (void)size;
    return -EINVAL;
#endif
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
