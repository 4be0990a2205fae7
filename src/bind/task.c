/* A task is a Lua coroutine with a waiter inside.  This is the one room that resumes,
   parks and ends the coroutines of tasks; the functions that scripts call are in
   tasklib.c, nested coroutines in colib.c, what is told of a task in story.c.

   A task is held strongly from spawn to end: its coroutine stands in the runtime's table
   of threads, and the Task userdata on the bottom of that coroutine's stack.  There the
   body runs under a protected call that may yield, so <close> variables unwind with
   awaits allowed, and results are stored inside the task, where running out of memory
   is an error and not the end of the process.

   The bottom of a task's stack:

       handler | parent | Task | spawner | line | fn args...

   parent is the slot and id of the task that spawned it, if one did.

   A nested coroutine that waits has the light userdata `linked` on top of its stack, and
   below it the coroutine that resumed it; the task knows the innermost, which is resumed
   directly when it is woken.  The base of such a chain has a mark only when the script
   has got hold of it, for only then somebody could mistake it for one of his own. */
#include "task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define NO_MEMORY "not enough memory" /* as Lua says it */

enum {
    BUDGET = 128,    /* operations that complete at once in one resume */
    PATIENCE = 1000 /* deliveries of a cancellation before the hard way */
};

/* What a switch seldom does stays out of the code of those that do not. */
#if defined(__GNUC__)
#define SELDOM __attribute__((noinline))
#else
#define SELDOM
#endif

static const char parked, linked;

/* ---- parking --------------------------------------------------------------------- */

/* Cancelled meanwhile, or lull_here is not whose loop this is. */
SELDOM static int resumed_slowly(lua_State *L, int status, lua_KContext k)
{
    struct runtime *rt = lull_runtime(L);
    if (rt->task->scope->cancelled)
        return lull_raisecancel(L, rt);
    return ((lua_KFunction)k)(L, status, rt->task->waiter.status);
}

static int resumed(lua_State *L, int status, lua_KContext k)
{
    struct runtime *rt = lull_here;
    if (rt == NULL || rt->running != L || rt->task->scope->cancelled)
        return resumed_slowly(L, status, k);
    return ((lua_KFunction)k)(L, status, rt->task->waiter.status);
}

static inline int yield(lua_State *L, struct runtime *rt, lua_KContext ctx, lua_KFunction k)
{
    if (L == rt->base && !(rt->task->future.flags & LULL_ESCAPED))
        return lua_yieldk(L, 0, ctx, k);
    if (L == rt->task->co && rt->outer != NULL) {
        lua_pushlightuserdata(L, rt->outer);
        lua_pushlightuserdata(L, (void *)&linked);
        return lua_yieldk(L, 2, ctx, k);
    }
    lua_pushlightuserdata(L, (void *)&parked);
    return lua_yieldk(L, 1, ctx, k);
}

int lull_park_raw(lua_State *L, struct runtime *rt, lua_KContext ctx, lua_KFunction k)
{
    rt->parked = L;
    return yield(L, rt, ctx, k);
}

int lull_park_in(lua_State *L, struct runtime *rt, lua_KFunction k)
{
    rt->parked = L;
    return yield(L, rt, (lua_KContext)k, resumed);
}

int lull_park(lua_State *L, lua_KFunction k)
{
    return lull_park_in(L, lull_runtime(L), k);
}

/* Whoever has to be told to give way has run for as long as many others: those who wait
   for the world are looked after before he goes on. */
int lull_turn(lua_State *L, struct runtime *rt, lua_KFunction k)
{
    lull_loop_look(rt->loop);
    lull_wait(&rt->task->waiter);
    lull_wake(rt->loop, &rt->task->waiter, 0);
    return lull_park_raw(L, rt, (lua_KContext)k, resumed);
}

/* The first delivery raises at once (within the budget: there may be a first one for each
   of many scopes), each further one costs a turn, and who has ignored a thousand of them
   is closed the hard way by whoever resumed it. */
