/* Sockets, one system call thin: a Socket is a descriptor that waits.  Each method tries,
   and where the system says EAGAIN its task sleeps until the call can be made again.

   Any number of tasks may wait on one Socket; what comes goes to whoever asks first.
   Received bytes are not lost when there is no memory for their string: the buffer that
   they are in is taken from the runtime beforehand, and stays with the Socket then. */
#include "bind.h"

#include <errno.h>
#include <string.h>

#include "sys.h"

/* What every suspending method has on its stack: self, arguments, its deadline. */
enum { SELF = 1, EXTRA = 4, DEADLINE, SLOTS = DEADLINE };

enum { BACKLOG = 1024, BACKLOG_PAUSE = 10 * 1000 * 1000 };

struct sock {
    lull_io io;
    int64_t timeout; /* how long a call may wait, LULL_FOREVER */
    char *kept;      /* received, but its string could not be made: `size` bytes */
    size_t size;
    struct sys_address from; /* who sent them */
    uint8_t family, type;
    bool open;
};

static const char *const families[] = {"inet", "inet6", "unix", NULL};
static const char *const types[] = {"stream", "dgram", NULL};

/* ---- helpers --------------------------------------------------------------------------- */

static struct sock *tosock(lua_State *L)
{
    return lua_touserdata(L, SELF);
}

static struct sock *checksock(lua_State *L)
{
    struct sock *s = lull_check(L, lull_runtime(L), SELF, LULL_SOCKET);
    if (!s->open)
        luaL_error(L, "attempt to use a closed socket");
    return s;
}

/* Pushes a Socket that is closed; open_sock gives it a descriptor. */
static struct sock *newsock(lua_State *L)
{
    struct sock *s = lull_newobject(L, LULL_SOCKET, sizeof *s, 0);
    lull_io_init(&s->io, -1);
    s->timeout = LULL_FOREVER;
    return s;
}

static void open_sock(struct sock *s, int fd, int family, int type)
{
    lull_io_init(&s->io, fd);
    s->family = (uint8_t)family;
    s->type = (uint8_t)type;
    s->open = true;
}

/* Takes the descriptor away; who waits on it is told. */
static int close_sock(struct sock *s)
{
    int fd = s->io.watch.fd;
    if (!s->open)
        return -1;
    s->open = false;
    lull_io_close(&s->io);
    s->io.watch.fd = -1;
    return fd;
}

static int fail(lua_State *L, int rc)
{
    struct sock *s = tosock(L);
    struct sys_address peer;
    char text[SYS_TEXT];
    bool known = s->open && sys_peer(s->io.watch.fd, &peer) == 0 && s->family != SYS_UNIX;
    return lull_pushfail(L, rc, known ? sys_text(&peer, text) : NULL);
}

static int succeed(lua_State *L, int rc)
{
    if (rc < 0)
        return fail(L, rc);
    lua_pushboolean(L, true);
    return 1;
}

/* Suspends until event, then k.  The deadline is reckoned once for a call. */
static int await(lua_State *L, unsigned event, lua_KFunction k)
{
    struct sock *s = tosock(L);
    if (s->timeout == 0)
        return fail(L, -ETIMEDOUT);
    int64_t deadline = LULL_FOREVER;
    if (s->timeout != LULL_FOREVER) {
        if (lua_isnil(L, DEADLINE)) {
            lua_pushinteger(L, lull_now(lull_runtime(L)->loop) + s->timeout);
            lua_replace(L, DEADLINE);
        }
        deadline = lua_tointeger(L, DEADLINE);
    }
    return lull_await_io(L, &s->io, event, deadline, k);
}

/* Clears what k keeps on the stack above its n arguments. */
static int enter(lua_State *L, int n, lua_KFunction k)
{
    lua_settop(L, n);
    lua_settop(L, SLOTS);
    return lull_enter(L, k);
}

/* ---- addresses --------------------------------------------------------------------------- */

/* The address that arguments i (and i + 1) name, for a socket like s. */
static int toaddress(lua_State *L, const struct sock *s, int i, struct sys_address *a)
{
    size_t size;
    const char *host = luaL_checklstring(L, i, &size);
    if (s->family == SYS_UNIX)
        return sys_unix(a, host, size);
    lua_Integer port = luaL_checkinteger(L, i + 1);
    luaL_argcheck(L, port >= 0 && port <= 65535, i + 1, "not a port number");
    return sys_parse(a, (enum sys_family)s->family, host, (unsigned)port);
}

