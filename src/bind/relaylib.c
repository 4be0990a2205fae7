/* Relays: from one stream to another, without making strings.  No more is read than the
   other side has sent, so nothing piles up, and what has been read has been written.
   Where as much comes as fits the buffer, it is poured through a pipe from then on. */
#include <errno.h>

#include "stream.h"

enum { SHARE = 1024 * 1024 }; /* bytes before others get a turn */

/* The stack of a relay; COPIED are the bytes so far, WINDOW is what pouring remembers. */
enum { FROM = 1, TO, BYTES, DEADLINE, COPIED, WINDOW };

/* Passes on at most `most` bytes: how many, 0 at the end, -EAGAIN: wait, or -errno. */
static ptrdiff_t pass(lua_State *L, struct stream *from, struct stream *to, size_t most)
{
    int rc = buffer_size(&from->in) > 0 ? 1 : lull_stream_fill(L, from, LULL_SCRATCH);
    if (rc <= 0)
        return rc;
    size_t n = buffer_size(&from->in);
    ptrdiff_t done = lull_stream_pass(L, from->rt->loop, to, TO, buffer_bytes(&from->in),
                                      n < most ? n : most);
    if (done > 0)
        lull_stream_take(L, from, (size_t)done);
    return done;
}

/* The same in the best way there is. */
static ptrdiff_t move(lua_State *L, struct stream *from, struct stream *to, size_t most,
                      lua_Integer *window)
{
    ptrdiff_t n = lull_stream_writer(to, 0);
    if (n < 0)
        return n;
    if (*window > 0 && buffer_size(&from->in) == 0 && !(from->flags & STREAM_ENDED)) {
        n = lull_pour(L, from, to, TO, most, window);
        if (n != -EINVAL && n != -EBUSY)
            return n;
        *window = n == -EINVAL ? POUR_NEVER : POUR_NOT_YET;
    }
    n = pass(L, from, to, most);
    if (n == LULL_SCRATCH && *window == POUR_NOT_YET)
        *window = lull_can_pour(from, to) ? n : POUR_NEVER;
    return n;
}

static int relayk(lua_State *L, int status, lua_KContext rc)
{
    struct stream *from = lua_touserdata(L, FROM), *to = lua_touserdata(L, TO);
    lua_Integer before = lua_tointeger(L, COPIED), copied = before;
    lua_Integer window = lua_tointeger(L, WINDOW);
    lua_Integer all = lua_isnil(L, BYTES) ? LUA_MAXINTEGER : lua_tointeger(L, BYTES);
    ptrdiff_t n = lull_stream_reader(L, from, (int)rc);
    while (n >= 0 && copied < all && to->out->queued == 0 && copied - before < SHARE) {
        n = move(L, from, to, (size_t)(all - copied), &window);
        if (n == 0)
            all = copied;
        copied += n > 0 ? n : 0;
    }
    if (n < 0 && n != -EAGAIN)
        return lull_stream_fail(L, to->out_error ? to : from, (int)n);
    lua_settop(L, DEADLINE);
    lua_pushinteger(L, copied);
    if (copied == all)
        return 1;
    lua_pushinteger(L, window);
    if (rc < 0)
        return lull_stream_fail(L, from, (int)rc);
    if (n == -EAGAIN)
        return lull_stream_await(L, from, DEADLINE, relayk);
    if (to->out->queued > 0)
        return lull_stream_await_sent(L, to, lull_until(L, from->timeout, DEADLINE),
                                      relayk);
    return lull_stream_turn(L, from, relayk);
}

/* stream:relay (to [, n]) -> bytes: copies to another stream until the end, or n bytes */
static int relay(lua_State *L)
{
    struct stream *s = lull_openstream(L, FROM);
    lull_openstream(L, TO);
    luaL_argcheck(L, luaL_optinteger(L, BYTES, 0) >= 0, BYTES, "must not be negative");
    if (s->timeout == 0)
        lull_io_retry(&s->io);
    lua_settop(L, DEADLINE);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, POUR_NOT_YET);
    return lull_stream_enter(L, s, relayk);
}

const luaL_Reg lull_stream_relaying[] = {{"relay", relay}, {NULL, NULL}};