static int deliver(lua_State *L, struct runtime *rt)
{
    struct task *t = rt->task;
    if (t->own.delivered == 0 && rt->budget > 0) {
        rt->budget--;
        return lull_raisecancel(L, rt);
    }
    if (t->own.delivered >= PATIENCE)
        t->future.flags |= LULL_CONDEMNED;
    return lull_turn(L, rt, NULL);
}

int lull_overlook(lua_State *L, struct runtime *rt, lua_KFunction k)
{
    struct task *t = rt->task;
    if (++t->own.delivered >= PATIENCE)
        t->future.flags |= LULL_CONDEMNED;
    lull_wait(&t->waiter);
    lull_wake(rt->loop, &t->waiter, 0);
    return lull_park_raw(L, rt, 0, k);
}

int lull_enter_slowly(lua_State *L, struct runtime *rt, lua_KFunction k)
{
    if (rt->running != L || !lua_isyieldable(L))
        return lull_refuse(L, rt);
    if (rt->task->scope->cancelled)
        return deliver(L, rt);
    if (rt->budget <= 0)
        return lull_turn(L, rt, k);
    rt->budget--;
    return k(L, LUA_OK, 0);
}

int lull_enter(lua_State *L, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    return lull_may(L, rt) ? k(L, LUA_OK, 0) : lull_enter_slowly(L, rt, k);
}

int lull_await(lua_State *L, int64_t deadline, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    struct task *t = rt->task;
    if (deadline != LULL_FOREVER &&
        lull_timer_start(rt->loop, &t->timer, deadline, -ETIMEDOUT) < 0) {
        lull_forget(&t->waiter);
        return luaL_error(L, NO_MEMORY);
    }
    return lull_park_raw(L, rt, (lua_KContext)k, resumed);
}

int lull_await_io(lua_State *L, lull_io *io, unsigned event, int64_t deadline,
                  lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    int rc = lull_io_wait(rt->loop, io, event, &rt->task->waiter);
    return rc < 0 ? k(L, LUA_OK, rc) : lull_await(L, deadline, k);
}

/* ---- nested coroutines ----------------------------------------------------------- */

lua_State *lull_link_of(lua_State *co)
{
    return lua_touserdata(co, -1) == &linked ? lua_touserdata(co, -2) : NULL;
}

lua_State *lull_base_of(struct runtime *rt, struct task *t)
{
    if (t == rt->task)
        return rt->base;
    lua_State *co = t->co;
    if (t->future.flags & LULL_NESTED)
        for (lua_State *outer; (outer = lull_link_of(co)) != NULL;)
            co = outer;
    return co;
}

/* Gives co, which has just parked, the coroutine that resumed it to carry. */
static void link_to(struct runtime *rt, lua_State *co, lua_State *outer)
{
    if (rt->preempted) /* by a hook, which leaves no mark on the stack */
        rt->preempted = false;
    else
        lua_pop(co, 1);
    lua_pushlightuserdata(co, outer);
    lua_pushlightuserdata(co, (void *)&linked);
}

bool lull_awaiting(lua_State *co)
{
    if (lua_status(co) != LUA_YIELD || lua_gettop(co) == 0)
        return false;
    const void *top = lua_touserdata(co, -1);
    return top == &parked || top == &linked;
}

int lull_park_around(lua_State *L, lua_State *child, lua_KContext ctx, lua_KFunction k)
{
    struct runtime *rt = lull_runtime(L);
    link_to(rt, child, L);
    return yield(L, rt, ctx, k);
}

/* ---- the end --------------------------------------------------------------------- */

/* Keeps where the error on top of the stack was raised, and who spawned the task.  Where
   memory has run out no more is asked for: it takes Lua a full collection to refuse it. */
static void keep_story(lua_State *L)
{
    if (lua_type(L, -1) == LUA_TSTRING && strcmp(lua_tostring(L, -1), NO_MEMORY) == 0)
        return;
    lull_pushtraceback(L, -1);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        lua_pushliteral(L, "stack traceback: none");
    }
    lull_append_site(L, L);
    lull_pushextra(L, LULL_AT_TASK);
    lua_insert(L, -2);
    lua_setfield(L, -2, "traceback");
    lua_pop(L, 1);
}

