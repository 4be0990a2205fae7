/* What the rooms of names (the call, what its options say, whose turn it is) share. */
#ifndef LULL_RESOLVE_H
#define LULL_RESOLVE_H

#include "bind.h"
#include "sys.h"

/* What resolve has on its stack: host, family, seconds, options, the Request. */
enum {
    LULL_AT_HOST = 1,
    LULL_AT_FAMILY,
    LULL_AT_SECONDS,
    LULL_AT_OPTIONS,
    LULL_AT_REQUEST
};

/* ---- question.c ------------------------------------------------------------------ */

enum { LULL_NAME_SERVERS = 16, LULL_SEARCH = 16 };

/* What is asked how: everything that the options say, for as long as their table lives. */
struct question {
    enum sys_family family;
    struct sys_dns_options dns;
    struct sys_address servers[LULL_NAME_SERVERS];
    const char *search[LULL_SEARCH], *hosts;
    bool system, any; /* whom to ask: the system's resolver; whoever is there */
};

/* Reads the arguments of resolve; raises what is wrong with them. */
void lull_read_question(lua_State *L, struct question *q);

/* Is the system's resolver to be asked?  Not a question for numbers: it may load the
   other one. */
bool lull_asks_system(const struct question *q);

/* ---- gate.c ---------------------------------------------------------------------- */

/* So many lookups ask name servers at a time: each has a socket of its own, and the
   servers do not like to be shouted at.  Who has to wait is let in when another is
   through, in order. */
struct gate;
struct place {
    lull_list link; /* among those who ask, or who wait for that */
    struct gate *gate;
    bool asks;
    void (*enter)(struct place *p); /* its turn has come */
};

void lull_place_init(struct place *p, void (*enter)(struct place *p));
/* Lets p in, now (then enter is not called) or later.  gates: those of the runtime, one
   for each loop.  -ENOMEM. */
int lull_place_take(lull_list *gates, lull_loop *loop, struct place *p);
/* It asks no more, or no longer wants to. */
void lull_place_leave(struct place *p);

#endif
