/* Calls that are due outside of any task: call_soon, call_later and call_at, and the
   Handle that cancels one. */
#include "looplib.h"

/* uservalues of a Handle: the list of its Loop's handles, in which it stands at slot as
   long as it is due; the function; its arguments. */
enum { HANDLES = 1, FUNCTION, MOST = 1000 };

struct handle {
    lull_waiter waiter;
    lull_timer timer;
    struct loop *loop; /* NULL once called or cancelled */
    int slot;
    uint16_t nargs;
    bool cancelled;
    lua_Number when;
};

/* The Handle at i is due no longer: the last of the list gets its place.  Needs no
   memory. */
static void take_out(lua_State *L, struct handle *h, int i)
{
    int last = h->loop->handles--;
    lua_getiuservalue(L, i, HANDLES);
    if (h->slot != last) {
        lua_rawgeti(L, -1, last);
        ((struct handle *)lua_touserdata(L, -1))->slot = h->slot;
        lua_rawseti(L, -2, h->slot);
    }
    lua_pushnil(L);
    lua_rawseti(L, -2, last);
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

/* (handle): pushes function and arguments and calls them. */
static int call_handle(lua_State *L)
{
    struct handle *h = lua_touserdata(L, 1);
    lull_pushknown(L, h->loop);
    lua_getiuservalue(L, -1, LULL_LOOP_HANDLES);
    lua_rawgeti(L, -1, h->slot);
    lua_replace(L, 1);
    lua_settop(L, 1);
    take_out(L, h, 1);
    luaL_checkstack(L, h->nargs + 2, NULL);
    for (int j = 0; j <= h->nargs; j++)
        lua_getiuservalue(L, 1, FUNCTION + j);
    lua_call(L, h->nargs, 0);
    return 0;
}

static void handle_due(lull_loop *loop, lull_waiter *w)
{
    struct handle *h = container_of(w, struct handle, waiter);
    lull_callback(lull_loop_user(loop), call_handle, h);
}

/* Pushes a Handle that calls the function at fn with the values above it at a deadline;
   < 0: soon.  The Loop, whose object o is, stands at i. */
static void new_handle(lua_State *L, struct loop *o, int i, int fn, int64_t deadline)
{
    int nargs = lua_gettop(L) - fn;
    if (nargs > MOST)
        luaL_error(L, "too many arguments");
    struct handle *h = lull_newbare(L, o->rt, LULL_HANDLE, sizeof *h, FUNCTION + nargs);
    memset(h, 0, sizeof *h); /* not always below a function of ours, hence not newobject */
    lua_rawgeti(L, LUA_REGISTRYINDEX, o->rt->metatables[LULL_HANDLE]);
    lua_setmetatable(L, -2);
    for (int j = 0; j <= nargs; j++) {
        lua_pushvalue(L, fn + j);
        lua_setiuservalue(L, -2, FUNCTION + j);
    }
    lull_waiter_init(&h->waiter, handle_due);
    lull_timer_init(&h->timer, &h->waiter);
    h->nargs = (uint16_t)nargs;
    h->when = (lua_Number)(deadline < 0 ? lull_now(o->core) : deadline) / 1e9;
    lua_getiuservalue(L, i, LULL_LOOP_HANDLES);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -3, HANDLES);
    lua_pushvalue(L, -2);
    lua_rawseti(L, -2, o->handles + 1);
    lua_pop(L, 1);
    h->slot = ++o->handles;
    h->loop = o;
    lull_wait(&h->waiter);
    if (deadline < 0)
        lull_wake(o->core, &h->waiter, 0);
    else if (lull_timer_start(o->core, &h->timer, deadline, 0) < 0) {
        take_out(L, h, -1);
        luaL_error(L, "not enough memory");
    }
}

void lull_call_soon(lua_State *L, struct runtime *rt, uint32_t loop, int nargs)
{
    struct loop *o = loop ? lull_home(rt, loop) : rt->object;
    if (o == NULL)
        luaL_error(L, "no loop is running");
    int fn = lua_gettop(L) - nargs + 1;
    lull_pushknown(L, o);
    lua_insert(L, fn - 1);
    new_handle(L, o, fn - 1, fn, -1);
    lua_settop(L, fn - 2);
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
        take_out(L, h, 1);
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
    new_handle(L, o, 1, 2, -1);
    return 1;
}

/* loop:call_later (seconds, fn, ...) -> Handle */
static int call_later(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    int64_t delay = lull_tonanoseconds(L, 2);
    lull_checkcallable(L, 3);
    lull_refresh(o->core);
    new_handle(L, o, 1, 3, lull_now(o->core) + (delay > 0 ? delay : 0));
    return 1;
}

/* loop:call_at (time, fn, ...) -> Handle */
static int call_at(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    int64_t when = lull_tonanoseconds(L, 2);
    lull_checkcallable(L, 3);
    new_handle(L, o, 1, 3, when > 0 ? when : 0);
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