/* Stores how the body ended; its values stand above its companions on the stack. */
static int conclude(lua_State *L, int status)
{
    struct runtime *rt = lull_here; /* L runs: it may have no upvalue to ask */
    struct task *t = rt->task;
    bool well = status == LUA_OK || status == LUA_YIELD;
    if (t->scope != &t->own && lull_unwind(L, rt, &t->own, well))
        well = false; /* a block was left open: its error is on top */
    unsigned state = LULL_RESULT;
    int n = lua_gettop(L) - LULL_AT_LINE;
    if (!well) {
        n = 1;
        if (t->own.cancelled && lull_test(L, rt, -1, LULL_CANCEL)) {
            state = LULL_CANCELLED;
            lua_getiuservalue(L, -1, 1);
        } else {
            state = LULL_ERROR;
            keep_story(L);
            if (lua_isnil(L, -1))
                lua_pushliteral(L, "nil (error without a value)");
        }
    }
    if (t->own.parent != NULL)
        lull_child_ends(L, rt, LULL_AT_TASK, state);
    lull_settle(L, rt, LULL_AT_TASK, state, n);
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
    int nargs = lua_gettop(L) - LULL_AT_BODY;
    int status = lua_pcallk(L, nargs, LUA_MULTRET, LULL_AT_HANDLER, 0, finished);
    return conclude(L, status);
}

/* settle (Task, state): what could not be done inside the task, for want of memory or
   because it was closed the hard way.  Runs on the loop's state. */
static int settle_outside(lua_State *L)
{
    struct task *t = lua_touserdata(L, 1);
    unsigned state = (unsigned)lua_tointeger(L, 2);
    struct runtime *rt = lull_pushruntime(L);
    if (t->future.state != 0)
        return 0; /* it was before */
    if (state == LULL_CANCELLED)
        lull_pushheld(L, lull_scope_culprit(&t->own));
    else
        lua_pushliteral(L, NO_MEMORY);
    if (t->own.parent != NULL)
        lull_child_ends(L, rt, 1, state);
    lull_settle(L, rt, 1, state, 1);
    return 0;
}

/* Takes the Task from the top of the loop's state and settles it there. */
static void settle(struct runtime *rt, struct task *t, unsigned state)
{
    lua_State *L = rt->L;
    lua_pushcfunction(L, settle_outside);
    lua_pushvalue(L, -2);
    lua_pushinteger(L, state);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK) {
        lua_pop(L, 1);
        lua_pushliteral(L, NO_MEMORY); /* Lua has it ready */
        lua_setiuservalue(L, -2, 1);
        t->future.count = 1;
        lull_future_settle(rt->loop, &t->future, LULL_ERROR);
        if (!(t->future.flags & LULL_TAKEN))
            lull_lost(rt);
    }
    lua_pop(L, 1);
}

/* Takes the coroutine back, whatever state it is in; nothing here allocates. */
static void retire(struct runtime *rt, struct task *t, bool reusable)
{
    lua_State *L = rt->L, *co = t->co;
    uint32_t i = rt->idle.count++;
    t->co = NULL;
    lull_scope *parent = t->own.parent;
    lull_scope_close(rt->loop, &t->own);
    if (parent != NULL)
        lull_child_ended(rt, t, parent);
    if (t->own.own != 0)
        lull_release(L, &t->own);
    if (rt->locals)
        lull_drop_locals(L, t);
    rt->idle.slot[i] = t->slot;
    if (i < LULL_IDLE)
        rt->idle.co[i] = co;
    if (!reusable || i >= LULL_IDLE || (t->future.flags & LULL_ESCAPED) ||
        lua_gethook(co) != rt->hook) {
        if (i < LULL_IDLE)
            rt->idle.co[i] = NULL;
        lua_rawgeti(L, LUA_REGISTRYINDEX, rt->threads);
        lua_pushnil(L);
        lua_rawseti(L, -2, t->slot);
        lua_pop(L, 1);
    }
    lull_task_ended(rt, t);
}

/* Closes the coroutines of a task from the inside out; what is pending in them runs but
   cannot suspend.  The Task is on top of the loop's state, so that it survives its stack. */
