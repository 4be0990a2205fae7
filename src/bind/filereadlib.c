/* Reading from files, in the formats and to the letter of io.  Items are looked for in
   what has been read ahead; where one is not complete there a thread reads on.  Until all
   that a call asks for is complete nothing has been taken. */
#include <stdint.h>
#include <string.h>

#include "files.h"
#include "lines.h"
#include "scan.h"

enum { AHEAD = 64 * 1024, FARTHEST = 512 * 1024 };

/* Behind the formats stands what must be remembered over a suspension: how far was
   searched, the formats done, the bytes that their items use, and (of lines) a mark. */
enum { SEARCHED = 1, DONE, USED, MEMORY = 3 };

/* ---- formats --------------------------------------------------------------------- */

static struct want format(lua_State *L, int i)
{
    struct want w = {COUNT, SIZE_MAX, NULL, 0};
    if (lua_type(L, i) == LUA_TNUMBER) {
        lua_Integer n = luaL_checkinteger(L, i);
        luaL_argcheck(L, n >= 0, i, "must not be negative");
        w.count = (size_t)n;
        return w;
    }
    const char *name = luaL_checkstring(L, i);
    switch (name[*name == '*']) {
    case 'l':
    case 'L':
        w.kind = LINE_KEPT;
        return w;
    case 'n':
        w.kind = NUMBER;
        return w;
    case 'a':
        w.kind = ALL;
        return w;
    default:
        luaL_argerror(L, i, "invalid format");
        return w;
    }
}

/* Is it the format that takes off the end of a line?  (Of "\r\n" only the last byte.) */
static bool strips(lua_State *L, int i)
{
    if (lua_type(L, i) == LUA_TNUMBER)
        return false;
    const char *name = lua_tostring(L, i);
    return name[*name == '*'] == 'l';
}

static void push_item(lua_State *L, int i, const struct want *w, const char *p,
                      const struct item *item)
{
    size_t n = item->size;
    if (w->kind == NUMBER) {
        char text[LULL_NUMERAL + 1];
        memcpy(text, p + item->from, n);
        text[n] = '\0';
        if (memchr(text, '\0', n) || !lua_stringtonumber(L, text))
            lua_pushnil(L);
        return;
    }
    if (n > 0 && p[n - 1] == '\n' && strips(L, i))
        n--;
    lua_pushlstring(L, p + item->from, n);
}

/* ---- getting more ---------------------------------------------------------------- */

/* Has a thread read on, behind what is there, at least need bytes. */
static int fill_ahead(struct file *f, size_t need)
{
    struct sys_errand *e = sys_errand_new(sys_file_read, f->shared, NULL, NULL);
    if (e == NULL)
        return -ENOMEM;
    e->ahead = f->ahead < AHEAD ? AHEAD : f->ahead;
    e->need = need;
    e->offset = f->pos + (int64_t)buffer_size(&f->in);
    e->data = f->in;
    int rc = lull_file_submit(f, e);
    if (rc < 0)
        e->data = (struct buffer){0};
    else
        f->in = (struct buffer){0};
    if (rc < 0)
        sys_job_drop(&e->job);
    f->ahead = e->ahead * 2 < FARTHEST ? e->ahead * 2 : FARTHEST;
    return rc;
}

/* Reads what is there in a pipe: > 0 bytes; 0 at the end; -EAGAIN, or why not. */
static int fill_pipe(struct file *f, size_t need)
{
    size_t room = need < FARTHEST ? need : FARTHEST;
    char *to = buffer_reserve(&f->in, room > AHEAD ? room : AHEAD, sys_alloc, NULL);
    if (to == NULL)
        return -ENOMEM;
    size_t size = buffer_room(&f->in);
    int n = sys_file_recv(sys_file_fd(f->shared), to, size < FARTHEST ? size : FARTHEST);
    if (n > 0)
        buffer_commit(&f->in, (size_t)n);
    else if (buffer_size(&f->in) == 0)
        lull_file_forget(f);
    if (n == 0)
        f->ended = true;
    return n;
}

/* How many more bytes an item needs at least that has n. */
static size_t need_of(const struct want *w, size_t n)
{
    if (w->kind == COUNT && w->count > n)
        return w->count - n;
    return w->kind == ALL ? SIZE_MAX : 1;
}

/* After an item was not complete: 1: look again; else a call is to return that, with k to
   go on, or -errno to fail with. */
enum { AGAIN = 1, WAIT, TURN };

static int more(lua_State *L, struct file *f, size_t need, int *looked)
{
    if (f->in_error < 0) {
        int rc = f->in_error;
        f->in_error = 0;
        return rc;
    }
    if (!(f->flags & FILE_READS))
        return -EBADF;
    if (!(f->flags & FILE_PIPE)) {
        int rc = fill_ahead(f, need);
        return rc < 0 ? rc : WAIT;
    }
    int n = fill_pipe(f, need);
    if (n >= 0)
        return ++*looked < 16 ? AGAIN : TURN;
    return n == -EAGAIN ? WAIT : n;
}

