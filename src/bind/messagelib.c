/* What goes between a thread and its owner: send and receive, on both sides.  Inside, a
   thread that has no loop waits itself. */
#include <errno.h>

#include "thread.h"

/* Who sends or receives: what stands at 1 on the stack, a Thread or, inside, its
   strand. */
struct seat {
    struct strand *strand;
    enum side side;
};

static struct seat seat_at_1(lua_State *L)
{
    if (lua_islightuserdata(L, 1))
        return (struct seat){lua_touserdata(L, 1), INSIDE};
    return (struct seat){((struct thread *)lua_touserdata(L, 1))->strand, OUTSIDE};
}

static void push_inside(lua_State *L)
{
    struct worker *w = lull_runtime(L)->worker;
    if (w == NULL || w->strand == NULL)
        luaL_error(L, "this is not a thread that was spawned");
    lua_pushlightuserdata(L, w->strand);
    lua_insert(L, 1);
}

/* ---- waiting ----------------------------------------------------------------------- */

/* At the end of the list, or again at its front; then k, which looks at the scope. */
static int join(lua_State *L, lull_list *list, bool again, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    lull_wait(&rt->task->waiter);
    list_push(again ? list->next : list, &rt->task->waiter.link);
    return lull_park_raw(L, rt, 0, k);
}

/* A wake that is lost to a cancellation goes to the next. */
static void check_cancelled(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (!rt->task->scope->cancelled)
        return;
    struct seat at = seat_at_1(L);
    lull_bell_stir(lull_thread_bell(L, at.strand, at.side));
    lull_raisecancel(L, rt);
}

/* ---- receive ----------------------------------------------------------------------- */

/* (box) -> the value in it, which goes back where it came from if there is no memory. */
static int open_box(lua_State *L)
{
    return lull_unpack(L, *(struct parcel **)lua_touserdata(L, 1));
}

static int push_received(lua_State *L, struct seat at)
{
    lua_pushcfunction(L, open_box);
    lua_pushvalue(L, 2);
    bool well = lua_pcall(L, 1, 1, 0) == LUA_OK;
    struct parcel *p = lull_unbox(L, 2);
    if (!well) {
        lull_strand_return(at.strand, at.side, p);
        return lua_error(L);
    }
    lull_parcel_free(p);
    return 1;
}

static int received(lua_State *L, int status, lua_KContext rc);

/* The stack: seat | box. */
static int receive_now(lua_State *L, bool again)
{
    struct seat at = seat_at_1(L);
    struct bell *b = lull_thread_bell(L, at.strand, at.side);
    int rc = -EAGAIN;
    if (again || list_empty(&b->receivers))
        rc = lull_strand_get(at.strand, at.side, lua_touserdata(L, 2), b);
    if (rc == -EAGAIN)
        return join(L, &b->receivers, again, received);
    if (rc == 0)
        return push_received(L, at);
    lua_pushnil(L);
    return 1;
}

static int received(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    check_cancelled(L);
    return receive_now(L, true);
}

static int receivek(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return receive_now(L, false);
}

static int receive(lua_State *L)
{
    lua_settop(L, 1);
    lull_newbox(L, lull_runtime(L));
    return lull_enter(L, receivek);
}

/* Thread:receive () -> value | nil: what the thread sent next; nil: there is no more. */
int lull_thread_receive(lua_State *L)
{
    lull_checkthread(L);
    return receive(L);
}

/* Without a loop the thread itself waits. */
static int block_receive(lua_State *L, struct worker *w)
{
    lua_settop(L, 1);
    struct parcel **box = lull_newbox(L, lull_runtime(L));
    int rc = lull_strand_block_get(w->strand, box);
    if (rc == 0)
        return push_received(L, seat_at_1(L));
    if (rc == -EINTR)
        lull_worker_check(L, w);
    lua_pushnil(L);
    return 1;
}

/* receive () -> value | nil: inside a thread, what its owner sent next. */
static int inside_receive(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    push_inside(L);
    return rt->loop ? receive(L) : block_receive(L, rt->worker);
}

/* ---- send -------------------------------------------------------------------------- */

static int sent(lua_State *L, int status, lua_KContext rc);

static int push_sent(lua_State *L, int rc, struct seat at)
{
    bool over = at.side == INSIDE || lull_strand_over(at.strand, NULL);
    if (rc == -EPIPE)
        return lull_pushcode(L, "EPIPE", over ? "the thread has ended"
                                              : "the thread's input is finished", NULL);
    lua_pushboolean(L, true);
    return 1;
}

/* The stack: seat | box. */
static int send_now(lua_State *L, bool again)
{
    struct seat at = seat_at_1(L);
    struct bell *b = lull_thread_bell(L, at.strand, at.side);
    int rc = -EAGAIN;
    if (again || list_empty(&b->senders)) {
        struct parcel *p = lull_unbox(L, 2);
        rc = lull_strand_put(at.strand, at.side, p, b);
        if (rc < 0)
            *(struct parcel **)lua_touserdata(L, 2) = p;
    }
    return rc == -EAGAIN ? join(L, &b->senders, again, sent) : push_sent(L, rc, at);
}

static int sent(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    check_cancelled(L);
    return send_now(L, true);
}

static int sendk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    return send_now(L, false);
}

/* Packs the value at 2.  The stack: seat | box. */
static void pack_message(lua_State *L)
{
    luaL_checkany(L, 2);
    luaL_argcheck(L, !lua_isnil(L, 2), 2, "nil cannot be sent: it would be the end");
    lua_settop(L, 2);
    lull_pack(L, lull_runtime(L), 2, 1, "argument", 1);
    lua_replace(L, 2);
}

/* Thread:send (value) -> true | nil, message, "EPIPE" */
int lull_thread_send(lua_State *L)
{
    lull_checkthread(L);
    pack_message(L);
    return lull_enter(L, sendk);
}

static int block_send(lua_State *L, struct worker *w)
{
    struct parcel *p = lull_unbox(L, 2);
    int rc = lull_strand_block_put(w->strand, p);
    if (rc < 0)
        lull_parcel_free(p);
    if (rc == -EINTR)
        lull_worker_check(L, w);
    return push_sent(L, rc, (struct seat){w->strand, INSIDE});
}

/* send (value) -> true: inside a thread, to its owner. */
static int inside_send(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    push_inside(L);
    pack_message(L);
    return rt->loop ? lull_enter(L, sendk) : block_send(L, rt->worker);
}

static const luaL_Reg functions[] = {{"thread_send", inside_send},
                                     {"thread_receive", inside_receive},
                                     {NULL, NULL}};

void lull_open_message(lua_State *L)
{
    lull_setfuncs(L, functions);
}
