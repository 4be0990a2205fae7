/* loop:add_reader and add_writer: a callback for as long as a descriptor is ready.  They
   are level-triggered on every backend, for each call waits anew when it has returned. */
#include "task.h"

#include <errno.h>

/* One descriptor.  uservalues 1 and 2: what is called when it can be read and written, a
   table of function and arguments, or nil.  Held by the Loop's table of watchers. */
struct watcher {
    lull_io io;
    lull_waiter reader, writer;
    lull_loop *loop;
};

enum { READER = 1, WRITER };

static lull_waiter *waiter_of(struct watcher *w, int side)
{
    return side == READER ? &w->reader : &w->writer;
}

static int watch(struct watcher *w, int side)
{
    unsigned event = side == READER ? LULL_READ : LULL_WRITE;
    return lull_io_wait(w->loop, &w->io, event, waiter_of(w, side));
}

/* Pushes the watcher of fd, of the Loop at 1, or nil. */
static struct watcher *find(lua_State *L, lua_Integer fd)
{
    lua_getiuservalue(L, 1, LULL_LOOP_WATCHERS);
    lua_rawgeti(L, -1, fd);
    lua_remove(L, -2);
    return lua_touserdata(L, -1);
}

/* ---- being called ---------------------------------------------------------------- */

/* (watcher, side): calls what stands there. */
static int call_side(lua_State *L, int side)
{
    struct watcher *w = lua_touserdata(L, 1);
    lull_pushknown(L, lull_pushruntime(L)->object);
    lua_replace(L, 1);
    if (find(L, w->io.watch.fd) != w || lua_getiuservalue(L, -1, side) == LUA_TNIL)
        return 0;
    int t = lua_gettop(L);
    lua_rawgeti(L, t, 0);
    int n = (int)lua_tointeger(L, -1);
    luaL_checkstack(L, n + 1, NULL);
    for (int i = 1; i <= n; i++)
        lua_rawgeti(L, t, i);
    lua_call(L, n - 1, 0);
    return 0;
}

static int call_reader(lua_State *L)
{
    return call_side(L, READER);
}

static int call_writer(lua_State *L)
{
    return call_side(L, WRITER);
}

/* Waits anew before the call, so that the callback may take itself away. */
static void read_ready(lull_loop *loop, lull_waiter *waiter)
{
    struct watcher *w = container_of(waiter, struct watcher, reader);
    if (waiter->status == 0 && watch(w, READER) == 0)
        lull_callback(lull_loop_user(loop), call_reader, w);
}

static void write_ready(lull_loop *loop, lull_waiter *waiter)
{
    struct watcher *w = container_of(waiter, struct watcher, writer);
    if (waiter->status == 0 && watch(w, WRITER) == 0)
        lull_callback(lull_loop_user(loop), call_writer, w);
}

/* ---- adding and removing --------------------------------------------------------- */

static struct watcher *new_watcher(lua_State *L, lull_loop *loop, int fd)
{
    struct watcher *w = lua_newuserdatauv(L, sizeof *w, 2);
    lull_io_init(&w->io, fd);
    lull_waiter_init(&w->reader, read_ready);
    lull_waiter_init(&w->writer, write_ready);
    w->loop = loop;
    return w;
}

/* Takes a side away, and with the last one the watcher; false when there was none. */
static bool unwatch(lua_State *L, int fd, int side)
{
    struct watcher *w = find(L, fd);
    bool there = w != NULL && lua_getiuservalue(L, -1, side) != LUA_TNIL;
    if (!there)
        return false;
    lua_pushnil(L);
    lua_setiuservalue(L, -3, side);
    lull_forget(waiter_of(w, side));
    if (lua_getiuservalue(L, -2, READER + WRITER - side) != LUA_TNIL)
        return true;
    lull_io_close(&w->io);
    lull_forget(&w->reader);
    lull_forget(&w->writer);
    lua_getiuservalue(L, 1, LULL_LOOP_WATCHERS);
    lua_pushnil(L);
    lua_rawseti(L, -2, fd);
    return true;
}

static int add(lua_State *L, int side)
{
    lull_loop *loop = lull_checkloop(L);
    int fd = (int)luaL_checkinteger(L, 2);
    lull_checkcallable(L, 3);
    if (lull_owned(lull_runtime(L), fd))
        return luaL_error(L, "descriptor %d belongs to an object of lull", fd);
    int n = lua_gettop(L) - 2;
    lua_createtable(L, n, 0);
    lua_insert(L, 3);
    for (int i = n; i > 0; i--)
        lua_rawseti(L, 3, i);
    lua_pushinteger(L, n);
    lua_rawseti(L, 3, 0);
    struct watcher *w = find(L, fd);
    if (w == NULL) {
        lua_pop(L, 1);
        w = new_watcher(L, loop, fd);
        lua_getiuservalue(L, 1, LULL_LOOP_WATCHERS);
        lua_pushvalue(L, -2);
        lua_rawseti(L, -2, fd);
        lua_pop(L, 1);
    }
    lua_pushvalue(L, 3);
    lua_setiuservalue(L, -2, side);
    int rc = waiter_of(w, side)->status == LULL_PENDING ? 0 : watch(w, side);
    if (rc == 0)
        return 0;
    unwatch(L, fd, side);
    return luaL_error(L, "%s", (lull_pushfail(L, rc, NULL), lua_tostring(L, -2)));
}

/* loop:add_reader (fd, fn, ...): fn(...) is called while fd can be read. */
static int add_reader(lua_State *L)
{
    return add(L, READER);
}

static int add_writer(lua_State *L)
{
    return add(L, WRITER);
}

/* loop:remove_reader (fd) -> boolean: was there one? */
static int remove_reader(lua_State *L)
{
    lull_checkloop(L);
    lua_pushboolean(L, unwatch(L, (int)luaL_checkinteger(L, 2), READER));
    return 1;
}

static int remove_writer(lua_State *L)
{
    lull_checkloop(L);
    lua_pushboolean(L, unwatch(L, (int)luaL_checkinteger(L, 2), WRITER));
    return 1;
}

static const luaL_Reg methods[] = {{"add_reader", add_reader},
                                   {"add_writer", add_writer},
                                   {"remove_reader", remove_reader},
                                   {"remove_writer", remove_writer},
                                   {NULL, NULL}};

void lull_open_watch(lua_State *L)
{
    lull_addmethods(L, LULL_LOOP, methods);
}
