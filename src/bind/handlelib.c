/* Calls that are due outside of any task: call_soon, call_later and call_at, and the
   Handle that cancels one. */
#include "looplib.h"

#include <string.h>

/* A call that is due, in its Loop's table of handles.  uservalue 1: a table of the
   function and its arguments. */
struct handle {
    lull_waiter waiter;
    lull_timer timer;
    struct loop *loop; /* NULL once called or cancelled */
    int nargs;
    bool cancelled;
    lua_Number when;
};

/* Pushes h, which is due no longer, out of the table of its loop. */
static void take_out(lua_State *L, struct handle *h)
{
    lull_pushknown(L, h->loop);
    lua_getiuservalue(L, -1, LULL_LOOP_HANDLES);
    lua_rawgetp(L, -1, h);
    lua_pushnil(L);
    lua_rawsetp(L, -3, h);
    lua_replace(L, -3);
    lua_pop(L, 1);
    h->loop = NULL;
}

static void drop(struct handle *h)
{
    h->loop = NULL;
    h->cancelled = true;
}

void lull_drop_handles(lua_State *L, int i)
{
    lua_getiuservalue(L, i, LULL_LOOP_HANDLES);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        drop(lua_touserdata(L, -1));
    lua_pop(L, 1);
}

/* (handle): pushes function and arguments from its table and calls them. */
static int call_handle(lua_State *L)
{
    struct handle *h = lua_touserdata(L, 1);
    take_out(L, h);
    lua_getiuservalue(L, -1, 1);
    luaL_checkstack(L, h->nargs + 2, NULL);
    int t = lua_gettop(L);
    for (int j = 1; j <= h->nargs + 1; j++)
        lua_rawgeti(L, t, j);
    lua_call(L, h->nargs, 0);
    return 0;
}

static void handle_due(lull_loop *loop, lull_waiter *w)
{
    struct handle *h = container_of(w, struct handle, waiter);
    lull_callback(lull_loop_user(loop), call_handle, h);
}

/* Pushes a Handle that calls the top nargs + 1 values (popped) at a deadline; < 0: soon. */
static void new_handle(lua_State *L, struct loop *o, int nargs, int64_t deadline)
{
    lua_createtable(L, nargs + 1, 0);
    lua_insert(L, -nargs - 2);
    for (int j = nargs + 1; j > 0; j--)
        lua_rawseti(L, -j - 1, j);
    struct handle *h = lull_newbare(L, o->rt, LULL_HANDLE, sizeof *h, 1);
    memset(h, 0, sizeof *h);
    lua_rawgeti(L, LUA_REGISTRYINDEX, o->rt->metatables[LULL_HANDLE]);
    lua_setmetatable(L, -2);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    lull_waiter_init(&h->waiter, handle_due);
    lull_timer_init(&h->timer, &h->waiter);
    h->nargs = nargs;
    h->when = (lua_Number)(deadline < 0 ? lull_now(o->core) : deadline) / 1e9;
    lull_pushknown(L, o);
    lua_getiuservalue(L, -1, LULL_LOOP_HANDLES);
    lua_pushvalue(L, -3);
    lua_rawsetp(L, -2, h);
    lua_pop(L, 2);
    h->loop = o;
    lull_wait(&h->waiter);
    if (deadline < 0)
        lull_wake(o->core, &h->waiter, 0);
    else if (lull_timer_start(o->core, &h->timer, deadline, 0) < 0) {
        take_out(L, h);
        luaL_error(L, "not enough memory");
    }
}

void lull_call_soon(lua_State *L, struct runtime *rt, uint32_t loop, int nargs)
{
    struct loop *o = loop ? lull_home(rt, loop) : rt->object;
    if (o == NULL)
        luaL_error(L, "no loop is running");
    new_handle(L, o, nargs, -1);
    lua_pop(L, 1);
}

static struct handle *checkhandle(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_HANDLE);
}

static int handle_cancel(lua_State *L)
{
    struct handle *h = checkhandle(L);
    if (h->loop != NULL) {
        lull_timer_stop(h->loop->core, &h->timer);
        lull_forget(&h->waiter);
        take_out(L, h);
        h->cancelled = true;
    }
    return 0;
}

static int handle_cancelled(lua_State *L)
{
    lua_pushboolean(L, checkhandle(L)->cancelled);
    return 1;
}

static int handle_when(lua_State *L)
{
    lua_pushnumber(L, checkhandle(L)->when);
    return 1;
}

static int handle_tostring(lua_State *L)
{
    struct handle *h = checkhandle(L);
    lua_pushfstring(L, "handle (%s, due at %f)",
                    h->cancelled ? "cancelled" : h->loop ? "pending" : "called", h->when);
    return 1;
}

/* ---- callbacks ------------------------------------------------------------------- */

/* loop:call_soon (fn, ...) -> Handle */
static int call_soon(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    lull_checkcallable(L, 2);
    new_handle(L, o, lua_gettop(L) - 2, -1);
    return 1;
}

/* loop:call_later (seconds, fn, ...) -> Handle */
static int call_later(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    int64_t delay = lull_tonanoseconds(L, 2);
    lull_checkcallable(L, 3);
    lull_refresh(o->core);
    new_handle(L, o, lua_gettop(L) - 3, lull_now(o->core) + (delay > 0 ? delay : 0));
    return 1;
}

/* loop:call_at (time, fn, ...) -> Handle */
static int call_at(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    int64_t when = lull_tonanoseconds(L, 2);
    lull_checkcallable(L, 3);
    new_handle(L, o, lua_gettop(L) - 3, when > 0 ? when : 0);
    return 1;
}

static const luaL_Reg handle_methods[] = {{"cancel", handle_cancel},
                                          {"cancelled", handle_cancelled},
                                          {"when", handle_when},
                                          {NULL, NULL}};

static const luaL_Reg handle_meta[] = {{"__tostring", handle_tostring}, {NULL, NULL}};

static const luaL_Reg methods[] = {
    {"call_soon", call_soon}, {"call_later", call_later}, {"call_at", call_at}, {NULL, NULL}};

void lull_open_handle(lua_State *L)
{
    lull_newclass(L, LULL_HANDLE, "Handle", handle_methods, handle_meta);
    lull_addmethods(L, LULL_LOOP, methods);
}
