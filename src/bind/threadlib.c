/* Threads. */
#include "bind.h"

void lull_open_thread(lua_State *L)
{
    (void)L;
}
