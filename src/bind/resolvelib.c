/* Names into addresses, without blocking the loop; and the runtime's pool of threads,
   where the system's resolver works.  A task that gives up its wait, or is cancelled in
   it, drops the request: name servers are no longer listened to, a thread finishes its
   work for nobody.

   Numbers, and with the resolver "dns" what the hosts file says, are answered at once. */
#include "bind.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
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

/* ---- options ------------------------------------------------------------------------------ */

/* What resolve has on its stack: host, family, seconds, options, the Request. */
enum { HOST = 1, FAMILY, SECONDS, OPTIONS, REQUEST };

enum { SERVERS = 16, SEARCH = 16, DNS_PORT = 53, ATTEMPTS = 3, MAX_ATTEMPTS = 100 };
#define PATIENCE 2.0 /* seconds */

static const char *const families[] = {"any", "inet", "inet6", NULL};

static enum sys_family family_of(lua_State *L)
{
    return (enum sys_family)luaL_checkoption(L, FAMILY, "any", families);
}

/* Pushes an option, or nil. */
static int option(lua_State *L, const char *name)
{
    if (lua_istable(L, OPTIONS))
        return lua_getfield(L, OPTIONS, name);
    lua_pushnil(L);
    return LUA_TNIL;
}

static int bad(lua_State *L, const char *name, const char *expected)
{
    return luaL_error(L, "bad option '%s' (%s expected)", name, expected);
}

static lua_Number number(lua_State *L, const char *name, lua_Number otherwise,
                         lua_Number max)
{
    lua_Number n = option(L, name) == LUA_TNIL ? otherwise : lua_tonumber(L, -1);
    if (!lua_isnil(L, -1) && (lua_type(L, -1) != LUA_TNUMBER || !(n >= 0 && n <= max)))
        bad(L, name, "a number that makes sense");
    lua_pop(L, 1);
    return n;
}