static void close_all(struct runtime *rt, struct task *t, unsigned state)
{
    lua_State *base = lull_base_of(rt, t);
    rt->running = NULL;
    rt->task = t;
    rt->base = base;
    lull_unwind(rt->L, rt, &t->own, false); /* as long as their stacks keep them alive */
    rt->ending = lua_gettop(rt->L); /* there is no bottom any more where it could be found */
    for (lua_State *co = t->co, *outer; co != base; co = outer) {
        outer = lull_link_of(co);
        lull_end_coroutine(rt, co, rt->L);
    }
    t->co = base;
    lull_end_coroutine(rt, base, rt->L);
    rt->ending = 0;
    rt->task = NULL;
    settle(rt, t, state);
    retire(rt, t, false);
}

void lull_kill(struct runtime *rt, struct task *t)
{
    lull_forget(&t->waiter);
    lull_timer_stop(rt->loop, &t->timer);
    lull_pushtask(rt->L, rt, t);
    close_all(rt, t, t->own.cancelled ? LULL_CANCELLED : LULL_ERROR);
}

/* report (Task): who ignored its cancellation is named once. */
static int report_condemned(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    struct task *t = lua_touserdata(L, 1);
    lull_pushlabel(L, 1);
    lua_pushfstring(L, "%s ignored its cancellation %d times and was closed",
                    lua_tostring(L, -1), (int)t->own.delivered);
    lull_pushstack(L, t);
    lull_report(L, rt, 1);
    return 0;
}

SELDOM static void close_condemned(struct runtime *rt, struct task *t)
{
    rt->running = NULL;
    rt->task = NULL;
    lull_pushtask(rt->L, rt, t);
    lua_pushcfunction(rt->L, report_condemned);
    lua_insert(rt->L, -2);
    if (lua_pcall(rt->L, 1, 0, 0) != LUA_OK)
        lua_pop(rt->L, 1);
    lull_kill(rt, t);
}

/* The base coroutine came back without having parked: t has ended, and may be gone. */
SELDOM static void came_back(struct runtime *rt, struct task *t, int status, int n)
{
    t->future.flags &= (uint8_t)~LULL_NESTED;
    rt->running = NULL;
    rt->task = NULL;
    if (status == LUA_YIELD) { /* foreign code yielded past us: a turn for others */
        lua_pop(t->co, n);
        if (t->future.flags & LULL_ESCAPED)
            lua_pushlightuserdata(t->co, (void *)&parked);
        lull_wait(&t->waiter);
        lull_wake(rt->loop, &t->waiter, 0);
    } else if (status == LUA_OK && t->future.state != 0)
        retire(rt, t, true);
    else { /* no memory to end in, or no C stack to begin on */
        lull_pushtask(rt->L, rt, t);
        close_all(rt, t, LULL_ERROR);
    }
}

/* ---- resuming -------------------------------------------------------------------- */

/* Resumes co, a coroutine of t that outer had resumed, or its outermost. */
static inline int resume(struct runtime *rt, struct task *t, lua_State *co,
                         lua_State *outer, int nargs, int *nresults)
{
#ifdef LULL_STRESS
    if (rt->idle.slots < 1024 && lua_gc(rt->L, LUA_GCISRUNNING))
        lua_gc(rt->L, LUA_GCSTEP, 0); /* whatever young nobody holds is gone now */
#endif
    t->co = rt->running = co;
    rt->outer = outer;
    return lua_resume(co, rt->L, nargs, nresults);
}

/* t was set aside by a hook, which could not leave on the stack what yield does. */
SELDOM static void mark(struct runtime *rt, struct task *t)
{
    rt->preempted = false;
    if (t->co != rt->base) {
        lua_pushlightuserdata(t->co, rt->outer);
        lua_pushlightuserdata(t->co, (void *)&linked);
    } else if (t->future.flags & LULL_ESCAPED)
        lua_pushlightuserdata(t->co, (void *)&parked);
}

