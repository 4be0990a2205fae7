/* Loops in Lua: running one until a future is done or until everybody has ended, what
   runs outside of any task (callbacks and their handles, readers and writers), and what
   is told of failures that nobody looked at.

   User code may run only inside a protected call here: the loop of the core knows no
   longjmp.  lull_callback is that call. */
#include "task.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <time.h>

/* A Loop userdata.  uservalue 1: table of untaken failures; 2: readers and writers. */
struct loop {
    lull_loop *core; /* NULL: closed */
    struct loop *next;
    uint32_t serial;
    unsigned tasks, daemons, lingering;
    bool running, virtual_clock;
    enum { UNTIL_STOPPED, UNTIL_DAEMONS, UNTIL_EMPTY } end; /* what ends the run */
    lull_waiter until;  /* waits for the future that ends the run */
    lull_waiter review; /* and its timer: looks through the untaken failures */
    lull_timer review_timer;
    struct runtime *rt;
};

enum { UNTAKEN = LULL_LOOP_UNTAKEN, WATCHERS, HANDLER, USERVALUES = HANDLER };

static const char report_key, deadlock_key;

/* ---- counting --------------------------------------------------------------------------- */

static bool drained(const struct loop *o)
{
    if (o->end == UNTIL_STOPPED || o->lingering > 0)
        return false;
    return o->tasks == (o->end == UNTIL_DAEMONS ? o->daemons : 0);
}

static void stop_when_drained(struct loop *o)
{
    if (drained(o))
        lull_loop_stop(o->core);
}

static struct loop *home(struct runtime *rt, uint32_t serial)
{
    if (rt->object && rt->object->serial == serial)
        return rt->object;
    struct loop *o = rt->loops;
    while (o != NULL && o->serial != serial)
        o = o->next;
    return o;
}

void lull_task_began(struct runtime *rt, struct task *t)
{
    (void)t;
    rt->object->tasks++;
}

void lull_task_ended(struct runtime *rt, struct task *t)
{
    struct loop *o = home(rt, t->future.loop);
    o->tasks--;
    o->daemons -= (t->future.flags & LULL_DAEMON) != 0;
    stop_when_drained(o);
}

void lull_task_daemon(struct runtime *rt, struct task *t)
{
    struct loop *o = t->co ? home(rt, t->future.loop) : NULL;
    if (o == NULL)
        return;
    o->daemons++;
    stop_when_drained(o);
}

void lull_linger(lull_loop *loop, int change)
{
    struct runtime *rt = lull_loop_user(loop);
    for (struct loop *o = rt->loops; o != NULL; o = o->next)
        if (o->core == loop) {
            o->lingering += (unsigned)change;
            stop_when_drained(o);
        }
}

lull_loop *lull_loop_with(struct runtime *rt, uint32_t serial)
{
    struct loop *o = home(rt, serial);
    return o ? o->core : NULL;
}

lull_loop *lull_loop_of(struct runtime *rt, lull_future *f)
{
    return f->loop == 0 ? rt->loop : lull_loop_with(rt, f->loop);
}

/* ---- outside of tasks --------------------------------------------------------------------- */

void lull_report(lua_State *L, struct runtime *rt, int i)
{
    (void)rt;
    i = i ? lua_absindex(L, i) : 0;
    luaL_checkstack(L, 8, NULL);
    lull_pushheld(L, &report_key);
    lua_insert(L, -3);
    if (i)
        lua_pushvalue(L, i);
    else
        lua_pushnil(L);
    lua_call(L, 3, 0);
}

static int report_callback(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_settop(L, 1);
    lull_pushtraceback(L, 1);
    lull_report(L, rt, 0);
    return 0;
}

/* Calls what stands on rt->L with n arguments, outside of any task; errors are reported. */
static void call_protected(struct runtime *rt, int n)
{
    lua_State *L = rt->L;
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, -n - 2);
    int handler = lua_gettop(L) - n - 1;
    if (lua_pcall(L, n, 0, handler) != LUA_OK) {
        lua_pushcfunction(L, report_callback);
        lua_insert(L, -2);
        if (lua_pcall(L, 1, 0, 0) != LUA_OK)
            lua_pop(L, 1); /* a report that fails has been told all the same */
    }
    lua_pop(L, 1);
}

void lull_callback(struct runtime *rt, lua_CFunction function, void *ud)
{
    lua_pushcfunction(rt->L, function);
    lua_pushlightuserdata(rt->L, ud);
    call_protected(rt, 1);
}

