/* Queues between tasks, as scripts see them: first in first out, last in first out, by
   priority.  How they are made is in queue.lua, what they do with items in queue.c. */
#include "queue.h"

static const char *const names[] = {"queue", "lifo_queue", "priority_queue", NULL};

static struct queue *checkqueue(lua_State *L)
{
    return lull_self(L, lull_runtime(L), LULL_QUEUE);
}

/* ---- putting --------------------------------------------------------------------- */

static int fail_closed(lua_State *L)
{
    return lull_pushcode(L, "EPIPE", "queue is closed", NULL);
}

/* A put that waits and is let in has happened, though it be cancelled in that moment. */
static int let_in(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct queue *q = lua_touserdata(L, 1);
    int how = rt->task->waiter.status;
    if (how == LULL_LET_IN) {
        lua_pushboolean(L, true);
        return 1;
    }
    if (how == LULL_REJECTED) {
        lua_settop(L, 2);
        return lua_error(L);
    }
    if (how == LULL_DISMISSED && !rt->task->scope->cancelled)
        return fail_closed(L);
    return lull_line_disturbed(L, rt, &q->putters, let_in);
}

static int put_now(lua_State *L, struct runtime *rt, struct queue *q)
{
    lull_queue_insert(L, rt, q, 2);
    lua_pushboolean(L, true);
    return 1;
}

static int put_in(lua_State *L, struct runtime *rt, struct queue *q)
{
    if (q->closed)
        return fail_closed(L);
    if (!lull_queue_full(q))
        return put_now(L, rt, q);
    lull_line_bind(L, rt, &q->loop);
    return lull_line_wait(L, rt, &q->putters, let_in);
}

