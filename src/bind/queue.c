/* What a queue holds, and who gets it: the engine below queuelib.c. */
#include "queue.h"

#include <limits.h>

enum { SMALL = 4, LARGE = 1024 }; /* places of a ring: at first; kept while it is empty */

/* ---- those who wait -------------------------------------------------------------- */

void lull_queue_dismiss(lua_State *L, struct runtime *rt, struct queue *q,
                        lull_list *line)
{
    if (!list_empty(line))
        lull_wake_all(lull_line_home(L, rt, q->loop), line, LULL_DISMISSED);
}

void lull_queue_promise(lua_State *L, struct runtime *rt, struct queue *q)
{
    if (list_empty(&q->getters))
        return;
    lull_wake(lull_line_home(L, rt, q->loop), &lull_first(&q->getters)->waiter,
              LULL_PROMISED);
    q->promised++;
}

/* ---- the ring -------------------------------------------------------------------- */

/* The key of item i, from 0, in order of arrival. */
static lua_Integer place(const struct queue *q, lua_Integer i)
{
    return (lua_Integer)((q->first + (uint32_t)i) & (q->places - 1)) + 1;
}

/* Twice as many places.  Making the table may run finalizers, and those use the queue. */
static void grow(lua_State *L, struct queue *q)
{
    uint32_t places = q->places ? q->places * 2 : SMALL;
    if (places > INT_MAX / 2)
        luaL_error(L, "too many items");
    lua_createtable(L, (int)places, 0);
    if (q->places >= places) {
        lua_pop(L, 1);
        return;
    }
    lua_getiuservalue(L, 1, LULL_QUEUE_STORE);
    for (lua_Integer i = 0; i < q->stored; i++) {
        lua_rawgeti(L, -1, place(q, i));
        lua_rawseti(L, -3, i + 1);
    }
    lua_pop(L, 1);
    lua_setiuservalue(L, 1, LULL_QUEUE_STORE);
    q->first = 0;
    q->places = places;
}

static void store_in_ring(lua_State *L, struct queue *q, int i)
{
    while (q->stored >= q->places)
        grow(L, q);
    lua_getiuservalue(L, 1, LULL_QUEUE_STORE);
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, place(q, q->stored));
    lua_pop(L, 1);
}

/* The ring is empty: it begins anew, and one that has become large is let go of, unless
   somebody counts on there being a place for him. */
static void rewind_ring(lua_State *L, struct queue *q)
{
    q->first = 0;
    if (q->places <= LARGE || !list_empty(&q->putters))
        return;
    lua_pushnil(L);
    lua_setiuservalue(L, 1, LULL_QUEUE_STORE);
    q->places = 0;
}

/* Pushes the item that is next, and takes it out. */
static void fetch_from_ring(lua_State *L, struct queue *q)
{
    lua_Integer key = place(q, q->order == LULL_FIFO ? 0 : q->stored - 1);
    lua_getiuservalue(L, 1, LULL_QUEUE_STORE);
    lua_rawgeti(L, -1, key);
    lua_pushnil(L);
    lua_rawseti(L, -3, key);
    q->first += q->order == LULL_FIFO;
    if (--q->stored == 0)
        rewind_ring(L, q);
}

/* ---- items ----------------------------------------------------------------------- */

static void store_by_priority(lua_State *L, int i)
{
    lua_getiuservalue(L, 1, LULL_QUEUE_PUSH);
    lua_getiuservalue(L, 1, LULL_QUEUE_STORE);
    lua_pushvalue(L, i);
    lua_call(L, 2, 0);
}

void lull_queue_insert(lua_State *L, struct runtime *rt, struct queue *q, int i)
{
    if (q->order == LULL_BY_PRIORITY)
        store_by_priority(L, i);
    else
        store_in_ring(L, q, i);
    q->stored++;
    q->unfinished++;
    lull_queue_promise(L, rt, q);
}

/* Comparing runs any code, which may get others: this one no longer counts.  An item that
   cannot be taken out stays, and it is the next one's turn. */
static void fetch_by_priority(lua_State *L, struct runtime *rt, struct queue *q)
{
    q->stored--;
    lua_pushcfunction(L, lull_handler);
    lua_getiuservalue(L, 1, LULL_QUEUE_POP);
    lua_getiuservalue(L, 1, LULL_QUEUE_STORE);
    if (lua_pcall(L, 1, 1, -3) == LUA_OK)
        return;
    q->stored++;
    lull_queue_promise(L, rt, q);
    lull_reraise(L);
}

void lull_queue_fetch(lua_State *L, struct runtime *rt, struct queue *q)
{
    if (q->order == LULL_BY_PRIORITY)
        fetch_by_priority(L, rt, q);
    else
        fetch_from_ring(L, q);
    if (q->closed && q->stored == 0) /* nobody is left waiting for what will not come */
        lull_queue_dismiss(L, rt, q, &q->getters);
}

/* insert (queue, item), protected */
static int try_insert(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lull_queue_insert(L, rt, lua_touserdata(L, 1), 2);
    return 0;
}

/* The item on top (popped) is that of t, who has been let in.  Where it cannot be
   compared that is his failure, and the error takes the place of the item.  Comparing
   runs any code: t is kept alive, and may be beyond that wait when it is through. */
static void insert_for(lua_State *L, struct runtime *rt, struct task *t)
{
    lull_pushtask(L, rt, t);
    lua_insert(L, -2);
    lua_pushcfunction(L, try_insert);
    lua_pushvalue(L, 1);
    lua_rotate(L, -3, -1);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        if (t->co != NULL && t->waiter.status == LULL_LET_IN) {
            lua_xmove(L, t->co, 1);
            lua_replace(t->co, 2);
            t->waiter.status = LULL_REJECTED;
        } else
            lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* There is room for the item of the first who waits to put. */
static void admit(lua_State *L, struct runtime *rt, struct queue *q)
{
    struct task *t = lull_first(&q->putters);
    lull_loop *loop = lull_line_home(L, rt, q->loop);
    lua_pushvalue(t->co, 2); /* he is in put, whose argument it is */
    lua_xmove(t->co, L, 1);
    lull_wake(loop, &t->waiter, LULL_LET_IN);
    if (q->order == LULL_BY_PRIORITY) {
        insert_for(L, rt, t);
        return;
    }
    lull_queue_insert(L, rt, q,
                      lua_gettop(L)); /* in the place that has just become free */
    lua_pop(L, 1);
}

int lull_queue_fetch_free(lua_State *L, struct runtime *rt, struct queue *q)
{
    lull_queue_fetch(L, rt, q);
    while (!list_empty(&q->putters) && !lull_queue_full(q)) /* an item may be rejected */
        admit(L, rt, q);
    return 1;
}
