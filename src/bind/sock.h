/* What the two rooms of Sockets (their life and names; the calls that wait) share. */
#ifndef LULL_SOCK_H
#define LULL_SOCK_H

#include "bind.h"
#include "sys.h"

struct sock {
    lull_io io;
    int64_t timeout; /* how long a call may wait, LULL_FOREVER */
    char *kept;      /* received, but its string could not be made: `size` bytes */
    size_t size;
    struct sys_address from; /* who sent them */
    uint8_t family, type;    /* enum sys_family, enum sys_type */
    bool open;
};

/* ---- socklib.c --------------------------------------------------------------------- */

/* Pushes a Socket that is closed, and gives it a descriptor (which cannot fail). */
struct sock *lull_newsock(lua_State *L);
void lull_sock_open(lua_State *L, struct sock *s, int fd, int family, int type);

/* Argument 1, an open Socket. */
struct sock *lull_checksock(lua_State *L);

/* nil, message, code for rc < 0, with the peer's address; true for the rest. */
int lull_sock_fail(lua_State *L, struct sock *s, int rc);
int lull_sock_done(lua_State *L, struct sock *s, int rc);

/* The address that arguments i (and i + 1) name, for a socket like s; what to push where
   there is none: net.lua takes a name for one, looks it up and calls again. */
int lull_sock_address(lua_State *L, struct sock *s, int i, struct sys_address *a);
int lull_sock_noaddress(lua_State *L, struct sock *s, int i, int rc);

/* ---- sockiolib.c ------------------------------------------------------------------- */

extern const luaL_Reg lull_sock_calls[];

#endif
