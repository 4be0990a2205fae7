/* Descriptors of every kind to wait for, made and mistreated with bare system calls, so
   that specs of the core need nothing of lull to set their stage. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "probe.h"

static int checkfd(lua_State *L, int i)
{
    return (int)luaL_checkinteger(L, i);
}

/* Of the system's -1 and errno. */
static int outcome(lua_State *L, int rc)
{
    return answer(L, rc < 0 ? -errno : rc);
}

static int two(lua_State *L, int a, int b)
{
    fcntl(a, F_SETFL, fcntl(a, F_GETFL) | O_NONBLOCK);
    fcntl(b, F_SETFL, fcntl(b, F_GETFL) | O_NONBLOCK);
    lua_pushinteger(L, a);
    lua_pushinteger(L, b);
    return 2;
}

/* ---- making them --------------------------------------------------------------- */

/* probe.pipe () -> reading end, writing end */
static int toy_pipe(lua_State *L)
{
    int fd[2];
    return pipe(fd) < 0 ? outcome(L, -1) : two(L, fd[0], fd[1]);
}

/* probe.pair (["dgram"]) -> two Unix sockets */
static int toy_pair(lua_State *L)
{
    int fd[2];
    int type = lua_isnoneornil(L, 1) ? SOCK_STREAM : SOCK_DGRAM;
    return socketpair(AF_UNIX, type, 0, fd) < 0 ? outcome(L, -1) : two(L, fd[0], fd[1]);
}

/* probe.pty () -> master, slave */
static int toy_pty(lua_State *L)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
        return outcome(L, -1);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    return slave < 0 ? outcome(L, -1) : two(L, master, slave);
}

/* probe.socket ("inet" | "unix") */
static int toy_socket(lua_State *L)
{
    int family = strcmp(luaL_checkstring(L, 1), "inet") == 0 ? AF_INET : AF_UNIX;
    return outcome(L, socket(family, SOCK_STREAM | SOCK_NONBLOCK, 0));
}

/* probe.listen ([path, backlog]) -> fd, port */
static int toy_listen(lua_State *L)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    bool local = !lua_isnoneornil(L, 1);
    if (local)
        strncpy(un.sun_path, luaL_checkstring(L, 1), sizeof un.sun_path - 1);
    void *address = local ? (void *)&un : (void *)&in;
    socklen_t size = local ? sizeof un : sizeof in;
    int fd = socket(local ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, address, size) < 0 ||
        listen(fd, (int)luaL_optinteger(L, 2, 16)) < 0)
        return outcome(L, -1);
    getsockname(fd, address, &size);
    lua_pushinteger(L, fd);
    lua_pushinteger(L, ntohs(in.sin_port));
    return 2;
}

