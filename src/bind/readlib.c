/* Reading from streams, in the formats of Lua's own files.

   An item is looked for in the buffer; where it is not there yet, more is received, and
   where nothing more is there the task parks and looks again.  Until an item is complete
   nothing has been taken, so a read that is cancelled, times out or fails has consumed
   nothing: all that it keeps over a suspension is how far it has searched. */
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "stream.h"

enum {
    NUMERAL = 200,    /* the longest numeral, as in io */
    ROOM = 4096,      /* asked for when a line is not complete */
    RECEIVES = 16     /* of one call before others get a turn */
};

/* ---- what is asked for, and whether it is there ----------------------------------------- */

enum kind { SOME, LINE, LINE_KEPT, NUMBER, ALL, COUNT, EXACTLY, UNTIL };

struct want {
    enum kind kind;
    size_t count;     /* bytes: wanted, or at most */
    const char *mark; /* what it ends with */
    size_t length;    /* of the mark */
};

/* An item in a run of bytes, and how many of them it uses up. */
struct item {
    size_t size, from, used;
};

enum verdict { FOUND, MORE, NOTHING, EARLY, LONG, TURN };

static enum verdict scan_line(const struct want *w, const char *p, size_t n, bool ended,
                              size_t *searched, struct item *item)
{
    const char *end = memchr(p + *searched, '\n', n - *searched);
    size_t size = end ? (size_t)(end - p) : n;
    bool cr = size > 0 && p[size - 1] == '\r' && (end || !ended);
    if (size - cr > w->count)
        return LONG;
    if (!end && !ended) {
        *searched = n;
        return MORE;
    }
    item->used = size + (end != NULL);
    item->size = w->kind == LINE_KEPT ? item->used : size - cr;
    return FOUND;
}

static enum verdict scan_until(const struct want *w, const char *p, size_t n, bool ended,
                               size_t *searched, struct item *item)
{
    size_t back = *searched >= w->length ? *searched - (w->length - 1) : 0;
    const char *end = memmem(p + back, n - back, w->mark, w->length);
    item->size = item->used = end ? (size_t)(end - p) + w->length : n;
    if (item->used > w->count || (!end && n == w->count))
        return LONG;
    if (end)
        return FOUND;
    *searched = n;
    return ended ? EARLY : MORE;
}

/* Goes over the characters of a numeral. */
struct cursor {
    const char *at, *end, *stop; /* stop: where it gets too long */
    bool more, overlong;         /* came to the end of what is there; to stop */
};

static int look(struct cursor *c)
{
    if (c->at == c->end)
        c->more = true;
    return c->at == c->end ? 0 : (unsigned char)*c->at;
}

static bool step(struct cursor *c)
{
    if (c->at == c->stop)
        c->overlong = true;
    else
        c->at++;
    return !c->overlong;
}

static bool skip(struct cursor *c, const char *set)
{
    int here = look(c);
    return here != 0 && strchr(set, here) && step(c);
}

static int skip_digits(struct cursor *c, bool hex)
{
    const char *from = c->at;
    while ((hex ? isxdigit(look(c)) : isdigit(look(c))) && step(c))
        ;
    return c->at > from;
}

/* As far as these characters could be a numeral; whether they are one lua_stringtonumber
   knows.  As in io, what has been looked at is used up even if they are not. */
static void walk(struct cursor *c)
{
    skip(c, "+-");
    bool zero = skip(c, "0"), hex = zero && skip(c, "xX");
    int digits = zero && !hex;
    digits |= skip_digits(c, hex);
    if (skip(c, "."))
        digits |= skip_digits(c, hex);
    if (digits && skip(c, hex ? "pP" : "eE")) {
        skip(c, "+-");
        skip_digits(c, false);
    }
}

static enum verdict scan_number(const struct want *w, const char *p, size_t n, bool ended,
                                size_t *searched, struct item *item)
{
    size_t from = *searched;
    while (from < n && isspace((unsigned char)p[from]))
        from++;
    *searched = from;
    if (from > w->count)
        return LONG;
    struct cursor c = {.at = p + from, .end = p + n, .stop = p + from + NUMERAL};
    walk(&c);
    if (c.more && !ended)
        return MORE;
    item->from = from;
    item->used = (size_t)(c.at - p);
    item->size = c.overlong ? 0 : item->used - from;
    return FOUND;
}

/* Is the item complete in these n > 0 bytes?  searched: how many of them are done with. */
static inline enum verdict scan(const struct want *w, const char *p, size_t n, bool ended,
                                size_t *searched, struct item *item)
{
    item->from = 0;
    item->size = item->used = n < w->count ? n : w->count;
    switch (w->kind) {
    case SOME:
        return FOUND;
    case LINE:
    case LINE_KEPT:
        return scan_line(w, p, n, ended, searched, item);
    case NUMBER:
        return scan_number(w, p, n, ended, searched, item);
    case ALL:
        return ended ? FOUND : MORE;
    case COUNT:
        return n >= w->count || ended ? FOUND : MORE;
    case EXACTLY:
        return n >= w->count ? FOUND : ended ? EARLY : MORE;
    default:
        return scan_until(w, p, n, ended, searched, item);
    }
}

