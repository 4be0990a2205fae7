/* Life of a runtime: opened with a Lua state of its own or inside of the host's, and
   closed in whatever order the host likes.

   Between two steps the runtime keeps its loop at hand, so that a script that the host
   calls directly may spawn.  Everything is driven from a coroutine of lull's own: the
   stacks of the host, and of whoever registered a callback, are theirs alone. */
#include "host.h"

#include "apart.h"

enum { LAST_TURNS = 10 };

static const char anchor_key, base_key;

/* ---- opening --------------------------------------------------------------------- */

static void close_door(lull *l)
{
    if (l->door == NULL)
        return;
    sys_door_close(l->door);
    sys_door_release(l->door);
    l->door = NULL;
}

/* The state is being closed, be it by us: of the Lua values there is no use any more.
   Those who are told now find the runtime ending: they begin nothing, and free nothing. */
static void detach(lull *l)
{
    bool ending = l->ending;
    l->ending = true;
    lull_guest_stop(l);
    close_door(l);
    lull_end_records(l);
    lull_end_parts(l);
    lull_close_watch_of(l);
    if (l->anchor != NULL)
        *l->anchor = NULL;
    l->anchor = NULL;
    l->main = l->L = NULL;
    l->rt = NULL;
    l->object = NULL;
    l->loop = NULL;
    l->ending = ending;
}

static void free_runtime(lull *l)
{
    lull_host_free(l, l->by_slot, l->slots * sizeof(struct record *));
    lull_host_free(l, l, sizeof *l);
}

static int anchor_gc(lua_State *L)
{
    lull **anchor = lua_touserdata(L, 1), *l = *anchor;
    if (l == NULL)
        return 0;
    detach(l);
    if (l->doomed && !l->own) /* nobody will come back to close it */
        free_runtime(l);
    return 0;
}

/* Made last, so that lua_close, which goes backwards, comes here while all is whole. */
static void make_anchor(lua_State *L, lull *l)
{
    lull **anchor = lua_newuserdatauv(L, sizeof *anchor, 0);
    *anchor = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, anchor_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lull_hold(L, &anchor_key);
    *anchor = l;
    l->anchor = anchor;
    lua_pop(L, 1);
}

/* (lull *): makes its coroutine, its loop and its anchor. */
static int open_loop(lua_State *L)
{
    lull *l = lua_touserdata(L, 1);
    lull_options o = l->options;
    struct runtime *rt = lull_pushruntime(L);
    o.size = sizeof o;
    o.user = rt;
    o.alloc = lua_getallocf(L, &o.alloc_ud);
    l->L = lua_newthread(L);
    luaL_checkstack(l->L, 100, NULL);
    lull_hold(L, &base_key);
    l->object = lull_newloop(L, rt, &o, &l->error);
    if (l->object == NULL)
        return luaL_error(L, "no loop");
    lull_hold(L, l);
    l->loop = l->object->core;
    l->object->host = l;
    l->rt = rt;
    rt->L = l->L;
    rt->loop = l->loop;
    rt->object = l->object;
    l->object->max_tasks = o.tasks;
    rt->max_open = o.descriptors;
    l->object->debug = o.on_slow != NULL && o.slow > 0;
    l->object->slow = o.slow;
    if (sys_door_open(&l->door, l->loop) < 0)
        return luaL_error(L, "not enough memory");
    lull_open_tell(l);
    make_anchor(L, l);
    return 0;
}

/* (lull *): everything in a state; raises. */
static int open_state(lua_State *L)
{
    lull *l = lua_touserdata(L, 1);
    luaL_checkversion(L);
    lull_open_libraries(L);
    lull_pushruntime(L);
    lua_pushcclosure(L, open_loop, 1);
    lua_pushlightuserdata(L, l);
    lua_call(L, 1, 0);
    return 0;
}

static int open_in(lull *l, lua_State *L)
{
    if (!lua_checkstack(L, 20))
        return -ENOMEM;
    lua_rawgeti(L, LUA_REGISTRYINDEX, LUA_RIDX_MAINTHREAD);
    l->main = lua_tothread(L, -1);
    lua_pop(L, 1);
    lua_pushcfunction(L, open_state);
    lua_pushlightuserdata(L, l);
    int rc = lull_errno_of(L, lua_pcall(L, 1, 0, 0));
    if (l->error < 0)
        rc = l->error;
    return rc < 0 ? rc : lull_open_watch_of(l);
}

static int new_runtime(lull **out, const lull_options *given)
{
    lull_options o = {0};
    if (given != NULL)
        memcpy(&o, given, given->size < sizeof o ? given->size : sizeof o);
    if (o.alloc == NULL)
        o.alloc = lull_plain_alloc;
    if (o.preempt > LULL_PREEMPT_SIGNAL || !lull_has_selector(o.selector))
        return o.preempt > LULL_PREEMPT_SIGNAL ? -EINVAL : -ENOSYS;
    lull *l = o.alloc(o.alloc_ud, NULL, 0, sizeof *l);
    if (l == NULL)
        return -ENOMEM;
    memset(l, 0, sizeof *l);
    l->options = o;
    list_init(&l->parts);
    list_init(&l->records);
    *out = l;
    return 0;
}

