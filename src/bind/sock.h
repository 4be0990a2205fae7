/* What the rooms of Sockets (their life and names; the calls that wait; descriptors
   passed along; Datagrams, which are Sockets that carry packets for comfort) share. */
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
    bool cut;      /* what was received was longer */
    bool datagram; /* a Datagram: IPv4 addresses are mapped where it speaks IPv6 */
};

/* ---- socklib.c --------------------------------------------------------------------- */

/* Pushes a Socket or Datagram that is closed, and gives it a descriptor (which cannot
   fail). */
struct sock *lull_newsock(lua_State *L, enum lull_class c);
void lull_sock_open(lua_State *L, struct sock *s, int fd, int family, int type);

/* Argument 1, a Socket or Datagram that is open. */
struct sock *lull_checksock(lua_State *L);

/* nil, message, code for rc < 0, with the peer's address; true for the rest. */
int lull_sock_fail(lua_State *L, struct sock *s, int rc);
int lull_sock_done(lua_State *L, struct sock *s, int rc);

/* The address that arguments i (and i + 1) name, for a socket like s; what to push where
   there is none: net.lua takes a name for one, looks it up and calls again. */
int lull_sock_address(lua_State *L, struct sock *s, int i, struct sys_address *a);
int lull_sock_noaddress(lua_State *L, struct sock *s, int i, int rc);
/* Pushes an address as a socket like s tells it; returns how many values. */
int lull_sock_pushaddress(lua_State *L, const struct sock *s, struct sys_address a);

/* ---- sockiolib.c ------------------------------------------------------------------- */

extern const luaL_Reg lull_sock_calls[], lull_datagram_calls[];

/* What every call that waits has on its stack: self, arguments, its deadline. */
enum { SOCK_SELF = 1, SOCK_EXTRA = 4, SOCK_DEADLINE, SOCK_SLOTS = SOCK_DEADLINE };

/* Begins one with n arguments. */
int lull_sock_enter(lua_State *L, int n, lua_KFunction k);
/* How it goes on that was woken with rc: 0, try; else why not. */
int lull_sock_again(struct sock *s, lua_KContext rc);
/* Suspends until event, then k. */
int lull_sock_await(lua_State *L, struct sock *s, unsigned event, lua_KFunction k);

/* ---- rightslib.c ------------------------------------------------------------------- */

void lull_open_rights(lua_State *L);

/* ---- of both classes --------------------------------------------------------------- */

extern const luaL_Reg lull_sock_methods[];

#endif
