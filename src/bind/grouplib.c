/* Groups for scripts: opening one around a block, a function or nothing, spawning into
   it, and waiting for a place where it has a limit.  How they end is told in group.c. */
#include "group.h"

#include <errno.h>
#include <string.h>

/* ---- opening -------------------------------------------------------------------- */

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
    if (!lull_scope_around(rt, &g->scope)) { /* resumed behind our back */
        lull_scope_collect(L, rt, &g->scope);
        return well ? lua_gettop(L) - 2 : lull_reraise(L);
    }
    if (!lua_checkstack(L, LUA_MINSTACK)) {
        lua_settop(L, 2);
        lua_pushliteral(L, "stack overflow (too many results)");
        well = false;
    }
    if (lull_unwind(L, rt, lull_scope_of(g), well))
        well = false;
    if (!well) {
        lua_replace(L, 2);
        lua_settop(L, 2);
        g->body = FAILED;
    }
    return lull_group_leave(L, rt, g);
}

/* Keeps in g, which is on top, the line of the script that called a module of ours. */
static void find_site(lua_State *L, struct group *g)
{
    lua_Debug ar;
    for (int level = 1; lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sl", &ar);
        if (ar.currentline > 0 && strncmp(ar.source, "@lull/", 6) != 0) {
            lua_getinfo(L, "f", &ar);
            lua_setiuservalue(L, -2, 1);
            g->site = ar.currentline;
            return;
        }
    }
}

