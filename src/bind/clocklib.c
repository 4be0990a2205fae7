/* Clocks that can be paused, scaled and turned: game time.  The loop's own clock stays as
   it is; a clock asks it for one timer, that of whoever sleeps on the clock and has to be
   woken first, and again whenever it is changed.

   A sleeper has a place in the clock's heap, not a timer of its task, which the loop
   would take for its own.  It knows its task by slot and id: one that was ended by force
   while it slept is not found any more. */
#include "clocklib.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "scope.h"

enum { CLOCK_SCALE_MAX = 1000000 };

/* A place in the heap of a clock: a task that sleeps, or an alarm that cancels a scope. */
struct nap {
    lull_timer node; /* first; of the heap only */
    uint32_t slot, id;
    struct alarm *alarm;
    struct nap *next; /* in the list of the idle */
};

/* Ends a scope at a time of a clock.  uservalues: the Clock, the Scope. */
struct alarm {
    struct clock *clock;
    struct nap *nap;
    struct scope *scope;
};

/* ---- time ------------------------------------------------------------------------ */

/* The loop of c, or NULL; a clock begins to go when it first meets one. */
static lull_loop *loop_of(struct clock *c)
{
    if (c->loop == 0 && c->rt->loop != NULL) {
        c->loop = lull_loop_serial(c->rt->loop);
        lull_refresh(c->rt->loop);
        c->since = lull_now(c->rt->loop);
    }
    return c->loop ? lull_loop_with(c->rt, c->loop) : NULL;
}

/* The end of time is INT64_MAX, and stays it. */
static int64_t later(int64_t then, int64_t ns)
{
    return ns > INT64_MAX - then ? INT64_MAX : then + ns;
}

static int64_t since_to_now(struct clock *c, lull_loop *loop)
{
    if (c->paused || loop == NULL)
        return c->then;
    int64_t passed = lull_now(loop) - c->since;
    lua_Number scaled = (lua_Number)passed * c->scale;
    if (c->scale != 1)
        passed = scaled < 9e18 ? (int64_t)scaled : INT64_MAX;
    return later(c->then, passed);
}

int64_t lull_clock_time(struct clock *c)
{
    lull_loop *loop = loop_of(c);
    if (loop != NULL)
        lull_refresh(loop);
    return since_to_now(c, loop);
}

/* In how many ns of the loop's the first sleeper is due; LULL_FOREVER: not as it is now. */
static int64_t patience(struct clock *c, lull_loop *loop)
{
    int64_t left = c->naps.count > 0 ? c->naps.entries[0].key - since_to_now(c, loop)
                                     : LULL_FOREVER;
    if (left <= 0)
        return 0;
    lua_Number wait = ceil((lua_Number)left / c->scale);
    return c->paused || wait > 4e18 ? LULL_FOREVER : (int64_t)wait;
}

/* Has the loop wake us then. */
static void set_timer(struct clock *c, lull_loop *loop)
{
    int64_t wait = patience(c, loop), now = lull_now(loop);
    lull_forget(&c->waiter);
    lull_wait(&c->waiter);
    if (wait >= LULL_FOREVER - now)
        lull_timer_stop(loop, &c->timer);
    else if (lull_timer_start(loop, &c->timer, now + wait, 0) < 0)
        lull_wake(loop, &c->waiter, 0); /* no memory: tries again every turn */
}

/* What has gone by until now is settled, before something changes. */
static lull_loop *settle(struct clock *c)
{
    lull_loop *loop = loop_of(c);
    c->then = lull_clock_time(c);
    if (loop != NULL)
        c->since = lull_now(loop);
    return loop;
}

static void changed(struct clock *c, lull_loop *loop)
{
    if (loop != NULL && c->naps.count > 0)
        set_timer(c, loop);
}

void lull_clock_set_paused(struct clock *c, bool paused)
{
    lull_loop *loop = settle(c);
    c->paused = paused;
    changed(c, loop);
}

void lull_clock_set_scale(struct clock *c, lua_Number scale)
{
    lull_loop *loop = settle(c);
    c->scale = scale;
    changed(c, loop);
}

void lull_clock_turn(struct clock *c, int64_t ns)
{
    lull_loop *loop = settle(c);
    c->then = later(c->then, ns);
    changed(c, loop);
}

/* ---- places ---------------------------------------------------------------------- */

static struct nap *take_nap(lua_State *L, struct clock *c, int64_t deadline)
{
    struct nap *nap = c->idle;
    if (nap != NULL)
        c->idle = nap->next;
    else if ((nap = c->alloc(c->ud, NULL, 0, sizeof *nap)) == NULL)
        luaL_error(L, "not enough memory");
    memset(nap, 0, sizeof *nap);
    if (heap_set(&c->naps, &nap->node, deadline, c->alloc, c->ud) < 0) {
        nap->next = c->idle;
        c->idle = nap;
        luaL_error(L, "not enough memory");
    }
    return nap;
}

