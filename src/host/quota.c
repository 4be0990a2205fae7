/* How long a task may compute: instructions by a hook that counts them, time by a signal
   that sets a hook.  Where the host allows it a task is set aside in the middle of its
   Lua code, and goes on in the next step as if nothing had happened; else it gets an
   error.

   Lua looks at the count at every instruction, whatever the count is, so counting makes
   scripts slower by a factor of two; that is why there is the signal, which costs nothing
   as long as nobody takes too long. */
#include "host.h"

#include "apart.h"

enum {
    CHUNK = 1000, /* instructions from one look to the next */
    OVERTIME = 10, /* how often the budget, where Lua cannot suspend, until an error */
    PATIENCE = 100, /* cancellations caught without an await in between, until the hard way */
    CHANCE = 1, /* how often who is cancelled may be met before it is no chance any more */
    CLEANUP = 3, /* the same while he cleans up */
    SLICE = 10000000, /* ns of a run between two signals */
    LONG = 1000000, /* instructions in a row, in a run */
    RETRY = 1000000   /* ns until the next, when a step is over its time */
};

struct watch {
    lull *l;
    uint64_t ran;     /* by who runs now, since it was resumed */
    uint64_t step;    /* by all, in this step */
    uint64_t limit;   /* of the step, or 0 */
    int64_t ns, deadline; /* of the step on the real clock, or 0 */
    int64_t since;    /* when a signal first met who runs now, in a run, or 0 */
    bool offended;    /* who runs now has been given an error for it */
    bool cancelled;   /* who runs now has been told of his cancellation */
    bool armed;       /* the alarm is */
    bool endless;     /* it is a run, not a step: whoever a signal finds had his share */
    lull_waiter teller; /* tells of who was set aside, outside of him */
    lull_task told;   /* of whom, until the teller has run; or 0 */
    struct sys_alarm *alarm;
    lua_Hook before;  /* the host's own, on the main state */
    int mask, count;
};

/* ---- setting aside --------------------------------------------------------------- */

/* (Task): by name and stack, on the loop's own coroutine. */
static int tell(lua_State *L)
{
    struct watch *w = lua_touserdata(L, 1);
    lull *l = w->l;
    lull_slow s = {.size = sizeof s, .task = w->told, .preempted = true};
    luaL_checkstack(L, 40, NULL);
    struct task *t = lull_pushnumber_task(L, l, w->told);
    if (t == NULL)
        return 0;
    s.ns = w->ns;
    lull_pushlabel(L, 2);
    s.name = lua_tostring(L, -1);
    lull_pushstack(L, t);
    s.traceback = lua_tostring(L, -1);
    l->options.on_slow(l, &s);
    return 0;
}

static void tell_slow(lull_loop *loop, lull_waiter *waiter)
{
    (void)loop;
    struct watch *w = container_of(waiter, struct watch, teller);
    lull_protected(w->l, tell, w);
    w->told = 0;
}

/* How often before has this happened to t?  Notes it; raises where there is no memory. */
static lua_Integer count(lua_State *L, struct runtime *rt, struct task *t, const char *what)
{
    lull_pushtask(L, rt, t);
    lull_pushextra(L, -1);
    lua_getfield(L, -1, what);
    lua_Integer n = lua_tointeger(L, -1);
    lua_pushinteger(L, n + 1);
    lua_setfield(L, -3, what);
    lua_pop(L, 3);
    return n;
}

/* Who computes has not come to an await since it was cancelled.  Not the first time: the
   end of the budget meets anybody, and cancellation comes at an await, if he comes to one. */
static int raise_cancel(lua_State *L)
{
    return lull_raisecancel(L, lull_runtime(L));
}

static void raise_cancel_in(lua_State *L)
{
    lull_pushruntime(L);
    lua_pushcclosure(L, raise_cancel, 1);
    lua_call(L, 0, 0);
}

