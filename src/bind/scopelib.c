/* Scopes in Lua: scope, timeout and shield as functions around a call, and scope as a
   block.  A scope belongs to the coroutine that opened it: the scopes of a generator come
   and go with it, and while it is paused they bind nobody. */
#include "scope.h"

#include <errno.h>
#include <math.h>
#include <string.h>

static struct scope *scope_of(lull_scope *s)
{
    return container_of(s, struct scope, deadline.scope);
}

/* ---- entering and leaving ------------------------------------------------------- */

/* What a paused coroutine keeps among its extras under these addresses: its innermost and
   outermost scope, false while it is not paused. */
static const char inner_key, bottom_key;

/* Room to note where a nested coroutine pauses: pausing must not fail. */
static void prepare_pause(lua_State *L)
{
    lua_pushthread(L);
    lull_pushextra(L, -1);
    if (lua_rawgetp(L, -1, &inner_key) == LUA_TNIL) {
        lua_pushboolean(L, false);
        lua_rawsetp(L, -3, &inner_key);
        lua_pushboolean(L, false);
        lua_rawsetp(L, -3, &bottom_key);
    }
    lua_pop(L, 3);
}

void lull_scope_check(lua_State *L, struct runtime *rt)
{
    if (rt->task == NULL || rt->running != L)
        luaL_error(L, "a scope is opened inside a task");
    if (L != rt->base)
        prepare_pause(L);
}

static struct scope *new(lua_State *L, struct runtime *rt)
{
    lull_scope_check(L, rt);
    struct scope *s = lull_newobject(L, LULL_SCOPE, sizeof *s, 1);
    lull_deadline_init(&s->deadline);
    return s;
}

void lull_scope_enter(lua_State *L, struct runtime *rt, struct scope *s, unsigned flags)
{
    struct task *t = rt->task;
    lull_scope_open(rt->loop, &s->deadline.scope, t->scope, flags);
    t->scope->member = NULL;
    s->deadline.scope.member = &t->waiter;
    t->scope = &s->deadline.scope;
    s->task = t;
    s->co = L;
    s->loop = t->future.loop;
}

/* A block is kept alive by the coroutine that opened it until it is left. */
void lull_scope_block(lua_State *L, struct scope *s)
{
    lua_Debug ar;
    int i = lua_gettop(L);
    s->line = -1;
    if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "lf", &ar)) {
        s->line = ar.currentline;
        lua_setiuservalue(L, i, 1);
    }
    lua_pushthread(L);
    lull_pushextra(L, -1);
    lua_pushvalue(L, i);
    lua_rawsetp(L, -2, s);
    lua_pop(L, 2);
}

static void set_deadline(lua_State *L, lull_loop *loop, struct scope *s,
                         lua_Number seconds)
{
    lull_refresh(loop); /* its body may have computed for long before */
    int64_t deadline = seconds < 0 ? lull_now(loop) : lull_after(loop, seconds);
    if (deadline == LULL_FOREVER)
        lull_timer_stop(loop, &s->deadline.timer);
    else if (lull_deadline_set(loop, &s->deadline, deadline) < 0)
        luaL_error(L, "not enough memory");
}

/* Takes s out of its loop and of the tree. */
static void end(lua_State *L, struct runtime *rt, struct scope *s)
{
    lull_loop *loop = lull_loop_with(rt, s->loop);
    if (s->deadline.scope.flags & LULL_IS_GROUP)
        lull_group_abandon(L, rt, s);
    rt->paused -= s->paused;
    s->paused = false;
    s->task = NULL;
    if (loop == NULL)
        return;
    lull_timer_stop(loop, &s->deadline.timer);
    lull_forget(&s->deadline.expiry);
    lull_scope_close(loop, &s->deadline.scope);
    if (s->deadline.scope.own != 0)
        lull_release(L, &s->deadline.scope);
}

/* Is a scope around cancelled, be it behind a shield?  Then deliveries still count. */
static bool is_threatened(const lull_scope *s)
{
    while (s != NULL && s->own == 0)
        s = s->parent;
    return s != NULL;
}

