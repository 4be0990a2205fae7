/* Reading from streams, in the formats of Lua's own files.

   An item is looked for in the buffer; where it is not there yet, more is received, and
   where nothing more is there the task parks and looks again.  Until an item is complete
   nothing has been taken, so a read that is cancelled, times out or fails has consumed
   nothing: all that it keeps over a suspension is how far it has searched. */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "lines.h"
#include "scan.h"
#include "stream.h"

enum {
    ROOM = 4096,  /* asked for when a line is not complete */
    RECEIVES = 16 /* of one call before others get a turn */
};

/* The stack of a call that reads one item: its arguments, then what it must remember. */
enum { STREAM = 1, ARGUMENT, MAXIMUM, DEADLINE, SEARCHED, TOP = SEARCHED };

enum { TURN = LONG + 1 }; /* a verdict: others must have their turn first */

/* How much is worth asking for, with n bytes of the item there. */
static size_t hope(const struct want *w, size_t n)
{
    if (w->kind == ALL)
        return LULL_SCRATCH;
    if (w->kind != COUNT && w->kind != EXACTLY)
        return ROOM;
    return w->count - n < LULL_SCRATCH ? w->count - n : LULL_SCRATCH;
}

/* Looks for an item behind the first `skip` bytes, receiving as long as something comes.
   Returns a verdict, or -errno. */
static int seek(lua_State *L, struct stream *s, const struct want *w, size_t skip,
                size_t *searched, struct item *item)
{
    for (int i = 0; i < RECEIVES; i++) {
        size_t n = buffer_size(&s->in) - skip;
        bool ended = (s->flags & STREAM_ENDED) && s->in_error == 0;
        enum verdict v =
            lull_scan(w, buffer_bytes(&s->in) + skip, n, ended, searched, item);
        if (v != MORE)
            return v;
        int rc = lull_stream_fill(L, s, hope(w, n));
        if (rc < 0)
            return rc == -EAGAIN ? MORE : rc;
    }
    return TURN;
}

/* ---- one item ---------------------------------------------------------------------- */

static void push(lua_State *L, const struct want *w, const char *p,
                 const struct item *item)
{
    if (w->kind != NUMBER) {
        lua_pushlstring(L, p + item->from, item->size);
        return;
    }
    char text[LULL_NUMERAL + 1];
    memcpy(text, p + item->from, item->size);
    text[item->size] = '\0';
    if (memchr(text, '\0', item->size) || !lua_stringtonumber(L, text))
        lua_pushnil(L);
}

/* What a call returns that has found nothing, or must go on later. */
static int otherwise(lua_State *L, struct stream *s, int verdict, int rc, int slot,
                     lua_KFunction k)
{
    switch (verdict) {
    case MORE:
        lull_stream_give_back(L, s);
        return rc == 0 ? lull_stream_await(L, s, slot, k) : lull_stream_fail(L, s, rc);
    case TURN:
        lull_stream_give_back(L, s);
        return lull_stream_turn(L, s, k);
    case NOTHING:
        lua_pushnil(L);
        return 1;
    case EARLY:
        lull_stream_give_back(L, s);
        return lull_pushcode(L, "EOF", "the stream ended too early", NULL);
    default:
        lull_stream_give_back(L, s);
        return lull_stream_fail(L, s, verdict == LONG ? -EMSGSIZE : verdict);
    }
}

/* Reads one item.  Where the line end was searched is a fact about the buffer, and stays
   with it; how far other searches came is this call's. */
static int read_item(lua_State *L, int rc, const struct want *w, lua_KFunction k)
{
    struct stream *s = lua_touserdata(L, STREAM);
    if (lull_stream_fresh(s, rc) && lull_stream_receive(L, s) == -EAGAIN)
        return lull_stream_await(L, s, DEADLINE, k);
    struct item item;
    bool line = w->kind == LINE || w->kind == LINE_KEPT;
    bool counts = w->kind == UNTIL || w->kind == NUMBER;
    size_t mine = counts ? (size_t)lua_tointeger(L, SEARCHED) : 0;
    int v = lull_stream_reader(L, s, rc);
    if (v == 0)
        v = seek(L, s, w, 0, line ? &s->scanned : &mine, &item);
    if (v == FOUND) {
        push(L, w, buffer_bytes(&s->in), &item);
        lull_stream_take(L, s, item.used);
        return 1;
    }
    if (counts) {
        lua_pushinteger(L, (lua_Integer)mine);
        lua_replace(L, SEARCHED);
    }
    return otherwise(L, s, v, rc, DEADLINE, k);
}