static void set_aside(lua_State *L, struct watch *w, struct runtime *rt)
{
    struct task *t = rt->task;
    luaL_checkstack(L, 24, NULL);
    if (t->scope->cancelled && !w->cancelled &&
        count(L, rt, t, "late") >= (t->own.delivered ? CLEANUP : CHANCE)) {
        w->cancelled = true;
        if (t->own.delivered >= PATIENCE) /* he catches it, and computes on */
            t->future.flags |= LULL_CONDEMNED;
        else
            raise_cancel_in(L);
    }
    if (w->l->options.on_slow != NULL && w->told == 0 &&
        count(L, rt, t, "preempted") == 0) {
        w->told = lull_number_of(t);
        lull_wait(&w->teller);
        lull_wake(rt->loop, &w->teller, 0);
    }
    lull_wait_turn(rt->loop, &t->waiter);
    rt->parked = L;
    rt->preempted = true;
    lua_yield(L, 0); /* which returns: Lua yields when the hook does */
}

/* ---- looking --------------------------------------------------------------------- */

/* How long somebody may compute in a row, in a run: instructions or ns. */
static int64_t share(const struct watch *w)
{
    if (w->alarm != NULL)
        return w->l->ending ? RETRY : SLICE;
    return w->l->ending ? LONG / 10 : LONG;
}

static bool is_late(struct watch *w)
{
    if (w->limit > 0 && w->step >= w->limit)
        return true;
    if (w->endless && (w->alarm != NULL || w->ran >= (uint64_t)share(w)))
        return true;
    return w->deadline > 0 && sys_now() >= w->deadline;
}

static bool is_hopeless(const struct watch *w, uint64_t quota)
{
    if (quota > 0 && w->ran >= OVERTIME * quota)
        return true;
    if (w->endless && w->alarm == NULL)
        return w->ran >= (uint64_t)(OVERTIME * share(w));
    if (w->endless)
        return sys_now() >= w->since + OVERTIME * share(w);
    return w->deadline > 0 && sys_now() >= w->deadline + OVERTIME * w->ns;
}

/* From now on each instruction is one too many, whatever protected call it is in. */
static void offend(lua_State *L, struct watch *w, struct runtime *rt, lua_Hook hook)
{
    w->offended = true;
    lua_sethook(L, hook, LUA_MASKCOUNT, 1);
    if (w->alarm != NULL && rt->task != NULL && rt->task->co != NULL) /* he comes there */
        lua_sethook(rt->task->co, hook, LUA_MASKCOUNT, 1);
    luaL_where(L, 0); /* a hook is no function of its own */
    lua_pushliteral(L, "instruction quota exceeded");
    lua_concat(L, 2);
    lua_error(L);
}

/* true: he goes on only because he cannot be stopped here */
static bool judge(lua_State *L, struct watch *w, struct runtime *rt, lua_Hook hook)
{
    lull *l = w->l;
    uint64_t quota = rt->task ? lull_allowance(l, rt->task) : 0;
    if (quota == 0)
        quota = l->options.instructions;
    bool over = quota > 0 && w->ran >= quota, late = is_late(w);
    if (late)
        lull_loop_spend(l->loop);
    if (l->options.preempt == LULL_PREEMPT_OFF) {
        if (over)
            offend(L, w, rt, hook);
        return false;
    }
    if (!over && !late)
        return false;
    if (rt->task != NULL && rt->running == L && rt->ending == 0 && lua_isyieldable(L))
        set_aside(L, w, rt);
    else if (w->offended || is_hopeless(w, quota))
        offend(L, w, rt, hook);
    else
        return true;
    return false;
}

/* Whose L is it?  NULL: of none that is being driven. */
static struct watch *watch_of(lua_State *L, struct runtime **rt)
{
    lull *l = lull_of(L);
    *rt = l ? l->rt : NULL;
    return l && (l->driving || l->ending) && *rt ? l->watch : NULL;
}

static void counted(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct runtime *rt;
    struct watch *w = watch_of(L, &rt);
    if (w == NULL)
        return;
    int count = lua_gethookcount(L);
    w->ran += (uint64_t)count;
    w->step += (uint64_t)count;
    if (!w->offended && count != CHUNK)
        lua_sethook(L, counted, LUA_MASKCOUNT, CHUNK);
    if (w->offended)
        offend(L, w, rt, counted);
    judge(L, w, rt, counted);
}

/* Set by the signal for one instruction, and then until it comes to one at which it can
   be set aside. */
static void caught(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct runtime *rt;
    struct watch *w = watch_of(L, &rt);
    lua_sethook(L, NULL, 0, 0);
    if (w == NULL)
        return;
    if (w->endless && w->since == 0)
        w->since = sys_now();
    if (judge(L, w, rt, caught))
        lua_sethook(L, caught, LUA_MASKCOUNT, 1);
}

