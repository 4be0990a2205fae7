/* Tasks: a task is a Lua coroutine with a waiter inside.  This is the one room that
   resumes, parks and ends coroutines (nested ones: colib.c helps).

   A task is held strongly from spawn to end: its coroutine stands in the runtime's table
   of threads, and the Task userdata on the bottom of that coroutine's stack.  There the
   body runs under a protected call that may yield, so <close> variables unwind with
   awaits allowed, and results are stored inside the task, where running out of memory
   is an error and not the end of the process.

   The bottom of a task's stack:  Task | runtime | handler | spawner | line | fn args...

   Marks.  A coroutine that waits has a light userdata on top of its stack: `parked`, or
   `linked` with one more below it.  In a chain of nested coroutines each carries in that
   place the coroutine that resumed it, and the outermost carries the innermost, which is
   resumed directly when the task is woken. */
#include "task.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    BUDGET = 128,    /* operations that complete at once in one resume */
    PATIENCE = 1000, /* deliveries of a cancellation before the hard way */
    IDLE = 1024,     /* coroutines kept for the next spawn */
    BODY = 6         /* where the body stands in a task's stack */
};

static const char parked, linked, threads_key;

/* ---- may we wait here? ----------------------------------------------------------------- */

/* Names the C function that forbids to suspend, and the line of the script. */
static int refuse(lua_State *L, struct runtime *rt)
{
    lua_Debug ar;
    const char *why = "outside of a task";
    if (rt->running != NULL && rt->running != L)
        why = "in a coroutine that foreign code resumed";
    else if (rt->running == L)
        why = "here: Lua cannot yield across this call";
    for (int level = 1; rt->running == L && lua_getstack(L, level, &ar); level++) {
        lua_getinfo(L, "Sn", &ar);
        if (*ar.what == 'C' || (ar.namewhat && strcmp(ar.namewhat, "metamethod") == 0)) {
            why = lua_pushfstring(L, "inside '%s'", ar.name ? ar.name : "?");
            break;
        }
    }
    luaL_where(L, 1);
    return luaL_error(L, "%scannot suspend %s", lua_tostring(L, -1), why);
}

static int resumed(lua_State *L, int status, lua_KContext k)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->task->scope->cancelled)
        return lull_raisecancel(L, rt);
    return ((lua_KFunction)k)(L, status, rt->task->waiter.status);
}

int lull_park(lua_State *L, lua_KFunction k)
{
    lull_runtime(L)->parked = L;
    lua_pushlightuserdata(L, (void *)&parked);
    return lua_yieldk(L, 1, (lua_KContext)k, resumed);
}

/* Gives the others a turn. */
int lull_turn(lua_State *L, struct runtime *rt, lua_KFunction k)
{
    lull_wait(&rt->task->waiter);
    lull_wake(rt->loop, &rt->task->waiter, 0);
    return lull_park(L, k);
}

/* The first delivery raises at once, each further one costs a turn, and who has ignored
   a thousand of them is closed the hard way by whoever resumed it. */
static int deliver(lua_State *L, struct runtime *rt)
{
    struct task *t = rt->task;
    if (t->own.delivered == 0)
        return lull_raisecancel(L, rt);
    if (t->own.delivered >= PATIENCE)
        t->future.flags |= LULL_CONDEMNED;
    return lull_turn(L, rt, NULL);
}

int lull_enter(lua_State *L, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->running != L || !lua_isyieldable(L))
        return refuse(L, rt);
    if (rt->task->scope->cancelled)
        return deliver(L, rt);
    if (--rt->budget < 0)
        return lull_turn(L, rt, k);
    return k(L, LUA_OK, 0);
}

int lull_await(lua_State *L, int64_t deadline, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    struct task *t = rt->task;
    if (deadline != LULL_FOREVER &&
        lull_timer_start(rt->loop, &t->timer, deadline, -ETIMEDOUT) < 0) {
        lull_forget(&t->waiter);
        return luaL_error(L, "not enough memory");
    }
    return lull_park(L, k);
}

int lull_await_io(lua_State *L, lull_io *io, unsigned event, int64_t deadline,
                  lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    int rc = lull_io_wait(rt->loop, io, event, &rt->task->waiter);
    return rc < 0 ? k(L, LUA_OK, rc) : lull_await(L, deadline, k);
}