/* ---- handles -------------------------------------------------------------------------------- */

/* A call that is due.  uservalue 1: a table of the function and its arguments. */
struct handle {
    lull_waiter waiter;
    lull_timer timer;
    lull_loop *loop; /* NULL once called or cancelled */
    int nargs;
    bool cancelled;
    lua_Number when;
};

/* (handle): pushes function and arguments from its table and calls them. */
static int call_handle(lua_State *L)
{
    struct handle *h = lua_touserdata(L, 1);
    lull_pushheld(L, h);
    lull_release(L, h);
    lua_getiuservalue(L, -1, 1);
    luaL_checkstack(L, h->nargs + 2, NULL);
    int t = lua_gettop(L);
    for (int j = 1; j <= h->nargs + 1; j++)
        lua_rawgeti(L, t, j);
    lua_call(L, h->nargs, 0);
    return 0;
}

static void handle_due(lull_loop *loop, lull_waiter *w)
{
    struct handle *h = container_of(w, struct handle, waiter);
    h->loop = NULL;
    lull_callback(lull_loop_user(loop), call_handle, h);
}

/* Pushes a Handle that calls the top nargs + 1 values (popped) at a deadline; < 0: soon. */
static void new_handle(lua_State *L, struct loop *o, int nargs, int64_t deadline)
{
    lua_createtable(L, nargs + 1, 0);
    lua_insert(L, -nargs - 2);
    for (int j = nargs + 1; j > 0; j--)
        lua_rawseti(L, -j - 1, j);
    struct handle *h = lua_newuserdatauv(L, sizeof *h, 1);
    memset(h, 0, sizeof *h);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &o->rt->classes[LULL_HANDLE]);
    lua_setmetatable(L, -2);
    lua_insert(L, -2);
    lua_setiuservalue(L, -2, 1);
    lull_waiter_init(&h->waiter, handle_due);
    lull_timer_init(&h->timer, &h->waiter);
    h->nargs = nargs;
    h->when = (lua_Number)(deadline < 0 ? lull_now(o->core) : deadline) / 1e9;
    lua_pushvalue(L, -1);
    lull_hold(L, h);
    lull_wait(&h->waiter);
    if (deadline < 0)
        lull_wake(o->core, &h->waiter, 0);
    else if (lull_timer_start(o->core, &h->timer, deadline, 0) < 0) {
        lull_release(L, h);
        luaL_error(L, "not enough memory");
    }
    h->loop = o->core;
}

void lull_call_soon(lua_State *L, struct runtime *rt, int nargs)
{
    if (rt->object == NULL)
        luaL_error(L, "no loop is running");
    new_handle(L, rt->object, nargs, -1);
    lua_pop(L, 1);
}

static struct handle *checkhandle(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_HANDLE);
}

static int handle_cancel(lua_State *L)
{
    struct handle *h = checkhandle(L);
    if (h->loop != NULL) {
        lull_timer_stop(h->loop, &h->timer);
        lull_forget(&h->waiter);
        lull_release(L, h);
        h->loop = NULL;
        h->cancelled = true;
    }
    return 0;
}

static int handle_cancelled(lua_State *L)
{
    lua_pushboolean(L, checkhandle(L)->cancelled);
    return 1;
}

static int handle_when(lua_State *L)
{
    lua_pushnumber(L, checkhandle(L)->when);
    return 1;
}

static int handle_tostring(lua_State *L)
{
    struct handle *h = checkhandle(L);
    lua_pushfstring(L, "handle (%s, due at %f)",
                    h->cancelled ? "cancelled" : h->loop ? "pending" : "called", h->when);
    return 1;
}

/* ---- failures that nobody looks at ------------------------------------------------------------- */

/* The table is a list of futures, each followed by the time when its grace ends. */
void lull_untaken(lua_State *L, struct runtime *rt, int i)
{
    lull_future *f = lua_touserdata(L, i);
    struct loop *o = f->loop ? home(rt, f->loop) : rt->object;
    if (o == NULL || o->core == NULL)
        return;
    int64_t deadline = lull_now(o->core) + 1000000000;
    i = lua_absindex(L, i);
    lull_pushheld(L, o);
    lua_getiuservalue(L, -1, UNTAKEN);
    lua_Integer n = luaL_len(L, -1);
    lua_pushvalue(L, i);
    lua_rawseti(L, -2, n + 1);
    lua_pushinteger(L, deadline);
    lua_rawseti(L, -2, n + 2);
    lua_pop(L, 2);
    if (!lull_timer_started(&o->review_timer)) {
        lull_wait(&o->review);
        lull_timer_start(o->core, &o->review_timer, deadline, 0);
    }
}

