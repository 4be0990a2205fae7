/* An indexed 4-ary min-heap of embedded nodes.  Keys stand beside the node pointers, so
   the four children of an entry are one or two cache lines; nodes know their place, so
   removal is real.  Equal keys leave in the order in which they came. */
#ifndef LULL_HEAP_H
#define LULL_HEAP_H

#include "lull.h"

struct heap_entry {
    int64_t key;
    lull_timer *node;
};

struct heap {
    struct heap_entry *entries; /* entries[0] is the smallest */
    uint32_t count, capacity;
    uint64_t order;
};

/* Inserts node with key, or moves it when it is in; either way it comes after those with
   an equal key.  -ENOMEM: it was not inserted.  A move never fails. */
int heap_set(struct heap *h, lull_timer *node, int64_t key, lull_alloc alloc, void *ud);
void heap_remove(struct heap *h, lull_timer *node);
void heap_free(struct heap *h, lull_alloc alloc, void *ud);
/* For specs: 0 when every entry is in order and knows its place. */
int heap_check(const struct heap *h);

#endif
