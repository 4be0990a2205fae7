/* Opening the library: the runtime userdata that every function has as upvalue 1, the
   classes, what is kept alive, and the modules in Lua that are compiled in. */
#include "bind.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "stream.h"
#include "sys.h"
#include "transport.h"

/* uservalues of the runtime */
enum { HELD = 1, EXTRAS, KNOWN, USERVALUES = KNOWN };

static const char runtime_key;
static const char begun_key; /* the core's table, while half of it is not open */

/* ---- runtime --------------------------------------------------------------------- */

struct runtime *lull_pushruntime(lua_State *L)
{
    lua_rawgetp(L, LUA_REGISTRYINDEX, &runtime_key);
    return lua_touserdata(L, -1);
}

static int runtime_gc(lua_State *L)
{
    struct runtime *rt = lua_touserdata(L, 1);
    free(rt->idle.slot);
    free(rt->owned);
    rt->owned = NULL;
    rt->owned_size = 0;
    lull_close_pipe(rt);
    sys_tls_free_all(&rt->tls);
    while (!list_empty(&rt->outflows))
        lull_free_outflow(L, container_of(rt->outflows.next, struct outflow, link));
    while (!list_empty(&rt->backlogs))
        lull_free_backlog(L, container_of(rt->backlogs.next, struct backlog, link));
    if (rt->scratch) {
        void *ud;
        lua_Alloc alloc = lua_getallocf(L, &ud);
        alloc(ud, rt->scratch, LULL_SCRATCH, 0);
    }
    rt->idle.slot = NULL;
    rt->idle.count = rt->idle.capacity = 0;
    rt->scratch = NULL;
    return 0;
}

static void newtable(lua_State *L, const char *mode)
{
    lua_newtable(L);
    if (mode == NULL)
        return;
    lua_createtable(L, 0, 1);
    lua_pushstring(L, mode);
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

static void newruntime(lua_State *L)
{
    struct runtime *rt = lua_newuserdatauv(L, sizeof *rt, USERVALUES);
    memset(rt, 0, sizeof *rt);
    list_init(&rt->tls);
    list_init(&rt->outflows);
    list_init(&rt->backlogs);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, runtime_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    newtable(L, NULL);
    lua_setiuservalue(L, -2, HELD);
    newtable(L, "k");
    lua_setiuservalue(L, -2, EXTRAS);
    newtable(L, "v");
    lua_setiuservalue(L, -2, KNOWN);
    lua_pushvalue(L, -1);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &runtime_key);
#ifdef LULL_STRESS
    lua_gc(L, LUA_GCGEN, 0, 0); /* see drive in task.c: each step collects the young */
#endif
    if (lull_scratch(L, rt) == NULL)
        luaL_error(L, "not enough memory");
}

/* ---- what is kept alive, and what belongs to an object ----------------------------- */

void lull_pushallheld(lua_State *L)
{
    lull_pushruntime(L);
    lua_getiuservalue(L, -1, HELD);
    lua_remove(L, -2);
}

void lull_hold(lua_State *L, const void *key)
{
    lull_pushallheld(L);
    lua_insert(L, -2);
    lua_rawsetp(L, -2, key);
    lua_pop(L, 1);
}

int lull_pushheld(lua_State *L, const void *key)
{
    lull_pushallheld(L);
    int type = lua_rawgetp(L, -1, key);
    lua_remove(L, -2);
    return type;
}

void lull_release(lua_State *L, const void *key)
{
    lull_pushallheld(L);
    if (lua_rawgetp(L, -1, key) != LUA_TNIL) { /* only existing keys are set to nil */
        lua_pushnil(L);
        lua_rawsetp(L, -3, key);
    }
    lua_pop(L, 2);
}

