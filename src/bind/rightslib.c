/* Descriptors passed over Unix sockets, and taken over into lull.

   What is received is a number, the receiver's to close or to hand to net.adopt; until it
   has reached him it is in a guard, which closes it when anything goes wrong before. */
#include <errno.h>
#include <string.h>

#include "sock.h"
#include "stream.h"

enum { FDS = 16 }; /* descriptors that recvmsg takes unless told otherwise */

/* ---- sending --------------------------------------------------------------------- */

/* The descriptor of the value on top of the stack (popped): a number, or what its method
   fileno says. */
static int fileno_of(lua_State *L)
{
    int isnumber, fd = (int)lua_tointegerx(L, -1, &isnumber);
    if (!isnumber) {
        int type = lua_type(L, -1);
        luaL_argcheck(L, type == LUA_TUSERDATA || type == LUA_TTABLE, 3,
                      "a list of descriptors, or of what has one");
        lua_getfield(L, -1, "fileno");
        lua_pushvalue(L, -2);
        lua_call(L, 1, 1);
        fd = (int)lua_tointegerx(L, -1, &isnumber);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    luaL_argcheck(L, isnumber && fd >= 0, 3, "not a descriptor");
    return fd;
}

static int sendmsgk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = lua_touserdata(L, SOCK_SELF);
    struct sys_message m = {.fds = lua_touserdata(L, SOCK_EXTRA)};
    m.data = (char *)lua_tolstring(L, 2, &m.size);
    m.count = (unsigned)(lua_rawlen(L, SOCK_EXTRA) / sizeof(int));
    int n = lull_sock_again(s, rc);
    if (n == 0)
        n = sys_sendmsg(s->io.watch.fd, &m);
    lull_charge(lull_runtime(L), n);
    if (n == -EAGAIN)
        return lull_sock_await(L, s, LULL_WRITE, sendmsgk);
    if (n < 0)
        return lull_sock_fail(L, s, n);
    lua_pushinteger(L, n);
    return 1;
}

/* socket:sendmsg (data, {descriptor, ...}) -> count | nil, message, code: they go with
   the first byte.  Numbers, or anything that has fileno; the sender keeps his. */
static int sock_sendmsg(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    size_t size;
    luaL_checklstring(L, 2, &size);
    luaL_checktype(L, 3, LUA_TTABLE);
    luaL_argcheck(L, s->family == SYS_UNIX, 1, "not a Unix socket");
    luaL_argcheck(L, size > 0, 2, "descriptors need a byte to go with");
    lua_Integer n = luaL_len(L, 3);
    luaL_argcheck(L, n <= SYS_RIGHTS, 3, "too many descriptors");
    lua_settop(L, SOCK_EXTRA - 1);
    int *fds = lua_newuserdatauv(L, (size_t)n * sizeof *fds, 0);
    for (lua_Integer i = 0; i < n; i++) {
        lua_geti(L, 3, i + 1);
        fds[i] = fileno_of(L);
    }
    return lull_sock_enter(L, SOCK_EXTRA, sendmsgk);
}

/* ---- receiving ------------------------------------------------------------------- */

struct guard {
    unsigned count;
    int fds[SYS_RIGHTS];
};

static int guard_close(lua_State *L)
{
    struct guard *g = lua_touserdata(L, 1);
    while (g->count > 0)
        sys_close(g->fds[--g->count]);
    return 0;
}

static const char guards; /* their metatable */

static void newguard(lua_State *L)
{
    struct guard *g = lua_newuserdatauv(L, sizeof *g, 0);
    g->count = 0;
    lull_pushheld(L, &guards);
    lua_setmetatable(L, -2);
}