/* The stream of a call that reads, its arguments checked by now. */
static struct stream *begin(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    if (s->timeout == 0)
        lull_io_retry(&s->io);
    return s;
}

static int read_somek(lua_State *L, int status, lua_KContext rc)
{
    lua_Integer max = lua_tointeger(L, ARGUMENT);
    struct want w = {SOME, max > 0 ? (size_t)max : SIZE_MAX, NULL, 0};
    return read_item(L, (int)rc, &w, read_somek);
}

static int read_any(lua_State *L, struct stream *s, int rc);

static int any_woken(lua_State *L, int status, lua_KContext stream)
{
    struct stream *s = (struct stream *)stream;
    if (s->rt->task->scope->cancelled)
        return lull_raisecancel(L, s->rt);
    return read_any(L, s, s->rt->task->waiter.status);
}

/* All that is there, without a time limit: the way of an echo, written out. */
static int read_any(lua_State *L, struct stream *s, int rc)
{
    struct runtime *rt = s->rt;
    int n = lull_stream_fresh(s, rc) ? lull_stream_receive(L, s) : 0;
    if (n > 0) {
        lua_pushlstring(L, s->in.data, (size_t)n);
        lull_stream_take(L, s, (size_t)n);
        return 1;
    }
    if (n != -EAGAIN || s->timeout >= 0)
        return read_somek(L, LUA_OK, rc);
    rc = lull_io_wait(rt->loop, &s->io, LULL_READ, &rt->task->waiter);
    return rc < 0 ? read_somek(L, LUA_OK, rc)
                  : lull_park_raw(L, rt, (lua_KContext)s, any_woken);
}

/* stream:read_some ([max]) -> data | nil: what is there now, at least one byte. */
static int read_some(lua_State *L)
{
    struct stream *s = begin(L);
    if (lua_gettop(L) == STREAM && lull_may(L, s->rt))
        return read_any(L, s, 0);
    luaL_argcheck(L, luaL_optinteger(L, ARGUMENT, 1) > 0, ARGUMENT, "must be positive");
    lua_settop(L, ARGUMENT);
    return lull_enter_slowly(L, s->rt, read_somek);
}

static int read_exactlyk(lua_State *L, int status, lua_KContext rc)
{
    struct want w = {EXACTLY, (size_t)lua_tointeger(L, ARGUMENT), NULL, 0};
    if (w.count == 0) {
        lua_pushliteral(L, "");
        return 1;
    }
    return read_item(L, (int)rc, &w, read_exactlyk);
}

/* stream:read_exactly (n) -> data | nil [, "EOF: ...", "EOF"] */
static int read_exactly(lua_State *L)
{
    struct stream *s = begin(L);
    luaL_argcheck(L, luaL_checkinteger(L, ARGUMENT) >= 0, ARGUMENT,
                  "must not be negative");
    lua_settop(L, TOP);
    return lull_stream_enter(L, s, read_exactlyk);
}

static int read_untilk(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    struct want w = {.kind = UNTIL, .count = s->out->opts.limit};
    w.mark = lua_tolstring(L, ARGUMENT, &w.length);
    if (!lua_isnil(L, MAXIMUM))
        w.count = (size_t)lua_tointeger(L, MAXIMUM);
    return read_item(L, (int)rc, &w, read_untilk);
}

/* stream:read_until (delimiter [, max]) -> data with the delimiter | nil */
static int read_until(lua_State *L)
{
    size_t length;
    struct stream *s = begin(L);
    luaL_checklstring(L, ARGUMENT, &length);
    luaL_argcheck(L, length > 0, ARGUMENT, "must not be empty");
    luaL_argcheck(L, luaL_optinteger(L, MAXIMUM, 1) > 0, MAXIMUM, "must be positive");
    lua_settop(L, TOP);
    return lull_stream_enter(L, s, read_untilk);
}

/* ---- formats ----------------------------------------------------------------------- */

/* The format at i; none is a line. */
static struct want format(lua_State *L, int i, const struct stream *s)
{
    if (lua_type(L, i) == LUA_TNUMBER) {
        lua_Integer n = luaL_checkinteger(L, i);
        luaL_argcheck(L, n >= 0, i, "must not be negative");
        return (struct want){COUNT, (size_t)n, NULL, 0};
    }
    const char *name = luaL_optstring(L, i, "l");
    switch (name[*name == '*']) { /* io still takes the star of Lua 5.2 */
    case 'l':
        return (struct want){LINE, s->out->opts.limit, NULL, 0};
    case 'L':
        return (struct want){LINE_KEPT, s->out->opts.limit, NULL, 0};
    case 'n':
        return (struct want){NUMBER, s->out->opts.limit, NULL, 0};
    case 'a':
        return (struct want){ALL, SIZE_MAX, NULL, 0};
    default:
        luaL_argerror(L, i, "invalid format");
        return (struct want){0};
    }
}

