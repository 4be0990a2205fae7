/* What a task keeps for the variables of lua/lull/local.lua: one table, shared with the
   tasks that it spawned until one of them sets something.  Until the first is set, no
   task has any, and spawning pays for a look at one flag. */
#include "task.h"

/* The key under which the values of t are held. */
static const void *place(const struct task *t)
{
    return &t->id;
}

void lull_inherit_locals(lua_State *L, struct runtime *rt, struct task *t)
{
    if (rt->task)
        lull_pushheld(L, place(rt->task));
    else
        lua_pushnil(L);
    lull_hold(L, place(t));
}

void lull_drop_locals(lua_State *L, struct task *t)
{
    lull_release(L, place(t));
}

/* locals ([values]) -> values | nil: those of the running task */
static int locals(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lua_settop(L, 1);
    if (rt->task == NULL) {
        luaL_argcheck(L, lua_isnil(L, 1), 1, "task locals are set inside a task");
        return 0;
    }
    if (lua_isnil(L, 1))
        return lull_pushheld(L, place(rt->task)), 1;
    rt->locals = true;
    lull_hold(L, place(rt->task));
    return 0;
}

void lull_open_local(lua_State *L)
{
    static const luaL_Reg functions[] = {{"locals", locals}, {NULL, NULL}};
    lull_setfuncs(L, functions);
}
