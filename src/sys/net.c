/* Sockets: the calls that make, name and tune them.  What a backend may want to do
   itself (connect, accept, recv, send) is in selector/calls.c. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- making them ----------------------------------------------------------------- */

static const int domains[] = {[SYS_ANY] = AF_UNSPEC,
                              [SYS_INET] = AF_INET,
                              [SYS_INET6] = AF_INET6,
                              [SYS_UNIX] = AF_UNIX};

#ifdef SOCK_NONBLOCK
static int kind(enum sys_type type)
{
    return (type == SYS_DGRAM ? SOCK_DGRAM : SOCK_STREAM) | SOCK_NONBLOCK | SOCK_CLOEXEC;
}

static void prepare(int fd)
{
    (void)fd;
}
#else
static int kind(enum sys_type type)
{
    return type == SYS_DGRAM ? SOCK_DGRAM : SOCK_STREAM;
}

static void prepare(int fd)
{
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_NONBLOCK);
}
#endif

int sys_socket(enum sys_family family, enum sys_type type)
{
    int fd = socket(domains[family], kind(type), 0);
    if (fd < 0)
        return -errno;
    prepare(fd);
    return fd;
}

int sys_pair(enum sys_type type, int fd[2])
{
    if (socketpair(AF_UNIX, kind(type), 0, fd) < 0)
        return -errno;
    prepare(fd[0]);
    prepare(fd[1]);
    return 0;
}

/* Not retried on EINTR: the descriptor is gone, or another thread's by now. */
int sys_close(int fd)
{
    return close(fd) < 0 ? -errno : 0;
}

int sys_abort(int fd)
{
    struct linger none = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    return sys_close(fd);
}

/* ---- naming and using them ------------------------------------------------------- */

static const struct sockaddr *pointer(const struct sys_address *a)
{
    return (const void *)a->bytes;
}

int sys_bind(int fd, const struct sys_address *a)
{
    return bind(fd, pointer(a), a->size) < 0 ? -errno : 0;
}

int sys_unbind(const struct sys_address *a)
{
    char path[SYS_HOST];
    struct stat st;
    if (sys_family(a) != SYS_UNIX || sys_host(a, path) == 0 || *path == '\0')
        return -EINVAL;
    if (lstat(path, &st) < 0)
        return -errno;
    if (!S_ISSOCK(st.st_mode))
        return -ENOTSOCK;
    return unlink(path) < 0 ? -errno : 0;
}

int sys_listen(int fd, int backlog)
{
    return listen(fd, backlog) < 0 ? -errno : 0;
}

int sys_shutdown(int fd, unsigned how)
{
    int flag = how == LULL_READ ? SHUT_RD : how == LULL_WRITE ? SHUT_WR : SHUT_RDWR;
    return shutdown(fd, flag) < 0 ? -errno : 0;
}

typedef int namer(int fd, struct sockaddr *a, socklen_t *size);

static int name(int fd, struct sys_address *a, namer *ask)
{
    socklen_t size = SYS_ADDRESS;
    int rc = ask(fd, (void *)a->bytes, &size);
    a->size = rc < 0 ? 0 : size;
    return rc < 0 ? -errno : 0;
}

int sys_local(int fd, struct sys_address *a)
{
    return name(fd, a, getsockname);
}

int sys_peer(int fd, struct sys_address *a)
{
    return name(fd, a, getpeername);
}

static size_t bounded(size_t size)
{
    return size < INT_MAX ? size : INT_MAX;
}

int sys_recvfrom(int fd, void *data, size_t size, struct sys_address *a)
{
    socklen_t room = SYS_ADDRESS;
    ssize_t n;
    do
        n = recvfrom(fd, data, bounded(size), MSG_DONTWAIT, a ? (void *)a->bytes : NULL,
                     a ? &room : NULL);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (a)
        a->size = room;
    return (int)n;
}