/* Ends s, the innermost scope of t. */
static void leave(lua_State *L, struct runtime *rt, struct task *t, struct scope *s)
{
    t->scope = s->deadline.scope.parent;
    t->scope->member = &t->waiter;
    if (t->own.delivered && !is_threatened(t->scope))
        t->own.delivered = 0;
    if (s->line != 0) {
        lua_pushthread(L);
        if (lull_hasextra(L, -1)) {
            lua_pushnil(L);
            lua_rawsetp(L, -2, s);
            lua_pop(L, 1);
        }
        lua_pop(L, 1);
    }
    end(L, rt, s);
}

void lull_scope_leave(lua_State *L, struct runtime *rt, struct scope *s)
{
    leave(L, rt, rt->task, s);
}

/* An object can be collected while its scope is open: its coroutine was given up, or
   there was no memory to leave it with.  Then its task must not come to it again. */
void lull_scope_collect(lua_State *L, struct runtime *rt, struct scope *s)
{
    lull_scope *outer = s->deadline.scope.parent, *around = outer;
    if (s->task == NULL)
        return;
    while (around != NULL && around != &s->task->own)
        around = around->parent;
    if (around == NULL)
        end(L, rt, s);
    else
        while (s->task != NULL)
            leave(L, rt, s->task, scope_of(s->task->scope));
}

/* Pushes "script.lua:12" of the block s. */
static void push_place(lua_State *L, struct scope *s)
{
    lua_Debug ar = {.short_src = "?"};
    lua_pushthread(L);
    lull_pushextra(L, -1);
    if (lua_rawgetp(L, -1, s) == LUA_TUSERDATA &&
        lua_getiuservalue(L, -1, 1) == LUA_TFUNCTION)
        lua_getinfo(L, ">S", &ar);
    lua_pushfstring(L, "%s:%d", ar.short_src, s->line);
}

bool lull_unwind(lua_State *L, struct runtime *rt, lull_scope *until, bool well)
{
    int top = lua_gettop(L);
    while (rt->task->scope != until) {
        struct scope *s = scope_of(rt->task->scope);
        if (well && lua_gettop(L) == top) {
            push_place(L, s);
            lua_pushfstring(L, "%s: this block was opened without <close> and never left",
                            lua_tostring(L, -1));
            lua_replace(L, top + 1);
            lua_settop(L, top + 1);
        }
        lull_scope_leave(L, rt, s);
    }
    return lua_gettop(L) > top;
}

/* ---- with coroutines ------------------------------------------------------------ */

void lull_scope_pause(lua_State *L, struct runtime *rt, int i, lull_scope *outer)
{
    struct task *t = rt->task;
    lull_scope *inner = t->scope, *bottom = inner;
    while (bottom->parent != outer)
        bottom = bottom->parent;
    lull_hasextra(L, i); /* see prepare_pause */
    lua_pushlightuserdata(L, inner);
    lua_rawsetp(L, -2, &inner_key);
    lua_pushlightuserdata(L, bottom);
    lua_rawsetp(L, -2, &bottom_key);
    lua_pop(L, 1);
    inner->member = NULL;
    lull_scope_detach(rt->loop, bottom);
    t->scope = outer;
    outer->member = &t->waiter;
    scope_of(bottom)->paused = true;
    rt->paused++;
}

/* The scopes that coroutine i paused in: innermost and outermost, no longer paused. */
static bool unpause(lua_State *L, struct runtime *rt, int i, lull_scope **inner,
                    lull_scope **bottom)
{
    if (!lull_hasextra(L, i))
        return false;
    lua_rawgetp(L, -1, &inner_key);
    lua_rawgetp(L, -2, &bottom_key);
    *inner = lua_touserdata(L, -2);
    *bottom = lua_touserdata(L, -1);
    lua_pop(L, 2);
    if (*inner != NULL) {
        lua_pushboolean(L, false);
        lua_rawsetp(L, -2, &inner_key);
        scope_of(*bottom)->paused = false;
        rt->paused--;
    }
    lua_pop(L, 1);
    return *inner != NULL;
}

void lull_scope_resume(lua_State *L, struct runtime *rt, int i)
{
    struct task *t = rt->task;
    lull_scope *inner, *bottom;
    if (!unpause(L, rt, i, &inner, &bottom))
        return;
    t->scope->member = NULL;
    lull_scope_attach(rt->loop, bottom, t->scope);
    for (lull_scope *s = inner; s != bottom->parent; s = s->parent)
        scope_of(s)->task = t;
    inner->member = &t->waiter;
    t->scope = inner;
}