/* Reports the futures of the list whose time has come, unless somebody has taken them. */
static int review_untaken(lua_State *L)
{
    struct loop *o = lua_touserdata(L, 1);
    struct runtime *rt = lull_pushruntime(L);
    int64_t now = rt->object == o && o->end == UNTIL_STOPPED ? lull_now(o->core) : INT64_MAX;
    lull_pushheld(L, o);
    lua_getiuservalue(L, -1, UNTAKEN);
    lua_newtable(L);
    lua_pushvalue(L, -1);
    lua_setiuservalue(L, -4, UNTAKEN);
    lua_replace(L, 1);
    int list = lua_gettop(L);
    lua_Integer kept = 0;
    for (lua_Integer j = 1; lua_rawgeti(L, list, j) != LUA_TNIL; j += 2, lua_settop(L, list)) {
        lull_future *f = lua_touserdata(L, -1);
        if (f->flags & LULL_TAKEN)
            continue;
        lua_rawgeti(L, list, j + 1);
        if (lua_tointeger(L, -1) > now) {
            lua_rawseti(L, 1, kept + 2);
            lua_rawseti(L, 1, kept + 1);
            kept += 2;
            continue;
        }
        lua_settop(L, list + 1);
        lua_getiuservalue(L, -1, 1);
        if (!lull_hasextra(L, -2))
            lua_pushnil(L);
        else {
            lua_getfield(L, -1, "traceback");
            lua_remove(L, -2);
        }
        unsigned before = rt->failures;
        lull_report(L, rt, f->flags & LULL_IS_TASK ? list + 1 : 0);
        if (rt->failures > before)
            f->flags |= LULL_REPORTED;
    }
    if (lua_rawgeti(L, 1, 2) == LUA_TNUMBER) {
        lull_wait(&o->review);
        lull_timer_start(o->core, &o->review_timer, lua_tointeger(L, -1), 0);
    }
    return 0;
}

static void review(lull_loop *core, lull_waiter *w)
{
    lull_callback(lull_loop_user(core), review_untaken, container_of(w, struct loop, review));
}

/* ---- running -------------------------------------------------------------------------------------- */

/* What a run lays over the runtime and gives back: runs nest (virtual clocks). */
struct frame {
    lua_State *running, *L, *base, *outer;
    struct task *task;
    lull_loop *loop;
    struct loop *object;
    int budget;
};

static struct frame begin(lua_State *L, struct runtime *rt, struct loop *o)
{
    struct frame saved = {rt->running, rt->L, rt->base, rt->outer, rt->task,
                          rt->loop, rt->object, rt->budget};
    rt->running = rt->outer = NULL;
    rt->task = NULL;
    rt->L = L;
    rt->loop = o->core;
    rt->object = o;
    o->running = true;
    return saved;
}

static void end_run(struct runtime *rt, struct loop *o, struct frame saved)
{
    o->running = false;
    rt->running = saved.running;
    rt->L = saved.L;
    rt->base = saved.base;
    rt->outer = saved.outer;
    rt->task = saved.task;
    rt->loop = saved.loop;
    rt->object = saved.object;
    rt->budget = saved.budget;
}

/* Calls f(L, task) for every live task of the loop, in order of id; f may end them. */
static void each_task(lua_State *L, struct runtime *rt, struct loop *o,
                      void (*f)(lua_State *L, struct runtime *rt, struct task *t))
{
    lua_newtable(L);
    lull_pushtasks(L, rt, o->serial);
    int list = lua_gettop(L);
    for (lua_Integer j = 1; lua_rawgeti(L, list, j) != LUA_TNIL; j++) {
        struct task *t = lua_touserdata(L, -1);
        if (t->co != NULL)
            f(L, rt, t);
        lua_settop(L, list);
    }
    lua_settop(L, list - 2);
}

static void cancel_task(lua_State *L, struct runtime *rt, struct task *t)
{
    lua_pushliteral(L, "the loop ends");
    lull_cancel(L, rt->loop, &t->own, -ECANCELED, lua_gettop(L));
}


