/* Sockets, one system call thin: their life, names and options.  The calls that wait are
   in sockiolib.c. */
#include <errno.h>

#include "sock.h"
#include "stream.h"

enum { BACKLOG = 1024 };

static const char *const families[] = {"inet", "inet6", "unix", NULL};
static const char *const types[] = {"stream", "dgram", NULL};

/* ---- helpers --------------------------------------------------------------------- */

/* Argument 1, a Socket or Datagram, be it closed. */
static struct sock *anysock(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct sock *s = lull_test(L, rt, 1, LULL_DATAGRAM);
    return s ? s : lull_check(L, rt, 1, LULL_SOCKET);
}

struct sock *lull_checksock(lua_State *L)
{
    struct sock *s = anysock(L);
    if (!s->open)
        luaL_error(L, "attempt to use a closed socket");
    return s;
}

struct sock *lull_newsock(lua_State *L, enum lull_class c)
{
    struct sock *s = lull_newobject(L, c, sizeof *s, 0);
    lull_io_init(&s->io, -1);
    s->timeout = LULL_FOREVER;
    s->datagram = c == LULL_DATAGRAM;
    return s;
}

void lull_sock_open(lua_State *L, struct sock *s, int fd, int family, int type)
{
    lull_own(lull_runtime(L), fd, true);
    lull_io_init(&s->io, fd);
    s->family = (uint8_t)family;
    s->type = (uint8_t)type;
    s->open = true;
}

/* Takes the descriptor away; who waits on it is told. */
static int close_sock(struct runtime *rt, struct sock *s)
{
    int fd = s->io.watch.fd;
    if (!s->open)
        return -1;
    s->open = false;
    lull_own(rt, fd, false);
    lull_io_close(&s->io);
    s->io.watch.fd = -1;
    return fd;
}

int lull_sock_fail(lua_State *L, struct sock *s, int rc)
{
    struct sys_address peer;
    char text[SYS_TEXT];
    bool known = s->open && sys_peer(s->io.watch.fd, &peer) == 0 && s->family != SYS_UNIX;
    if (known && s->datagram)
        sys_unmap4(&peer);
    return lull_pushfail(L, rc, known ? sys_text(&peer, text) : NULL);
}

int lull_sock_done(lua_State *L, struct sock *s, int rc)
{
    if (rc < 0)
        return lull_sock_fail(L, s, rc);
    lua_pushboolean(L, true);
    return 1;
}

/* ---- names ----------------------------------------------------------------------- */

int lull_sock_address(lua_State *L, struct sock *s, int i, struct sys_address *a)
{
    size_t size;
    const char *host = luaL_checklstring(L, i, &size);
    if (s->family == SYS_UNIX)
        return sys_unix(a, host, size);
    lua_Integer port = luaL_checkinteger(L, i + 1);
    luaL_argcheck(L, port >= 0 && port <= 65535, i + 1, "not a port number");
    int rc = sys_parse(a, (enum sys_family)s->family, host, (unsigned)port);
    if (rc < 0 && s->datagram && s->family == SYS_INET6) {
        rc = sys_parse(a, SYS_INET, host, (unsigned)port);
        if (rc == 0)
            sys_map4(a);
    }
    return rc;
}

int lull_sock_pushaddress(lua_State *L, const struct sock *s, struct sys_address a)
{
    if (s->datagram)
        sys_unmap4(&a);
    int n = lull_pushaddress(L, &a);
    if (s->family != SYS_UNIX || n == 1)
        return n;
    lua_pop(L, 1); /* the port of a nameless one */
    return 1;
}

int lull_sock_noaddress(lua_State *L, struct sock *s, int i, int rc)
{
    const char *host = lua_tostring(L, i);
    if (s->family == SYS_UNIX)
        return lull_pushfail(L, rc, host);
    return lull_pushcode(L, "EAI_NONAME", "not a numeric address", host);
}

/* socket:bind (host, port) or (path) -> true | nil, message, code */
static int sock_bind(lua_State *L)
{
    struct sys_address a;
    char text[SYS_TEXT];
    struct sock *s = lull_checksock(L);
    int rc = lull_sock_address(L, s, 2, &a);
    if (rc < 0)
        return lull_sock_noaddress(L, s, 2, rc);
    rc = sys_bind(s->io.watch.fd, &a);
    return rc < 0 ? lull_pushfail(L, rc, sys_text(&a, text)) : lull_sock_done(L, s, rc);
}

/* socket:listen ([backlog]) -> true | nil, message, code */
static int sock_listen(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    lua_Integer backlog = luaL_optinteger(L, 2, BACKLOG);
    luaL_argcheck(L, backlog >= 0 && backlog <= INT32_MAX, 2, "out of range");
    return lull_sock_done(L, s, sys_listen(s->io.watch.fd, (int)backlog));
}

