/* Locks, and the guards that release them.  Who releases a lock hands it to the first in
   line, who need not look again, so nobody can come in between. */
#include "line.h"

/* free; held; handed over to one who was woken and does not run yet */
enum state { FREE, HELD, PASSING };

struct lock {
    lull_list waiters;
    lua_Integer tickets; /* how many there have been: each guard that holds it gets one */
    lua_Integer ticket;  /* of who holds it, or held it last */
    uint32_t loop;       /* serial of the loop of the first wait; 0: not bound yet */
    enum state state;
};

struct guard {
    struct lock *lock;  /* which is its uservalue */
    lua_Integer ticket; /* 0: none yet */
};

static struct lock *checklock(lua_State *L)
{
    return lull_self(L, lull_runtime(L), LULL_LOCK);
}

static struct guard *checkguard(lua_State *L)
{
    return lull_self(L, lull_runtime(L), LULL_GUARD);
}

static bool holds(const struct guard *g)
{
    return g->lock->state == HELD && g->lock->ticket == g->ticket;
}

/* Pushes a guard of the lock at 1, which it does not hold yet. */
static struct guard *new_guard(lua_State *L, struct lock *lock)
{
    struct guard *g = lull_newobject(L, LULL_GUARD, sizeof *g, 1);
    g->lock = lock;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
    return g;
}

/* ---- from one to the next -------------------------------------------------------- */

static void hand_over(lua_State *L, struct runtime *rt, struct lock *lock)
{
    if (list_empty(&lock->waiters)) {
        lock->state = FREE;
        return;
    }
    lull_wake(lull_line_home(L, rt, lock->loop), &lull_first(&lock->waiters)->waiter, 0);
    lock->state = PASSING;
}

/* The lock is his: what stands at 2 is a guard, which is returned, or the ticket of one
   who takes it back. */
static int take(lua_State *L, struct lock *lock)
{
    lock->state = HELD;
    if (lua_isinteger(L, 2)) {
        lock->ticket = lua_tointeger(L, 2);
        return 0;
    }
    lua_settop(L, 2);
    struct guard *g = lua_touserdata(L, 2);
    g->ticket = lock->ticket = ++lock->tickets;
    return 1;
}

/* Woken: the lock has been handed over, unless a cancellation came first. */
static int woken(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct lock *lock = lua_touserdata(L, 1);
    bool granted = rt->task->waiter.status == 0;
    if (granted && !rt->task->scope->cancelled)
        return take(L, lock);
    if (granted)
        hand_over(L, rt, lock);
    return lull_line_disturbed(L, rt, &lock->waiters, woken);
}

/* The stack: lock | guard or ticket. */
static int take_in_turn(lua_State *L, struct runtime *rt, struct lock *lock)
{
    if (lock->state == FREE)
        return take(L, lock);
    lull_line_bind(L, rt, &lock->loop);
    return lull_line_wait(L, rt, &lock->waiters, woken);
}

/* ---- lock ------------------------------------------------------------------------ */

static int acquire_in(lua_State *L, struct runtime *rt, struct lock *lock)
{
    lua_settop(L, 1);
    new_guard(L, lock); /* now: after a wait it must not fail */
    return take_in_turn(L, rt, lock);
}

