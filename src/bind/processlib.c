/* Children: their life and end, and signals to them; how one is started is in spawnlib.c,
   what a script sees in lua/lull/process.lua.

   A child is reaped as soon as it has ended, by a waiter of its own on the loop, whether
   somebody waits for it or not; until then the runtime holds it.  Where its loop is
   closed first it is left to itself, and whoever waits for it later, or starts another,
   reaps it.  A thread that waits for it (see src/sys/child.c) has to have gone first.

   A group that is closed may outlive its leader: it has the rest of the grace, in which
   it is looked at now and then, for nobody tells its end. */
#include "process.h"

#include <errno.h>
#include <signal.h>

#include "room.h"
#include "apart.h"
#include "sys.h"

enum { FIRST_LOOK = 1000000, LOOK = 64 * FIRST_LOOK }; /* ns between looks at a group */

/* ---- all of them ------------------------------------------------------------------- */

static const char room_key;

/* The state is closed, its loops are already. */
static int room_gc(lua_State *L)
{
    lull_list *all = lua_touserdata(L, 1);
    while (!list_empty(all)) {
        struct process *p = container_of(list_pop(all), struct process, link);
        if (!p->alive)
            continue;
        sys_child_end(p->pid, false, &p->code, &p->number);
        sys_close(p->io.watch.fd);
    }
    return 0;
}

/* ---- life -------------------------------------------------------------------------- */

static void detach(struct process *p)
{
    if (p->loop == NULL)
        return;
    lull_forget(&p->reaper);
    lull_forget(&p->end);
    lull_grace_stop(p->loop, &p->patience);
    lull_io_close(&p->io);
    lull_loop_unref(p->loop);
    if (p->lingers)
        lull_linger(p->loop, -1);
    p->lingers = p->rests = false;
    p->loop = NULL;
}

/* It has ended, and nobody is left of it. */
static void let_go(lua_State *L, struct process *p)
{
    detach(p);
    list_remove(&p->link);
    lull_release(L, p);
}

int lull_process_attach(struct process *p, lull_loop *loop)
{
    int rc = lull_io_wait(loop, &p->io, LULL_READ, &p->reaper);
    if (rc < 0)
        return rc;
    lull_loop_end(loop, &p->end);
    lull_loop_ref(loop);
    p->loop = loop;
    return 0;
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    detach(container_of(w, struct process, end));
}

static void forget_fd(struct process *p)
{
    lull_own(p->rt, p->io.watch.fd, false);
    sys_close(p->io.watch.fd);
    p->io.watch.fd = -1;
}

/* ---- signals ----------------------------------------------------------------------- */

static int send_signal(struct process *p, int number)
{
    int pidfd = p->pidfd ? p->io.watch.fd : -1;
    return sys_child_signal(p->pid, pidfd, p->group, number);
}

static void kill_all(struct process *p)
{
    p->killed = true;
    send_signal(p, SIGKILL);
}

/* What its leader has left behind of a group is ended when the grace is over.  As long as
   somebody lives in it its number is nobody else's. */
static void look_after(lua_State *L, struct process *p)
{
    int64_t left = p->time - (sys_now() - p->since);
    bool lives = sys_group_lives(p->pid);
    p->pause = p->pause < LOOK ? 2 * p->pause : LOOK;
    if (lives && left > 0 &&
        lull_grace_start(p->loop, &p->patience, left < p->pause ? left : p->pause) == 0)
        return;
    if (lives)
        kill_all(p);
    lull_wake_all(p->loop, &p->closers, 0);
    let_go(L, p);
}

static void grace_is_over(lull_loop *loop, lull_waiter *w)
{
    struct process *p = container_of(w, struct process, killer);
    lull_grace_stop(loop, &p->patience);
    if (p->rests)
        look_after(p->rt->L, p);
    else
        kill_all(p);
}


/* ---- the end ----------------------------------------------------------------------- */

/* Reaps p if it has ended; returns whether it has.  Where a thread waits for it, that has
   to have gone first. */
static bool reap(lua_State *L, struct process *p)
{
    if (p->alive && !p->pidfd && !sys_child_told(p->io.watch.fd))
        return false;
    int rc = p->alive ? sys_child_end(p->pid, false, &p->code, &p->number) : 0;
    if (rc == 0)
        return !p->alive;
    p->alive = false;
    p->lost = rc < 0 ? rc : 0;
    lull_wake_all(p->loop, &p->waiters, 0);
    lull_io_close(&p->io);
    forget_fd(p);
    p->rests = p->loop && p->group && p->closing && !p->killed;
    if (p->rests)
        look_after(L, p);
    else
        let_go(L, p);
    return true;
}

static void readable(lull_loop *loop, lull_waiter *w)
{
    struct process *p = container_of(w, struct process, reaper);
    if (!reap(p->rt->L, p))
        lull_io_wait(loop, &p->io, LULL_READ, w);
}

void lull_process_reap_left(lua_State *L)
{
    lull_list *all = lull_room(L, &room_key);
    for (lull_list *l = all->next, *next; l != all; l = next) {
        next = l->next;
        struct process *p = container_of(l, struct process, link);
        if (p->loop != NULL)
            continue;
        if (p->alive)
            reap(L, p);
        else
            let_go(L, p); /* the loop ended while it was looked after */
    }
}

/* ---- closing ----------------------------------------------------------------------- */

/* SIGTERM, and SIGKILL when the grace is over.  One that is stopped hears nothing until
   it is continued. */