uint32_t lull_scope_home(lua_State *L, int i)
{
    if (!lull_hasextra(L, i))
        return 0;
    lua_rawgetp(L, -1, &inner_key);
    lull_scope *inner = lua_touserdata(L, -1);
    lua_pop(L, 2);
    return inner != NULL ? scope_of(inner)->loop : 0;
}

void lull_scope_drop(lua_State *L, struct runtime *rt, int i)
{
    lull_scope *inner, *bottom;
    if (!unpause(L, rt, i, &inner, &bottom))
        return;
    for (lull_scope *s = inner, *outer; s != NULL; s = outer) {
        outer = s->parent;
        end(L, rt, scope_of(s));
    }
}

/* ---- around a call -------------------------------------------------------------- */

bool lull_scope_raised(lua_State *L, struct runtime *rt, struct scope *s, int i)
{
    return s->deadline.scope.own != 0 && lull_cancelof(L, rt, i) == &s->deadline.scope;
}

bool lull_scope_around(const struct runtime *rt, const struct scope *s)
{
    const lull_scope *inner = rt->task ? rt->task->scope : NULL;
    while (inner != NULL && inner != &s->deadline.scope)
        inner = inner->parent;
    return inner != NULL;
}

/* The stack: scope | handler | results or error. */
static int left(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct scope *s = lua_touserdata(L, 1);
    bool well = status == LUA_OK || status == LUA_YIELD;
    if (!lull_scope_around(rt, s)) { /* its coroutine was resumed behind our back */
        if (s->task != NULL)
            end(L, rt, s);
        return well ? lua_gettop(L) - 2 : lull_reraise(L);
    }
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_settop(L, 2);
        lua_pushliteral(L, "stack overflow (too many results)");
        well = false;
    }
    if (lull_unwind(L, rt, &s->deadline.scope, well))
        well = false;
    if (well || !lull_scope_raised(L, rt, s, -1)) {
        lull_scope_leave(L, rt, s);
        return well ? lua_gettop(L) - 2 : lull_reraise(L);
    }
    lua_pushnil(L);
    lua_pushstring(L, lull_pushreason(L, &s->deadline.scope));
    lull_scope_leave(L, rt, s);
    return 3;
}

/* Calls the function and nargs arguments on top of the stack inside a new scope. */
static int call_inside(lua_State *L, int nargs, unsigned flags, lua_Number seconds,
                       bool pass)
{
    struct runtime *rt = lull_runtime(L);
    struct scope *s = new(L, rt);
    if (seconds == seconds)
        set_deadline(L, rt->loop, s, seconds);
    lull_scope_enter(L, rt, s, flags); /* nothing fails between this and the call */
    if (pass) {
        lua_pushvalue(L, -1);
        lua_insert(L, -2 - nargs++);
    }
    lua_insert(L, 1);
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, 2);
    while (lua_gettop(L) > nargs + 3)
        lua_remove(L, 3);
    return left(L, lua_pcallk(L, nargs, LUA_MULTRET, 2, 0, left), 0);
}

static lua_Number checkseconds(lua_State *L, int i)
{
    lua_Number seconds = luaL_checknumber(L, i);
    luaL_argcheck(L, seconds == seconds, i, "not a number");
    return seconds;
}

/* timeout (seconds, fn, ...) -> results of fn | nil, "ETIMEDOUT: ...", "ETIMEDOUT" */
static int timeout(lua_State *L)
{
    lua_Number seconds = checkseconds(L, 1);
    lull_checkcallable(L, 2);
    return call_inside(L, lua_gettop(L) - 2, 0, seconds, false);
}

/* shield (fn, ...) -> results: no cancellation from outside reaches fn. */
static int shield(lua_State *L)
{
    lull_checkcallable(L, 1);
    return call_inside(L, lua_gettop(L) - 1, LULL_SHIELD, NAN, false);
}