/* Pushes data, the list of descriptors and what else there is to say. */
static int pushmessage(lua_State *L, struct guard *g, const struct sys_message *m, int n)
{
    lua_createtable(L, (int)g->count, 0); /* to put them in allocates nothing */
    lua_pushlstring(L, m->data, (size_t)n);
    lua_insert(L, -2);
    for (unsigned i = 0; i < g->count; i++) {
        lua_pushinteger(L, g->fds[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    g->count = 0;
    if (!m->cut)
        return 2;
    lua_pushliteral(L, "truncated");
    return 3;
}

/* The guard stands in EXTRA. */
static int recvmsgk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct sock *s = lua_touserdata(L, SOCK_SELF);
    struct guard *g = lua_touserdata(L, SOCK_EXTRA);
    char *buffer = lull_scratch(L, rt);
    if (buffer == NULL)
        return luaL_error(L, "not enough memory");
    struct sys_message m = {.data = buffer,
                            .size = (size_t)lua_tointeger(L, 2),
                            .fds = g->fds,
                            .room = (unsigned)lua_tointeger(L, 3)};
    int n = lull_sock_again(s, rc);
    lull_io_retry(&s->io);
    if (n == 0)
        n = sys_recvmsg(s->io.watch.fd, &m);
    lull_charge(rt, n);
    if (n == -EAGAIN)
        return lull_sock_await(L, s, LULL_READ, recvmsgk);
    if (n < 0)
        return lull_sock_fail(L, s, n);
    g->count = m.count;
    if (n > 0 || s->type == SYS_DGRAM || m.count > 0)
        return pushmessage(L, g, &m, n);
    lua_pushnil(L);
    return 1;
}

/* socket:recvmsg ([n [, max]]) -> data, {descriptor, ...} [, "truncated"] | nil at the
   end | nil, message, code: what comes beyond max descriptors is closed. */
static int sock_recvmsg(lua_State *L)
{
    struct sock *s = lull_checksock(L);
    lua_Integer n = luaL_optinteger(L, 2, LULL_SCRATCH), max = luaL_optinteger(L, 3, FDS);
    luaL_argcheck(L, s->family == SYS_UNIX, 1, "not a Unix socket");
    luaL_argcheck(L, n > 0, 2, "must be positive");
    luaL_argcheck(L, max >= 0 && max <= SYS_RIGHTS, 3, "out of range");
    lua_settop(L, SOCK_SELF);
    lua_pushinteger(L, n < LULL_SCRATCH ? n : LULL_SCRATCH);
    lua_pushinteger(L, max);
    newguard(L);
    return lull_sock_enter(L, SOCK_EXTRA, recvmsgk);
}

/* ---- taking over ----------------------------------------------------------------- */

/* adopt (fd) -> "listener" | "stream" | "socket", family | nil, message, code: makes it
   non-blocking and close-on-exec, and says what it is best for. */
static int adopt(lua_State *L)
{
    static const char *const kinds[] = {[SYS_UNKNOWN] = "stream",
                                        [SYS_CONNECTION] = "stream",
                                        [SYS_LISTENING] = "listener",
                                        [SYS_PACKETS] = "datagram"};
    lua_Integer fd = luaL_checkinteger(L, 1);
    luaL_argcheck(L, fd >= 0 && fd <= INT32_MAX, 1, "not a descriptor");
    luaL_argcheck(L, !lull_owned(lull_runtime(L), (int)fd), 1,
                  "an object has it already");
    enum sys_role kind;
    enum sys_family family;
    int rc = sys_adopt((int)fd, &kind, &family);
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    lua_pushstring(L, kinds[kind]);
    lua_pushstring(L, family == SYS_UNIX    ? "unix"
                      : family == SYS_INET6 ? "inet6"
                                            : "inet");
    return 2;
}

/* adopted (fd, family, type) -> Socket, or a Datagram where it carries packets of UDP */
static int adopted(lua_State *L)
{
    static const char *const families[] = {"inet", "inet6", "unix", NULL};
    static const char *const types[] = {"stream", "dgram", NULL};
    int fd = (int)luaL_checkinteger(L, 1);
    int family = luaL_checkoption(L, 2, NULL, families) + SYS_INET;
    int type = luaL_checkoption(L, 3, NULL, types);
    bool packets = type == SYS_DGRAM && family != SYS_UNIX;
    struct sock *s = lull_newsock(L, packets ? LULL_DATAGRAM : LULL_SOCKET);
    lull_sock_open(L, s, fd, family, type);
    return 1;
}

static const luaL_Reg methods[] = {{"sendmsg", sock_sendmsg},
                                   {"recvmsg", sock_recvmsg},
                                   {NULL, NULL}};

static const luaL_Reg functions[] = {{"adopt", adopt},
                                     {"adopted", adopted},
                                     {NULL, NULL}};

void lull_open_rights(lua_State *L)
{
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, guard_close);
    lua_setfield(L, -2, "__gc");
    lull_hold(L, &guards);
    lull_addmethods(L, LULL_SOCKET, methods);
    lull_setfuncs(L, functions);
}