static int readk(lua_State *L, int status, lua_KContext rc)
{
    struct want w = format(L, ARGUMENT, lua_touserdata(L, STREAM));
    return read_item(L, (int)rc, &w, readk);
}

/* Several items: each takes the place of its format in the Lua stack, and they are taken
   off the buffer all together at the end.  Behind them stands what must be remembered:
   the deadline, how far was searched, the formats done, the bytes that they use. */
enum { MEMORY = 4 };

static void remember(lua_State *L, int slot, lua_Integer n)
{
    lua_pushinteger(L, n);
    lua_replace(L, slot);
}

static int read_items(lua_State *L, int rc, lua_KFunction k)
{
    struct stream *s = lua_touserdata(L, STREAM);
    int last = lua_gettop(L) - MEMORY, deadline = last + 1;
    int i = (int)lua_tointeger(L, last + 3);
    size_t searched = (size_t)lua_tointeger(L, last + 2);
    size_t used = (size_t)lua_tointeger(L, last + 4);
    int v = lull_stream_reader(L, s, rc);
    for (; v == 0 && i < last; i++, searched = 0) {
        struct item item;
        struct want w = format(L, i + 1, s);
        v = seek(L, s, &w, used, &searched, &item);
        if (v != FOUND && v != NOTHING)
            break;
        if (v == FOUND)
            push(L, &w, buffer_bytes(&s->in) + used, &item);
        else
            lua_pushnil(L);
        v = lua_isnil(L, -1) ? NOTHING : FOUND;
        used += v == FOUND || w.kind == NUMBER ? item.used : 0;
        lua_replace(L, i + 1);
        if (!(s->flags & STREAM_OPEN)) /* closed by a finalizer */
            return lull_stream_fail(L, s, -ECANCELED);
    }
    if (v == FOUND || v == NOTHING) {
        lull_stream_take(L, s, used);
        lua_settop(L, i);
        return i - 1;
    }
    remember(L, last + 2, (lua_Integer)searched);
    remember(L, last + 3, i);
    remember(L, last + 4, (lua_Integer)used);
    return otherwise(L, s, v, rc, deadline, k);
}

static int read_itemsk(lua_State *L, int status, lua_KContext rc)
{
    return read_items(L, (int)rc, read_itemsk);
}

/* Makes the stack for the formats on it; true: there are several. */
static bool prepare(lua_State *L, struct stream *s)
{
    int n = lua_gettop(L) - 1;
    for (int i = 0; i < n; i++)
        format(L, i + 2, s);
    if (n <= 1) {
        lua_settop(L, TOP);
        return false;
    }
    luaL_checkstack(L, MEMORY + 4, "too many formats");
    lua_pushnil(L);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, 1);
    lua_pushinteger(L, 0);
    return true;
}

/* stream:read (...) -> an item for each format, as file:read; "l" takes "\r\n" off too */
static int stream_read(lua_State *L)
{
    struct stream *s = begin(L);
    return lull_stream_enter(L, s, prepare(L, s) ? read_itemsk : readk);
}

/* ---- lines ------------------------------------------------------------------------- */

static int linek(lua_State *L, int status, lua_KContext rc)
{
    struct want w = format(L, ARGUMENT, lua_touserdata(L, STREAM));
    return lull_end_lines(L, read_item(L, (int)rc, &w, linek));
}

static int linesk(lua_State *L, int status, lua_KContext rc)
{
    return lull_end_lines(L, read_items(L, (int)rc, linesk));
}

static int next_line(lua_State *L)
{
    lull_begin_lines(L, MEMORY + 4);
    struct stream *s = lua_touserdata(L, STREAM);
    if (!(s->flags & STREAM_OPEN))
        return 0;
    s = begin(L);
    return lull_stream_enter(L, s, prepare(L, s) ? linesk : linek);
}

/* stream:lines (...) -> iterator, as file:lines */
static int lines(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    for (int i = 2; i <= lua_gettop(L); i++)
        format(L, i, s);
    return lull_push_lines(L, next_line);
}

const luaL_Reg lull_stream_reading[] = {
    {"read", stream_read},      {"read_some", read_some}, {"read_exactly", read_exactly},
    {"read_until", read_until}, {"lines", lines},         {NULL, NULL},
};
