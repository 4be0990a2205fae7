/* The load of the echo rows: N connections, on each one message of S bytes at a time is
   sent, awaited back and compared byte by byte.  First every connection makes one round
   trip, then comes a warm-up, then the measured part: so many seconds, or so many
   requests.  With --pid the CPU time of the server is read at both marks, from the clock
   of that process.  With --idle 1 nothing follows the first round trips: the server's
   resident memory and CPU time are compared before and after.  With --active A so many
   of these connections then go on, while the others stay as they are.  With --greedy N as
   many connections more send without end and take what comes back without waiting for it;
   they are not compared, and counted in greedy_mib only.
   Prints one line of key=value; any wrong byte, refused connection or silence of ten
   seconds ends it with exit code 1. */
#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

enum {
    GULP = 65536,               /* what a greedy connection sends at a time */
    EVENTS = 512,
    OPENING = 64,               /* connections that may be under way at once */
    PATIENCE = 10000,           /* milliseconds without any event */
    AN_ADDRESS = 10000,         /* connections from one address: it has 28 000 ports, of
                                   which the kernel likes to give out the even ones */
    SHIFTS = 61,                /* each message starts elsewhere in the pattern */
    FINE = 7,                   /* histogram: 128 steps per power of two, so 0.8 % */
    BUCKETS = (65 - FINE) << FINE
};

struct conn {
    int fd;
    unsigned shift;             /* where in the pattern this message starts */
    int ready;                  /* has made its first round trip */
    int greedy;
    uint32_t interest;
    size_t sent, got;
    int64_t began;
};

struct mark {
    int64_t wall, server, self;
    uint64_t done, gorged;
};

static double port, connections = 1, size = 64, warmup = 0.3, seconds = 1, requests,
              server_pid, idle, active, greedy;
static int epfd, opened, ready, go;
static struct conn *conns;
static char *pattern, *buffer, *gulp;
static size_t bytes;
static uint64_t gorged; /* bytes that came back to greedy ones */
static uint64_t done, quota = UINT64_MAX;
static uint64_t histogram[BUCKETS];
static int64_t slowest;

static void interest(struct conn *c, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = c};
    int op = c->interest ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    if (c->interest != events && epoll_ctl(epfd, op, c->fd, &e) < 0)
        die("epoll_ctl");
    c->interest = events;
}

/* The histogram: logarithmic, with 2^FINE linear steps within each power of two. */

static unsigned bucket(uint64_t ns)
{
    if (ns >> FINE == 0)
        return (unsigned)ns;
    unsigned exponent = 63 - (unsigned)__builtin_clzll(ns) - FINE;
    return (exponent << FINE) + (unsigned)(ns >> exponent);
}

static double bucket_us(unsigned b)
{
    unsigned exponent = b >> FINE ? (b >> FINE) - 1 : 0;
    return (double)((uint64_t)(b - (exponent << FINE)) << exponent) / 1000;
}

static void record(int64_t ns)
{
    histogram[bucket((uint64_t)ns)]++;
    if (ns > slowest)
        slowest = ns;
}

static double percentile(double part)
{
    uint64_t total = 0, seen = 0;
    unsigned b = 0;
    for (unsigned i = 0; i < BUCKETS; i++)
        total += histogram[i];
    while (b < BUCKETS - 1 && (double)(seen += histogram[b]) < part * (double)total)
        b++;
    return bucket_us(b);
}

/* One connection. */

static void push_rest(struct conn *c)
{
    ssize_t n = send(c->fd, pattern + c->shift + c->sent, bytes - c->sent, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        die("send");
    c->sent += n > 0 ? (size_t)n : 0;
    interest(c, c->sent < bytes ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void ask(struct conn *c, int64_t now)
{
    c->shift = (c->shift + 1) % SHIFTS;
    c->sent = c->got = 0;
    c->began = now;
    push_rest(c);
}

static void answered(struct conn *c)
{
    int64_t now = wall_ns();
    if (go) {
        record(now - c->began);
        if (++done < quota)
            ask(c, now);
    } else if (!c->ready) {
        c->ready = 1;
        ready++;
    }
}

static void take(struct conn *c)
{
    ssize_t n = recv(c->fd, buffer, bytes - c->got + 1, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0)
        die(n ? "recv" : "the server closed a connection");
    errno = 0;
    if (c->got + (size_t)n > c->sent
        || memcmp(buffer, pattern + c->shift + c->got, (size_t)n) != 0)
        die("wrong bytes came back");
    c->got += (size_t)n;
    if (c->got == bytes)
        answered(c);
}

/* One call each way for an event, so that the load itself is fair to the others. */
static void gorge(struct conn *c, uint32_t events)
{
    ssize_t n = 0;
    if (events & EPOLLOUT)
        n = send(c->fd, gulp, GULP, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        die("send");
    if (events & ~(uint32_t)EPOLLOUT) {
        n = recv(c->fd, gulp, GULP, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
            die(n ? "recv" : "the server closed a connection");
        gorged += n > 0 ? (uint64_t)n : 0;
    }
    errno = 0;
}

static void connected(struct conn *c)
{
    int error = 0, on = 1;
    socklen_t length = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &length) < 0 || error) {
        errno = error ? error : errno;
        die("connect");
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!c->greedy) {
        ask(c, wall_ns());
        return;
    }
    interest(c, EPOLLIN | EPOLLOUT);
    ready++;
}

static void on_event(struct conn *c, uint32_t events)
{
    if (c->interest == EPOLLOUT) {
        connected(c);
        return;
    }
    if (c->greedy) {
        gorge(c, events);
        return;
    }
    if (events & EPOLLOUT)
        push_rest(c);
    if (events & ~(uint32_t)EPOLLOUT)
        take(c);
}

static void poll_once(void)
{
    struct epoll_event events[EVENTS];
    int n = epoll_wait(epfd, events, EVENTS, PATIENCE);
    if (n < 0 && errno != EINTR)
        die("epoll_wait");
    errno = 0;
    if (n == 0)
        die("no answer for ten seconds");
    for (int i = 0; i < n; i++)
        on_event(events[i].data.ptr, events[i].events);
}

/* All of them. */

/* So many connections come from 127.0.0.1, so many from the next address, and so on. */
static void come_from(int fd, int which)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)which)};
    int on = 1;
    if (which > 0
        && (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0
            || bind(fd, (struct sockaddr *)&a, sizeof a) < 0))
        die("bind");
}

