/* lull.selectors: the raw tool, a selector without a loop.  It is level-triggered and
   blocks the thread.

   A registered descriptor is an entry: a userdata, for the backend keeps the address of
   its watch, with the script's data as uservalue.  The selector's own uservalue is the
   table of entries by descriptor.  Files that no kernel polls are always ready: they are
   counted, and added to what the backend reports. */
#include "bind.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <string.h>

#include "selector.h"

enum { FACTS = 256 }; /* how many one select reports at most */

struct selector {
    const struct lull_backend *backend;
    struct lull_selector *open; /* NULL: closed */
    int count, always;          /* entries; those of files */
};

struct entry {
    lull_watch watch;
    unsigned events;
};

/* ---- helpers ------------------------------------------------------------------- */

static struct selector *checkopen(lua_State *L)
{
    struct selector *s = lull_check(L, lull_runtime(L), 1, LULL_SELECTOR);
    if (s->open == NULL)
        luaL_error(L, "the selector is closed");
    return s;
}

static int checkfd(lua_State *L, int i)
{
    lua_Integer fd = luaL_checkinteger(L, i);
    luaL_argcheck(L, fd >= 0 && fd <= INT_MAX, i, "not a descriptor");
    return (int)fd;
}

static const char *const event_names[] = {"r", "w", "rw", NULL}; /* LULL_READ is 1 */

static unsigned checkevents(lua_State *L, int i)
{
    return (unsigned)luaL_checkoption(L, i, NULL, event_names) + 1;
}

/* Seconds as nanoseconds, rounded up: -1 for ever (nil), 0 for what is in the past. */
static int64_t opttimeout(lua_State *L, int i)
{
    lua_Number seconds = luaL_optnumber(L, i, HUGE_VAL);
    luaL_argcheck(L, seconds == seconds, i, "not a time");
    if (seconds >= 9e9)
        return -1;
    return seconds > 0 ? (int64_t)ceil(seconds * 1e9) : 0;
}

/* Pushes the table of entries and the entry of fd, or nil. */
static struct entry *pushentry(lua_State *L, int fd)
{
    lua_getiuservalue(L, 1, 1);
    lua_rawgeti(L, -1, fd);
    return lua_touserdata(L, -1);
}

static struct entry *checkentry(lua_State *L, int fd)
{
    struct entry *e = pushentry(L, fd);
    if (e == NULL)
        luaL_error(L, "descriptor %d is not registered", fd);
    return e;
}

static void forget(lua_State *L, struct selector *s, struct entry *e)
{
    s->backend->arm(s->open, &e->watch, 0);
    s->count--;
    s->always -= (e->watch.flags & LULL_WATCH_ALWAYS) != 0;
    lua_getiuservalue(L, 1, 1);
    lua_pushnil(L);
    lua_rawseti(L, -2, e->watch.fd);
    lua_pop(L, 1);
}

/* ---- methods ------------------------------------------------------------------- */

/* register (fd, "r" | "w" | "rw" [, data]) -> selector | nil, message, code */
static int selector_register(lua_State *L)
{
    struct selector *s = checkopen(L);
    int fd = checkfd(L, 2);
    unsigned events = checkevents(L, 3);
    lua_settop(L, 4);
    if (pushentry(L, fd) != NULL)
        return luaL_error(L, "descriptor %d is registered already", fd);
    lua_pop(L, 1);
    struct entry *e = lua_newuserdatauv(L, sizeof *e, 1);
    *e = (struct entry){.watch.fd = fd, .events = events};
    lua_pushvalue(L, 4);
    lua_setiuservalue(L, -2, 1);
    lua_rawseti(L, -2, fd);
    s->count++;
    int rc = s->backend->arm(s->open, &e->watch, events);
    if (rc == -EPERM) {
        e->watch.flags |= LULL_WATCH_ALWAYS;
        s->always++;
    } else if (rc < 0) {
        forget(L, s, e);
        return lull_pushfail(L, rc, NULL);
    }
    lua_settop(L, 1);
    return 1;
}

/* modify (fd, "r" | "w" | "rw" [, data]) -> selector | nil, message, code; without data
   the old stays. */
static int selector_modify(lua_State *L)
{
    struct selector *s = checkopen(L);
    int fd = checkfd(L, 2), rc = 0;
    unsigned events = checkevents(L, 3);
    bool keep = lua_isnone(L, 4);
    lua_settop(L, 4);
    struct entry *e = checkentry(L, fd);
    if (!(e->watch.flags & LULL_WATCH_ALWAYS))
        rc = s->backend->arm(s->open, &e->watch, events);
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    e->events = events;
    if (!keep) {
        lua_pushvalue(L, 4);
        lua_setiuservalue(L, -2, 1);
    }
    lua_settop(L, 1);
    return 1;
}

/* unregister (fd) -> selector */
static int selector_unregister(lua_State *L)
{
    struct selector *s = checkopen(L);
    forget(L, s, checkentry(L, checkfd(L, 2)));
    lua_settop(L, 1);
    return 1;
}

