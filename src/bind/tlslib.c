/* TLS on streams. */
#include "bind.h"

void lull_open_tls(lua_State *L)
{
    (void)L;
}
