/* Waiting for signals.  A loop on which somebody does has an ear (src/sys/signal.c),
   whose descriptor is awaited by a waiter of its own; it wakes all who wait, and each
   compares how often his signals have come with what he had seen.  So all get it, and
   nothing can be missed.

   What was seen last is kept in a watch.  That of signal.each is its own; those of
   signal.wait begin where the last one of the loop ended, so that a signal between two
   waits is kept.  A signal that was waited for is listened to until the loop ends, one of
   signal.each until that loop is left. */
#include "bind.h"

#include <errno.h>
#include <string.h>

#include "room.h"
#include "sys.h"

struct ear {
    struct sys_ear sys;
    lull_io io;
    lull_waiter listener; /* waits for the descriptor as long as tasks wait */
    lull_list tasks;
    lull_waiter end; /* waits for the end of the loop */
    lull_loop *loop;
    uint32_t serial; /* of the loop */
    bool open, kept[SYS_SIGNALS];
    struct ear *next; /* in the room; never freed before the state is */
};

struct watch {
    struct ear *ear; /* NULL: closed */
    uint32_t serial;
    int last; /* that was told: the next ones are looked at first */
    bool keeps, wanted[SYS_SIGNALS];
    unsigned seen[SYS_SIGNALS];
};

/* ---- ears -------------------------------------------------------------------------- */

static const char room_key;

static void heard(lull_loop *loop, lull_waiter *w)
{
    struct ear *ear = container_of(w, struct ear, listener);
    sys_ear_drain(&ear->sys);
    lull_wake_all(loop, &ear->tasks, 0);
}

static void close_ear(struct ear *ear)
{
    if (!ear->open)
        return;
    ear->open = false;
    sys_ear_close(&ear->sys);
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct ear *ear = container_of(w, struct ear, end);
    lull_forget(&ear->listener);
    lull_io_close(&ear->io);
    close_ear(ear);
}

/* The state is closed; its loops were before. */
static int room_gc(lua_State *L)
{
    struct ear **room = lua_touserdata(L, 1);
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    while (*room != NULL) {
        struct ear *ear = *room;
        *room = ear->next;
        close_ear(ear);
        alloc(ud, ear, sizeof *ear, 0);
    }
    return 0;
}

/* An ear of no loop, to be used again, or a new one. */
static struct ear *idle_ear(lua_State *L)
{
    struct ear **first = lull_room(L, &room_key), *ear = *first;
    while (ear != NULL && ear->open)
        ear = ear->next;
    if (ear != NULL)
        return ear;
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    ear = alloc(ud, NULL, 0, sizeof *ear);
    if (ear == NULL)
        luaL_error(L, "not enough memory");
    memset(ear, 0, sizeof *ear);
    ear->next = *first;
    return *first = ear;
}

/* Opens one for the loop; NULL: there can be none, *rc says why. */
static struct ear *open_ear(lua_State *L, lull_loop *loop, int *rc)
{
    struct ear *ear = idle_ear(L);
    *rc = sys_ear_open(&ear->sys);
    if (*rc < 0)
        return NULL;
    ear->open = true;
    ear->loop = loop;
    ear->serial = lull_loop_serial(loop);
    memset(ear->kept, 0, sizeof ear->kept);
    list_init(&ear->tasks);
    lull_io_init(&ear->io, ear->sys.fd[0]);
    lull_waiter_init(&ear->listener, heard);
    lull_waiter_init(&ear->end, loop_ends);
    lull_loop_end(loop, &ear->end);
    return ear;
}

static struct ear *ear_of(lua_State *L, lull_loop *loop, int *rc)
{
    struct ear **first = lull_room(L, &room_key);
    for (struct ear *ear = *first; ear != NULL; ear = ear->next)
        if (ear->open && ear->loop == loop)
            return ear;
    return open_ear(L, loop, rc);
}

/* ---- watches ----------------------------------------------------------------------- */

static bool is_open(const struct watch *w)
{
    return w->ear && w->ear->open && w->ear->serial == w->serial;
}

static void drop(struct watch *w, int n)
{
    struct ear *ear = w->ear;
    bool last = atomic_fetch_sub(&ear->sys.wanted[n], 1) == 1;
    if (last && !ear->kept[n])
        sys_ear_shut(&ear->sys, n);
}

static int watch_close(lua_State *L)
{
    struct watch *w = lua_touserdata(L, 1);
    if (is_open(w)) {
        for (int n = 1; n < SYS_SIGNALS; n++)
            if (w->wanted[n])
                drop(w, n);
        if (list_empty(&w->ear->tasks)) {
            lull_forget(&w->ear->listener);
            lull_io_close(&w->ear->io);
        }
    }
    w->ear = NULL;
    return 0;
}

static int checkname(lua_State *L, int i)
{
    const char *name = luaL_checkstring(L, i);
    int n = sys_signal_number(name);
    if (n < 0)
        return luaL_error(L, "no such signal: %s", name);
    bool never = strcmp(name, "SIGKILL") == 0 || strcmp(name, "SIGSTOP") == 0;
    if (never || sys_signal_fault(n))
        return luaL_error(L, "%s cannot be waited for", name);
    return n;
}

