/* Streams: their life, and what they are connected to.

   close never waits: what has not been sent is sent in the background while the stream
   lingers, held and with a timer, and whoever runs the loop to its end waits for that. */
#include <errno.h>
#include <string.h>

#include "stream.h"

enum { SWALLOWS = 16 };

/* ---- options ----------------------------------------------------------------------- */

/* Pushes field name of the table at i, or nil. */
static int option(lua_State *L, int i, const char *name)
{
    if (lua_istable(L, i))
        return lua_getfield(L, i, name);
    lua_pushnil(L);
    return LUA_TNIL;
}

static lua_Number number(lua_State *L, int i, const char *name, lua_Number otherwise)
{
    int type = option(L, i, name);
    lua_Number n = type == LUA_TNIL ? otherwise : lua_tonumber(L, -1);
    if (!(n >= 0) || (type != LUA_TNIL && type != LUA_TNUMBER))
        luaL_error(L, "bad option '%s' (number >= 0 expected)", name);
    lua_pop(L, 1);
    return n;
}

static size_t size(lua_State *L, int i, const char *name, size_t otherwise)
{
    lua_Number n = number(L, i, name, (lua_Number)otherwise);
    return n < (lua_Number)(SIZE_MAX / 2) ? (size_t)n : SIZE_MAX / 2;
}

bool lull_stream_flag(lua_State *L, int i, const char *name, bool otherwise)
{
    bool flag = option(L, i, name) == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
    lua_pop(L, 1);
    return flag;
}

struct stream_options lull_stream_options(lua_State *L, int i)
{
    const struct stream_options *usual = &lull_no_outflow.opts;
    return (struct stream_options){
        .limit = size(L, i, "limit", usual->limit),
        .high_water = size(L, i, "high_water", usual->high_water),
        .linger = number(L, i, "linger", usual->linger)};
}

lua_Number lull_checktimeout(lua_State *L, int i)
{
    if (lua_isnoneornil(L, i))
        return -1;
    lua_Number seconds = luaL_checknumber(L, i);
    luaL_argcheck(L, seconds >= 0, i, "must not be negative");
    return seconds;
}

/* ---- birth ------------------------------------------------------------------------- */

static bool is_usual(const struct stream_options *o)
{
    const struct stream_options *usual = &lull_no_outflow.opts;
    return o->limit == usual->limit && o->high_water == usual->high_water &&
           o->linger == usual->linger;
}

struct stream *lull_newstream(lua_State *L, const struct stream_options *opts)
{
    struct stream *s = lull_newobject(L, LULL_STREAM, sizeof *s, 0);
    s->rt = lull_runtime(L);
    lull_io_init(&s->io, -1);
    s->timeout = -1;
    s->out = &lull_no_outflow;
    if (!is_usual(opts)) {
        if (lull_stream_outflow(L, s) == NULL)
            luaL_error(L, "not enough memory");
        s->out->opts = *opts;
    }
    return s;
}

void lull_stream_open(lua_State *L, struct stream *s, int fd,
                      const struct sys_address *peer)
{
    s->io.watch.fd = fd;
    lull_io_own(&s->io);
    s->flags |= peer->size > 0 ? STREAM_OPEN | STREAM_CONNECTED : STREAM_OPEN;
    s->id = ++s->rt->streams;
    lull_own(s->rt, fd, true);
    if (peer->size > 0 && peer->size <= sizeof s->peer && sys_family(peer) != SYS_UNIX) {
        s->peer_size = (uint8_t)peer->size;
        memcpy(s->peer, peer->bytes, peer->size);
    }
}

int lull_stream_adopt(lua_State *L, int i)
{
    int isnumber, fd = (int)lua_tointegerx(L, i, &isnumber);
    if (!isnumber)
        fd = lull_sock_detach(L, lull_runtime(L), i);
    luaL_argcheck(L, fd >= 0, i, "closed already");
    return fd;
}

/* stream (socket | fd [, opts]) -> Stream, which owns the descriptor from now on */
static int stream(lua_State *L)
{
    struct stream_options opts = lull_stream_options(L, 2);
    struct stream *s = lull_newstream(L, &opts);
    int fd = lull_stream_adopt(L, 1);
    struct sys_address peer = {.size = SYS_ADDRESS};
    if (sys_peer(fd, &peer) < 0)
        peer.size = 0;
    lull_stream_open(L, s, fd, &peer);
    return 1;
}

