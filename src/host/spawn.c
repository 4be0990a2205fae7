/* Tasks by number: spawned and cancelled by the host, and their ends told.  A task that
   the host spawned has a record, which waits for its future as anybody would: so its end
   is told once, however it comes, and no memory is needed then. */
#include "host.h"

struct record {
    lull_list link;     /* in the runtime's list */
    lull_waiter waiter; /* waits for the end of the task */
    lull *l;
    lull_task number;
    lull_task_options options;
};

/* ---- numbers --------------------------------------------------------------------- */

lull_task lull_number_of(const struct task *t)
{
    return (lull_task)t->slot << 32 | t->id;
}

struct task *lull_pushnumber_task(lua_State *L, lull *l, lull_task number)
{
    uint32_t slot = (uint32_t)(number >> 32);
    struct task *t = NULL;
    if (slot > 0 && slot <= l->rt->idle.slots)
        t = lull_pushlive(L, l->rt, slot, l->object->serial);
    else
        lua_pushnil(L);
    return t != NULL && t->id == (uint32_t)number ? t : NULL;
}

static struct record *record_of(const lull *l, lull_task number)
{
    uint32_t slot = (uint32_t)(number >> 32);
    struct record *r = slot < l->slots ? l->by_slot[slot] : NULL;
    return r != NULL && r->number == number ? r : NULL;
}

uint64_t lull_allowance(lull *l, const struct task *t)
{
    struct record *r = record_of(l, lull_number_of(t));
    return r ? r->options.instructions : 0;
}

void *lull_task_user(lull *l, lull_task task)
{
    struct record *r = record_of(l, task);
    return r ? r->options.user : NULL;
}

/* ---- the end --------------------------------------------------------------------- */

static void forget(struct record *r)
{
    lull *l = r->l;
    if (record_of(l, r->number) == r)
        l->by_slot[r->number >> 32] = NULL;
    list_remove(&r->link);
    lull_forget(&r->waiter);
}

static void done(struct record *r, int how, lua_State *L, int n)
{
    void (*fn)(lull *, lull_task, int, lua_State *, int, void *) = r->options.done;
    r->options.done = NULL;
    if (fn != NULL)
        fn(r->l, r->number, how, L, n, r->options.user);
}

/* (record): its Task is held.  The values of the task are the stack of its callback. */
static int tell(lua_State *L)
{
    static const int hows[] = {LULL_TASK_LOST, LULL_TASK_CANCELLED, LULL_TASK_FINISHED,
                               LULL_TASK_FAILED};
    struct record *r = lua_touserdata(L, 1);
    struct runtime *rt = r->l->rt;
    lull_pushheld(L, r);
    lull_future *f = lua_touserdata(L, -1);
    if (f->state == LULL_ERROR && r->options.done == NULL) { /* nobody else will know */
        lua_getiuservalue(L, 2, 1);
        lua_pushnil(L);
        if (lull_hasextra(L, 2))
            lua_getfield(L, -1, "traceback");
        lua_replace(L, 4);
        lua_settop(L, 4);
        lull_report(L, rt, 2);
        return 0;
    }
    if (r->options.done == NULL)
        return 0;
    int n = f->count;
    lua_getiuservalue(L, 2, 1);
    if (f->state != LULL_RESULT)
        n = 1;
    else if (n > 1) {
        lua_getfield(L, 3, "n");
        n = (int)lua_tointeger(L, -1);
        lua_pop(L, 1);
        luaL_checkstack(L, n + LUA_MINSTACK, NULL);
        for (int j = 1; j <= n; j++)
            lua_rawgeti(L, 3, j);
        lua_remove(L, 3);
    }
    lua_remove(L, 2);
    lua_remove(L, 1);
    lua_settop(L, n);
    done(r, hows[f->state], L, n);
    return 0;
}

/* (error, record) */
static int tell_error(lua_State *L)
{
    struct record *r = lua_touserdata(L, 2);
    lua_settop(L, 1);
    done(r, LULL_TASK_FAILED, L, 1);
    return 0;
}

/* There was no memory for how it has ended: that, which is on top, is the end then. */
static void tell_failure(struct record *r, lua_State *L)
{
    lua_pushcfunction(L, tell_error);
    lua_pushvalue(L, -2);
    lua_pushlightuserdata(L, r);
    if (lua_pcall(L, 2, 0, 0) != LUA_OK)
        lua_replace(L, -2); /* what it has raised, or the same once more */
    done(r, LULL_TASK_LOST, NULL, 0); /* unless it was called */
}

static void ended(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct record *r = container_of(w, struct record, waiter);
    lull *l = r->l;
    lua_State *L = l->L;
    forget(r);
    lua_pushcfunction(L, tell);
    lua_pushlightuserdata(L, r);
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        if (r->options.done != NULL) /* it was not it that has raised that */
            tell_failure(r, L);
        lull_report_callback(l, L);
        lua_settop(L, 0);
    }
    lull_release(L, r);
    lull_host_free(l, r, sizeof *r);
}

void lull_end_records(lull *l)
{
    while (!list_empty(&l->records)) {
        struct record *r = container_of(l->records.next, struct record, link);
        forget(r);
        done(r, LULL_TASK_LOST, NULL, 0);
        lull_host_free(l, r, sizeof *r);
    }
}

