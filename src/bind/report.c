/* Failures that nobody looks at, and the errors of what runs outside of any task.

   A failed task or future is taken when somebody looks at how it ended.  One that stays
   untaken for a second of loop time, or until the end, is told to the handler of its
   loop; whoever takes it after all is not blamed for it in the exit code. */
#include "looplib.h"

enum { GRACE = 1000000000 }; /* ns in which somebody may take a failure */

static const char report_key;

/* ---- outside of tasks ------------------------------------------------------------ */

void lull_report(lua_State *L, struct runtime *rt, int i)
{
    i = i ? lua_absindex(L, i) : 0;
    luaL_checkstack(L, 8, NULL);
    lull_pushheld(L, &report_key);
    lua_insert(L, -3);
    if (i)
        lua_pushvalue(L, i);
    else
        lua_pushnil(L);
    struct lull *host = rt->object ? rt->object->host : NULL;
    if (host != NULL) /* before any Lua runs: it may have been forbidden to go on */
        lull_tell_host(L, host, lua_gettop(L) - 2);
    lua_pushboolean(L, false);
    lua_pushboolean(L, host != NULL);
    lua_call(L, 5, 0);
}

/* slow (Task | nil, seconds): what kept the loop busy for so long is told; no failure. */
static int report_slow(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    lull_pushheld(L, &report_key);
    if (t != NULL) {
        lull_pushlabel(L, 1);
        lua_pushfstring(L, "%s did not suspend for %f s", lua_tostring(L, -1),
                        lua_tonumber(L, 2));
        lua_replace(L, -2);
    } else
        lua_pushfstring(L, "a callback took %f s", lua_tonumber(L, 2));
    if (t != NULL && t->co != NULL)
        lull_pushstack(L, t);
    else
        lua_pushnil(L);
    struct lull *host = lull_pushruntime(L)->object->host;
    lua_pop(L, 1);
    if (host != NULL) {
        lua_pushvalue(L, 1);
        lua_insert(L, -2);
        lull_tell_slow(L, host, lua_gettop(L) - 1, lua_tonumber(L, 2));
        return 0;
    }
    lua_pushvalue(L, 1);
    lua_pushboolean(L, true);
    lua_call(L, 4, 0);
    return 0;
}

int64_t lull_watch_begin(struct runtime *rt)
{
    struct task *t = rt->worker ? lull_test(rt->L, rt, -1, LULL_TASK) : NULL;
    if (t != NULL) /* it is looked at because its thread shall end */
        lull_worker_watch(rt->worker, t->co);
    lull_refresh(rt->loop);
    return lull_now(rt->loop);
}

void lull_watch_end(struct runtime *rt, int64_t start)
{
    lua_State *L = rt->L;
    int64_t took = lull_watch_begin(rt) - start;
    if (took <= rt->slow) {
        lua_pop(L, 1);
        return;
    }
    lua_pushcfunction(L, report_slow);
    lua_insert(L, -2);
    lua_pushnumber(L, (lua_Number)took / 1e9);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

static int report_callback(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_settop(L, 1);
    lull_pushtraceback(L, 1);
    lull_report(L, rt, 0);
    return 0;
}

void lull_report_error(lua_State *L)
{
    lua_pushcfunction(L, report_callback);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK)
        lua_pop(L, 1); /* a report that fails has been told all the same */
}

/* Calls what stands on rt->L with n arguments, outside of any task; errors are
   reported. */
static void call_protected(struct runtime *rt, int n)
{
    lua_State *L = rt->L;
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, -n - 2);
    int handler = lua_gettop(L) - n - 1;
    int64_t start = rt->slow ? lull_watch_begin(rt) : 0;
    if (lua_pcall(L, n, 0, handler) != LUA_OK)
        lull_report_error(L);
    lua_pop(L, 1);
    if (rt->slow) {
        lua_pushnil(L);
        lull_watch_end(rt, start);
    }
}

void lull_callback(struct runtime *rt, lua_CFunction function, void *ud)
{
    lua_pushcfunction(rt->L, function);
    lua_pushlightuserdata(rt->L, ud);
    call_protected(rt, 1);
}

/* ---- the untaken ----------------------------------------------------------------- */

/* Sees to it that the untaken are looked through at this time. */
static void look_at(struct loop *o, int64_t deadline)
{
    if (lull_timer_started(&o->review_timer) &&
        lull_timer_deadline(o->core, &o->review_timer) <= deadline)
        return;
    lull_wait(&o->review);
    lull_timer_start(o->core, &o->review_timer, deadline, 0);
}

/* The table is a list of futures, each followed by the time when its grace ends. */
void lull_untaken(lua_State *L, struct runtime *rt, int i)
{
    lull_future *f = lua_touserdata(L, i);
    struct loop *o = f->loop ? lull_home(rt, f->loop) : rt->object;
    if (o == NULL || o->core == NULL)
        return;
    int64_t deadline = lull_now(o->core) + GRACE;
    i = lua_absindex(L, i);
    if (lull_pushknown(L, o) == LUA_TNIL) {
        lua_pop(L, 1);
        return;
    }
    lua_getiuservalue(L, -1, LULL_LOOP_UNTAKEN);
    lua_Integer n = luaL_len(L, -1) / 2 * 2; /* memory may run out between the two */
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, n + 1);
    lua_pushinteger(L, deadline);
    lua_rawseti(L, -2, n + 2);
    lua_pop(L, 2);
    look_at(o, deadline);
}

