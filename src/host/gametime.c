/* The host's end of a clock that it stops, slows and turns: clocklib.c has the clock. */
#include "host.h"

#include "clocklib.h"

struct lull_clock {
    struct part part;
    struct clock *clock; /* held under the address of this */
    lull_alloc alloc;
    void *ud;
};

static void release(lull_clock *c)
{
    c->alloc(c->ud, c, sizeof *c, 0);
}

static void clock_ends(struct part *p)
{
    container_of(p, lull_clock, part)->clock = NULL;
    lull_drop_part(p);
}

/* (lull_clock *) */
static int make(lua_State *L)
{
    lull_clock *c = lua_touserdata(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lull");
    lua_getfield(L, -1, "clock"); /* loads what scripts call of it, too */
    struct clock *clock = lull_newclock(L, c->part.l->rt);
    lull_hold(L, c);
    c->clock = clock;
    return 0;
}

int lull_clock_new(lull *l, lull_clock **out)
{
    if (l->loop == NULL || l->ending)
        return -ECANCELED;
    lull_clock *c = lull_host_alloc(l, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    c->alloc = l->options.alloc;
    c->ud = l->options.alloc_ud;
    c->part.end = clock_ends;
    lull_add_part(l, &c->part);
    int rc = lull_protected(l, make, c);
    if (rc < 0) {
        lull_drop_part(&c->part);
        release(c);
        return rc;
    }
    *out = c;
    return 0;
}

void lull_clock_push(lua_State *L, const lull_clock *c)
{
    luaL_checkstack(L, 4, NULL);
    if (c->clock == NULL)
        lua_pushnil(L);
    else
        lull_pushheld(L, c);
}

int64_t lull_clock_now(const lull_clock *c)
{
    return c->clock ? lull_clock_time(c->clock) : 0;
}

void lull_clock_pause(lull_clock *c, bool paused)
{
    if (c->clock == NULL)
        return;
    lull_clock_set_paused(c->clock, paused);
    lull_nudge(c->part.l);
}

int lull_clock_scale(lull_clock *c, double factor)
{
    if (!(factor > 0 && factor <= 1e6))
        return -EINVAL;
    if (c->clock == NULL)
        return -ECANCELED;
    lull_clock_set_scale(c->clock, factor);
    lull_nudge(c->part.l);
    return 0;
}

int lull_clock_advance(lull_clock *c, int64_t ns)
{
    if (ns < 0)
        return -EINVAL;
    if (c->clock == NULL)
        return -ECANCELED;
    lull_clock_turn(c->clock, ns);
    lull_nudge(c->part.l);
    return 0;
}

void lull_clock_free(lull_clock *c)
{
    if (c == NULL)
        return;
    if (c->clock != NULL && lua_checkstack(c->part.l->L, 8))
        lull_release(c->part.l->L, c);
    lull_drop_part(&c->part);
    release(c);
}
