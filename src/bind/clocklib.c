/* Clocks that the host drives. */
#include "bind.h"

void lull_open_clock(lua_State *L)
{
    (void)L;
}