int lull_open(lull **out, const lull_options *options)
{
    lull *l;
    int rc = new_runtime(&l, options);
    if (rc < 0)
        return rc;
    l->own = true;
    if (l->options.libraries == 0)
        l->options.libraries = LULL_LIB_ALL;
    lua_State *L = lua_newstate(lull_counted_alloc, l);
    rc = L == NULL ? -ENOMEM : open_in(l, L);
    if (rc < 0) {
        if (L != NULL)
            lua_close(L);
        detach(l);
        free_runtime(l);
        return rc;
    }
    *out = l;
    return 0;
}

/* Drops the Loop on top of the stack, whose tasks have ended. */
static int drop_loop(lua_State *L)
{
    struct loop *o = lua_touserdata(L, 2);
    lua_settop(L, 2);
    lua_replace(L, 1);
    if (o->core != NULL)
        lull_drop_loop(L, o->rt, o);
    return 0;
}

/* Takes the runtime out of its state, as far as it came to be in there.  Nothing is
   needed of memory but for a closure. */
static void leave_state(lull *l)
{
    lua_State *L = l->L;
    struct runtime *rt = l->rt;
    struct loop *o = l->object;
    detach(l);
    if (o == NULL)
        return;
    o->host = NULL;
    rt->loop = NULL;
    rt->object = NULL;
    rt->L = NULL;
    lua_settop(L, 0);
    lull_pushknown(L, o);
    lull_protected_on(L, drop_loop, NULL, 1, 0);
    lull_release(L, o);
    lull_release(L, l);
    lull_release(L, &anchor_key);
    lull_release(L, &base_key);
}

/* Does a loop of the scripts' own run in L? */
static bool is_running(lua_State *L)
{
    if (!lua_checkstack(L, 2))
        return false;
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    return rt != NULL && rt->object != NULL && rt->object->running;
}

int lull_attach(lull **out, lua_State *L, const lull_options *options)
{
    lull *l = lull_of(L);
    if (l != NULL || is_running(L))
        return l != NULL ? -EEXIST : -EBUSY;
    int rc = new_runtime(&l, options);
    if (rc < 0)
        return rc;
    rc = open_in(l, L);
    if (rc < 0) {
        leave_state(l);
        free_runtime(l);
        return rc;
    }
    *out = l;
    return 0;
}

/* ---- closing --------------------------------------------------------------------- */

/* Callbacks that are due, as of tasks that have ended just now. */
static void last_turns(lull *l)
{
    lull_census left;
    for (int i = 0; i < LAST_TURNS; i++) {
        lull_loop_census(l->loop, &left);
        if (i > 0 && left.ready == 0)
            return;
        lull_loop_turn(l->loop);
        lull_clear(l->L, l->rt, l->object, 0); /* callbacks may have spawned */
    }
}

static bool calls(lua_State *L)
{
    lua_Debug ar;
    return lua_getstack(L, 0, &ar) != 0;
}

/* Is the value at i a coroutine that runs, or has resumed another? */
static bool works(lua_State *L, int i)
{
    lua_State *co = lua_tothread(L, i);
    return co != NULL && lua_status(co) == LUA_OK && calls(co);
}

/* The same of the values of the table on top, and of the tables in there down to depth. */
static bool one_works(lua_State *L, int depth)
{
    bool found = false;
    int table = lua_gettop(L);
    for (lua_pushnil(L); !found && lua_next(L, table); lua_settop(L, table + 1))
        found = works(L, -1) || (depth > 0 && lua_istable(L, -1) && one_works(L, depth - 1));
    lua_settop(L, table);
    return found;
}

/* Has the host resumed a coroutine itself?  Lua keeps no list of them.  Those are seen
   that stand where a host puts them, so that they are not collected: on the main stack,
   in the registry, in a table of the registry, among the globals. */
static bool resumes(const lull *l)
{
    for (int i = lua_gettop(l->main); i > 0; i--)
        if (works(l->main, i))
            return true;
    lua_pushvalue(l->L, LUA_REGISTRYINDEX);
    bool found = one_works(l->L, 1);
    lua_pop(l->L, 1);
    return found;
}

/* Is somebody at work who would come back to what is gone: a step, a call of ours, a loop
   of the scripts' own, or, in a state that goes too, a function that the host has called? */
static bool is_busy(const lull *l)
{
    if (l->driving || l->ending)
        return true;
    return l->main != NULL && (calls(l->L) || l->rt->object != l->object ||
                               (l->own && (calls(l->main) || resumes(l))));
}

int lull_close(lull *l, int64_t grace)
{
    if (l == NULL)
        return 0;
    if (is_busy(l)) {
        l->grace = grace;
        l->doomed = true;
        if (l->loop != NULL)
            lull_loop_stop(l->loop);
        return -EINPROGRESS;
    }
    l->ending = true;
    l->grace = grace;
    lua_State *L = l->main;
    if (L != NULL) {
        lull_guest_stop(l);
        struct frame saved = lull_begin_run(l->L, l->rt, l->object);
        lull_watch_run(l);
        lull_clear(l->L, l->rt, l->object, grace);
        close_door(l);
        last_turns(l);
        lull_review(l->rt, l->object);
        lull_unwatch(l);
        lull_end_run(l->rt, l->object, saved);
    }
    leave_state(l);
    if (L != NULL && l->own)
        lua_close(L);
    free_runtime(l);
    return 0;
}
