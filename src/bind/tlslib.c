/* TLS for scripts: options become a context, which is kept for those who come with the
   same; a stream begins TLS, does its handshake, and tells what came of it. */
#include <errno.h>
#include <string.h>

#include "stream.h"

enum {
    CONTEXTS = 64, /* kept; those in use live on anyway */
    ALPN = 1024    /* bytes of all its names */
};

static const char cache_key;

/* ---- contexts -------------------------------------------------------------------- */

struct context {
    struct sys_tls_context *tls;
};

struct sys_tls_context *lull_checktls(lua_State *L, int i)
{
    return ((struct context *)lull_check(L, lull_runtime(L), i, LULL_TLS))->tls;
}

static int context_gc(lua_State *L)
{
    struct context *c = lua_touserdata(L, 1);
    if (c->tls)
        sys_tls_context_drop(c->tls);
    c->tls = NULL;
    return 0;
}

/* ---- options --------------------------------------------------------------------- */

static const char *const names[] = {"ca_file", "ca_path", "cert_file", "key_file",
                                    "ciphers", "alpn", "verify", "server_name", "server",
                                    "min_version", "max_version", NULL};

/* A misspelt option of these might leave a door open. */
static void check_names(lua_State *L, int i)
{
    for (lua_pushnil(L); lua_next(L, i); lua_pop(L, 1)) {
        const char *name = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "?";
        int n = 0;
        while (names[n] && strcmp(names[n], name) != 0)
            n++;
        if (names[n] == NULL)
            luaL_error(L, "no such TLS option: '%s'", name);
    }
}

static int bad(lua_State *L, const char *name, const char *what)
{
    return luaL_error(L, "bad TLS option '%s' (%s expected)", name, what);
}

/* The strings stay alive in the table of the options at i. */
static const char *text(lua_State *L, int i, const char *name)
{
    size_t size = 0;
    int type = lua_getfield(L, i, name);
    const char *s = type == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
    if ((type != LUA_TNIL && type != LUA_TSTRING) || (s && strlen(s) != size))
        bad(L, name, "a string");
    lua_pop(L, 1);
    return s;
}

static int version(lua_State *L, int i, const char *name, int otherwise)
{
    static const char *const versions[] = {"1.0", "1.1", "1.2", "1.3"};
    const char *s = text(L, i, name);
    if (s == NULL)
        return otherwise;
    for (int n = 0; n < 4; n++)
        if (strcmp(s, versions[n]) == 0)
            return 10 + n;
    return bad(L, name, "\"1.2\" or \"1.3\"");
}

/* A server asks for no certificate unless told to. */
static enum sys_verify verification(lua_State *L, int i, bool server)
{
    enum sys_verify v = server ? SYS_VERIFY_NO : SYS_VERIFY;
    int type = lua_getfield(L, i, "verify");
    if (type == LUA_TBOOLEAN)
        v = lua_toboolean(L, -1) ? SYS_VERIFY : SYS_VERIFY_NO;
    else if (server && type == LUA_TSTRING &&
             strcmp(lua_tostring(L, -1), "optional") == 0)
        v = SYS_VERIFY_GIVEN;
    else if (type != LUA_TNIL)
        bad(L, "verify", server ? "a boolean or \"optional\"" : "a boolean");
    lua_pop(L, 1);
    return v;
}

/* Writes the names of alpn, each behind its length. */
static size_t alpn(lua_State *L, int i, char out[ALPN])
{
    size_t used = 0, size;
    int type = lua_getfield(L, i, "alpn");
    if (type != LUA_TNIL && type != LUA_TTABLE)
        bad(L, "alpn", "a list of names");
    for (lua_Integer n = 1; type == LUA_TTABLE; n++, lua_pop(L, 1)) {
        int element = lua_rawgeti(L, -1, n);
        if (element == LUA_TNIL)
            break;
        const char *s = element == LUA_TSTRING ? lua_tolstring(L, -1, &size) : NULL;
        if (s == NULL || size == 0 || size > 255 || used + size + 1 > ALPN)
            bad(L, "alpn", "a list of names");
        out[used++] = (char)size;
        memcpy(out + used, s, size);
        used += size;
    }
    lua_pop(L, type == LUA_TTABLE ? 2 : 1);
    return used;
}