int64_t lull_after(lull_loop *loop, lua_Number seconds)
{
    if (!(seconds >= 0) || seconds > 9e9)
        return LULL_FOREVER;
    return lull_now(loop) + (int64_t)ceil(seconds * 1e9);
}

/* ---- telling where it is ------------------------------------------------------------------ */

static bool islinked(lua_State *co)
{
    return lua_touserdata(co, -1) == &linked;
}

/* The other coroutine that a linked one carries. */
lua_State *lull_link_of(lua_State *co)
{
    return islinked(co) ? lua_touserdata(co, -2) : NULL;
}

/* Pushes the Task from the bottom of the stack of co, a task's coroutine; nil when that is
   at rest. */
static void push_task_of(lua_State *L, lua_State *co)
{
    lua_Debug ar;
    int level = 0;
    while (lua_getstack(co, level, &ar))
        level++;
    if (level > 0) {
        lua_getstack(co, level - 1, &ar);
        lua_getlocal(co, &ar, 1);
    } else if (lua_gettop(co) > 1) /* not begun: function and arguments stand there plainly */
        lua_pushvalue(co, 2);
    else
        lua_pushnil(co);
    if (co != L)
        lua_xmove(co, L, 1);
}

void lull_pushtask(lua_State *L, struct task *t)
{
    push_task_of(L, t->co);
}

