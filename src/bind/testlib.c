/* What lull.test needs from below: to look on before each step of a loop, and to count
   what is left behind after it. */
#include "sys.h"
#include "task.h"

/* (waiter): calls the function that is held under the loop with the Task whose waiter it
   is, or with nil. */
static int call_probe(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    struct task *t = lull_task_of(lua_touserdata(L, 1));
    lull_pushheld(L, rt->loop);
    if (t)
        lull_pushtask(L, rt, t);
    else
        lua_pushnil(L);
    lua_call(L, 1, 0);
    return 0;
}

static void probe(lull_loop *loop, lull_waiter *w)
{
    lull_callback(lull_loop_user(loop), call_probe, w);
}

/* on_step (fn | nil): fn(task | nil) is called before each step of the running loop; it
   is to be taken back before the loop is closed. */
static int on_step(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lua_settop(L, 1);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lull_loop_probe(rt->loop, lua_isnil(L, 1) ? NULL : probe);
    if (lua_isnil(L, 1))
        lull_release(L, rt->loop);
    else
        lull_hold(L, rt->loop);
    return 0;
}

/* census () -> {tasks=, ready=, timers=, ios=, refs=, held=}: of the running loop, the
   task that asks counted; held is what the runtime keeps alive, for all loops. */
static int census(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_census c = {0};
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lull_loop_census(rt->loop, &c);
    const struct {
        const char *name;
        lua_Integer count;
    } counts[] = {{"ready", c.ready}, {"timers", c.timers}, {"ios", c.ios},
                  {"refs", c.refs},   {"held", lull_countheld(L)}};
    lua_newtable(L);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        lua_pushinteger(L, counts[i].count);
        lua_setfield(L, -2, counts[i].name);
    }
    lull_pushtasks(L, rt, lull_loop_serial(rt->loop));
    lua_pushinteger(L, luaL_len(L, -1));
    lua_setfield(L, -3, "tasks");
    lua_pop(L, 1);
    return 1;
}

/* descriptors () -> {[fd] = what it is open on}: all of this process, also of others.
   What is closed while they are told, by a finalizer perhaps, is left out. */
static int descriptors(lua_State *L)
{
    int n = sys_descriptors(NULL, 0);
    if (n < 0)
        return lull_pushfail(L, n, NULL);
    int *list = lua_newuserdatauv(L, ((size_t)n + 1) * sizeof *list, 0);
    int now = sys_descriptors(list, n);
    lua_newtable(L);
    for (int i = 0; i < now && i < n; i++) {
        char target[SYS_TARGET];
        if (*sys_target(list[i], target) == '\0')
            continue;
        lua_pushstring(L, target);
        lua_rawseti(L, -2, list[i]);
    }
    return 1;
}

static const luaL_Reg functions[] = {
    {"on_step", on_step}, {"census", census}, {"descriptors", descriptors}, {NULL, NULL}};

void lull_open_test(lua_State *L)
{
    lull_setfuncs(L, functions);
}
