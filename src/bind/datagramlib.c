/* Datagrams: UDP. */
#include "bind.h"

void lull_open_datagram(lua_State *L)
{
    (void)L;
}
