/* Threads: the Thread object of their owner, from their start to their end.  What goes
   between the two is in messagelib.c; what becomes of a thread whose task is cancelled,
   or whose loop ends, is decided in lua/lull/thread.lua. */
#include <errno.h>

#include "nudge.h"
#include "room.h"
#include "thread.h"

static const char graves_key, keeper_key;

/* uservalue 1 of a Thread: the task that waits for its end. */
enum { TASK = 1 };

enum { GRACE = 2000000000 }; /* ns in which a thread ends when its state is closed */

struct thread *lull_checkthread(lua_State *L)
{
    struct thread *t = lull_check(L, lull_runtime(L), 1, LULL_THREAD);
    if (t->strand == NULL)
        luaL_error(L, "the thread was never started");
    return t;
}

struct bell *lull_thread_bell(lua_State *L, struct strand *s, enum side side)
{
    lull_list *graves = lull_room(L, &graves_key);
    struct bell *b = lull_bell(s, side, lull_runtime(L)->loop, graves);
    if (b == NULL)
        luaL_error(L, "not enough memory");
    return b;
}

/* ---- the end ----------------------------------------------------------------------- */

/* Thread:finish (): nothing more will be sent to it. */
static int thread_finish(lua_State *L)
{
    lull_strand_finish(lull_checkthread(L)->strand, OUTSIDE);
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
    struct thread *t = lua_touserdata(L, 1);
    struct bell *b = lull_thread_bell(L, t->strand, OUTSIDE);
    if (is_over(L, b))
        return 0;
    lull_wait(&rt->task->waiter);
    list_push(&b->joiners, &rt->task->waiter.link);
    return lull_park(L, endedk);
}

/* Thread:ended (): waits for its end. */
static int thread_ended(lua_State *L)
{
    lull_checkthread(L);
    lua_settop(L, 1);
    return lull_enter(L, endedk);
}

/* Thread:over () -> boolean */
static int thread_over(lua_State *L)
{
    lull_checkthread(L);
    lua_pushboolean(L, is_over(L, NULL));
    return 1;
}

/* Thread:outcome () -> results of its function, or raises its error; when it is over. */
static int thread_outcome(lua_State *L)
{
    struct thread *t = lull_checkthread(L);
    if (!is_over(L, NULL))
        return luaL_error(L, "the thread runs");
    return lull_worker_outcome(L, &t->strand->worker);
}

/* Thread:stop (): interrupts it. */
static int thread_stop(lua_State *L)
{
    lull_strand_stop(lull_checkthread(L)->strand);
    return 0;
}

/* Thread:leave (): it does not end; nobody will wait for it any more. */
static int thread_leave(lua_State *L)
{
    struct thread *t = lull_checkthread(L);
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
    if (!t->started) {
        lull_strand_unref(t->strand);
        return 0;
    }
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
    lull_checkthread(L);
    lua_getiuservalue(L, 1, TASK);
    lua_replace(L, 1);
    lua_settop(L, 1);
    return lull_await_future(L, lull_runtime(L), lua_touserdata(L, 1));
}

/* Thread:task () -> Task */
static int thread_task(lua_State *L)
{
    lull_checkthread(L);
    lua_getiuservalue(L, 1, TASK);
    return 1;
}

static int thread_tostring(lua_State *L)
{
    struct thread *t = lull_checkthread(L);
    const char *state = is_over(L, NULL) ? "ended" : "running";
    lua_pushfstring(L, "thread %d (%s)", (int)t->id, state);
    return 1;
}

/* ---- the start --------------------------------------------------------------------- */

static void *run_thread(void *ud)
{
    struct strand *s = ud;
    lull_worker_run(&s->worker, NULL);
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

/* Has the Thread run what is packed in its strand; or -errno. */
static int start(struct thread *t)
{
    static _Atomic uint32_t ids;
    struct strand *s = t->strand;
    s->refs = 2;
    int rc = sys_thread_start(&s->thread, run_thread, s);
    if (rc < 0) {
        lull_strand_unref(s);
        return rc;
    }
    lull_waiter_init(&t->settled, settled);
    t->id = ++ids;
    t->started = true;
    return 0;
}

/* Has the task that stands for the Thread at 1 wait for its end. */
static void watch(lua_State *L, struct runtime *rt, struct thread *t)
{
    lull_thread_bell(L, t->strand, OUTSIDE);
    lull_pushheld(L, &keeper_key);
    lua_pushvalue(L, 1);
    lua_pushinteger(L, t->id);
    lua_call(L, 2, 1);
    lull_future_wait(rt->loop, lua_touserdata(L, -1), &t->settled);
    lua_setiuservalue(L, 1, TASK);
}

/* thread_spawn (fn, ...) -> Thread | nil, message, code */
static int thread_spawn(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    int n = lua_gettop(L) - 1;
    luaL_checktype(L, 1, LUA_TFUNCTION);
    struct thread *t = lull_newobject(L, LULL_THREAD, sizeof *t, 1);
    t->strand = lull_strand_new();
    if (t->strand == NULL)
        return lull_pushfail(L, -ENOMEM, NULL);
    lull_worker_pack(L, &t->strand->worker, n);
    lua_replace(L, 1);
    lua_settop(L, 1);
    int rc = start(t);
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    watch(L, rt, t);
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

static const luaL_Reg methods[] = {{"receive", lull_thread_receive},
                                   {"send", lull_thread_send},
                                   {"finish", thread_finish},
                                   {"ended", thread_ended},
                                   {"over", thread_over},
                                   {"outcome", thread_outcome},
                                   {"leave", thread_leave},
                                   {"stop", thread_stop},
                                   {"await", thread_await},
                                   {"task", thread_task},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__gc", thread_gc},
                                       {"__close", lull_task_close},
                                       {"__await", thread_await},
                                       {"__tostring", thread_tostring},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"thread_spawn", thread_spawn},
                                     {"on_thread", on_thread},
                                     {NULL, NULL}};

void lull_open_thread(lua_State *L)
{
    list_init(lull_make_room(L, &graves_key, sizeof(lull_list), graves_gc));
    lull_open_call(L);
    lull_open_message(L);
    lull_newclass(L, LULL_THREAD, "Thread", methods, metamethods);
    lull_setfuncs(L, functions);
}
