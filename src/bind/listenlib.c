/* Listeners: accept gives a Stream.  The Stream is made before the connection is taken,
   so that none is lost for want of memory; one made in vain stays for the next call.
   Serving, and what to do when descriptors run out, is told in lua/lull/net.lua. */
#include <errno.h>

#include "stream.h"

enum { OPEN = 1 };  /* flags */
enum { SPARE = 1, SECURITY }; /* uservalues: a Stream for the next connection; tls */

struct listener {
    lull_io io;
    lua_Number timeout;
    struct stream_options opts; /* of its streams */
    lull_list resting;          /* who waits for room, on that loop */
    lull_loop *loop;
    struct sys_tls_context *tls; /* under which they are; NULL: none */
    uint32_t id;
    uint8_t flags;
};

static struct listener *checklistener(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_LISTENER);
}

static struct listener *openlistener(lua_State *L)
{
    struct listener *l = checklistener(L);
    if (!(l->flags & OPEN))
        luaL_error(L, "attempt to use a closed listener");
    return l;
}

/* Connections inherit these from the descriptor that they come from. */
static void prepare(int fd, bool nodelay, bool keepalive)
{
    struct sys_address a = {.size = SYS_ADDRESS};
    if (sys_local(fd, &a) < 0 || sys_family(&a) == SYS_UNIX)
        return;
    if (nodelay)
        sys_setoption(fd, SYS_NODELAY, 1);
    if (keepalive)
        sys_setoption(fd, SYS_KEEPALIVE, 1);
}

/* listener (socket | fd [, opts [, tls]]) -> Listener, which owns the descriptor */
static int listener(lua_State *L)
{
    struct stream_options opts = lull_stream_options(L, 2);
    struct sys_tls_context *tls = lua_isnoneornil(L, 3) ? NULL : lull_checktls(L, 3);
    lua_settop(L, 3);
    struct listener *l = lull_newobject(L, LULL_LISTENER, sizeof *l, SECURITY);
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, SECURITY);
    l->tls = tls;
    lull_io_init(&l->io, -1);
    list_init(&l->resting);
    l->timeout = -1;
    l->opts = opts;
    bool nodelay = lull_stream_flag(L, 2, "nodelay", true);
    bool keepalive = lull_stream_flag(L, 2, "keepalive", false);
    l->io.watch.fd = lull_stream_adopt(L, 1);
    lull_io_own(&l->io);
    l->flags |= OPEN;
    l->id = ++lull_runtime(L)->streams;
    lull_own(lull_runtime(L), l->io.watch.fd, true);
    prepare(l->io.watch.fd, nodelay, keepalive);
    return 1;
}

/* ---- accepting --------------------------------------------------------------------- */

/* Pushes the Stream of the next connection; or returns -errno. */
static int take(lua_State *L, lull_loop *loop, struct listener *l)
{
    if (lua_getiuservalue(L, 1, SPARE) == LUA_TNIL) {
        lua_pop(L, 1);
        struct stream *s = lull_newstream(L, &l->opts);
        int rc = l->tls ? lull_tls_begin(L, s, l->tls, NULL, NULL) : 0;
        if (rc < 0)
            return rc;
        lua_pushvalue(L, -1);
        lua_setiuservalue(L, 1, SPARE);
    }
    struct sys_address peer = {.size = SYS_ADDRESS};
    int fd = lull_admit(lull_runtime(L), 1);
    if (fd == 0)
        fd = lull_io_accept(loop, &l->io, peer.bytes, &peer.size);
    if (fd < 0)
        return fd;
    lull_stream_open(L, lua_touserdata(L, -1), fd, &peer);
    lua_pushnil(L);
    lua_setiuservalue(L, 1, SPARE);
    return 0;
}

/* The stack of an accept; LIMITED: does the listener's timeout count? */
enum { LISTENER = 1, LIMITED, DEADLINE };

static int acceptk(lua_State *L, int status, lua_KContext rc)
{
    struct listener *l = lua_touserdata(L, LISTENER);
    int n = !(l->flags & OPEN) ? -ECANCELED : (int)rc;
    if (n == 0 || n == -ETIMEDOUT) /* who came in the last moment still counts */
        n = take(L, lull_runtime(L)->loop, l);
    if (n == 0)
        return 1;
    lua_settop(L, DEADLINE);
    lua_Number timeout = lua_toboolean(L, LIMITED) ? l->timeout : -1;
    if (n == -EAGAIN && (timeout == 0 || rc < 0))
        n = -ETIMEDOUT;
    if (n != -EAGAIN)
        return lull_pushfail(L, n, NULL);
    return lull_await_io(L, &l->io, LULL_READ, lull_until(L, timeout, DEADLINE), acceptk);
}

static int begin_accept(lua_State *L, bool limited)
{
    lua_settop(L, LISTENER);
    lua_pushboolean(L, limited);
    lua_pushnil(L);
    return lull_enter(L, acceptk);
}