void lull_lost(struct runtime *rt)
{
    rt->object->lost = true;
    look_at(rt->object, lull_now(rt->loop) + GRACE);
}

/* Tells of the failed future on top of the stack. */
static void tell(lua_State *L, struct runtime *rt, lull_future *f)
{
    int i = lua_gettop(L);
    unsigned before = rt->failures;
    lua_getiuservalue(L, i, 1);
    if (lull_hasextra(L, i)) {
        lua_getfield(L, -1, "traceback");
        lua_remove(L, -2);
    } else
        lua_pushnil(L);
    lull_report(L, rt, f->flags & LULL_IS_TASK ? i : 0);
    if (rt->failures > before)
        f->flags |= LULL_REPORTED;
}

/* Takes the first n values out of the list. */
static void drop(lua_State *L, int list, lua_Integer n)
{
    lua_Integer length = n ? luaL_len(L, list) : 0;
    for (lua_Integer j = 1; j <= length; j++) {
        lua_rawgeti(L, list, j + n);
        lua_rawseti(L, list, j);
    }
}

/* (loop): tells of those in the list whose time has come, unless somebody has taken them;
   of all at the end.  Handlers may fail too, and memory may run out: then those who have
   not been told of are looked at again a second later. */
static int review_untaken(lua_State *L)
{
    struct loop *o = lua_touserdata(L, 1);
    struct runtime *rt = lull_pushruntime(L);
    int64_t now = lull_now(o->core), due = o->last_review ? INT64_MAX : now;
    look_at(o, now + GRACE);
    lull_pushknown(L, o);
    lua_getiuservalue(L, -1, LULL_LOOP_UNTAKEN);
    int list = lua_gettop(L);
    lua_Integer end = luaL_len(L, list), j = 1;
    for (; j < end; j += 2, lua_settop(L, list)) {
        lua_rawgeti(L, list, j + 1);
        if (lua_tointeger(L, -1) > due)
            break;
        lua_rawgeti(L, list, j);
        lull_future *f = lua_touserdata(L, -1);
        if (f != NULL && !(f->flags & LULL_TAKEN))
            tell(L, rt, f);
        lua_pushboolean(L, false);
        lua_rawseti(L, list, j);
    }
    drop(L, list, j - 1);
    if (o->lost) {
        lua_pushliteral(L, "not enough memory");
        lua_pushnil(L);
        lull_report(L, rt, 0);
        o->lost = false;
    }
    lull_timer_stop(o->core, &o->review_timer);
    lull_forget(&o->review);
    if (lua_rawgeti(L, list, 2) == LUA_TNUMBER)
        look_at(o, lua_tointeger(L, -1));
    return 0;
}

static void review(lull_loop *core, lull_waiter *w)
{
    lull_callback(lull_loop_user(core), review_untaken, container_of(w, struct loop, review));
}

void lull_review_init(struct loop *o)
{
    lull_waiter_init(&o->review, review);
    lull_timer_init(&o->review_timer, &o->review);
}

void lull_review(struct runtime *rt, struct loop *o)
{
    o->last_review = true;
    for (int i = 0; i < 2; i++) /* handlers may have failed, or memory run out */
        lull_callback(rt, review_untaken, o);
    lull_timer_stop(o->core, &o->review_timer);
    lull_forget(&o->review);
    o->last_review = false;
}

/* ---- functions ------------------------------------------------------------------- */

/* on_report (fn): who is told of errors that nobody looks at */
static int on_report(lua_State *L)
{
    lua_settop(L, 1);
    lull_hold(L, &report_key);
    return 0;
}

/* tell_host (err, traceback, task) -> boolean: tells the host of an error, if there is one */
static int tell_host(lua_State *L)
{
    struct loop *o = lull_runtime(L)->object;
    lua_settop(L, 3);
    if (o != NULL && o->host != NULL)
        lull_tell_host(L, o->host, 1);
    lua_pushboolean(L, o != NULL && o->host != NULL);
    return 1;
}

/* failed () counts a failure that the default handler tells; failures () -> how many of
   them nobody has taken since */
static int failed(lua_State *L)
{
    lull_runtime(L)->failures++;
    return 0;
}

static int failures(lua_State *L)
{
    lua_pushinteger(L, lull_runtime(L)->failures);
    return 1;
}

/* handler: the message handler of everything that lull calls. */
static int handler(lua_State *L)
{
    return lull_handler(L);
}

/* loop_handler (loop [, fn | false]) -> previous: its own handler of unhandled errors */
static int loop_handler(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    (void)o;
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, LULL_LOOP_HANDLER);
    if (!lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        if (!lua_toboolean(L, 2)) {
            lua_pop(L, 1);
            lua_pushnil(L);
        }
        lua_setiuservalue(L, 1, LULL_LOOP_HANDLER);
    }
    return 1;
}

static const luaL_Reg functions[] = {{"on_report", on_report}, {"failed", failed},
                                     {"failures", failures},   {"handler", handler},
                                     {"loop_handler", loop_handler},
                                     {"tell_host", tell_host}, {NULL, NULL}};

void lull_open_report(lua_State *L)
{
    lull_setfuncs(L, functions);
}