static int acquirek(lua_State *L, int first, lua_KContext rc)
{
    (void)first, (void)rc;
    return acquire_in(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* lock:acquire () -> guard */
static int acquire(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct lock *lock = lull_self(L, rt, LULL_LOCK);
    return lull_may(L, rt) ? acquire_in(L, rt, lock) : lull_enter_slowly(L, rt, acquirek);
}

/* lock:try_acquire () -> guard | nil */
static int try_acquire(lua_State *L)
{
    struct lock *lock = checklock(L);
    lua_settop(L, 1);
    if (lock->state == FREE) {
        new_guard(L, lock);
        if (lock->state == FREE) /* no finalizer has taken it meanwhile */
            return take(L, lock);
    }
    lua_pushnil(L);
    return 1;
}

/* lock:release () */
static int release(lua_State *L)
{
    struct lock *lock = checklock(L);
    if (lock->state != HELD)
        return luaL_error(L, "the lock is not held");
    hand_over(L, lull_runtime(L), lock);
    return 0;
}

static int locked(lua_State *L)
{
    lua_pushboolean(L, checklock(L)->state != FREE);
    return 1;
}

/* "lock (held, 2 waiting): 0x5581" */
static int lock_tostring(lua_State *L)
{
    struct lock *lock = checklock(L);
    int n = lull_line_count(&lock->waiters);
    lua_pushfstring(L, "lock (%s", lock->state != FREE ? "held" : "free");
    if (n > 0)
        lua_pushfstring(L, "%s, %d waiting", lua_tostring(L, -1), n);
    lua_pushfstring(L, "%s): %p", lua_tostring(L, -1), lua_topointer(L, 1));
    return 1;
}

/* ---- guard ----------------------------------------------------------------------- */

/* guard:close (): releases the lock, if it is still this guard that holds it. */
static int close(lua_State *L)
{
    struct guard *g = checkguard(L);
    if (holds(g))
        hand_over(L, lull_runtime(L), g->lock);
    return 0;
}

static int guard_tostring(lua_State *L)
{
    lua_pushstring(L, holds(checkguard(L)) ? "guard (holds)" : "guard (released)");
    return 1;
}

/* ---- the module ------------------------------------------------------------------ */

/* lock () -> Lock */
static int new (lua_State *L)
{
    struct lock *lock = lull_newobject(L, LULL_LOCK, sizeof *lock, 0);
    list_init(&lock->waiters);
    return 1;
}

/* is_lock (x) -> boolean */
static int is_lock(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushboolean(L, lull_test(L, lull_runtime(L), 1, LULL_LOCK) != NULL);
    return 1;
}

/* ticket (lock) -> integer, to take it back with; nil: it is not held */
static int ticket(lua_State *L)
{
    struct lock *lock = checklock(L);
    if (lock->state == HELD)
        lua_pushinteger(L, lock->ticket);
    else
        lua_pushnil(L);
    return 1;
}

static int take_backk(lua_State *L, int first, lua_KContext rc)
{
    (void)first, (void)rc;
    return take_in_turn(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* take_back (lock, ticket): acquires it for the guard that held it before. */
static int take_back(lua_State *L)
{
    checklock(L);
    luaL_checkinteger(L, 2);
    return lull_enter(L, take_backk);
}

/* try_take_back (lock, ticket) -> boolean */
static int try_take_back(lua_State *L)
{
    struct lock *lock = checklock(L);
    luaL_checkinteger(L, 2);
    bool free = lock->state == FREE;
    if (free)
        take(L, lock);
    lua_pushboolean(L, free);
    return 1;
}

static const luaL_Reg lock_methods[] = {{"acquire", acquire},
                                        {"try_acquire", try_acquire},
                                        {"release", release},
                                        {"locked", locked},
                                        {NULL, NULL}};

static const luaL_Reg lock_meta[] = {{"__tostring", lock_tostring}, {NULL, NULL}};

static const luaL_Reg guard_methods[] = {{"close", close}, {NULL, NULL}};

static const luaL_Reg guard_meta[] = {{"__close", close},
                                      {"__tostring", guard_tostring},
                                      {NULL, NULL}};

static const luaL_Reg functions[] = {{"lock", new},
                                     {"is_lock", is_lock},
                                     {"ticket", ticket},
                                     {"take_back", take_back},
                                     {"try_take_back", try_take_back},
                                     {NULL, NULL}};

void lull_open_lock(lua_State *L)
{
    lull_newclass(L, LULL_LOCK, "Lock", lock_methods, lock_meta);
    lull_newclass(L, LULL_GUARD, "Guard", guard_methods, guard_meta);
    lull_setfuncs(L, functions);
}
