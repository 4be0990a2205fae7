/* The slabs of an arena.  A slab stands at a multiple of its size, so that a block finds
   its slab by cutting off an address.  Of each size the slabs that have room are in a
   ring, and the one in use is the first; full ones are in none.  A block that was never
   used is not even linked: memory that is not needed is not touched. */
#include "arena.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "list.h"

#ifdef __GLIBC__
#include <malloc.h> /* keeps to itself what is free below something that is not */
#define trim() malloc_trim(0)
#else
#define trim() (void)0
#endif

/* What is seldom called stays out of what is called all the time. */
#if defined(__GNUC__)
#define SELDOM __attribute__((noinline))
#else
#define SELDOM
#endif

/* Where memory is watched, every block is malloc's own. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LARGEST 0
#else
#define LARGEST 1024
#endif

enum {
    UNIT = 16,         /* sizes are multiples of it */
    SIZES = 1024 / UNIT,
    SLAB = 32 * 1024,
    ROOM = SLAB - UNIT, /* malloc needs the rest to lay slab beside slab */
    CARVED = 1024,     /* bytes that are made blocks at a time */
    SPARE = 8,         /* empty slabs that are kept */
    START = 32,        /* slabs that come in one piece, before any other */
    HEAP = 512         /* so many given back may be worth a word with the system */
};

struct block {
    struct block *next;
};

struct slab {
    struct block *free;
    uint32_t used;  /* blocks given out */
    uint32_t fresh; /* where the part begins that was never used */
    uint32_t size;  /* of a block */
    bool full;      /* in no ring */
    lull_list link;
};

enum { FIRST = (sizeof(struct slab) + UNIT - 1) / UNIT * UNIT }; /* block of a slab */

struct arena {
    struct slab *current[SIZES]; /* the first with room, or the empty one */
    lull_list rings[SIZES];
    lull_list spare; /* empty ones */
    unsigned spares;
    char *start;     /* the first slabs, side by side; or NULL */
    unsigned taken;  /* of them */
    size_t slabs, returned; /* how many there are, and went since the system was told */
    size_t large;    /* bytes of the blocks that are none of theirs */
};

/* Has no room and no ring, and is never written to: it saves every allocation a
   question. */
static struct slab none = {.full = true, .fresh = ROOM, .size = UNIT};

struct arena *arena_new(void)
{
    struct arena *a = malloc(sizeof *a);
    if (a == NULL)
        return NULL;
    for (int i = 0; i < SIZES; i++) {
        a->current[i] = &none;
        list_init(&a->rings[i]);
    }
    list_init(&a->spare);
    a->spares = 0;
    a->start = NULL;
    a->taken = 0;
    a->slabs = a->returned = a->large = 0;
    return a;
}

size_t arena_size(const struct arena *a)
{
    return a->slabs * SLAB + a->large;
}

static bool is_of_start(const struct arena *a, const struct slab *s)
{
    return (uintptr_t)s - (uintptr_t)a->start < (uintptr_t)START * SLAB;
}

static void free_ring(struct arena *a, lull_list *ring)
{
    while (!list_empty(ring)) {
        struct slab *s = container_of(list_pop(ring), struct slab, link);
        if (!is_of_start(a, s))
            free(s);
    }
}

void arena_free(struct arena *a)
{
    free_ring(a, &a->spare);
    for (int i = 0; i < SIZES; i++) /* one of each size was kept */
        free_ring(a, &a->rings[i]);
    free(a->start);
    free(a);
}

static unsigned place(size_t size)
{
    return (unsigned)((size - 1) / UNIT);
}

/* Makes some of the fresh part blocks; false: there is no such part. */
static bool carve(struct slab *s)
{
    struct block **to = &s->free;
    for (uint32_t n = 0; n < CARVED && s->fresh + s->size <= ROOM; n += s->size) {
        *to = (struct block *)(void *)((char *)s + s->fresh);
        to = &(*to)->next;
        s->fresh += s->size;
    }
    if (to == &s->free)
        return false;
    *to = NULL;
    return true;
}

/* A program that does little has a slab of each size, most of them all but empty.  As
   neighbours within one piece they cost the pages that are used; malloc would write to
   the last page of each, where it keeps the size of the next. */