/* ---- recognition ------------------------------------------------------------------- */

static struct stream *checkstream(lua_State *L, int i)
{
    return lull_check(L, lull_runtime(L), i, LULL_STREAM);
}

struct stream *lull_openstream_slowly(lua_State *L, int i)
{
    struct stream *s = checkstream(L, i);
    if (!(s->flags & STREAM_OPEN))
        luaL_error(L, "attempt to use a closed stream");
    return s;
}

/* ---- addresses --------------------------------------------------------------------- */

static int peer_of(const struct stream *s, struct sys_address *a)
{
    a->size = s->peer_size ? s->peer_size : SYS_ADDRESS;
    if (s->peer_size == 0)
        return sys_peer(s->io.watch.fd, a);
    memcpy(a->bytes, s->peer, s->peer_size);
    return 0;
}

int lull_pushaddress(lua_State *L, const struct sys_address *a)
{
    char host[SYS_HOST];
    lua_pushlstring(L, host, sys_host(a, host));
    if (sys_family(a) == SYS_UNIX)
        return 1;
    lua_pushinteger(L, sys_port(a));
    return 2;
}

/* stream:peer () -> host, port | path */
static int stream_peer(lua_State *L)
{
    struct stream *s = lull_openstream(L, 1);
    struct sys_address a;
    int rc = peer_of(s, &a);
    return rc < 0 ? lull_pushfail(L, rc, NULL) : lull_pushaddress(L, &a);
}

/* stream:local_address () -> host, port | path */
static int stream_local_address(lua_State *L)
{
    struct stream *s = lull_openstream(L, 1);
    struct sys_address a = {.size = SYS_ADDRESS};
    int rc = sys_local(s->io.watch.fd, &a);
    return rc < 0 ? lull_pushfail(L, rc, NULL) : lull_pushaddress(L, &a);
}

/* stream:fileno () -> fd */
static int stream_fileno(lua_State *L)
{
    lua_pushinteger(L, lull_openstream(L, 1)->io.watch.fd);
    return 1;
}

/* stream:settimeout (seconds | nil) -> stream: how long each call may take. */
static int stream_settimeout(lua_State *L)
{
    struct stream *s = lull_openstream(L, 1);
    s->timeout = lull_checktimeout(L, 2);
    lua_settop(L, 1);
    return 1;
}

static int stream_tostring(lua_State *L)
{
    struct stream *s = checkstream(L, 1);
    struct sys_address a = {.size = SYS_ADDRESS};
    char local[SYS_TEXT] = "", peer[SYS_TEXT] = "";
    const char *name;
    if (!(s->flags & STREAM_OPEN)) {
        lua_pushfstring(L, "stream %d (closed)", (int)s->id);
        return 1;
    }
    if (sys_local(s->io.watch.fd, &a) == 0)
        sys_text(&a, local);
    if (peer_of(s, &a) == 0)
        sys_text(&a, peer);
    if (*local || *peer)
        lua_pushfstring(L, "stream %d (%s -> %s)", (int)s->id, local, peer);
    else if ((name = lull_stdio_name(L, s)) != NULL)
        lua_pushfstring(L, "stream %d (%s)", (int)s->id, name);
    else
        lua_pushfstring(L, "stream %d (descriptor %d)", (int)s->id, s->io.watch.fd);
    return 1;
}

/* ---- the end ----------------------------------------------------------------------- */

/* Wakes all of a list as an end of the stream does. */
static void cancel_all(lull_loop *loop, lull_list *waiters)
{
    while (!list_empty(waiters)) {
        lull_waiter *w = container_of(waiters->next, lull_waiter, link);
        if (loop)
            lull_wake(loop, w, -ECANCELED);
        else
            lull_forget(w);
    }
}

