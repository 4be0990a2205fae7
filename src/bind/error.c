/* How a failure looks in Lua: nil, message, code for what the world does; error values
   that travel unchanged; the traceback of where they were raised, kept beside them; and
   the cancellation error, which knows the scope that it will end at. */
#include "task.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

/* ---- errno ----------------------------------------------------------------------- */

#define NAME(code) {code, #code}
static const struct {
    int code;
    const char *name;
} names[] = {
    NAME(EPERM), NAME(ENOENT), NAME(ESRCH), NAME(EINTR), NAME(EIO), NAME(ENXIO),
    NAME(E2BIG), NAME(ENOEXEC), NAME(EBADF), NAME(ECHILD), NAME(EAGAIN), NAME(ENOMEM),
    NAME(EACCES), NAME(EFAULT), NAME(EBUSY), NAME(EEXIST), NAME(EXDEV), NAME(ENODEV),
    NAME(ENOTDIR), NAME(EISDIR), NAME(EINVAL), NAME(ENFILE), NAME(EMFILE), NAME(ENOTTY),
    NAME(ETXTBSY), NAME(EFBIG), NAME(ENOSPC), NAME(ESPIPE), NAME(EROFS), NAME(EMLINK),
    NAME(EPIPE), NAME(EDOM), NAME(ERANGE), NAME(EDEADLK), NAME(ENAMETOOLONG),
    NAME(ENOSYS), NAME(ENOTEMPTY), NAME(ELOOP), NAME(EPROTO), NAME(EOVERFLOW),
    NAME(EILSEQ), NAME(ENOTSOCK), NAME(EDESTADDRREQ), NAME(EMSGSIZE), NAME(EPROTOTYPE),
    NAME(ENOPROTOOPT), NAME(EPROTONOSUPPORT), NAME(EOPNOTSUPP), NAME(EAFNOSUPPORT),
    NAME(EADDRINUSE), NAME(EADDRNOTAVAIL), NAME(ENETDOWN), NAME(ENETUNREACH),
    NAME(ENETRESET), NAME(ECONNABORTED), NAME(ECONNRESET), NAME(ENOBUFS),
    NAME(EISCONN), NAME(ENOTCONN), NAME(ETIMEDOUT), NAME(ECONNREFUSED),
    NAME(EHOSTDOWN), NAME(EHOSTUNREACH), NAME(EALREADY), NAME(EINPROGRESS),
    NAME(ESTALE), NAME(EDQUOT), NAME(ECANCELED), NAME(ENOTSUP),
};
#undef NAME

/* "ECONNREFUSED" for an errno. */
static const char *name_of(int code)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            return names[i].name;
    return "EUNKNOWN";
}

int lull_pushcode(lua_State *L, const char *code, const char *text, const char *where)
{
    lua_pushnil(L);
    if (where)
        lua_pushfstring(L, "%s: %s (%s)", code, text, where);
    else
        lua_pushfstring(L, "%s: %s", code, text);
    lua_pushstring(L, code);
    return 3;
}

int lull_pushfail(lua_State *L, int rc, const char *where)
{
    char text[128];
    snprintf(text, sizeof text, "%s", strerror(-rc));
    text[0] = (char)tolower((unsigned char)text[0]);
    return lull_pushcode(L, name_of(-rc), text, where);
}

/* ---- tracebacks ------------------------------------------------------------------ */

/* Where an error was raised is kept beside it while it travels: by the task that it
   travels in, or outside of tasks by the runtime, one at a time.  Who raises a known
   error again says so first (lull_reraise), for the same value may also be raised anew
   elsewhere. */
static const char kept_key;

/* Pushes the table that keeps it, in the fields error and traceback. */
static void push_keeper(lua_State *L, struct runtime *rt)
{
    if (rt->task != NULL) {
        lull_pushtask(L, rt, rt->task);
        lull_pushextra(L, -1);
        lua_remove(L, -2);
    } else
        lull_pushheld(L, &kept_key);
}

/* Pushes the keeper or, where there is none yet, nil; allocates nothing. */
static bool find_keeper(lua_State *L, struct runtime *rt)
{
    if (rt->task == NULL)
        return lull_pushheld(L, &kept_key) != LUA_TNIL;
    lull_pushtask(L, rt, rt->task);
    if (!lull_hasextra(L, -1))
        lua_pushnil(L);
    lua_remove(L, -2);
    return !lua_isnil(L, -1);
}

/* Pushes the error at i as it is kept: nil as something else, for no field is nil. */
static void push_raised(lua_State *L, int i)
{
    if (lua_isnil(L, i))
        lua_pushlightuserdata(L, (void *)&kept_key);
    else
        lua_pushvalue(L, i);
}

/* The same, and tells whether it keeps the story of the error at i. */
static bool is_kept(lua_State *L, struct runtime *rt, int i)
{
    i = lua_absindex(L, i);
    if (!find_keeper(L, rt))
        return false;
    push_raised(L, i);
    lua_getfield(L, -2, "raised");
    bool is = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return is;
}

void lull_keeptraceback(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    struct runtime *rt = lull_pushruntime(L);
    push_keeper(L, rt);
    push_raised(L, i);
    lua_setfield(L, -2, "raised");
    lua_pushvalue(L, -3);
    lua_setfield(L, -2, "raised_at");
    lua_pop(L, 3);
    rt->told = true;
}

