/* The calls of a Socket that wait: each tries, and where the system says EAGAIN its task
   sleeps until the call can be made again.

   Any number of tasks may wait on one Socket; what comes goes to whoever asks first.
   Received bytes are not lost when there is no memory for their string: the buffer that
   they are in is taken from the runtime beforehand, and stays with the Socket then. */
#include <errno.h>
#include <string.h>

#include "sock.h"
#include "stream.h"

enum { SELF = SOCK_SELF, EXTRA = SOCK_EXTRA, DEADLINE = SOCK_DEADLINE };

enum { BACKLOG_PAUSE = 10 * 1000 * 1000 }; /* ns */

/* ---- waiting --------------------------------------------------------------------- */

static struct sock *tosock(lua_State *L)
{
    return lua_touserdata(L, SELF);
}

/* When the call that is going on has taken too long; reckoned once. */
static int64_t deadline(lua_State *L, const struct sock *s)
{
    if (s->timeout == LULL_FOREVER)
        return LULL_FOREVER;
    if (lua_isnil(L, DEADLINE)) {
        lua_pushinteger(L, lull_now(lull_runtime(L)->loop) + s->timeout);
        lua_replace(L, DEADLINE);
    }
    return lua_tointeger(L, DEADLINE);
}

static bool expired(lua_State *L, const struct sock *s)
{
    return s->timeout != LULL_FOREVER &&
           lull_now(lull_runtime(L)->loop) >= deadline(L, s);
}

int lull_sock_await(lua_State *L, struct sock *s, unsigned event, lua_KFunction k)
{
    if (expired(L, s))
        return lull_sock_fail(L, s, -ETIMEDOUT);
    return lull_await_io(L, &s->io, event, deadline(L, s), k);
}

/* One whose time is over tries for a last time: on a busy loop it may be ready and not
   have been looked at yet. */
int lull_sock_again(struct sock *s, lua_KContext rc)
{
    if (!s->open)
        return -ECANCELED;
    if (rc != -ETIMEDOUT)
        return (int)rc;
    lull_io_retry(&s->io);
    return 0;
}

/* Clears what k keeps on the stack above its n arguments. */
int lull_sock_enter(lua_State *L, int n, lua_KFunction k)
{
    lua_settop(L, n);
    lua_settop(L, SOCK_SLOTS);
    return lull_enter(L, k);
}

/* ---- receiving ------------------------------------------------------------------- */

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
    struct sys_message m = {.data = buffer, .size = max, .address = &s->from};
    int n = from ? sys_recvmsg(s->io.watch.fd, &m)
                 : lull_io_recv(rt->loop, &s->io, buffer, max);
    lull_charge(rt, n);
    if (n > 0 || (n == 0 && s->type == SYS_DGRAM)) {
        s->kept = buffer;
        s->size = (size_t)n;
        s->cut = from && m.cut;
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
        count += lull_sock_pushaddress(L, s, s->from);
    if (from && s->cut) {
        lua_pushliteral(L, "truncated");
        count++;
    }
    s->size -= n;
    if (s->type == SYS_STREAM && s->size > 0)
        memmove(s->kept, s->kept + n, s->size);
    else
        give_back(L, lull_runtime(L), s);
    return count;
}

static int receivek(lua_State *L, lua_KContext woken, bool from, lua_KFunction k)
{
    struct sock *s = tosock(L);
    size_t max = (size_t)lua_tointeger(L, 2);
    int rc = lull_sock_again(s, woken);
    if (rc == 0)
        rc = receive(L, s, from, max);
    if (rc == -EAGAIN)
        return lull_sock_await(L, s, LULL_READ, k);
    if (rc < 0)
        return lull_sock_fail(L, s, rc);
    if (rc > 0)
        return pushreceived(L, s, from, max);
    lua_pushnil(L);
    return 1;
}

static int recvk(lua_State *L, int status, lua_KContext rc)
{
    return receivek(L, rc, false, recvk);
}

static int recvfromk(lua_State *L, int status, lua_KContext rc)
{
    return receivek(L, rc, true, recvfromk);
}

static int enter_receive(lua_State *L, lua_KFunction k)
{
    lull_checksock(L);
    lua_Integer n = luaL_optinteger(L, 2, LULL_SCRATCH);
    luaL_argcheck(L, n > 0, 2, "must be positive");
    lua_settop(L, SELF);
    lua_pushinteger(L, n < LULL_SCRATCH ? n : LULL_SCRATCH);
    return lull_sock_enter(L, 2, k);
}

/* socket:recv ([n]) -> at most n bytes, 64 KiB too | nil at the end | nil, message, code */
static int sock_recv(lua_State *L)
{
    return enter_receive(L, recvk);
}

/* socket:recvfrom ([n]) -> data, host, port | data, path | nil, message, code; and
   "truncated" at the end where a datagram had more than n bytes, which are lost. */
static int sock_recvfrom(lua_State *L)
{
    return enter_receive(L, recvfromk);
}

/* ---- sending --------------------------------------------------------------------- */

/* A datagram is sent as a whole, or not at all. */
static int pushsent(lua_State *L, struct sock *s, int n)
{
    if (n < 0 || s->datagram)
        return lull_sock_done(L, s, n);
    lua_pushinteger(L, n);
    return 1;
}

static int sendk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    size_t size;
    const char *data = lua_tolstring(L, 2, &size);
    int n = lull_sock_again(s, rc);
    if (n == 0)
        n = lull_io_send(lull_runtime(L)->loop, &s->io, data, size);
    lull_charge(lull_runtime(L), n);
    if (n == -EAGAIN)
        return lull_sock_await(L, s, LULL_WRITE, sendk);
    return pushsent(L, s, n);
}