void lull_pushtasks(lua_State *L, struct runtime *rt, uint32_t loop)
{
    lua_Integer n = 0;
    lua_newtable(L);
    lull_pushheld(L, &threads_key);
    for (uint32_t i = 1; i <= rt->idle.slots; i++) {
        if (lua_rawgeti(L, -1, i) != LUA_TTHREAD) {
            lua_pop(L, 1);
            continue;
        }
        push_task_of(L, lua_tothread(L, -1));
        struct task *t = lua_touserdata(L, -1);
        if (t != NULL && t->co != NULL && t->future.loop == loop)
            lua_rawseti(L, -4, ++n);
        else
            lua_pop(L, 1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

/* Appends the traceback of co to the string on top of L. */
static void append_trace(lua_State *L, lua_State *co)
{
    lua_pushliteral(L, "\n");
    luaL_traceback(L, co, NULL, co == L ? 1 : 0);
    lua_concat(L, 3);
}

/* Appends where t was spawned: the function and line on the bottom of its stack. */
static void append_site(lua_State *L, struct task *t)
{
    lua_Debug ar;
    int level = 0;
    while (lua_getstack(t->co, level, &ar))
        level++;
    if (level == 0) {
        lua_pushvalue(t->co, 5);
        lua_pushvalue(t->co, 6);
    } else {
        lua_getstack(t->co, level - 1, &ar);
        lua_getlocal(t->co, &ar, 4);
        lua_getlocal(t->co, &ar, 5);
    }
    if (t->co != L)
        lua_xmove(t->co, L, 2);
    int line = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    if (!lua_isfunction(L, -1) || line < 0) {
        lua_pop(L, 1);
        return;
    }
    lua_getinfo(L, ">S", &ar);
    lua_pushfstring(L, "\n[spawned at]:\n\t%s:%d", ar.short_src, line);
    lua_concat(L, 2);
}

/* ---- the end ------------------------------------------------------------------------------ */

/* Keeps where the error on top of the stack was raised, and who spawned the task. */
static void keep_story(lua_State *L, struct task *t)
{
    lull_pushtraceback(L, -1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushliteral(L, "stack traceback: none");
    }
    append_site(L, t);
    lull_pushextra(L, 1);
    lua_insert(L, -2);
    lua_setfield(L, -2, "traceback");
    lua_pop(L, 1);
}

/* Stores how the body ended; its values stand above its companions on the stack. */
static int conclude(lua_State *L, int status)
{
    struct task *t = lua_touserdata(L, 1);
    struct runtime *rt = lua_touserdata(L, 2);
    bool well = status == LUA_OK || status == LUA_YIELD;
    if (t->scope != &t->own && lull_unwind(L, rt, &t->own, well))
        well = false; /* a block was left open: its error is on top */
    if (well)
        lull_settle(L, rt, 1, LULL_RESULT, lua_gettop(L) - (BODY - 1));
    else if (t->own.cancelled && lull_test(L, rt, -1, LULL_CANCEL)) {
        lua_getiuservalue(L, -1, 1);
        lull_settle(L, rt, 1, LULL_CANCELLED, 1);
    } else {
        if (lua_isnil(L, -1))
            lua_pushliteral(L, "nil (error without a value)");
        keep_story(L, t);
        lull_settle(L, rt, 1, LULL_ERROR, 1);
    }
    lua_settop(L, 0);
    return 0;
}

static int finished(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    return conclude(L, status);
}

static int body(lua_State *L)
{
    int nargs = lua_gettop(L) - BODY;
    return conclude(L, lua_pcallk(L, nargs, LUA_MULTRET, 3, 0, finished));
}

/* settle (Task): what could not be done inside the task, for want of memory or because it
   was closed the hard way.  Runs on the loop's state. */
static int settle_outside(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    struct runtime *rt = lull_pushruntime(L);
    if (t->own.cancelled) {
        lull_pushheld(L, lull_scope_culprit(&t->own));
        lull_settle(L, rt, 1, LULL_CANCELLED, 1);
    } else {
        lua_pushliteral(L, "not enough memory");
        lull_settle(L, rt, 1, LULL_ERROR, 1);
    }
    return 0;
}

/* Pushes the Task on the loop's state and settles it there, if it is not yet. */
static void settle(struct runtime *rt, struct task *t)
{
    lua_State *L = rt->L;
    lua_pushcfunction(L, settle_outside);
    lua_insert(L, -2);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        lull_future_settle(rt->loop, &t->future, LULL_ERROR);
    }
}

/* Takes the coroutine back, whatever state it is in; nothing here allocates. */
static void retire(struct runtime *rt, struct task *t, bool reusable)
{
    lua_State *L = rt->L, *co = t->co;
    uint32_t i = rt->idle.count++;
    t->co = NULL;
    lull_scope_close(rt->loop, &t->own);
    if (t->own.own != 0)
        lull_release(L, &t->own);
    rt->idle.slot[i] = t->slot;
    rt->idle.co[i] = co;
    if (!reusable || i >= IDLE || (t->future.flags & LULL_ESCAPED) || lua_gethook(co)) {
        rt->idle.co[i] = NULL;
        lull_pushheld(L, &threads_key);
        lua_pushnil(L);
        lua_rawseti(L, -2, t->slot);
        lua_pop(L, 1);
    }
    lull_task_ended(rt, t);
}

/* ---- resuming ------------------------------------------------------------------------------- */

static void unmark(lua_State *co)
{
    lua_pop(co, islinked(co) ? 2 : 1);
}

static void mark(lua_State *co, lua_State *other)
{
    lua_pushlightuserdata(co, other);
    lua_pushlightuserdata(co, (void *)&linked);
}

bool lull_awaiting(lua_State *co)
{
    const void *top = lua_status(co) == LUA_YIELD && lua_gettop(co) > 0
                          ? lua_touserdata(co, -1) : NULL;
    return top == &parked || top == &linked;
}

int lull_park_around(lua_State *L, lua_State *child, lua_KContext ctx, lua_KFunction k)
{
    unmark(child);
    mark(child, L);
    mark(L, lull_runtime(L)->parked);
    return lua_yieldk(L, 2, ctx, k);
}

/* Closes the coroutines of a task from the inside out; what is pending in them runs but
   cannot suspend.  The Task is on top of rt->L, so that it survives its stack. */
static void close_all(struct runtime *rt, struct task *t, lua_State *co)
{
    rt->running = NULL;
    for (lua_State *outer; co != t->co; co = outer) {
        outer = lull_link_of(co);
        lull_closethread(co, rt->L);
    }
    lull_closethread(t->co, rt->L);
    lull_unwind(rt->L, rt, &t->own, false);
    if (t->future.state == 0)
        settle(rt, t);
    else
        lua_pop(rt->L, 1);
    retire(rt, t, false);
}

void lull_kill(struct runtime *rt, struct task *t)
{
    lua_State *innermost = t->co != NULL ? lull_link_of(t->co) : NULL;
    lull_forget(&t->waiter);
    lull_timer_stop(rt->loop, &t->timer);
    lull_pushtask(rt->L, t);
    close_all(rt, t, innermost ? innermost : t->co);
}

/* report (Task): a task that ignored its cancellation is named once. */
static int report_condemned(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    struct task *t = lua_touserdata(L, 1);
    luaL_tolstring(L, 1, NULL);
    lua_pushfstring(L, "%s ignored its cancellation %d times and was closed",
                    lua_tostring(L, -1), PATIENCE);
    lull_pushstack(L, t);
    lull_report(L, rt, 1);
    return 0;
}

static void close_condemned(struct runtime *rt, struct task *t)
{
    rt->running = NULL;
    rt->task = NULL;
    lull_pushtask(rt->L, t);
    lua_pushcfunction(rt->L, report_condemned);
    lua_insert(rt->L, -2);
    if (lua_pcall(rt->L, 1, 0, 0) != LUA_OK)
        lua_pop(rt->L, 1);
    rt->task = t;
    lull_kill(rt, t);
}

/* The base coroutine came back without having parked. */
static void came_back(struct runtime *rt, struct task *t, int status, int n)
{
    if (status == LUA_OK && t->future.state != 0) {
        retire(rt, t, true);
    } else if (status == LUA_YIELD) { /* foreign code yielded past us: a turn for others */
        lua_pop(t->co, n);
        lua_pushlightuserdata(t->co, (void *)&parked);
        lull_wait(&t->waiter);
        lull_wake(rt->loop, &t->waiter, 0);
    } else { /* no memory to end in, or no C stack to begin on */
        lull_pushtask(rt->L, t);
        close_all(rt, t, t->co);
    }
}

/* Resumes co, a coroutine of t, and as long as nested ones end, whoever resumed them. */
static void drive(struct runtime *rt, struct task *t, lua_State *co, int nargs)
{
    lua_State *base = t->co;
    rt->task = t;
    rt->budget = BUDGET;
    for (;;) {
        lua_State *outer = co == base ? NULL : lull_link_of(co);
        int n;
        if (nargs < 0)
            unmark(co);
        rt->running = co;
        rt->outer = outer;
        int status = lua_resume(co, rt->L, nargs < 0 ? 0 : nargs, &n);
        if (rt->parked) {
            lua_State *innermost = rt->parked;
            rt->parked = NULL;
            if (co != base) {
                unmark(base);
                mark(base, innermost);
                if (co == innermost) {
                    unmark(co);
                    mark(co, outer);
                }
            }
            if (t->future.flags & LULL_CONDEMNED)
                close_condemned(rt, t);
            break;
        }
        if (co == base) {
            came_back(rt, t, status, n);
            break;
        }
        rt->child_status = status;
        rt->child_count = n;
        co = outer;
        nargs = -1;
    }
    rt->running = NULL;
    rt->task = NULL;
}

static void task_step(lull_loop *loop, lull_waiter *w)
{
    struct runtime *rt = lull_loop_user(loop);
    struct task *t = container_of(w, struct task, waiter);
    lull_timer_stop(loop, &t->timer);
    lua_State *innermost = lull_link_of(t->co);
    drive(rt, t, innermost ? innermost : t->co, -1);
}

static void task_start(lull_loop *loop, lull_waiter *w)
{
    struct runtime *rt = lull_loop_user(loop);
    struct task *t = container_of(w, struct task, waiter);
    w->run = task_step;
    if (t->own.cancelled) { /* before its first run: the body never runs */
        lull_kill(rt, t);
        return;
    }
    drive(rt, t, t->co, lua_gettop(t->co) - 1);
}

/* ---- spawning ---------------------------------------------------------------------------------- */

/* Room for one more task, so that its end need not allocate. */
static void reserve(lua_State *L, struct runtime *rt)
{
    if (rt->idle.slots < rt->idle.capacity)
        return;
    uint32_t n = rt->idle.capacity ? rt->idle.capacity * 2 : 64;
    lua_State **co = realloc(rt->idle.co, n * sizeof *co);
    if (co)
        rt->idle.co = co;
    uint32_t *slot = co ? realloc(rt->idle.slot, n * sizeof *slot) : NULL;
    if (slot == NULL)
        luaL_error(L, "not enough memory");
    rt->idle.slot = slot;
    rt->idle.capacity = n;
}

/* A coroutine at rest and the slot it is anchored in; pushes nothing. */
static lua_State *take_thread(lua_State *L, struct runtime *rt, uint32_t *slot)
{
    uint32_t i = rt->idle.count;
    lua_State *co = i > 0 ? rt->idle.co[i - 1] : NULL;
    if (co == NULL) {
        reserve(L, rt);
        lull_pushheld(L, &threads_key);
        co = lua_newthread(L);
        *slot = i > 0 ? rt->idle.slot[i - 1] : rt->idle.slots + 1;
        lua_rawseti(L, -2, *slot);
        lua_pop(L, 1);
        if (i == 0)
            rt->idle.slots++;
        else
            rt->idle.co[i - 1] = co;
    } else
        *slot = rt->idle.slot[i - 1];
    return co;
}

/* Who spawns, for the day somebody asks: the function and its line. */
static void push_site(lua_State *L)
{
    lua_Debug ar;
    if (lua_getstack(L, 1, &ar) && lua_getinfo(L, "lf", &ar)) {
        lua_pushinteger(L, ar.currentline);
        return;
    }
    lua_pushnil(L);
    lua_pushinteger(L, -1);
}

struct task *lull_spawn(lua_State *L, struct runtime *rt, int nargs, lull_scope *parent)
{
    if (rt->loop == NULL)
        luaL_error(L, "no loop is running: spawn inside lull.run");
    luaL_checkstack(L, 8, NULL);
    struct task *t = lua_newuserdatauv(L, sizeof *t, 1);
    lua_rawgetp(L, LUA_REGISTRYINDEX, &rt->classes[LULL_TASK]);
    lua_setmetatable(L, -2);
    push_site(L);
    uint32_t slot;
    lua_State *co = take_thread(L, rt, &slot);
    if (!lua_checkstack(co, nargs + BODY + 8))
        luaL_error(L, "too many arguments");
    lull_future_init(&t->future);
    lull_waiter_init(&t->waiter, task_start);
    lull_timer_init(&t->timer, &t->waiter);
    lull_scope_open(rt->loop, &t->own, parent, 0);
    t->own.member = &t->waiter;
    t->scope = &t->own;
    t->co = co;
    t->id = ++rt->ids;
    t->slot = slot;
    t->future.flags = LULL_IS_TASK;
    lull_future_bind(rt->loop, &t->future);
    if (rt->idle.count > 0)
        rt->idle.count--;
    lua_pushcfunction(co, body);
    lua_pushvalue(L, -3);
    lua_xmove(L, co, 1);
    lua_pushlightuserdata(co, rt);
    lua_pushcfunction(co, lull_handler);
    lua_xmove(L, co, 2);
    lua_insert(L, -nargs - 2);
    lua_xmove(L, co, nargs + 1);
    lull_wait(&t->waiter);
    lull_wake(rt->loop, &t->waiter, 0);
    lull_task_began(rt, t);
    return t;
}

/* spawn (fn, ...) -> Task */
static int spawn(lua_State *L)
{
    luaL_checkany(L, 1);
    lull_spawn(L, lull_runtime(L), lua_gettop(L) - 1, NULL);
    return 1;
}

/* ---- functions ------------------------------------------------------------------------------------ */

static int slept(lua_State *L, int status, lua_KContext rc)
{
    (void)L, (void)status, (void)rc;
    return 0;
}

static int sleepk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    lua_Number seconds = lua_tonumber(L, 1);
    if (!(seconds > 0))
        return lull_turn(L, rt, slept);
    lull_wait(&rt->task->waiter);
    return lull_await(L, lull_after(rt->loop, seconds), slept);
}

/* sleep (seconds): suspends; 0 or less gives the others one turn. */
static int sleep_(lua_State *L)
{
    lua_Number seconds = luaL_checknumber(L, 1);
    luaL_argcheck(L, seconds == seconds, 1, "not a number");
    return lull_enter(L, sleepk);
}

/* sleep_until (time): the same to a moment of lull.now's clock. */
static int sleep_untilk(lua_State *L, int status, lua_KContext rc)
{
    (void)status, (void)rc;
    struct runtime *rt = lull_runtime(L);
    lua_Number seconds = lua_tonumber(L, 1);
    lull_wait(&rt->task->waiter);
    return lull_await(L, seconds > 9e9 ? LULL_FOREVER : (int64_t)ceil(seconds * 1e9), slept);
}

static int sleep_until(lua_State *L)
{
    luaL_checknumber(L, 1);
    return lull_enter(L, sleep_untilk);
}

static int enteredk(lua_State *L, int status, lua_KContext rc)
{
    return slept(L, status, rc);
}

/* enter (): where a suspending function written in Lua begins: raises what has to be
   raised, gives others their turn when it is due. */
static int enter(lua_State *L)
{
    return lull_enter(L, enteredk);
}

static int taskcall(lua_State *L, int status, lua_KContext ctx)
{
    (void)ctx;
    struct runtime *rt = lull_runtime(L);
    if (status == LUA_OK || status == LUA_YIELD) {
        lua_pushboolean(L, true);
        lua_replace(L, 1);
        return lua_gettop(L);
    }
    if (lull_test(L, rt, -1, LULL_CANCEL))
        return lua_error(L);
    lua_pushboolean(L, false);
    lua_insert(L, -2);
    return 2;
}

/* pcall (fn, ...): as pcall, but a cancellation passes. */
static int pcall_(lua_State *L)
{
    luaL_checkany(L, 1);
    lua_pushnil(L);
    lua_insert(L, 1);
    return taskcall(L, lua_pcallk(L, lua_gettop(L) - 2, LUA_MULTRET, 0, 0, taskcall), 0);
}

/* current () -> Task | nil */
static int current(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->task == NULL || rt->running == NULL)
        return 0;
    lull_pushtask(L, rt->task);
    return 1;
}