int sys_sendto(int fd, const void *data, size_t size, const struct sys_address *a)
{
    ssize_t n;
    do
        n = sendto(fd, data, bounded(size), MSG_DONTWAIT | MSG_NOSIGNAL,
                   a ? pointer(a) : NULL, a ? a->size : 0);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

/* ---- options --------------------------------------------------------------------- */

/* Some have another name where the socket speaks IPv6. */
static const struct option {
    int level, name, level6, name6;
} options[] = {
    [SYS_REUSEADDR] = {SOL_SOCKET, SO_REUSEADDR, 0, 0},
    [SYS_REUSEPORT] = {SOL_SOCKET, SO_REUSEPORT, 0, 0},
    [SYS_NODELAY] = {IPPROTO_TCP, TCP_NODELAY, 0, 0},
    [SYS_KEEPALIVE] = {SOL_SOCKET, SO_KEEPALIVE, 0, 0},
    [SYS_BROADCAST] = {SOL_SOCKET, SO_BROADCAST, 0, 0},
    [SYS_V6ONLY] = {IPPROTO_IPV6, IPV6_V6ONLY, 0, 0},
    [SYS_MULTICAST_LOOP] = {IPPROTO_IP, IP_MULTICAST_LOOP, IPPROTO_IPV6,
                            IPV6_MULTICAST_LOOP},
    [SYS_RCVBUF] = {SOL_SOCKET, SO_RCVBUF, 0, 0},
    [SYS_SNDBUF] = {SOL_SOCKET, SO_SNDBUF, 0, 0},
    [SYS_TTL] = {IPPROTO_IP, IP_TTL, IPPROTO_IPV6, IPV6_UNICAST_HOPS},
    [SYS_MULTICAST_TTL] = {IPPROTO_IP, IP_MULTICAST_TTL, IPPROTO_IPV6,
                           IPV6_MULTICAST_HOPS},
    [SYS_MULTICAST_INTERFACE] = {IPPROTO_IP, IP_MULTICAST_IF, IPPROTO_IPV6,
                                 IPV6_MULTICAST_IF},
    [SYS_ERROR] = {SOL_SOCKET, SO_ERROR, 0, 0},
};

static bool speaks6(int fd)
{
    struct sys_address a;
    return sys_local(fd, &a) == 0 && sys_family(&a) == SYS_INET6;
}

static struct option pick(int fd, enum sys_option option)
{
    struct option o = options[option];
    if (o.level6 != 0 && speaks6(fd)) {
        o.level = o.level6;
        o.name = o.name6;
    }
    return o;
}

int sys_setoption(int fd, enum sys_option option, int value)
{
    struct option o = pick(fd, option);
    struct ip_mreqn request = {.imr_ifindex = value};
    bool interface = o.level == IPPROTO_IP && o.name == IP_MULTICAST_IF;
    int rc = interface ? setsockopt(fd, o.level, o.name, &request, sizeof request)
                       : setsockopt(fd, o.level, o.name, &value, sizeof value);
    return rc < 0 ? -errno : 0;
}

/* The system tells the address of an IPv4 socket's interface, not its number. */
int sys_getoption(int fd, enum sys_option option, int *value)
{
    struct option o = pick(fd, option);
    socklen_t size = sizeof *value;
    *value = 0;
    if (o.level == IPPROTO_IP && o.name == IP_MULTICAST_IF)
        return -ENOPROTOOPT;
    int rc = getsockopt(fd, o.level, o.name, value, &size);
    return rc < 0 ? -errno : 0;
}

int sys_multicast(int fd, bool join, const struct sys_address *group, unsigned interface)
{
    struct group_req request = {.gr_interface = interface};
    int level = sys_family(group) == SYS_INET6 ? IPPROTO_IPV6 : IPPROTO_IP;
    int name = join ? MCAST_JOIN_GROUP : MCAST_LEAVE_GROUP;
    memcpy(&request.gr_group, group->bytes, group->size);
    return setsockopt(fd, level, name, &request, sizeof request) < 0 ? -errno : 0;
}

unsigned sys_interface(const char *name)
{
    return if_nametoindex(name);
}