/* probe.tcp () -> two ends of a connection */
static int toy_tcp(lua_State *L)
{
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof in;
    int listener = socket(AF_INET, SOCK_STREAM, 0), a = socket(AF_INET, SOCK_STREAM, 0),
        b = -1;
    if (bind(listener, (void *)&in, size) == 0 && listen(listener, 1) == 0 &&
        getsockname(listener, (void *)&in, &size) == 0 &&
        connect(a, (void *)&in, size) == 0)
        b = accept(listener, NULL, NULL);
    close(listener);
    int on = 1;
    setsockopt(b, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    return b < 0 ? outcome(L, -1) : two(L, a, b);
}

/* probe.open (path) */
static int toy_open(lua_State *L)
{
    return outcome(L, open(luaL_checkstring(L, 1), O_RDONLY));
}

/* probe.dup (fd [, least]) */
static int toy_dup(lua_State *L)
{
    return outcome(L,
                   fcntl(checkfd(L, 1), F_DUPFD_CLOEXEC, (int)luaL_optinteger(L, 2, 0)));
}

/* ---- using them ---------------------------------------------------------------- */

static int toy_close(lua_State *L)
{
    return outcome(L, close(checkfd(L, 1)));
}

static int toy_write(lua_State *L)
{
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    return outcome(L, (int)write(checkfd(L, 1), data, size));
}

/* probe.fill (fd) -> bytes: writes until it would block */
static int toy_fill(lua_State *L)
{
    static const char data[4096];
    int fd = checkfd(L, 1), total = 0;
    for (ssize_t n; (n = write(fd, data, sizeof data)) > 0;)
        total += (int)n;
    return answer(L, errno == EAGAIN ? total : -errno);
}

static int toy_read(lua_State *L)
{
    char data[4096];
    ssize_t n = read(checkfd(L, 1), data, sizeof data);
    if (n < 0)
        return outcome(L, -1);
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

static int toy_shutdown(lua_State *L)
{
    return outcome(L, shutdown(checkfd(L, 1), SHUT_WR));
}

/* probe.reset (fd): closes a connection so that the peer gets a reset */
static int toy_reset(lua_State *L)
{
    struct linger now = {.l_onoff = 1};
    int fd = checkfd(L, 1);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    return outcome(L, close(fd));
}

/* probe.urgent (fd, byte) */
static int toy_urgent(lua_State *L)
{
    return outcome(L, (int)send(checkfd(L, 1), luaL_checkstring(L, 2), 1, MSG_OOB));
}

/* probe.await_urgent (fd) */
static int toy_await_urgent(lua_State *L)
{
    struct pollfd p = {.fd = checkfd(L, 1), .events = POLLPRI};
    return outcome(L, poll(&p, 1, 2000));
}

/* probe.pass (socket, fd): sends one byte and fd with it */
static int toy_pass(lua_State *L)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    char mark = '!';
    struct iovec byte = {&mark, 1};
    struct msghdr m = {.msg_iov = &byte, .msg_iovlen = 1, .msg_control = control.space,
                       .msg_controllen = sizeof control.space};
    int fd = checkfd(L, 2);
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    return outcome(L, (int)sendmsg(checkfd(L, 1), &m, 0));
}

/* ---- the world ----------------------------------------------------------------- */

static void rang(int signal)
{
    (void)signal;
}

/* probe.alarm (microseconds): from now on a signal each time they have gone by, which
   interrupts system calls; 0: no more */
static int toy_alarm(lua_State *L)
{
    struct sigaction action = {.sa_handler = rang};
    sigaction(SIGALRM, &action, NULL);
    struct timeval period = {.tv_usec = (suseconds_t)luaL_checkinteger(L, 1)};
    return outcome(L, setitimer(ITIMER_REAL, &(struct itimerval){period, period}, NULL));
}

/* probe.time () -> ns of the system's monotonic clock */
static int toy_time(lua_State *L)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    lua_pushinteger(L, (lua_Integer)t.tv_sec * 1000000000 + t.tv_nsec);
    return 1;
}

/* probe.files (n) -> the limit of open files before */
static int toy_files(lua_State *L)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    lua_pushinteger(L, (lua_Integer)limit.rlim_cur);
    limit.rlim_cur = (rlim_t)luaL_checkinteger(L, 1);
    return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? outcome(L, -1) : 1;
}

static const luaL_Reg functions[] = {
    {"pipe", toy_pipe},         {"pair", toy_pair},     {"pty", toy_pty},
    {"socket", toy_socket},     {"listen", toy_listen}, {"tcp", toy_tcp},
    {"open", toy_open},         {"dup", toy_dup},       {"close_fd", toy_close},
    {"write", toy_write},       {"fill", toy_fill},     {"read", toy_read},
    {"shutdown", toy_shutdown}, {"reset", toy_reset},   {"urgent", toy_urgent},
    {"pass", toy_pass},         {"alarm", toy_alarm},   {"time", toy_time},
    {"files", toy_files},       {"await_urgent", toy_await_urgent},
    {NULL, NULL}};

void open_toys(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
}
