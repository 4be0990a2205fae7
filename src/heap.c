/* The heap of deadlines: see heap.h.  Nothing is swapped: an entry on its way is kept
   aside while a hole moves through the array to where it belongs, so that each step is
   one copy and one node that learns its new place.  Nodes are touched only for that and
   to tell equal keys apart; with a million of them every touch is a cache miss. */
#include "heap.h"

#include <errno.h>

enum { SMALLEST = 16, LARGEST = 1 << 30 };

static inline bool before(const struct heap_entry *a, const struct heap_entry *b)
{
    return a->key < b->key || (a->key == b->key && a->node->order < b->node->order);
}

static inline uint32_t lesser(const struct heap *h, uint32_t a, uint32_t b)
{
    return before(&h->entries[b], &h->entries[a]) ? b : a;
}

static inline void put(struct heap *h, uint32_t i, struct heap_entry e)
{
    h->entries[i] = e;
    e.node->index = i + 1;
}

/* Moves the hole at i up to where e fits. */
static void rise(struct heap *h, uint32_t i, struct heap_entry e)
{
    while (i > 0) {
        uint32_t parent = (i - 1) / 4;
        if (!before(&e, &h->entries[parent]))
            break;
        put(h, i, h->entries[parent]);
        i = parent;
    }
    put(h, i, e);
}

/* The least of i's children, or i when it has none. */
static inline uint32_t least_child(const struct heap *h, uint32_t i)
{
    uint32_t first = i * 4 + 1; /* no overflow: see LARGEST */
    if (first + 3 < h->count)
        return lesser(h, lesser(h, first, first + 1), lesser(h, first + 2, first + 3));
    uint32_t least = first < h->count ? first : i;
    for (uint32_t child = first + 1; child < h->count; child++)
        least = lesser(h, least, child);
    return least;
}

/* Moves the hole at i down to where e fits. */
static void sink(struct heap *h, uint32_t i, struct heap_entry e)
{
    for (;;) {
        uint32_t child = least_child(h, i);
        if (child == i || !before(&h->entries[child], &e))
            break;
        put(h, i, h->entries[child]);
        i = child;
    }
    put(h, i, e);
}

static int resize(struct heap *h, uint32_t capacity, lull_alloc alloc, void *ud)
{
    size_t old = h->capacity * sizeof *h->entries;
    void *entries = alloc(ud, h->entries, old, capacity * sizeof *h->entries);
    if (entries == NULL)
        return -ENOMEM;
    h->entries = entries;
    h->capacity = capacity;
    return 0;
}

/* Makes room for one more, by doubling; what is much too large is halved, and goes on
   being large where the allocator refuses. */
static int make_room(struct heap *h, lull_alloc alloc, void *ud)
{
    if (h->count == LARGEST)
        return -ENOMEM;
    if (h->count == h->capacity)
        return resize(h, h->capacity > 0 ? h->capacity * 2 : SMALLEST, alloc, ud);
    if (h->capacity > SMALLEST && h->count < h->capacity / 8)
        resize(h, h->capacity / 2, alloc, ud);
    return 0;
}

int heap_set(struct heap *h, lull_timer *node, int64_t key, lull_alloc alloc, void *ud)
{
    struct heap_entry e = {key, node};
    bool newcomer = node->index == 0;
    if (newcomer && make_room(h, alloc, ud) < 0)
        return -ENOMEM;
    node->order = h->order++;
    uint32_t i = newcomer ? h->count++ : node->index - 1;
    if (newcomer || key < h->entries[i].key)
        rise(h, i, e);
    else
        sink(h, i, e);
    return 0;
}

void heap_remove(struct heap *h, lull_timer *node)
{
    uint32_t i = node->index - 1;
    struct heap_entry last = h->entries[--h->count];
    node->index = 0;
    if (i == h->count)
        return;
    if (before(&last, &h->entries[i]))
        rise(h, i, last);
    else
        sink(h, i, last);
}

void heap_free(struct heap *h, lull_alloc alloc, void *ud)
{
    if (h->entries != NULL)
        alloc(ud, h->entries, h->capacity * sizeof *h->entries, 0);
    *h = (struct heap){0};
}

int heap_check(const struct heap *h)
{
    for (uint32_t i = 0; i < h->count; i++) {
        if (h->entries[i].node->index != i + 1)
            return -EINVAL;
        if (i > 0 && before(&h->entries[i], &h->entries[(i - 1) / 4]))
            return -EINVAL;
    }
    return 0;
}