static void terminate(lua_State *L, struct process *p)
{
    lull_loop *loop = lull_runtime(L)->loop;
    p->closing = true;
    if (loop != NULL && p->loop != loop && list_empty(&p->waiters)) {
        detach(p);
        lull_process_attach(p, loop);
    }
    if (p->loop != NULL)
        p->time = lull_after(p->loop, p->grace) - lull_now(p->loop);
    p->since = sys_now();
    p->pause = FIRST_LOOK;
    if (p->loop == NULL || p->grace <= 0 ||
        lull_grace_start(p->loop, &p->patience, p->time) < 0) {
        kill_all(p);
        return;
    }
    p->lingers = true;
    lull_linger(p->loop, 1);
    send_signal(p, SIGTERM);
    send_signal(p, SIGCONT);
}

/* ---- birth ------------------------------------------------------------------------- */

struct process *lull_newprocess(lua_State *L, struct runtime *rt)
{
    struct process *p = lull_newobject(L, LULL_PROCESS, sizeof *p, 0);
    lull_waiter_init(&p->reaper, readable);
    lull_waiter_init(&p->killer, grace_is_over);
    lull_waiter_init(&p->end, loop_ends);
    lull_grace_init(&p->patience, &p->killer);
    lull_io_init(&p->io, -1);
    list_init(&p->waiters);
    list_init(&p->closers);
    list_init(&p->link);
    p->rt = rt;
    return p;
}

void lull_process_begins(lua_State *L, struct process *p)
{
    list_push(lull_room(L, &room_key), &p->link);
    lull_own(p->rt, p->io.watch.fd, true);
    p->alive = true;
}

/* ---- methods ----------------------------------------------------------------------- */

static struct process *checkprocess(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_PROCESS);
}

static int pushend(lua_State *L, struct process *p)
{
    char text[SYS_SIGNAL];
    if (p->lost < 0)
        return lull_pushfail(L, p->lost, "somebody else has reaped the child");
    if (p->number == 0) {
        lua_pushinteger(L, p->code);
        return 1;
    }
    lua_pushnil(L);
    lua_pushstring(L, sys_signal_name(p->number, text));
    return 2;
}

/* Waits are on the loop of the first one; one that nobody waits for can move. */
static int bind_to(lua_State *L, struct process *p, lull_loop *loop)
{
    if (p->loop == loop)
        return 0;
    if (!list_empty(&p->waiters) || p->closing)
        return luaL_error(L, "the process belongs to another loop");
    detach(p);
    return lull_process_attach(p, loop);
}

static int waitk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct process *p = lua_touserdata(L, 1);
    if (reap(L, p))
        return pushend(L, p);
    rc = bind_to(L, p, rt->loop);
    if (rc < 0)
        return lull_pushfail(L, (int)rc, NULL);
    lull_wait(&rt->task->waiter);
    list_push(&p->waiters, &rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, waitk);
}

/* child:wait () -> code | nil, "SIGKILL" */
static int process_wait(lua_State *L)
{
    checkprocess(L);
    lua_settop(L, 1);
    return lull_enter(L, waitk);
}

static int outlivek(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    struct process *p = lua_touserdata(L, 1);
    if (!p->rests || p->loop != rt->loop)
        return 0;
    lull_wait(&rt->task->waiter);
    list_push(&p->closers, &rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, outlivek);
}

/* child:outlive (): waits for what is left of its group, when it has been terminated. */
static int process_outlive(lua_State *L)
{
    checkprocess(L);
    lua_settop(L, 1);
    return lull_enter(L, outlivek);
}

/* child:ended () -> whether it has been reaped; and what wait returns */
static int process_ended(lua_State *L)
{
    struct process *p = checkprocess(L);
    lua_pushboolean(L, !p->alive);
    return p->alive ? 1 : 1 + pushend(L, p);
}

static int checksignal(lua_State *L, int i)
{
    int isinteger, number = (int)lua_tointegerx(L, i, &isinteger);
    if (!isinteger) {
        const char *name = lua_isnoneornil(L, i) ? "SIGTERM" : lua_tostring(L, i);
        number = name ? sys_signal_number(name) : -1;
    }
    if (number < 0 || number >= SYS_SIGNALS) {
        luaL_where(L, 2); /* who called Process:kill */
        lua_pushfstring(L, "no such signal: %s", luaL_tolstring(L, i, NULL));
        lua_remove(L, -2);
        lua_concat(L, 2);
        lua_error(L);
    }
    return number;
}

/* child:kill ([name | number]) -> true | nil, message, code */
static int process_kill(lua_State *L)
{
    struct process *p = checkprocess(L);
    int number = checksignal(L, 2);
    int rc = p->alive ? send_signal(p, number) : -ESRCH;
    if (rc < 0)
        return lull_pushfail(L, rc, NULL);
    lua_pushboolean(L, true);
    return 1;
}

/* child:terminate () -> whether it, or its group, still runs, and has been asked to end */
static int process_terminate(lua_State *L)
{
    struct process *p = checkprocess(L);
    if (p->alive && !p->closing)
        terminate(L, p);
    lua_pushboolean(L, p->alive || p->rests);
    return 1;
}

/* child:pid () -> integer */
static int process_pid(lua_State *L)
{
    lua_pushinteger(L, checkprocess(L)->pid);
    return 1;
}

static const luaL_Reg methods[] = {
    {"wait", process_wait}, {"ended", process_ended},         {"kill", process_kill},
    {"pid", process_pid},   {"terminate", process_terminate}, {"outlive", process_outlive},
    {NULL, NULL}};

void lull_open_process(lua_State *L)
{
    list_init(lull_make_room(L, &room_key, sizeof(lull_list), room_gc));
    lull_newclass(L, LULL_PROCESS, "Child", methods, NULL);
    lull_open_spawn(L);
}
