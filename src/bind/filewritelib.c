/* Writing to files, and moving about in them.  write takes all that it is given at once:
   small strings are copied, large ones held.  Threads write it, a block at a time, while
   the next one fills; a writer waits when two are full. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"

enum { LARGE = 32 * 1024 }; /* strings from this size on are not copied whole */

/* Place 3 of the stack of a write, once all has been taken: how much may still wait. */
enum { LIMIT = FILE_FIRST };

/* ---- taking ---------------------------------------------------------------------- */

static struct piece *new_piece(lua_State *L, struct piece ***end, size_t capacity)
{
    struct piece *p = calloc(1, sizeof *p);
    char *block = capacity ? malloc(capacity) : NULL;
    if (p == NULL || (capacity && block == NULL)) {
        free(p);
        free(block);
        luaL_error(L, "not enough memory");
    }
    p->block = block;
    p->capacity = capacity;
    **end = p;
    *end = &p->next;
    return p;
}

static void copy(struct piece *p, const char *s, size_t n)
{
    memcpy(p->block + p->from + p->size, s, n);
    p->size += n;
}

static bool fits(const struct piece *p, size_t n)
{
    return p && p->block && p->capacity - p->from - p->size >= n;
}

/* Makes pieces of the strings from FILE_FIRST to the top; raises without memory, and has
   taken nothing then. */
static void stage(lua_State *L, struct file *f, int top)
{
    struct piece **end = &f->staged, *last = NULL;
    for (int i = FILE_FIRST; i <= top; i++) {
        size_t n;
        const char *s = lua_tolstring(L, i, &n);
        if (n >= LARGE) {
            last = new_piece(L, &end, 0);
            last->size = n;
            lua_pushvalue(L, i);
            lull_hold(L, last);
            last->string = s;
        } else if (n > 0) {
            if (!fits(last, n))
                last = new_piece(L, &end, f->size > n ? f->size : n);
            copy(last, s, n);
        }
    }
}

static size_t total(lua_State *L, int top)
{
    size_t sum = 0;
    for (int i = FILE_FIRST; i <= top; i++)
        sum += lua_rawlen(L, i);
    return sum;
}

static void take(lua_State *L, struct file *f)
{
    int top = lua_gettop(L);
    size_t sum = total(L, top);
    if (sum == 0)
        return;
    lull_file_drop(L, f->staged); /* what a call has left that had no memory */
    f->staged = NULL;
    if (fits(f->tail, sum))
        for (int i = FILE_FIRST; i <= top; i++)
            copy(f->tail, lua_tostring(L, i), lua_rawlen(L, i));
    else
        stage(L, f, top);
    if (f->staged) {
        *(f->tail ? &f->tail->next : &f->head) = f->staged;
        for (f->tail = f->staged; f->tail->next;)
            f->tail = f->tail->next;
        f->staged = NULL;
    }
    f->queued += sum;
    f->flags |= FILE_DIRTY;
    if (!(f->flags & FILE_PIPE))
        lull_file_forget(f);
}

/* ---- writing --------------------------------------------------------------------- */

static bool has_newline(lua_State *L, int top)
{
    for (int i = FILE_FIRST; i <= top; i++)
        if (memchr(lua_tostring(L, i), '\n', lua_rawlen(L, i)))
            return true;
    return false;
}

/* How much may wait when the call returns; less than size: it is to be written now. */
static size_t limit_of(lua_State *L, struct file *f)
{
    bool now = f->size == 0;
    if (f->flags & FILE_LINES)
        now = has_newline(L, lua_gettop(L));
    return now ? 0 : 2 * f->size;
}

static int return_self(lua_State *L)
{
    lua_pushvalue(L, FILE_SELF);
    return 1;
}