/* In a signal handler, on the thread that drives. */
static void catch(void)
{
    struct runtime *rt = lull_here;
    lua_State *L = rt ? rt->inner : NULL;
    if (L == NULL && rt != NULL)
        L = rt->running ? rt->running : rt->L;
    if (L != NULL)
        lua_sethook(L, caught, LUA_MASKCOUNT, 1);
}

/* Two system calls that a step is spared in which nobody runs. */
static void set_alarm(struct watch *w)
{
    if (w->alarm == NULL || w->armed || (w->ns == 0 && !w->endless))
        return;
    w->armed = true;
    sys_alarm_set(w->alarm, w->endless ? share(w) : w->ns, w->endless ? share(w) : RETRY);
}

static void next_slice(lull_loop *loop, lull_waiter *waiter)
{
    (void)waiter;
    struct watch *w = ((struct runtime *)lull_loop_user(loop))->object->host->watch;
    w->ran = 0;
    w->since = 0;
    w->offended = w->cancelled = false;
    set_alarm(w);
}

/* ---- opening --------------------------------------------------------------------- */

int lull_open_watch_of(lull *l)
{
    bool counts = l->options.preempt == LULL_PREEMPT_COUNT || l->options.instructions > 0;
    if (!counts && l->options.preempt == LULL_PREEMPT_OFF)
        return 0;
    struct watch *w = lull_host_alloc(l, sizeof *w);
    if (w == NULL)
        return -ENOMEM;
    w->l = l;
    l->watch = w;
    lull_waiter_init(&w->teller, tell_slow);
    lull_loop_probe(l->loop, next_slice);
    if (l->options.preempt == LULL_PREEMPT_SIGNAL)
        return sys_alarm_new(&w->alarm, l->options.preempt_signal, catch);
    l->rt->hook = counted;
    lua_sethook(l->L, counted, LUA_MASKCOUNT, CHUNK); /* coroutines inherit it */
    w->before = lua_gethook(l->main);
    w->mask = lua_gethookmask(l->main);
    w->count = lua_gethookcount(l->main);
    lua_sethook(l->main, counted, LUA_MASKCOUNT, CHUNK);
    return 0;
}

void lull_close_watch_of(lull *l)
{
    struct watch *w = l->watch;
    l->watch = NULL;
    if (w == NULL)
        return;
    if (w->alarm != NULL)
        sys_alarm_free(w->alarm);
    else if (l->main != NULL && lua_gethook(l->main) == counted)
        lua_sethook(l->main, w->before, w->mask, w->count);
    lull_forget(&w->teller);
    if (l->loop != NULL)
        lull_loop_probe(l->loop, NULL);
    lull_host_free(l, w, sizeof *w);
}

void lull_watch_step(lull *l, const lull_budget *budget)
{
    struct watch *w = l->watch;
    lull_budget b = {0};
    if (budget != NULL)
        memcpy(&b, budget, budget->size < sizeof b ? budget->size : sizeof b);
    l->deadline = b.ns > 0 ? sys_now() + b.ns : 0;
    if (w == NULL)
        return;
    w->ran = w->step = 0;
    w->since = 0;
    w->offended = w->cancelled = w->endless = false;
    w->limit = b.instructions;
    w->ns = b.ns;
    w->deadline = l->deadline;
}

void lull_watch_run(lull *l)
{
    lull_watch_step(l, NULL);
    if (l->watch != NULL)
        l->watch->endless = true;
}

void lull_unwatch(lull *l)
{
    struct watch *w = l->watch;
    l->deadline = 0;
    if (w == NULL || !w->armed)
        return;
    w->armed = false;
    sys_alarm_set(w->alarm, 0, 0);
}

int lull_protected_watched(lull *l, lua_State *L, lua_CFunction f, void *ud, int n)
{
    if (l->watch == NULL || l->driving || l->ending || l->rt->object->running)
        return lull_protected_on(L, f, ud, n, 0);
    struct frame saved = lull_begin_run(l->L, l->rt, l->object);
    l->rt->inner = L;
    l->driving = true;
    lull_watch_run(l);
    set_alarm(l->watch);
    int rc = lull_protected_on(L, f, ud, n, 0);
    lull_unwatch(l);
    l->driving = false;
    lull_end_run(l->rt, l->object, saved);
    return rc;
}