/* socket:send (data) -> count | nil, message, code */
static int sock_send(lua_State *L)
{
    lull_checksock(L);
    luaL_checkstring(L, 2);
    return lull_sock_enter(L, 2, sendk);
}

/* How much has been sent stands in EXTRA.  A fast peer does not keep the others waiting. */
static int sendallk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct sock *s = tosock(L);
    size_t size, sent = (size_t)lua_tointeger(L, EXTRA);
    const char *data = lua_tolstring(L, 2, &size);
    int n = lull_sock_again(s, rc);
    while (n >= 0 && sent < size) {
        n = lull_io_send(rt->loop, &s->io, data + sent, size - sent);
        if (n <= 0)
            continue;
        sent += (size_t)n;
        lull_charge(rt, n);
        lua_pushinteger(L, (lua_Integer)sent);
        lua_replace(L, EXTRA);
        if (sent < size && --rt->budget < 0)
            return lull_enter(L, sendallk);
    }
    return n == -EAGAIN ? lull_sock_await(L, s, LULL_WRITE, sendallk)
                        : lull_sock_done(L, s, n);
}

/* socket:sendall (data) -> true | nil, message, code: part of it may have been sent */
static int sock_sendall(lua_State *L)
{
    lull_checksock(L);
    luaL_checkstring(L, 2);
    return lull_sock_enter(L, 2, sendallk);
}

/* nil, message, code for what could not be sent to an address. */
static int failto(lua_State *L, struct sock *s, int rc, struct sys_address to)
{
    char text[SYS_TEXT];
    if (s->datagram)
        sys_unmap4(&to);
    return lull_pushfail(L, rc, sys_text(&to, text));
}

static int sendtok(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    struct sys_address to;
    size_t size;
    const char *data = lua_tolstring(L, 2, &size);
    int n = lull_sock_address(L, s, 3, &to);
    if (n < 0)
        return lull_sock_noaddress(L, s, 3, n);
    n = lull_sock_again(s, rc);
    if (n == 0)
        n = sys_sendto(s->io.watch.fd, data, size, &to);
    lull_charge(lull_runtime(L), n);
    if (n == -EAGAIN)
        return lull_sock_await(L, s, LULL_WRITE, sendtok);
    if (n < 0 && s->open)
        return failto(L, s, n, to);
    return pushsent(L, s, n);
}

/* socket:sendto (data, host, port) or (data, path) -> count | nil, message, code */
static int sock_sendto(lua_State *L)
{
    struct sys_address to;
    struct sock *s = lull_checksock(L);
    luaL_checkstring(L, 2);
    lull_sock_address(L, s, 3, &to);
    return lull_sock_enter(L, 4, sendtok);
}

/* ---- connections ----------------------------------------------------------------- */

/* Where the backlog of a Unix listener is full no event tells when it no longer is. */
static int await_backlog(lua_State *L, struct sock *s, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    int64_t soon = lull_now(rt->loop) + BACKLOG_PAUSE, last = deadline(L, s);
    lull_wait(&rt->task->waiter);
    return lull_await(L, soon < last ? soon : last, k);
}

static int connectk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    struct sys_address a;
    char text[SYS_TEXT];
    int n = lull_sock_address(L, s, 2, &a);
    if (n < 0)
        return lull_sock_noaddress(L, s, 2, n);
    n = lull_sock_again(s, rc);
    if (n == 0)
        n = lull_io_connect(lull_runtime(L)->loop, &s->io, a.bytes, a.size);
    if (n == -EAGAIN && expired(L, s))
        n = -ETIMEDOUT;
    if (n == -EAGAIN && s->family == SYS_UNIX)
        return await_backlog(L, s, connectk);
    if (n == -EAGAIN)
        return lull_sock_await(L, s, LULL_WRITE, connectk);
    if (n < 0)
        return lull_pushfail(L, n, sys_text(&a, text));
    return lull_sock_done(L, s, 0);
}

/* socket:connect (host, port) or (path) -> true | nil, message, code */
static int sock_connect(lua_State *L)
{
    struct sys_address a;
    lull_sock_address(L, lull_checksock(L), 2, &a);
    return lull_sock_enter(L, 3, connectk);
}

/* The new Socket stands ready in EXTRA, so that no connection is lost for want of memory. */
static int acceptk(lua_State *L, int status, lua_KContext rc)
{
    struct sock *s = tosock(L);
    int fd = lull_sock_again(s, rc);
    if (fd == 0)
        fd = lull_admit(lull_runtime(L), 1);
    if (fd == 0)
        fd = lull_io_accept(lull_runtime(L)->loop, &s->io, NULL, NULL);
    if (fd == -EAGAIN)
        return lull_sock_await(L, s, LULL_READ, acceptk);
    if (fd < 0)
        return lull_sock_fail(L, s, fd);
    lull_sock_open(L, lua_touserdata(L, EXTRA), fd, s->family, s->type);
    lua_pushvalue(L, EXTRA);
    return 1;
}

/* socket:accept () -> Socket | nil, message, code */
static int sock_accept(lua_State *L)
{
    lull_checksock(L);
    lua_settop(L, EXTRA - 1);
    lull_newsock(L, LULL_SOCKET);
    return lull_sock_enter(L, EXTRA, acceptk);
}

const luaL_Reg lull_sock_calls[] = {
    {"connect", sock_connect}, {"accept", sock_accept},
    {"recv", sock_recv},       {"recvfrom", sock_recvfrom},
    {"send", sock_send},       {"sendall", sock_sendall},
    {"sendto", sock_sendto},   {NULL, NULL}};

const luaL_Reg lull_datagram_calls[] = {{"connect", sock_connect},
                                        {"recvfrom", sock_recvfrom},
                                        {"send", sock_send},
                                        {"sendto", sock_sendto},
                                        {NULL, NULL}};
