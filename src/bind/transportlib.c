/* What a script does with a transport of either kind: closing, pausing, the marks of the
   write buffer, whom it is connected to. */
#include <string.h>

#include "stream.h"
#include "transport.h"

static struct transport *checktransport(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct transport *t = lull_test(L, rt, 1, LULL_PACKETS);
    return t ? t : lull_check(L, rt, 1, LULL_TRANSPORT);
}

/* transport:close (): connection_lost follows when all has been sent. */
static int close_(lua_State *L)
{
    lull_transport_close(checktransport(L));
    return 0;
}

/* transport:abort (): at once; what was not sent is dropped. */
static int abort_(lua_State *L)
{
    struct transport *t = checktransport(L);
    t->flags |= TRANSPORT_ABORT;
    lull_transport_end(t, 0);
    return 0;
}

static int is_closing(lua_State *L)
{
    lua_pushboolean(L, checktransport(L)->flags & TRANSPORT_CLOSING);
    return 1;
}

/* transport:pause_reading (): nothing is received until resume_reading; both may be
   called twice, or too late. */
static int pause_reading(lua_State *L)
{
    struct transport *t = checktransport(L);
    if (lull_transport_reads(t))
        lull_forget(&t->reader);
    t->flags |= TRANSPORT_PAUSED;
    return 0;
}

static int resume_reading(lua_State *L)
{
    struct transport *t = checktransport(L);
    t->flags &= (uint16_t)~TRANSPORT_PAUSED;
    lull_transport_read(t);
    return 0;
}

/* transport:is_reading () -> boolean: neither paused nor closing, nor at the end */
static int is_reading(lua_State *L)
{
    lua_pushboolean(L, lull_transport_reads(checktransport(L)));
    return 1;
}

/* Field name of the table at 2, a number of bytes, or otherwise. */
static size_t mark(lua_State *L, const char *name, size_t otherwise)
{
    int type = lua_getfield(L, 2, name);
    lua_Number n = type == LUA_TNIL ? (lua_Number)otherwise : lua_tonumber(L, -1);
    if (!(n >= 0) || (type != LUA_TNIL && type != LUA_TNUMBER))
        luaL_error(L, "bad option '%s' (number >= 0 expected)", name);
    lua_pop(L, 1);
    return n < (lua_Number)(SIZE_MAX / 8) ? (size_t)n : SIZE_MAX / 8;
}

/* transport:set_write_buffer_limits ([{high=, low=}]): high is four times low unless
   told, low a quarter of high; without either they are what they were at first. */
static int set_limits(lua_State *L)
{
    struct transport *t = checktransport(L);
    lua_settop(L, 2);
    if (lua_isnil(L, 2)) {
        lua_newtable(L);
        lua_replace(L, 2);
    }
    static const char *const known[] = {"high", "low", NULL};
    lull_checkoptions(L, 2, "set_write_buffer_limits", known);
    bool given = lua_getfield(L, 2, "low") != LUA_TNIL;
    lua_pop(L, 1);
    size_t high = mark(L, "high", given ? 4 * mark(L, "low", 0) : TRANSPORT_HIGH);
    size_t low = mark(L, "low", high / 4);
    luaL_argcheck(L, low <= high, 2, "low is more than high");
    if (t->flags & TRANSPORT_CLOSING)
        return 0;
    struct backlog *b = lull_transport_backlog(t);
    if (b == NULL)
        return luaL_error(L, "not enough memory");
    b->high = high;
    b->low = low;
    lull_transport_wrote(L, t); /* there may be too much by now, */
    if (t->flags & TRANSPORT_FULL && t->kind->queued(t) <= low)
        lull_wake(t->home->core, &b->writer, 0); /* or too much no longer */
    return 0;
}

/* transport:get_write_buffer_size () -> bytes that wait to be sent */
static int buffer_size_(lua_State *L)
{
    struct transport *t = checktransport(L);
    lua_pushinteger(L, (lua_Integer)t->kind->queued(t));
    return 1;
}

static int tls_info(lua_State *L)
{
    if (lua_getiuservalue(L, 1, TRANSPORT_STREAM) != LUA_TUSERDATA ||
        lua_getfield(L, -1, "tls_info") == LUA_TNIL)
        return 0;
    lua_insert(L, -2);
    lua_call(L, 1, 1);
    return 1;
}

/* transport:get_extra_info ("peername" | "sockname") -> host, port | path; also when it
   is closed by now.  ("tls") -> as stream:tls_info, while it is open.  Else nil. */
static int extra_info(lua_State *L)
{
    struct transport *t = checktransport(L);
    const char *name = luaL_checkstring(L, 2);
    bool peer = strcmp(name, "peername") == 0;
    if (peer || strcmp(name, "sockname") == 0) {
        struct sys_address a = peer ? lull_transport_peer(t) : lull_transport_here(t);
        return a.size > 0 ? lull_pushaddress(L, &a) : 0;
    }
    bool open = !(t->flags & TRANSPORT_TOLD) && t->home != NULL;
    return open && strcmp(name, "tls") == 0 ? tls_info(L) : 0;
}

static int tostring(lua_State *L)
{
    struct transport *t = checktransport(L);
    char here[SYS_TEXT] = "", peer[SYS_TEXT] = "";
    struct sys_address from = lull_transport_here(t), to = lull_transport_peer(t);
    if (from.size > 0)
        sys_text(&from, here);
    if (to.size > 0)
        sys_text(&to, peer);
    bool closing = t->flags & TRANSPORT_CLOSING;
    lua_pushfstring(L, "transport %d (%s%s%s%s)", (int)t->id, here, *peer ? " -> " : "",
                    peer,
                    t->home == NULL ? ", closed"
                    : closing       ? ", closing"
                                    : "");
    return 1;
}

static int gc(lua_State *L)
{
    struct transport *t = lua_touserdata(L, 1);
    if (t->home != NULL)
        lull_transport_forget(t);
    if (t->kind != NULL)
        t->kind->close(L, t, 1, true);
    if (t->backlog != NULL && t->backlog != &lull_no_backlog) {
        lull_forget(&t->backlog->writer);
        lull_free_backlog(L, t->backlog);
        t->backlog = &lull_no_backlog;
    }
    return 0;
}

const luaL_Reg lull_transport_methods[] = {
    {"close", close_},
    {"abort", abort_},
    {"is_closing", is_closing},
    {"pause_reading", pause_reading},
    {"resume_reading", resume_reading},
    {"is_reading", is_reading},
    {"set_write_buffer_limits", set_limits},
    {"get_write_buffer_size", buffer_size_},
    {"get_extra_info", extra_info},
    {NULL, NULL},
};

const luaL_Reg lull_transport_metamethods[] = {
    {"__gc", gc}, {"__close", close_}, {"__tostring", tostring}, {NULL, NULL}};

void lull_open_transport(lua_State *L)
{
    lull_setfuncs(L, lull_transport_functions);
    lull_open_stream_transport(L);
    lull_open_packet_transport(L);
}