/* What is no number may be a name: net.lua looks it up then, and calls again. */
static int addressfail(lua_State *L, const struct sock *s, int rc, int i)
{
    const char *host = lua_tostring(L, i);
    if (s->family == SYS_UNIX)
        return lull_pushfail(L, rc, host);
    return lull_pushcode(L, "EAI_NONAME", "not a numeric address", host);
}

/* Pushes host and port, or a path; returns how many. */
static int pushaddress(lua_State *L, const struct sys_address *a)
{
    char host[SYS_HOST];
    size_t size = sys_host(a, host);
    lua_pushlstring(L, host, size);
    if (sys_family(a) == SYS_UNIX || sys_family(a) == SYS_ANY)
        return 1;
    lua_pushinteger(L, sys_port(a));
    return 2;
}

/* ---- receiving ----------------------------------------------------------------------------- */

static int receive(lua_State *L, struct sock *s, bool from, size_t max)
{
    struct runtime *rt = lull_runtime(L);
    if (s->kept)
        return 1;
    char *buffer = lull_scratch(L, rt);
    if (buffer == NULL)
        return luaL_error(L, "not enough memory");
    if (s->timeout == 0 || s->type == SYS_DGRAM)
        lull_io_retry(&s->io);
    int n = from ? sys_recvfrom(s->io.watch.fd, buffer, max, &s->from)
                 : lull_io_recv(rt->loop, &s->io, buffer, max);
    if (n > 0 || (n == 0 && s->type == SYS_DGRAM)) {
        s->kept = buffer;
        s->size = (size_t)n;
        rt->scratch = NULL;
        return 1;
    }
    return n;
}

/* The buffer goes back to the runtime, unless a finalizer has made it another. */
static void give_back(lua_State *L, struct runtime *rt, struct sock *s)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    if (rt && rt->scratch == NULL)
        rt->scratch = s->kept;
    else if (s->kept)
        alloc(ud, s->kept, LULL_SCRATCH, 0);
    s->kept = NULL;
}

/* Pushes what was received; only then it is no longer kept.  A stream keeps what is more
   than max, which happens when it was received for another call. */
static int pushreceived(lua_State *L, struct sock *s, bool from, size_t max)
{
    size_t n = s->size < max ? s->size : max;
    int count = 1;
    lua_pushlstring(L, s->kept, n);
    if (from)
        count += pushaddress(L, &s->from);
    s->size -= n;
    if (s->type == SYS_STREAM && s->size > 0)
        memmove(s->kept, s->kept + n, s->size);
    else
        give_back(L, lull_runtime(L), s);
    return count;
}

static int receivek(lua_State *L, int rc, bool from, lua_KFunction k)
{
    struct sock *s = tosock(L);
    size_t max = (size_t)lua_tointeger(L, 2);
    if (rc == 0)
        rc = s->open ? receive(L, s, from, max) : -ECANCELED;
    if (rc == -EAGAIN)
        return await(L, LULL_READ, k);
    if (rc < 0)
        return fail(L, rc);
    if (rc > 0)
        return pushreceived(L, s, from, max);
    lua_pushnil(L);
    return 1;
}

static int recvk(lua_State *L, int status, lua_KContext rc)
{
    return receivek(L, (int)rc, false, recvk);
}

static int recvfromk(lua_State *L, int status, lua_KContext rc)
{
    return receivek(L, (int)rc, true, recvfromk);
}

static int enter_receive(lua_State *L, lua_KFunction k)
{
    checksock(L);
    lua_Integer n = luaL_optinteger(L, 2, LULL_SCRATCH);
    luaL_argcheck(L, n > 0, 2, "must be positive");
    lua_settop(L, SELF);
    lua_pushinteger(L, n < LULL_SCRATCH ? n : LULL_SCRATCH);
    return enter(L, 2, k);
}

/* socket:recv ([n]) -> at most n bytes, 64 KiB too | nil at the end | nil, message, code */
static int sock_recv(lua_State *L)
{
    return enter_receive(L, recvk);
}

/* socket:recvfrom ([n]) -> data, host, port | data, path | nil, message, code */
static int sock_recvfrom(lua_State *L)
{
    return enter_receive(L, recvfromk);
}

/* ---- sending ------------------------------------------------------------------------------- */