static int putk(lua_State *L, int first_time, lua_KContext rc)
{
    (void)first_time, (void)rc;
    return put_in(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* queue:put (v) -> true | nil, message, code */
static int put(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct queue *q = lull_self(L, rt, LULL_QUEUE);
    if (lua_isnoneornil(L, 2))
        return luaL_error(L, "bad argument #1 to 'put' (nil is no item)");
    return lull_may(L, rt) ? put_in(L, rt, q) : lull_enter_slowly(L, rt, putk);
}

/* queue:try_put (v) -> boolean | nil, message, code */
static int try_put(lua_State *L)
{
    struct queue *q = checkqueue(L);
    if (lua_isnoneornil(L, 2))
        return luaL_error(L, "bad argument #1 to 'try_put' (nil is no item)");
    if (q->closed)
        return fail_closed(L);
    if (!lull_queue_full(q))
        return put_now(L, lull_runtime(L), q);
    lua_pushboolean(L, false);
    return 1;
}

/* ---- getting --------------------------------------------------------------------- */

/* Back from a wait, with a promise or without. */
static int got(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct queue *q = lua_touserdata(L, 1);
    int how = rt->task->waiter.status;
    bool cancelled = rt->task->scope->cancelled;
    if (how == LULL_PROMISED) {
        q->promised--;
        if (cancelled)
            lull_queue_promise(L, rt, q);
        else {
            lull_queue_fetch(L, rt, q);
            return 1;
        }
    }
    if (how == LULL_DISMISSED && !cancelled) {
        lua_pushnil(L);
        return 1;
    }
    return lull_line_disturbed(L, rt, &q->getters, got);
}

static int get_from(lua_State *L, struct runtime *rt, struct queue *q)
{
    if (lull_queue_free(q) > 0)
        return lull_queue_fetch_free(L, rt, q);
    if (q->closed && q->stored == 0) {
        lua_pushnil(L);
        return 1;
    }
    lull_line_bind(L, rt, &q->loop);
    return lull_line_wait(L, rt, &q->getters, got);
}

static int getk(lua_State *L, int first_time, lua_KContext rc)
{
    (void)first_time, (void)rc;
    return get_from(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* queue:get () -> v; nil: it is closed and empty */
static int get(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct queue *q = lull_self(L, rt, LULL_QUEUE);
    return lull_may(L, rt) ? get_from(L, rt, q) : lull_enter_slowly(L, rt, getk);
}

/* queue:try_get () -> v | nil */
static int try_get(lua_State *L)
{
    struct queue *q = checkqueue(L);
    if (lull_queue_free(q) > 0)
        return lull_queue_fetch_free(L, lull_runtime(L), q);
    lua_pushnil(L);
    return 1;
}

/* for v in queue:items () do: until the queue is closed and empty. */
static int items(lua_State *L)
{
    checkqueue(L);
    lua_getfield(L, 1, "get");
    lua_pushvalue(L, 1);
    return 2;
}

/* ---- joining, closing ------------------------------------------------------------ */

/* queue:task_done () */
static int task_done(lua_State *L)
{
    struct queue *q = checkqueue(L);
    if (q->unfinished == 0)
        return luaL_error(L, "'task_done' was called more often than items have come");
    if (q->unfinished == 1)
        lull_queue_dismiss(L, lull_runtime(L), q, &q->joiners);
    q->unfinished--;
    return 0;
}

static int joined(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct queue *q = lua_touserdata(L, 1);
    if (rt->task->waiter.status == LULL_DISMISSED && !rt->task->scope->cancelled)
        return 0;
    return lull_line_disturbed(L, rt, &q->joiners, joined);
}

static int joink(lua_State *L, int first_time, lua_KContext rc)
{
    (void)first_time, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct queue *q = lua_touserdata(L, 1);
    if (q->unfinished == 0)
        return 0;
    lull_line_bind(L, rt, &q->loop);
    return lull_line_wait(L, rt, &q->joiners, joined);
}

/* queue:join (): until task_done has been called for every item that has come. */
static int join(lua_State *L)
{
    checkqueue(L);
    return lull_enter(L, joink);
}

/* queue:close () */
static int close(lua_State *L)
{
    struct queue *q = checkqueue(L);
    struct runtime *rt = lull_runtime(L);
    if (q->closed)
        return 0;
    lull_queue_dismiss(L, rt, q, &q->putters);
    if (q->stored == 0)
        lull_queue_dismiss(L, rt, q, &q->getters);
    q->closed = true;
    return 0;
}

/* ---- looking --------------------------------------------------------------------- */

static int size(lua_State *L)
{
    lua_pushinteger(L, lull_queue_free(checkqueue(L)));
    return 1;
}

static int empty(lua_State *L)
{
    lua_pushboolean(L, lull_queue_free(checkqueue(L)) == 0);
    return 1;
}

static int full(lua_State *L)
{
    lua_pushboolean(L, lull_queue_full(checkqueue(L)));
    return 1;
}

/* Adds ", 2 waiting to get" to the string on top, where somebody does. */
static void add_line(lua_State *L, const lull_list *line, const char *what)
{
    int n = lull_line_count(line);
    if (n == 0)
        return;
    lua_pushfstring(L, "%s, %d waiting to %s", lua_tostring(L, -1), n, what);
    lua_replace(L, -2);
}

/* "queue (1 item, closed, 2 waiting to get): 0x5581" */
static int queue_tostring(lua_State *L)
{
    struct queue *q = checkqueue(L);
    lua_Integer n = lull_queue_free(q);
    lua_pushfstring(L, "%I item%s%s", n, n == 1 ? "" : "s", q->closed ? ", closed" : "");
    add_line(L, &q->getters, "get");
    add_line(L, &q->putters, "put");
    lua_pushfstring(L, "%s (%s): %p", names[q->order], lua_tostring(L, -1),
                    lua_topointer(L, 1));
    return 1;
}

/* ---- the module ------------------------------------------------------------------ */

/* new_queue (order, limit [, store, push, pop]) -> Queue.  limit 0: none.  For one by
   priority are push (store, v) and pop (store) -> v; they cannot suspend, and where they
   raise nothing has changed. */
static int new (lua_State *L)
{
    enum lull_order order = (enum lull_order)luaL_checkoption(L, 1, NULL, names);
    lua_Integer limit = luaL_checkinteger(L, 2);
    int uservalues = order == LULL_BY_PRIORITY ? LULL_QUEUE_POP : LULL_QUEUE_STORE;
    lua_settop(L, 5);
    struct queue *q = lull_newobject(L, LULL_QUEUE, sizeof *q, uservalues);
    list_init(&q->getters);
    list_init(&q->putters);
    list_init(&q->joiners);
    q->order = order;
    q->limit = limit > 0 ? limit : LUA_MAXINTEGER;
    for (int i = 1; uservalues > 1 && i <= uservalues; i++) {
        lua_pushvalue(L, i + 2);
        lua_setiuservalue(L, -2, i);
    }
    return 1;
}

static const luaL_Reg methods[] = {
    {"put", put},         {"try_put", try_put}, {"get", get},
    {"try_get", try_get}, {"items", items},     {"size", size},
    {"empty", empty},     {"full", full},       {"task_done", task_done},
    {"join", join},       {"close", close},     {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", queue_tostring},
                                       {"__close", close},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_queue", new}, {NULL, NULL}};

void lull_open_queue(lua_State *L)
{
    lull_newclass(L, LULL_QUEUE, "Queue", methods, metamethods);
    lull_setfuncs(L, functions);
}
