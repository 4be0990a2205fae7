/* Transports over streams: what comes is handed to data_received, what is written goes
   through the stream's queue.  The stream does all the work; a waiter of the transport
   stands where a task would, so whatever is a stream (TCP, Unix, TLS) is a transport. */
#include <errno.h>

#include "stream.h"
#include "transport.h"

enum { RECEIVES = 8 }; /* of one transport before others get a turn */

struct stream_transport {
    struct transport t; /* first */
    struct stream *s;   /* kept alive by a uservalue */
};

static struct stream *stream_of(const struct transport *t)
{
    return ((const struct stream_transport *)(const void *)t)->s;
}

/* ---- receiving --------------------------------------------------------------------- */

/* The next bytes, as a string on the stack: > 0; 0 at the end; or -errno. */
static int receive(lua_State *L, struct stream *s)
{
    if (buffer_size(&s->in) == 0) {
        int n = lull_stream_fill(L, s, LULL_SCRATCH);
        if (n <= 0)
            return n;
    }
    size_t size = buffer_size(&s->in);
    lua_pushlstring(L, buffer_bytes(&s->in), size);
    lull_stream_take(L, s, size);
    return 1;
}

/* The peer has nothing more to say, and neither have we unless the protocol wants to. */
static void come_to_end(lua_State *L, struct transport *t)
{
    t->flags |= TRANSPORT_AT_END;
    if (lull_transport_call(L, t, "eof_received", 0, true) && !lua_toboolean(L, -1))
        lull_transport_close(t);
}

/* (transport): hands on what is there. */
static int read_all(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    struct stream *s = stream_of(t);
    int n = 1;
    for (int i = 0; i < RECEIVES && lull_transport_reads(t); i++) {
        n = receive(L, s);
        if (n <= 0)
            break;
        lull_transport_call(L, t, "data_received", 1, false);
    }
    if (n == 0)
        come_to_end(L, t);
    else if (n == -EAGAIN)
        n = lull_io_wait(t->home->core, &s->io, LULL_READ, &t->reader);
    if (n > 0)
        lull_transport_read(t);
    if (n < 0) {
        t->flags |= TRANSPORT_ABORT;
        lull_transport_end(t, n);
    }
    t->flags &= (uint16_t)~TRANSPORT_BUSY;
    return 0;
}

static void ready(lull_loop *loop, lull_waiter *w)
{
    struct transport *t = container_of(w, struct transport, reader);
    int rc = w->status;
    if (rc == 0) {
        t->flags |= TRANSPORT_BUSY;
        lull_callback(lull_loop_user(loop), read_all, t);
        rc = t->flags & TRANSPORT_BUSY ? -ENOMEM : 0;
        t->flags &= (uint16_t)~TRANSPORT_BUSY;
    }
    if (rc == 0)
        return;
    t->flags |= TRANSPORT_ABORT;
    lull_transport_end(t, rc);
}

/* ---- sending ----------------------------------------------------------------------- */

static size_t queued(const struct transport *t)
{
    return stream_of(t)->out->queued;
}

static lua_Number linger(const struct transport *t)
{
    return stream_of(t)->out->opts.linger;
}

static int failure(const struct transport *t)
{
    return stream_of(t)->out_error;
}

/* Among those who write to the stream: they are woken when its mark is reached. */
static void await_sent(struct transport *t)
{
    struct stream *s = stream_of(t);
    s->out->opts.high_water = lull_transport_low(t);
    lull_waiter *w = &t->backlog->writer;
    if (!list_empty(&w->link))
        return;
    lull_wait(w);
    list_push(&s->out->writers, &w->link);
}

/* The transport at 1, and whether it still takes something. */
static struct transport *checkwrite(lua_State *L, bool *takes)
{
    struct transport *t = lull_check(L, lull_runtime(L), 1, LULL_TRANSPORT);
    *takes = !(t->flags & TRANSPORT_CLOSING);
    if (*takes && t->flags & TRANSPORT_SHUT)
        luaL_error(L, "attempt to write after write_eof");
    return t;
}

