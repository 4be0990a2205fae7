/* Datagrams: sockets that carry packets, with what is wanted of them for UDP.  Their
   methods are those of Sockets, where they make sense: a Datagram is one to C.  Lua's
   lull.udp makes them, and turns names into addresses.

   One that speaks IPv6 also speaks IPv4, unless told not to; IPv4 addresses look to a
   script as they always do. */
#include "sock.h"

/* datagram (family [, v6only]) -> Datagram | nil, message, code */
static int datagram(lua_State *L)
{
    static const char *const families[] = {"inet", "inet6", NULL};
    int family = luaL_checkoption(L, 1, NULL, families) + SYS_INET;
    bool v6only = lua_toboolean(L, 2);
    struct sock *s = lull_newsock(L, LULL_DATAGRAM);
    int fd = lull_admit(lull_runtime(L), 1);
    if (fd == 0)
        fd = sys_socket((enum sys_family)family, SYS_DGRAM);
    if (fd < 0)
        return lull_pushfail(L, fd, NULL);
    lull_sock_open(L, s, fd, family, SYS_DGRAM);
    int rc = family == SYS_INET6 ? sys_setoption(fd, SYS_V6ONLY, v6only) : 0;
    return rc < 0 ? lull_pushfail(L, rc, NULL) : 1;
}

static const luaL_Reg functions[] = {{"datagram", datagram}, {NULL, NULL}};

void lull_open_datagram(lua_State *L)
{
    lull_setfuncs(L, functions);
}
