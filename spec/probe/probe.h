/* What the parts of the probe share: an allocator that keeps accounts and fails on
   demand, and the way from results to Lua values. */
#ifndef LULL_PROBE_H
#define LULL_PROBE_H

#include <lauxlib.h>
#include <lua.h>

#include "lull.h"

/* An allocator's book.  Block sizes are noted, so that a wrong osize is found. */
struct account {
    size_t live;       /* bytes that are out */
    lua_Integer calls; /* allocations asked for, so far */
    lua_Integer fail;  /* which of them fails; 0: none */
    bool wrong;        /* somebody gave back another size than he took */
};

void *account_alloc(void *account, void *ptr, size_t osize, size_t nsize);

/* Returns from a Lua function: rc, or nil and "EAGAIN" where it is negative. */
int answer(lua_State *L, int rc);

/* "rw" to LULL_READ | LULL_WRITE and back. */
unsigned checkevents(lua_State *L, int i);
void pushevents(lua_State *L, unsigned events);

/* The i-th of count things, from 1. */
int checkplace(lua_State *L, int i, int count);

/* A metatable whose __index are these methods; methods may hold __gc and others too. */
void newclass(lua_State *L, const char *name, const luaL_Reg *methods);

/* Each adds its functions to the table on top of the stack. */
void open_looper(lua_State *L);
void open_bare(lua_State *L);
void open_toys(lua_State *L);
void open_blocks(lua_State *L);

LULL_API int luaopen_probe(lua_State *L);

#endif