static void *from_start(struct arena *a)
{
    void *memory = NULL;
    if (a->slabs == 0 && a->start == NULL &&
        posix_memalign(&memory, SLAB, START * SLAB - UNIT) == 0)
        a->start = memory;
    return a->start && a->taken < START ? a->start + SLAB * a->taken++ : NULL;
}

static void *slab_memory(struct arena *a)
{
    void *memory = NULL;
    if (a->spares > 0) {
        a->spares--;
        return container_of(list_pop(&a->spare), struct slab, link);
    }
    if ((memory = from_start(a)) != NULL)
        return memory;
    return posix_memalign(&memory, SLAB, ROOM) == 0 ? memory : NULL;
}

static struct slab *new_slab(struct arena *a, unsigned i)
{
    void *memory = slab_memory(a);
    if (memory == NULL)
        return NULL;
    a->slabs++;
    struct slab *s = memory;
    *s = (struct slab){.fresh = FIRST, .size = (i + 1) * UNIT};
    list_push(&a->rings[i], &s->link);
    return s;
}

/* A slab with a block to give, the first of its ring. */
SELDOM static struct slab *refill(struct arena *a, unsigned i)
{
    struct slab *s = a->current[i];
    while (s->free == NULL && !carve(s)) {
        if (!s->full) {
            s->full = true;
            list_remove(&s->link);
        }
        s = list_empty(&a->rings[i])
                ? new_slab(a, i)
                : container_of(a->rings[i].next, struct slab, link);
        if (s == NULL) {
            a->current[i] = &none;
            return NULL;
        }
        a->current[i] = s;
    }
    return s;
}

static inline void *take(struct arena *a, size_t size)
{
    unsigned i = place(size);
    struct slab *s = a->current[i];
    if (s->free == NULL && (s = refill(a, i)) == NULL)
        return NULL;
    struct block *b = s->free;
    s->free = b->next;
    s->used++;
    return b;
}

/* A slab that was full has room again, or one is empty: the last of its ring stays. */
SELDOM static void review(struct arena *a, struct slab *s)
{
    unsigned i = place(s->size);
    if (s->full) {
        s->full = false;
        list_push(&a->rings[i], &s->link);
    }
    if (s->used > 0 || s == a->current[i])
        return;
    list_remove(&s->link);
    a->slabs--;
    if (a->spares < SPARE || is_of_start(a, s)) {
        list_push(a->spare.next, &s->link);
        a->spares++;
        return;
    }
    free(s);
    if (++a->returned < HEAP || a->returned < a->slabs) /* it takes its time */
        return;
    a->returned = 0;
    trim();
}

static inline void give(struct arena *a, void *ptr)
{
    struct slab *s = (struct slab *)((uintptr_t)ptr & ~(uintptr_t)(SLAB - 1));
    struct block *b = ptr;
    b->next = s->free;
    s->free = b;
    if (--s->used == 0 || s->full)
        review(a, s);
}

static void *take_large(struct arena *a, size_t size)
{
    void *ptr = malloc(size);
    if (ptr)
        a->large += size;
    return ptr;
}

static void give_large(struct arena *a, void *ptr, size_t size)
{
    a->large -= size;
    free(ptr);
}

static void *resize_large(struct arena *a, void *ptr, size_t osize, size_t nsize)
{
    void *to = realloc(ptr, nsize);
    if (to)
        a->large += nsize - osize;
    return to;
}

/* To another size. */
SELDOM static void *resize(struct arena *a, void *ptr, size_t osize, size_t nsize)
{
    if (osize > LARGEST && nsize > LARGEST)
        return resize_large(a, ptr, osize, nsize);
    if (osize <= LARGEST && nsize <= LARGEST && place(osize) == place(nsize))
        return ptr;
    void *to = nsize > LARGEST ? take_large(a, nsize) : take(a, nsize);
    if (to == NULL)
        return NULL;
    memcpy(to, ptr, osize < nsize ? osize : nsize);
    if (osize > LARGEST)
        give_large(a, ptr, osize);
    else
        give(a, ptr);
    return to;
}

void *arena_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    if (ptr == NULL) {
        if (nsize == 0)
            return NULL;
        return nsize <= LARGEST ? take(ud, nsize) : take_large(ud, nsize);
    }
    if (nsize > 0)
        return resize(ud, ptr, osize, nsize);
    if (osize <= LARGEST)
        give(ud, ptr);
    else
        give_large(ud, ptr, osize);
    return NULL;
}