static int sendk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    size_t size;
    const char *data = lua_tolstring(L, 2, &size);
    int n = rc < 0     ? (int)rc
            : !s->open ? -ECANCELED
                       : lull_io_send(lull_runtime(L)->loop, &s->io, data, size);
    if (n == -EAGAIN)
        return await(L, LULL_WRITE, sendk);
    if (n < 0)
        return fail(L, n);
    lua_pushinteger(L, n);
    return 1;
}

/* socket:send (data) -> count | nil, message, code */
static int sock_send(lua_State *L)
{
    checksock(L);
    luaL_checkstring(L, 2);
    return enter(L, 2, sendk);
}

/* How much has been sent stands in EXTRA.  A fast peer does not keep the others waiting. */
static int sendallk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct sock *s = tosock(L);
    size_t size, sent = (size_t)lua_tointeger(L, EXTRA);
    const char *data = lua_tolstring(L, 2, &size);
    int n = (int)rc;
    while (n >= 0 && sent < size) {
        n = s->open ? lull_io_send(rt->loop, &s->io, data + sent, size - sent)
                    : -ECANCELED;
        if (n <= 0)
            continue;
        sent += (size_t)n;
        lua_pushinteger(L, (lua_Integer)sent);
        lua_replace(L, EXTRA);
        if (sent < size && --rt->budget < 0)
            return lull_enter(L, sendallk);
    }
    return n == -EAGAIN ? await(L, LULL_WRITE, sendallk) : succeed(L, n);
}

/* socket:sendall (data) -> true | nil, message, code: part of it may have been sent */
static int sock_sendall(lua_State *L)
{
    checksock(L);
    luaL_checkstring(L, 2);
    return enter(L, 2, sendallk);
}

static int sendtok(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    struct sys_address to;
    size_t size;
    const char *data = lua_tolstring(L, 2, &size);
    int n = rc < 0 ? (int)rc : s->open ? 0 : -ECANCELED;
    if (n == 0 && (n = toaddress(L, s, 3, &to)) < 0)
        return addressfail(L, s, n, 3);
    if (n == 0)
        n = sys_sendto(s->io.watch.fd, data, size, &to);
    if (n == -EAGAIN)
        return await(L, LULL_WRITE, sendtok);
    if (n < 0)
        return fail(L, n);
    lua_pushinteger(L, n);
    return 1;
}

/* socket:sendto (data, host, port) or (data, path) -> count | nil, message, code */
static int sock_sendto(lua_State *L)
{
    struct sys_address to;
    struct sock *s = checksock(L);
    luaL_checkstring(L, 2);
    toaddress(L, s, 3, &to);
    return enter(L, 4, sendtok);
}

/* ---- connections ------------------------------------------------------------------------------ */

/* Where the backlog of a Unix listener is full no event tells when it no longer is. */
static int await_backlog(lua_State *L, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    struct sock *s = tosock(L);
    int64_t again = lull_now(rt->loop) + BACKLOG_PAUSE;
    if (s->timeout == 0)
        return fail(L, -ETIMEDOUT);
    if (s->timeout != LULL_FOREVER && lua_isnil(L, DEADLINE)) {
        lua_pushinteger(L, again - BACKLOG_PAUSE + s->timeout);
        lua_replace(L, DEADLINE);
    }
    bool last = !lua_isnil(L, DEADLINE) && lua_tointeger(L, DEADLINE) <= again;
    lua_pushboolean(L, !last);
    lua_replace(L, EXTRA);
    lull_wait(&rt->task->waiter);
    return lull_await(L, last ? lua_tointeger(L, DEADLINE) : again, k);
}

static int connectk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    struct sys_address a;
    char text[SYS_TEXT];
    int n = toaddress(L, s, 2, &a);
    if (n < 0)
        return addressfail(L, s, n, 2);
    if (rc < 0 && !(rc == -ETIMEDOUT && lua_toboolean(L, EXTRA)))
        n = (int)rc;
    else
        n = s->open ? lull_io_connect(lull_runtime(L)->loop, &s->io, a.bytes, a.size)
                    : -ECANCELED;
    if (n == -EAGAIN && s->family == SYS_UNIX)
        return await_backlog(L, connectk);
    if (n == -EAGAIN)
        return await(L, LULL_WRITE, connectk);
    if (n < 0)
        return lull_pushfail(L, n, sys_text(&a, text));
    return succeed(L, 0);
}