/* Stops everything but the descriptor itself. */
static int detach(lua_State *L, struct stream *s)
{
    lull_loop *loop = s->io.loop;
    int fd = s->io.watch.fd;
    if (s->out != &lull_no_outflow)
        lull_forget(&s->out->flusher);
    if (loop && s->out != &lull_no_outflow)
        lull_timer_stop(loop, &s->out->patience);
    lull_stream_drop(L, s);
    if (s->flags & STREAM_HELD)
        lull_release(L, s);
    if (s->flags & STREAM_LINGERING && loop)
        lull_linger(loop, -1);
    if (s->out->tls)
        sys_tls_close(s->out->tls);
    s->flags = 0;
    cancel_all(loop, &s->out->writers);
    lull_io_close(&s->io);
    lull_own(s->rt, fd, false);
    s->io.watch.fd = -1;
    return fd;
}

/* A socket that is closed with unread bytes resets the connection, and the peer may not
   get to see what it was sent.  So they are read; who goes on sending is on his own. */
static void swallow(lua_State *L, struct stream *s)
{
    lull_loop *loop = s->io.loop ? s->io.loop : s->rt->loop;
    bool worth = loop && (s->flags & STREAM_CONNECTED) && !(s->flags & STREAM_ENDED);
    char *to = worth ? lull_scratch(L, s->rt) : NULL;
    lull_io_retry(&s->io);
    for (int i = 0; to && i < SWALLOWS; i++)
        if (lull_io_recv(loop, &s->io, to, LULL_SCRATCH) <= 0)
            break;
}

/* Who did not get everything must not take what he has for the whole: he gets a reset.
   Who has made TLS fail is told so by an alert, which a reset might overtake. */
static void finish(lua_State *L, struct stream *s)
{
    bool well = s->out_error == 0 || s->out_error == -SYS_ETLS;
    bool whole = well && lull_stream_whole(s);
    int fd = detach(L, s);
    if (whole)
        sys_close(fd);
    else
        sys_abort(fd);
}

void lull_stream_finish(lua_State *L, struct stream *s)
{
    swallow(L, s);
    finish(L, s);
}

/* No more for the script: what has come is dropped, those who wait are told. */
static void leave(lua_State *L, struct stream *s)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    s->flags &= (uint8_t)~STREAM_OPEN;
    buffer_free(&s->in, alloc, ud);
    if (s->io.loop) {
        cancel_all(s->io.loop, &s->io.readers);
        cancel_all(s->io.loop, &s->out->writers);
    }
}

/* Where nothing else is to be sent, the end is told at once. */
static void notify(struct stream *s)
{
    lull_loop *loop = lull_stream_loop(s);
    bool idle = s->out->head == NULL && !lull_stream_flushes(s);
    if (s->out->tls && loop && idle && sys_tls_notify(s->out->tls, loop) == -EAGAIN)
        lull_io_wait(loop, &s->io, LULL_WRITE, &s->out->flusher);
}

static bool linger(struct stream *s)
{
    lull_loop *loop = s->io.loop;
    if (lull_stream_whole(s) || loop == NULL || !lull_stream_flushes(s))
        return false;
    int64_t deadline = lull_after(loop, s->out->opts.linger);
    if (s->out->opts.linger <= 0 ||
        lull_timer_start(loop, &s->out->patience, deadline, -ETIMEDOUT) < 0)
        return false;
    s->flags |= STREAM_LINGERING;
    lull_linger(loop, 1);
    return true;
}

/* Ends s for the script: never suspends; what was written is still sent. */
static void end(lua_State *L, struct stream *s)
{
    leave(L, s);
    notify(s);
    if (!linger(s))
        lull_stream_finish(L, s);
}

/* At the end of a loop: whoever left a stream open with something to be sent meant it to
   be sent.  True when there were some, which linger now. */
bool lull_close_streams(lua_State *L, struct runtime *rt, lull_loop *loop)
{
    bool any = false;
    lull_pushallheld(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1)) {
        struct stream *s = lull_test(L, rt, -1, LULL_STREAM);
        if (s && (s->flags & (STREAM_OPEN | STREAM_STANDARD)) == STREAM_OPEN &&
            s->io.loop == loop) {
            end(L, s);
            any = true;
        }
    }
    lua_pop(L, 1);
    return any;
}

