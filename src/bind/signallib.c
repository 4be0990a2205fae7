/* Signals. */
#include "bind.h"

void lull_open_signal(lua_State *L)
{
    (void)L;
}