/* Writes the strings from 2 to the top. */
static int write_all(lua_State *L, struct transport *t)
{
    lua_getiuservalue(L, 1, TRANSPORT_STREAM);
    lua_replace(L, 1);
    int rc = lull_stream_write(L, t->home->core, stream_of(t));
    if (rc < 0) {
        t->flags |= TRANSPORT_ABORT;
        lull_transport_end(t, rc);
    }
    lull_transport_wrote(L, t);
    return 0;
}

/* transport:write (...): never suspends; what comes after close is dropped. */
static int write_(lua_State *L)
{
    bool takes;
    struct transport *t = checkwrite(L, &takes);
    for (int i = lua_gettop(L); i > 1; i--)
        luaL_checkstring(L, i);
    return takes ? write_all(L, t) : 0;
}

/* transport:writelines (list): as one piece */
static int writelines(lua_State *L)
{
    bool takes;
    struct transport *t = checkwrite(L, &takes);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    lua_Integer n = luaL_len(L, 2);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    for (lua_Integer i = 1; i <= n; i++) {
        if (lua_geti(L, 2, i) != LUA_TSTRING && !lua_isstring(L, -1))
            return luaL_error(L, "bad argument #1 to 'writelines' (item %d is no string)",
                              (int)i);
        luaL_addvalue(&b);
    }
    luaL_pushresult(&b);
    lua_replace(L, 2);
    lua_settop(L, 2);
    return takes ? write_all(L, t) : 0;
}

/* transport:write_eof (): the writing side ends when all has been sent. */
static int write_eof(lua_State *L)
{
    struct transport *t = lull_check(L, lull_runtime(L), 1, LULL_TRANSPORT);
    if (t->flags & (TRANSPORT_CLOSING | TRANSPORT_SHUT))
        return 0;
    t->flags |= TRANSPORT_SHUT;
    lua_getiuservalue(L, 1, TRANSPORT_STREAM);
    lua_getfield(L, -1, "shutdown");
    lua_insert(L, -2);
    lua_pushliteral(L, "write");
    lua_call(L, 2, 0); /* that the peer has gone comes out by itself */
    return 0;
}

/* ---- the end ----------------------------------------------------------------------- */

static void end(lua_State *L, struct transport *t, int i, bool abort)
{
    lua_getiuservalue(L, i, TRANSPORT_STREAM);
    lua_getfield(L, -1, abort ? "abort" : "close");
    lua_insert(L, -2);
    lua_call(L, 1, 0);
    (void)t;
}

static void describe(lua_State *L, struct transport *t, int rc)
{
    lull_stream_fail(L, stream_of(t), rc);
    lua_pop(L, 1);
    lua_replace(L, -2);
}

static const struct transport_kind over_streams = {
    sizeof(struct stream_transport), queued, await_sent, linger, failure, end, describe};

/* transport (stream, protocol [, on_end]) -> Transport: calls connection_made. */
static int transport(lua_State *L)
{
    struct stream *s = lull_openstream(L, 1);
    luaL_checkany(L, 2);
    if (lull_runtime(L)->loop == NULL)
        return luaL_error(L, "no loop is running");
    lull_stream_reader(L, s, 0); /* raises when a task is reading */
    lua_settop(L, 3);
    struct transport_ends ends;
    lull_transport_ends(&ends, s->io.watch.fd);
    struct stream_transport *t =
        lull_newobject(L, LULL_TRANSPORT, lull_transport_size(&over_streams, &ends),
                       TRANSPORT_STREAM);
    t->s = s;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, TRANSPORT_STREAM);
    lull_waiter_init(&t->t.reader, ready);
    lull_transport_open(L, &t->t, 2, &over_streams, &ends);
    lull_transport_begin(L, &t->t);
    return 1;
}

static const luaL_Reg methods[] = {
    {"write", write_},
    {"writelines", writelines},
    {"write_eof", write_eof},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {{"transport", transport}, {NULL, NULL}};

void lull_open_stream_transport(lua_State *L)
{
    lull_newclass(L, LULL_TRANSPORT, "Transport", methods, lull_transport_metamethods);
    lull_addmethods(L, LULL_TRANSPORT, lull_transport_methods);
    lull_setfuncs(L, functions);
}
