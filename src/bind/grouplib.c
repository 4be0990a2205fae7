/* Groups: tasks that a block, a function or an object owns.  A group is a scope, and below
   it hang the own scopes of its children, so cancelling reaches them without a list of
   them here; task.c tells us when a child ends, so a child costs no callback either.

   The first failure of body or children is kept, and cancels the rest.  Who leaves a group
   waits until nobody is left in it; nothing cuts this wait short, for the task is no
   member of any scope while it lasts, and what has to be raised is raised afterwards.

   A group lives as long as somebody can leave it.  One that is given up (its coroutine was
   closed where it cannot wait, or collected) cancels its children one by one and lets go
   of them: they end alone, so that no child ever has a group that is gone. */
#include "scope.h"

#include <errno.h>

/* What the end of a child means. */
enum {
    PLAIN,   /* a failure ends the group */
    GATHER,  /* so does a child that was cancelled by itself: its result is missing */
    RACE,    /* so does the end of any child */
    DETACHED /* nothing: children fail alone, and no task is inside */
};

/* Whose outcome is that of the group. */
enum { NOBODY, BODY, CHILD, MEMORY };

struct group {
    struct scope scope; /* first: a group is a scope */
    lull_list leavers;  /* the tasks that wait for its end */
    lull_list line;     /* tickets of those who wait until they may spawn */
    uint32_t limit;     /* so many children at once; 0: any number */
    uint32_t children, daemons;
    uint8_t kind;
    uint8_t first; /* held under its address: the Task (CHILD) or the error (BODY) */
    bool closing;  /* the body has ended */
    bool ended;
    enum { WELL, UNWINDING, FAILED } body; /* UNWINDING: its error is on its way already */
};

/* A place in the line of a group; leaving it passes the turn on. */
struct ticket {
    lull_list link;
    struct group *group;
    lull_waiter *waiter;
};

static lull_scope *scope_of(struct group *g)
{
    return &g->scope.deadline.scope;
}

static struct group *group_of(lull_scope *s)
{
    return container_of(s, struct group, scope.deadline.scope);
}

static bool empty(const struct group *g)
{
    return g->children == 0 && list_empty(&g->line);
}

static void wake_all(lull_loop *loop, lull_list *waiters)
{
    while (!list_empty(waiters))
        lull_wake(loop, container_of(waiters->next, lull_waiter, link), 0);
}

/* Cancels each child by itself: for daemons, and for children that lose their group. */
static void cancel_each(lull_loop *loop, struct group *g)
{
    lull_scope *last = scope_of(g)->children, *s = last;
    if (last != NULL)
        do {
            s = s->next;
            lull_scope_cancel(loop, s, -ECANCELED);
        } while (s != last);
}

/* The first in line may look whether there is room. */
static void serve(lull_loop *loop, struct group *g)
{
    uint32_t room = g->limit > g->children ? g->limit - g->children : 0;
    for (lull_list *l = g->line.next; l != &g->line && room > 0; l = l->next, room--)
        lull_wake(loop, container_of(l, struct ticket, link)->waiter, 0);
}

/* Somebody has left the group or the line: lets those in who wait for that. */
static void review(lull_loop *loop, struct group *g)
{
    serve(loop, g);
    if (g->closing && g->children == g->daemons)
        cancel_each(loop, g);
    if (empty(g))
        wake_all(loop, &g->leavers);
}

/* ---- outcomes ------------------------------------------------------------------------- */

/* (Task, error, traceback | nil) */
static int report(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_settop(L, 3);
    lull_report(L, rt, 1);
    return 0;
}

/* Tells on_unhandled, which may fail, about the error and traceback on top; the Task that
   it concerns stands below them. */
static void tell(lua_State *L)
{
    lua_pushcfunction(L, report);
    lua_insert(L, -4);
    if (lua_pcall(L, 3, 0, 0) != LUA_OK)
        lua_pop(L, 1);
}

/* Pushes the error that the group has failed with; false where it has none. */
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

static void cancel_because(lua_State *L, struct runtime *rt, struct group *g,
                           const char *reason)
{
    lua_pushstring(L, reason);
    lull_cancel(L, rt->loop, scope_of(g), -ECANCELED, lua_gettop(L));
    lua_pop(L, 1);
}