/* The same where there are no bytes. */
static enum verdict scan_nothing(const struct want *w, bool ended, struct item *item)
{
    *item = (struct item){0};
    return !ended ? MORE : w->kind == ALL ? FOUND : NOTHING;
}

/* ---- receiving ---------------------------------------------------------------------------- */

/* Gives the scratch back where it was borrowed; a block of that size is as good as it.
   What is left over moves to a block of its own, or keeps this one: there will be others. */
static void give_back(lua_State *L, struct stream *s)
{
    size_t n = buffer_size(&s->in);
    if (s->in.capacity != LULL_SCRATCH || s->rt->scratch != NULL || n > LULL_SCRATCH / 2)
        return;
    struct buffer own = {0};
    if (n > 0) {
        void *ud;
        lua_Alloc alloc = lua_getallocf(L, &ud);
        if (buffer_reserve(&own, n, alloc, ud) == NULL)
            return;
        memcpy(own.data, buffer_bytes(&s->in), n);
        buffer_commit(&own, n);
    }
    s->rt->scratch = buffer_disown(&s->in);
    s->in = own;
}

/* After a receive that brought no bytes. */
static int note(struct stream *s, int n)
{
    if (n == -EAGAIN)
        return n;
    s->flags |= STREAM_ENDED;
    return s->in_error = (int16_t)n;
}

/* Receives into the scratch, which is the empty buffer then. */
static inline int fill_empty(lua_State *L, struct stream *s)
{
    struct runtime *rt = s->rt;
    char *to = lull_scratch(L, rt);
    if (to == NULL)
        return -ENOMEM;
    int n = lull_io_recv(rt->loop, &s->io, to, LULL_SCRATCH);
    if (n <= 0)
        return note(s, n);
    rt->scratch = NULL;
    buffer_adopt(&s->in, to, (size_t)n, LULL_SCRATCH);
    return n;
}

int lull_stream_fill(lua_State *L, struct stream *s, size_t size)
{
    if (s->flags & STREAM_ENDED)
        return s->in_error;
    if (s->in.data == NULL)
        return fill_empty(L, s);
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    char *to = buffer_reserve(&s->in, size, alloc, ud);
    if (to == NULL)
        return -ENOMEM;
    int n = lull_io_recv(s->rt->loop, &s->io, to, buffer_room(&s->in));
    if (n <= 0)
        return note(s, n);
    buffer_commit(&s->in, (size_t)n);
    return n;
}

static void take_slowly(lua_State *L, struct stream *s, size_t n)
{
    if (n > buffer_size(&s->in)) /* closed by a finalizer while the string was made */
        return;
    s->in.from += n;
    s->scanned = s->scanned > n ? s->scanned - n : 0;
    give_back(L, s);
    if (s->in.data != NULL && buffer_size(&s->in) == 0) {
        void *ud;
        lua_Alloc alloc = lua_getallocf(L, &ud);
        buffer_free(&s->in, alloc, ud);
    }
}

/* Takes n bytes; most often they are all, and lie in the scratch. */
static inline void take(lua_State *L, struct stream *s, size_t n)
{
    bool borrowed = s->in.capacity == LULL_SCRATCH && s->rt->scratch == NULL;
    if (n != buffer_size(&s->in) || !borrowed) {
        take_slowly(L, s, n);
        return;
    }
    s->rt->scratch = buffer_disown(&s->in);
    s->scanned = 0;
}

void lull_stream_take(lua_State *L, struct stream *s, size_t n)
{
    take(L, s, n);
}

int lull_stream_reader(lua_State *L, struct stream *s, int rc)
{
    if (rc < 0)
        return rc;
    if (!(s->flags & STREAM_OPEN))
        return -ECANCELED;
    if (!list_empty(&s->io.readers))
        return luaL_error(L, "another task is reading");
    return 0;
}

static inline int await(lua_State *L, struct stream *s, int slot, lua_KFunction k)
{
    if (s->timeout < 0)
        return lull_await_io(L, &s->io, LULL_READ, LULL_FOREVER, k);
    if (s->timeout == 0)
        return lull_stream_fail(L, s, -ETIMEDOUT);
    return lull_await_io(L, &s->io, LULL_READ, lull_until(L, s->timeout, slot), k);
}

int lull_stream_await(lua_State *L, struct stream *s, int slot, lua_KFunction k)
{
    give_back(L, s);
    return await(L, s, slot, k);
}

