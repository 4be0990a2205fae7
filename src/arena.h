/* An allocator for one thread: small blocks come from slabs of blocks of one size, large
   ones from malloc.  It has Lua's signature, for it relies on what Lua promises: whoever
   gives a block back knows its size.  Emptied slabs go back, but for a few.  It may give
   twice the pace of malloc to a Lua state, and knows nothing of one. */
#ifndef LULL_ARENA_H
#define LULL_ARENA_H

#include <stddef.h>

struct arena;

/* NULL: no memory. */
struct arena *arena_new(void);

/* Frees the arena, whose blocks have been freed. */
void arena_free(struct arena *a);

/* The bytes of its slabs and large blocks. */
size_t arena_size(const struct arena *a);

/* A lua_Alloc; ud is the arena. */
void *arena_alloc(void *ud, void *ptr, size_t osize, size_t nsize);

#endif
