/* The least that a host does: a runtime, a script as its first task, to the end.
     minimal script.lua                                                           */
#include <lauxlib.h>
#include <lull.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    lull *l;
    lull_failure failure = {.size = sizeof failure};
    if (argc != 2 || lull_open(&l, NULL) < 0)
        return 1;
    lua_State *L = lull_state(l);
    int failed = luaL_loadfile(L, argv[1]) != LUA_OK;
    if (failed)
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
    else
        lull_task_spawn(l, L, 0, NULL, NULL);
    while (lull_run(l) == LULL_STEP_FAILED)
        for (failed = 1; lull_take_failure(l, &failure);)
            fprintf(stderr, "%s: %s\n", failure.name, failure.message);
    lull_close(l, 0);
    return failed;
}
