/* Semaphores, and the permits that they give.  Who releases one gives it to the first in
   line; while anybody waits none is free. */
#include "line.h"

struct semaphore {
    lull_list waiters;
    lua_Integer free; /* permits that nobody has */
    lua_Integer max;  /* 0: there is none */
    uint32_t loop;    /* serial of the loop of the first wait; 0: not bound yet */
};

struct permit {
    struct semaphore *semaphore; /* its uservalue; NULL: it has been given back */
};

static struct semaphore *checksemaphore(lua_State *L)
{
    return lull_self(L, lull_runtime(L), LULL_SEMAPHORE);
}

/* Pushes a permit of the semaphore at 1. */
static void new_permit(lua_State *L, struct semaphore *s)
{
    struct permit *p = lull_newobject(L, LULL_PERMIT, sizeof *p, 1);
    p->semaphore = s;
    lua_pushvalue(L, 1);
    lua_setiuservalue(L, -2, 1);
}

/* n permits to those who wait, the rest to those who will come. */
static void give(lua_State *L, struct runtime *rt, struct semaphore *s, lua_Integer n)
{
    for (; n > 0 && !list_empty(&s->waiters); n--)
        lull_wake(lull_line_home(L, rt, s->loop), &lull_first(&s->waiters)->waiter, 0);
    s->free = n > LUA_MAXINTEGER - s->free ? LUA_MAXINTEGER : s->free + n;
}

/* ---- acquiring ------------------------------------------------------------------- */

/* Woken: it is his, unless a cancellation came first.  The stack: semaphore | permit. */
static int woken(lua_State *L, int status, lua_KContext ctx)
{
    (void)status, (void)ctx;
    struct runtime *rt = lull_runtime(L);
    struct semaphore *s = lua_touserdata(L, 1);
    bool granted = rt->task->waiter.status == 0;
    if (granted && !rt->task->scope->cancelled) {
        lua_settop(L, 2);
        return 1;
    }
    if (granted)
        give(L, rt, s, 1);
    return lull_line_disturbed(L, rt, &s->waiters, woken);
}

static int acquire_in(lua_State *L, struct runtime *rt, struct semaphore *s)
{
    lua_settop(L, 1);
    new_permit(L, s); /* now: after a wait it must not fail */
    if (s->free > 0) {
        s->free--;
        return 1;
    }
    lull_line_bind(L, rt, &s->loop);
    return lull_line_wait(L, rt, &s->waiters, woken);
}

static int acquirek(lua_State *L, int first, lua_KContext rc)
{
    (void)first, (void)rc;
    return acquire_in(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* semaphore:acquire () -> permit */
static int acquire(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct semaphore *s = lull_self(L, rt, LULL_SEMAPHORE);
    return lull_may(L, rt) ? acquire_in(L, rt, s) : lull_enter_slowly(L, rt, acquirek);
}

/* semaphore:try_acquire () -> permit | nil */
static int try_acquire(lua_State *L)
{
    struct semaphore *s = checksemaphore(L);
    lua_settop(L, 1);
    if (s->free > 0) {
        new_permit(L, s);
        if (s->free > 0) { /* no finalizer has taken it meanwhile */
            s->free--;
            return 1;
        }
    }
    lua_pushnil(L);
    return 1;
}

/* ---- releasing ------------------------------------------------------------------- */

static int release_to(lua_State *L, struct semaphore *s, lua_Integer n)
{
    if (s->max > 0 && n > s->max - s->free)
        return luaL_error(L, "the semaphore would have more than %I permits",
                          (LUAI_UACINT)s->max);
    give(L, lull_runtime(L), s, n);
    return 0;
}

/* semaphore:release ([n]) */
static int release(lua_State *L)
{
    struct semaphore *s = checksemaphore(L);
    int integer = 1;
    lua_Integer n = 1;
    if (!lua_isnoneornil(L, 2))
        n = lua_type(L, 2) == LUA_TNUMBER ? lua_tointegerx(L, 2, &integer) : -1;
    if (!integer || n < 0)
        return luaL_error(L, "bad argument #1 to 'release' "
                             "(an integer, 0 or more, expected)");
    return release_to(L, s, n);
}

/* permit:close (): gives it back, once. */
static int close(lua_State *L)
{
    struct permit *p = lull_self(L, lull_runtime(L), LULL_PERMIT);
    struct semaphore *s = p->semaphore;
    p->semaphore = NULL;
    return s != NULL ? release_to(L, s, 1) : 0;
}

/* ---- looking --------------------------------------------------------------------- */

static int value(lua_State *L)
{
    lua_pushinteger(L, checksemaphore(L)->free);
    return 1;
}

/* "semaphore (0 of 3 free, 2 waiting): 0x5581" */
static int semaphore_tostring(lua_State *L)
{
    struct semaphore *s = checksemaphore(L);
    int n = lull_line_count(&s->waiters);
    lua_pushfstring(L, "semaphore (%I", (LUAI_UACINT)s->free);
    if (s->max > 0)
        lua_pushfstring(L, "%s of %I", lua_tostring(L, -1), (LUAI_UACINT)s->max);
    lua_pushfstring(L, "%s free", lua_tostring(L, -1));
    if (n > 0)
        lua_pushfstring(L, "%s, %d waiting", lua_tostring(L, -1), n);
    lua_pushfstring(L, "%s): %p", lua_tostring(L, -1), lua_topointer(L, 1));
    return 1;
}

static int permit_tostring(lua_State *L)
{
    struct permit *p = lull_self(L, lull_runtime(L), LULL_PERMIT);
    lua_pushstring(L, p->semaphore != NULL ? "permit (held)" : "permit (released)");
    return 1;
}

/* ---- the module ------------------------------------------------------------------ */

/* semaphore (n [, max]) -> Semaphore */
static int new (lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1), max = luaL_optinteger(L, 2, 0);
    struct semaphore *s = lull_newobject(L, LULL_SEMAPHORE, sizeof *s, 0);
    list_init(&s->waiters);
    s->free = n;
    s->max = max;
    return 1;
}

static const luaL_Reg methods[] = {{"acquire", acquire},
                                   {"try_acquire", try_acquire},
                                   {"release", release},
                                   {"value", value},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__tostring", semaphore_tostring}, {NULL, NULL}};

static const luaL_Reg permit_methods[] = {{"close", close}, {NULL, NULL}};

static const luaL_Reg permit_meta[] = {{"__close", close},
                                       {"__tostring", permit_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"semaphore", new}, {NULL, NULL}};

void lull_open_semaphore(lua_State *L)
{
    lull_newclass(L, LULL_SEMAPHORE, "Semaphore", methods, metamethods);
    lull_newclass(L, LULL_PERMIT, "Permit", permit_methods, permit_meta);
    lull_setfuncs(L, functions);
}