/* Reads the table at i, whose strings stay where they are. */
static struct sys_tls_options options(lua_State *L, int i, bool server, char list[ALPN])
{
    check_names(L, i);
    struct sys_tls_options o = {.server = server};
    o.verify = verification(L, i, server);
    o.min_version = version(L, i, "min_version", 12);
    o.max_version = version(L, i, "max_version", 0);
    o.ca_file = text(L, i, "ca_file");
    o.ca_path = text(L, i, "ca_path");
    o.cert_file = text(L, i, "cert_file");
    o.key_file = text(L, i, "key_file");
    o.ciphers = text(L, i, "ciphers");
    o.alpn = list;
    o.alpn_size = alpn(L, i, list);
    o.alloc = lua_getallocf(L, &o.ud);
    if (server && o.cert_file == NULL)
        luaL_error(L, "a TLS server needs the option 'cert_file'");
    if (server && o.verify != SYS_VERIFY_NO && !o.ca_file && !o.ca_path)
        luaL_error(L, "a TLS server that verifies needs the option 'ca_file'");
    return o;
}

/* Pushes what tells these options from all others: the files' state among it, so that who
   comes after one was replaced reads the new one. */
static void push_id(lua_State *L, const struct sys_tls_options *o)
{
    const char *strings[] = {o->ca_file, o->ca_path, o->cert_file, o->key_file,
                             o->ciphers};
    enum { STRINGS = sizeof strings / sizeof *strings };
    char stamps[STRINGS][SYS_STAMP], head[64];
    for (int i = 0; i < STRINGS; i++)
        sys_tls_stamp(strings[i], stamps[i]);
    snprintf(head, sizeof head, "%d %d %d %d", o->server, (int)o->verify, o->min_version,
             o->max_version);
    luaL_Buffer b;
    luaL_buffinit(L, &b);
    luaL_addlstring(&b, head, strlen(head) + 1);
    for (int i = 0; i < STRINGS; i++) {
        const char *s = strings[i] ? strings[i] : "";
        luaL_addlstring(&b, s, strlen(s) + 1);
        luaL_addlstring(&b, stamps[i], strlen(stamps[i]) + 1);
    }
    luaL_addlstring(&b, o->alpn, o->alpn_size);
    luaL_pushresult(&b);
}

/* Pushes the table of contexts that are kept, and how many it holds. */
static lua_Integer push_cache(lua_State *L)
{
    if (lua_rawgetp(L, LUA_REGISTRYINDEX, &cache_key) == LUA_TNIL) {
        lua_pop(L, 1);
        lua_newtable(L);
        lua_pushvalue(L, -1);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &cache_key);
    }
    lua_getfield(L, -1, "");
    lua_Integer n = lua_tointeger(L, -1);
    lua_pop(L, 1);
    return n;
}

/* Keeps the context on top under the id below it. */
static void keep(lua_State *L)
{
    lua_Integer n = push_cache(L);
    if (n >= CONTEXTS) { /* rare enough to begin anew */
        lua_pop(L, 1);
        lua_pushnil(L);
        lua_rawsetp(L, LUA_REGISTRYINDEX, &cache_key);
        n = push_cache(L);
    }
    lua_pushinteger(L, n + 1);
    lua_setfield(L, -2, "");
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    lua_rawset(L, -3);
    lua_pop(L, 1);
}