/* ---- methods ---------------------------------------------------------------------------------------- */

static struct task *checktask(lua_State *L)
{
    return lull_check(L, lull_runtime(L), 1, LULL_TASK);
}

/* task:cancel ([reason]) -> boolean: cancels the task's own scope. */
static int task_cancel(lua_State *L)
{
    struct task *t = checktask(L);
    if (t->co == NULL || t->future.state != 0) {
        lua_pushboolean(L, false);
        return 1;
    }
    lull_loop *loop = lull_loop_of(lull_runtime(L), &t->future);
    if (loop == NULL)
        return luaL_error(L, "the loop of this task is closed");
    lull_cancel(L, loop, &t->own, -ECANCELED, 2);
    lua_pushboolean(L, true);
    return 1;
}

/* task:name ([new]) -> string */
static int task_name(lua_State *L)
{
    struct task *t = checktask(L);
    if (!lua_isnoneornil(L, 2)) {
        luaL_checkstring(L, 2);
        lull_pushextra(L, 1);
        lua_pushvalue(L, 2);
        lua_setfield(L, -2, "name");
    }
    if (!lull_hasextra(L, 1) || lua_getfield(L, -1, "name") == LUA_TNIL)
        lua_pushfstring(L, "task %d", (int)t->id);
    return 1;
}

