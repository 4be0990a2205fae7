/* What the host is told: errors that nobody looks at, by its callback or, where it has
   none, kept until a step has come back; and tasks that run for too long. */
#include "host.h"
#include "loop.h"

#define NO_MEMORY "not enough memory" /* as Lua says it */

enum { KEPT = 100 };

static const char kept_key, taken_key;

/* (value) -> its text; a __tostring may raise. */
static int to_text(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    return 1;
}

/* Pushes the value at i as a string, whatever it takes. */
static const char *push_text(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    if (lua_type(L, i) == LUA_TSTRING) {
        lua_pushvalue(L, i);
        return lua_tostring(L, i);
    }
    lua_pushcfunction(L, to_text);
    lua_pushvalue(L, i);
    if (lua_pcall(L, 1, 1, 0) != LUA_OK || lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushfstring(L, "an error of type %s that cannot be shown", luaL_typename(L, i));
    }
    return lua_tostring(L, -1);
}

static const char *push_name(lua_State *L, struct runtime *rt, int i, lull_task *number)
{
    struct task *t = lull_test(L, rt, i, LULL_TASK);
    *number = t ? lull_number_of(t) : 0;
    if (t != NULL)
        lull_pushlabel(L, i);
    else
        lua_pushliteral(L, "callback");
    return lua_tostring(L, -1);
}

/* ---- failures -------------------------------------------------------------------- */

/* Keeps name, message and traceback, the top three values, for lull_take_failure. */
static void keep(lua_State *L, lull_task number)
{
    lua_createtable(L, 4, 0);
    lua_insert(L, -4);
    for (int j = 3; j > 0; j--)
        lua_rawseti(L, -j - 1, j);
    lua_pushinteger(L, (lua_Integer)number);
    lua_rawseti(L, -2, 4);
    lull_pushheld(L, &kept_key);
    lua_insert(L, -2);
    lua_Integer n = luaL_len(L, -2);
    if (n < KEPT)
        lua_rawseti(L, -2, n + 1);
    else
        lua_pop(L, 1);
    lua_pop(L, 1);
}

struct story {
    lull *l;
    lull_failure f;
};

/* (story, error, traceback, Task): leaves name, message and traceback on the stack. */
static int find_words(lua_State *L)
{
    struct story *s = lua_touserdata(L, 1);
    s->f.name = push_name(L, s->l->rt, 4, &s->f.task);
    s->f.message = push_text(L, 2);
    lua_pushvalue(L, 3);
    return 3;
}

/* (story, name, message, traceback) */
static int keep_words(lua_State *L)
{
    struct story *s = lua_touserdata(L, 1);
    keep(L, s->f.task);
    return 0;
}

static bool call_protected(lua_State *L, lua_CFunction f, struct story *s, int i, int n)
{
    lua_pushcfunction(L, f);
    lua_pushlightuserdata(L, s);
    for (int j = 0; j < 3; j++)
        lua_pushvalue(L, i + j);
    bool well = lua_pcall(L, 4, n, 0) == LUA_OK;
    if (!well)
        lua_pop(L, 1);
    return well;
}

/* Where there is no memory for words the failure is told all the same. */
void lull_tell_host(lua_State *L, lull *l, int i)
{
    struct story s = {.l = l, .f = {.size = sizeof s.f}};
    int top = lua_gettop(L);
    luaL_checkstack(L, 20, NULL);
    if (l->options.on_error == NULL) {
        l->failed = true;
        if (l->loop->running) /* else it would be the next run that stops */
            lull_loop_stop(l->loop);
    }
    bool told = call_protected(L, find_words, &s, i, 3);
    s.f.traceback = told ? lua_tostring(L, -1) : NULL;
    if (!told) {
        s.f.name = s.f.task ? "task" : "callback";
        s.f.message = lua_type(L, i) == LUA_TSTRING ? lua_tostring(L, i) : NO_MEMORY;
    }
    if (l->options.on_error != NULL) {
        lua_pushvalue(L, i);
        s.f.L = L;
        l->options.on_error(l, &s.f);
    } else if (!told || !call_protected(L, keep_words, &s, top + 1, 0))
        l->lost = true;
    lua_settop(L, top);
}

/* (error) */
static int report(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_pushvalue(L, 1);
    lua_pushnil(L);
    lull_report(L, rt, 0);
    return 0;
}

void lull_report_callback(lull *l, lua_State *L)
{
    lua_xmove(L, l->L, L != l->L);
    lua_pushcfunction(l->L, report);
    lua_insert(l->L, -2);
    if (lua_pcall(l->L, 1, 0, 0) != LUA_OK)
        lua_pop(l->L, 1); /* a report that fails has been told all the same */
}

/* (lull_failure *): the oldest, which is then held until the next is taken. */
static int take(lua_State *L)
{
    lull_failure *f = lua_touserdata(L, 1);
    lull_pushheld(L, &kept_key);
    lua_Integer n = luaL_len(L, 2);
    if (n == 0)
        return 0;
    lua_rawgeti(L, 2, 1);
    lua_pushvalue(L, 3);
    lull_hold(L, &taken_key);
    for (lua_Integer j = 1; j <= n; j++) {
        lua_rawgeti(L, 2, j + 1);
        lua_rawseti(L, 2, j);
    }
    for (int j = 1; j <= 4; j++)
        lua_rawgeti(L, 3, j);
    f->name = lua_tostring(L, 4);
    f->message = lua_tostring(L, 5);
    f->traceback = lua_tostring(L, 6);
    f->task = (lull_task)lua_tointeger(L, 7);
    return 0;
}

bool lull_take_failure(lull *l, lull_failure *out)
{
    lull_failure f = {0};
    size_t size = out->size < sizeof f ? out->size : sizeof f;
    if (l->L == NULL)
        return false;
    int rc = lull_protected(l, take, &f);
    if (rc < 0 || (f.message == NULL && l->lost)) {
        f.name = "callback";
        f.message = NO_MEMORY;
        l->lost = false;
    }
    f.size = size;
    memcpy(out, &f, size);
    l->failed = false;
    return f.message != NULL;
}

void lull_open_tell(lull *l)
{
    lua_State *L = l->L;
    lua_newtable(L);
    lull_hold(L, &kept_key);
    lua_pushboolean(L, false);
    lull_hold(L, &taken_key);
}

/* ---- slowness -------------------------------------------------------------------- */

void lull_tell_slow(lua_State *L, lull *l, int i, lua_Number seconds)
{
    lull_slow s = {.size = sizeof s, .ns = (int64_t)(seconds * 1e9)};
    if (l->options.on_slow == NULL)
        return;
    s.name = push_name(L, l->rt, i, &s.task);
    s.traceback = lua_tostring(L, i + 1);
    l->options.on_slow(l, &s);
    lua_pop(L, 1);
}
