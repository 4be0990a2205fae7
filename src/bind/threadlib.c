/* Threads: the Thread object outside, send and receive on both sides.  What becomes of
   a thread whose task is cancelled, or whose loop ends, is decided in
   lua/lull/thread.lua. */
#include <errno.h>

#include "nudge.h"
#include "room.h"
#include "strand.h"

static const char graves_key, keeper_key;

/* uservalue 1 of a Thread: the task that waits for its end. */
enum { TASK = 1 };

enum { GRACE = 2000000000 }; /* ns in which a thread ends when its state is closed */

struct thread {
    struct strand *strand;
    lull_waiter settled; /* waits for the end of the task that waits for it */
    uint32_t id;
    bool joined;
};

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

static struct thread *checkthread(lua_State *L)
{
    struct thread *t = lull_check(L, lull_runtime(L), 1, LULL_THREAD);
    if (t->strand == NULL)
        luaL_error(L, "the thread was never started");
    return t;
}

static void push_inside(lua_State *L)
{
    struct worker *w = lull_runtime(L)->worker;
    if (w == NULL || w->strand == NULL)
        luaL_error(L, "this is not a thread that was spawned");
    lua_pushlightuserdata(L, w->strand);
    lua_insert(L, 1);
}

static struct bell *bell_of(lua_State *L, struct seat at)
{
    lull_list *graves = lull_room(L, &graves_key);
    struct bell *b = lull_bell(at.strand, at.side, lull_runtime(L)->loop, graves);
    if (b == NULL)
        luaL_error(L, "not enough memory");
    return b;
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
    lull_bell_stir(bell_of(L, seat_at_1(L)));
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
    struct bell *b = bell_of(L, at);
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
static int thread_receive(lua_State *L)
{
    checkthread(L);
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
    struct bell *b = bell_of(L, at);
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
static int thread_send(lua_State *L)
{
    checkthread(L);
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

/* ---- the end ----------------------------------------------------------------------- */

/* Thread:finish (): nothing more will be sent to it. */
static int thread_finish(lua_State *L)
{
    lull_strand_finish(checkthread(L)->strand, OUTSIDE);
    return 0;
}

static bool is_over(lua_State *L, struct bell *b)
{
    struct thread *t = lua_touserdata(L, 1);
    if (!lull_strand_over(t->strand, b))
        return false;
    if (!t->joined)
        lull_strand_join(t->strand, GRACE);
    t->joined = true;
    return true;
}

static int endedk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct bell *b = bell_of(L, seat_at_1(L));
    if (is_over(L, b))
        return 0;
    lull_wait(&rt->task->waiter);
    list_push(&b->joiners, &rt->task->waiter.link);
    return lull_park(L, endedk);
}

/* Thread:ended (): waits for its end. */
static int thread_ended(lua_State *L)
{
    checkthread(L);
    lua_settop(L, 1);
    return lull_enter(L, endedk);
}

/* Thread:over () -> boolean */
static int thread_over(lua_State *L)
{
    checkthread(L);
    lua_pushboolean(L, is_over(L, NULL));
    return 1;
}

/* Thread:outcome () -> results of its function, or raises its error; when it is over. */
static int thread_outcome(lua_State *L)
{
    struct thread *t = checkthread(L);
    if (!is_over(L, NULL))
        return luaL_error(L, "the thread runs");
    return lull_worker_outcome(L, &t->strand->worker);
}

/* Thread:stop (): interrupts it. */
static int thread_stop(lua_State *L)
{
    lull_strand_stop(checkthread(L)->strand);
    return 0;
}

/* Thread:leave (): it does not end; nobody will wait for it any more. */
static int thread_leave(lua_State *L)
{
    struct thread *t = checkthread(L);
    if (!t->joined)
        lull_strand_join(t->strand, 0);
    t->joined = true;
    return 0;
}

static int thread_gc(lua_State *L)
{
    struct thread *t = lua_touserdata(L, 1);
    if (t->strand == NULL)
        return 0;
    lull_forget(&t->settled);
    if (!t->joined) {
        lull_strand_stop(t->strand);
        lull_strand_finish(t->strand, OUTSIDE);
        lull_strand_join(t->strand, GRACE);
    }
    lull_strand_leave(t->strand);
    t->strand = NULL;
    return 0;
}

/* ---- the task that waits for it ---------------------------------------------------- */

/* Thread:await () -> values; __await */
static int thread_await(lua_State *L)
{
    checkthread(L);
    lua_getiuservalue(L, 1, TASK);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return lull_await_future(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* Thread:task () -> Task */
static int thread_task(lua_State *L)
{
    checkthread(L);
    lua_getiuservalue(L, 1, TASK);
    return 1;
}

static int thread_tostring(lua_State *L)
{
    struct thread *t = checkthread(L);
    const char *state = is_over(L, NULL) ? "ended" : "running";
    lua_pushfstring(L, "thread %d (%s)", (int)t->id, state);
    return 1;
}

/* ---- the start --------------------------------------------------------------------- */

static void *run_thread(void *ud)
{
    struct strand *s = ud;
    lull_worker_run(&s->worker);
    lull_strand_ended(s);
    return NULL;
}

/* The task has ended.  It may have been cancelled before it ever ran, or closed the hard
   way: then the thread does not know yet. */
static void settled(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct thread *t = container_of(w, struct thread, settled);
    if (!t->joined)
        lull_strand_stop(t->strand);
}

/* Pushes the Thread that runs what the box at 1 has; or -errno. */
static int start(lua_State *L)
{
    static _Atomic uint32_t ids;
    struct thread *t = lull_newobject(L, LULL_THREAD, sizeof *t, 1);
    struct strand *s = lull_strand_new();
    if (s == NULL)
        return -ENOMEM;
    s->worker.in = lull_unbox(L, 1);
    s->refs = 2;
    int rc = sys_thread_start(&s->thread, run_thread, s);
    if (rc < 0) {
        lull_strand_unref(s);
        lull_strand_unref(s);
        return rc;
    }
    lull_waiter_init(&t->settled, settled);
    t->id = ++ids;
    t->strand = s;
    return 0;
}

/* thread_spawn (fn, ...) -> Thread | nil, message, code */
static int thread_spawn(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lull_worker_pack(L, rt);
    int rc = start(L);
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    struct thread *t = lua_touserdata(L, 2);
    bell_of(L, (struct seat){t->strand, OUTSIDE});
    lull_pushheld(L, &keeper_key);
    lua_pushvalue(L, 2);
    lua_pushinteger(L, t->id);
    lua_call(L, 2, 1);
    lull_future_wait(rt->loop, lua_touserdata(L, -1), &t->settled);
    lua_setiuservalue(L, 2, TASK);
    return 1;
}

/* on_thread (fn): fn(Thread, number) -> Task spawns the task that waits for its end. */
static int on_thread(lua_State *L)
{
    lua_settop(L, 1);
    lull_hold(L, &keeper_key);
    return 0;
}

static int graves_gc(lua_State *L)
{
    lull_bury(lua_touserdata(L, 1));
    return 0;
}

static const luaL_Reg methods[] = {
    {"receive", thread_receive}, {"send", thread_send},   {"finish", thread_finish},
    {"ended", thread_ended},     {"over", thread_over},   {"outcome", thread_outcome},
    {"leave", thread_leave},     {"stop", thread_stop},   {"await", thread_await},
    {"task", thread_task},       {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", thread_gc},
                                       {"__close", lull_task_close},
                                       {"__await", thread_await},
                                       {"__tostring", thread_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"thread_spawn", thread_spawn},
                                     {"thread_send", inside_send},
                                     {"thread_receive", inside_receive},
                                     {"on_thread", on_thread},
                                     {NULL, NULL}};

void lull_open_thread(lua_State *L)
{
    list_init(lull_make_room(L, &graves_key, sizeof(lull_list), graves_gc));
    lull_open_parcel(L);
    lull_open_call(L);
    lull_newclass(L, LULL_THREAD, "Thread", methods, metamethods);
    lull_setfuncs(L, functions);
}