/* Appends {fd =, events =, data =} to the list, value 3; the entry is on top (popped). */
static void report(lua_State *L, unsigned events)
{
    struct entry *e = lua_touserdata(L, -1);
    lua_createtable(L, 0, 3);
    lua_pushinteger(L, e->watch.fd);
    lua_setfield(L, -2, "fd");
    lua_pushstring(L, event_names[events - 1]);
    lua_setfield(L, -2, "events");
    lua_getiuservalue(L, -2, 1);
    lua_setfield(L, -2, "data");
    lua_rawseti(L, 3, (lua_Integer)lua_rawlen(L, 3) + 1);
    lua_pop(L, 1);
}

/* The files among the entries, value 2. */
static void report_always(lua_State *L)
{
    lua_pushnil(L);
    while (lua_next(L, 2)) {
        struct entry *e = lua_touserdata(L, -1);
        if (e->watch.flags & LULL_WATCH_ALWAYS)
            report(L, e->events);
        else
            lua_pop(L, 1);
    }
}

/* select ([seconds]) -> {{fd =, events =, data =}, ...} | nil, message, code.  Without a
   time for ever; a signal ends it early, with nothing. */
static int selector_select(lua_State *L)
{
    struct selector *s = checkopen(L);
    struct lull_fact facts[FACTS];
    int64_t timeout = opttimeout(L, 2);
    int n = s->backend->wait(s->open, s->always > 0 ? 0 : timeout, facts, FACTS);
    if (n < 0)
        return lull_pushfail(L, n, NULL);
    lua_settop(L, 1);
    lua_getiuservalue(L, 1, 1);
    lua_createtable(L, n + s->always, 0);
    for (int i = 0; i < n; i++) {
        lua_rawgeti(L, 2, facts[i].watch->fd);
        report(L, facts[i].events);
    }
    if (s->always > 0)
        report_always(L);
    return 1;
}

static int selector_close(lua_State *L)
{
    struct selector *s = lull_check(L, lull_runtime(L), 1, LULL_SELECTOR);
    if (s->open == NULL)
        return 0;
    s->backend->close(s->open);
    s->open = NULL;
    return 0;
}

static int selector_tostring(lua_State *L)
{
    struct selector *s = lull_check(L, lull_runtime(L), 1, LULL_SELECTOR);
    const char *name = s->backend ? s->backend->name : "none";
    if (s->open == NULL)
        lua_pushfstring(L, "selector %s (closed)", name);
    else
        lua_pushfstring(L, "selector %s (%d registered)", name, s->count);
    return 1;
}

/* ---- lull.selectors ------------------------------------------------------------ */

/* With Lua's allocator: one account covers both sides. */
static int open_nth(lua_State *L, int i, struct lull_selector **s)
{
    void *ud;
    lull_alloc alloc = lua_getallocf(L, &ud);
    return lull_backends[i]->open(s, alloc, ud);
}

/* epoll (), poll (), ... -> Selector: upvalue 2 is the name; default () has none and
   takes the best that opens. */
static int make(lua_State *L)
{
    const char *name = lua_tostring(L, lua_upvalueindex(2));
    struct selector *s = lull_newobject(L, LULL_SELECTOR, sizeof *s, 1);
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    int rc = -ENOSYS;
    for (int i = 0; rc < 0 && lull_backends[i] != NULL; i++) {
        s->backend = lull_backends[i];
        if (name == NULL || strcmp(name, s->backend->name) == 0)
            rc = open_nth(L, i, &s->open);
    }
    return rc < 0 ? lull_pushfail(L, rc, name) : 1;
}

/* available () -> {name, ...}: those that open here, best first */
static int available(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; lull_backends[i] != NULL; i++) {
        struct lull_selector *s;
        if (open_nth(L, i, &s) < 0)
            continue;
        lull_backends[i]->close(s);
        lua_pushstring(L, lull_backends[i]->name);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    return 1;
}

static const luaL_Reg methods[] = {{"register", selector_register},
                                   {"modify", selector_modify},
                                   {"unregister", selector_unregister},
                                   {"select", selector_select},
                                   {"close", selector_close},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", selector_close},
                                       {"__gc", selector_close},
                                       {"__tostring", selector_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"default", make}, {"available", available}, {NULL, NULL}};

/* What exists elsewhere but not in this build answers "ENOSYS". */
static const char *const names[] = {"epoll",  "io_uring", "kqueue",
                                    "poll",   "select",   NULL};

void lull_open_selector(lua_State *L)
{
    lull_newclass(L, LULL_SELECTOR, "Selector", methods, metamethods);
    lua_newtable(L);
    lull_setfuncs(L, functions);
    for (int i = 0; names[i] != NULL; i++) {
        lull_pushruntime(L);
        lua_pushstring(L, names[i]);
        lua_pushcclosure(L, make, 2);
        lua_setfield(L, -2, names[i]);
    }
    lua_setfield(L, -2, "selectors");
}
