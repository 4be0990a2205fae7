/* When the program collects garbage.  It begins as lua5.4 does, with a generational
   collector: what a small server lets go of is young, and the rest is not looked through
   again.  But when such a collector does look through everything, it does so at once, and
   each time through all stacks.  So from some size on it is an incremental one, whose
   pauses stay short, and when little is left the other again.  A script that chooses for
   itself keeps what it has chosen. */
#include "program.h"

#include <string.h>

enum {
    KIBI = 1024,
    BALLAST = 1024 * KIBI, /* see take_ballast; with it an empty program uses 2300 KiB */
    MUCH = 3584 * KIBI,    /* some seven hundred streams: their stacks would be felt */
    LITTLE = 2816 * KIBI
};

static struct runtime *rt;
static lull_loop *loop; /* of the main task */
static lull_waiter change;
static lua_CFunction collectgarbage;
static bool chosen;     /* by the script */
static int mode = LUA_GCGEN;

/* A collection begins when memory has grown by a part of what is in use: a small heap is
   looked through again and again.  This much that is never touched, and hence takes no
   memory but counts as used, lets more garbage gather first. */
static void take_ballast(lua_State *L)
{
    lua_newuserdatauv(L, BALLAST, 0);
    luaL_ref(L, LUA_REGISTRYINDEX);
}

static int wanted_mode(void)
{
    size_t size = lull_state_size();
    return size > MUCH ? LUA_GCINC : size < LITTLE ? LUA_GCGEN : mode;
}

/* Changing it collects garbage: not while the script has stopped that. */
static int set_mode(lua_State *L)
{
    if (!lua_gc(L, LUA_GCISRUNNING))
        return 0;
    mode = wanted_mode();
    if (mode == LUA_GCGEN)
        lua_gc(L, LUA_GCGEN, 0, 0);
    else
        lua_gc(L, LUA_GCINC, 0, 0, 0);
    return 0;
}

static void on_change(lull_loop *l, lull_waiter *w)
{
    (void)l;
    lull_wait(w);
    if (!chosen && wanted_mode() != mode)
        lull_callback(rt, set_mode, NULL);
}

/* The __gc of an object that nobody holds: a collection has ended.  Lua changes no mode
   in here. */
static int after_collection(lua_State *L)
{
    if (chosen)
        return 0;
    if (wanted_mode() != mode)
        lull_wake(loop, &change, 0);
    lua_newtable(L); /* for the next one */
    lua_getmetatable(L, 1);
    lua_setmetatable(L, -2);
    return 0;
}

/* collectgarbage ([what, ...]), as Lua's, and called as if it were that. */
static int note_choice(lua_State *L)
{
    const char *what = lua_tostring(L, 1);
    if (what && (strcmp(what, "generational") == 0 || strcmp(what, "incremental") == 0))
        chosen = true;
    return collectgarbage(L);
}

void lull_collector_open(lua_State *L, bool in_tasks)
{
    lua_gc(L, LUA_GCGEN, 0, 0);
    if (!in_tasks)
        return;
    take_ballast(L);
    lua_getglobal(L, "collectgarbage");
    collectgarbage = lua_tocfunction(L, -1);
    lua_pushcfunction(L, note_choice);
    lua_setglobal(L, "collectgarbage");
    lua_pop(L, 1);
}

void lull_collector_watch(lua_State *L)
{
    rt = lull_pushruntime(L);
    loop = rt->loop;
    lull_waiter_init(&change, on_change);
    lull_wait(&change);
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, after_collection);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lua_pop(L, 2);
}

void lull_collector_close(void)
{
    if (loop)
        lull_forget(&change);
    chosen = true; /* nothing changes any more */
}