/* task:id () -> integer */
static int task_id(lua_State *L)
{
    lua_pushinteger(L, checktask(L)->id);
    return 1;
}

/* task:daemon () -> task: nobody waits for it; it is cancelled when the others are done. */
static int task_daemon(lua_State *L)
{
    struct task *t = checktask(L);
    if (!(t->future.flags & LULL_DAEMON)) {
        t->future.flags |= LULL_DAEMON;
        lull_task_daemon(lull_runtime(L), t);
    }
    lua_settop(L, 1);
    return 1;
}

void lull_pushstack(lua_State *L, struct task *t)
{
    struct runtime *rt = lull_runtime(L);
    luaL_checkstack(L, 8, NULL);
    luaL_checkstack(t->co, 4, NULL);
    lua_pushliteral(L, "");
    lua_State *co = rt->task == t ? rt->running : lull_link_of(t->co);
    for (; co != NULL && co != t->co && rt->task != t; co = lull_link_of(co))
        append_trace(L, co);
    append_trace(L, rt->task == t ? L : t->co);
    append_site(L, t);
    lua_pushstring(L, lua_tostring(L, -1) + 1);
    lua_replace(L, -2);
}

/* task:traceback () -> string: where it stands now, or where it failed. */
static int task_traceback(lua_State *L)
{
    struct task *t = checktask(L);
    if (t->co != NULL) {
        lull_pushstack(L, t);
        return 1;
    }
    if (!lull_hasextra(L, 1) || lua_getfield(L, -1, "traceback") == LUA_TNIL)
        lua_pushliteral(L, "");
    return 1;
}