/* The child whose Task is at i decides how the group ends. */
static void decide(lua_State *L, struct runtime *rt, struct group *g, int i, unsigned state)
{
    struct task *t = lua_touserdata(L, i);
    lua_pushvalue(L, i);
    lull_hold(L, &g->first);
    g->first = CHILD;
    t->future.flags |= LULL_TAKEN;
    cancel_because(L, rt, g, state == LULL_ERROR ? "a task of the group failed"
                                                 : "a task of the group ended");
}

/* One that fails after another has: its error is on top. */
static void tell_later(lua_State *L, struct group *g, int i)
{
    struct task *t = lua_touserdata(L, i);
    if (!list_empty(&t->future.waiters))
        return; /* somebody awaits it */
    bool known = (t->future.flags & LULL_TAKEN) || is_first(L, g, -1);
    t->future.flags |= LULL_TAKEN;
    if (known)
        return;
    lua_pushvalue(L, i);
    lua_pushvalue(L, -2);
    if (lull_hasextra(L, i)) {
        lua_getfield(L, -1, "traceback");
        lua_remove(L, -2);
    } else
        lua_pushnil(L);
    tell(L);
}

void lull_child_ends(lua_State *L, struct runtime *rt, int i, unsigned state)
{
    struct task *t = lua_touserdata(L, i);
    struct group *g = group_of(t->own.parent);
    if (g->kind == DETACHED)
        return;
    if (state == LULL_ERROR) {
        if (g->first == NOBODY)
            decide(L, rt, g, i, state);
        else
            tell_later(L, g, i);
    } else if (g->first == NOBODY && !scope_of(g)->cancelled &&
               (g->kind == RACE || (g->kind == GATHER && state == LULL_CANCELLED)))
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
    review(rt->loop, g);
}

void lull_child_daemon(struct runtime *rt, struct task *t)
{
    struct group *g = group_of(t->own.parent);
    g->daemons++;
    review(lull_loop_of(rt, &t->future), g);
}

/* ---- the end -------------------------------------------------------------------------- */

/* Lets go of what is held for g. */
static void forget(lua_State *L, struct group *g)
{
    g->ended = true;
    if (g->first != NOBODY)
        lull_release(L, &g->first);
    g->first = NOBODY;
}

static void leave(lua_State *L, struct runtime *rt, struct group *g)
{
    forget(L, g);
    lull_scope_leave(L, rt, &g->scope);
}

/* (group): an error that nobody is going to raise is one that nobody has looked at. */
static int give_back(lua_State *L)
{
    struct group *g = lua_touserdata(L, 1);
    lull_pushheld(L, &g->first);
    struct task *t = lua_touserdata(L, -1);
    if (t->future.state == LULL_ERROR) {
        t->future.flags &= (uint8_t)~LULL_TAKEN;
        lull_untaken(L, lull_pushruntime(L), 2);
    }
    return 0;
}

void lull_group_abandon(lua_State *L, struct runtime *rt, struct scope *s)
{
    struct group *g = container_of(s, struct group, scope);
    lull_loop *loop = lull_loop_with(rt, s->loop);
    if (g->ended)
        return;
    if (loop != NULL) {
        cancel_each(loop, g);
        for (lull_list *l = g->line.next; l != &g->line; l = l->next)
            lull_wake(loop, container_of(l, struct ticket, link)->waiter, 0);
    }
    if (g->first == CHILD) {
        lua_pushcfunction(L, give_back);
        lua_pushlightuserdata(L, g);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1);
    }
    g->children = g->daemons = 0;
    forget(L, g);
}

/* The body has failed with the error at 2. */
static void body_failed(lua_State *L, struct runtime *rt, struct group *g)
{
    if (lull_test(L, rt, 2, LULL_CANCEL) == NULL) {
        if (g->first == NOBODY) {
            lua_pushvalue(L, 2);
            lull_hold(L, &g->first);
            g->first = BODY;
        } else if (!is_first(L, g, 2)) {
            lull_pushtask(L, rt, rt->task);
            lua_pushvalue(L, 2);
            lull_pushtraceback(L, 2);
            tell(L);
        }
    }
    cancel_because(L, rt, g, "the group was left by an error");
}

/* Nobody is left: raises what has to be raised, or returns.  The stack: group | error, or
   group | handler | results. */