/* listener:accept () -> Stream: any number of tasks may wait. */
static int accept_(lua_State *L)
{
    openlistener(L);
    return begin_accept(L, true);
}

/* accept (listener [, limited]) -> Stream: the same for loops in Lua.  Has no time limit
   unless limited; a listener that is closed by now gives ECANCELED too. */
static int accept_patiently(lua_State *L)
{
    checklistener(L);
    return begin_accept(L, lua_toboolean(L, 2));
}

/* listener:try_accept () -> Stream | false | nil, message, code: never suspends. */
static int try_accept(lua_State *L)
{
    struct listener *l = openlistener(L);
    lull_loop *loop = lull_runtime(L)->loop ? lull_runtime(L)->loop : l->io.loop;
    if (loop == NULL)
        return luaL_error(L, "no loop is running");
    int rc = take(L, loop, l);
    if (rc < 0 && rc != -EAGAIN)
        return lull_pushfail(L, rc, NULL);
    if (rc == -EAGAIN)
        lua_pushboolean(L, false);
    return 1;
}

/* ---- waiting for room -------------------------------------------------------------- */

/* Those who rest do not accept, but want to know when the listener is closed. */
static void rouse_all(struct listener *l, int status)
{
    lull_wake_all(l->loop, &l->resting, status);
}

static int restk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct listener *l = lua_touserdata(L, 1);
    if (status == LUA_YIELD || !(l->flags & OPEN)) {
        lua_pushboolean(L, l->flags & OPEN);
        return 1;
    }
    l->loop = rt->loop;
    lull_wait(&rt->task->waiter);
    list_push(&l->resting, &rt->task->waiter.link);
    return lull_await(L, lull_after(rt->loop, luaL_optnumber(L, 2, -1)), restk);
}

/* rest (listener [, seconds]) -> boolean: until rouse, or the time is over, or the
   listener is closed (false). */
static int rest(lua_State *L)
{
    checklistener(L);
    luaL_optnumber(L, 2, -1);
    lua_settop(L, 2);
    return lull_enter(L, restk);
}

/* secure (listener) -> boolean: are its streams under TLS? */
static int secure(lua_State *L)
{
    lua_pushboolean(L, checklistener(L)->tls != NULL);
    return 1;
}

/* rouse (listener): there may be room now. */
static int rouse(lua_State *L)
{
    rouse_all(checklistener(L), 0);
    return 0;
}

/* ---- the rest ---------------------------------------------------------------------- */

/* listener:close (): who waits gets nil, "ECANCELED: ...", "ECANCELED" */
static int listener_close(lua_State *L)
{
    struct listener *l = checklistener(L);
    if (l->flags & OPEN) {
        l->flags = 0;
        rouse_all(l, -ECANCELED);
        lull_io_close(&l->io);
        lull_own(lull_runtime(L), l->io.watch.fd, false);
        sys_close(l->io.watch.fd);
        l->io.watch.fd = -1;
    }
    return 0;
}

/* listener:local_address () -> host, port | path */
static int local_address(lua_State *L)
{
    struct sys_address a = {.size = SYS_ADDRESS};
    int rc = sys_local(openlistener(L)->io.watch.fd, &a);
    return rc < 0 ? lull_pushfail(L, rc, NULL) : lull_pushaddress(L, &a);
}

/* listener:fileno () -> fd */
static int listener_fileno(lua_State *L)
{
    lua_pushinteger(L, openlistener(L)->io.watch.fd);
    return 1;
}

/* listener:settimeout (seconds | nil) -> listener: how long each accept may take. */
static int listener_settimeout(lua_State *L)
{
    struct listener *l = openlistener(L);
    l->timeout = lull_checktimeout(L, 2);
    lua_settop(L, 1);
    return 1;
}

static int listener_tostring(lua_State *L)
{
    struct listener *l = checklistener(L);
    struct sys_address a = {.size = SYS_ADDRESS};
    char text[SYS_TEXT] = "closed";
    if (l->flags & OPEN && sys_local(l->io.watch.fd, &a) == 0)
        sys_text(&a, text);
    lua_pushfstring(L, "listener %d (%s)", (int)l->id, text);
    return 1;
}

static const luaL_Reg methods[] = {
    {"accept", accept_},
    {"try_accept", try_accept},
    {"close", listener_close},
    {"local_address", local_address},
    {"fileno", listener_fileno},
    {"settimeout", listener_settimeout},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", listener_close},
    {"__close", listener_close},
    {"__tostring", listener_tostring},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"listener", listener}, {"accept", accept_patiently},
    {"rest", rest},         {"rouse", rouse},
    {"is_secure", secure},
    {NULL, NULL},
};

void lull_open_listener(lua_State *L)
{
    lull_newclass(L, LULL_LISTENER, "Listener", methods, metamethods);
    lull_setfuncs(L, functions);
}