/* t has parked, in its outermost coroutine or within. */
static inline void rest(struct runtime *rt, struct task *t)
{
    t->co = rt->parked;
    if (t->co == rt->base)
        t->future.flags &= (uint8_t)~LULL_NESTED;
    else
        t->future.flags |= LULL_NESTED;
    if (rt->preempted)
        mark(rt, t);
    rt->parked = rt->running = NULL;
    rt->task = NULL;
    if (t->future.flags & LULL_CONDEMNED)
        close_condemned(rt, t);
}

/* Resumes the innermost coroutine of t, and as long as nested ones end or yield, those
   that had resumed them.  What stands on top of them, saying that they wait, goes. */
SELDOM static void drive_nested(struct runtime *rt, struct task *t)
{
    lua_State *co = t->co, *outer = NULL;
    if (t->future.flags & LULL_NESTED)
        outer = lull_link_of(co);
    rt->base = outer == NULL ? co : outer;
    for (lua_State *next = outer; next != NULL; next = lull_link_of(next))
        rt->base = next;
    for (;;) {
        int n;
        if (outer != NULL || (t->future.flags & LULL_ESCAPED))
            lua_pop(co, outer != NULL ? 2 : 1);
        int status = resume(rt, t, co, outer, 0, &n);
        if (rt->parked != NULL) {
            rest(rt, t);
            return;
        }
        if (outer == NULL) {
            came_back(rt, t, status, n);
            return;
        }
        rt->child_status = status;
        rt->child_count = n;
        co = outer;
        outer = co == rt->base ? NULL : lull_link_of(co);
    }
}

/* Has t go on, or begin.  It may have ended afterwards, and be gone any time. */
static inline void drive(struct runtime *rt, struct task *t, int nargs)
{
    rt->task = t;
    rt->told = false;
    rt->budget = BUDGET;
    if (t->future.flags & (LULL_NESTED | LULL_ESCAPED)) {
        drive_nested(rt, t);
        return;
    }
    rt->base = t->co;
    int n, status = resume(rt, t, t->co, NULL, nargs, &n);
    if (rt->parked != NULL)
        rest(rt, t);
    else
        came_back(rt, t, status, n);
}

/* The same with an eye on the clock, for loops that are being debugged. */
SELDOM static void drive_watched(struct runtime *rt, struct task *t, int nargs)
{
    lull_pushtask(rt->L, rt, t); /* it may end */
    int64_t start = lull_watch_begin(rt);
    drive(rt, t, nargs);
    lull_watch_end(rt, start);
}

static inline void run(struct runtime *rt, struct task *t, int nargs)
{
    if (rt->slow)
        drive_watched(rt, t, nargs);
    else
        drive(rt, t, nargs);
}

static void task_step(lull_loop *loop, lull_waiter *w)
{
    struct task *t = container_of(w, struct task, waiter);
    lull_timer_stop(loop, &t->timer);
    run(lull_loop_user(loop), t, 0);
}

/* Ends t, which was cancelled before its first run: its body never runs. */
static void skip(struct runtime *rt, struct task *t)
{
    lull_pushtask(rt->L, rt, t);
    lua_settop(t->co, 0);
    settle(rt, t, LULL_CANCELLED);
    retire(rt, t, true);
}

static void task_start(lull_loop *loop, lull_waiter *w)
{
    struct runtime *rt = lull_loop_user(loop);
    struct task *t = container_of(w, struct task, waiter);
    w->run = task_step;
    if (t->own.cancelled)
        skip(rt, t);
    else
        run(rt, t, lua_gettop(t->co) - 1);
}

struct task *lull_task_of(lull_waiter *w)
{
    bool is = w->run == task_start || w->run == task_step;
    return is ? container_of(w, struct task, waiter) : NULL;
}

struct task *lull_totask(lua_State *L, int i)
{
    struct task *t = lua_touserdata(L, i);
    bool may_be = lua_rawlen(L, i) == sizeof *t && t != NULL;
    return may_be && lull_task_of(&t->waiter) ? t : NULL;
}

/* ---- spawning -------------------------------------------------------------------- */