lua_Integer lull_countheld(lua_State *L)
{
    lua_Integer n = 0;
    lull_pushallheld(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        n++;
    lua_pop(L, 1);
    return n;
}

void lull_know(lua_State *L, const void *key)
{
    lull_pushruntime(L);
    lua_getiuservalue(L, -1, KNOWN);
    lua_pushvalue(L, -3);
    lua_rawsetp(L, -2, key);
    lua_pop(L, 3);
}

int lull_pushknown(lua_State *L, const void *key)
{
    lull_pushruntime(L);
    lua_getiuservalue(L, -1, KNOWN);
    int type = lua_rawgetp(L, -1, key);
    lua_replace(L, -3);
    lua_pop(L, 1);
    return type;
}

bool lull_hasextra(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    lull_pushruntime(L);
    lua_getiuservalue(L, -1, EXTRAS);
    lua_pushvalue(L, i);
    if (lua_rawget(L, -2) == LUA_TNIL) {
        lua_pop(L, 3);
        return false;
    }
    lua_replace(L, -3);
    lua_pop(L, 1);
    return true;
}

void lull_pushextra(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    if (lull_hasextra(L, i))
        return;
    lua_newtable(L);
    lull_pushruntime(L);
    lua_getiuservalue(L, -1, EXTRAS);
    lua_pushvalue(L, i);
    lua_pushvalue(L, -4);
    lua_rawset(L, -3);
    lua_pop(L, 2);
}

/* ---- descriptors -------------------------------------------------------------------- */

void lull_own(struct runtime *rt, int fd, bool owned)
{
    if (fd < 0)
        return;
    if (fd / 8 >= rt->owned_size) {
        int size = fd / 8 + 64;
        unsigned char *p = owned ? realloc(rt->owned, (size_t)size) : NULL;
        if (p == NULL)
            return;
        memset(p + rt->owned_size, 0, (size_t)(size - rt->owned_size));
        rt->owned = p;
        rt->owned_size = size;
    }
    unsigned char bit = (unsigned char)(1 << fd % 8);
    if (owned != ((rt->owned[fd / 8] & bit) != 0))
        rt->open += owned ? 1 : -1u;
    rt->owned[fd / 8] = (unsigned char)(owned ? rt->owned[fd / 8] | bit : rt->owned[fd / 8] & ~bit);
}

int lull_admit(const struct runtime *rt, unsigned n)
{
    return rt->max_open > 0 && rt->open + n > rt->max_open ? -EMFILE : 0;
}

bool lull_owned(const struct runtime *rt, int fd)
{
    return fd >= 0 && fd / 8 < rt->owned_size && (rt->owned[fd / 8] >> fd % 8 & 1);
}

/* ---- classes ------------------------------------------------------------------------ */

void lull_setfuncs(lua_State *L, const luaL_Reg *functions)
{
    lull_pushruntime(L);
    luaL_setfuncs(L, functions, 1);
}

static int count(const luaL_Reg *functions)
{
    int n = 0;
    while (functions && functions[n].name)
        n++;
    return n;
}

/* The metatable of class c in the registry: the key is its place in the runtime. */
void lull_newclass(lua_State *L, enum lull_class c, const char *name,
                   const luaL_Reg *methods, const luaL_Reg *metamethods)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_createtable(L, 0, count(metamethods) + 2);
    lua_pushstring(L, name);
    lua_setfield(L, -2, "__name");
    lua_createtable(L, 0, count(methods));
    if (methods)
        lull_setfuncs(L, methods);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "lull.methods");
    lua_pushvalue(L, -2);
    lua_setfield(L, -2, name);
    lua_pop(L, 1);
    lua_setfield(L, -2, "__index");
    if (metamethods)
        lull_setfuncs(L, metamethods);
    rt->classes[c] = lua_topointer(L, -1);
    rt->metatables[c] = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_pop(L, 1);
}

void lull_addmethods(lua_State *L, enum lull_class c, const luaL_Reg *methods)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[c]);
    lua_getfield(L, -1, "__index");
    lull_setfuncs(L, methods);
    lua_pop(L, 3);
}

void *lull_newobject(lua_State *L, enum lull_class c, size_t size, int uservalues)
{
    struct runtime *rt = lull_runtime(L);
    void *object = memset(lull_newbare(L, rt, c, size, uservalues), 0, size);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[c]);
    lua_setmetatable(L, -2);
    return object;
}

void *lull_check(lua_State *L, struct runtime *rt, int i, enum lull_class c)
{
    void *object = lull_test(L, rt, i, c);
    if (object == NULL) {
        lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[c]);
        lua_getfield(L, -1, "__name");
        luaL_typeerror(L, i, lua_tostring(L, -1));
    }
    return object;
}

/* ---- modules -------------------------------------------------------------------------- */

static const char private_key;

