/* Running one function on another thread, in a Lua state of its own, where nothing of
   another is ever seen (kept.c says how).  Most of the core is opened only where somebody
   asks for lull, which takes some time.  In there Lua's own coroutine functions are
   replaced, as in every state that lull opens, which is how we know which coroutine runs;
   os.exit and os.setlocale, which act on the whole process, are refused. */
#include "worker.h"

#include "kept.h"
#include "nudge.h"

void lull_worker_pack(lua_State *L, struct worker *w, int n)
{
    lull_mission(L, &w->mission);
    lull_pack_into(L, &w->in, 2, n, "argument", 2);
}

/* ---- how it came out --------------------------------------------------------------- */

/* (error, traceback): packs both; what cannot be copied becomes a string. */
static int pack_error(lua_State *L)
{
    struct worker *w = lull_worker_of(L);
    lull_parcel_free(w->out);
    w->out = NULL;
    lull_pack_into(L, &w->out, 1, 2, "error", 0);
    return 0;
}

static int pack_told(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    lua_replace(L, 1);
    return pack_error(L);
}

/* Calls f with the two values on top of the stack, which stay.  Want of memory raises. */
static bool try_pack(lua_State *L, lua_CFunction f)
{
    lua_pushcfunction(L, f);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    int status = lua_pcall(L, 2, 0, 0);
    if (status == LUA_ERRMEM)
        lua_error(L);
    if (status != LUA_OK)
        lua_pop(L, 1);
    return status == LUA_OK;
}

static void fail(lua_State *L, struct worker *w, int status)
{
    if (status == LUA_ERRMEM)
        lua_error(L);
    lull_pushtraceback(L, -1);
    w->failed = true;
    if (try_pack(L, pack_error) || try_pack(L, pack_told))
        return;
    lull_parcel_free(w->out);
    w->out = lull_pack_text("(an error that cannot be copied, nor shown as a string)");
}

/* (worker, ...): all that may raise. */
static int run(lua_State *L)
{
    struct worker *w = lua_touserdata(L, 1);
    w->current = L; /* from here on it can be interrupted */
    lull_worker_check(L, w);
    lull_kept_prepare(L, w->kept);
    lua_replace(L, 1);
    lua_settop(L, 1);
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, 1);
    int n = lull_unpack(L, w->in);
    lull_parcel_free(w->in);
    w->in = NULL;
    int status = lua_pcall(L, n, LUA_MULTRET, 1);
    if (status != LUA_OK)
        fail(L, w, status);
    else
        lull_pack_into(L, &w->out, 2, lua_gettop(L) - 1, "result", 1);
    return 0;
}

static void take_down(lua_State *L, struct worker *w)
{
    w->failed = true;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
    lull_parcel_free(w->out);
    w->out = lull_pack_text(text);
}

void lull_worker_run(struct worker *w, sys_keep **keep)
{
    w->failed = true; /* unless it comes out well */
    w->kept = lull_kept_take(keep, w);
    if (w->kept == NULL)
        return;
    bool listens = sys_listen_nudge(lull_worker_nudged, w) == 0;
    w->failed = false;
    lua_State *L;
    if (lull_kept_call(w->kept, run, &L) != LUA_OK)
        take_down(L, w);
    w->current = NULL; /* what still runs are finalizers, which no hook reaches */
    if (listens)
        sys_ignore_nudge();
    lull_kept_leave(w->kept, keep);
    w->kept = NULL;
}

void lull_worker_fini(struct worker *w)
{
    lull_mission_unref(w->mission);
    lull_parcel_free(w->in);
    lull_parcel_free(w->out);
    w->mission = NULL;
    w->in = w->out = NULL;
}

int lull_worker_outcome(lua_State *L, struct worker *w)
{
    if (w->out == NULL)
        return luaL_error(L, "not enough memory");
    int top = lua_gettop(L), n = lull_unpack(L, w->out);
    if (!w->failed)
        return n;
    lua_settop(L, top + 2);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushliteral(L, "\n[called at]: ");
        luaL_traceback(L, L, NULL, 1);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        luaL_traceback(L, L, NULL, 1);
    }
    if (!lua_isnil(L, top + 1))
        lull_keeptraceback(L, top + 1);
    else
        lua_pop(L, 1);
    return lua_error(L);
}
