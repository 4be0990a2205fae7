/* The Lua state that a worker runs in: a state of its own for each, at the price of a
   copy.

   All memory of a state is in a region.  As soon as the libraries are open the region is
   copied, once; when a call has ended the copy is put back, byte by byte at the same
   addresses.  So the next one finds what a new state would have: its globals, libraries
   and metatables, registry, loaded modules, hooks, the pace of the collector; nothing has
   to be found out or undone.  The random numbers alone must not be the same again: they
   are seeded for each call.  Who calls one function again and again has a second copy, in
   which that is loaded.

   Putting it back forgets what the call made, and that is all that closing a state does,
   but for finalizers: files are closed, C libraries unloaded, memory given back that is
   not in the region.  Who has a finalizer is a full userdata, which the allocator is
   told; a table that was given a metatable with a __gc, so setmetatable is ours; or comes
   with a C library.  If there may be one, the state is closed first, as any state is: to
   the region that makes no difference. */
#include "kept.h"

#include <stdlib.h>

#include "region.h"
#include "worker.h"

/* What is at the bottom of the stack of a state at rest: a function, Lua's list of C
   libraries, "__gc", and of what has a finalizer from the beginning the metatable and the
   finalizer; and then the function of the mission, where it is loaded. */
enum {
    RANDOMSEED = 1, LIBRARIES, GC, BEGUN,
    BEGINNINGS = 3,
    REST = GC + 2 * BEGINNINGS,
    FUNCTION
};

enum { NEW, LOADED }; /* the copies */

struct kept {
    sys_keep keep; /* first */
    struct region *region;
    lua_State *L;
    struct runtime *rt;
    struct worker *worker;   /* whose state it is */
    uint64_t chance[2];      /* of which seeds are made */
    struct mission *mission; /* of the last call */
    int copy;                /* which one it is, or will be when it is put back */
    bool tried;              /* the mission, to load it beforehand */
    bool touched;            /* it is not as it was copied */
};

/* ---- memory ------------------------------------------------------------------------ */

static void *allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct kept *k = ud;
    struct worker *w = k->worker;
    if (ptr == NULL && osize == LUA_TUSERDATA)
        w->finalizes = true;
    bool grows = nsize > (ptr ? osize : 0);
    if (grows && w->fuel > 0 && --w->fuel == 0) {
        w->fuel = 1;
        return NULL;
    }
    return region_alloc(k->region, ptr, osize, nsize);
}

/* ---- the libraries ----------------------------------------------------------------- */

/* os.exit ends the process, os.setlocale changes it: not from here. */
static int no_exit(lua_State *L)
{
    return luaL_error(L, "os.exit would end all threads: raise an error instead");
}