/* ---- reading --------------------------------------------------------------------- */

static void remember(lua_State *L, int slot, size_t n)
{
    lua_pushinteger(L, (lua_Integer)n);
    lua_replace(L, slot);
}

static int suspend(lua_State *L, struct file *f, int how, lua_KFunction k)
{
    if (how == TURN)
        return lull_turn(L, f->rt, k);
    if (f->flags & FILE_PIPE)
        return lull_file_await_pipe(L, f, k);
    return lull_file_await(L, f, false, k);
}

/* Takes used bytes off, unless somebody has closed the file meanwhile (a finalizer). */
static void take(struct file *f, size_t used)
{
    if (used > buffer_size(&f->in))
        return;
    buffer_take(&f->in, used, sys_alloc, NULL);
    f->pos += (int64_t)used;
}

/* Replaces each format by its item; returns as a function of Lua, or with *n < 0 as how
   to suspend. */
static int read_all(lua_State *L, struct file *f, int *how)
{
    int last = lua_gettop(L) - MEMORY, looked = 0;
    size_t searched = (size_t)lua_tointeger(L, last + SEARCHED);
    size_t used = (size_t)lua_tointeger(L, last + USED);
    int i = (int)lua_tointeger(L, last + DONE);
    while (i <= last) {
        struct item item;
        struct want w = format(L, i);
        size_t n = buffer_size(&f->in) - used;
        enum verdict v =
            lull_scan(&w, buffer_bytes(&f->in) + used, n, f->ended, &searched, &item);
        if (v == MORE) {
            remember(L, last + SEARCHED, searched);
            remember(L, last + DONE, (size_t)i);
            remember(L, last + USED, used);
            *how = more(L, f, need_of(&w, n), &looked);
            if (*how == AGAIN)
                continue;
            return *how < 0 ? lull_file_fail(L, *how) : 0;
        }
        if (v == FOUND)
            push_item(L, i, &w, buffer_bytes(&f->in) + used, &item);
        else
            lua_pushnil(L);
        bool nothing = lua_isnil(L, -1);
        used += v == FOUND ? item.used : 0;
        lua_replace(L, i++);
        searched = 0;
        if (!(f->flags & FILE_OPEN)) /* closed by a finalizer */
            return lull_file_fail(L, -ECANCELED);
        if (nothing)
            break;
    }
    take(f, used);
    for (int j = FILE_FIRST; j < i; j++) /* they need not be on top: the turn is below */
        lua_pushvalue(L, j);
    return i - FILE_FIRST;
}

static int go_on(lua_State *L, lua_KFunction k)
{
    struct file *f = lua_touserdata(L, FILE_SELF);
    int rc = lull_file_ready(L, f, false), how = 0;
    if (rc < 0)
        return lull_file_fail(L, rc);
    if (rc > 0 && f->head && !(f->flags & FILE_PIPE)) {
        lull_file_push(L, f); /* what was written is read */
        rc = f->errand == NULL;
    }
    if (rc == 0)
        return lull_file_await(L, f, false, k);
    int n = read_all(L, f, &how);
    return how >= WAIT ? suspend(L, f, how, k) : n;
}

/* Makes the stack for the formats behind place 1: a line where there is none. */
static void prepare(lua_State *L)
{
    if (lua_gettop(L) == 1)
        lua_pushliteral(L, "l");
    int n = lua_gettop(L) - 1;
    luaL_checkstack(L, n + MEMORY + 8, "too many formats");
    for (int i = 2; i <= n + 1; i++)
        format(L, i);
    lua_pushinteger(L, 0);
    lua_pushinteger(L, FILE_FIRST);
    lua_pushinteger(L, 0);
}

static int readk(lua_State *L, int status, lua_KContext rc)
{
    if (rc < 0)
        return lull_file_fail(L, (int)rc);
    return go_on(L, readk);
}

/* file:read (...) -> an item for each format */
static int file_read(lua_State *L)
{
    struct file *f = lull_openfile(L, FILE_SELF);
    prepare(L);
    if (list_empty(&f->lines[0]))
        lull_file_follow(f);
    return lull_file_enter(L, f, readk);
}

/* ---- lines ----------------------------------------------------------------------- */

static int linesk(lua_State *L, int status, lua_KContext rc)
{
    return lull_end_lines(L, rc < 0 ? lull_file_fail(L, (int)rc) : go_on(L, linesk));
}

static int next_line(lua_State *L)
{
    lull_begin_lines(L, MEMORY + 8);
    struct file *f = lull_checkfile(L, FILE_SELF);
    if (!(f->flags & FILE_OPEN))
        return 0;
    prepare(L);
    if (list_empty(&f->lines[0]))
        lull_file_follow(f);
    return lull_file_enter(L, f, linesk);
}

/* file:lines (...) -> iterator */
static int file_lines(lua_State *L)
{
    lull_openfile(L, FILE_SELF);
    return lull_push_lines(L, next_line);
}

const luaL_Reg lull_file_reading[] = {
    {"read", file_read}, {"lines", file_lines}, {NULL, NULL}};
