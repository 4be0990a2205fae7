/* The Lua state that a worker runs in. */
#ifndef LULL_KEPT_H
#define LULL_KEPT_H

#include "mission.h"
#include "sys.h"

struct worker;
struct kept;

/* A state for w, as if it were new: the one of this thread where keep is given, which
   need not be there yet and may be made; else one for w alone.  NULL: no memory. */
struct kept *lull_kept_take(sys_keep **keep, struct worker *w);

/* Calls f in its state, in protected mode, with the worker as a light userdata and what
   lull_kept_prepare needs.  Returns Lua's status, and the state with the error on top. */
int lull_kept_call(struct kept *k, lua_CFunction f, lua_State **L);

/* In such a call: pushes the function of the mission of the worker. */
void lull_kept_prepare(lua_State *L, struct kept *k);

/* The worker is through: finalizers run.  What is kept is put back before its next use.
 */
void lull_kept_leave(struct kept *k, sys_keep **keep);

#endif
