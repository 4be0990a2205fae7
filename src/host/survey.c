/* The host looks at tasks: how one stands, which there are, and what all of them do. */
#include "host.h"

/* ---- one task -------------------------------------------------------------------- */

static int state_of(const lull *l, const struct task *t)
{
    if (t == NULL)
        return LULL_TASK_GONE;
    if (t == l->rt->task)
        return LULL_TASK_RUNNING;
    return t->waiter.status == LULL_PENDING ? LULL_TASK_WAITING : LULL_TASK_READY;
}

int lull_task_state(lull *l, lull_task task)
{
    if (l->loop == NULL || !lua_checkstack(l->L, 8))
        return LULL_TASK_GONE;
    int state = state_of(l, lull_pushnumber_task(l->L, l, task));
    lua_pop(l->L, 1);
    return state;
}

lull_task lull_task_current(lull *l)
{
    return l->rt && l->rt->task ? lull_number_of(l->rt->task) : 0;
}

unsigned lull_task_count(const lull *l)
{
    return l->object ? l->object->tasks : 0;
}

/* ---- all of them ----------------------------------------------------------------- */

struct visit {
    lull *l;
    lull_task number;
    bool (*fn)(const lull_task_info *info, void *ud);
    void *ud;
    bool more;
};

/* (struct visit *) */
static int visit(lua_State *L)
{
    struct visit *v = lua_touserdata(L, 1);
    lull_task_info info = {.size = sizeof info, .task = v->number};
    luaL_checkstack(L, 40, NULL);
    struct task *t = lull_pushnumber_task(L, v->l, v->number);
    if (t == NULL)
        return 0;
    info.state = state_of(v->l, t);
    info.parent = (lull_task)lull_parent_of(L, v->l->rt, t);
    info.daemon = (t->future.flags & LULL_DAEMON) != 0;
    info.user = lull_task_user(v->l, v->number);
    lull_pushlabel(L, 2);
    info.name = lua_tostring(L, -1);
    lull_pushstate(L, v->l->rt, t);
    info.awaiting = lua_tostring(L, -1);
    lull_pushstack(L, t);
    info.traceback = lua_tostring(L, -1);
    v->more = v->fn(&info, v->ud);
    return 0;
}

/* The numbers first: whoever looks may spawn and cancel. */
int lull_task_each(lull *l, bool (*fn)(const lull_task_info *info, void *ud), void *ud)
{
    if (l->loop == NULL || !lua_checkstack(l->L, 8))
        return 0;
    uint32_t n = 0, slots = l->rt->idle.slots;
    size_t size = (slots + 1) * sizeof(lull_task);
    lull_task *numbers = lull_host_alloc(l, size);
    if (numbers == NULL)
        return -ENOMEM;
    for (uint32_t i = 1; i <= slots; i++) {
        struct task *t = lull_pushlive(l->L, l->rt, i, l->object->serial);
        if (t != NULL)
            numbers[n++] = lull_number_of(t);
        lua_pop(l->L, 1);
    }
    struct visit v = {.l = l, .fn = fn, .ud = ud, .more = true};
    int rc = 0;
    for (uint32_t i = 0; i < n && v.more && rc == 0; i++) {
        v.number = numbers[i];
        rc = lull_protected(l, visit, &v);
    }
    lull_host_free(l, numbers, size);
    return rc;
}