/* socket:connect (host, port) or (path) -> true | nil, message, code */
static int sock_connect(lua_State *L)
{
    struct sys_address a;
    toaddress(L, checksock(L), 2, &a);
    return enter(L, 3, connectk);
}

/* socket:bind (host, port) or (path) -> true | nil, message, code */
static int sock_bind(lua_State *L)
{
    struct sys_address a;
    char text[SYS_TEXT];
    struct sock *s = checksock(L);
    int rc = toaddress(L, s, 2, &a);
    if (rc < 0)
        return addressfail(L, s, rc, 2);
    rc = sys_bind(s->io.watch.fd, &a);
    return rc < 0 ? lull_pushfail(L, rc, sys_text(&a, text)) : succeed(L, rc);
}

/* socket:listen ([backlog]) -> true | nil, message, code */
static int sock_listen(lua_State *L)
{
    struct sock *s = checksock(L);
    lua_Integer backlog = luaL_optinteger(L, 2, BACKLOG);
    luaL_argcheck(L, backlog >= 0 && backlog <= INT32_MAX, 2, "out of range");
    return succeed(L, sys_listen(s->io.watch.fd, (int)backlog));
}

/* The new Socket stands ready in EXTRA, so that no connection is lost for want of memory. */
static int acceptk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    int fd = (int)rc;
    if (rc == 0)
        fd = s->open ? lull_io_accept(lull_runtime(L)->loop, &s->io, NULL, NULL)
                     : -ECANCELED;
    if (fd == -EAGAIN)
        return await(L, LULL_READ, acceptk);
    if (fd < 0)
        return fail(L, fd);
    open_sock(lua_touserdata(L, EXTRA), fd, s->family, s->type);
    lua_pushvalue(L, EXTRA);
    return 1;
}

/* socket:accept () -> Socket | nil, message, code */
static int sock_accept(lua_State *L)
{
    checksock(L);
    lua_settop(L, EXTRA - 1);
    newsock(L);
    return enter(L, EXTRA, acceptk);
}

/* socket:shutdown (["read" | "write" | "both"]) -> true | nil, message, code */
static int sock_shutdown(lua_State *L)
{
    static const char *const names[] = {"read", "write", "both", NULL};
    struct sock *s = checksock(L);
    unsigned how = 1u + (unsigned)luaL_checkoption(L, 2, "both", names);
    return succeed(L, sys_shutdown(s->io.watch.fd, how));
}

/* ---- asking and telling ------------------------------------------------------------------------ */

static int pushname(lua_State *L, int ask(int fd, struct sys_address *a))
{
    struct sys_address a;
    int rc = ask(checksock(L)->io.watch.fd, &a);
    return rc < 0 ? lull_pushfail(L, rc, NULL) : pushaddress(L, &a);
}

/* socket:peer () -> host, port | path | nil, message, code */
static int sock_peer(lua_State *L)
{
    return pushname(L, sys_peer);
}

/* socket:local_address () -> host, port | path | nil, message, code */
static int sock_local(lua_State *L)
{
    return pushname(L, sys_local);
}

static const char *const options[] = {"reuseaddr", "reuseport", "nodelay",
                                      "keepalive", "broadcast", "rcvbuf",
                                      "sndbuf",    "error",     NULL};

static enum sys_option checkoption(lua_State *L)
{
    return (enum sys_option)luaL_checkoption(L, 2, NULL, options);
}

/* socket:setoption (name, value) -> true | nil, message, code */
static int sock_setoption(lua_State *L)
{
    struct sock *s = checksock(L);
    enum sys_option option = checkoption(L);
    luaL_argcheck(L, option != SYS_ERROR, 2, "can only be read");
    luaL_checkany(L, 3);
    lua_Integer value =
        option < SYS_RCVBUF ? lua_toboolean(L, 3) : luaL_checkinteger(L, 3);
    luaL_argcheck(L, value >= 0 && value <= INT32_MAX, 3, "out of range");
    return succeed(L, sys_setoption(s->io.watch.fd, option, (int)value));
}

/* socket:getoption (name) -> value | nil, message, code */
static int sock_getoption(lua_State *L)
{
    struct sock *s = checksock(L);
    enum sys_option option = checkoption(L);
    int value, rc = sys_getoption(s->io.watch.fd, option, &value);
    if (rc < 0)
        return fail(L, rc);
    if (option < SYS_RCVBUF)
        lua_pushboolean(L, value);
    else
        lua_pushinteger(L, value);
    return 1;
}