/* Room for one more task, so that its end need not allocate. */
static void reserve(lua_State *L, struct runtime *rt)
{
    if (rt->idle.slots < rt->idle.capacity)
        return;
    uint32_t n = rt->idle.capacity ? rt->idle.capacity * 2 : 64;
    uint32_t *slot = realloc(rt->idle.slot, n * sizeof *slot);
    if (slot == NULL)
        luaL_error(L, NO_MEMORY);
    rt->idle.slot = slot;
    rt->idle.capacity = n;
}

/* A new coroutine in a slot that has none. */
static lua_State *new_thread(lua_State *L, struct runtime *rt)
{
    uint32_t i = rt->idle.count;
    if (i == 0) {
        reserve(L, rt);
        rt->idle.slot[0] = rt->idle.slots + 1;
    }
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->threads);
    lua_State *co = lua_newthread(L);
    lua_rawseti(L, -2, rt->idle.slot[i == 0 ? 0 : i - 1]);
    lua_pop(L, 1);
    if (i == 0) {
        rt->idle.slots++;
        rt->idle.count = i = 1;
    }
    if (i <= LULL_IDLE)
        rt->idle.co[i - 1] = co;
    return co;
}

/* A coroutine at rest, the last of the idle ones; it is not taken yet. */
static lua_State *idle_thread(lua_State *L, struct runtime *rt)
{
    uint32_t i = rt->idle.count;
    lua_State *co = i > 0 && i <= LULL_IDLE ? rt->idle.co[i - 1] : NULL;
    return co ? co : new_thread(L, rt);
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
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[LULL_TASK]);
    lua_setmetatable(L, -2);
    lua_State *co = idle_thread(L, rt);
    if (nargs > 8 && !lua_checkstack(co, nargs + LUA_MINSTACK))
        luaL_error(L, "too many arguments");
    lull_task_begins(L, rt);
    lua_pushvalue(L, -1);
    push_site(L);
    if (rt->locals)
        lull_inherit_locals(L, rt, t);
    /* from here on nothing can fail */
    lull_future_init(&t->future);
    lull_waiter_init(&t->waiter, task_start);
    lull_timer_init(&t->timer, &t->waiter);
    lull_scope_open(rt->loop, &t->own, parent, 0);
    lull_future_bind(rt->loop, &t->future);
    t->future.flags = LULL_IS_TASK;
    t->own.member = &t->waiter;
    t->scope = &t->own;
    t->co = co;
    t->id = ++rt->ids;
    t->slot = rt->idle.slot[--rt->idle.count];
    lua_pushcfunction(co, body);
    lua_pushcfunction(co, lull_handler);
    lua_pushinteger(co, rt->task ? (lua_Integer)rt->task->slot << 32 | rt->task->id : 0);
    lua_xmove(L, co, 3);
    lua_insert(L, -nargs - 2);
    lua_xmove(L, co, nargs + 1);
    lull_wait(&t->waiter);
    lull_wake(rt->loop, &t->waiter, 0);
    lull_task_began(rt, t);
    return t;
}

struct task *lull_pushlive(lua_State *L, struct runtime *rt, uint32_t slot, uint32_t loop)
{
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->threads);
    if (lua_rawgeti(L, -1, slot) == LUA_TTHREAD)
        lull_pushtask_of(L, lua_tothread(L, -1));
    else
        lua_pushnil(L);
    lua_replace(L, -3);
    lua_pop(L, 1);
    struct task *t = lua_touserdata(L, -1);
    return t != NULL && t->co != NULL && t->future.loop == loop ? t : NULL;
}

void lull_pushtasks(lua_State *L, struct runtime *rt, uint32_t loop)
{
    lua_Integer n = 0;
    lua_newtable(L);
    for (uint32_t i = 1; i <= rt->idle.slots; i++) {
        if (lull_pushlive(L, rt, i, loop) != NULL)
            lua_rawseti(L, -2, ++n);
        else
            lua_pop(L, 1);
    }
}

void lull_open_threads(lua_State *L)
{
    lua_newtable(L);
    int threads = luaL_ref(L, LUA_REGISTRYINDEX);
    lull_pushruntime(L)->threads = threads;
    lua_pop(L, 1);
}