/* scope (fn) / scope (seconds, fn) -> results;  scope ([seconds]) -> Scope, a block */
static int scope(lua_State *L)
{
    lua_Number seconds = lua_isnumber(L, 1) ? checkseconds(L, 1) : NAN;
    int f = lua_isnumber(L, 1) ? 2 : 1;
    if (!lua_isnoneornil(L, f)) {
        lull_checkcallable(L, f);
        lua_settop(L, f);
        return call_inside(L, 0, 0, seconds, true);
    }
    struct runtime *rt = lull_runtime(L);
    struct scope *s = new(L, rt);
    lull_scope_block(L, s);
    if (seconds == seconds)
        set_deadline(L, rt->loop, s, seconds);
    lull_scope_enter(L, rt, s, 0);
    return 1;
}

/* ---- methods -------------------------------------------------------------------- */

static struct scope *checkscope(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_SCOPE);
}

void lull_scope_checkleave(lua_State *L, struct runtime *rt, struct scope *s)
{
    if (!lull_scope_around(rt, s) || s->task != rt->task || s->co != L)
        luaL_error(L, "this block belongs to another coroutine");
    if (s->line == 0)
        luaL_error(L, "what was opened around a function ends with it");
}

/* The end of a block: its own cancellation goes on as a plain error, for a close handler
   cannot swallow one. */
static int scope_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct scope *s = checkscope(L);
    lua_settop(L, 2);
    if (s->task == NULL)
        return 0;
    lull_scope_checkleave(L, rt, s);
    bool raise = lull_unwind(L, rt, &s->deadline.scope, lua_isnil(L, 2));
    if (!raise && lull_scope_raised(L, rt, s, 2)) {
        lull_pushreason(L, &s->deadline.scope);
        raise = true;
    }
    lull_scope_leave(L, rt, s);
    return raise ? lua_error(L) : 0;
}

/* s:cancel ([reason]) */
static int scope_cancel(lua_State *L)
{
    struct scope *s = checkscope(L);
    lull_loop *loop = lull_loop_with(lull_runtime(L), s->loop);
    bool open = loop != NULL && s->task != NULL;
    lua_pushboolean(L, open && lull_cancel(L, loop, &s->deadline.scope, -ECANCELED, 2));
    return 1;
}

/* s:timeout (seconds | nil): from now on, anew */
static int scope_timeout(lua_State *L)
{
    struct scope *s = checkscope(L);
    lua_Number seconds = lua_isnoneornil(L, 2) ? HUGE_VAL : checkseconds(L, 2);
    lull_loop *loop = s->task ? lull_loop_with(lull_runtime(L), s->loop) : NULL;
    if (loop != NULL)
        set_deadline(L, loop, s, seconds);
    return 0;
}

/* s:remaining () -> seconds | nil */
static int scope_remaining(lua_State *L)
{
    struct scope *s = checkscope(L);
    lull_loop *loop = s->task ? lull_loop_with(lull_runtime(L), s->loop) : NULL;
    if (loop == NULL || !lull_timer_started(&s->deadline.timer))
        return 0;
    int64_t left = lull_timer_deadline(loop, &s->deadline.timer) - lull_now(loop);
    lua_pushnumber(L, left > 0 ? (lua_Number)left / 1e9 : 0);
    return 1;
}

/* s:cancelled () -> boolean: by itself or from outside */
static int scope_cancelled(lua_State *L)
{
    struct scope *s = checkscope(L);
    lua_pushboolean(L, s->deadline.scope.own || s->deadline.scope.cancelled);
    return 1;
}

static int scope_tostring(lua_State *L)
{
    struct scope *s = checkscope(L);
    const char *how = s->task == NULL              ? "left"
                      : s->deadline.scope.cancelled ? "cancelled"
                                                    : "open";
    lua_pushfstring(L, "scope (%s)", how);
    return 1;
}

static int scope_gc(lua_State *L)
{
    lull_scope_collect(L, lull_runtime(L), lua_touserdata(L, 1));
    return 0;
}

static const luaL_Reg methods[] = {
    {"cancel", scope_cancel},       {"timeout", scope_timeout},
    {"remaining", scope_remaining}, {"cancelled", scope_cancelled},
    {"close", scope_close},         {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__close", scope_close}, {"__tostring", scope_tostring}, {"__gc", scope_gc},
    {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"scope", scope}, {"timeout", timeout}, {"shield", shield}, {NULL, NULL}};

void lull_open_scope(lua_State *L)
{
    lull_newclass(L, LULL_SCOPE, "Scope", methods, metamethods);
    lull_setfuncs(L, functions);
}