/* socket:settimeout ([seconds]): how long each call may wait; 0: not at all; nil: for ever */
static int sock_settimeout(lua_State *L)
{
    struct sock *s = checksock(L);
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    luaL_argcheck(L, lua_isnoneornil(L, 2) || seconds >= 0, 2, "must not be negative");
    s->timeout = seconds < 0 || seconds > 9e9 ? LULL_FOREVER : (int64_t)(seconds * 1e9);
    return 0;
}

/* socket:fileno () -> fd */
static int sock_fileno(lua_State *L)
{
    lua_pushinteger(L, checksock(L)->io.watch.fd);
    return 1;
}

/* socket:detach () -> fd: the caller's from now on; the socket is closed without it. */
static int sock_detach(lua_State *L)
{
    lua_pushinteger(L, close_sock(checksock(L)));
    return 1;
}

int lull_sock_detach(lua_State *L, struct runtime *rt, int i)
{
    return close_sock(lull_check(L, rt, i, LULL_SOCKET));
}

/* socket:close (): a second time does nothing; who waits gets nil, "ECANCELED: ...". */
static int sock_close(lua_State *L)
{
    struct sock *s = lull_check(L, lull_runtime(L), SELF, LULL_SOCKET);
    int fd = close_sock(s);
    if (fd >= 0)
        sys_close(fd);
    give_back(L, NULL, s);
    return 0;
}

static int sock_tostring(lua_State *L)
{
    struct sock *s = lull_check(L, lull_runtime(L), SELF, LULL_SOCKET);
    struct sys_address a;
    char text[SYS_TEXT];
    if (!s->open) {
        lua_pushliteral(L, "socket (closed)");
        return 1;
    }
    int fd = s->io.watch.fd;
    bool known = sys_peer(fd, &a) == 0 || (sys_local(fd, &a) == 0 && sys_port(&a) != 0) ||
                 s->family == SYS_UNIX;
    lua_pushfstring(L, "socket %d (%s %s%s%s)", fd, families[s->family - SYS_INET],
                    types[s->type], known ? " " : "", known ? sys_text(&a, text) : "");
    return 1;
}

/* ---- making them ----------------------------------------------------------------------------------- */

/* socket (family [, type]) -> Socket | nil, message, code */
static int newsocket(lua_State *L)
{
    int family = luaL_checkoption(L, 1, NULL, families) + SYS_INET;
    int type = luaL_checkoption(L, 2, "stream", types);
    struct sock *s = newsock(L);
    int fd = sys_socket((enum sys_family)family, (enum sys_type)type);
    if (fd < 0)
        return lull_pushfail(L, fd, NULL);
    open_sock(s, fd, family, type);
    return 1;
}

/* pair ([type]) -> Socket, Socket | nil, message, code */
static int newpair(lua_State *L)
{
    int fd[2], type = luaL_checkoption(L, 1, "stream", types);
    struct sock *a = newsock(L), *b = newsock(L);
    int rc = sys_pair((enum sys_type)type, fd);
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    open_sock(a, fd[0], SYS_UNIX, type);
    open_sock(b, fd[1], SYS_UNIX, type);
    return 2;
}

static const luaL_Reg methods[] = {{"connect", sock_connect},
                                   {"bind", sock_bind},
                                   {"listen", sock_listen},
                                   {"accept", sock_accept},
                                   {"recv", sock_recv},
                                   {"recvfrom", sock_recvfrom},
                                   {"send", sock_send},
                                   {"sendall", sock_sendall},
                                   {"sendto", sock_sendto},
                                   {"shutdown", sock_shutdown},
                                   {"peer", sock_peer},
                                   {"local_address", sock_local},
                                   {"setoption", sock_setoption},
                                   {"getoption", sock_getoption},
                                   {"settimeout", sock_settimeout},
                                   {"fileno", sock_fileno},
                                   {"detach", sock_detach},
                                   {"close", sock_close},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", sock_close},
                                       {"__close", sock_close},
                                       {"__tostring", sock_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"socket", newsocket},
                                     {"pair", newpair},
                                     {NULL, NULL}};

void lull_open_sock(lua_State *L)
{
    lull_newclass(L, LULL_SOCKET, "Socket", methods, metamethods);
    lull_setfuncs(L, functions);
    lull_open_resolve(L);
}
