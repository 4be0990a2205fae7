/* A mission: what a worker is sent to do, but for the arguments. */
#ifndef LULL_MISSION_H
#define LULL_MISSION_H

#include "bind.h"

#include <stdatomic.h>

/* Never changed once it is made, and shared by threads. */
struct mission {
    atomic_uint refs;
    bool named;              /* lull is to be a global there, as it is here */
    bool paths[2];           /* is there a path, a cpath? */
    size_t code, path, cpath; /* bytes of each */
    size_t body;             /* of the code, what comes behind the name of its file */
    char bytes[];            /* of the code, and the paths, which end with a zero */
};

/* The mission of the function at 1, which must need nothing but its arguments; raises
   else.  The same function gives the same mission, most times.  A reference to it goes
   to *out, which is NULL. */
void lull_mission(lua_State *L, struct mission **out);

struct mission *lull_mission_ref(struct mission *m); /* m */
void lull_mission_unref(struct mission *m); /* or NULL */

bool lull_mission_same(const struct mission *a, const struct mission *b);

/* In the state of the worker: sets up what the function needs, and pushes it. */
void lull_mission_load(lua_State *L, const struct mission *m);

void lull_open_mission(lua_State *L);

#endif