static int finish(lua_State *L, struct runtime *rt, struct group *g, bool waited)
{
    bool mine = g->body != WELL && lull_scope_raised(L, rt, &g->scope, 2);
    bool outer = waited && scope_of(g)->parent->cancelled;
    if (g->first == CHILD) {
        lull_pushheld(L, &g->first);
        struct task *t = lua_touserdata(L, -1);
        if (t->future.state == LULL_ERROR || !outer) {
            leave(L, rt, g);
            return lull_pushoutcome(L, rt, lua_gettop(L));
        }
    }
    if (g->first == MEMORY) {
        leave(L, rt, g);
        return luaL_error(L, "not enough memory");
    }
    if (outer && (mine || g->body == WELL)) {
        leave(L, rt, g);
        return lull_enter(L, NULL); /* which raises what holds there */
    }
    if (mine) {
        lua_settop(L, 1);
        lua_pushnil(L);
        lua_pushstring(L, lull_pushreason(L, scope_of(g)));
        bool block = g->scope.line != 0;
        leave(L, rt, g);
        if (!block)
            return 3;
        lua_pop(L, 1);
        return lua_error(L);
    }
    int n = g->scope.line != 0 ? 0 : lua_gettop(L) - 2;
    bool raise = g->body == FAILED;
    leave(L, rt, g);
    return raise ? (lua_settop(L, 2), lua_error(L)) : n;
}

static int end_detached(lua_State *L, struct runtime *rt, struct group *g)
{
    lull_loop *loop = lull_loop_with(rt, g->scope.loop);
    if (loop != NULL)
        lull_scope_close(loop, scope_of(g));
    if (scope_of(g)->own != 0)
        lull_release(L, scope_of(g));
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
    if (!empty(g))
        return wait_for_all(L, rt, g);
    if (g->kind != DETACHED)
        return finish(L, rt, g, true);
    return g->ended ? 0 : end_detached(L, rt, g);
}

/* Waits until nobody is left, whatever is cancelled meanwhile. */
static int wait_for_all(lua_State *L, struct runtime *rt, struct group *g)
{
    rt->task->scope->member = NULL;
    lull_wait(&rt->task->waiter);
    list_push(&g->leavers, &rt->task->waiter.link);
    return lull_park_raw(L, rt, 0, waited);
}

/* The body has ended, its values stand as finish wants them. */
static int close_body(lua_State *L, struct runtime *rt, struct group *g)
{
    if (g->body != WELL)
        body_failed(L, rt, g);
    g->closing = true;
    review(rt->loop, g);
    if (empty(g))
        return finish(L, rt, g, false);
    if (rt->running == L && lua_isyieldable(L))
        return wait_for_all(L, rt, g);
    lull_scope_leave(L, rt, &g->scope); /* which abandons it */
    if (g->body == WELL)
        return lull_refuse(L, rt);
    return g->body == FAILED ? (lua_settop(L, 2), lua_error(L)) : 0;
}

/* ---- opening --------------------------------------------------------------------------- */

static struct group *new_group(lua_State *L, int kind, uint32_t limit)
{
    struct group *g = lull_newobject(L, LULL_GROUP, sizeof *g, 1);
    lull_deadline_init(&g->scope.deadline);
    list_init(&g->leavers);
    list_init(&g->line);
    g->kind = (uint8_t)kind;
    g->limit = limit;
    return g;
}

static int body_ended(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct group *g = lua_touserdata(L, 1);
    bool well = status == LUA_OK || status == LUA_YIELD;
    if (lull_unwind(L, rt, scope_of(g), well))
        well = false;
    if (!well) {
        lua_replace(L, 2);
        lua_settop(L, 2);
        g->body = FAILED;
    }
    return close_body(L, rt, g);
}

/* Calls the function at 1 with a new group. */
static int call_inside(lua_State *L, int kind, uint32_t limit)
{
    struct runtime *rt = lull_runtime(L);
    lua_settop(L, 1);
    lull_scope_check(L, rt);
    struct group *g = new_group(L, kind, limit);
    lua_insert(L, 1);
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, 2);
    lua_pushvalue(L, 1);
    lull_scope_enter(L, rt, &g->scope, LULL_IS_GROUP);
    return body_ended(L, lua_pcallk(L, 1, LUA_MULTRET, 2, 0, body_ended), 0);
}

static int open_block(lua_State *L, uint32_t limit)
{
    struct runtime *rt = lull_runtime(L);
    lull_scope_check(L, rt);
    struct group *g = new_group(L, PLAIN, limit);
    lull_scope_block(L, &g->scope);
    lull_scope_enter(L, rt, &g->scope, LULL_IS_GROUP);
    return 1;
}