/* Pushes "read stream 7 (...), worker.lua:12": what the coroutine stands in. */
static void push_place(lua_State *L, lua_State *co)
{
    lua_Debug ar;
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    if (lua_getstack(co, 0, &ar)) {
        lua_getinfo(co, "nS", &ar);
        luaL_addstring(&b, *ar.what == 'C' && ar.name ? ar.name : "");
        const char *of = *ar.what == 'C' ? lua_getlocal(co, &ar, 1) : NULL;
        if (of && lua_type(co, -1) == LUA_TUSERDATA) {
            lua_xmove(co, L, 1);
            luaL_tolstring(L, -1, NULL);
            lua_remove(L, -2);
            lua_pushfstring(L, " %s", lua_tostring(L, -1));
            lua_remove(L, -2);
            luaL_addvalue(&b);
        } else if (of)
            lua_pop(co, 1);
    }
    for (int level = 0; lua_getstack(co, level, &ar); level++) {
        lua_getinfo(co, "Sl", &ar);
        if (ar.currentline < 0 || strncmp(ar.source, "@lull/", 6) == 0)
            continue;
        lua_pushfstring(L, ", %s:%d", ar.short_src, ar.currentline);
        luaL_addvalue(&b);
        break;
    }
    luaL_pushresult(&b);
}

