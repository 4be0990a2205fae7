/* What the scripts of a host see.  lull's own modules in Lua need the standard library
   and a require; where the host does not give these to its scripts, or does not want its
   own replaced, the modules get an environment of their own with a whole library in it,
   which no script can come to. */
#include "host.h"

/* ---- the environment of the modules ---------------------------------------------- */

/* (): opens Lua's libraries as if into a new state, which is on top as the globals. */
static int open_all(lua_State *L)
{
    luaL_openlibs(L);
    return 0;
}

/* Pushes the metatable of strings, or nil. */
static void push_string_metatable(lua_State *L)
{
    lua_pushliteral(L, "");
    if (!lua_getmetatable(L, -1))
        lua_pushnil(L);
    lua_remove(L, -2);
}

/* Gives the modules a table of globals of their own. */
static void open_private(lua_State *L)
{
    int top = lua_gettop(L);
    lua_pushglobaltable(L);
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    push_string_metatable(L);
    lua_newtable(L); /* the new globals */
    lua_newtable(L); /* and what is loaded */
    lua_pushcfunction(L, open_all);
    lua_pushvalue(L, top + 4);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushvalue(L, top + 5);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    int status = lua_pcall(L, 0, 0, 0);
    lua_pushvalue(L, top + 1);
    lua_rawseti(L, LUA_REGISTRYINDEX, LUA_RIDX_GLOBALS);
    lua_pushvalue(L, top + 2);
    lua_setfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    if (status != LUA_OK)
        lua_error(L);
    if (!lua_isnil(L, top + 3)) {
        lua_pushliteral(L, "");
        lua_pushvalue(L, top + 3);
        lua_setmetatable(L, -2);
        lua_pop(L, 1);
    }
    lua_getfield(L, top + 4, "package");
    lua_pushvalue(L, top + 2);
    lua_setfield(L, -2, "loaded");
    lua_pushvalue(L, top + 4);
    lull_setprivate(L);
    lua_settop(L, top);
}

/* Copies the functions of the modules' coroutine into that of the scripts. */
static void share_coroutine(lua_State *L)
{
    int top = lua_gettop(L);
    lull_pushprivate(L);
    lua_getfield(L, -1, LUA_COLIBNAME);
    if (lua_getglobal(L, LUA_COLIBNAME) == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, top + 2); lua_pop(L, 1)) {
            lua_pushvalue(L, -2);
            lua_pushvalue(L, -2);
            lua_rawset(L, top + 3);
        }
    lua_settop(L, top);
}

/* ---- for scripts that nobody trusts ---------------------------------------------- */

/* load (chunk, name, mode, env): text only; upvalue 1 is Lua's own. */
static int load_text(lua_State *L)
{
    if (lua_gettop(L) < 3)
        lua_settop(L, 3);
    lua_pushliteral(L, "t");
    lua_replace(L, 3);
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* setmetatable (t, mt): what __gc calls nobody can interrupt.  Upvalue 2 are the
   metatables that scripts have set. */
static int set_metatable(lua_State *L)
{
    if (lua_istable(L, 2)) {
        lua_pushliteral(L, "__gc");
        lua_rawget(L, 2);
        if (!lua_isnil(L, -1))
            return luaL_error(L, "__gc is not allowed here");
        lua_pop(L, 1);
        lua_pushvalue(L, 2);
        lua_pushboolean(L, true);
        lua_rawset(L, lua_upvalueindex(2));
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

/* getmetatable (v): a script comes to its own, not to those of lull, the host or strings:
   a __gc put there later would be called. */
static int get_metatable(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_settop(L, 1);
    if (!lua_getmetatable(L, 1))
        return 0;
    lua_rawget(L, lua_upvalueindex(2));
    if (lua_isnil(L, -1)) {
        lua_pushboolean(L, false);
        return 1;
    }
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_pushvalue(L, 1);
    lua_call(L, 1, 1);
    return 1;
}

/* Replaces a global function by one that has it as upvalue 1 and the value on top as 2. */
static void wrap(lua_State *L, const char *name, lua_CFunction f)
{
    lua_getglobal(L, name);
    lua_pushvalue(L, -2);
    lua_pushcclosure(L, f, 2);
    lua_setglobal(L, name);
}

/* A set that keeps nothing alive. */
static void push_weak(lua_State *L)
{
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
}

static void tame_base(lua_State *L)
{
    static const char *const gone[] = {"dofile", "loadfile", "collectgarbage", NULL};
    for (int i = 0; gone[i] != NULL; i++) {
        lua_pushnil(L);
        lua_setglobal(L, gone[i]);
    }
    push_weak(L);
    wrap(L, "load", load_text);
    wrap(L, "setmetatable", set_metatable);
    wrap(L, "getmetatable", get_metatable);
    lua_pop(L, 1);
}

/* The metatables of lull's objects are nobody's business then. */
static void seal(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    for (int i = 0; i < LULL_CLASSES; i++) {
        if (lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[i]) == LUA_TTABLE) {
            lua_pushboolean(L, false);
            lua_setfield(L, -2, "__metatable");
        }
        lua_pop(L, 1);
    }
}

static const struct {
    unsigned library;
    const char *names[48];
} fields[] = {
    {LULL_LIB_LULL,
     {"version", "spawn", "current", "sleep", "every", "now", "time", "defer", "future",
      "await", "await_callback", "generator", "gather", "race", "wait", "as_completed",
      "timeout", "shield", "scope", "group", "pcall", "check", "code", "is_cancelled",
      "lock", "event", "condition", "semaphore", "barrier", "queue", "priority_queue",
      "lifo_queue", "task_local", "clock", NULL}},
    {LULL_LIB_NETWORK, {"net", "protocol", NULL}},
    {LULL_LIB_SYSTEM,
     {"fs", "process", "signal", "thread", "stdin", "stdout", "stderr", "run", "loop",
      "new_loop", "selectors", "selector", "tasks", "on_unhandled", "test", NULL}}};

static bool is_allowed(unsigned libraries, const char *name)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (libraries & fields[i].library)
            for (const char *const *p = fields[i].names; *p != NULL; p++)
                if (strcmp(*p, name) == 0)
                    return true;
    return false;
}

/* (t, key): of the global lull, what is allowed; upvalues: the module, the libraries. */
static int field(lua_State *L)
{
    unsigned libraries = (unsigned)lua_tointeger(L, lua_upvalueindex(2));
    if (lua_type(L, 2) != LUA_TSTRING || !is_allowed(libraries, lua_tostring(L, 2)))
        return 0;
    lua_pushvalue(L, 2);
    lua_gettable(L, lua_upvalueindex(1));
    lua_pushvalue(L, 2);
    lua_pushvalue(L, -2);
    lua_rawset(L, 1);
    return 1;
}

/* Sets the global lull to a table with what is allowed of the module on top (popped). */
static void set_part(lua_State *L, unsigned libraries)
{
    lua_pushinteger(L, libraries);
    lua_pushcclosure(L, field, 2);
    lua_newtable(L);
    lua_createtable(L, 0, 2);
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "__index");
    lua_pushboolean(L, false);
    lua_setfield(L, -2, "__metatable");
    lua_setmetatable(L, -2);
    lua_setglobal(L, "lull");
    lua_pop(L, 1);
}