static void kill_task(lua_State *L, struct runtime *rt, struct task *t)
{
    (void)L;
    cancel_task(L, rt, t);
    lull_kill(rt, t);
}

static void until_done(lull_loop *core, lull_waiter *w)
{
    (void)w;
    lull_loop_stop(core);
}

/* One line and the stack of each task. */
static void push_deadlock(lua_State *L, struct runtime *rt, struct loop *o)
{
    luaL_Buffer b;
    int top = lua_gettop(L);
    lull_pushtasks(L, rt, o->serial);
    luaL_buffinit(L, &b);
    luaL_addstring(&b, "deadlock: nothing can wake any of these tasks");
    for (lua_Integer j = 1;; j++) {
        if (lua_rawgeti(L, top + 1, j) == LUA_TNIL)
            break;
        struct task *t = lua_touserdata(L, -1);
        luaL_tolstring(L, -1, NULL);
        lull_pushstack(L, t);
        lua_pushfstring(L, "\n%s\n%s", lua_tostring(L, -2), lua_tostring(L, -1));
        lua_insert(L, -4);
        lua_pop(L, 3);
        luaL_addvalue(&b);
    }
    lua_pop(L, 1);
    luaL_pushresult(&b);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

static int deadlock_report(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    push_deadlock(L, rt, rt->object);
    if (lull_pushheld(L, &deadlock_key) == LUA_TFUNCTION) {
        lua_pushvalue(L, -2);
        lua_call(L, 1, 1);
        if (lua_toboolean(L, -1))
            return 0; /* somebody knows what to do */
    }
    lua_pop(L, 1);
    return 1;
}

/* Runs the core's loop.  Returns false, with a message pushed, when it cannot go on. */
static bool run_core(lua_State *L, struct loop *o, int (*run)(lull_loop *loop))
{
    for (;;) {
        int rc = run(o->core);
        if (rc == 0)
            return true;
        if (rc != -EDEADLK) {
            lull_pushfail(L, rc, NULL);
            lua_pop(L, 1);
            lua_remove(L, -2);
            return false;
        }
        lull_pushruntime(L); /* upvalue 1 of whoever asks lull_runtime */
        lua_pushcclosure(L, deadlock_report, 1);
        if (lua_pcall(L, 0, 1, 0) != LUA_OK || !lua_isnil(L, -1))
            return false;
        lua_pop(L, 1);
    }
}

/* Runs until nobody but daemons is left; false, with a report pushed, on a deadlock. */
static bool drain(lua_State *L, struct loop *o)
{
    o->end = UNTIL_DAEMONS;
    bool well = drained(o) || run_core(L, o, lull_loop_run);
    o->end = UNTIL_STOPPED;
    return well;
}

/* Cancels everybody and runs until nobody is left; who cannot be woken any more, or finds
   no end within a hundred rounds, is ended the hard way. */
static void clear(lua_State *L, struct runtime *rt, struct loop *o)
{
    o->end = UNTIL_EMPTY;
    each_task(L, rt, o, cancel_task);
    while (!drained(o)) {
        if (lull_loop_run(o->core) == 0)
            continue;
        each_task(L, rt, o, kill_task);
        o->lingering = 0;
    }
    o->end = UNTIL_STOPPED;
}

/* Runs until the future at i is done.  False, with an error pushed, when it cannot be. */
static bool run_until(lua_State *L, struct loop *o, int i)
{
    lull_future *f = lua_touserdata(L, i);
    if (f->state != 0)
        return true;
    lull_waiter_init(&o->until, until_done);
    lull_future_wait(o->core, f, &o->until);
    bool well = run_core(L, o, lull_loop_run);
    lull_forget(&o->until);
    if (well && f->state == 0) {
        lua_pushliteral(L, "the loop was stopped before the future was done");
        return false;
    }
    return well;
}

/* (runtime, fn, ...) -> Task */
static int spawn_protected(lua_State *L)
{
    lull_spawn(L, lua_touserdata(L, 1), lua_gettop(L) - 2, NULL);
    return 1;
}

/* Spawns the main task of function and arguments from index 2 on: it stands there then.
   Nothing may be raised once the runtime has been laid over, so this comes first. */
static struct task *spawn_main(lua_State *L, struct runtime *rt, struct loop *o)
{
    lull_loop *loop = rt->loop;
    struct loop *object = rt->object;
    luaL_checkstack(L, 40, NULL); /* the run itself pushes on this state */
    rt->loop = o->core;
    rt->object = o;
    lua_pushcfunction(L, spawn_protected);
    lua_pushlightuserdata(L, rt);
    lua_rotate(L, 2, 2);
    int status = lua_pcall(L, lua_gettop(L) - 2, 1, 0);
    rt->loop = loop;
    rt->object = object;
    if (status != LUA_OK)
        lua_error(L);
    return lua_touserdata(L, 2);
}

static struct loop *checkloop(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    if (o->core == NULL)
        luaL_error(L, "the loop is closed");
    return o;
}

lull_loop *lull_checkloop(lua_State *L)
{
    return checkloop(L)->core;
}

/* A loop runs where no loop runs, or, on the virtual clock, anywhere. */
static struct loop *checkidle(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkloop(L);
    if (o->running)
        luaL_error(L, "the loop is running already");
    if (rt->loop != NULL && !o->virtual_clock)
        luaL_error(L, "a loop cannot run inside of another one");
    return o;
}

static void review_now(lua_State *L, struct runtime *rt, struct loop *o)
{
    (void)L;
    o->end = UNTIL_EMPTY;
    lull_callback(rt, review_untaken, o);
    o->end = UNTIL_STOPPED;
}

/* loop:run (fn, ...) -> results: fn as the main task, then every task that is no daemon;
   then daemons are cancelled.  If fn fails all the others are cancelled at once. */
static int loop_run(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkidle(L);
    luaL_checkany(L, 2);
    struct task *main = spawn_main(L, rt, o);
    struct frame saved = begin(L, rt, o);
    bool well = run_until(L, o, 2);
    if (well && main->future.state == LULL_RESULT)
        well = drain(L, o);
    main->future.flags |= LULL_TAKEN;
    clear(L, rt, o);
    review_now(L, rt, o);
    end_run(rt, o, saved);
    if (!well)
        return lua_error(L);
    return lull_pushoutcome(L, rt, 2);
}

/* loop:run_until_complete (fn | future, ...) -> results: other tasks stay where they are. */
static int run_until_complete(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkidle(L);
    bool future = lull_test(L, rt, 2, LULL_FUTURE) || lull_test(L, rt, 2, LULL_TASK);
    luaL_checkany(L, 2);
    if (!future)
        spawn_main(L, rt, o);
    lull_future *f = lua_touserdata(L, 2);
    f->flags |= LULL_TAKEN;
    if (lull_future_bind(o->core, f) < 0)
        return luaL_error(L, "the future belongs to another loop");
    struct frame saved = begin(L, rt, o);
    bool well = run_until(L, o, 2);
    end_run(rt, o, saved);
    return well ? lull_pushoutcome(L, rt, 2) : lua_error(L);
}

/* loop:run_forever (): until loop:stop */
static int run_forever(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = checkidle(L);
    struct frame saved = begin(L, rt, o);
    bool well = run_core(L, o, lull_loop_run_forever);
    end_run(rt, o, saved);
    return well ? 0 : lua_error(L);
}

/* loop:stop (): the run returns after this turn. */
static int loop_stop(lua_State *L)
{
    lull_loop_stop(checkloop(L)->core);
    return 0;
}

/* Frees what a loop holds; its tasks have ended or are given up. */
static void free_loop(lua_State *L, struct runtime *rt, struct loop *o)
{
    for (struct loop **p = &rt->loops; *p != NULL; p = &(*p)->next)
        if (*p == o) {
            *p = o->next;
            break;
        }
    lull_release(L, o);
    lull_loop_free(o->core);
    o->core = NULL;
}

/* loop:close (): cancels and ends what still runs on it, then frees it. */
static int loop_close(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    struct loop *o = lull_check(L, rt, 1, LULL_LOOP);
    if (o->core == NULL)
        return 0;
    if (o->running)
        return luaL_error(L, "the loop is running");
    luaL_checkstack(L, 40, NULL);
    struct frame saved = begin(L, rt, o);
    clear(L, rt, o);
    review_now(L, rt, o);
    end_run(rt, o, saved);
    free_loop(L, rt, o);
    return 0;
}

/* A loop that is collected takes its tasks along without a word: the state is closing. */
static int loop_gc(lua_State *L)
{
    struct loop *o = lua_touserdata(L, 1);
    if (o->core != NULL) {
        lull_loop_free(o->core);
        o->core = NULL;
    }
    return 0;
}

static int is_running(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    lua_pushboolean(L, o->running);
    return 1;
}

static int loop_tostring(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    if (o->core == NULL)
        lua_pushliteral(L, "loop (closed)");
    else
        lua_pushfstring(L, "loop (%s, %s, %d tasks)", lull_loop_selector(o->core),
                        o->running ? "running" : "idle", (int)o->tasks);
    return 1;
}

/* ---- time ------------------------------------------------------------------------------------------- */

static int64_t tonanoseconds(lua_State *L, int i)
{
    lua_Number seconds = luaL_checknumber(L, i);
    luaL_argcheck(L, seconds == seconds, i, "not a number");
    return seconds > 9e9 ? LULL_FOREVER / 2 : seconds < -9e9 ? 0 : (int64_t)ceil(seconds * 1e9);
}

/* loop:time () -> seconds on its clock */
static int loop_time(lua_State *L)
{
    lull_loop *loop = checkloop(L)->core;
    lull_refresh(loop);
    lua_pushnumber(L, (lua_Number)lull_now(loop) / 1e9);
    return 1;
}

/* loop:advance (seconds): moves a virtual clock */
static int loop_advance(lua_State *L)
{
    if (lull_loop_advance(checkloop(L)->core, tonanoseconds(L, 2)) < 0)
        return luaL_error(L, "only a virtual clock can be advanced");
    return 0;
}

/* now () -> seconds on the running loop's clock */
static int now(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lull_refresh(rt->loop);
    lua_pushnumber(L, (lua_Number)lull_now(rt->loop) / 1e9);
    return 1;
}

/* ---- callbacks ---------------------------------------------------------------------------------------- */

/* loop:call_soon (fn, ...) -> Handle */
static int call_soon(lua_State *L)
{
    struct loop *o = checkloop(L);
    lull_checkcallable(L, 2);
    new_handle(L, o, lua_gettop(L) - 2, -1);
    return 1;
}

/* loop:call_later (seconds, fn, ...) -> Handle */
static int call_later(lua_State *L)
{
    struct loop *o = checkloop(L);
    int64_t delay = tonanoseconds(L, 2);
    lull_checkcallable(L, 3);
    lull_refresh(o->core);
    new_handle(L, o, lua_gettop(L) - 3, lull_now(o->core) + (delay > 0 ? delay : 0));
    return 1;
}

/* loop:call_at (time, fn, ...) -> Handle */
static int call_at(lua_State *L)
{
    struct loop *o = checkloop(L);
    int64_t when = tonanoseconds(L, 2);
    lull_checkcallable(L, 3);
    new_handle(L, o, lua_gettop(L) - 3, when > 0 ? when : 0);
    return 1;
}

/* ---- the module --------------------------------------------------------------------------------------- */

/* new_loop ([{selector=, clock=, seed=}]) -> Loop */
static int new_loop(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lull_options options = {.size = sizeof options, .user = rt};
    lua_settop(L, 1);
    if (!lua_isnil(L, 1)) {
        luaL_checktype(L, 1, LUA_TTABLE);
        lua_getfield(L, 1, "selector");
        options.selector = luaL_optstring(L, -1, NULL);
        lua_getfield(L, 1, "clock");
        if (!lua_isnil(L, -1)) {
            luaL_argcheck(L, strcmp(luaL_checkstring(L, -1), "virtual") == 0, 1,
                          "clock must be \"virtual\"");
            options.virtual_clock = true;
        }
        lua_getfield(L, 1, "seed");
        options.seed = (uint64_t)luaL_optinteger(L, -1, 0);
    }
    options.alloc = lua_getallocf(L, &options.alloc_ud);
    struct loop *o = lull_newobject(L, LULL_LOOP, sizeof *o, USERVALUES);
    lua_newtable(L);
    lua_setiuservalue(L, -2, UNTAKEN);
    lua_newtable(L);
    lua_setiuservalue(L, -2, WATCHERS);
    lua_pushvalue(L, -1);
    lull_hold(L, o);
    o->rt = rt;
    o->virtual_clock = options.virtual_clock;
    lull_waiter_init(&o->review, review);
    lull_timer_init(&o->review_timer, &o->review);
    int rc = lull_loop_new(&o->core, &options);
    if (rc < 0) {
        lull_release(L, o);
        if (rc == -ENOSYS)
            return luaL_error(L, "no such selector: %s", options.selector);
        lull_pushfail(L, rc, NULL);
        lua_pop(L, 1);
        return lua_error(L);
    }
    o->serial = lull_loop_serial(o->core);
    o->next = rt->loops;
    rt->loops = o;
    return 1;
}

/* loop () -> the running Loop */
static int running_loop(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->object == NULL)
        return luaL_error(L, "no loop is running");
    lull_pushheld(L, rt->object);
    return 1;
}