/* socket:shutdown (["read" | "write" | "both"]) -> true | nil, message, code */
static int sock_shutdown(lua_State *L)
{
    static const char *const names[] = {"read", "write", "both", NULL};
    struct sock *s = lull_checksock(L);
    unsigned how = 1u + (unsigned)luaL_checkoption(L, 2, "both", names);
    return lull_sock_done(L, s, sys_shutdown(s->io.watch.fd, how));
}

static int pushname(lua_State *L, int ask(int fd, struct sys_address *a))
{
    struct sys_address a;
    struct sock *s = lull_checksock(L);
    int rc = ask(s->io.watch.fd, &a);
    return rc < 0 ? lull_pushfail(L, rc, NULL) : lull_sock_pushaddress(L, s, a);
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

/* ---- options --------------------------------------------------------------------- */

/* In the order of enum sys_option. */
static const char *const options[] = {
    "reuseaddr",     "reuseport",           "nodelay", "keepalive", "broadcast",
    "v6only",        "multicast_loop",      "rcvbuf",  "sndbuf",    "ttl",
    "multicast_ttl", "multicast_interface", "error",   NULL};

static enum sys_option checkoption(lua_State *L)
{
    return (enum sys_option)luaL_checkoption(L, 2, NULL, options);
}

/* The number of the interface at i, which is given by it or by name. */
static lua_Integer checkinterface(lua_State *L, int i)
{
    if (lua_type(L, i) == LUA_TNUMBER)
        return luaL_checkinteger(L, i);
    lua_Integer number = sys_interface(luaL_checkstring(L, i));
    luaL_argcheck(L, number > 0, i, "no such interface");
    return number;
}

static lua_Integer checkvalue(lua_State *L, enum sys_option option)
{
    luaL_checkany(L, 3);
    if (option < SYS_RCVBUF)
        return lua_toboolean(L, 3);
    return option == SYS_MULTICAST_INTERFACE ? checkinterface(L, 3)
                                             : luaL_checkinteger(L, 3);
}

/* socket:setoption (name, value) -> true | nil, message, code */
static int sock_setoption(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    enum sys_option option = checkoption(L);
    luaL_argcheck(L, option != SYS_ERROR, 2, "can only be read");
    lua_Integer value = checkvalue(L, option);
    luaL_argcheck(L, value >= 0 && value <= INT32_MAX, 3, "out of range");
    return lull_sock_done(L, s, sys_setoption(s->io.watch.fd, option, (int)value));
}

/* socket:getoption (name) -> value | nil, message, code */
static int sock_getoption(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    enum sys_option option = checkoption(L);
    int value, rc = sys_getoption(s->io.watch.fd, option, &value);
    if (rc < 0)
        return lull_sock_fail(L, s, rc);
    if (option < SYS_RCVBUF)
        lua_pushboolean(L, value);
    else
        lua_pushinteger(L, value);
    return 1;
}

static int multicast(lua_State *L, bool join)
{
    struct sock *s = lull_checksock(L);
    struct sys_address group;
    const char *host = luaL_checkstring(L, 2);
    lua_Integer interface = lua_isnoneornil(L, 3) ? 0 : checkinterface(L, 3);
    luaL_argcheck(L, interface >= 0 && interface <= INT32_MAX, 3, "out of range");
    if (sys_parse(&group, SYS_ANY, host, 0) < 0)
        return lull_sock_noaddress(L, s, 2, -EINVAL);
    int rc = sys_multicast(s->io.watch.fd, join, &group, (unsigned)interface);
    return rc < 0 ? lull_pushfail(L, rc, host) : lull_sock_done(L, s, 0);
}

/* socket:join (group [, interface]) -> true | nil, message, code: of multicast */
static int sock_join(lua_State *L)
{
    return multicast(L, true);
}

/* socket:leave (group [, interface]) -> true | nil, message, code */
static int sock_leave(lua_State *L)
{
    return multicast(L, false);
}

/* socket:settimeout (seconds | nil) -> socket: how long each call may take; 0: not at all */
static int sock_settimeout(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    luaL_argcheck(L, lua_isnoneornil(L, 2) || seconds >= 0, 2, "must not be negative");
    s->timeout = seconds < 0 || seconds > 9e9 ? LULL_FOREVER : (int64_t)(seconds * 1e9);
    lua_settop(L, 1);
    return 1;
}

/* socket:timeout () -> seconds | nil */
static int sock_timeout(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    if (s->timeout == LULL_FOREVER)
        lua_pushnil(L);
    else
        lua_pushnumber(L, (lua_Number)s->timeout / 1e9);
    return 1;
}

/* socket:family () -> "inet" | "inet6" | "unix" */
static int sock_family(lua_State *L)
{
    lua_pushstring(L, families[lull_checksock(L)->family - SYS_INET]);
    return 1;
}

/* socket:fileno () -> fd */
static int sock_fileno(lua_State *L)
{
    lua_pushinteger(L, lull_checksock(L)->io.watch.fd);
    return 1;
}

/* socket:detach () -> fd: the caller's from now on; the socket is closed without it. */
static int sock_detach(lua_State *L)
{
    lua_pushinteger(L, close_sock(lull_runtime(L), lull_checksock(L)));
    return 1;
}

int lull_sock_detach(lua_State *L, struct runtime *rt, int i)
{
    struct sock *s = lull_test(L, rt, i, LULL_DATAGRAM);
    return close_sock(rt, s ? s : lull_check(L, rt, i, LULL_SOCKET));
}

/* socket:close (): a second time does nothing; who waits gets nil, "ECANCELED: ...". */
static int sock_close(lua_State *L)
{
    struct sock *s = anysock(L);
    int fd = close_sock(lull_runtime(L), s);
    if (fd >= 0)
        sys_close(fd);
    if (s->kept) {
        void *ud;
        lua_Alloc alloc = lua_getallocf(L, &ud);
        alloc(ud, s->kept, LULL_SCRATCH, 0);
        s->kept = NULL;
    }
    return 0;
}

static int sock_tostring(lua_State *L)
{
    struct sock *s = anysock(L);
    const char *what = s->datagram ? "datagram" : "socket";
    struct sys_address a;
    char text[SYS_TEXT];
    if (!s->open) {
        lua_pushfstring(L, "%s (closed)", what);
        return 1;
    }
    int fd = s->io.watch.fd;
    bool known = sys_peer(fd, &a) == 0 || (sys_local(fd, &a) == 0 && sys_port(&a) != 0) ||
                 s->family == SYS_UNIX;
    lua_pushfstring(L, "%s %d (%s %s%s%s)", what, fd, families[s->family - SYS_INET],
                    types[s->type], known ? " " : "", known ? sys_text(&a, text) : "");
    return 1;
}

/* ---- making them ----------------------------------------------------------------- */

/* socket (family [, type]) -> Socket | nil, message, code */
static int newsocket(lua_State *L)
{
    int family = luaL_checkoption(L, 1, NULL, families) + SYS_INET;
    int type = luaL_checkoption(L, 2, "stream", types);
    struct sock *s = lull_newsock(L, LULL_SOCKET);
    int fd = lull_admit(lull_runtime(L), 1);
    if (fd == 0)
        fd = sys_socket((enum sys_family)family, (enum sys_type)type);
    if (fd < 0)
        return lull_pushfail(L, fd, NULL);
    lull_sock_open(L, s, fd, family, type);
    return 1;
}

/* unbind (path) -> true | nil, message, code: removes the path of a Unix socket. */
static int unbind(lua_State *L)
{
    size_t size;
    struct sys_address a;
    const char *path = luaL_checklstring(L, 1, &size);
    int rc = sys_unix(&a, path, size);
    if (rc == 0)
        rc = sys_unbind(&a);
    if (rc < 0)
        return lull_pushfail(L, rc, path);
    lua_pushboolean(L, true);
    return 1;
}

/* pair ([type]) -> Socket, Socket | nil, message, code */
static int newpair(lua_State *L)
{
    int fd[2], type = luaL_checkoption(L, 1, "stream", types);
    struct sock *a = lull_newsock(L, LULL_SOCKET), *b = lull_newsock(L, LULL_SOCKET);
    int rc = lull_admit(lull_runtime(L), 2);
    if (rc == 0)
        rc = sys_pair((enum sys_type)type, fd);
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    lull_sock_open(L, a, fd[0], SYS_UNIX, type);
    lull_sock_open(L, b, fd[1], SYS_UNIX, type);
    return 2;
}

const luaL_Reg lull_sock_methods[] = {{"bind", sock_bind},
                                      {"shutdown", sock_shutdown},
                                      {"peer", sock_peer},
                                      {"local_address", sock_local},
                                      {"setoption", sock_setoption},
                                      {"getoption", sock_getoption},
                                      {"join", sock_join},
                                      {"leave", sock_leave},
                                      {"settimeout", sock_settimeout},
                                      {"timeout", sock_timeout},
                                      {"fileno", sock_fileno},
                                      {"family", sock_family},
                                      {"close", sock_close},
                                      {NULL, NULL}};

static const luaL_Reg own_methods[] = {{"listen", sock_listen},
                                       {"detach", sock_detach},
                                       {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", sock_close},
                                       {"__close", sock_close},
                                       {"__tostring", sock_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"socket", newsocket}, {"pair", newpair}, {"unbind", unbind}, {NULL, NULL}};

void lull_open_sock(lua_State *L)
{
    lull_newclass(L, LULL_SOCKET, "Socket", lull_sock_methods, metamethods);
    lull_addmethods(L, LULL_SOCKET, own_methods);
    lull_addmethods(L, LULL_SOCKET, lull_sock_calls);
    lull_newclass(L, LULL_DATAGRAM, "Datagram", lull_sock_methods, metamethods);
    lull_addmethods(L, LULL_DATAGRAM, lull_datagram_calls);
    lull_setfuncs(L, functions);
    lull_open_rights(L);
    lull_open_resolve(L);
}