static int open_detached(lua_State *L, uint32_t limit)
{
    struct group *g = new_group(L, DETACHED, limit);
    lull_scope_open(NULL, scope_of(g), NULL, LULL_IS_GROUP);
    return 1;
}

static bool is_options(lua_State *L, int i)
{
    if (!lua_istable(L, i))
        return false;
    bool callable = luaL_getmetafield(L, i, "__call") != LUA_TNIL;
    if (callable)
        lua_pop(L, 1);
    return !callable;
}

static uint32_t check_limit(lua_State *L)
{
    if (lua_getfield(L, 1, "limit") == LUA_TNIL)
        return 0;
    lua_Integer limit = lua_tointeger(L, -1);
    luaL_argcheck(L, lua_type(L, -1) == LUA_TNUMBER && limit > 0 && limit <= UINT32_MAX, 1,
                  "limit must be a positive integer");
    return (uint32_t)limit;
}

/* group ([options]) -> Group, a block / group ([options,] fn) -> results of fn (g) */
static int group(lua_State *L)
{
    uint32_t limit = 0;
    bool detached = false;
    lua_settop(L, 2);
    if (is_options(L, 1)) {
        limit = check_limit(L);
        lua_getfield(L, 1, "detached");
        detached = lua_toboolean(L, -1);
        lua_settop(L, 2);
        lua_remove(L, 1);
    } else if (lua_isnil(L, 1))
        lua_remove(L, 1);
    else
        lua_settop(L, 1);
    if (lua_isnil(L, 1))
        return detached ? open_detached(L, limit) : open_block(L, limit);
    lull_checkcallable(L, 1);
    luaL_argcheck(L, !detached, 1, "a detached group has no function");
    return call_inside(L, PLAIN, limit);
}

/* gather (fn), race (fn) -> results: the groups below lull.gather and lull.race */
static int gather(lua_State *L)
{
    return call_inside(L, GATHER, 0);
}

static int race(lua_State *L)
{
    return call_inside(L, RACE, 0);
}

/* ---- spawning --------------------------------------------------------------------------- */

/* On a cancelled group: a task that is cancelled already.  Nobody need wait for it. */
static void spawn_cancelled(lua_State *L, struct runtime *rt, struct group *g, int nargs)
{
    struct task *t = lull_spawn(L, rt, nargs, NULL);
    lull_scope_cancel(rt->loop, &t->own, -ECANCELED);
    lull_pushheld(L, lull_scope_culprit(scope_of(g)));
    lull_settle(L, rt, -2, LULL_CANCELLED, 1);
}

/* Spawns the function at i with what stands above it. */
static int spawn_now(lua_State *L, struct runtime *rt, struct group *g, int i)
{
    int nargs = lua_gettop(L) - i;
    if (scope_of(g)->cancelled)
        spawn_cancelled(L, rt, g, nargs);
    else {
        lull_spawn(L, rt, nargs, scope_of(g));
        g->children++;
    }
    return 1;
}

/* May the holder of a ticket spawn now?  As many may as there is room for. */
static bool is_served(struct group *g, struct ticket *ticket)
{
    uint32_t room = g->limit > g->children ? g->limit - g->children : 0;
    for (lull_list *l = g->line.next; room > 0 && l != &g->line; l = l->next, room--)
        if (l == &ticket->link)
            return true;
    return false;
}

/* In line; the stack: group | ticket | function | arguments. */
static int in_line(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct group *g = lua_touserdata(L, 1);
    if (g->ended)
        return luaL_error(L, "the group has ended");
    if (scope_of(g)->cancelled || is_served(g, lua_touserdata(L, 2)))
        return spawn_now(L, rt, g, 3);
    lull_wait(&rt->task->waiter);
    return lull_park(L, in_line);
}

static int spawnk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct group *g = lua_touserdata(L, 1);
    if (g->ended)
        return luaL_error(L, "the group has ended");
    if (list_empty(&g->line) && g->children < g->limit)
        return spawn_now(L, rt, g, 2);
    struct ticket *ticket = lull_newobject(L, LULL_TICKET, sizeof *ticket, 0);
    ticket->group = g;
    ticket->waiter = &rt->task->waiter;
    list_push(&g->line, &ticket->link);
    lua_insert(L, 2);
    lua_toclose(L, 2);
    return in_line(L, LUA_OK, 0);
}