/* Calls the function at 1 with a new group. */
static int call_inside(lua_State *L, int kind, uint32_t limit)
{
    struct runtime *rt = lull_runtime(L);
    lua_settop(L, 1);
    lull_scope_check(L, rt);
    struct group *g = new_group(L, kind, limit);
    if (kind != PLAIN)
        find_site(L, g);
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

struct group *lull_newgroup(lua_State *L, uint32_t limit)
{
    struct group *g = new_group(L, DETACHED, limit);
    lull_scope_open(NULL, lull_scope_of(g), NULL, LULL_IS_GROUP);
    return g;
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
    bool well = lua_type(L, -1) == LUA_TNUMBER && limit > 0 && limit < UINT32_MAX;
    luaL_argcheck(L, well, 1, "limit must be a positive integer");
    return (uint32_t)limit;
}

/* group ([options]) -> Group, a block / group ([options,] fn) -> results of fn (g) */
static int group(lua_State *L)
{
    lua_settop(L, 2);
    bool options = is_options(L, 1), detached = false;
    uint32_t limit = options ? check_limit(L) : 0;
    if (options) {
        static const char *const known[] = {"limit", "detached", NULL};
        lull_checkoptions(L, 1, "group", known);
        lua_getfield(L, 1, "detached");
        detached = lua_toboolean(L, -1);
    }
    int f = options || lua_isnoneornil(L, 1) ? 2 : 1;
    lua_settop(L, 2);
    if (lua_isnil(L, f)) {
        if (!detached)
            return open_block(L, limit);
        lull_newgroup(L, limit);
        return 1;
    }
    lull_checkcallable(L, f);
    luaL_argcheck(L, !detached, 1, "a detached group has no function");
    lua_pushvalue(L, f);
    lua_replace(L, 1);
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

/* ---- spawning ------------------------------------------------------------------- */

/* On a cancelled group: a task that is cancelled already.  Nobody need wait for it. */
static void spawn_cancelled(lua_State *L, struct runtime *rt, struct group *g, int nargs)
{
    g->stillborn = true;
    struct task *t = lull_spawn(L, rt, nargs, NULL);
    lull_scope_cancel(rt->loop, &t->own, -ECANCELED);
    lull_pushheld(L, lull_scope_culprit(lull_scope_of(g)));
    lull_settle(L, rt, -2, LULL_CANCELLED, 1);
}

/* The children of gather are spawned by whoever called it; co has not begun. */
static void correct_site(lua_State *L, struct group *g, lua_State *co)
{
    lua_getiuservalue(L, 1, 1);
    lua_xmove(L, co, 1);
    lua_replace(co, LULL_AT_SITE + 1);
    lua_pushinteger(co, g->site);
    lua_replace(co, LULL_AT_LINE + 1);
}

/* Spawns the function at i with what stands above it. */
static int spawn_now(lua_State *L, struct runtime *rt, struct group *g, int i)
{
    int nargs = lua_gettop(L) - i;
    if (lull_scope_of(g)->cancelled)
        spawn_cancelled(L, rt, g, nargs);
    else {
        struct task *t = lull_spawn(L, rt, nargs, lull_scope_of(g));
        g->children++;
        g->dismissed = false;
        if (g->site != 0)
            correct_site(L, g, t->co);
    }
    return 1;
}

/* May the holder of a ticket spawn now?  As many may as there is room for. */
static bool is_served(struct group *g, struct ticket *ticket)
{
    uint32_t room = lull_group_room(g);
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
    struct ticket *ticket = lua_touserdata(L, 2);
    if (g->ended)
        return luaL_error(L, "the group has ended");
    if (lull_scope_of(g)->cancelled || is_served(g, ticket))
        return spawn_now(L, rt, g, 3);
    lull_wait(&rt->task->waiter);
    list_push(&ticket->holder, &rt->task->waiter.link);
    return lull_park(L, in_line);
}

static int nothing(lua_State *L)
{
    (void)L;
    return 0;
}

/* Puts a ticket at 2, to be closed however this function is left. */
static void take_ticket(lua_State *L, struct group *g)
{
    struct ticket *ticket = lull_newobject(L, LULL_TICKET, sizeof *ticket, 1);
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    lua_insert(L, 2);
    lua_pushcfunction(L, nothing);
    lua_call(L, 0, 0); /* Lua has room for a call from now on: closing cannot fail */
    ticket->group = g;
    list_init(&ticket->holder);
    list_push(&g->line, &ticket->link);
    lua_toclose(L, 2);
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
    take_ticket(L, g);
    return in_line(L, LUA_OK, 0);
}

/* Gives up the place in line, with a turn that had come.  Collecting does that too: there
   may have been no memory to close it. */
static int ticket_close(lua_State *L)
{
    struct ticket *ticket = lua_touserdata(L, 1);
    struct group *g = ticket->group;
    if (g == NULL)
        return 0;
    ticket->group = NULL;
    list_remove(&ticket->link);
    lull_loop *loop = lull_loop_with(lull_runtime(L), g->scope.loop);
    if (!g->ended && loop != NULL)
        lull_group_review(loop, g);
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
    if (g->kind == DETACHED && lull_group_empty(g))
        g->scope.loop = here;
    if (g->scope.loop != here)
        return luaL_error(L, "the group belongs to another loop");
    if (g->limit == 0 || lull_scope_of(g)->cancelled)
        return spawn_now(L, rt, g, 2);
    return lull_enter(L, spawnk);
}

/* ---- methods -------------------------------------------------------------------- */

/* g:cancel ([reason]): body and children */
static int group_cancel(lua_State *L)
{
    struct group *g = checkgroup(L);
    lull_loop *loop = lull_loop_with(lull_runtime(L), g->scope.loop);
    lua_settop(L, 2);
    bool first = !g->ended && lull_cancel(L, loop, lull_scope_of(g), -ECANCELED, 2);
    if (first && loop != NULL)
        lull_group_review(loop, g);
    lua_pushboolean(L, first);
    return 1;
}

/* Raises where the running task is below g: it would wait for itself. */
static void check_outside(lua_State *L, struct runtime *rt, struct group *g)
{
    lull_scope *s = rt->task ? rt->task->scope : NULL;
    while (s != NULL && s != lull_scope_of(g))
        s = s->parent;
    if (s != NULL)
        luaL_error(L, "a child cannot wait for its own group");
}

/* g:close (): the end of its block; a detached one is cancelled first */
static int group_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct group *g = checkgroup(L);
    lua_settop(L, 2);
    if (g->ended)
        return 0;
    if (g->kind == DETACHED) {
        check_outside(L, rt, g);
        return lull_group_close(L, rt, g);
    }
    lull_scope_checkleave(L, rt, &g->scope);
    g->body = lua_isnil(L, 2) ? WELL : UNWINDING;
    if (lull_unwind(L, rt, lull_scope_of(g), g->body == WELL)) {
        lua_replace(L, 2);
        g->body = FAILED;
    }
    return lull_group_leave(L, rt, g);
}

static int group_tostring(lua_State *L)
{
    struct group *g = checkgroup(L);
    const char *how = g->ended                      ? "ended"
                      : lull_scope_of(g)->cancelled ? "cancelled"
                      : g->closing                  ? "closing"
                                                    : "open";
    lua_pushfstring(L, "group (%s, %d %s)", how, (int)g->children,
                    g->children == 1 ? "child" : "children");
    return 1;
}

/* Collected while open: nobody can leave it any more. */
static int group_gc(lua_State *L)
{
    struct group *g = lua_touserdata(L, 1);
    if (g->kind == DETACHED)
        lull_group_abandon(L, lull_runtime(L), &g->scope);
    else
        lull_scope_collect(L, lull_runtime(L), &g->scope);
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

static const luaL_Reg ticket_meta[] = {
    {"__close", ticket_close}, {"__gc", ticket_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"group", group}, {"gather", gather}, {"race", race}, {NULL, NULL}};

void lull_open_group(lua_State *L)
{
    lull_newclass(L, LULL_GROUP, "Group", methods, metamethods);
    lull_newclass(L, LULL_TICKET, "Ticket", NULL, ticket_meta);
    lull_setfuncs(L, functions);
}