/* ---- spawning -------------------------------------------------------------------- */

/* Room for the record of a task in any slot that it may get. */
static int reserve(lull *l)
{
    uint32_t need = l->rt->idle.slots + 2, n = l->slots;
    if (need <= n)
        return 0;
    n = need * 2 > 64 ? need * 2 : 64;
    struct record **p = lull_host_alloc(l, n * sizeof *p);
    if (p == NULL)
        return -ENOMEM;
    if (l->slots > 0)
        memcpy(p, l->by_slot, l->slots * sizeof *p);
    lull_host_free(l, l->by_slot, l->slots * sizeof *p);
    l->by_slot = p;
    l->slots = n;
    return 0;
}

struct spawn {
    lull *l;
    struct record *r;
    struct group *g;
    struct task *t; /* once it has been spawned */
};

/* (struct spawn *, fn, ...) */
static int spawn(lua_State *L)
{
    struct spawn *s = lua_touserdata(L, 1);
    struct runtime *rt = s->l->rt;
    lull_checkcallable(L, 2);
    lua_pushboolean(L, false);
    lull_hold(L, s->r); /* room to hold the Task */
    s->t = lull_spawn(L, rt, lua_gettop(L) - 2, s->g ? lull_scope_of(s->g) : NULL);
    lua_pushvalue(L, -1);
    lull_hold(L, s->r);
    if (s->g != NULL)
        s->g->children++;
    if (s->r->options.name != NULL) {
        lull_pushextra(L, 2);
        lua_pushstring(L, s->r->options.name);
        lua_setfield(L, -2, "name");
    }
    return 0;
}

static void begin(struct spawn *s)
{
    struct record *r = s->r;
    struct task *t = s->t;
    r->number = lull_number_of(t);
    r->options.name = NULL; /* the caller's */
    lull_waiter_init(&r->waiter, ended);
    lull_future_wait(s->l->loop, &t->future, &r->waiter);
    t->future.flags |= LULL_TAKEN;
    list_push(&s->l->records, &r->link);
    s->l->by_slot[t->slot] = r;
    if (!r->options.daemon)
        return;
    t->future.flags |= LULL_DAEMON;
    lull_task_daemon(s->l->rt, t);
    if (s->g != NULL)
        lull_child_daemon(s->l->rt, t);
}

/* On the host's loop, although a script may just be running another. */
static int spawn_at_home(struct spawn *s, lua_State *L, int nargs)
{
    struct runtime *rt = s->l->rt;
    lull_loop *loop = rt->loop;
    struct loop *object = rt->object;
    rt->loop = s->l->loop;
    rt->object = s->l->object;
    int rc = lull_protected_on(L, spawn, s, nargs + 1, 0);
    rt->loop = loop;
    rt->object = object;
    return rc;
}

static int try_spawn(struct spawn *s, lua_State *L, int nargs)
{
    lull *l = s->l;
    int rc = spawn_at_home(s, L, nargs);
    if (s->t == NULL) {
        lull_release(l->L, s->r);
        lull_host_free(l, s->r, sizeof *s->r);
        return rc;
    }
    if (rc < 0) { /* it has no name then, and shall not be */
        s->r->options.done = NULL;
        lull_scope_cancel(l->loop, &s->t->own, -ECANCELED);
    }
    begin(s);
    lull_nudge(l);
    return rc;
}

static int refuse(lull *l, const lull_task_options *o, struct group **g)
{
    if (l->loop == NULL || l->ending)
        return -ECANCELED;
    if (o->instructions > 0 && l->watch == NULL)
        return -EINVAL;
    if (l->object->max_tasks > 0 && l->object->tasks >= l->object->max_tasks)
        return -EAGAIN;
    int rc = o->group ? lull_group_admits(o->group, l, g) : 0;
    return rc < 0 ? rc : reserve(l);
}

int lull_task_spawn(lull *l, lua_State *L, int nargs, const lull_task_options *options,
                    lull_task *out)
{
    lull_task_options o = {0};
    struct spawn s = {.l = l};
    if (options != NULL)
        memcpy(&o, options, options->size < sizeof o ? options->size : sizeof o);
    if (o.instructions == 0 && o.group != NULL)
        o.instructions = lull_group_instructions(o.group);
    int rc = refuse(l, &o, &s.g);
    if (rc == 0 && (s.r = lull_host_alloc(l, sizeof *s.r)) == NULL)
        rc = -ENOMEM;
    if (rc < 0) {
        lua_pop(L, nargs + 1);
        return rc;
    }
    s.r->l = l;
    s.r->options = o;
    list_init(&s.r->link);
    rc = try_spawn(&s, L, nargs);
    if (rc == 0 && out != NULL)
        *out = s.r->number;
    return rc;
}

/* ---- one task -------------------------------------------------------------------- */

int lull_task_cancel(lull *l, lull_task task, const char *reason)
{
    if (l->loop == NULL || !lua_checkstack(l->L, 8))
        return -ESRCH;
    struct task *t = lull_pushnumber_task(l->L, l, task);
    if (t != NULL && t->own.own == 0) {
        lull_host_cancel(l, &t->own, reason);
        lull_nudge(l);
    }
    lua_pop(l->L, 1);
    return t != NULL ? 0 : -ESRCH;
}