/* Gives up the place in line, with a turn that had come. */
static int ticket_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct ticket *ticket = lua_touserdata(L, 1);
    struct group *g = ticket->group;
    list_remove(&ticket->link);
    if (!g->ended)
        review(rt->loop, g);
    return 0;
}

static struct group *checkgroup(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_GROUP);
}

/* g:spawn (fn, ...) -> Task */
static int group_spawn(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct group *g = checkgroup(L);
    lull_checkcallable(L, 2);
    if (g->ended)
        return luaL_error(L, "the group has ended");
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running: spawn inside lull.run");
    uint32_t here = lull_loop_serial(rt->loop);
    if (g->kind == DETACHED && empty(g))
        g->scope.loop = here;
    if (g->scope.loop != here)
        return luaL_error(L, "the group belongs to another loop");
    if (g->limit == 0 || scope_of(g)->cancelled)
        return spawn_now(L, rt, g, 2);
    return lull_enter(L, spawnk);
}

/* ---- methods ----------------------------------------------------------------------------- */

/* g:cancel ([reason]): body and children */
static int group_cancel(lua_State *L)
{
    struct group *g = checkgroup(L);
    lull_loop *loop = lull_loop_with(lull_runtime(L), g->scope.loop);
    lua_settop(L, 2);
    lua_pushboolean(L, !g->ended && lull_cancel(L, loop, scope_of(g), -ECANCELED, 2));
    return 1;
}

/* Cancels the children of a detached group and waits for them. */
static int close_detached(lua_State *L, struct runtime *rt, struct group *g)
{
    lull_loop *loop = lull_loop_with(rt, g->scope.loop);
    for (lull_scope *s = rt->task ? rt->task->scope : NULL; s != NULL; s = s->parent)
        if (s == scope_of(g))
            return luaL_error(L, "a child cannot wait for its own group");
    if (loop != NULL)
        lull_scope_cancel(loop, scope_of(g), -ECANCELED);
    if (loop == NULL || empty(g))
        return end_detached(L, rt, g);
    if (loop == rt->loop && rt->running == L && lua_isyieldable(L))
        return wait_for_all(L, rt, g);
    return lua_isnil(L, 2) ? lull_refuse(L, rt) : 0;
}

/* g:close (): the end of its block; a detached one is cancelled first */
static int group_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct group *g = checkgroup(L);
    lua_settop(L, 2);
    if (g->ended)
        return 0;
    if (g->kind == DETACHED)
        return close_detached(L, rt, g);
    lull_scope_checkleave(L, rt, &g->scope);
    g->body = lua_isnil(L, 2) ? WELL : UNWINDING;
    if (lull_unwind(L, rt, scope_of(g), g->body == WELL)) {
        lua_replace(L, 2);
        g->body = FAILED;
    }
    return close_body(L, rt, g);
}

static int group_tostring(lua_State *L)
{
    struct group *g = checkgroup(L);
    const char *how = g->ended                ? "ended"
                      : scope_of(g)->cancelled ? "cancelled"
                      : g->closing            ? "closing"
                                              : "open";
    lua_pushfstring(L, "group (%s, %d %s)", how, (int)g->children,
                    g->children == 1 ? "child" : "children");
    return 1;
}

/* Collected while open: nobody can leave it any more. */
static int group_gc(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct group *g = lua_touserdata(L, 1);
    if (g->kind == DETACHED) {
        lull_group_abandon(L, rt, &g->scope);
        end_detached(L, rt, g);
    } else if (g->scope.task != NULL)
        lull_scope_end(L, rt, &g->scope);
    return 0;
}

static const luaL_Reg methods[] = {{"spawn", group_spawn},
                                   {"cancel", group_cancel},
                                   {"close", group_close},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", group_close},
                                       {"__tostring", group_tostring},
                                       {"__gc", group_gc},
                                       {NULL, NULL}};

static const luaL_Reg ticket_meta[] = {{"__close", ticket_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"group", group}, {"gather", gather}, {"race", race}, {NULL, NULL}};

void lull_open_group(lua_State *L)
{
    lull_newclass(L, LULL_GROUP, "Group", methods, metamethods);
    lull_newclass(L, LULL_TICKET, "Ticket", NULL, ticket_meta);
    lull_setfuncs(L, functions);
}