/* Listens for n from now on; what had come before somebody listened does not count. */
static int listen_for(struct watch *w, int n)
{
    struct ear *ear = w->ear;
    unsigned count = atomic_load(&ear->sys.count[n]);
    bool begins = !atomic_load(&ear->sys.open[n]) || !ear->kept[n];
    if (w->wanted[n])
        return 0;
    atomic_fetch_add(&ear->sys.wanted[n], 1);
    if (begins)
        atomic_store(&ear->sys.taken[n], count);
    int rc = sys_ear_listen(&ear->sys, n);
    if (rc < 0) {
        atomic_fetch_sub(&ear->sys.wanted[n], 1);
        return rc;
    }
    w->wanted[n] = true;
    w->seen[n] = w->keeps ? atomic_load(&ear->sys.taken[n]) : count;
    ear->kept[n] = ear->kept[n] || w->keeps;
    return 0;
}

/* watch_signals (keeps, name, ...) -> Watch.  keeps: what comes between this one and the
   next is kept for that. */
static int watch_signals(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    int top = lua_gettop(L), rc = 0;
    luaL_checkstring(L, 2);
    for (int i = 2; i <= top; i++)
        checkname(L, i);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    struct watch *w = lull_newobject(L, LULL_SIGNAL, sizeof *w, 0);
    w->keeps = lua_toboolean(L, 1);
    w->serial = lull_loop_serial(rt->loop);
    w->ear = ear_of(L, rt->loop, &rc);
    for (int i = 2; i <= top && rc == 0; i++)
        rc = listen_for(w, checkname(L, i));
    if (rc == 0)
        return 1;
    lull_pushfail(L, rc, NULL);
    lua_pop(L, 1);
    return lua_error(L);
}

/* ---- waiting ----------------------------------------------------------------------- */

/* One of those that have come, each in turn; 0: none. */
static int take(struct watch *w)
{
    for (int i = 1; i <= SYS_SIGNALS; i++) {
        int n = (w->last + i) % SYS_SIGNALS;
        unsigned count = atomic_load(&w->ear->sys.count[n]);
        if (!w->wanted[n] || count == w->seen[n])
            continue;
        w->seen[n] = count;
        w->last = n;
        if (w->keeps)
            atomic_store(&w->ear->sys.taken[n], count);
        return n;
    }
    return 0;
}

static int nextk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct watch *w = lua_touserdata(L, 1);
    char text[SYS_SIGNAL];
    if (!is_open(w))
        return lull_pushfail(L, -ECANCELED, NULL);
    struct ear *ear = w->ear;
    int n = take(w);
    if (n > 0) {
        lua_pushstring(L, sys_signal_name(n, text));
        return 1;
    }
    if (ear->loop != rt->loop)
        return luaL_error(L, "this belongs to another loop");
    if (list_empty(&ear->listener.link))
        rc = lull_io_wait(rt->loop, &ear->io, LULL_READ, &ear->listener);
    if (rc < 0)
        return lull_pushfail(L, (int)rc, NULL);
    lull_wait(&rt->task->waiter);
    list_push(&ear->tasks, &rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, nextk);
}

/* watch:next () -> name: suspends until one comes */
static int watch_next(lua_State *L)
{
    lull_check(L, lull_runtime(L), 1, LULL_SIGNAL);
    lua_settop(L, 1);
    return lull_enter(L, nextk);
}

/* raise_signal (name): sends it to this process. */
static int raise_signal(lua_State *L)
{
    int n = sys_signal_number(luaL_checkstring(L, 1));
    if (n < 0)
        return luaL_error(L, "no such signal: %s", lua_tostring(L, 1));
    int rc = sys_signal_raise(n);
    return rc < 0 ? lull_pushfail(L, rc, NULL) : 0;
}

/* "signal SIGUSR1 SIGUSR2" */
static int watch_tostring(lua_State *L)
{
    struct watch *w = lull_check(L, lull_runtime(L), 1, LULL_SIGNAL);
    char text[SYS_SIGNAL];
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "signal");
    for (int n = 1; n < SYS_SIGNALS; n++)
        if (w->wanted[n]) {
            luaL_addchar(&b, ' ');
            luaL_addstring(&b, sys_signal_name(n, text));
        }
    luaL_pushresult(&b);
    return 1;
}

static const luaL_Reg methods[] = {{"next", watch_next}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", watch_close},
                                       {"__close", watch_close},
                                       {"__tostring", watch_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"watch_signals", watch_signals},
                                     {"raise_signal", raise_signal},
                                     {NULL, NULL}};

void lull_open_signal(lua_State *L)
{
    lull_make_room(L, &room_key, sizeof(struct ear *), room_gc);
    lull_newclass(L, LULL_SIGNAL, "Signals", methods, metamethods);
    lull_setfuncs(L, functions);
}