static void leave_nap(struct clock *c, struct nap *nap)
{
    if (nap->node.index != 0)
        heap_remove(&c->naps, &nap->node);
    nap->next = c->idle;
    c->idle = nap;
    lull_loop *loop = c->naps.count == 0 ? lull_loop_with(c->rt, c->loop) : NULL;
    if (loop != NULL)
        lull_timer_stop(loop, &c->timer);
}

/* Wakes whoever nap stands for; it is out of the heap. */
static void fire(struct clock *c, lull_loop *loop, struct nap *nap)
{
    struct alarm *alarm = nap->alarm;
    if (alarm != NULL) {
        alarm->nap = NULL;
        if (alarm->scope->task != NULL)
            lull_scope_cancel(loop, &alarm->scope->deadline.scope, -ETIMEDOUT);
        leave_nap(c, nap);
        return;
    }
    lua_State *L = c->rt->L;
    struct task *t = lull_pushlive(L, c->rt, nap->slot, c->loop);
    lua_pop(L, 1);
    if (t != NULL && t->id == nap->id)
        lull_wake(loop, &t->waiter, 0); /* the task gives the place back */
    else
        leave_nap(c, nap);
}

static void due(lull_loop *loop, lull_waiter *w)
{
    struct clock *c = container_of(w, struct clock, waiter);
    int64_t now = since_to_now(c, loop);
    while (c->naps.count > 0 && c->naps.entries[0].key <= now) {
        struct nap *nap = (struct nap *)(void *)c->naps.entries[0].node;
        heap_remove(&c->naps, &nap->node);
        fire(c, loop, nap);
    }
    if (c->naps.count > 0)
        set_timer(c, loop);
}

/* ---- sleeping -------------------------------------------------------------------- */

static struct clock *checkclock(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_CLOCK);
}

static int64_t checktime(lua_State *L, int i)
{
    lua_Number seconds = luaL_checknumber(L, i);
    luaL_argcheck(L, seconds == seconds, i, "not a number");
    return seconds > 4e9 ? (int64_t)4e18 : seconds < -4e9 ? 0 : (int64_t)ceil(seconds * 1e9);
}

/* The moment that is so far away, on the clock and its loop, which must be that of L. */
static int64_t moment(lua_State *L, struct clock *c, int64_t ns)
{
    int64_t now = lull_clock_time(c);
    if (c->loop != lull_loop_serial(c->rt->loop))
        luaL_error(L, "the clock belongs to another loop");
    return later(now, ns);
}

/* However it came to wake up; the place was light userdata on top. */
static int woken(lua_State *L, int status, lua_KContext place)
{
    (void)status;
    struct runtime *rt = lull_runtime(L);
    leave_nap(lua_touserdata(L, 1), (struct nap *)place);
    return rt->task->scope->cancelled ? lull_raisecancel(L, rt) : 0;
}

static int turned(lua_State *L, int status, lua_KContext rc)
{
    (void)L, (void)status, (void)rc;
    return 0;
}

static int sleepk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct clock *c = lua_touserdata(L, 1);
    int64_t ns = checktime(L, 2);
    if (ns <= 0) {
        lull_wait_turn(rt->loop, &rt->task->waiter);
        return lull_park(L, turned);
    }
    struct nap *nap = take_nap(L, c, moment(L, c, ns));
    nap->slot = rt->task->slot;
    nap->id = rt->task->id;
    lull_wait(&rt->task->waiter);
    set_timer(c, rt->loop);
    return lull_park_raw(L, rt, (lua_KContext)nap, woken);
}

/* clock:sleep (seconds): of its time */
static int clock_sleep(lua_State *L)
{
    checkclock(L);
    checktime(L, 2);
    return lull_enter(L, sleepk);
}

/* ---- alarms ---------------------------------------------------------------------- */

static int alarm_close(lua_State *L)
{
    struct alarm *a = lua_touserdata(L, 1);
    if (a->nap != NULL)
        leave_nap(a->clock, a->nap);
    a->nap = NULL;
    return 0;
}

