/* The sockets of c-ares, on the loop.

   c-ares gets them from here.  Thus they are taken from the loop before they are closed,
   a new one with the same number is never mistaken for the old, and all of their traffic
   goes through the loop's backend. */
#ifdef LULL_HAVE_CARES

#include "links.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* ---- the sockets of c-ares ------------------------------------------------------- */

struct link {
    lull_list node;
    struct sys_links *links;
    lull_io io;
    lull_waiter reader, writer;
    struct sys_address peer;
    int type, error;
    bool reads, writes; /* c-ares wants to know when it can */
    bool connecting;
};

static struct link *find(struct sys_links *links, int fd)
{
    for (lull_list *l = links->all.next; l != &links->all; l = l->next) {
        struct link *link = container_of(l, struct link, node);
        if (link->io.watch.fd == fd)
            return link;
    }
    return NULL;
}

static int refuse(int rc)
{
    errno = rc < 0 ? -rc : EBADF;
    return -1;
}

static void readable(lull_loop *loop, lull_waiter *w);
static void writable(lull_loop *loop, lull_waiter *w);

static ares_socket_t open_link(int domain, int type, int protocol, void *ud)
{
    struct sys_links *links = ud;
    (void)protocol;
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return refuse(links->rc = -ENOMEM);
    int fd = sys_socket(domain == AF_INET ? SYS_INET : SYS_INET6,
                        type == SOCK_DGRAM ? SYS_DGRAM : SYS_STREAM);
    if (fd < 0) {
        free(link);
        links->rc = fd == -EAFNOSUPPORT ? links->rc : fd;
        return refuse(fd);
    }
    link->links = links;
    link->type = type;
    lull_io_init(&link->io, fd);
    lull_waiter_init(&link->reader, readable);
    lull_waiter_init(&link->writer, writable);
    list_push(&links->all, &link->node);
    return fd;
}

static int close_link(ares_socket_t fd, void *ud)
{
    struct link *link = find(ud, fd);
    if (link == NULL)
        return refuse(-EBADF);
    lull_forget(&link->reader);
    lull_forget(&link->writer);
    list_remove(&link->node);
    lull_io_close(&link->io);
    free(link);
    return sys_close(fd) < 0 ? -1 : 0;
}

static int connect_link(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t size,
                        void *ud)
{
    struct link *link = find(ud, fd);
    if (link == NULL || size > SYS_ADDRESS)
        return refuse(-EBADF);
    memcpy(link->peer.bytes, to, size);
    link->peer.size = size;
    int rc = lull_io_connect(link->links->loop, &link->io, to, size);
    link->connecting = rc == -EAGAIN;
    return rc < 0 ? refuse(link->connecting ? -EINPROGRESS : rc) : 0;
}

/* An empty datagram means nothing, whereas c-ares would take it for the end.  What comes
   comes from the server: the socket is connected. */
static ares_ssize_t receive(ares_socket_t fd, void *data, size_t size, int flags,
                            struct sockaddr *from, ares_socklen_t *room, void *ud)
{
    struct link *link = find(ud, fd);
    (void)flags;
    if (link == NULL || link->error)
        return refuse(link ? link->error : -EBADF);
    int n;
    do {
        lull_io_retry(&link->io);
        n = lull_io_recv(link->links->loop, &link->io, data, size);
    } while (n == 0 && link->type == SOCK_DGRAM);
    if (from && room && *room >= link->peer.size) {
        memcpy(from, link->peer.bytes, link->peer.size);
        *room = link->peer.size;
    }
    return n < 0 ? refuse(n) : n;
}

/* A datagram that the system has no room for is as good as lost on the way.  Any other
   error is kept until c-ares receives, for it is told of all questions then: that nobody
   listened to the first comes as an error of the second. */
static int send_part(struct link *link, const struct iovec *part)
{
    int n = lull_io_send(link->links->loop, &link->io, part->iov_base, part->iov_len);
    if (n >= 0 || link->type != SOCK_DGRAM)
        return n;
    if (n != -EAGAIN && n != -ENOBUFS)
        link->error = n;
    return (int)part->iov_len;
}

static ares_ssize_t send_parts(ares_socket_t fd, const struct iovec *parts, int count,
                               void *ud)
{
    struct link *link = find(ud, fd);
    ares_ssize_t sum = 0;
    if (link == NULL)
        return refuse(-EBADF);
    link->links->sent = true;
    for (int i = 0; i < count; i++) {
        int n = send_part(link, &parts[i]);
        if (n < 0)
            return sum > 0 ? sum : refuse(n);
        sum += n;
        if ((size_t)n < parts[i].iov_len)
            break;
    }
    return sum;
}

static const struct ares_socket_functions door = {open_link, close_link, connect_link,
                                                  receive, send_parts};

void sys_links_interest(void *ud, ares_socket_t fd, int reads, int writes)
{
    struct link *link = find(ud, fd);
    if (link) {
        link->reads = reads;
        link->writes = writes;
    }
}

/* ---- waiting for them ------------------------------------------------------------ */

/* Waits for event, or no longer does.  One who was woken and has not run stays so; an
   error that is kept is an event. */
static int await(struct link *link, unsigned event, lull_waiter *w, bool wanted)
{
    bool idle = list_empty(&w->link);
    if (!wanted)
        lull_forget(w);
    else if (idle && !link->error)
        return lull_io_wait(link->links->loop, &link->io, event, w);
    else if (link->error) {
        if (idle)
            lull_wait(w);
        lull_wake(link->links->loop, w, 0);
    }
    return 0;
}

int sys_links_await(struct sys_links *links)
{
    int rc = 0;
    for (lull_list *l = links->all.next; rc >= 0 && l != &links->all; l = l->next) {
        struct link *link = container_of(l, struct link, node);
        bool reads = link->reads && !link->connecting;
        bool writes = link->writes || link->connecting;
        rc = await(link, LULL_READ, &link->reader, reads);
        if (rc >= 0)
            rc = await(link, LULL_WRITE, &link->writer, writes);
    }
    return rc;
}

static void readable(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct link *link = container_of(w, struct link, reader);
    struct sys_links *links = link->links;
    ares_process_fd(links->channel, link->io.watch.fd, ARES_SOCKET_BAD);
    links->moved(links);
}

/* c-ares finds out that it is connected, or is not, when it goes on. */
static void writable(lull_loop *loop, lull_waiter *w)
{
    struct link *link = container_of(w, struct link, writer);
    struct sys_links *links = link->links;
    int fd = link->io.watch.fd;
    if (link->connecting) {
        int rc = lull_io_connect(loop, &link->io, link->peer.bytes, link->peer.size);
        link->connecting = rc == -EAGAIN;
        link->error = rc == -EAGAIN ? 0 : rc;
    }
    if (!link->connecting)
        ares_process_fd(links->channel, link->error ? fd : ARES_SOCKET_BAD, fd);
    links->moved(links);
}

/* ---- life ------------------------------------------------------------------------ */

void sys_links_init(struct sys_links *links, lull_loop *loop,
                    void (*moved)(struct sys_links *links))
{
    *links = (struct sys_links){.loop = loop, .moved = moved};
    list_init(&links->all);
}

void sys_links_serve(struct sys_links *links, ares_channel channel)
{
    links->channel = channel;
    ares_set_socket_functions(channel, &door, links);
}

#else

typedef int sys_no_links; /* ISO C wants something */

#endif
