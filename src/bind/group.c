/* How groups live and end.  A group is a scope, and below it hang the own scopes of its
   children: cancelling reaches them without a list of them here, and task.c tells us when
   a child ends, so a child costs no callback either.

   The first failure of body or children is kept, and cancels the rest.  Who leaves a
   group waits until nobody is left in it; nothing cuts this wait short, for the task is
   no member of any scope while it lasts, and what has to be raised is raised afterwards.

   A group that is given up (its coroutine is closed where it cannot wait, or collected)
   cancels its children one by one and lets go of them: they end alone, so no child ever
   has a group that is gone. */
#include "group.h"

#include <errno.h>

/* Whose outcome is that of the group: of a BODY the error is held, of a CHILD the Task. */
enum { NOBODY, BODY, CHILD, MEMORY };

static struct group *group_of(lull_scope *s)
{
    return container_of(s, struct group, scope.deadline.scope);
}

/* ---- waking and cancelling ------------------------------------------------------ */

/* Those in line for whom there is room; all of them when nobody will ever run. */
static void serve(lull_loop *loop, struct group *g)
{
    bool over = g->ended || lull_scope_of(g)->cancelled;
    uint32_t room = over ? UINT32_MAX : lull_group_room(g);
    for (lull_list *l = g->line.next; l != &g->line && room > 0; l = l->next, room--)
        lull_wake_all(loop, &container_of(l, struct ticket, link)->holder, 0);
}

/* Cancels each child by itself: daemons, and children that lose their group. */
static void cancel_each(lull_loop *loop, struct group *g)
{
    lull_scope *last = lull_scope_of(g)->children, *s = last;
    if (last != NULL)
        do {
            s = s->next;
            lull_scope_cancel(loop, s, -ECANCELED);
        } while (s != last);
}

void lull_group_review(lull_loop *loop, struct group *g)
{
    serve(loop, g);
    if (g->closing && g->children == g->daemons && !g->dismissed) {
        g->dismissed = true;
        cancel_each(loop, g);
    }
    if (lull_group_empty(g))
        lull_wake_all(loop, &g->leavers, 0);
}

/* ---- outcomes ------------------------------------------------------------------- */

/* Pushes the error that the group has failed with; false, and nothing, if it has not. */
static bool push_first(lua_State *L, struct group *g)
{
    if (g->first != BODY && g->first != CHILD)
        return false;
    lull_pushheld(L, &g->first);
    if (g->first == BODY)
        return true;
    struct task *t = lua_touserdata(L, -1);
    lua_getiuservalue(L, -1, 1);
    lua_remove(L, -2);
    if (t->future.state == LULL_ERROR)
        return true;
    lua_pop(L, 1); /* the winner of a race, or one that was cancelled */
    return false;
}

/* Is the error at i the one that will be raised anyway? */
static bool is_first(lua_State *L, struct group *g, int i)
{
    i = lua_absindex(L, i);
    if (!push_first(L, g))
        return false;
    bool same = lua_rawequal(L, -1, i);
    lua_pop(L, 1);
    return same;
}

/* (Task, error, traceback | nil) */
static int report(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_settop(L, 3);
    lull_report(L, rt, 1);
    return 0;
}

/* Tells on_unhandled, which may fail, about the error and traceback on top; below them
   stands the Task that they concern. */
