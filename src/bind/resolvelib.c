/* Names into addresses, without blocking the loop; and the runtime's pool of threads,
   where the system's resolver works.  A task that gives up its wait, or is cancelled in
   it, drops the request: name servers are no longer listened to, a thread finishes its
   work for nobody.

   Numbers, and with the resolver "dns" what the hosts file says, are answered at once. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "resolve.h"

enum { HOST = LULL_AT_HOST, FAMILY, SECONDS, OPTIONS, REQUEST };

static const char *const families[] = {"any", "inet", "inet6", NULL};

/* ---- the pool -------------------------------------------------------------------- */

/* What the runtime has of both resolvers. */
struct names {
    struct sys_pool *pool;
    lull_list gates; /* one for each loop that has asked name servers */
};

static const char names_key;

static int names_gc(lua_State *L)
{
    struct names *names = lua_touserdata(L, 1);
    if (names->pool)
        sys_pool_free(names->pool);
    names->pool = NULL;
    while (!list_empty(&names->gates)) /* loops of a host that live on */
        list_pop(&names->gates);
    return 0;
}

/* Made before any loop is, so that lua_close, which goes backwards, ends it after them. */
static void hold_names(lua_State *L)
{
    struct names *names = lua_newuserdatauv(L, sizeof *names, 0);
    names->pool = NULL;
    list_init(&names->gates);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, names_gc);
    lua_setfield(L, -2, "__gc");
    lua_setmetatable(L, -2);
    lull_hold(L, &names_key);
}

static struct names *names_of(lua_State *L)
{
    lull_pushheld(L, &names_key);
    struct names *names = lua_touserdata(L, -1);
    lua_pop(L, 1);
    return names;
}

struct sys_pool *lull_pool(lua_State *L)
{
    struct names *names = names_of(L);
    if (names->pool == NULL && sys_pool_new(&names->pool) < 0)
        luaL_error(L, "not enough memory");
    return names->pool;
}

/* ---- a request ------------------------------------------------------------------- */

struct request {
    struct sys_resolve *system; /* one of the two */
    struct sys_dns *dns;
    struct sys_answer found; /* in the hosts file */
    struct place place;      /* among those who ask name servers */
    lull_list waiters;       /* the task */
    lull_loop *loop;
    int64_t deadline;
    bool done;
};

static void wake(struct request *r)
{
    lull_wake_all(r->loop, &r->waiters, 0);
}

static void entered(struct place *p)
{
    wake(container_of(p, struct request, place));
}

static void resolved(void *owner)
{
    struct request *r = owner;
    r->done = true;
    lull_place_leave(&r->place);
    wake(r);
}

static void job_done(sys_job *job)
{
    resolved(job->owner);
}

static int request_close(lua_State *L)
{
    struct request *r = lua_touserdata(L, 1);
    if (r->loop == NULL)
        return 0;
    while (!list_empty(&r->waiters))
        list_pop(&r->waiters);
    lull_place_leave(&r->place);
    r->loop = NULL;
    if (r->system)
        sys_job_drop(&r->system->job);
    if (r->dns)
        sys_dns_drop(r->dns);
    sys_answer_free(&r->found);
    return 0;
}

/* Pushes a Request that is closed when the function that made it is left. */
static struct request *newrequest(lua_State *L, struct runtime *rt)
{
    struct request *r = lull_newobject(L, LULL_REQUEST, sizeof *r, 0);
    list_init(&r->waiters);
    lull_place_init(&r->place, entered);
    r->loop = rt->loop;
    r->deadline = lull_after(rt->loop, luaL_optnumber(L, SECONDS, -1));
    lua_toclose(L, REQUEST);
    return r;
}

/* The system's resolver, on a thread. */
static int begin_system(lua_State *L, struct request *r, const struct question *q)
{
    r->system = sys_resolve_new(lua_tostring(L, HOST), q->family);
    if (r->system == NULL)
        return -ENOMEM;
    r->system->job.done = job_done;
    r->system->job.owner = r;
    return sys_pool_submit(lull_pool(L), r->loop, SYS_NAMES, &r->system->job);
}

