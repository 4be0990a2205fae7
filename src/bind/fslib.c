/* Files. */
#include "bind.h"

void lull_open_fs(lua_State *L)
{
    (void)L;
}
