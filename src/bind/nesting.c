/* Scopes nest: each is opened and left by the coroutine that it belongs to, inside the one
   that was innermost there.  Those of a generator come and go with it, and while it is
   paused they bind nobody. */
#include "scope.h"

static struct scope *scope_of(lull_scope *s)
{
    return container_of(s, struct scope, deadline.scope);
}

/* ---- entering -------------------------------------------------------------------- */

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

/* ---- leaving --------------------------------------------------------------------- */

void lull_scope_end(lua_State *L, struct runtime *rt, struct scope *s)
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
    lull_scope_end(L, rt, s);
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
        lull_scope_end(L, rt, s);
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
        lull_scope_end(L, rt, scope_of(s));
    }
}

/* ---- questions ------------------------------------------------------------------- */

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

void lull_scope_checkleave(lua_State *L, struct runtime *rt, struct scope *s)
{
    if (!lull_scope_around(rt, s) || s->task != rt->task || s->co != L)
        luaL_error(L, "this block belongs to another coroutine");
    if (s->line == 0)
        luaL_error(L, "what was opened around a function ends with it");
}