void lull_setprivate(lua_State *L)
{
    lua_rawsetp(L, LUA_REGISTRYINDEX, &private_key);
}

bool lull_pushprivate(lua_State *L)
{
    return lua_rawgetp(L, LUA_REGISTRYINDEX, &private_key) == LUA_TTABLE;
}

/* loader of a compiled-in module: upvalue 1 is its place in lull_modules */
static int load_module(lua_State *L)
{
    const struct lull_module *m = lua_touserdata(L, lua_upvalueindex(1));
    lua_settop(L, 2);
    lua_pushfstring(L, "@%s", m->file);
    if (luaL_loadbufferx(L, m->code, m->size, lua_tostring(L, -1), NULL) != LUA_OK)
        return lua_error(L);
    if (lull_pushprivate(L))
        lua_setupvalue(L, -2, 1);
    else
        lua_pop(L, 1);
    lua_pushvalue(L, 1);
    lua_pushvalue(L, 2);
    lua_call(L, 2, 1);
    return 1;
}

/* package.preload for each; an entry that is there already (a host's) stays. */
static void preload(lua_State *L)
{
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    for (const struct lull_module *m = lull_modules; m->name != NULL; m++) {
        bool taken = lua_getfield(L, -1, m->name) != LUA_TNIL;
        lua_pop(L, 1);
        if (taken || strcmp(m->name, "lull") == 0)
            continue;
        lua_pushlightuserdata(L, (void *)m);
        lua_pushcclosure(L, load_module, 1);
        lua_setfield(L, -2, m->name);
    }
    lua_pop(L, 1);
}

static const struct lull_module *find_module(const char *name)
{
    const struct lull_module *m = lull_modules;
    while (m->name != NULL && strcmp(m->name, name) != 0)
        m++;
    return m;
}

enum { FUNCTIONS = 96 }; /* in the core's table, about */

/* What code that awaits nothing needs, too.  Pushes the core's table. */
static void begin_core(lua_State *L, int functions)
{
    newruntime(L);
    lua_createtable(L, 0, functions);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, "lull.methods");
    lua_setfield(L, -2, "methods");
    lull_open_error(L);
    lull_open_co(L);
    lull_open_parcel(L);
}

static int open_core(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &begun_key) == LUA_TNIL)
        begin_core(L, FUNCTIONS);
    lull_open_future(L);
    lull_open_task(L);
    lull_open_scope(L);
    lull_open_group(L);
    lull_open_many(L);
    lull_open_lot(L);
    lull_open_queue(L);
    lull_open_lock(L);
    lull_open_semaphore(L);
    lull_open_local(L);
    lull_open_test(L);
    lull_open_loop(L);
    lull_open_selector(L);
    lull_open_sock(L);
    lull_open_stream(L);
    lull_open_tls(L);
    lull_open_datagram(L);
    lull_open_process(L);
    lull_open_signal(L);
    lull_open_stdio(L);
    lull_open_fs(L);
    lull_open_thread(L);
    lull_open_clock(L);
    lull_open_transport(L);
    lua_pushliteral(L, LULL_VERSION);
    lua_setfield(L, -2, "version");
    return 1;
}

LULL_API int luaopen_lull_core(lua_State *L);

int luaopen_lull_core(lua_State *L)
{
    luaL_checkversion(L);
    luaL_requiref(L, "lull.core", open_core, 0);
    return 1;
}

void lull_open_preloaded(lua_State *L)
{
    begin_core(L, 0);
    lua_rawsetp(L, LUA_REGISTRYINDEX, &begun_key);
    preload(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
    lua_pushcfunction(L, luaopen_lull);
    lua_setfield(L, -2, "lull");
    lua_pushcfunction(L, luaopen_lull_core);
    lua_setfield(L, -2, "lull.core");
    lua_pop(L, 1);
}

int luaopen_lull(lua_State *L)
{
    luaopen_lull_core(L);
    preload(L);
    lua_settop(L, 0);
    lua_pushliteral(L, "lull");
    lua_pushliteral(L, ":compiled in:");
    lua_pushlightuserdata(L, (void *)find_module("lull"));
    lua_pushcclosure(L, load_module, 1);
    lua_insert(L, 1);
    lua_call(L, 2, 1);
    return 1;
}
