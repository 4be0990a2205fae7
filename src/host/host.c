/* What the rooms of the host share: its memory, the parts that may outlive the runtime,
   the door through which no error leaves, and how a host cancels. */
#include "host.h"

#include <stdlib.h>

/* ---- memory ---------------------------------------------------------------------- */

void *lull_plain_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud, (void)osize;
    if (nsize > 0)
        return realloc(ptr, nsize);
    free(ptr);
    return NULL;
}

/* The allocator of a state of ours: an account of it, with a limit. */
void *lull_counted_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    lull *l = ud;
    size_t old = ptr ? osize : 0, limit = l->options.memory;
    if (limit > 0 && nsize > old && nsize - old > limit - (l->memory < limit ? l->memory : limit))
        return NULL;
    void *p = l->options.alloc(l->options.alloc_ud, ptr, old, nsize);
    if (p == NULL && nsize > 0)
        return NULL;
    l->memory += nsize - old;
    return p;
}

void *lull_host_alloc(const lull *l, size_t size)
{
    void *p = l->options.alloc(l->options.alloc_ud, NULL, 0, size);
    if (p != NULL)
        memset(p, 0, size);
    return p;
}

void lull_host_free(const lull *l, void *p, size_t size)
{
    if (p != NULL)
        l->options.alloc(l->options.alloc_ud, p, size, 0);
}

/* ---- parts ----------------------------------------------------------------------- */

void lull_add_part(lull *l, struct part *p)
{
    p->l = l;
    list_push(&l->parts, &p->link);
}

void lull_drop_part(struct part *p)
{
    if (p->l != NULL)
        list_remove(&p->link);
    p->l = NULL;
}

void lull_end_parts(lull *l)
{
    while (!list_empty(&l->parts)) {
        struct part *p = container_of(list_pop(&l->parts), struct part, link);
        if (p->end != NULL)
            p->end(p); /* it may be gone then */
        else
            lull_drop_part(p);
    }
}

/* ---- protected calls ------------------------------------------------------------- */

int lull_errno_of(lua_State *L, int status)
{
    if (status == LUA_OK)
        return 0;
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "";
    bool memory = status == LUA_ERRMEM || strstr(text, "not enough memory") != NULL;
    lua_pop(L, 1);
    return memory ? -ENOMEM : -EINVAL;
}

/* (function, ud, ...): calls it with the runtime as upvalue, where there is one yet. */
static int call_bound(lua_State *L)
{
    lua_CFunction f = *(lua_CFunction *)lua_touserdata(L, 1);
    lull_pushruntime(L);
    lua_pushcclosure(L, f, 1);
    lua_replace(L, 1);
    lua_call(L, lua_gettop(L) - 1, LUA_MULTRET);
    return lua_gettop(L);
}

int lull_protected_on(lua_State *L, lua_CFunction f, void *ud, int n, int nresults)
{
    if (!lua_checkstack(L, 8)) {
        lua_pop(L, n);
        return -ENOMEM;
    }
    lua_pushcfunction(L, call_bound);
    lua_pushlightuserdata(L, &f);
    lua_pushlightuserdata(L, ud);
    lua_rotate(L, -n - 3, 3);
    return lull_errno_of(L, lua_pcall(L, n + 2, nresults, 0));
}

int lull_protected(lull *l, lua_CFunction f, void *ud)
{
    return lull_protected_on(l->L, f, ud, 0, 0);
}

/* ---- cancelling ------------------------------------------------------------------ */

struct order {
    lull *l;
    lull_scope *scope;
    const char *reason;
};

/* (struct order *) */
static int cancel(lua_State *L)
{
    struct order *o = lua_touserdata(L, 1);
    lua_pushstring(L, o->reason);
    lull_cancel(L, o->l->loop, o->scope, -ECANCELED, 2);
    return 0;
}

void lull_host_cancel(lull *l, lull_scope *scope, const char *reason)
{
    struct order o = {l, scope, reason};
    if (reason == NULL || lull_protected(l, cancel, &o) < 0)
        lull_scope_cancel(l->loop, scope, -ECANCELED);
}

/* ---- looking --------------------------------------------------------------------- */

lua_State *lull_state(const lull *l)
{
    return l->main;
}

lull *lull_of(lua_State *L)
{
    struct runtime *rt = lull_here;
    if (rt == NULL || rt->running != L) {
        if (!lua_checkstack(L, 2))
            return NULL;
        rt = lull_pushruntime(L);
        lua_pop(L, 1);
    }
    struct loop *o = rt ? rt->loops : NULL;
    while (o != NULL && o->host == NULL)
        o = o->next;
    return o ? o->host : NULL;
}

void *lull_user(const lull *l)
{
    return l->options.user;
}

lull_loop *lull_get_loop(const lull *l)
{
    return l->loop;
}

size_t lull_memory(const lull *l)
{
    if (l->own || l->main == NULL)
        return l->memory;
    return (size_t)lua_gc(l->main, LUA_GCCOUNT, 0) * 1024 +
           (size_t)lua_gc(l->main, LUA_GCCOUNTB, 0);
}