/* has_loop () -> boolean */
static int has_loop(lua_State *L)
{
    lua_pushboolean(L, lull_runtime(L)->loop != NULL);
    return 1;
}

/* on_report (fn): who is told of errors that nobody looks at; on_deadlock (fn) likewise */
static int on_report(lua_State *L)
{
    lua_settop(L, 1);
    lull_hold(L, &report_key);
    return 0;
}

static int on_deadlock(lua_State *L)
{
    lua_settop(L, 1);
    lull_hold(L, &deadlock_key);
    return 0;
}

/* failed ([count]) counts a failure that the default handler has told, or sets the count;
   failures () -> how many of them nobody has taken after all */
static int failed(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    rt->failures = (unsigned)luaL_optinteger(L, 1, rt->failures + 1);
    return 0;
}

static int failures(lua_State *L)
{
    lua_pushinteger(L, lull_runtime(L)->failures);
    return 1;
}

/* handler: the message handler of everything that lull calls. */
static int handler(lua_State *L)
{
    return lull_handler(L);
}

/* loop_handler (loop [, fn | false]) -> previous: its own handler of unhandled errors */
static int loop_handler(lua_State *L)
{
    struct loop *o = lull_check(L, lull_runtime(L), 1, LULL_LOOP);
    (void)o;
    lua_settop(L, 2);
    lua_getiuservalue(L, 1, HANDLER);
    if (!lua_isnil(L, 2)) {
        lua_pushvalue(L, 2);
        if (!lua_toboolean(L, 2)) {
            lua_pop(L, 1);
            lua_pushnil(L);
        }
        lua_setiuservalue(L, 1, HANDLER);
    }
    return 1;
}

