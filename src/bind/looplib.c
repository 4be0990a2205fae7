/* The Loop object: making one, counting who lives on it, its time.  Running it is in
   run.c, callbacks in handlelib.c and watchlib.c, unlooked-at failures in report.c. */
#include "looplib.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* ---- counting -------------------------------------------------------------------- */

bool lull_drained(const struct loop *o)
{
    if (o->end == UNTIL_STOPPED || o->lingering > 0)
        return false;
    return o->tasks == (o->end == UNTIL_DAEMONS ? o->daemons : 0);
}

static void stop_when_drained(struct loop *o)
{
    if (lull_drained(o))
        lull_loop_stop(o->core);
}

struct loop *lull_home(struct runtime *rt, uint32_t serial)
{
    if (rt->object && rt->object->serial == serial)
        return rt->object;
    struct loop *o = rt->loops;
    while (o != NULL && o->serial != serial)
        o = o->next;
    return o;
}

/* Who lives on a loop keeps it alive. */
void lull_task_begins(lua_State *L, struct runtime *rt)
{
    struct loop *o = rt->object;
    if (o->max_tasks > 0 && o->tasks >= o->max_tasks)
        luaL_error(L, "task quota exceeded (%d live)", (int)o->tasks);
    if (o->tasks > 0)
        return;
    lull_pushknown(L, rt->object);
    lull_hold(L, rt->object);
}

void lull_task_began(struct runtime *rt, struct task *t)
{
    rt->object->tasks++;
    if (rt->object->end == UNTIL_EMPTY && t->own.parent == NULL)
        lull_scope_cancel(rt->loop, &t->own, -ECANCELED); /* everybody is being sent home */
}

void lull_task_ended(struct runtime *rt, struct task *t)
{
    struct loop *o = lull_home(rt, t->future.loop);
    if (--o->tasks == 0)
        lull_release(rt->L, o);
    o->daemons -= (t->future.flags & LULL_DAEMON) != 0;
    stop_when_drained(o);
}

void lull_task_daemon(struct runtime *rt, struct task *t)
{
    struct loop *o = t->co ? lull_home(rt, t->future.loop) : NULL;
    if (o == NULL)
        return;
    o->daemons++;
    stop_when_drained(o);
}

void lull_linger(lull_loop *loop, int change)
{
    struct runtime *rt = lull_loop_user(loop);
    for (struct loop *o = rt->loops; o != NULL; o = o->next)
        if (o->core == loop) {
            o->lingering += (unsigned)change;
            stop_when_drained(o);
        }
}

lull_loop *lull_loop_with(struct runtime *rt, uint32_t serial)
{
    struct loop *o = lull_home(rt, serial);
    return o ? o->core : NULL;
}

lull_loop *lull_loop_of(struct runtime *rt, lull_future *f)
{
    return f->loop == 0 ? rt->loop : lull_loop_with(rt, f->loop);
}

struct loop *lull_checkloopobject(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    if (o->core == NULL)
        luaL_error(L, "the loop is closed");
    return o;
}

lull_loop *lull_checkloop(lua_State *L)
{
    return lull_checkloopobject(L)->core;
}

/* loop:stop (): the run returns after this turn. */
static int loop_stop(lua_State *L)
{
    lull_loop_stop(lull_checkloopobject(L)->core);
    return 0;
}

void lull_drop_loop(lua_State *L, struct runtime *rt, struct loop *o)
{
    struct loop **p = &rt->loops;
    while (*p != o)
        p = &(*p)->next;
    *p = o->next;
    lull_drop_handles(L, 1);
    lull_loop_free(o->core);
    o->core = NULL;
}

/* A loop that is collected takes its tasks along without a word: the state is closing. */
static int loop_gc(lua_State *L)
{
    struct loop *o = lua_touserdata(L, 1);
    if (o->core != NULL)
        lull_drop_loop(L, lull_runtime(L), o);
    return 0;
}

static int is_running(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    lua_pushboolean(L, o->running);
    return 1;
}

static int loop_tostring(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    if (o->core == NULL)
        lua_pushliteral(L, "loop (closed)");
    else
        lua_pushfstring(L, "loop (%s, %s, %d tasks)", lull_loop_selector(o->core),
                        o->running ? "running" : "idle", (int)o->tasks);
    return 1;
}

/* ---- time ------------------------------------------------------------------------ */

int64_t lull_tonanoseconds(lua_State *L, int i)
{
    lua_Number seconds = luaL_checknumber(L, i);
    luaL_argcheck(L, seconds == seconds, i, "not a number");
    return seconds > 9e9 ? LULL_FOREVER / 2 : seconds < -9e9 ? 0 : (int64_t)ceil(seconds * 1e9);
}

/* loop:time () -> seconds on its clock */
static int loop_time(lua_State *L)
{
    lull_loop *loop = lull_checkloopobject(L)->core;
    lull_refresh(loop);
    lua_pushnumber(L, (lua_Number)lull_now(loop) / 1e9);
    return 1;
}

/* loop:advance (seconds): moves a virtual clock */
static int loop_advance(lua_State *L)
{
    if (lull_loop_advance(lull_checkloopobject(L)->core, lull_tonanoseconds(L, 2)) < 0)
        return luaL_error(L, "only a virtual clock can be advanced");
    return 0;
}

/* now () -> seconds on the running loop's clock */
static int now(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lull_refresh(rt->loop);
    lua_pushnumber(L, (lua_Number)lull_now(rt->loop) / 1e9);
    return 1;
}