static int make(lua_State *L, struct sys_tls_options *o)
{
    const char *where;
    char why[SYS_WHY] = "";
    o->id = lua_tolstring(L, -1, &o->id_size);
    struct context *c = lull_newobject(L, LULL_TLS, sizeof *c, 0);
    int rc = sys_tls_context_new(&c->tls, o, &where, why);
    if (rc == -ENOSYS)
        return luaL_error(L, "this build of lull has no TLS");
    if (rc == -SYS_ETLS)
        return lull_pushcode(L, "ETLS", why, where);
    if (rc < 0)
        return lull_pushfail(L, rc, where);
    keep(L);
    return 1;
}

/* Pushes the context for the options at i (a table; else there are none), or a failure. */
static int push_context(lua_State *L, int i, bool server)
{
    char list[ALPN];
    if (!lua_istable(L, i)) {
        lua_newtable(L);
        i = lua_gettop(L);
    }
    struct sys_tls_options o = options(L, i, server, list);
    push_id(L, &o);
    push_cache(L);
    lua_pushvalue(L, -2);
    if (lua_rawget(L, -2) != LUA_TNIL)
        return 1;
    lua_pop(L, 2);
    return make(L, &o);
}

/* tls (opts, server) -> TLSContext | nil, message, code */
static int tls(lua_State *L)
{
    return push_context(L, 1, lua_toboolean(L, 2));
}

/* ---- handshake ------------------------------------------------------------------- */

/* The stacks of calls: handshake needs the first two, starttls all. */
enum { STREAM = 1, DEADLINE, CONTEXT, NAME, KEY, GOAL };

static int await(lua_State *L, struct stream *s, int rc, lua_KFunction k)
{
    if (s->timeout == 0 || rc < 0)
        return lull_stream_fail(L, s, -ETIMEDOUT);
    return lull_stream_await_sent(L, s, lull_until(L, s->timeout, DEADLINE), k);
}

/* A client may be gone when the server is through and wants to give him tickets: what he
   has sent can still be read. */
static bool is_through(const struct stream *s)
{
    return s->flags & STREAM_OPEN && (s->out->tls == NULL || sys_tls_shaken(s->out->tls));
}

/* The flusher does it, and wakes who waits for things to be sent when it is done. */
static int handshakek(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    int why = is_through(s) ? 0 : lull_stream_writer(s, (int)rc);
    if (why == 0 && !is_through(s)) {
        lull_stream_push(L, s->rt->loop, s);
        why = lull_stream_writer(s, 0);
    }
    if (why < 0)
        return lull_stream_fail(L, s, why);
    if (!is_through(s))
        return await(L, s, (int)rc, handshakek);
    lua_settop(L, STREAM);
    return 1;
}

/* stream:handshake () -> stream: does nothing where there is nothing to be done. */
static int handshake(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    lua_settop(L, DEADLINE - 1);
    lua_pushnil(L);
    if (s->timeout == 0)
        lull_io_retry(&s->io);
    return lull_stream_enter(L, s, handshakek);
}

/* ---- starttls -------------------------------------------------------------------- */

/* What was written before goes out as it is; what was received behind it belongs to TLS
   (RFC 3207: nobody can have put commands for later in there). */
static int securek(lua_State *L, int status, lua_KContext rc)
{
    struct stream *s = lua_touserdata(L, STREAM);
    int why = lull_stream_writer(s, (int)rc);
    if (why == 0 && s->flags & STREAM_SHUT)
        why = -EPIPE;
    if (why == 0)
        why = lull_stream_reader(L, s, 0);
    if (why < 0)
        return lull_stream_fail(L, s, why);
    if (s->out->tls)
        return luaL_error(L, "the stream is under TLS already");
    if (s->out->head)
        return await(L, s, (int)rc, securek);
    why = lull_tls_begin(L, s, lull_checktls(L, CONTEXT), lua_tostring(L, NAME),
                         lua_tostring(L, KEY));
    return why < 0 ? lull_stream_fail(L, s, why) : handshakek(L, LUA_OK, rc);
}

