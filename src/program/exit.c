/* os.exit in the main task.  lua closes the <close> variables of the main chunk when a
   script says os.exit(code, true); there the main chunk runs in the main thread, which
   lua_close looks after, here in a coroutine, which nobody would. */
#include "program.h"

#include <stdlib.h>

#include "compat.h"

static void call_core(lua_State *L, const char *name)
{
    lua_getfield(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lull.core");
    lua_getfield(L, -1, name);
    if (lua_pcall(L, 0, 0, 0) != LUA_OK)
        lua_pop(L, 1);
    lua_pop(L, 2);
}

void lull_finish_output(lua_State *L)
{
    call_core(L, "finish_files");
    call_core(L, "finish_output");
}

/* exit ([code [, close]]), with upvalues runtime and the main task's coroutine. */
static int os_exit(lua_State *L)
{
    int code = EXIT_SUCCESS;
    if (lua_isboolean(L, 1))
        code = lua_toboolean(L, 1) ? EXIT_SUCCESS : EXIT_FAILURE;
    else
        code = (int)luaL_optinteger(L, 1, EXIT_SUCCESS);
    lull_finish_output(L);
    if (lua_toboolean(L, 2)) {
        struct runtime *rt = lull_runtime(L);
        rt->running = NULL; /* nothing can suspend any more */
        /* As lua_close does with the main thread: nothing returns to what runs below. */
        if (L == lua_tothread(L, lua_upvalueindex(2)))
            lull_closethread(L, NULL);
        lua_close(L);
    }
    exit(code);
}

void lull_exit_open(lua_State *L)
{
    lua_getglobal(L, "os");
    lull_pushruntime(L);
    lua_pushthread(L);
    lua_pushcclosure(L, os_exit, 2);
    lua_setfield(L, -2, "exit");
    lua_pop(L, 1);
}
