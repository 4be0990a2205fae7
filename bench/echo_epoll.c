/* The reference of the echo rows: an echo server in C on level-triggered epoll, written
   as one would for production.  A socket is registered once; what is read is written
   back at once; a short read means empty, so no recv is spent on learning EAGAIN; only a
   peer that does not read costs an epoll_ctl, memory for the rest, and gets no further
   reads until it has taken it.  One thread, one receive buffer.
   Prints "port N" and serves until killed. */
#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    EVENTS = 256,        /* taken per epoll_wait */
    ACCEPTS = 64,        /* accepted per turn, so that a storm of them starves nobody */
    READS = 4            /* full buffers read per turn from one connection */
};

struct conn {
    int fd;
    size_t from, to;     /* the unsent part of rest */
    char *rest;          /* NULL unless the peer is slow */
};

static int epfd, listener;
static int deaf;             /* out of descriptors: the listener is not watched */
static char *buffer;
static size_t buffer_size;

static void watch(int op, int fd, uint32_t events, struct conn *c)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    if (epoll_ctl(epfd, op, fd, &e) < 0)
        die("epoll_ctl");
}

static void drop(struct conn *c)
{
    close(c->fd);
    free(c->rest);
    free(c);
    if (deaf) {
        watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
        deaf = 0;
    }
}

static ssize_t try_send(int fd, const char *data, size_t size)
{
    ssize_t n = send(fd, data, size, MSG_NOSIGNAL);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : n;
}

/* False when the connection may not be read further now: gone, or the peer is slow. */
static int reply(struct conn *c, size_t size)
{
    ssize_t n = try_send(c->fd, buffer, size);
    if (n == (ssize_t)size)
        return 1;
    if (n < 0 || !(c->rest = malloc(size - (size_t)n))) {
        drop(c);
        return 0;
    }
    c->from = 0;
    c->to = size - (size_t)n;
    memcpy(c->rest, buffer + n, c->to);
    watch(EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
    return 0;
}

static void on_writable(struct conn *c)
{
    ssize_t n = try_send(c->fd, c->rest + c->from, c->to - c->from);
    if (n < 0) {
        drop(c);
        return;
    }
    c->from += (size_t)n;
    if (c->from < c->to)
        return;
    free(c->rest);
    c->rest = NULL;
    watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

static void on_readable(struct conn *c)
{
    for (int i = 0; i < READS; i++) {
        ssize_t n = recv(c->fd, buffer, buffer_size, 0);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            drop(c);
            return;
        }
        if (!reply(c, (size_t)n) || (size_t)n < buffer_size)
            return;
    }
}

static void welcome(int fd)
{
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct conn *c = calloc(1, sizeof *c);
    if (!c) {
        close(fd);
        return;
    }
    c->fd = fd;
    watch(EPOLL_CTL_ADD, fd, EPOLLIN, c);
}

static void on_connection(void)
{
    for (int i = 0; i < ACCEPTS; i++) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            welcome(fd);
        } else if (errno == EMFILE || errno == ENFILE) {
            watch(EPOLL_CTL_DEL, listener, 0, NULL);
            deaf = 1;
            return;
        } else if (errno == EAGAIN) {
            return;
        }
    }
}

static void listen_on(int port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (listener < 0
        || setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0
        || bind(listener, (struct sockaddr *)&a, size) < 0
        || listen(listener, SOMAXCONN) < 0
        || getsockname(listener, (struct sockaddr *)&a, &size) < 0)
        die("listen");
    printf("port %d\n", ntohs(a.sin_port));
    fflush(stdout);
}

static void serve(void)
{
    struct epoll_event events[EVENTS];
    for (;;) {
        int n = epoll_wait(epfd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            die("epoll_wait");
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (!c)
                on_connection();
            else if (c->rest)
                on_writable(c);
            else
                on_readable(c);
        }
    }
}

int main(int argc, char **argv)
{
    double port = 0, size = 65536;
    const struct option options[] = {{"port", &port, "0"}, {"size", &size, "65536"}};
    read_options(argc, argv, options, COUNT(options));
    raise_file_limit();
    buffer_size = (size_t)size;
    buffer = malloc(buffer_size);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!buffer || epfd < 0)
        die("start");
    listen_on((int)port);
    watch(EPOLL_CTL_ADD, listener, EPOLLIN, NULL);
    serve();
}
