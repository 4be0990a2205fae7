/* Events that the host sets and pulses: the lull.event of scripts, with an end of the
   host's that outlives the runtime. */
#include "host.h"

struct lull_event {
    struct part part;
    lull_alloc alloc;
    void *ud;
};

static void release(lull_event *e)
{
    e->alloc(e->ud, e, sizeof *e, 0);
}

/* (lull_event *): makes a lull.event and holds it. */
static int make(lua_State *L)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lull");
    lua_getfield(L, -1, "event");
    lua_call(L, 0, 1);
    lull_hold(L, lua_touserdata(L, 1));
    return 0;
}

int lull_event_new(lull *l, lull_event **out)
{
    if (l->loop == NULL || l->ending)
        return -ECANCELED;
    lull_event *e = lull_host_alloc(l, sizeof *e);
    if (e == NULL)
        return -ENOMEM;
    e->alloc = l->options.alloc;
    e->ud = l->options.alloc_ud;
    lull_add_part(l, &e->part);
    int rc = lull_protected(l, make, e);
    if (rc < 0) {
        lull_drop_part(&e->part);
        release(e);
        return rc;
    }
    *out = e;
    return 0;
}

void lull_event_push(lua_State *L, const lull_event *e)
{
    luaL_checkstack(L, 4, NULL);
    if (e->part.l == NULL)
        lua_pushnil(L);
    else
        lull_pushheld(L, e);
}

struct order {
    lull_event *event;
    const char *method;
};

/* (struct order *, values...) */
static int call(lua_State *L)
{
    struct order *o = lua_touserdata(L, 1);
    lull_pushheld(L, o->event);
    lua_getfield(L, -1, o->method);
    lua_insert(L, 2);
    lua_insert(L, 3);
    lua_call(L, lua_gettop(L) - 2, 0);
    return 0;
}

static int tell(lull_event *e, lua_State *L, int n, const char *method)
{
    struct order o = {e, method};
    lull *l = e->part.l;
    if (l == NULL) {
        lua_pop(L, n);
        return -ECANCELED;
    }
    int rc = lull_protected_watched(l, L, call, &o, n);
    lull_nudge(l);
    return rc;
}

int lull_event_pulse(lull_event *e, lua_State *L, int n)
{
    return tell(e, L, n, "pulse");
}

int lull_event_set(lull_event *e, lua_State *L, int n)
{
    return tell(e, L, n, "set");
}

int lull_event_clear(lull_event *e)
{
    return e->part.l ? tell(e, e->part.l->L, 0, "clear") : -ECANCELED;
}

void lull_event_free(lull_event *e)
{
    if (e == NULL)
        return;
    if (e->part.l != NULL && lua_checkstack(e->part.l->L, 8))
        lull_release(e->part.l->L, e);
    lull_drop_part(&e->part);
    release(e);
}