/* Name servers, from the loop.  Its options are read when its turn has come. */
static int begin_dns(lua_State *L, struct request *r)
{
    struct question q;
    lull_read_question(L, &q);
    return sys_dns_start(&r->dns, r->loop, lua_tostring(L, HOST), q.family, &q.dns,
                         resolved, r);
}

static const struct sys_answer *answer_of(const struct request *r)
{
    return r->system ? &r->system->answer : sys_dns_answer(r->dns);
}

/* ---- resolve --------------------------------------------------------------------- */

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

static int pushanswer(lua_State *L, const struct sys_answer *answer)
{
    const char *host = lua_tostring(L, HOST);
    char text[128];
    if (answer->rc < 0)
        return lull_pushfail(L, answer->rc, host);
    if (answer->count > 0)
        return pushlist(L, answer->list, answer->count);
    snprintf(text, sizeof text, "%s", answer->text);
    text[0] = (char)tolower((unsigned char)text[0]);
    return lull_pushcode(L, answer->code, text, host);
}

static int waitk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    struct request *r = lua_touserdata(L, REQUEST);
    if (r->place.asks && r->dns == NULL && !r->done) {
        int failed = begin_dns(L, r);
        if (failed)
            return lull_pushfail(L, failed, lua_tostring(L, HOST));
    }
    if (r->done)
        return pushanswer(L, answer_of(r));
    if (rc < 0)
        return lull_pushfail(L, (int)rc, lua_tostring(L, HOST));
    lull_wait(&rt->task->waiter);
    list_push(&r->waiters, &rt->task->waiter.link);
    return lull_await(L, r->deadline, waitk);
}

/* Pushes what can be said of the host without a request; returns how much, or 0. */
static int answer_at_once(lua_State *L, const struct question *q)
{
    const char *host = lua_tostring(L, HOST);
    struct sys_address a;
    if (sys_parse(&a, q->family, host, 0) == 0)
        return pushlist(L, &a, 1);
    if (sys_parse(&a, SYS_ANY, host, 0) == 0)
        return lull_pushcode(L, "EAI_ADDRFAMILY", "an address of another family", host);
    if (!lull_asks_system(q) && !sys_hostname(host))
        return lull_pushcode(L, "EAI_NONAME", "not a host name", host);
    return 0;
}

static int startk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    const char *host = lua_tostring(L, HOST);
    struct question q;
    lull_read_question(L, &q);
    int n = answer_at_once(L, &q);
    if (n > 0)
        return n;
    struct request *r = newrequest(L, rt);
    bool system = lull_asks_system(&q);
    if (!system && sys_hosts(q.hosts, host, q.family, &r->found))
        return pushanswer(L, &r->found);
    if (lua_isnumber(L, SECONDS) && lua_tonumber(L, SECONDS) == 0)
        return lull_pushfail(L, -ETIMEDOUT, host);
    int failed = system ? begin_system(L, r, &q)
                        : lull_place_take(&names_of(L)->gates, rt->loop, &r->place);
    if (failed)
        return lull_pushfail(L, failed, host);
    return waitk(L, LUA_OK, 0);
}

/* resolve (host [, family [, seconds [, options]]]) -> {{host=, family=}, ...} | nil,
   message, code.  The options are those of net.resolve; others are left alone. */
static int resolve(lua_State *L)
{
    size_t size;
    const char *host = luaL_checklstring(L, HOST, &size);
    luaL_checkoption(L, FAMILY, "any", families);
    luaL_optnumber(L, SECONDS, -1);
    lua_settop(L, OPTIONS);
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
    hold_names(L);
    lull_newclass(L, LULL_REQUEST, "Request", NULL, metamethods);
    lull_setfuncs(L, functions);
}