/* A handshake that has failed closes the stream, once it has been told. */
int lull_stream_fail(lua_State *L, struct stream *s, int rc)
{
    struct sys_address a;
    char text[SYS_TEXT];
    bool known = (s->peer_size || s->io.watch.fd >= 0) && peer_of(s, &a) == 0;
    const char *where = known ? sys_text(&a, text) : "";
    where = *where ? where : lull_stdio_name(L, s);
    if (s->flags & STREAM_OPEN && s->out->tls && sys_tls_failure(s->out->tls)) {
        s->in_error = s->out_error = (int16_t)sys_tls_failure(s->out->tls);
        end(L, s);
    }
    if (rc == -SYS_ETLS)
        return lull_pushcode(L, "ETLS", sys_tls_why(s->out->tls), where);
    return lull_pushfail(L, rc, where);
}

/* stream:close () */
static int stream_close(lua_State *L)
{
    struct stream *s = checkstream(L, 1);
    if (s->flags & STREAM_OPEN)
        end(L, s);
    return 0;
}

/* stream:abort (): drops what was not sent and resets the connection. */
static int stream_abort(lua_State *L)
{
    struct stream *s = checkstream(L, 1);
    if (s->flags & (STREAM_OPEN | STREAM_LINGERING)) {
        leave(L, s);
        sys_abort(detach(L, s));
    }
    return 0;
}

static int stream_gc(lua_State *L)
{
    struct stream *s = lua_touserdata(L, 1);
    if (s->flags & (STREAM_OPEN | STREAM_LINGERING)) {
        leave(L, s);
        notify(s);
        finish(L, s);
    }
    if (s->out == &lull_no_outflow)
        return 0;
    if (s->out->tls)
        sys_tls_free(s->out->tls);
    lull_free_outflow(L, s->out);
    s->out = &lull_no_outflow;
    return 0;
}

/* The writing side ends when the peer has been told, and that may take a handshake. */
static void shut_tls(lua_State *L, struct stream *s, unsigned how)
{
    lull_loop *loop = lull_stream_loop(s);
    if (loop == NULL)
        luaL_error(L, "no loop is running");
    if (how & LULL_READ)
        sys_tls_deafen(s->out->tls);
    if (how & LULL_WRITE && !(s->flags & STREAM_SHUT)) {
        s->flags |= STREAM_SHUT;
        lull_stream_push(L, loop, s);
    }
}

/* stream:shutdown ("read" | "write" | "both") -> stream: the writing side ends when what
   was written has been sent. */
static int stream_shutdown(lua_State *L)
{
    static const char *const names[] = {"read", "write", "both", NULL};
    static const unsigned directions[] = {LULL_READ, LULL_WRITE, LULL_READ | LULL_WRITE};
    struct stream *s = lull_openstream(L, 1);
    unsigned how = directions[luaL_checkoption(L, 2, NULL, names)];
    bool again = s->flags & STREAM_SHUT, pending = s->out->head != NULL;
    if (s->out->tls)
        shut_tls(L, s, how);
    if (how & LULL_WRITE)
        s->flags |= STREAM_SHUT;
    if (again || pending || s->out->tls)
        how &= LULL_READ;
    int rc = how ? lull_stream_shutdown(s, how) : 0;
    if (rc < 0)
        return lull_stream_fail(L, s, rc);
    lua_settop(L, 1);
    return 1;
}

/* ---- opening ----------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"peer", stream_peer},         {"local_address", stream_local_address},
    {"fileno", stream_fileno},     {"settimeout", stream_settimeout},
    {"shutdown", stream_shutdown}, {"close", stream_close},
    {"abort", stream_abort},       {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", stream_gc},
    {"__close", stream_close},
    {"__tostring", stream_tostring},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"stream", stream}, {NULL, NULL}};

void lull_open_stream(lua_State *L)
{
    lull_newclass(L, LULL_STREAM, "Stream", methods, metamethods);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "lull.methods");
    lua_getfield(L, -1, "Stream");
    lull_setfuncs(L, lull_stream_reading);
    lull_setfuncs(L, lull_stream_writing);
    lull_setfuncs(L, lull_stream_relaying);
    lua_pop(L, 2);
    lull_setfuncs(L, functions);
    lull_open_listener(L);
}