/* ---- opening --------------------------------------------------------------------- */

static void open_lua(lua_State *L, unsigned libraries)
{
    static const struct {
        unsigned library;
        const char *name;
        lua_CFunction open;
    } all[] = {{LULL_LIB_BASE, LUA_GNAME, luaopen_base},
               {LULL_LIB_PACKAGE, LUA_LOADLIBNAME, luaopen_package},
               {LULL_LIB_COROUTINE, LUA_COLIBNAME, luaopen_coroutine},
               {LULL_LIB_TABLE, LUA_TABLIBNAME, luaopen_table},
               {LULL_LIB_IO, LUA_IOLIBNAME, luaopen_io},
               {LULL_LIB_OS, LUA_OSLIBNAME, luaopen_os},
               {LULL_LIB_STRING, LUA_STRLIBNAME, luaopen_string},
               {LULL_LIB_MATH, LUA_MATHLIBNAME, luaopen_math},
               {LULL_LIB_UTF8, LUA_UTF8LIBNAME, luaopen_utf8},
               {LULL_LIB_DEBUG, LUA_DBLIBNAME, luaopen_debug}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (libraries & all[i].library) {
            luaL_requiref(L, all[i].name, all[i].open, 1);
            lua_pop(L, 1);
        }
}

static bool has_global(lua_State *L, const char *name)
{
    bool has = lua_getglobal(L, name) != LUA_TNIL;
    lua_pop(L, 1);
    return has;
}

static bool is_watched(const lull *l)
{
    return l->options.instructions > 0 || l->options.preempt != LULL_PREEMPT_OFF;
}

int lull_open_libraries(lua_State *L)
{
    lull *l = lua_touserdata(L, 1);
    unsigned libraries = l->options.libraries, flags = l->options.flags;
    bool known = lull_pushruntime(L) != NULL; /* require "lull" has been before us */
    open_lua(L, libraries);
    bool replace = (l->own || (flags & LULL_REPLACE)) && has_global(L, "require") &&
                   has_global(L, "pcall");
    if (!replace && !known)
        open_private(L);
    luaL_requiref(L, "lull", luaopen_lull, !l->own && (flags & LULL_GLOBAL));
    if (!replace && !known && (l->own || (flags & LULL_REPLACE)))
        share_coroutine(L);
    if (l->own && replace && (libraries & LULL_LIB_LULL)) {
        lua_pushvalue(L, -1);
        lua_setglobal(L, "lull");
    } else if (l->own && !replace) {
        seal(L);
        if (libraries & LULL_LIB_BASE)
            tame_base(L);
        if (libraries & (LULL_LIB_LULL | LULL_LIB_NETWORK | LULL_LIB_SYSTEM))
            set_part(L, libraries);
    }
    if (is_watched(l) && (l->own || (flags & LULL_REPLACE)))
        lull_guard(L);
    lua_settop(L, 1);
    return 0;
}