static void tell(lua_State *L)
{
    lua_pushcfunction(L, report);
    lua_insert(L, -4);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

/* The child whose Task is at i decides how the group ends. */
static void decide(lua_State *L, struct runtime *rt, struct group *g, int i,
                   unsigned state)
{
    struct task *t = lua_touserdata(L, i);
    lua_pushvalue(L, i);
    lull_hold(L, &g->first);
    g->first = CHILD;
    lull_take(rt, &t->future);
    lua_pushstring(L, state == LULL_ERROR ? "a task of the group failed"
                                          : "a task of the group ended");
    lull_cancel(L, rt->loop, lull_scope_of(g), -ECANCELED, lua_gettop(L));
    lua_pop(L, 1);
}

/* One that fails after another has, unless somebody awaits it: its error is on top. */
static void fail_late(lua_State *L, struct runtime *rt, struct group *g, int i)
{
    struct task *t = lua_touserdata(L, i);
    unsigned before = rt->failures;
    if (!list_empty(&t->future.waiters) || (t->future.flags & LULL_TAKEN))
        return;
    lull_take(rt, &t->future);
    if (is_first(L, g, -1))
        return;
    lua_pushvalue(L, i);
    lua_pushvalue(L, -2);
    if (lull_hasextra(L, i)) {
        lua_getfield(L, -1, "traceback");
        lua_remove(L, -2);
    } else
        lua_pushnil(L);
    tell(L);
    if (rt->failures > before)
        t->future.flags |= LULL_REPORTED;
}

void lull_child_ends(lua_State *L, struct runtime *rt, int i, unsigned state)
{
    struct task *t = lua_touserdata(L, i);
    struct group *g = group_of(t->own.parent);
    bool missing = g->kind == RACE || (g->kind == GATHER && state == LULL_CANCELLED);
    if (g->kind == DETACHED)
        return;
    if (state == LULL_ERROR && g->first != NOBODY)
        fail_late(L, rt, g, i);
    else if (state == LULL_ERROR ||
             (missing && g->first == NOBODY && !lull_scope_of(g)->cancelled))
        decide(L, rt, g, i, state);
}

void lull_child_ended(struct runtime *rt, struct task *t, lull_scope *parent)
{
    struct group *g = group_of(parent);
    g->children--;
    g->daemons -= (t->future.flags & LULL_DAEMON) != 0;
    if (t->future.state == LULL_ERROR && g->kind != DETACHED) {
        if (g->first == NOBODY)
            g->first = MEMORY; /* there was not even enough to tell us */
        lull_scope_cancel(rt->loop, parent, -ECANCELED);
    }
    lull_group_review(rt->loop, g);
}

void lull_child_daemon(struct runtime *rt, struct task *t)
{
    struct group *g = group_of(t->own.parent);
    g->daemons++;
    lull_group_review(lull_loop_of(rt, &t->future), g);
}

/* (group, error): the body has failed. */
static int note_failure(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    struct group *g = lua_touserdata(L, 1);
    if (lull_test(L, rt, 2, LULL_CANCEL) != NULL) {
        /* no failure */
    } else if (g->first == NOBODY) {
        g->first = BODY;
        lua_pushvalue(L, 2);
        lull_hold(L, &g->first);
    } else if (!is_first(L, g, 2)) {
        lull_pushtask(L, rt, rt->task);
        lua_pushvalue(L, 2);
        lull_pushtraceback(L, 2);
        tell(L);
    }
    lua_pushliteral(L, "the group was left by an error");
    lull_cancel(L, rt->loop, lull_scope_of(g), -ECANCELED, lua_gettop(L));
    return 0;
}

/* ---- giving up ------------------------------------------------------------------ */

/* Lets go of what is held for g. */
static void forget(lua_State *L, struct group *g)
{
    g->ended = true;
    if (g->first != NOBODY)
        lull_release(L, &g->first);
    if (lull_scope_of(g)->own != 0)
        lull_release(L, lull_scope_of(g));
    g->first = NOBODY;
}

/* (group): a failure that nobody is going to raise is one that nobody has looked at. */
static int give_back(lua_State *L)
{
    struct group *g = lua_touserdata(L, 1);
    struct runtime *rt = lull_pushruntime(L);
    lull_pushheld(L, &g->first);
    struct task *t = lua_touserdata(L, -1);
    if (t->future.state == LULL_ERROR) {
        t->future.flags &= (uint8_t)~LULL_TAKEN;
        lull_untaken(L, rt, -1);
    }
    return 0;
}

void lull_group_abandon(lua_State *L, struct runtime *rt, struct scope *s)
{
    struct group *g = container_of(s, struct group, scope);
    lull_loop *loop = lull_loop_with(rt, s->loop);
    if (g->ended)
        return;
    if (g->first == CHILD) {
        lua_pushcfunction(L, give_back);
        lua_pushlightuserdata(L, g);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    }
    forget(L, g);
    g->children = g->daemons = 0;
    if (loop != NULL) {
        cancel_each(loop, g);
        lull_scope_close(loop, lull_scope_of(g));
        serve(loop, g);
    }
}

/* ---- leaving -------------------------------------------------------------------- */

static void leave(lua_State *L, struct runtime *rt, struct group *g)
{
    forget(L, g);
    lull_scope_leave(L, rt, &g->scope);
}

/* The group's own cancellation ends here, as values or, from a block, as an error. */
static int end_cancelled(lua_State *L, struct runtime *rt, struct group *g)
{
    lua_settop(L, 1);
    lua_pushnil(L);
    lua_pushstring(L, lull_pushreason(L, lull_scope_of(g)));
    leave(L, rt, g);
    if (g->scope.line == 0)
        return 3;
    lua_pop(L, 1);
    return lua_error(L);
}

/* Nobody is left; waited: it has taken turns. */
static int finish(lua_State *L, struct runtime *rt, struct group *g, bool waited)
{
    bool mine = g->body != WELL && lull_scope_raised(L, rt, &g->scope, 2);
    bool outer = waited && lull_scope_of(g)->parent->cancelled;
    if (g->first == CHILD) {
        lull_pushheld(L, &g->first);
        struct task *t = lua_touserdata(L, -1);
        if (t->future.state == LULL_ERROR || !outer) {
            leave(L, rt, g);
            return lull_pushoutcome(L, rt, lua_gettop(L));
        }
        lua_pop(L, 1);
    }
    if (g->first == MEMORY) {
        leave(L, rt, g);
        return luaL_error(L, "not enough memory");
    }
    if (outer && (mine || g->body == WELL)) {
        leave(L, rt, g);
        return lull_enter(L, NULL); /* which raises what holds there */
    }
    if (mine)
        return end_cancelled(L, rt, g);
    leave(L, rt, g);
    if (g->body == FAILED) {
        lua_settop(L, 2);
        return lull_reraise(L);
    }
    return g->scope.line != 0 ? 0 : lua_gettop(L) - 2;
}

static int end_detached(lua_State *L, struct runtime *rt, struct group *g)
{
    lull_loop *loop = lull_loop_with(rt, g->scope.loop);
    if (!g->ended && loop != NULL)
        lull_scope_close(loop, lull_scope_of(g));
    forget(L, g);
    return 0;
}

static int wait_for_all(lua_State *L, struct runtime *rt, struct group *g);

static int waited(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct group *g = lua_touserdata(L, 1);
    rt->task->scope->member = &rt->task->waiter;
    if (!lull_group_empty(g))
        return wait_for_all(L, rt, g);
    return g->kind == DETACHED ? end_detached(L, rt, g) : finish(L, rt, g, true);
}

/* Waits until nobody is left, whatever is cancelled meanwhile. */
static int wait_for_all(lua_State *L, struct runtime *rt, struct group *g)
{
    rt->task->scope->member = NULL;
    lull_wait(&rt->task->waiter);
    list_push(&g->leavers, &rt->task->waiter.link);
    return lull_park_raw(L, rt, 0, waited);
}

/* Who spawns into a group that was cancelled before it began would not wait for anything,
   and never be told: a loop around it would starve the others. */
static int overlooked(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    return finish(L, lull_runtime(L), lua_touserdata(L, 1), false);
}

int lull_group_leave(lua_State *L, struct runtime *rt, struct group *g)
{
    if (g->body != WELL) {
        lua_pushcfunction(L, note_failure);
        lua_pushlightuserdata(L, g);
        lua_pushvalue(L, 2);
        if (lua_pcall(L, 2, 0, 0) != LUA_OK)
            lua_pop(L, 1); /* no memory: cancelled without a reason then */
        lull_scope_cancel(rt->loop, lull_scope_of(g), -ECANCELED);
    }
    g->closing = true;
    lull_group_review(rt->loop, g);
    bool waits = rt->running == L && lua_isyieldable(L);
    if (lull_group_empty(g)) {
        if (waits && g->stillborn && lull_scope_of(g)->parent->cancelled)
            return lull_overlook(L, rt, overlooked);
        return finish(L, rt, g, false);
    }
    if (waits)
        return wait_for_all(L, rt, g);
    lull_scope_leave(L, rt, &g->scope); /* which abandons it */
    if (g->body == WELL)
        return lull_refuse(L, rt);
    lua_settop(L, 2);
    return g->body == FAILED ? lull_reraise(L) : 0;
}

int lull_group_close(lua_State *L, struct runtime *rt, struct group *g)
{
    lull_loop *loop = lull_loop_with(rt, g->scope.loop);
    if (loop != NULL) {
        lull_scope_cancel(loop, lull_scope_of(g), -ECANCELED);
        lull_group_review(loop, g);
    }
    if (loop == NULL || lull_group_empty(g))
        return end_detached(L, rt, g);
    if (loop == rt->loop && rt->running == L && lua_isyieldable(L))
        return wait_for_all(L, rt, g);
    return lua_isnil(L, 2) ? lull_refuse(L, rt) : 0;
}
