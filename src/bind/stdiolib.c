/* The standard streams. */
#include "bind.h"

void lull_open_stdio(lua_State *L)
{
    (void)L;
}
