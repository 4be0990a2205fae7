/* Futures that the host resolves.  A promise has two ends that know nothing of each other's
   life: the owner's, on any thread, which is gone when it has been settled, and the
   runtime's, which is gone when nobody can be told any more.  The last one frees it. */
#include "host.h"

#include <stdatomic.h>
#include <stdlib.h>

#include "apart.h"

struct lull_promise {
    struct part part;   /* l: NULL once the runtime's end is gone */
    sys_letter letter;  /* the answer on its way */
    struct sys_door *door;
    atomic_uint refs;
    lull_waiter waiter; /* waits for the future, which the script may cancel */
    lull_future *future; /* held under its own address */
    void (*on_cancel)(void *ud);
    void *cancel_ud;
    lull_push push;
    void *ud;
    bool dropped;
};

static void release(lull_promise *p)
{
    if (atomic_fetch_sub(&p->refs, 1) > 1)
        return;
    sys_door_release(p->door);
    free(p);
}

/* The end of the runtime's end.  What is done here needs no memory. */
static void let_go(lull_promise *p)
{
    lull *l = p->part.l;
    if (l == NULL)
        return;
    lull_forget(&p->waiter);
    lull_loop_unref(l->loop);
    if (lua_checkstack(l->L, 8))
        lull_release(l->L, p->future);
    lull_drop_part(&p->part);
    release(p);
}

static void cancelled(lull_promise *p)
{
    void (*fn)(void *ud) = p->on_cancel;
    p->on_cancel = NULL;
    void *ud = p->cancel_ud;
    let_go(p);
    if (fn != NULL)
        fn(ud);
}

static void runtime_ends(struct part *part)
{
    cancelled(container_of(part, lull_promise, part));
}

/* The future has been settled, and not by us. */
static void script_did(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    cancelled(container_of(w, lull_promise, waiter));
}

/* ---- settling -------------------------------------------------------------------- */

/* (promise): the answer becomes that of the future. */
static int settle(lua_State *L)
{
    lull_promise *p = lua_touserdata(L, 1);
    struct runtime *rt = p->part.l->rt;
    lull_push push = p->push;
    p->push = NULL;
    lull_pushheld(L, p->future);
    if (p->dropped) {
        lua_pushliteral(L, "dropped by the host");
        lull_settle(L, rt, 2, LULL_CANCELLED, 1);
    } else {
        int n = push != NULL ? push(L, p->ud) : 0;
        lull_settle(L, rt, 2, LULL_RESULT, n);
    }
    return 0;
}

/* (promise, error) */
static int fail(lua_State *L)
{
    lull_promise *p = lua_touserdata(L, 1);
    lull_pushheld(L, p->future);
    lua_insert(L, 2);
    if (lua_isnil(L, 3)) {
        lua_pushliteral(L, "nil (error without a value)");
        lua_replace(L, 3);
    }
    lull_settle(L, p->part.l->rt, 2, LULL_ERROR, 1);
    return 0;
}

/* Memory is short: Lua has this text ready. */
static void fail_hard(lull_promise *p, lua_State *L)
{
    lull_pushheld(L, p->future);
    lua_pushliteral(L, "not enough memory");
    lua_setiuservalue(L, -2, 1);
    p->future->count = 1;
    lull_future_settle(p->part.l->loop, p->future, LULL_ERROR);
    lua_pop(L, 1);
}

static void answer(lull_promise *p)
{
    lua_State *L = p->part.l->L;
    lull_forget(&p->waiter);
    lua_pushcfunction(L, settle);
    lua_pushlightuserdata(L, p);
    if (lua_pcall(L, 1, 0, 0) == LUA_OK)
        return;
    lua_pushcfunction(L, fail);
    lua_insert(L, -2);
    lua_pushlightuserdata(L, p);
    lua_insert(L, -2);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        fail_hard(p, L);
    }
}

/* The letter has arrived; late: on whatever thread. */
static void arrive(sys_letter *letter, bool late)
{
    lull_promise *p = container_of(letter, lull_promise, letter);
    if (!late && p->part.l != NULL) {
        answer(p);
        let_go(p);
    }
    if (p->push != NULL)
        p->push(NULL, p->ud);
    release(p);
}

void lull_promise_resolve(lull_promise *p, lull_push push, void *ud)
{
    p->push = push;
    p->ud = ud;
    p->letter.arrive = arrive;
    sys_door_send(p->door, &p->letter, 0);
}

void lull_promise_drop(lull_promise *p)
{
    p->dropped = true;
    lull_promise_resolve(p, NULL, NULL);
}

/* ---- making ---------------------------------------------------------------------- */

static lull_future *push_future(lua_State *L, struct runtime *rt)
{
    lull_future *f = lull_newbare(L, rt, LULL_FUTURE, sizeof *f, 1);
    lull_future_init(f);
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[LULL_FUTURE]);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, -1);
    lull_hold(L, f);
    return f;
}

lull_promise *lull_promise_new(lua_State *L, void (*on_cancel)(void *ud), void *ud)
{
    lull *l = lull_of(L);
    if (l == NULL || l->ending)
        luaL_error(L, l == NULL ? "this state has no lull runtime" : "the runtime is closing");
    luaL_checkstack(L, 8, NULL);
    lull_future *f = push_future(L, l->rt);
    lull_promise *p = calloc(1, sizeof *p); /* it will be freed on any thread */
    if (p == NULL) {
        lull_release(L, f);
        luaL_error(L, "not enough memory");
        return NULL;
    }
    p->future = f;
    p->on_cancel = on_cancel;
    p->cancel_ud = ud;
    p->door = sys_door_hold(l->door);
    atomic_init(&p->refs, 2);
    p->part.end = runtime_ends;
    lull_add_part(l, &p->part);
    lull_waiter_init(&p->waiter, script_did);
    lull_future_wait(l->loop, f, &p->waiter);
    lull_loop_ref(l->loop);
    return p;
}