static int writek(lua_State *L, int status, lua_KContext woken)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    int rc = woken < 0 ? (int)woken : lull_file_ready(L, f, true);
    if (rc >= 0 && f->out_error < 0)
        rc = f->out_error;
    if (rc >= 0 && !(f->flags & FILE_WRITES))
        rc = -EBADF;
    if (rc < 0)
        return lull_file_fail(L, rc);
    if (!lua_isinteger(L, LIMIT)) {
        if (rc == 0)
            return lull_file_await(L, f, true, writek);
        size_t limit = limit_of(L, f);
        lull_file_follow(f);
        take(L, f);
        lua_pushinteger(L, (lua_Integer)limit);
        lua_replace(L, LIMIT);
    }
    size_t limit = (size_t)lua_tointeger(L, LIMIT);
    if (f->queued > 0 && (limit == 0 || f->queued >= f->size))
        lull_file_push(L, f);
    if (f->queued > limit)
        return lull_file_await(L, f, true, writek);
    return f->out_error < 0 ? lull_file_fail(L, f->out_error) : return_self(L);
}

/* Numbers become what io writes: a float without a fraction has no ".0". */
static void check_text(lua_State *L, int i)
{
    if (lua_type(L, i) != LUA_TNUMBER) {
        luaL_checkstring(L, i);
        return;
    }
    if (!lua_isinteger(L, i)) {
        char text[64];
        int n = snprintf(text, sizeof text, LUA_NUMBER_FMT,
                         (LUAI_UACNUMBER)lua_tonumber(L, i));
        lua_pushlstring(L, text, (size_t)n);
        lua_replace(L, i);
    }
    lua_tostring(L, i);
}

/* file:write (...) -> file */
static int file_write(lua_State *L)
{
    struct file *f = lull_openfile(L, FILE_SELF);
    int top = lua_gettop(L);
    luaL_checkstack(L, 8, NULL);
    for (int i = 2; i <= top; i++)
        check_text(L, i);
    if (top == 1)
        lua_pushliteral(L, "");
    return lull_file_enter(L, f, writek);
}

/* ---- when all is written --------------------------------------------------------- */

/* Is it our turn and all written?  1; else 0 and *n is what to return. */
static int settled(lua_State *L, struct file *f, int *n, lua_KFunction k)
{
    int rc = lull_file_ready(L, f, true);
    if (rc > 0 && f->queued > 0)
        lull_file_push(L, f);
    if (rc < 0)
        *n = lull_file_fail(L, rc);
    else if (rc == 0 || f->errand || f->queued > 0)
        *n = lull_file_await(L, f, true, k);
    else
        return 1;
    return 0;
}

static int push_true(lua_State *L, int rc)
{
    if (rc < 0)
        return lull_file_fail(L, rc);
    lua_pushboolean(L, true);
    return 1;
}

static int flushk(lua_State *L, int status, lua_KContext rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    int n;
    return settled(L, f, &n, flushk) ? push_true(L, f->out_error) : n;
}

/* file:flush () -> true: all is handed to the system */
static int file_flush(lua_State *L)
{
    struct file *f = lull_openfile(L, FILE_SELF);
    lua_settop(L, 1);
    return lull_file_enter(L, f, flushk);
}

/* Place 3 is true once the errand has been sent, place 4 its offset. */
enum { ASKED = FILE_FIRST, OFFSET };

static int ask(lua_State *L, struct file *f, int (*act)(struct sys_errand *),
               int64_t offset, lua_KFunction k)
{
    int rc = lull_file_ask(f, act, offset);
    if (rc < 0)
        return lull_file_fail(L, rc);
    lua_pushboolean(L, true);
    lua_replace(L, ASKED);
    return lull_file_await(L, f, true, k);
}

static int synck(lua_State *L, int status, lua_KContext rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    int n;
    if (!settled(L, f, &n, synck))
        return n;
    if (f->out_error < 0)
        return lull_file_fail(L, f->out_error);
    if (lua_toboolean(L, ASKED))
        return push_true(L, f->answer);
    return ask(L, f, sys_file_sync, 0, synck);
}

/* file:sync () -> true: all is on the disk */
static int file_sync(lua_State *L)
{
    struct file *f = lull_openfile(L, FILE_SELF);
    lua_settop(L, 1);
    lua_pushboolean(L, false);
    return lull_file_enter(L, f, synck);
}

static int truncatek(lua_State *L, int status, lua_KContext rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    int n;
    if (!settled(L, f, &n, truncatek))
        return n;
    if (f->out_error < 0)
        return lull_file_fail(L, f->out_error);
    if (lua_toboolean(L, ASKED))
        return push_true(L, f->answer);
    lull_file_forget(f);
    return ask(L, f, sys_file_truncate, luaL_optinteger(L, OFFSET, f->pos), truncatek);
}