/* How much is worth asking for, with n bytes of the item there. */
static size_t hope(const struct want *w, size_t n)
{
    if (w->kind == ALL)
        return LULL_SCRATCH;
    if (w->kind != COUNT && w->kind != EXACTLY)
        return ROOM;
    return w->count - n < LULL_SCRATCH ? w->count - n : LULL_SCRATCH;
}

/* Looks for an item behind the first `skip` bytes, receiving as long as there is something
   to receive.  Returns a verdict, or -errno. */
static int seek(lua_State *L, struct stream *s, const struct want *w, size_t skip,
                size_t *searched, struct item *item)
{
    for (int i = 0; i < RECEIVES; i++) {
        size_t n = buffer_size(&s->in) - skip;
        bool ended = (s->flags & STREAM_ENDED) && s->in_error == 0;
        enum verdict v =
            n > 0 ? scan(w, buffer_bytes(&s->in) + skip, n, ended, searched, item)
                  : scan_nothing(w, ended, item);
        if (v != MORE)
            return v;
        int rc = lull_stream_fill(L, s, hope(w, n));
        if (rc < 0)
            return rc == -EAGAIN ? MORE : rc;
    }
    return TURN;
}

/* ---- one item ----------------------------------------------------------------------------- */

static void push(lua_State *L, const struct want *w, const char *p, const struct item *item)
{
    if (w->kind != NUMBER) {
        lua_pushlstring(L, p + item->from, item->size);
        return;
    }
    char text[NUMERAL + 1];
    memcpy(text, p + item->from, item->size);
    text[item->size] = '\0';
    if (memchr(text, '\0', item->size) || !lua_stringtonumber(L, text))
        lua_pushnil(L);
}

/* What a call returns that has found nothing, or must go on later. */
static int otherwise(lua_State *L, struct stream *s, int verdict,
                     int slot, lua_KFunction k)
{
    switch (verdict) {
    case MORE:
        return lull_stream_await(L, s, slot, k);
    case TURN:
        give_back(L, s);
        s->rt->budget = 0;
        return lull_enter(L, k);
    case NOTHING:
        lua_pushnil(L);
        return 1;
    case EARLY:
        give_back(L, s);
        return lull_pushcode(L, "EOF", "the stream ended too early", NULL);
    default:
        give_back(L, s);
        return lull_stream_fail(L, s, verdict == LONG ? -EMSGSIZE : verdict);
    }
}

/* The stack of a call that reads one item: its arguments, then what it must remember. */
enum { STREAM = 1, ARGUMENT, MAXIMUM, DEADLINE, SEARCHED, TOP = SEARCHED };

/* Nothing is left over, and nothing speaks against receiving. */
static inline bool fresh(const struct stream *s, int rc)
{
    return rc == 0 && (s->flags & (STREAM_OPEN | STREAM_ENDED)) == STREAM_OPEN &&
           s->in.data == NULL && list_empty(&s->io.readers);
}

/* Reads one item.  Where the line end was searched is a fact about the buffer, and stays
   with it; how far other searches came is this call's. */
static inline int read_item(lua_State *L, int rc, const struct want *w, lua_KFunction k)
{
    struct stream *s = lua_touserdata(L, STREAM);
    if (fresh(s, rc) && fill_empty(L, s) == -EAGAIN)
        return await(L, s, DEADLINE, k);
    struct item item;
    bool line = w->kind == LINE || w->kind == LINE_KEPT;
    bool counts = w->kind == UNTIL || w->kind == NUMBER;
    size_t mine = counts ? (size_t)lua_tointeger(L, SEARCHED) : 0;
    size_t *searched = line ? &s->scanned : &mine, n = buffer_size(&s->in);
    int v = lull_stream_reader(L, s, rc);
    if (v == 0)
        v = n > 0 ? (int)scan(w, buffer_bytes(&s->in), n, false, searched, &item) : MORE;
    if (v == MORE)
        v = seek(L, s, w, 0, searched, &item);
    if (v == FOUND) {
        push(L, w, buffer_bytes(&s->in), &item);
        take(L, s, item.used);
        return 1;
    }
    if (counts) {
        lua_pushinteger(L, (lua_Integer)mine);
        lua_replace(L, SEARCHED);
    }
    return otherwise(L, s, v, DEADLINE, k);
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
    lua_Integer max = lua_gettop(L) > STREAM ? lua_tointeger(L, ARGUMENT) : 0;
    struct want w = {SOME, max > 0 ? (size_t)max : SIZE_MAX, NULL, 0};
    return read_item(L, (int)rc, &w, read_somek);
}

