/* Watchers: what inotify tells, one event after the other.  Paths, directories below and
   what is worth telling are the affair of lull.fs. */
#include <string.h>

#include "files.h"

enum { ROOM = 16 * 1024 };

struct watcher {
    struct runtime *rt;
    struct sys_file *shared; /* NULL: closed */
    lull_io io;
    size_t from, to; /* events that were read and not taken yet */
    uint64_t data[ROOM / 8];
};

static struct watcher *check(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_WATCHER);
}

static int watcher_close(lua_State *L)
{
    struct watcher *w = check(L);
    if (w->shared == NULL)
        return 0;
    lull_own(w->rt, w->io.watch.fd, false);
    lull_io_close(&w->io);
    sys_file_release(w->shared);
    w->shared = NULL;
    return 0;
}

/* ---- events ---------------------------------------------------------------------- */

static int push_event(lua_State *L, struct watcher *w)
{
    struct sys_event event;
    const char *at = (const char *)w->data + w->from;
    size_t n = sys_watch_event(at, w->to - w->from, &event);
    if (n == 0) {
        w->from = w->to;
        return lull_pushfail(L, -EIO, NULL);
    }
    lua_pushinteger(L, event.watch);
    lua_pushinteger(L, event.what);
    lua_pushinteger(L, event.cookie);
    lua_pushstring(L, event.name);
    w->from += n;
    return 4;
}

static int eventk(lua_State *L, int status, lua_KContext rc)
{
    struct watcher *w = lua_touserdata(L, 1);
    int n = rc < 0 ? (int)rc : 0;
    if (n == 0 && w->shared == NULL)
        n = -ECANCELED;
    if (n == 0 && w->from == w->to) {
        n = sys_watch_read(w->io.watch.fd, w->data, sizeof w->data);
        w->from = 0;
        w->to = n > 0 ? (size_t)n : 0;
    }
    lua_Number seconds = luaL_optnumber(L, 2, -1);
    if (n == -EAGAIN && seconds != 0)
        return lull_await_io(L, &w->io, LULL_READ, lull_after(w->rt->loop, seconds),
                             eventk);
    if (n < 0)
        return lull_pushfail(L, n == -EAGAIN ? -ETIMEDOUT : n, NULL);
    return push_event(L, w);
}

/* watcher:event ([seconds]) -> watch, what, cookie, name | nil, message, code */
static int watcher_event(lua_State *L)
{
    check(L);
    luaL_optnumber(L, 2, -1);
    lua_settop(L, 2);
    return lull_enter(L, eventk);
}

/* watcher:remove (watch): tells no more of it */
static int watcher_remove(lua_State *L)
{
    struct watcher *w = check(L);
    int watch = (int)luaL_checkinteger(L, 2);
    if (w->shared)
        sys_watch_remove(w->io.watch.fd, watch);
    return 0;
}

/* ---- watching -------------------------------------------------------------------- */

static int push_watch(lua_State *L, struct sys_errand *e)
{
    lua_pushinteger(L, e->rc);
    return 1;
}

/* The Watcher is upvalue 3. */
static struct sys_file *shared_of(lua_State *L)
{
    struct watcher *w = lua_touserdata(L, lua_upvalueindex(3));
    lua_pushvalue(L, lua_upvalueindex(3));
    if (w->shared == NULL)
        luaL_error(L, "attempt to use a closed watch");
    sys_file_hold(w->shared);
    return w->shared;
}

static const struct fs_operation adding = {
    "add", sys_watch_add, FS_NUMBER, push_watch, shared_of};

/* watcher () -> Watcher, add; add (path, 1 | 0) -> watch: begins to watch, 1: a directory
   that is no link */
static int watcher(lua_State *L)
{
    struct watcher *w = lull_newobject(L, LULL_WATCHER, sizeof *w, 0);
    w->rt = lull_runtime(L);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushlightuserdata(L, (void *)&adding);
    lua_pushvalue(L, -3);
    lua_pushcclosure(L, lull_fs_call, 3);
    int fd = lull_admit(w->rt, 1);
    if (fd == 0)
        fd = sys_watch_new();
    if (fd < 0)
        return lull_pushfail(L, fd, NULL);
    w->shared = sys_file_new(fd);
    if (w->shared == NULL) {
        sys_close(fd);
        return luaL_error(L, "not enough memory");
    }
    lull_io_init(&w->io, fd);
    lull_own(w->rt, fd, true);
    return 2;
}

static const luaL_Reg methods[] = {{"event", watcher_event},
                                   {"remove", watcher_remove},
                                   {"close", watcher_close},
                                   {NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__gc", watcher_close}, {NULL, NULL}};
static const luaL_Reg functions[] = {{"watcher", watcher}, {NULL, NULL}};

void lull_open_watcher(lua_State *L)
{
    lull_newclass(L, LULL_WATCHER, "Watcher", methods, metamethods);
    lull_setfuncs(L, functions);
}
