/* What resolve is asked: the options, as name servers and lists.  Nothing here waits, and
   nothing is kept: strings are those of the table of options. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "resolve.h"

enum { DNS_PORT = 53, ATTEMPTS = 3, MAX_ATTEMPTS = 100 };
#define PATIENCE 2.0 /* seconds */

/* Pushes an option, or nil. */
static int option(lua_State *L, const char *name)
{
    if (lua_istable(L, LULL_AT_OPTIONS))
        return lua_getfield(L, LULL_AT_OPTIONS, name);
    lua_pushnil(L);
    return LUA_TNIL;
}

/* Raises the message on top as a mistake of whoever has called the function of net that
   was given these options. */
static int blame(lua_State *L)
{
    luaL_where(L, 2);
    lua_insert(L, -2);
    lua_concat(L, 2);
    return lua_error(L);
}

static int bad(lua_State *L, const char *name, const char *expected)
{
    lua_pushfstring(L, "bad option '%s' (%s expected)", name, expected);
    return blame(L);
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
    const char *texts[LULL_NAME_SERVERS];
    if (option(L, "servers") == LUA_TNIL) {
        lua_pop(L, 1);
        return 0;
    }
    int n = strings(L, "servers", texts, LULL_NAME_SERVERS);
    for (int i = 0; i < n; i++)
        if (!parse_server(&list[i], texts[i])) {
            lua_pushfstring(L, "bad option 'servers' (no address: '%s')", texts[i]);
            blame(L);
        }
    if (n == 0)
        bad(L, "servers", "at least one address");
    return (unsigned)n;
}

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

static void read_resolver(lua_State *L, struct question *q)
{
    static const char *const resolvers[] = {"dns", "system", NULL};
    q->any = option(L, "resolver") == LUA_TNIL;
    q->system = !q->any && luaL_checkoption(L, -1, NULL, resolvers) == 1;
    lua_pop(L, 1);
}

bool lull_asks_system(const struct question *q)
{
    return q->system || (q->any && !sys_has_dns());
}

void lull_read_question(lua_State *L, struct question *q)
{
    static const char *const families[] = {"any", "inet", "inet6", NULL};
    q->family = (enum sys_family)luaL_checkoption(L, LULL_AT_FAMILY, "any", families);
    read_resolver(L, q);
    q->dns.servers = q->servers;
    q->dns.server_count = servers(L, q->servers);
    q->hosts = hosts_file(L, q->dns.server_count == 0);
    q->dns.search = q->search;
    q->dns.search_count = -1;
    if (option(L, "search") != LUA_TNIL)
        q->dns.search_count = strings(L, "search", q->search, LULL_SEARCH);
    else
        lua_pop(L, 1);
    q->dns.ndots = (int)number(L, "ndots", -1, 15);
    q->dns.attempts = (unsigned)number(L, "attempts", ATTEMPTS, MAX_ATTEMPTS);
    q->dns.patience = (int64_t)(number(L, "attempt_timeout", PATIENCE, 1e6) * 1e9);
    if (q->dns.attempts == 0)
        bad(L, "attempts", "at least one");
}