void lull_pushtraceback(lua_State *L, int i)
{
    i = lua_absindex(L, i);
    int top = lua_gettop(L);
    struct runtime *rt = lull_pushruntime(L);
    if (is_kept(L, rt, i)) {
        lua_getfield(L, -1, "raised_at");
        lua_pushnil(L);
        lua_setfield(L, -3, "raised");
        lua_pushnil(L);
        lua_setfield(L, -3, "raised_at");
    } else
        lua_pushnil(L);
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

int lull_reraise(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    rt->told = is_kept(L, rt, -2);
    lua_pop(L, 2);
    return lua_error(L);
}

/* Was the error raised by a function of ours that had told its story before? */
static bool is_told(lua_State *L, struct runtime *rt)
{
    lua_Debug ar;
    bool told = rt->told;
    rt->told = false;
    if (!told || !lua_getstack(L, 1, &ar) || !lua_getinfo(L, "f", &ar))
        return false;
    bool ours = lua_iscfunction(L, -1) && lua_getupvalue(L, -1, 1) != NULL &&
                lua_touserdata(L, -1) == rt;
    return ours && is_kept(L, rt, 1);
}

int lull_handler(lua_State *L)
{
    lua_settop(L, 1);
    struct runtime *rt = lull_pushruntime(L);
    if (lua_checkstack(L, 32) && !lull_test(L, rt, 1, LULL_CANCEL) && !is_told(L, rt)) {
        luaL_traceback(L, L, NULL, 1);
        lull_keeptraceback(L, 1);
        rt->told = false;
    }
    lua_settop(L, 1);
    return 1;
}

/* traceback (err) -> string | nil: where err was raised; told once. */
static int traceback(lua_State *L)
{
    luaL_checkany(L, 1);
    lull_pushtraceback(L, 1);
    return 1;
}

/* rethrow (err): raises an error again, its first traceback with it. */
static int rethrow(lua_State *L)
{
    lua_settop(L, 1);
    return lull_reraise(L);
}

/* ---- cancellation ---------------------------------------------------------------- */

/* The error value of a cancellation; its reason is uservalue 1. */
struct cancel {
    lull_scope *scope;
    int status;
};

lull_scope *lull_cancelof(lua_State *L, struct runtime *rt, int i)
{
    struct cancel *c = lull_test(L, rt, i, LULL_CANCEL);
    return c ? c->scope : NULL;
}

/* Reasons are held under the address of their scope until it is closed. */
bool lull_cancel(lua_State *L, lull_loop *loop, lull_scope *scope, int status, int i)
{
    if (scope->own != 0)
        return false;
    if (i != 0 && !lua_isnoneornil(L, i)) {
        lua_pushvalue(L, i);
        lull_hold(L, scope);
    }
    return lull_scope_cancel(loop, scope, status);
}

/* "ECANCELED: reason" from a status and the reason on top of the stack (replaced). */
static const char *compose(lua_State *L, int status)
{
    const char *text = status == -ETIMEDOUT ? "timed out" : "cancelled";
    if (!lua_isnil(L, -1))
        text = luaL_tolstring(L, -1, NULL);
    else
        lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", name_of(-status), text);
    lua_replace(L, -3);
    lua_pop(L, 1);
    return name_of(-status);
}

const char *lull_pushreason(lua_State *L, lull_scope *scope)
{
    lull_pushheld(L, scope);
    return compose(L, scope->own);
}

int lull_raisecancel(lua_State *L, struct runtime *rt)
{
    lull_scope *scope = lull_scope_culprit(rt->task->scope);
    struct cancel *c = lull_newobject(L, LULL_CANCEL, sizeof *c, 1);
    c->scope = scope;
    c->status = scope->own;
    lull_pushheld(L, scope);
    lua_setiuservalue(L, -2, 1);
    rt->task->own.delivered++;
    return lua_error(L);
}

int lull_raiseleft(lua_State *L)
{
    struct cancel *c = lull_newobject(L, LULL_CANCEL, sizeof *c, 1);
    c->status = -ECANCELED;
    lua_pushliteral(L, "the generator was left");
    lua_setiuservalue(L, -2, 1);
    return lua_error(L);
}

static int cancel_tostring(lua_State *L)
{
    struct cancel *c = lua_touserdata(L, 1);
    lua_getiuservalue(L, 1, 1);
    compose(L, c->status);
    return 1;
}

static int cancel_index(lua_State *L)
{
    const char *key = luaL_checkstring(L, 2);
    if (strcmp(key, "reason") != 0)
        return 0;
    lua_getiuservalue(L, 1, 1);
    return 1;
}

/* is_cancelled (err) -> boolean */
static int is_cancelled(lua_State *L)
{
    lua_settop(L, 1);
    lua_pushboolean(L, lull_test(L, lull_runtime(L), 1, LULL_CANCEL) != NULL);
    return 1;
}

/* fail (code, text [, where]) -> nil, message, code: for the modules in Lua. */
static int fail(lua_State *L)
{
    return lull_pushcode(L, luaL_checkstring(L, 1), luaL_checkstring(L, 2),
                         luaL_optstring(L, 3, NULL));
}

static const luaL_Reg cancel_meta[] = {
    {"__tostring", cancel_tostring}, {"__index", cancel_index}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"is_cancelled", is_cancelled},
                                     {"traceback", traceback},
                                     {"rethrow", rethrow},
                                     {"fail", fail},
                                     {NULL, NULL}};

void lull_open_error(lua_State *L)
{
    lua_newtable(L);
    lull_hold(L, &kept_key);
    lull_newclass(L, LULL_CANCEL, "Cancellation", NULL, cancel_meta);
    lull_setfuncs(L, functions);
}
