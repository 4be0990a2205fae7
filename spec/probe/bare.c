/* Selectors without a loop: what a backend reports, and its four calls. */
#include <errno.h>
#include <string.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "probe.h"
#include "selector.h"

enum { DESCRIPTORS = 4096, FACTS = 256 };

struct bare {
    const struct lull_backend *backend;
    struct lull_selector *selector;
    struct account account;
    lull_watch watches[DESCRIPTORS]; /* by descriptor */
};

static struct bare *checkbare(lua_State *L)
{
    struct bare *s = luaL_checkudata(L, 1, "probe.selector");
    luaL_argcheck(L, s->selector != NULL, 1, "closed");
    return s;
}

static lull_watch *checkwatch(lua_State *L, struct bare *s)
{
    lua_Integer fd = luaL_checkinteger(L, 2);
    luaL_argcheck(L, fd >= 0 && fd < DESCRIPTORS, 2, "no descriptor");
    lull_watch *w = &s->watches[fd];
    w->fd = (int)fd;
    return w;
}

/* probe.selector (name [, which allocation fails]) */
static int bare_new(lua_State *L)
{
    const char *name = luaL_checkstring(L, 1);
    lua_Integer fail = luaL_optinteger(L, 2, 0);
    struct bare *s = lua_newuserdatauv(L, sizeof *s, 0);
    memset(s, 0, sizeof *s);
    luaL_setmetatable(L, "probe.selector");
    s->account.fail = fail;
    s->backend = lull_backend_find(name);
    int rc =
        s->backend ? s->backend->open(&s->selector, account_alloc, &s->account) : -ENOSYS;
    return rc < 0 ? answer(L, rc) : 1;
}

/* s:close () -> bytes that are still out, nil where somebody gave a wrong size */
static int bare_close(lua_State *L)
{
    struct bare *s = luaL_checkudata(L, 1, "probe.selector");
    if (s->selector != NULL)
        s->backend->close(s->selector);
    s->selector = NULL;
    if (s->account.wrong)
        return 0;
    lua_pushinteger(L, (lua_Integer)s->account.live);
    return 1;
}

/* s:arm (fd, "rw" | "") */
static int bare_arm(lua_State *L)
{
    struct bare *s = checkbare(L);
    return answer(L, s->backend->arm(s->selector, checkwatch(L, s), checkevents(L, 3)));
}

/* s:forge (fd): the watch of fd forgets what it knew, as that of another owner would */
static int bare_forge(lua_State *L)
{
    struct bare *s = checkbare(L);
    memset(checkwatch(L, s), 0, sizeof(lull_watch));
    return 0;
}

/* s:own (fd): nobody else reads it, as with the streams of lull */
static int bare_own(lua_State *L)
{
    struct bare *s = checkbare(L);
    checkwatch(L, s)->flags |= LULL_WATCH_AHEAD;
    return 0;
}

/* s:wait (timeout in ns [, max]) -> {[fd] = "rw", ...}, count */
static int bare_wait(lua_State *L)
{
    struct bare *s = checkbare(L);
    struct lull_fact facts[FACTS];
    int max = (int)luaL_optinteger(L, 3, FACTS);
    int n = s->backend->wait(s->selector, luaL_checkinteger(L, 2), facts, max);
    if (n < 0)
        return answer(L, n);
    lua_newtable(L);
    for (int i = 0; i < n; i++) {
        pushevents(L, facts[i].events);
        lua_rawseti(L, -2, facts[i].watch->fd);
    }
    lua_pushinteger(L, n);
    return 2;
}

static int bare_recv(lua_State *L)
{
    struct bare *s = checkbare(L);
    char data[4096];
    size_t size = (size_t)luaL_optinteger(L, 3, sizeof data);
    int n = s->backend->recv(s->selector, checkwatch(L, s), data,
                             size < sizeof data ? size : sizeof data);
    if (n < 0)
        return answer(L, n);
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

static int bare_send(lua_State *L)
{
    struct bare *s = checkbare(L);
    size_t size;
    const char *data = luaL_checklstring(L, 3, &size);
    return answer(L, s->backend->send(s->selector, checkwatch(L, s), data, size));
}

/* s:accept (fd) -> fd, length of the peer's address */
static int bare_accept(lua_State *L)
{
    struct bare *s = checkbare(L);
    struct sockaddr_storage address;
    unsigned length = sizeof address;
    int rc = s->backend->accept(s->selector, checkwatch(L, s), &address, &length);
    if (rc < 0)
        return answer(L, rc);
    lua_pushinteger(L, rc);
    lua_pushinteger(L, length);
    return 2;
}

/* s:connect (fd, port of 127.0.0.1 | path) -> 0 | nil, code, begun */
static int bare_connect(lua_State *L)
{
    struct bare *s = checkbare(L);
    lull_watch *w = checkwatch(L, s);
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    int rc;
    if (lua_type(L, 3) == LUA_TNUMBER) {
        in.sin_port = htons((uint16_t)lua_tointeger(L, 3));
        rc = s->backend->connect(s->selector, w, &in, sizeof in);
    } else {
        strncpy(un.sun_path, luaL_checkstring(L, 3), sizeof un.sun_path - 1);
        rc = s->backend->connect(s->selector, w, &un, sizeof un);
    }
    int n = answer(L, rc);
    lua_pushboolean(L, w->flags & LULL_WATCH_CONNECT);
    return n + 1;
}

static const luaL_Reg methods[] = {
    {"close", bare_close},   {"__gc", bare_close},      {"arm", bare_arm},
    {"forge", bare_forge},   {"own", bare_own},         {"wait", bare_wait},
    {"recv", bare_recv},     {"send", bare_send},       {"accept", bare_accept},
    {"connect", bare_connect}, {NULL, NULL}};

void open_bare(lua_State *L)
{
    newclass(L, "probe.selector", methods);
    lua_pushcfunction(L, bare_new);
    lua_setfield(L, -2, "selector");
}
