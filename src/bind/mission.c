/* What a worker is sent to do: the code of a function, and where it finds its modules.

   The last function of each runtime is remembered (not held) with its mission: who calls
   one again and again has it copied once. */
#include "mission.h"

#include <stdlib.h>

#include "room.h"

static const char last_key, function_key;

static const char *const parts[] = {"path", "cpath"};

enum { LULL = 4 }; /* bytes of the word */

/* ---- code -------------------------------------------------------------------------- */

/* A mission in the making. */
struct making {
    struct mission *m;
    size_t size, capacity; /* of its bytes */
};

static bool append(struct making *k, const void *data, size_t size)
{
    if (k->m == NULL || size > k->capacity - k->size) {
        size_t capacity = k->capacity + k->capacity / 2 + size + 1024;
        struct mission *m = realloc(k->m, sizeof *m + capacity);
        if (m == NULL)
            return false;
        k->m = m;
        k->capacity = capacity;
    }
    memcpy(k->m->bytes + k->size, data, size);
    k->size += size;
    return true;
}

static int append_code(lua_State *L, const void *data, size_t size, void *ud)
{
    (void)L;
    return !append(ud, data, size);
}

/* It must need nothing but its arguments. */
static void check_function(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, !lua_iscfunction(L, 1), 1,
                  "a function in C cannot be copied: call it in a Lua function");
    for (int i = 1;; i++) {
        const char *name = lua_getupvalue(L, 1, i);
        if (name == NULL)
            break;
        lua_pop(L, 1);
        if (strcmp(name, "_ENV") == 0)
            continue;
        lua_pushfstring(L, "upvalue '%s' stays behind: pass it as an argument", name);
        luaL_argerror(L, 1, lua_tostring(L, -1));
    }
}

/* ---- missions ---------------------------------------------------------------------- */

static int last_gc(lua_State *L)
{
    struct mission **m = lua_touserdata(L, 1);
    lull_mission_unref(*m);
    *m = NULL;
    return 0;
}

struct mission *lull_mission_ref(struct mission *m)
{
    atomic_fetch_add(&m->refs, 1);
    return m;
}

void lull_mission_unref(struct mission *m)
{
    if (m != NULL && atomic_fetch_sub(&m->refs, 1) == 1)
        free(m);
}

/* Pushes package.path and package.cpath, or nil each. */
static void push_paths(lua_State *L)
{
    lua_getglobal(L, "package");
    for (int i = 0; i < 2; i++) {
        if (lua_istable(L, -1 - i))
            lua_getfield(L, -1 - i, parts[i]);
        else
            lua_pushnil(L);
        if (lua_type(L, -1) != LUA_TSTRING) {
            lua_pop(L, 1);
            lua_pushnil(L);
        }
    }
    lua_remove(L, -3);
}

/* Where in the code of the function on top the name of its file ends: that may speak of
   lull where the function does not. */
static size_t body_of(lua_State *L, const struct making *k)
{
    lua_Debug ar;
    lua_pushvalue(L, -1);
    lua_getinfo(L, ">S", &ar);
    const char *source = memmem(k->m->bytes, k->size, ar.source, ar.srclen);
    return source ? (size_t)(source - k->m->bytes) + ar.srclen : 0;
}

/* Does the host have us in a global, and does the code speak of it? */
static bool is_named(lua_State *L, const struct mission *m)
{
    if (memmem(m->bytes + m->body, m->code - m->body, "lull", LULL) == NULL)
        return false;
    lua_getglobal(L, "lull");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lull");
    bool ours = lua_istable(L, -1) && lua_rawequal(L, -1, -3);
    lua_pop(L, 3);
    return ours;
}

static bool is_path(lua_State *L, int i, bool there, const char *bytes, size_t size)
{
    size_t n;
    const char *text = lua_tolstring(L, i, &n);
    return text == NULL ? !there : there && n == size && memcmp(text, bytes, n) == 0;
}

/* Is m still what the function would get?  The paths are on top.  The globals may have a
   metatable, whose functions may call others: m is held. */