/* stream:read_some ([max]) -> data | nil: what is there now, at least one byte. */
static int read_some(lua_State *L)
{
    begin(L);
    if (lua_gettop(L) > STREAM) {
        luaL_argcheck(L, luaL_optinteger(L, ARGUMENT, 1) > 0, ARGUMENT, "must be positive");
        lua_settop(L, ARGUMENT);
    }
    return lull_enter(L, read_somek);
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
    begin(L);
    luaL_argcheck(L, luaL_checkinteger(L, ARGUMENT) >= 0, ARGUMENT, "must not be negative");
    lua_settop(L, TOP);
    return lull_enter(L, read_exactlyk);
}

static int read_untilk(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    struct want w = {.kind = UNTIL, .count = s->opts.limit};
    w.mark = lua_tolstring(L, ARGUMENT, &w.length);
    if (!lua_isnil(L, MAXIMUM))
        w.count = (size_t)lua_tointeger(L, MAXIMUM);
    return read_item(L, (int)rc, &w, read_untilk);
}

/* stream:read_until (delimiter [, max]) -> data with the delimiter | nil */
static int read_until(lua_State *L)
{
    size_t length;
    begin(L);
    luaL_checklstring(L, ARGUMENT, &length);
    luaL_argcheck(L, length > 0, ARGUMENT, "must not be empty");
    luaL_argcheck(L, luaL_optinteger(L, MAXIMUM, 1) > 0, MAXIMUM, "must be positive");
    lua_settop(L, TOP);
    return lull_enter(L, read_untilk);
}

/* ---- formats ------------------------------------------------------------------------------ */

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
        return (struct want){LINE, s->opts.limit, NULL, 0};
    case 'L':
        return (struct want){LINE_KEPT, s->opts.limit, NULL, 0};
    case 'n':
        return (struct want){NUMBER, s->opts.limit, NULL, 0};
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

static int remember(lua_State *L, int slot, lua_Integer n)
{
    lua_pushinteger(L, n);
    lua_replace(L, slot);
    return slot;
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
    }
    if (v == FOUND || v == NOTHING) {
        lull_stream_take(L, s, used);
        lua_settop(L, i);
        return i - 1;
    }
    remember(L, last + 2, (lua_Integer)searched);
    remember(L, last + 3, i);
    remember(L, last + 4, (lua_Integer)used);
    return otherwise(L, s, v, deadline, k);
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

/* stream:read (...) -> an item for each format, as file:read; "l" takes off "\r\n" too. */
static int stream_read(lua_State *L)
{
    return lull_enter(L, prepare(L, begin(L)) ? read_itemsk : readk);
}

/* ---- lines ---------------------------------------------------------------------------------- */

/* An iterator raises failures; it ends quietly when its own stream is closed. */
static int raise(lua_State *L, int n)
{
    if (n != 3 || !lua_isnil(L, -3) || lua_type(L, -2) != LUA_TSTRING)
        return n;
    if (strcmp(lua_tostring(L, -1), "ECANCELED") == 0) {
        lua_pushnil(L);
        return 1;
    }
    lua_pushvalue(L, -2);
    return lua_error(L);
}

static int linek(lua_State *L, int status, lua_KContext rc)
{
    struct want w = format(L, ARGUMENT, lua_touserdata(L, STREAM));
    return raise(L, read_item(L, (int)rc, &w, linek));
}

static int linesk(lua_State *L, int status, lua_KContext rc)
{
    return raise(L, read_items(L, (int)rc, linesk));
}

enum { FORMATS = 250 }; /* a function has no more than 255 upvalues */

/* The iterator: upvalue 2 is the stream, 3 the number of formats, behind it they are. */
static int next_line(lua_State *L)
{
    int n = (int)lua_tointeger(L, lua_upvalueindex(3));
    lua_settop(L, 0);
    luaL_checkstack(L, n + MEMORY + 4, "too many formats");
    lua_pushvalue(L, lua_upvalueindex(2));
    struct stream *s = lua_touserdata(L, STREAM);
    if (!(s->flags & STREAM_OPEN))
        return 0;
    for (int i = 0; i < n; i++)
        lua_pushvalue(L, lua_upvalueindex(4 + i));
    return lull_enter(L, prepare(L, begin(L)) ? linesk : linek);
}

/* stream:lines (...) -> iterator, as file:lines */
static int lines(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    int n = lua_gettop(L) - 1;
    luaL_argcheck(L, n <= FORMATS, FORMATS + 2, "too many formats");
    for (int i = 0; i < n; i++)
        format(L, i + 2, s);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_pushinteger(L, n);
    lua_insert(L, 3);
    lua_pushcclosure(L, next_line, n + 3);
    return 1;
}

const luaL_Reg lull_stream_reading[] = {
    {"read", stream_read},          {"read_some", read_some}, {"read_exactly", read_exactly},
    {"read_until", read_until},     {"lines", lines},         {NULL, NULL},
};
