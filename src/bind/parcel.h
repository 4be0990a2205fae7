/* A parcel: values on their way from one Lua state to another. */
#ifndef LULL_PARCEL_H
#define LULL_PARCEL_H

#include "bind.h"

struct parcel {
    lull_list link;        /* in a queue of its owner */
    unsigned count;        /* values */
    unsigned tables;
    bool repeats;          /* a long string is met again */
    struct parcel_shape {
        unsigned list, rest; /* how many pairs: of the list, others */
    } *shapes;             /* of the tables */
    size_t size, capacity; /* bytes of the values, then of what is in each table */
    unsigned char *data;
};

/* Packs the n values from index i on, which stay.  what ("argument", "result") and the
   number of the first name them when one is refused, which raises.  Pushes a box, whose
   death frees the parcel unless it was taken out. */
struct parcel *lull_pack(lua_State *L, struct runtime *rt, int i, int n, const char *what,
                         int number);
/* The same into *out, which is NULL; what is there when this raises is the caller's. */
void lull_pack_into(lua_State *L, struct parcel **out, int i, int n, const char *what,
                    int number);
struct parcel *lull_unbox(lua_State *L, int i); /* takes it out of the box at i */
/* A box for a parcel that comes later, so that it cannot get lost; NULL empties it. */
struct parcel **lull_newbox(lua_State *L, struct runtime *rt);

/* Pushes the values and returns how many.  Raises when memory runs out. */
int lull_unpack(lua_State *L, const struct parcel *p);

/* A parcel of one string, without Lua's help; NULL: no memory. */
struct parcel *lull_pack_text(const char *text);
void lull_parcel_free(struct parcel *p); /* or NULL */

#endif