/* The strings of the list on top of the stack (popped), which live in there. */
static int strings(lua_State *L, const char *name, const char **list, int max)
{
    int n = lua_istable(L, -1) ? (int)luaL_len(L, -1) : -1;
    if (n < 0 || n > max)
        bad(L, name, "a short list of strings");
    for (int i = 0; i < n; i++) {
        if (lua_rawgeti(L, -1, i + 1) != LUA_TSTRING)
            bad(L, name, "a short list of strings");
        list[i] = lua_tostring(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return n;
}

/* "192.0.2.1", "192.0.2.1:5353", "2001:db8::1" or "[2001:db8::1]:5353". */
static bool parse_server(struct sys_address *a, const char *text)
{
    char host[SYS_HOST];
    size_t size = strlen(text);
    const char *colon = strrchr(text, ':'), *end = text + size;
    bool bracket = *text == '[', several = strchr(text, ':') != colon;
    unsigned long port = DNS_PORT;
    if (colon && (several ? bracket && colon[-1] == ']' : true)) {
        char *rest;
        port = strtoul(colon + 1, &rest, 10);
        if (rest == colon + 1 || *rest != '\0' || port == 0 || port > 65535)
            return false;
        end = colon;
    }
    text += bracket;
    end -= bracket && end[-1] == ']';
    if (end <= text || (size_t)(end - text) >= sizeof host)
        return false;
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = '\0';
    return strcmp(host, "*") != 0 && sys_parse(a, SYS_ANY, host, (unsigned)port) == 0;
}

static unsigned servers(lua_State *L, struct sys_address *list)
{
    const char *texts[SERVERS];
    if (option(L, "servers") == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    int n = strings(L, "servers", texts, SERVERS);
    for (int i = 0; i < n; i++)
        if (!parse_server(&list[i], texts[i]))
            luaL_error(L, "bad option 'servers' (no address: '%s')", texts[i]);
    if (n == 0)
        bad(L, "servers", "at least one address");
    return (unsigned)n;
}

/* What is asked how: everything that the options say, for as long as their table lives. */
struct question {
    struct sys_dns_options dns;
    struct sys_address servers[SERVERS];
    const char *search[SEARCH], *hosts;
    bool system;
};

/* Who names servers asks them: this machine's hosts file then counts only if he says so. */
static const char *hosts_file(lua_State *L, bool otherwise)
{
    int type = option(L, "hosts");
    bool given = type == LUA_TNIL ? otherwise : lua_toboolean(L, -1);
    const char *path = type == LUA_TSTRING ? lua_tostring(L, -1) : "/etc/hosts";
    if (type != LUA_TNIL && type != LUA_TSTRING && type != LUA_TBOOLEAN)
        bad(L, "hosts", "a path or a boolean");
    lua_pop(L, 1);
    return given ? path : NULL;
}

static bool ask_system(lua_State *L)
{
    static const char *const resolvers[] = {"dns", "system", NULL};
    int type = option(L, "resolver");
    int i = type == LUA_TNIL ? !sys_has_dns : luaL_checkoption(L, -1, NULL, resolvers);
    lua_pop(L, 1);
    return i == 1;
}

static void read_options(lua_State *L, struct question *q)
{
    q->system = ask_system(L);
    q->dns.servers = q->servers;
    q->dns.server_count = servers(L, q->servers);
    q->hosts = hosts_file(L, q->dns.server_count == 0);
    q->dns.search = q->search;
    q->dns.search_count = -1;
    if (option(L, "search") != LUA_TNIL)
        q->dns.search_count = strings(L, "search", q->search, SEARCH);
    else
        lua_pop(L, 1);
    q->dns.ndots = (int)number(L, "ndots", -1, 15);
    q->dns.attempts = (unsigned)number(L, "attempts", ATTEMPTS, MAX_ATTEMPTS);
    q->dns.patience = (int64_t)(number(L, "attempt_timeout", PATIENCE, 1e6) * 1e9);
    if (q->dns.attempts == 0)
        bad(L, "attempts", "at least one");
}

/* ---- a request -------------------------------------------------------------------------- */

struct request {
    struct sys_resolve *system; /* one of the two */
    struct sys_dns *dns;
    struct sys_answer found; /* in the hosts file */
    lull_list waiters; /* the task */
    lull_loop *loop;
    bool done;
};

static void resolved(void *owner)
{
    struct request *r = owner;
    r->done = true;
    while (!list_empty(&r->waiters))
        lull_wake(r->loop, container_of(r->waiters.next, lull_waiter, link), 0);
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
    r->loop = NULL;
    while (!list_empty(&r->waiters))
        list_pop(&r->waiters);
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
    r->loop = rt->loop;
    lua_toclose(L, REQUEST);
    return r;
}

/* The system's resolver, on a thread. */
static int begin_system(lua_State *L, struct request *r)
{
    r->system = sys_resolve_new(lua_tostring(L, HOST), family_of(L));
    if (r->system == NULL)
        return -ENOMEM;
    r->system->job.done = job_done;
    r->system->job.owner = r;
    return sys_pool_submit(lull_pool(L), r->loop, SYS_NAMES, &r->system->job);
}

static const struct sys_answer *answer_of(const struct request *r)
{
    return r->system ? &r->system->answer : sys_dns_answer(r->dns);
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
    if (r->done)
        return pushanswer(L, answer_of(r));
    if (rc < 0)
        return lull_pushfail(L, (int)rc, lua_tostring(L, HOST));
    lull_wait(&rt->task->waiter);
    list_push(&r->waiters, &rt->task->waiter.link);
    return lull_await(L, lull_after(rt->loop, luaL_optnumber(L, SECONDS, -1)), waitk);
}

/* Pushes what can be said of the host without a request; returns how much, or 0. */
static int answer_at_once(lua_State *L, bool system)
{
    const char *host = lua_tostring(L, HOST);
    struct sys_address a;
    if (sys_parse(&a, family_of(L), host, 0) == 0)
        return pushlist(L, &a, 1);
    if (sys_parse(&a, SYS_ANY, host, 0) == 0)
        return lull_pushcode(L, "EAI_ADDRFAMILY", "an address of another family", host);
    if (!system && !sys_hostname(host))
        return lull_pushcode(L, "EAI_NONAME", "not a host name", host);
    return 0;
}

static int startk(lua_State *L, int status, lua_KContext rc)
{
    struct runtime *rt = lull_runtime(L);
    const char *host = lua_tostring(L, HOST);
    struct question q;
    read_options(L, &q);
    int n = answer_at_once(L, q.system);
    if (n > 0)
        return n;
    struct request *r = newrequest(L, rt);
    if (!q.system && sys_hosts(q.hosts, host, family_of(L), &r->found))
        return pushanswer(L, &r->found);
    if (lua_isnumber(L, SECONDS) && lua_tonumber(L, SECONDS) == 0)
        return lull_pushfail(L, -ETIMEDOUT, host);
    int failed = q.system ? begin_system(L, r)
                          : sys_dns_start(&r->dns, rt->loop, host, family_of(L), &q.dns,
                                          resolved, r);
    return failed ? lull_pushfail(L, failed, host) : waitk(L, LUA_OK, 0);
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
    hold_pool(L);
    lull_newclass(L, LULL_REQUEST, "Request", NULL, metamethods);
    lull_setfuncs(L, functions);
}
