/* The echo server in C on io_uring, as one would write it today: one accept and one
   receive per connection that go on by themselves, into buffers lent to the kernel, each
   reply sent out of the buffer it came in; all requests of a turn in one system call.
   Replies of a connection follow one another, so none overtakes the one before.
   Prints "port N" and serves until killed. */
#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { ENTRIES = 1024, ANSWERS = 16384, BUFFERS = 1024, SIZE = 16384, FILES = 65536 };
enum { ACCEPT, RECEIVE, SEND }; /* the low bits of what a request is called */

/* Replies that wait for the one before them, as a chain of buffers. */
struct conn {
    int first, last; /* -1: none */
    int sent;        /* bytes of the first that have gone */
    unsigned flying; /* requests in the kernel */
    int ended;
};

static struct io_uring ring;
static struct io_uring_buf_ring *buffers;
static char *bytes;
static struct conn conns[FILES];
static struct { int next, size; } pieces[BUFFERS];
static int listener;

static struct io_uring_sqe *request(void)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);
    if (!sqe) {
        io_uring_submit(&ring);
        sqe = io_uring_get_sqe(&ring);
    }
    if (!sqe)
        die("io_uring_get_sqe");
    return sqe;
}

static void name(struct io_uring_sqe *sqe, int kind, int fd)
{
    sqe->user_data = (uint64_t)(unsigned)fd << 2 | (uint64_t)kind;
}

static void lend(int id)
{
    io_uring_buf_ring_add(buffers, bytes + (size_t)id * SIZE, SIZE, (unsigned short)id,
                          io_uring_buf_ring_mask(BUFFERS), 0);
    io_uring_buf_ring_advance(buffers, 1);
}

static void begin_accept(void)
{
    struct io_uring_sqe *sqe = request();
    io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
    name(sqe, ACCEPT, listener);
}

static void begin_receive(int fd)
{
    struct io_uring_sqe *sqe = request();
    io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    name(sqe, RECEIVE, fd);
    conns[fd].flying++;
}

static void begin_send(int fd)
{
    struct conn *c = &conns[fd];
    struct io_uring_sqe *sqe = request();
    io_uring_prep_send(sqe, fd, bytes + (size_t)c->first * SIZE + c->sent,
                       (size_t)(pieces[c->first].size - c->sent), MSG_NOSIGNAL);
    name(sqe, SEND, fd);
    c->flying++;
}

static void take_first(struct conn *c)
{
    int id = c->first;
    c->first = pieces[id].next;
    c->sent = 0;
    lend(id);
}

/* Once nothing of it is in the kernel any more. */
static void maybe_close(int fd)
{
    struct conn *c = &conns[fd];
    if (!c->ended || c->flying > 0)
        return;
    while (c->first >= 0)
        take_first(c);
    close(fd);
}

static void accepted(int fd)
{
    int yes = 1;
    if (fd < 0 || fd >= FILES)
        return;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    conns[fd] = (struct conn){.first = -1, .last = -1};
    begin_receive(fd);
}

static void received(int fd, const struct io_uring_cqe *cqe)
{
    struct conn *c = &conns[fd];
    int more = (cqe->flags & IORING_CQE_F_MORE) != 0;
    c->flying -= !more;
    if (cqe->res > 0) {
        int id = (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT);
        pieces[id].size = cqe->res;
        pieces[id].next = -1;
        if (c->first >= 0) {
            pieces[c->last].next = id;
        } else {
            c->first = id;
            begin_send(fd);
        }
        c->last = id;
    } else if (cqe->res != -ENOBUFS) {
        c->ended = 1;
    }
    if (!more && !c->ended)
        begin_receive(fd);
    maybe_close(fd);
}

static void sent(int fd, int n)
{
    struct conn *c = &conns[fd];
    c->flying--;
    if (n < 0)
        c->ended = 1;
    else if ((c->sent += n) == pieces[c->first].size)
        take_first(c);
    if (!c->ended && c->first >= 0)
        begin_send(fd);
    maybe_close(fd);
}

static void open_ring(void)
{
    struct io_uring_params p = {.flags = IORING_SETUP_SINGLE_ISSUER |
                                         IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
                                .cq_entries = ANSWERS};
    errno = -io_uring_queue_init_params(ENTRIES, &ring, &p);
    if (errno)
        die("io_uring");
    size_t size = BUFFERS * (sizeof(struct io_uring_buf) + SIZE);
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                        -1, 0);
    if (memory == MAP_FAILED)
        die("mmap");
    struct io_uring_buf_reg reg = {.ring_addr = (uint64_t)(uintptr_t)memory,
                                   .ring_entries = BUFFERS};
    errno = -io_uring_register_buf_ring(&ring, &reg, 0);
    if (errno)
        die("io_uring_register_buf_ring");
    buffers = (struct io_uring_buf_ring *)(void *)memory;
    bytes = memory + BUFFERS * sizeof(struct io_uring_buf);
    io_uring_buf_ring_init(buffers);
    for (int id = 0; id < BUFFERS; id++)
        lend(id);
}

static void listen_at(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof a;
    int yes = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&a, size) < 0 || listen(listener, 4096) < 0 ||
        getsockname(listener, (struct sockaddr *)&a, &size) < 0)
        die("listen");
    printf("port %d\n", ntohs(a.sin_port));
    fflush(stdout);
}

static void handle(const struct io_uring_cqe *cqe)
{
    int fd = (int)(cqe->user_data >> 2);
    switch (cqe->user_data & 3) {
    case ACCEPT:
        accepted(cqe->res);
        if (!(cqe->flags & IORING_CQE_F_MORE))
            begin_accept();
        break;
    case RECEIVE:
        received(fd, cqe);
        break;
    case SEND:
        sent(fd, cqe->res);
        break;
    }
}

int main(int argc, char **argv)
{
    double port = 0;
    const struct option options[] = {{"port", &port, "0"}};
    read_options(argc, argv, options, COUNT(options));
    raise_file_limit();
    open_ring();
    listen_at((uint16_t)port);
    begin_accept();
    for (;;) {
        struct io_uring_cqe *cqe;
        unsigned head, n = 0;
        int rc = io_uring_submit_and_wait(&ring, 1);
        if (rc < 0 && rc != -EINTR && rc != -EBUSY && rc != -EAGAIN)
            die("io_uring_submit_and_wait");
        io_uring_for_each_cqe(&ring, head, cqe) {
            handle(cqe);
            n++;
        }
        io_uring_cq_advance(&ring, n);
    }
}
