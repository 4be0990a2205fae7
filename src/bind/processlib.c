/* Processes. */
#include "bind.h"

void lull_open_process(lua_State *L)
{
    (void)L;
}