static bool is_current(lua_State *L, const struct mission *m)
{
    return is_path(L, -2, m->paths[0], m->bytes + m->code, m->path) &&
           is_path(L, -1, m->paths[1], m->bytes + m->code + m->path + 1, m->cpath) &&
           m->named == is_named(L, m);
}

static bool add_path(lua_State *L, struct making *k, int i, bool *there, size_t *size)
{
    const char *text = lua_tolstring(L, i, size);
    *there = text != NULL;
    return append(k, text ? text : "", *size + 1);
}

/* Of the function on top; paths: where these are.  NULL: no memory. */
static struct mission *make(lua_State *L, int paths)
{
    struct making k = {.m = NULL};
    size_t size[2] = {0, 0};
    bool there[2];
    if (lua_dump(L, append_code, &k, 0) != 0 || k.m == NULL) {
        free(k.m);
        return NULL;
    }
    size_t code = k.size, body = body_of(L, &k);
    for (int i = 0; i < 2; i++)
        if (!add_path(L, &k, paths + i, &there[i], &size[i])) {
            free(k.m);
            return NULL;
        }
    atomic_init(&k.m->refs, 1);
    memcpy(k.m->paths, there, sizeof there);
    k.m->code = code;
    k.m->body = body;
    k.m->path = size[0];
    k.m->cpath = size[1];
    return k.m;
}

/* Remembers that m is the mission of the function at 1; nothing is remembered when this
   raises. */
static void remember(lua_State *L, struct mission **known, struct mission *m)
{
    lull_mission_unref(*known);
    *known = NULL;
    lua_pushvalue(L, 1);
    lull_know(L, &function_key);
    *known = lull_mission_ref(m);
}

void lull_mission(lua_State *L, struct mission **out)
{
    luaL_checkstack(L, 16, NULL);
    check_function(L);
    int top = lua_gettop(L);
    struct mission **known = lull_room(L, &last_key);
    push_paths(L);
    lull_pushknown(L, &function_key);
    if (*known != NULL && lua_rawequal(L, -1, 1))
        *out = lull_mission_ref(*known);
    lua_pop(L, 1);
    if (*out == NULL || !is_current(L, *out)) {
        lull_mission_unref(*out);
        *out = NULL;
        lua_pushvalue(L, 1);
        struct mission *m = *out = make(L, top + 1);
        if (m == NULL)
            luaL_error(L, "not enough memory");
        m->named = is_named(L, m);
        remember(L, known, m);
    }
    lua_settop(L, top);
}

static size_t size_of(const struct mission *m)
{
    return m->code + m->path + 1 + m->cpath + 1;
}

bool lull_mission_same(const struct mission *a, const struct mission *b)
{
    return a == b || (a->code == b->code && a->path == b->path && a->cpath == b->cpath &&
                      a->named == b->named &&
                      memcmp(a->paths, b->paths, sizeof a->paths) == 0 &&
                      memcmp(a->bytes, b->bytes, size_of(a)) == 0);
}

/* ---- in the worker's state --------------------------------------------------------- */

void lull_mission_load(lua_State *L, const struct mission *m)
{
    if (m->named) {
        lua_getglobal(L, "require");
        lua_pushliteral(L, "lull");
        lua_call(L, 1, 1);
        lua_setglobal(L, "lull");
    }
    lua_getglobal(L, "package");
    const char *path = m->bytes + m->code, *cpath = path + m->path + 1;
    if (m->paths[0]) {
        lua_pushlstring(L, path, m->path);
        lua_setfield(L, -2, parts[0]);
    }
    if (m->paths[1]) {
        lua_pushlstring(L, cpath, m->cpath);
        lua_setfield(L, -2, parts[1]);
    }
    lua_pop(L, 1);
    if (luaL_loadbufferx(L, m->bytes, m->code, "=(thread)", "b") != LUA_OK)
        lua_error(L);
}

void lull_open_mission(lua_State *L)
{
    lull_make_room(L, &last_key, sizeof(struct mission *), last_gc);
}
