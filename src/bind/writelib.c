/* Writing to streams.  A write is taken whole, as one piece, whatever happens to its
   task, which suspends only while more than the high-water mark waits to be sent. */
#include <errno.h>

#include "stream.h"

/* The stack of a call that writes, once its strings are taken. */
enum { STREAM = 1, DEADLINE, GOAL };

static int await_sent(lua_State *L, struct stream *s, int rc, lua_KFunction k)
{
    if (s->timeout == 0 || rc < 0)
        return lull_stream_fail(L, s, -ETIMEDOUT);
    return lull_stream_await_sent(L, s, lull_until(L, s->timeout, DEADLINE), k);
}

static int lowk(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    int why = lull_stream_writer(s, (int)rc);
    if (why < 0)
        return lull_stream_fail(L, s, why);
    if (s->out->queued > s->out->opts.high_water)
        return await_sent(L, s, (int)rc, lowk);
    lua_settop(L, STREAM);
    return 1;
}

static int take(lua_State *L, struct stream *s)
{
    int why = lull_stream_write(L, s->rt->loop, s);
    if (why < 0)
        return lull_stream_fail(L, s, why);
    lua_settop(L, STREAM);
    bool high = s->out->queued > s->out->opts.high_water;
    return high ? await_sent(L, s, 0, lowk) : 1;
}

static int writek(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    return s->flags & STREAM_OPEN ? take(L, s) : lull_stream_fail(L, s, -ECANCELED);
}

static struct stream *checkwrite(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    for (int i = lua_gettop(L); i > STREAM; i--)
        if (lua_type(L, i) != LUA_TSTRING)
            luaL_checkstring(L, i);
    return s;
}

/* stream:write (...) -> stream: takes it all, suspends while too much waits to be sent */
static int stream_write(lua_State *L)
{
    struct stream *s = checkwrite(L);
    if (s->flags & STREAM_OPEN && lull_may(L, s->rt))
        return take(L, s);
    return lull_enter_slowly(L, s->rt, writek);
}

/* stream:try_write (...) -> stream | nil: never suspends, nor needs a task. */
static int try_write(lua_State *L)
{
    struct stream *s = checkwrite(L);
    lull_loop *loop = s->rt->loop ? s->rt->loop : s->io.loop;
    if (loop == NULL)
        return luaL_error(L, "no loop is running");
    if (s->out->queued > s->out->opts.high_water && s->out_error == 0) {
        lua_pushnil(L);
        return 1;
    }
    int rc = lull_stream_write(L, loop, s);
    if (rc < 0)
        return lull_stream_fail(L, s, rc);
    lua_settop(L, STREAM);
    return 1;
}

static int flushk(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    int why = lull_stream_writer(s, (int)rc);
    if (why < 0)
        return lull_stream_fail(L, s, why);
    if (lua_isnil(L, GOAL)) {
        lua_pushinteger(L, (lua_Integer)(s->out->sent + s->out->queued));
        lua_replace(L, GOAL);
    }
    if ((lua_Integer)s->out->sent < lua_tointeger(L, GOAL))
        return await_sent(L, s, (int)rc, flushk);
    lua_settop(L, STREAM);
    return 1;
}

/* stream:flush () -> stream: suspends until all that was written is with the system. */
static int stream_flush(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    lua_settop(L, GOAL);
    return lull_stream_enter(L, s, flushk);
}

const luaL_Reg lull_stream_writing[] = {
    {"write", stream_write},
    {"try_write", try_write},
    {"flush", stream_flush},
    {NULL, NULL},
};
