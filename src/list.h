/* An intrusive ring.  A list is a head that points at itself when empty, and so does
   a link that is in no list: removing it twice does no harm. */
#ifndef LULL_LIST_H
#define LULL_LIST_H

#include "lull.h"

#define container_of(ptr, type, member) \
    ((type *)(void *)((char *)(ptr) - offsetof(type, member)))

static inline void list_init(lull_list *l)
{
    l->prev = l->next = l;
}

static inline bool list_empty(const lull_list *l)
{
    return l->next == l;
}

/* Appends link, which must be in no list. */
static inline void list_push(lull_list *l, lull_list *link)
{
    link->prev = l->prev;
    link->next = l;
    l->prev->next = link;
    l->prev = link;
}

static inline void list_remove(lull_list *link)
{
    link->prev->next = link->next;
    link->next->prev = link->prev;
    list_init(link);
}

static inline lull_list *list_pop(lull_list *l)
{
    lull_list *link = l->next;
    list_remove(link);
    return link;
}

/* Appends all of from to l; from is empty afterwards. */
static inline void list_move(lull_list *l, lull_list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = l->prev;
    l->prev->next = from->next;
    from->prev->next = l;
    l->prev = from->prev;
    list_init(from);
}

#endif
