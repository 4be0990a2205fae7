/* Names into addresses, without blocking the loop; and the runtime's pool of threads,
   which they are looked up on.  A task that gives up its wait, or is cancelled in it,
   drops the request: the thread finishes it for nobody. */
#include "bind.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "sys.h"

/* ---- the pool -------------------------------------------------------------------------- */

static const char pool_key;

static int pool_gc(lua_State *L)
{
    struct sys_pool **pool = lua_touserdata(L, 1);
    if (*pool)
        sys_pool_free(*pool);
    *pool = NULL;
    return 0;
}

/* Made before any loop is, so that lua_close, which goes backwards, ends it after them. */
static void hold_pool(lua_State *L)
{
    struct sys_pool **pool = lua_newuserdatauv(L, sizeof(struct sys_pool *), 0);
    *pool = NULL;
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, pool_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lull_hold(L, &pool_key);
}

struct sys_pool *lull_pool(lua_State *L)
{
    lull_pushheld(L, &pool_key);
    struct sys_pool **pool = lua_touserdata(L, -1);
    lua_pop(L, 1);
    if (*pool == NULL && sys_pool_new(pool) < 0)
        luaL_error(L, "not enough memory");
    return *pool;
}

/* ---- a request -------------------------------------------------------------------------- */

/* What resolve has on its stack: host, family, seconds, the Request. */
enum { HOST = 1, FAMILY, SECONDS, REQUEST };

static const char *const families[] = {"any", "inet", "inet6", NULL};

struct request {
    struct sys_resolve *what;
    lull_list waiters; /* the task */
    lull_loop *loop;
    bool done;
};

static void resolved(sys_job *job)
{
    struct request *r = job->owner;
    r->done = true;
    while (!list_empty(&r->waiters))
        lull_wake(r->loop, container_of(r->waiters.next, lull_waiter, link), 0);
}

static int request_close(lua_State *L)
{
    struct request *r = lua_touserdata(L, 1);
    if (r->what == NULL)
        return 0;
    while (!list_empty(&r->waiters))
        list_pop(&r->waiters);
    sys_job_drop(&r->what->job);
    r->what = NULL;
    return 0;
}

/* Pushes a Request that is closed when the function that made it is left. */
static struct request *newrequest(lua_State *L, struct runtime *rt, const char *host,
                                  enum sys_family family)
{
    struct request *r = lull_newobject(L, LULL_REQUEST, sizeof *r, 0);
    list_init(&r->waiters);
    r->loop = rt->loop;
    r->what = sys_resolve_new(host, family);
    if (r->what == NULL)
        luaL_error(L, "not enough memory");
    r->what->job.done = resolved;
    r->what->job.owner = r;
    return r;
}

/* ---- resolve ------------------------------------------------------------------------------- */

static void pushentry(lua_State *L, const struct sys_address *a)
{
    char host[SYS_HOST];
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, host, sys_host(a, host));
    lua_setfield(L, -2, "host");
    lua_pushstring(L, families[sys_family(a)]);
    lua_setfield(L, -2, "family");
}

static int pushlist(lua_State *L, const struct sys_address *list, unsigned count)
{
    lua_createtable(L, (int)count, 0);
    for (unsigned i = 0; i < count; i++) {
        pushentry(L, &list[i]);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int pushanswer(lua_State *L, const struct sys_resolve *what)
{
    char text[128];
    if (what->rc < 0)
        return lull_pushfail(L, what->rc, what->host);
    if (what->code == NULL)
        return pushlist(L, what->list, what->count);
    snprintf(text, sizeof text, "%s", what->text);
    text[0] = (char)tolower((unsigned char)text[0]);
    return lull_pushcode(L, what->code, text, what->host);
}

static int waitk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct request *r = lua_touserdata(L, REQUEST);
    if (r->done)
        return pushanswer(L, r->what);
    if (rc < 0)
        return lull_pushfail(L, (int)rc, lua_tostring(L, HOST));
    lull_wait(&rt->task->waiter);
    list_push(&r->waiters, &rt->task->waiter.link);
    return lull_await(L, lull_after(rt->loop, luaL_optnumber(L, SECONDS, -1)), waitk);
}

static int startk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    const char *host = lua_tostring(L, HOST);
    enum sys_family family =
        (enum sys_family)luaL_checkoption(L, FAMILY, "any", families);
    struct sys_address a;
    if (sys_parse(&a, family, host, 0) == 0)
        return pushlist(L, &a, 1);
    if (lua_isnumber(L, SECONDS) && lua_tonumber(L, SECONDS) == 0)
        return lull_pushfail(L, -ETIMEDOUT, host);
    struct request *r = newrequest(L, rt, host, family);
    lua_toclose(L, REQUEST);
    int failed = sys_pool_submit(lull_pool(L), rt->loop, SYS_NAMES, &r->what->job);
    return failed ? lull_pushfail(L, failed, host) : waitk(L, LUA_OK, 0);
}

/* resolve (host [, family [, seconds]]) -> {{host=, family=}, ...} | nil, message, code.
   Numbers are answered at once, names by the system's resolver. */
static int resolve(lua_State *L)
{
    size_t size;
    const char *host = luaL_checklstring(L, HOST, &size);
    luaL_checkoption(L, FAMILY, "any", families);
    luaL_optnumber(L, SECONDS, -1);
    lua_settop(L, SECONDS);
    if (size > 255 || strlen(host) != size)
        return lull_pushcode(L, "EAI_NONAME", "not a host name", NULL);
    return lull_enter(L, startk);
}

static const luaL_Reg metamethods[] = {{"__gc", request_close},
                                       {"__close", request_close},
                                       {NULL, NULL}};

static const luaL_Reg functions[] = {{"resolve", resolve}, {NULL, NULL}};

void lull_open_resolve(lua_State *L)
{
    hold_pool(L);
    lull_newclass(L, LULL_REQUEST, "Request", NULL, metamethods);
    lull_setfuncs(L, functions);
}
