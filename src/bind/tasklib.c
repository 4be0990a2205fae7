/* The functions that scripts call about tasks: spawn, sleep, current, and the methods of
   a Task.  What a task is and how it runs: task.c. */
#include "task.h"

#include <errno.h>
#include <math.h>

/* The clock afresh: somebody may have computed for long since the task was resumed. */
static int64_t after(lull_loop *loop, lua_Number seconds)
{
    lull_refresh(loop);
    return lull_after(loop, seconds);
}

int64_t lull_after(lull_loop *loop, lua_Number seconds)
{
    if (!(seconds >= 0) || seconds > 9e9)
        return LULL_FOREVER;
    return lull_now(loop) + (int64_t)ceil(seconds * 1e9);
}

void lull_checkcallable(lua_State *L, int i)
{
    if (lua_isfunction(L, i) || luaL_getmetafield(L, i, "__call") != LUA_TNIL)
        return;
    luaL_typeerror(L, i, "function");
}

/* spawn (fn, ...) -> Task: it belongs to no scope of the caller. */
static int spawn(lua_State *L)
{
    lull_checkcallable(L, 1);
    lull_spawn(L, lull_runtime(L), lua_gettop(L) - 1, NULL);
    return 1;
}

/* ---- sleeping -------------------------------------------------------------------- */

static int slept(lua_State *L, int status, lua_KContext rc)
{
    (void)L, (void)status, (void)rc;
    return 0;
}

static inline int give_way(lua_State *L, struct runtime *rt)
{
    lull_wait_turn(rt->loop, &rt->task->waiter);
    return lull_park_in(L, rt, slept);
}

static int begin_sleep(lua_State *L, struct runtime *rt, lua_Number seconds)
{
    if (!(seconds > 0))
        return give_way(L, rt);
    lull_wait(&rt->task->waiter);
    return lull_await(L, after(rt->loop, seconds), slept);
}

static int sleepk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return begin_sleep(L, lull_runtime(L), lua_tonumber(L, 1));
}

/* sleep (seconds): suspends; 0 or less gives the others one turn. */
static int sleep_(lua_State *L)
{
    int isinteger;
    struct runtime *rt = lull_runtime(L);
    lua_Integer whole = lua_tointegerx(L, 1, &isinteger);
    if (isinteger && whole <= 0) /* as mostly it is */
        return lull_may(L, rt) ? give_way(L, rt) : lull_enter_slowly(L, rt, sleepk);
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds == seconds, 1, "not a number");
    return lull_may(L, rt) ? begin_sleep(L, rt, seconds) : lull_enter_slowly(L, rt, sleepk);
}

static int sleep_untilk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    lua_Number moment = lua_tonumber(L, 1);
    lull_wait(&rt->task->waiter);
    return lull_await(L, moment > 9e9 ? LULL_FOREVER : (int64_t)ceil(moment * 1e9), slept);
}

/* sleep_until (moment): the same to a moment of the loop's clock. */
static int sleep_until(lua_State *L)
{
    luaL_checknumber(L, 1);
    return lull_enter(L, sleep_untilk);
}

/* enter (): where a suspending function written in Lua begins: raises what has to be
   raised, gives others their turn when it is due. */
static int enter(lua_State *L)
{
    return lull_enter(L, slept);
}

/* ---- around calls ---------------------------------------------------------------- */

static int called(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    if (status == LUA_OK || status == LUA_YIELD) {
        lua_pushboolean(L, true);
        lua_replace(L, 1);
        return lua_gettop(L);
    }
    if (lull_test(L, lull_runtime(L), -1, LULL_CANCEL))
        return lua_error(L);
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

/* pcall (fn, ...): as pcall, but a cancellation passes. */
static int pcall_(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushnil(L);
    lua_insert(L, 1);
    return called(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, called), 0);
}

/* current () -> Task | nil */
static int current(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->task == NULL)
        lua_pushnil(L);
    else
        lull_pushtask(L, rt, rt->task);
    return 1;
}

/* ---- methods --------------------------------------------------------------------- */

static struct task *checktask(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_TASK);
}

/* task:cancel ([reason]) -> boolean: cancels the task's own scope. */
static int task_cancel(lua_State *L)
{
    struct task *t = checktask(L);
    if (t->co == NULL || t->future.state != 0) {
        lua_pushboolean(L, false);
        return 1;
    }
    lull_loop *loop = lull_loop_of(lull_runtime(L), &t->future);
    if (loop == NULL)
        return luaL_error(L, "the loop of this task is closed");
    lull_cancel(L, loop, &t->own, -ECANCELED, 2);
    lua_pushboolean(L, true);
    return 1;
}

/* task:name ([new]) -> string */
static int task_name(lua_State *L)
{
    struct task *t = checktask(L);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checkstring(L, 2);
        lull_pushextra(L, 1);
        lua_pushvalue(L, 2);
        lua_setfield(L, -2, "name");
    }
    if (!lull_hasextra(L, 1) || lua_getfield(L, -1, "name") == LUA_TNIL)
        lua_pushfstring(L, "task %d", (int)t->id);
    return 1;
}

/* task:id () -> integer */
static int task_id(lua_State *L)
{
    lua_pushinteger(L, checktask(L)->id);
    return 1;
}

/* task:daemon () -> task: nobody waits for it; it is cancelled when the others are done. */
static int task_daemon(lua_State *L)
{
    struct task *t = checktask(L);
    if (!(t->future.flags & LULL_DAEMON)) {
        t->future.flags |= LULL_DAEMON;
        lull_task_daemon(lull_runtime(L), t);
        if (t->own.parent != NULL)
            lull_child_daemon(lull_runtime(L), t);
    }
    lua_settop(L, 1);
    return 1;
}

/* task:traceback () -> string: where it stands now, or where it failed. */
static int task_traceback(lua_State *L)
{
    struct task *t = checktask(L);
    if (t->co != NULL) {
        lull_pushstack(L, t);
        return 1;
    }
    if (!lull_hasextra(L, 1) || lua_getfield(L, -1, "traceback") == LUA_TNIL)
        lua_pushliteral(L, "");
    return 1;
}

static int task_tostring(lua_State *L)
{
    struct task *t = checktask(L);
    lull_pushlabel(L, 1);
    lull_pushstate(L, lull_runtime(L), t);
    lua_pushfstring(L, "%s (%s)", lua_tostring(L, -2), lua_tostring(L, -1));
    return 1;
}

static int closed(lua_State *L, int status, lua_KContext ctx)
{
    (void)L, (void)status, (void)ctx;
    return 0;
}

int lull_task_close(lua_State *L)
{
    lua_settop(L, 1);
    lua_getfield(L, 1, "close");
    lua_insert(L, 1);
    lua_callk(L, 1, 0, 0, closed);
    return 0;
}

static int nothing(lua_State *L)
{
    checktask(L);
    return luaL_error(L, "a task sets its own result");
}

static const luaL_Reg methods[] = {{"cancel", task_cancel},   {"name", task_name},
                                   {"id", task_id},           {"daemon", task_daemon},
                                   {"set_result", nothing},   {"set_error", nothing},
                                   {"traceback", task_traceback}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__tostring", task_tostring}, {"__close", lull_task_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"spawn", spawn}, {"sleep", sleep_},
                                     {"sleep_until", sleep_until}, {"enter", enter},
                                     {"pcall", pcall_}, {"current", current},
                                     {NULL, NULL}};

void lull_open_task(lua_State *L)
{
    lull_open_threads(L);
    lull_newclass(L, LULL_TASK, "Task", NULL, metamethods);
    lull_inherit_future(L, methods);
    lull_setfuncs(L, functions);
}