/* secure (stream, TLSContext, name | nil, key | nil) -> stream, after the handshake */
static int secure(lua_State *L)
{
    struct stream *s = lull_openstream(L, STREAM);
    struct sys_tls_context *c = lull_checktls(L, 2);
    lua_settop(L, 4);
    lua_pushnil(L);
    lua_insert(L, DEADLINE);
    if (s->out->tls)
        return luaL_error(L, "the stream is under TLS already");
    if (sys_tls_verifies(c) && lua_isnil(L, NAME))
        return luaL_error(L, "the TLS option 'server_name' is needed to verify the peer");
    if (!lua_isnil(L, NAME) && lua_isnil(L, KEY)) {
        lua_pushvalue(L, NAME);
        lua_replace(L, KEY);
    }
    return lull_stream_enter(L, s, securek);
}

/* stream:starttls (opts) -> stream */
static int starttls(lua_State *L)
{
    lull_openstream(L, STREAM);
    lua_settop(L, 2);
    if (!lua_isnil(L, 2) && !lua_istable(L, 2) && lua_type(L, 2) != LUA_TBOOLEAN)
        return luaL_typeerror(L, 2, "table");
    bool server = lull_stream_flag(L, 2, "server", false);
    const char *name = lua_istable(L, 2) && !server ? text(L, 2, "server_name") : NULL;
    int n = push_context(L, 2, server);
    if (n != 1)
        return n;
    lua_replace(L, 2);
    lua_settop(L, 2);
    lua_pushstring(L, name);
    return secure(L);
}

/* ---- what has come of it --------------------------------------------------------- */

static void push_certificate(lua_State *L, const struct stream *s)
{
    ptrdiff_t n = sys_tls_certificate(s->out->tls, NULL, 0);
    luaL_Buffer b;
    char *to = luaL_buffinitsize(L, &b, n > 0 ? (size_t)n : 1);
    if (n > 0)
        n = sys_tls_certificate(s->out->tls, to, (size_t)n);
    luaL_pushresultsize(&b, n > 0 ? (size_t)n : 0);
    if (n < 0)
        luaL_error(L, "not enough memory");
    if (n == 0) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

/* stream:tls_info () -> table | nil, where no handshake has been done */
static int tls_info(lua_State *L)
{
    struct sys_tls_info info;
    struct stream *s = lull_openstream(L, STREAM);
    if (s->out->tls == NULL || !sys_tls_shaken(s->out->tls))
        return 0;
    sys_tls_info(s->out->tls, &info);
    lua_createtable(L, 0, 7);
    lua_pushstring(L, info.version);
    lua_setfield(L, -2, "version");
    lua_pushstring(L, info.cipher);
    lua_setfield(L, -2, "cipher");
    lua_pushstring(L, info.server_name);
    lua_setfield(L, -2, "server_name");
    if (info.alpn) {
        lua_pushlstring(L, info.alpn, info.alpn_size);
        lua_setfield(L, -2, "alpn");
    }
    lua_pushboolean(L, info.verified);
    lua_setfield(L, -2, "verified");
    lua_pushboolean(L, info.resumed);
    lua_setfield(L, -2, "resumed");
    push_certificate(L, s);
    lua_setfield(L, -2, "peer_certificate");
    return 1;
}

/* ---- opening --------------------------------------------------------------------- */

static const luaL_Reg methods[] = {{NULL, NULL}};
static const luaL_Reg metamethods[] = {{"__gc", context_gc}, {NULL, NULL}};

static const luaL_Reg stream_methods[] = {
    {"starttls", starttls}, {"handshake", handshake}, {"tls_info", tls_info}, {NULL, NULL},
};

static const luaL_Reg functions[] = {{"tls", tls}, {"secure", secure}, {NULL, NULL}};

void lull_open_tls(lua_State *L)
{
    lull_newclass(L, LULL_TLS, "TLSContext", methods, metamethods);
    lull_addmethods(L, LULL_STREAM, stream_methods);
    lull_setfuncs(L, functions);
}
