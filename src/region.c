/* The blocks of a region.  Small ones are of sixty-four sizes, larger ones of four between
   two powers of two; what is given back is kept for the next of its size, and the rest is
   taken from the end of what was used.  All that says so stands at the beginning of the
   memory that is copied, so restoring is one memcpy.

   Where addresses are watched, what is no block may not be touched; only what is copied
   may, all of it: where blocks begin and end in there is forgotten. */
#include "region.h"

#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define FORBID(p, size) ASAN_POISON_MEMORY_REGION(p, size)
#define ALLOW(p, size) ASAN_UNPOISON_MEMORY_REGION(p, size)
enum { GAP = 16 }; /* behind each block */
#else
#define FORBID(p, size) ((void)(p), (void)(size))
#define ALLOW(p, size) ((void)(p), (void)(size))
enum { GAP = 0 };
#endif

/* Where races are watched, signals wait for a call of malloc, or of the system. */
#ifdef __SANITIZE_THREAD__
static void let_signals_in(void)
{
    void *volatile ptr = malloc(1);
    free(ptr);
}
#else
#define let_signals_in() (void)0
#endif

enum {
    SIZE = 256 * 1024,
    UNIT = 16,
    SMALL = 1024,        /* up to here sizes are multiples of it */
    LARGEST = 32 * 1024, /* up to here there are four to each power of two */
    SMALLS = SMALL / UNIT,
    PLACES = SMALLS + 5 * 4,
    COPIES = 2
};

struct block {
    struct block *next;
};

struct head {
    size_t used; /* bytes from the beginning, this included */
    struct block *free[PLACES];
};

struct region {
    char *memory; /* SIZE bytes, which begin with a head */
    struct copy {
        char *bytes; /* or NULL */
        size_t size;
    } copies[COPIES];
    unsigned outside;
};

static struct head *head(const struct region *r)
{
    return (struct head *)(void *)r->memory;
}

struct region *region_new(void)
{
    struct region *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->memory = malloc(SIZE);
    if (r->memory == NULL) {
        free(r);
        return NULL;
    }
    memset(head(r), 0, sizeof(struct head));
    head(r)->used = (sizeof(struct head) + UNIT - 1) / UNIT * UNIT;
    FORBID(r->memory + head(r)->used, SIZE - head(r)->used);
    return r;
}

void region_free(struct region *r)
{
    if (r == NULL)
        return;
    ALLOW(r->memory, SIZE);
    free(r->memory);
    for (int i = 0; i < COPIES; i++)
        free(r->copies[i].bytes);
    free(r);
}

unsigned region_outside(const struct region *r)
{
    return r->outside;
}

/* ---- blocks ------------------------------------------------------------------------ */

static bool is_inside(const struct region *r, const void *ptr)
{
    return (uintptr_t)ptr - (uintptr_t)r->memory < SIZE;
}

/* Where a block of that size stands, which is at most LARGEST; and how large it is. */
static unsigned place(size_t *size)
{
    if (*size <= SMALL) {
        unsigned i = (unsigned)((*size - 1) / UNIT);
        *size = (i + 1) * UNIT;
        return i;
    }
    unsigned i = SMALLS;
    size_t step = SMALL / 4;
    for (; *size > 8 * step; step *= 2)
        i += 4;
    unsigned n = (unsigned)((*size - 1) / step); /* 4 to 7 */
    *size = (n + 1) * step;
    return i + n - 4;
}

static void *take(struct region *r, size_t size)
{
    if (size > LARGEST)
        return NULL;
    struct head *h = head(r);
    size_t room = size;
    unsigned i = place(&room);
    struct block *b = h->free[i];
    if (b != NULL) {
        ALLOW(b, sizeof *b);
        h->free[i] = b->next;
        FORBID(b, sizeof *b);
        ALLOW(b, size);
        return b;
    }
    if (SIZE - h->used < room + GAP)
        return NULL;
    b = (struct block *)(void *)(r->memory + h->used);
    h->used += room + GAP;
    ALLOW(b, size);
    return b;
}

static void give(struct region *r, void *ptr, size_t size)
{
    struct block *b = ptr;
    unsigned i = place(&size);
    ALLOW(b, sizeof *b);
    b->next = head(r)->free[i];
    head(r)->free[i] = b;
    FORBID(b, size);
}

static void *get(struct region *r, size_t size)
{
    let_signals_in();
    void *ptr = take(r, size);
    if (ptr == NULL && (ptr = malloc(size)) != NULL)
        r->outside++;
    return ptr;
}

/* A block that cannot move to become smaller stays where it is. */
static void *resize(struct region *r, void *ptr, size_t osize, size_t nsize)
{
    if (!is_inside(r, ptr))
        return realloc(ptr, nsize);
    size_t oroom = osize, nroom = nsize;
    bool stays = nsize <= LARGEST && place(&oroom) == place(&nroom);
    void *to = stays ? NULL : get(r, nsize);
    if (to == NULL) {
        if (nsize > osize && !stays)
            return NULL;
        ALLOW(ptr, nsize);
        if (nsize < osize)
            FORBID((char *)ptr + nsize, osize - nsize);
        return ptr;
    }
    memcpy(to, ptr, osize < nsize ? osize : nsize);
    give(r, ptr, osize);
    return to;
}

void *region_alloc(struct region *r, void *ptr, size_t osize, size_t nsize)
{
    if (ptr == NULL)
        return nsize > 0 ? get(r, nsize) : NULL;
    if (nsize > 0)
        return resize(r, ptr, osize, nsize);
    if (is_inside(r, ptr)) {
        give(r, ptr, osize);
        return NULL;
    }
    r->outside--;
    free(ptr);
    return NULL;
}

/* ---- the copy ---------------------------------------------------------------------- */

bool region_keep(struct region *r, int which)
{
    struct copy *c = &r->copies[which];
    size_t size = head(r)->used;
    assert(r->outside == 0);
    char *bytes = realloc(c->bytes, size);
    if (bytes == NULL)
        return false;
    ALLOW(r->memory, size);
    c->bytes = memcpy(bytes, r->memory, size);
    c->size = size;
    return true;
}

void region_restore(struct region *r, int which)
{
    const struct copy *c = &r->copies[which];
    assert(r->outside == 0);
    ALLOW(r->memory, c->size);
    memcpy(r->memory, c->bytes, c->size);
    FORBID(r->memory + c->size, SIZE - c->size);
}