/* file:truncate ([size]) -> true: it is as long as that now, or up to where it stands */
static int file_truncate(lua_State *L)
{
    struct file *f = lull_openfile(L, FILE_SELF);
    lua_settop(L, 2);
    luaL_argcheck(L, luaL_optinteger(L, 2, 0) >= 0, 2, "must not be negative");
    lua_pushboolean(L, false);
    lua_insert(L, 2);
    return lull_file_enter(L, f, truncatek);
}

/* ---- moving ---------------------------------------------------------------------- */

static const char *const whences[] = {"set", "cur", "end", NULL};

/* Place 3: asked for the size; 4: whence; 5: offset. */
enum { WHENCE = OFFSET, DISTANCE };

static int move(lua_State *L, struct file *f, int64_t base)
{
    lua_Integer distance = lua_tointeger(L, DISTANCE);
    int64_t to;
    if (__builtin_add_overflow(base, (int64_t)distance, &to))
        return lull_file_fail(L, -EOVERFLOW);
    if (to < 0)
        return lull_file_fail(L, -EINVAL);
    if (to >= f->pos && (uint64_t)(to - f->pos) <= buffer_size(&f->in))
        buffer_take(&f->in, (size_t)(to - f->pos), sys_alloc, NULL);
    else
        lull_file_forget(f);
    f->pos = to;
    f->lent = -1;
    f->ended = false;
    lua_pushinteger(L, (lua_Integer)to);
    return 1;
}

static int seekk(lua_State *L, int status, lua_KContext rc)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    int whence = (int)lua_tointeger(L, WHENCE), n;
    bool tells = whence == 1 && lua_tointeger(L, DISTANCE) == 0;
    if (f->flags & FILE_PIPE)
        return lull_file_fail(L, -ESPIPE);
    if (!lua_toboolean(L, ASKED) && lull_file_ready(L, f, true) > 0)
        lull_file_follow(f);
    if (tells && !(f->flags & FILE_APPENDS) && lull_file_ready(L, f, true) > 0) {
        lua_pushinteger(L, (lua_Integer)(f->pos + (int64_t)f->queued));
        return 1;
    }
    if (!settled(L, f, &n, seekk))
        return n;
    if (whence < 2)
        return move(L, f, whence == 1 ? f->pos : 0);
    if (!lua_toboolean(L, ASKED))
        return ask(L, f, sys_file_size, 0, seekk);
    return f->answer < 0 ? lull_file_fail(L, f->answer) : move(L, f, f->answered);
}

/* file:seek ([whence [, offset]]) -> position from the beginning */
static int file_seek(lua_State *L)
{
    struct file *f = lull_openfile(L, FILE_SELF);
    int whence = luaL_checkoption(L, 2, "cur", whences);
    lua_Integer distance = luaL_optinteger(L, 3, 0);
    lua_settop(L, 1);
    lua_pushboolean(L, false);
    lua_pushinteger(L, whence);
    lua_pushinteger(L, distance);
    return lull_file_enter(L, f, seekk);
}

/* file:setvbuf (mode [, size]) -> true */
static int file_setvbuf(lua_State *L)
{
    static const char *const modes[] = {"no", "full", "line", NULL};
    struct file *f = lull_openfile(L, FILE_SELF);
    int mode = luaL_checkoption(L, 2, NULL, modes);
    lua_Integer size = luaL_optinteger(L, 3, LUAL_BUFFERSIZE);
    luaL_argcheck(L, size >= 0, 3, "must not be negative");
    f->size = mode == 0 ? 0 : size < LUAL_BUFFERSIZE ? LUAL_BUFFERSIZE : (size_t)size;
    f->flags = mode == 2 ? f->flags | FILE_LINES : f->flags & ~(unsigned)FILE_LINES;
    lua_pushboolean(L, true);
    return 1;
}

const luaL_Reg lull_file_writing[] = {
    {"write", file_write}, {"flush", file_flush},       {"seek", file_seek},
    {"sync", file_sync},   {"truncate", file_truncate}, {"setvbuf", file_setvbuf},
    {NULL, NULL}};
