/* An allocator for one thread whose blocks stand in one piece of memory: `keep` copies
   what is there, `restore` puts it back, at the same addresses, whatever has happened
   since.  What finds no room there comes from malloc and is counted; restoring knows
   nothing of it.  It relies on what Lua promises: whoever gives a block back knows its
   size. */
#ifndef LULL_REGION_H
#define LULL_REGION_H

#include <stdbool.h>
#include <stddef.h>

struct region;

/* NULL: no memory. */
struct region *region_new(void);

/* Frees the region with all its blocks, but for those outside of it. */
void region_free(struct region *r);

/* As a lua_Alloc, which never fails to make a block smaller. */
void *region_alloc(struct region *r, void *ptr, size_t osize, size_t nsize);

/* How many blocks malloc gave that were not given back. */
unsigned region_outside(const struct region *r);

/* Copies it as it is now, as copy 0 or 1; false: no memory.  There is nothing outside. */
bool region_keep(struct region *r, int which);

/* Puts back what was copied.  There is nothing outside. */
void region_restore(struct region *r, int which);

#endif