/* clock:alarm (seconds, scope) -> closable: for lull.clock's timeout */
static int clock_alarm(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct clock *c = checkclock(L);
    int64_t ns = checktime(L, 2);
    struct scope *s = lull_check(L, rt, 3, LULL_SCOPE);
    struct alarm *a = lua_newuserdatauv(L, sizeof *a, 2);
    memset(a, 0, sizeof *a);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "lull.alarm");
    lua_setmetatable(L, -2);
    for (int i = 0; i < 2; i++) {
        lua_pushvalue(L, i == 0 ? 1 : 3);
        lua_setiuservalue(L, -2, i + 1);
    }
    a->clock = c;
    a->scope = s;
    a->nap = take_nap(L, c, moment(L, c, ns > 0 ? ns : 0));
    a->nap->alarm = a;
    set_timer(c, rt->loop);
    return 1;
}

/* ---- the rest -------------------------------------------------------------------- */

/* clock:now () -> seconds */
static int clock_now(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)lull_clock_time(checkclock(L)) / 1e9);
    return 1;
}

/* clock:pause ([boolean]), true unless told */
static int clock_pause(lua_State *L)
{
    lull_clock_set_paused(checkclock(L), lua_isnoneornil(L, 2) || lua_toboolean(L, 2));
    return 0;
}

static int clock_resume(lua_State *L)
{
    lull_clock_set_paused(checkclock(L), false);
    return 0;
}

static int clock_paused(lua_State *L)
{
    lua_pushboolean(L, checkclock(L)->paused);
    return 1;
}

/* clock:scale ([factor]) -> factor */
static int clock_scale(lua_State *L)
{
    struct clock *c = checkclock(L);
    if (!lua_isnoneornil(L, 2)) {
        lua_Number scale = luaL_checknumber(L, 2);
        luaL_argcheck(L, scale > 0 && scale <= CLOCK_SCALE_MAX, 2, "out of range");
        lull_clock_set_scale(c, scale);
    }
    lua_pushnumber(L, c->scale);
    return 1;
}

/* clock:advance (seconds) */
static int clock_advance(lua_State *L)
{
    struct clock *c = checkclock(L);
    int64_t ns = checktime(L, 2);
    luaL_argcheck(L, ns >= 0, 2, "a clock is not turned back");
    lull_clock_turn(c, ns);
    return 0;
}

static int clock_tostring(lua_State *L)
{
    struct clock *c = checkclock(L);
    lua_pushfstring(L, "clock (%f, %s): %p", (lua_Number)lull_clock_time(c) / 1e9,
                    c->paused ? "paused" : "going", (void *)c);
    return 1;
}

/* Nobody who sleeps on it is left: they would have it on their stacks. */
static int clock_gc(lua_State *L)
{
    struct clock *c = lua_touserdata(L, 1);
    lull_loop *loop = c->loop ? lull_loop_with(c->rt, c->loop) : NULL;
    if (loop != NULL)
        lull_timer_stop(loop, &c->timer);
    lull_forget(&c->waiter);
    while (c->naps.count > 0)
        leave_nap(c, (struct nap *)(void *)c->naps.entries[0].node);
    for (struct nap *nap = c->idle, *next; nap != NULL; nap = next) {
        next = nap->next;
        c->alloc(c->ud, nap, sizeof *nap, 0);
    }
    c->idle = NULL;
    heap_free(&c->naps, c->alloc, c->ud);
    memset(&c->naps, 0, sizeof c->naps);
    return 0;
}

struct clock *lull_newclock(lua_State *L, struct runtime *rt)
{
    struct clock *c = lull_newbare(L, rt, LULL_CLOCK, sizeof *c, 0);
    memset(c, 0, sizeof *c);
    c->rt = rt;
    c->scale = 1;
    c->alloc = lua_getallocf(L, &c->ud);
    lull_waiter_init(&c->waiter, due);
    lull_timer_init(&c->timer, &c->waiter);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[LULL_CLOCK]);
    lua_setmetatable(L, -2);
    loop_of(c);
    return c;
}

/* clock () -> Clock */
static int new(lua_State *L)
{
    lull_newclock(L, lull_runtime(L));
    return 1;
}

static const luaL_Reg methods[] = {
    {"sleep", clock_sleep},   {"now", clock_now},       {"pause", clock_pause},
    {"resume", clock_resume}, {"paused", clock_paused}, {"scale", clock_scale},
    {"advance", clock_advance}, {"alarm", clock_alarm}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__tostring", clock_tostring}, {"__gc", clock_gc}, {NULL, NULL}};

static const luaL_Reg alarm_meta[] = {
    {"__close", alarm_close}, {"__gc", alarm_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"clock", new}, {NULL, NULL}};

void lull_open_clock(lua_State *L)
{
    lull_newclass(L, LULL_CLOCK, "Clock", methods, metamethods);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "lull.alarm");
    lull_setfuncs(L, alarm_meta);
    lua_pop(L, 1);
    lull_setfuncs(L, functions);
}