/* Pushes "waiting: read ..." or what else t does. */
static void push_state(lua_State *L, struct runtime *rt, struct task *t)
{
    static const char *const ends[] = {"", "cancelled", "finished", "failed"};
    lua_State *innermost = t->co ? lull_link_of(t->co) : NULL;
    if (t->co == NULL || t->future.state != 0)
        lua_pushstring(L, ends[t->future.state]);
    else if (t == rt->task)
        lua_pushliteral(L, "running");
    else if (t->waiter.status != LULL_PENDING)
        lua_pushliteral(L, "ready");
    else {
        push_place(L, innermost ? innermost : t->co);
        const char *place = lua_tostring(L, -1);
        lua_pushfstring(L, "waiting: %s", *place == ',' ? place + 2 : place);
        lua_remove(L, -2);
    }
}

static int task_tostring(lua_State *L)
{
    struct task *t = checktask(L);
    bool named = lull_hasextra(L, 1) && lua_getfield(L, -1, "name") != LUA_TNIL;
    const char *name = named ? lua_tostring(L, -1) : NULL;
    push_state(L, lull_runtime(L), t);
    const char *state = lua_tostring(L, -1);
    if (name)
        lua_pushfstring(L, "task %d \"%s\" (%s)", (int)t->id, name, state);
    else
        lua_pushfstring(L, "task %d (%s)", (int)t->id, state);
    return 1;
}

static int closed(lua_State *L, int status, lua_KContext ctx)
{
    (void)L, (void)status, (void)ctx;
    return 0;
}

/* The close of the modules in Lua, as a metamethod. */
static int task_close(lua_State *L)
{
    lua_settop(L, 1);
    lua_getfield(L, 1, "close");
    lua_insert(L, 1);
    lua_callk(L, 1, 0, 0, closed);
    return 0;
}

static int nothing(lua_State *L)
{
    checktask(L);
    return luaL_error(L, "a task sets its own result");
}

static const luaL_Reg methods[] = {{"cancel", task_cancel},   {"name", task_name},
                                   {"id", task_id},           {"daemon", task_daemon},
                                   {"set_result", nothing},   {"set_error", nothing},
                                   {"traceback", task_traceback}, {NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__tostring", task_tostring}, {"__close", task_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"spawn", spawn}, {"sleep", sleep_},
                                     {"sleep_until", sleep_until}, {"enter", enter},
                                     {"pcall", pcall_}, {"current", current},
                                     {NULL, NULL}};

void lull_open_task(lua_State *L)
{
    lua_newtable(L);
    lull_hold(L, &threads_key);
    lull_newclass(L, LULL_TASK, "Task", NULL, metamethods);
    lull_inherit_future(L, methods);
    lull_setfuncs(L, functions);
}