/* time () -> seconds since 1970 */
static int wall_time(lua_State *L)
{
    struct timespec ts;
    timespec_get(&ts, TIME_UTC);
    lua_pushnumber(L, (lua_Number)ts.tv_sec + (lua_Number)ts.tv_nsec / 1e9);
    return 1;
}

/* selector_name () -> the running loop's, or the one that a new loop would have */
static int selector_name(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    lua_pushstring(L, rt->loop ? lull_loop_selector(rt->loop) : lull_default_selector());
    return 1;
}

static int tasks(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->object == NULL)
        lua_newtable(L);
    else
        lull_pushtasks(L, rt, rt->object->serial);
    return 1;
}

static const luaL_Reg handle_methods[] = {{"cancel", handle_cancel},
                                          {"cancelled", handle_cancelled},
                                          {"when", handle_when},
                                          {NULL, NULL}};

static const luaL_Reg handle_meta[] = {{"__tostring", handle_tostring}, {NULL, NULL}};

static const luaL_Reg methods[] = {{"run", loop_run},
                                   {"run_until_complete", run_until_complete},
                                   {"run_forever", run_forever},
                                   {"stop", loop_stop},
                                   {"close", loop_close},
                                   {"is_running", is_running},
                                   {"time", loop_time},
                                   {"advance", loop_advance},
                                   {"call_soon", call_soon},
                                   {"call_later", call_later},
                                   {"call_at", call_at},
                                   {NULL, NULL}};

static const luaL_Reg metamethods[] = {{"__close", loop_close}, {"__gc", loop_gc},
                                       {"__tostring", loop_tostring}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"new_loop", new_loop},   {"loop", running_loop},
                                     {"has_loop", has_loop},   {"now", now},
                                     {"tasks", tasks},         {"handler", handler},
                                     {"loop_handler", loop_handler}, {"time", wall_time},
                                     {"selector_name", selector_name},
                                     {"failed", failed},       {"failures", failures},
                                     {"on_report", on_report}, {"on_deadlock", on_deadlock},
                                     {NULL, NULL}};

void lull_open_loop(lua_State *L)
{
    lull_newclass(L, LULL_LOOP, "Loop", methods, metamethods);
    lull_newclass(L, LULL_HANDLE, "Handle", handle_methods, handle_meta);
    lull_open_watch(L);
    lull_setfuncs(L, functions);
}