static int get_locale(lua_State *L)
{
    if (!lua_isnoneornil(L, 1))
        return luaL_error(L, "os.setlocale would change the locale of all threads");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

/* Lua looks for the finalizer when the metatable is set, and never again. */
static void note_finalizer(lua_State *L, int metatable)
{
    if (!lua_istable(L, metatable))
        return;
    lua_pushliteral(L, "__gc");
    if (lua_rawget(L, metatable) != LUA_TNIL)
        lull_runtime(L)->worker->finalizes = true;
    lua_pop(L, 1);
}

/* setmetatable (table, metatable) */
static int set_metatable(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    if (luaL_getmetafield(L, 1, "__metatable") != LUA_TNIL)
        return luaL_error(L, "cannot change a protected metatable");
    lua_settop(L, 2);
    note_finalizer(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

/* debug.setmetatable (value, metatable) */
static int debug_setmetatable(lua_State *L)
{
    luaL_argexpected(L, lua_isnil(L, 2) || lua_istable(L, 2), 2, "nil or table");
    lua_settop(L, 2);
    note_finalizer(L, 2);
    lua_setmetatable(L, 1);
    return 1;
}

static const luaL_Reg globals[] = {{"setmetatable", set_metatable}, {NULL, NULL}};
static const luaL_Reg debugging[] = {{"setmetatable", debug_setmetatable}, {NULL, NULL}};

static void replace(lua_State *L)
{
    lua_pushglobaltable(L);
    lull_setfuncs(L, globals);
    lua_getglobal(L, "debug");
    lull_setfuncs(L, debugging);
    lua_getglobal(L, "os");
    lua_pushcfunction(L, no_exit);
    lua_setfield(L, -2, "exit");
    lua_getfield(L, -1, "setlocale");
    lua_pushcclosure(L, get_locale, 1);
    lua_setfield(L, -2, "setlocale");
    lua_settop(L, 0);
}

/* Whoever needs it makes it: it would be most of what is copied. */
static void drop_scratch(lua_State *L, struct runtime *rt)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    alloc(ud, rt->scratch, LULL_SCRATCH, 0);
    rt->scratch = NULL;
}

/* Pushes the metatable of the value on top, and its finalizer. */
static void push_beginning(lua_State *L)
{
    if (lua_getmetatable(L, -1))
        lua_replace(L, -2);
    lua_getfield(L, -1, "__gc");
}

static void push_rest(lua_State *L)
{
    lua_getglobal(L, "math");
    lua_getfield(L, -1, "randomseed");
    lua_replace(L, -2);
    lua_getfield(L, LUA_REGISTRYINDEX, "_CLIBS");
    int libraries = lua_gettop(L);
    lua_pushliteral(L, "__gc");
    lua_pushvalue(L, libraries);
    push_beginning(L);
    lull_pushruntime(L);
    push_beginning(L);
    lua_getglobal(L, "io");
    lua_getfield(L, -1, "stdout");
    lua_replace(L, -2);
    push_beginning(L);
}

/* (kept) -> what is at the bottom of the stack */
static int open(lua_State *L)
{
    struct kept *k = lua_touserdata(L, 1);
    lua_gc(L, LUA_GCSTOP); /* there is no garbage yet */
    luaL_openlibs(L);
    lull_open_preloaded(L);
    lua_settop(L, 0);
    replace(L);
    k->rt = lull_pushruntime(L);
    drop_scratch(L, k->rt);
    push_rest(L);
    lua_gc(L, LUA_GCRESTART);
    return REST;
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    return 0;
}

/* ---- making and keeping ------------------------------------------------------------ */

static void restore(struct kept *k)
{
    if (k->touched)
        region_restore(k->region, k->copy);
    k->touched = false;
}

static void tidy(sys_keep *keep)
{
    restore((struct kept *)keep);
}

static void discard(sys_keep *keep)
{
    struct kept *k = (struct kept *)keep;
    lull_mission_unref(k->mission);
    region_free(k->region);
    free(k);
}

/* Has what had a finalizer from the beginning, and needs none of it, another one now? */
static bool is_changed(lua_State *L, int metatable)
{
    lua_pushvalue(L, GC);
    lua_rawget(L, metatable);
    bool same = lua_rawequal(L, -1, metatable + 1);
    lua_pop(L, 1);
    return !same;
}

static bool is_closed_first(const struct kept *k)
{
    if (k->worker->finalizes || region_outside(k->region) > 0 ||
        lua_rawlen(k->L, LIBRARIES) > 0)
        return true;
    for (int i = 0; i < BEGINNINGS; i++)
        if (is_changed(k->L, BEGUN + 2 * i))
            return true;
    return false;
}

static struct kept *make(struct worker *w)
{
    struct kept *k = calloc(1, sizeof *k);
    if (k == NULL)
        return NULL;
    k->keep = (sys_keep){tidy, discard};
    k->worker = w;
    k->region = region_new();
    sys_entropy(k->chance, sizeof k->chance);
    if (k->region == NULL || (k->L = lua_newstate(allocate, k)) == NULL)
        goto failed;
    lua_pushcfunction(k->L, open);
    lua_pushlightuserdata(k->L, k);
    if (lua_pcall(k->L, 1, REST, 0) != LUA_OK || !lua_istable(k->L, LIBRARIES)) {
        lua_close(k->L);
        goto failed;
    }
    w->finalizes = false; /* those of the libraries have nothing to do */
    return k;
failed:
    discard(&k->keep);
    return NULL;
}

/* What cannot be copied is not kept. */
static void keep_it(struct kept *k, sys_keep **keep)
{
    lua_pushcfunction(k->L, collect);
    if (lua_pcall(k->L, 0, 0, 0) == LUA_OK && region_outside(k->region) == 0 &&
        region_keep(k->region, NEW))
        *keep = &k->keep;
    lua_settop(k->L, REST);
}

static int load(lua_State *L)
{
    lull_mission_load(L, lua_touserdata(L, 1));
    return 1;
}

/* Loads the mission; what comes of that is the second copy, if it is all in the region. */
static void load_ahead(struct kept *k)
{
    lua_pushcfunction(k->L, load);
    lua_pushlightuserdata(k->L, k->mission);
    if (lua_pcall(k->L, 1, 1, 0) == LUA_OK && !is_closed_first(k) &&
        region_keep(k->region, LOADED)) {
        k->copy = LOADED;
        return;
    }
    if (is_closed_first(k))
        lua_close(k->L);
    k->worker->finalizes = false;
    k->touched = true;
    restore(k);
}

static void get_ready(struct kept *k, struct mission *m)
{
    if (k->mission == NULL || !lull_mission_same(k->mission, m)) {
        if (k->copy != NEW)
            k->touched = true;
        k->copy = NEW;
        restore(k);
        lull_mission_unref(k->mission);
        k->mission = lull_mission_ref(m);
        k->tried = m->named; /* lull takes more than memory */
    } else if (!k->tried) {
        k->tried = true;
        load_ahead(k);
    }
}

struct kept *lull_kept_take(sys_keep **keep, struct worker *w)
{
    if (keep != NULL && *keep != NULL && w->anew) {
        (*keep)->free(*keep);
        *keep = NULL;
    }
    struct kept *k = keep ? (struct kept *)*keep : NULL;
    if (k == NULL && (k = make(w)) != NULL && keep != NULL)
        keep_it(k, keep);
    if (k == NULL)
        return NULL;
    k->worker = w;
    if (keep != NULL && *keep == &k->keep)
        get_ready(k, w->mission);
    k->touched = true;
    w->rt = k->rt;
    w->rt->worker = w;
    return k;
}

void lull_kept_leave(struct kept *k, sys_keep **keep)
{
    if (is_closed_first(k))
        lua_close(k->L);
    if (keep == NULL || *keep != &k->keep)
        discard(&k->keep);
}

/* ---- what it runs ------------------------------------------------------------------ */

int lull_kept_call(struct kept *k, lua_CFunction f, lua_State **L)
{
    *L = k->L;
    lua_pushcfunction(k->L, f);
    lua_pushlightuserdata(k->L, k->worker);
    lua_pushvalue(k->L, RANDOMSEED);
    if (k->copy == LOADED)
        lua_pushvalue(k->L, FUNCTION);
    return lua_pcall(k->L, k->copy == LOADED ? 3 : 2, 0, 0);
}

/* The next of a sequence without pattern (splitmix64). */
static lua_Integer draw(uint64_t *state)
{
    uint64_t x = *state += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return (lua_Integer)(x ^ x >> 31);
}

void lull_kept_prepare(lua_State *L, struct kept *k)
{
    lua_pushvalue(L, 2);
    lua_pushinteger(L, draw(&k->chance[0]));
    lua_pushinteger(L, draw(&k->chance[1]));
    lua_call(L, 2, 0);
    if (k->copy == LOADED)
        lua_pushvalue(L, 3);
    else
        lull_mission_load(L, k->worker->mission);
}