/* Idle connections are many, and shall not all stay behind in TIME_WAIT. */
static void leave_at_once(int fd)
{
    struct linger at_once = {.l_onoff = 1};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
}

static void open_one(void)
{
    struct conn *c = &conns[opened++];
    c->greedy = greedy > 0 && opened > (int)connections;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    c->shift = (unsigned)(opened * 7) % SHIFTS;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        die("socket");
    come_from(c->fd, (opened - 1) / AN_ADDRESS);
    if (idle > 0)
        leave_at_once(c->fd);
    if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS)
        die("connect");
    interest(c, EPOLLOUT);
}

static void open_until(int count)
{
    while (ready < count) {
        while (opened < count && opened - ready < OPENING)
            open_one();
        poll_once();
    }
}

static struct mark mark(void)
{
    struct mark m = {.self = cpu_ns(), .done = done, .gorged = gorged};
    clockid_t id;
    if (server_pid > 0) {
        if (clock_getcpuclockid((pid_t)server_pid, &id) != 0)
            die("no such server");
        m.server = clock_ns(id);
    }
    m.wall = wall_ns();
    return m;
}

static void run_for(double duration)
{
    int64_t end = wall_ns() + (int64_t)(duration * 1e9);
    while (wall_ns() < end)
        poll_once();
}

static void run_requests(void)
{
    while (done < quota)
        poll_once();
}

static void start(int count)
{
    if (requests > 0)
        quota = (uint64_t)requests;
    go = 1;
    for (int i = 0; i < count; i++)
        ask(&conns[i], wall_ns());
}

static void report(struct mark a, struct mark b)
{
    double wall = (double)(b.wall - a.wall), served = (double)(b.done - a.done);
    double server = (double)(b.server - a.server), self = (double)(b.self - a.self);
    printf("requests=%.0f seconds=%.4f pace=%.0f p50_us=%.1f p99_us=%.1f p999_us=%.1f "
           "max_us=%.1f cpu_us=%.4f busy=%.3f load_cpu_us=%.4f load_busy=%.3f "
           "greedy_mib=%.1f\n",
           served, wall / 1e9, served / wall * 1e9, percentile(0.5), percentile(0.99),
           percentile(0.999), (double)slowest / 1000, server / served / 1000,
           server / wall, self / served / 1000, self / wall,
           (double)(b.gorged - a.gorged) / (1 << 20));
}

static void measure(int count)
{
    start(count);
    if (requests <= 0)
        run_for(warmup);
    memset(histogram, 0, sizeof histogram);
    slowest = 0;
    struct mark a = mark();
    if (requests > 0)
        run_requests();
    else
        run_for(seconds);
    report(a, mark());
}

/* What one more idle connection costs the server, and a request among them.  A few
   connections come first, so that what it allocates once is not counted. */
static void measure_idle(void)
{
    int first = 16, count = (int)connections;
    open_until(first);
    long before = resident_bytes((long)server_pid);
    struct mark a = mark();
    open_until(first + count);
    struct mark b = mark();
    long after = resident_bytes((long)server_pid);
    printf("connections=%d bytes=%.1f rss=%ld accept_us=%.3f%c", count,
           (double)(after - before) / count, after,
           (double)(b.server - a.server) / count / 1000, active > 0 ? ' ' : '\n');
    if (active > 0)
        measure((int)active);
}

static void prepare(void)
{
    size_t room = (size_t)(connections + greedy) + 16;
    bytes = (size_t)size;
    conns = calloc(room, sizeof *conns);
    pattern = malloc(bytes + SHIFTS);
    buffer = malloc(bytes + 1);
    gulp = calloc(1, GULP);
    epfd = epoll_create1(EPOLL_CLOEXEC);
    if (!conns || !pattern || !buffer || !gulp || epfd < 0)
        die("start");
    uint32_t x = 2463534242;
    for (size_t i = 0; i < bytes + SHIFTS; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        pattern[i] = (char)x;
    }
    if (raise_file_limit() < (long)room + 16)
        die("too many connections for the limit of open files");
}

int main(int argc, char **argv)
{
    const struct option options[] = {
        {"port", &port, "N"}, {"connections", &connections, "1"}, {"size", &size, "64"},
        {"warmup", &warmup, "0.3"}, {"seconds", &seconds, "1"},
        {"requests", &requests, "N (instead of seconds)"},
        {"pid", &server_pid, "SERVER"}, {"idle", &idle, "0"}, {"active", &active, "0"},
        {"greedy", &greedy, "0"},
    };
    read_options(argc, argv, options, COUNT(options));
    if (port <= 0 || connections < 1 || size < 1 || active > connections
        || (idle > 0 && server_pid <= 0))
        usage(argv[0], options, COUNT(options));
    prepare();
    if (idle > 0) {
        measure_idle();
    } else {
        open_until((int)(connections + greedy));
        measure((int)connections);
    }
    return 0;
}