/* loop:debug ([boolean]) -> boolean: watches for tasks that do not suspend for long */
static int loop_debug(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    if (!lua_isnoneornil(L, 2))
        o->debug = lua_toboolean(L, 2);
    o->rt->slow = o->debug ? o->slow : 0;
    lua_pushboolean(L, o->debug);
    return 1;
}

/* loop:slow_callback ([seconds]) -> seconds: how long is long, 0.1 unless told */
static int slow_callback(lua_State *L)
{
    struct loop *o = lull_checkloopobject(L);
    if (!lua_isnoneornil(L, 2)) {
        int64_t slow = lull_tonanoseconds(L, 2);
        luaL_argcheck(L, slow > 0, 2, "must be more than 0");
        o->slow = slow;
        o->rt->slow = o->debug ? o->slow : 0;
    }
    lua_pushnumber(L, (lua_Number)o->slow / 1e9);
    return 1;
}

/* ---- the module ------------------------------------------------------------------ */

struct loop *lull_newloop(lua_State *L, struct runtime *rt, const lull_options *options,
                          int *rc)
{
    struct loop *o = lull_newobject(L, LULL_LOOP, sizeof *o, LULL_LOOP_HANDLER);
    for (int i = LULL_LOOP_UNTAKEN; i <= LULL_LOOP_HANDLES; i++) {
        lua_newtable(L);
        lua_setiuservalue(L, -2, i);
    }
    lua_pushvalue(L, -1);
    lull_know(L, o);
    o->rt = rt;
    o->virtual_clock = options->virtual_clock;
    o->slow = 100000000;
    lull_review_init(o);
    *rc = lull_loop_new(&o->core, options);
    if (*rc < 0) {
        lua_pop(L, 1);
        return NULL;
    }
    lull_transports_init(o);
    o->serial = lull_loop_serial(o->core);
    o->next = rt->loops;
    rt->loops = o;
    return o;
}

/* new_loop ([{selector=, clock=, seed=, spin=}]) -> Loop */
static int new_loop(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_options options = {.size = sizeof options, .user = rt};
    lua_settop(L, 1);
    if (!lua_isnil(L, 1)) {
        static const char *const known[] = {"selector", "clock", "seed", "spin", NULL};
        lull_checkoptions(L, 1, "new_loop", known);
        lua_getfield(L, 1, "selector");
        options.selector = luaL_optstring(L, -1, NULL);
        lua_getfield(L, 1, "clock");
        if (!lua_isnil(L, -1)) {
            luaL_argcheck(L, strcmp(luaL_checkstring(L, -1), "virtual") == 0, 1,
                          "clock must be \"virtual\"");
            options.virtual_clock = true;
        }
        lua_getfield(L, 1, "seed");
        options.seed = (uint64_t)luaL_optinteger(L, -1, 0);
        lua_getfield(L, 1, "spin");
        if (!lua_isnil(L, -1)) {
            luaL_argcheck(L, lua_tonumber(L, -1) >= 0 && lua_isnumber(L, -1), 1,
                          "spin must be a number of seconds");
            options.spin = lull_tonanoseconds(L, -1);
        }
    }
    options.alloc = lua_getallocf(L, &options.alloc_ud);
    int rc;
    if (lull_newloop(L, rt, &options, &rc) == NULL) {
        if (rc == -ENOSYS)
            return luaL_error(L, "no such selector: %s", options.selector);
        lull_pushfail(L, rc, NULL);
        lua_pop(L, 1);
        return lua_error(L);
    }
    return 1;
}

/* loop () -> the running Loop */
static int running_loop(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->object == NULL)
        return luaL_error(L, "no loop is running");
    lull_pushknown(L, rt->object);
    return 1;
}

/* has_loop () -> boolean */
static int has_loop(lua_State *L)
{
    lua_pushboolean(L, lull_runtime(L)->loop != NULL);
    return 1;
}

/* time () -> seconds since 1970 */
static int wall_time(lua_State *L)
{
    struct timespec ts;
    timespec_get(&ts, TIME_UTC);
    lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec / 1e9);
    return 1;
}

/* selector_name () -> the running loop's, or the one that a new loop would have */
static int selector_name(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lua_pushstring(L, rt->loop ? lull_loop_selector(rt->loop) : lull_default_selector());
    return 1;
}

static int tasks(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->object == NULL)
        lua_newtable(L);
    else
        lull_pushtasks(L, rt, rt->object->serial);
    return 1;
}

static const luaL_Reg methods[] = {{"stop", loop_stop},
                                   {"is_running", is_running},
                                   {"time", loop_time},
                                   {"advance", loop_advance},
                                   {"debug", loop_debug},
                                   {"slow_callback", slow_callback},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", lull_loop_close}, {"__gc", loop_gc},
                                       {"__tostring", loop_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_loop", new_loop}, {"loop", running_loop},
                                     {"has_loop", has_loop}, {"now", now},
                                     {"tasks", tasks},       {"time", wall_time},
                                     {"selector_name", selector_name}, {NULL, NULL}};

void lull_open_loop(lua_State *L)
{
    lull_newclass(L, LULL_LOOP, "Loop", methods, metamethods);
    lull_open_run(L);
    lull_open_handle(L);
    lull_open_report(L);
    lull_open_watch(L);
    lull_setfuncs(L, functions);
}
