/* Running a function in a Lua state of its own, and interrupting it.

   A fresh state for each function, so that nothing of one call is ever seen by another:
   with Lua's libraries it takes some sixty microseconds.  Most of the core is opened only
   where somebody asks for lull, which takes twice as long.  In there Lua's own
   coroutine functions are replaced, as in every state that lull opens, which is how we
   know which coroutine runs; os.exit and os.setlocale, which act on the whole process,
   are refused.

   To interrupt: `stop` is set, then the thread is nudged (sys/nudge.c explains why it
   takes a signal).  The handler runs on the thread that it is about, so it may set a
   hook on whatever coroutine runs there, which raises an error; and if a loop runs
   there, post to it: its tasks are cancelled first, and only what goes on computing is
   interrupted. Code that catches the error has a moment for its cleanup; then
   everything raises. */
#include "worker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "nudge.h"
#include "task.h"

#define INTERRUPTED "ECANCELED: interrupted"

enum {
    PATIENCE = 500 * 1000000, /* ns that a loop has to come to an end by itself */
    MERCY = 200 * 1000000,    /* ns that interrupted code has for its cleanup */
    PACE = 1000               /* instructions between two looks at the clock */
};

/* ---- interruption ------------------------------------------------------------------ */

static int64_t clock_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static bool stops(struct worker *w)
{
    return atomic_load_explicit(&w->stop, memory_order_relaxed);
}

/* Code outside of loops is interrupted at once; a loop that was told has some time. */
static bool is_due(const struct worker *w)
{
    if (w->raised != 0)
        return clock_now() - w->raised >= MERCY;
    return w->told == 0 || w->rt->loop == NULL || clock_now() - w->since >= PATIENCE;
}

static struct worker *worker_of(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lua_pop(L, 1);
    return rt->worker;
}

static void interrupt(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    struct worker *w = worker_of(L);
    bool first = w->raised == 0;
    if (!is_due(w)) {
        lua_sethook(L, interrupt, LUA_MASKCOUNT, L == w->current ? 1 : PACE);
        return;
    }
    if (first)
        w->raised = clock_now();
    lua_sethook(L, interrupt, LUA_MASKCOUNT, first ? PACE : 1);
    lua_pushliteral(L, INTERRUPTED);
    lua_error(L);
}

static void arm(lua_State *L)
{
    lua_sethook(L, interrupt, LUA_MASKCOUNT, 1);
}

/* Has the loop that runs in the worker cancel its tasks, once. */
static void tell(struct worker *w)
{
    lull_loop *loop = w->rt->loop;
    if (loop == NULL || w->posted || w->told == lull_loop_serial(loop))
        return;
    w->posted = 1;
    w->told = lull_loop_serial(loop);
    lull_post(loop, &w->message);
}

/* In a signal handler on the worker's thread. */
static void nudged(void *ud)
{
    struct worker *w = ud;
    lua_State *L = w->current;
    if (L == NULL || !stops(w))
        return;
    if (w->since == 0)
        w->since = clock_now();
    tell(w);
    arm(w->rt->running ? w->rt->running : L);
}

static int cancel_tasks(lua_State *L)
{
    struct runtime *rt = lull_pushruntime(L);
    lull_pushtasks(L, rt, lull_loop_serial(rt->loop));
    for (lua_Integer i = 1; lua_rawgeti(L, -1, i) != LUA_TNIL; i++) {
        struct task *t = lua_touserdata(L, -1);
        lua_pushliteral(L, "interrupted");
        lull_cancel(L, rt->loop, &t->own, -ECANCELED, lua_gettop(L));
        lua_pop(L, 2);
    }
    return 0;
}

/* From now on each resume on this loop is looked at, as if it were debugged, by a clock
   that finds nothing slow; and whoever runs the loop finds a hook when he comes back. */
static void heard(lull_loop *loop, lull_waiter *waiter)
{
    (void)loop;
    struct worker *w = container_of(waiter, struct worker, message.waiter);
    w->posted = 0;
    w->rt->slow = INT64_MAX;
    arm(w->current);
    lull_callback(w->rt, cancel_tasks, w);
}

void lull_worker_begin(struct worker *w)
{
    if (!stops(w))
        return;
    if (w->posted && lull_loop_with(w->rt, w->told) == NULL)
        w->posted = 0; /* that loop was freed before it had heard */
    tell(w);
}

void lull_worker_watch(struct worker *w, lua_State *co)
{
    if (stops(w) && co != NULL)
        arm(co);
}

int lull_worker_resume(struct worker *w, lua_State *co, lua_State *from, int nargs,
                       int *nresults)
{
    lua_State *before = w->current;
    w->current = co;
    if (stops(w)) {
        tell(w);
        arm(co);
    }
    int status = lua_resume(co, from, nargs, nresults);
    w->current = before;
    if (stops(w))
        arm(from);
    return status;
}

void lull_worker_check(lua_State *L, struct worker *w)
{
    if (!stops(w))
        return;
    lua_pushliteral(L, INTERRUPTED);
    lua_error(L);
}

void lull_worker_stop(struct worker *w)
{
    atomic_store(&w->stop, true);
}

/* ---- packing what it runs ---------------------------------------------------------- */

static const char *const parts[] = {"path", "cpath"};

enum { CODE = 1, NAMED, PATHS, FIRST_ARGUMENT = PATHS + 2 };

struct dump {
    bool begun; /* the buffer stands above the function that is dumped */
    luaL_Buffer code;
};

static int append(lua_State *L, const void *data, size_t size, void *ud)
{
    struct dump *d = ud;
    if (!d->begun)
        luaL_buffinit(L, &d->code);
    d->begun = true;
    luaL_addlstring(&d->code, data, size);
    return 0;
}

/* Pushes the code of the function at 1, which must need nothing but its arguments. */
static void push_code(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    luaL_argcheck(L, !lua_iscfunction(L, 1), 1,
                  "a function in C cannot be copied: call it in a Lua function");
    for (int i = 1;; i++) {
        const char *name = lua_getupvalue(L, 1, i);
        if (name == NULL)
            break;
        lua_pop(L, 1);
        if (strcmp(name, "_ENV") == 0)
            continue;
        lua_pushfstring(L, "upvalue '%s' stays behind: pass it as an argument", name);
        luaL_argerror(L, 1, lua_tostring(L, -1));
    }
    struct dump d = {.begun = false};
    lua_pushvalue(L, 1);
    if (lua_dump(L, append, &d, 0) != 0)
        luaL_error(L, "unable to copy the function");
    luaL_pushresult(&d.code);
    lua_remove(L, -2);
}

/* Does the host have us in a global, and does the code speak of it? */
static bool is_named(lua_State *L, const char *code, size_t size)
{
    lua_getglobal(L, "lull");
    luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_LOADED_TABLE);
    lua_getfield(L, -1, "lull");
    bool ours = lua_istable(L, -1) && lua_rawequal(L, -1, -3);
    lua_pop(L, 3);
    return ours && memmem(code, size, "lull", 4) != NULL;
}

static void push_part(lua_State *L, const char *field)
{
    lua_getglobal(L, "package");
    if (lua_istable(L, -1)) {
        lua_getfield(L, -1, field);
        lua_replace(L, -2);
    }
    if (lua_type(L, -1) != LUA_TSTRING) {
        lua_pop(L, 1);
        lua_pushnil(L);
    }
}

void lull_worker_pack(lua_State *L, struct runtime *rt)
{
    int n = lua_gettop(L);
    luaL_checkstack(L, 16, NULL);
    push_code(L);
    size_t size;
    const char *code = lua_tolstring(L, -1, &size);
    lua_replace(L, 1);
    lua_pushboolean(L, is_named(L, code, size));
    push_part(L, parts[0]);
    push_part(L, parts[1]);
    lua_rotate(L, 2, 3);
    lull_pack(L, rt, 1, n + 3, "argument", -2);
    lua_replace(L, 1);
    lua_settop(L, 1);
}

/* ---- the state --------------------------------------------------------------------- */

static void *allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct worker *w = ud;
    if (nsize == 0) {
        free(ptr);
        return NULL;
    }
    bool grows = ptr == NULL || nsize > osize;
    if (grows && w->fuel > 0 && --w->fuel == 0) {
        w->fuel = 1;
        return NULL;
    }
    return realloc(ptr, nsize);
}

/* os.exit ends the process, os.setlocale changes it: not from here. */
static int no_exit(lua_State *L)
{
    return luaL_error(L, "os.exit would end all threads: raise an error instead");
}

static int get_locale(lua_State *L)
{
    if (!lua_isnoneornil(L, 1))
        return luaL_error(L, "os.setlocale would change the locale of all threads");
    lua_pushvalue(L, lua_upvalueindex(1));
    lua_insert(L, 1);
    lua_call(L, lua_gettop(L) - 1, 1);
    return 1;
}

static void confine(lua_State *L)
{
    lua_getglobal(L, "os");
    lua_pushcfunction(L, no_exit);
    lua_setfield(L, -2, "exit");
    lua_getfield(L, -1, "setlocale");
    lua_pushcclosure(L, get_locale, 1);
    lua_setfield(L, -2, "setlocale");
    lua_pop(L, 1);
}

static void open_state(lua_State *L, struct worker *w)
{
    lua_gc(L, LUA_GCSTOP); /* there is no garbage yet */
    luaL_openlibs(L);
    lull_open_preloaded(L);
    lua_gc(L, LUA_GCRESTART);
    w->rt = lull_pushruntime(L);
    w->rt->worker = w;
    confine(L);
    lua_settop(L, 0);
    w->current = L; /* from here on it can be interrupted */
    lull_worker_check(L, w);
}

/* The stack: what came in the parcel.  Leaves the function and its arguments. */
static void prepare(lua_State *L)
{
    if (lua_toboolean(L, NAMED)) {
        lua_getglobal(L, "require");
        lua_pushliteral(L, "lull");
        lua_call(L, 1, 1);
        lua_setglobal(L, "lull");
    }
    lua_getglobal(L, "package");
    for (int i = 0; i < 2; i++)
        if (!lua_isnil(L, PATHS + i)) {
            lua_pushvalue(L, PATHS + i);
            lua_setfield(L, -2, parts[i]);
        }
    lua_pop(L, 1);
    size_t size;
    const char *code = lua_tolstring(L, CODE, &size);
    if (luaL_loadbufferx(L, code, size, "=(thread)", "b") != LUA_OK)
        lua_error(L);
    lua_replace(L, CODE);
    lua_rotate(L, NAMED, -3);
    lua_pop(L, 3);
}

/* ---- how it came out --------------------------------------------------------------- */

/* (error, traceback): packs both; what cannot be copied becomes a string. */
static int pack_error(lua_State *L)
{
    struct worker *w = worker_of(L);
    lull_pack(L, w->rt, 1, 2, "error", 0);
    w->out = lull_unbox(L, -1);
    return 0;
}

static int pack_told(lua_State *L)
{
    luaL_tolstring(L, 1, NULL);
    lua_replace(L, 1);
    return pack_error(L);
}

/* Calls f with the two values on top of the stack, which stay.  Want of memory raises. */
static bool try_pack(lua_State *L, lua_CFunction f)
{
    lua_pushcfunction(L, f);
    lua_pushvalue(L, -3);
    lua_pushvalue(L, -3);
    int status = lua_pcall(L, 2, 0, 0);
    if (status == LUA_ERRMEM)
        lua_error(L);
    if (status != LUA_OK)
        lua_pop(L, 1);
    return status == LUA_OK;
}

static void fail(lua_State *L, struct worker *w, int status)
{
    if (status == LUA_ERRMEM)
        lua_error(L);
    lull_pushtraceback(L, -1);
    w->failed = true;
    if (try_pack(L, pack_error) || try_pack(L, pack_told))
        return;
    w->out = lull_pack_text("(an error that cannot be copied, nor shown as a string)");
}

/* (worker): all that may raise. */
static int run(lua_State *L)
{
    struct worker *w = lua_touserdata(L, 1);
    open_state(L, w);
    lua_settop(L, 0);
    int n = lull_unpack(L, w->in);
    lull_parcel_free(w->in);
    w->in = NULL;
    prepare(L);
    lua_pushcfunction(L, lull_handler);
    lua_insert(L, 1);
    int status = lua_pcall(L, n - FIRST_ARGUMENT + 1, LUA_MULTRET, 1);
    if (status != LUA_OK) {
        fail(L, w, status);
        return 0;
    }
    lull_pack(L, w->rt, 2, lua_gettop(L) - 1, "result", 1);
    w->out = lull_unbox(L, -1);
    return 0;
}

void lull_worker_run(struct worker *w)
{
    w->failed = true; /* unless it comes out well */
    lua_State *L = lua_newstate(allocate, w);
    if (L == NULL)
        return;
    bool listens = sys_listen_nudge(nudged, w) == 0;
    lua_pushcfunction(L, run);
    lua_pushlightuserdata(L, w);
    w->failed = false;
    if (lua_pcall(L, 1, 0, 0) != LUA_OK) {
        w->failed = true;
        const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "?";
        lull_parcel_free(w->out);
        w->out = lull_pack_text(text);
    }
    w->current = NULL; /* what its closing runs are finalizers, which no hook reaches */
    if (listens)
        sys_ignore_nudge();
    lua_close(L);
}

void lull_worker_init(struct worker *w)
{
    memset(w, 0, sizeof *w);
    atomic_init(&w->stop, false);
    lull_waiter_init(&w->message.waiter, heard);
}

void lull_worker_fini(struct worker *w)
{
    lull_parcel_free(w->in);
    lull_parcel_free(w->out);
    w->in = w->out = NULL;
}

int lull_worker_outcome(lua_State *L, struct worker *w)
{
    if (w->out == NULL)
        return luaL_error(L, "not enough memory");
    int top = lua_gettop(L), n = lull_unpack(L, w->out);
    if (!w->failed)
        return n;
    lua_settop(L, top + 2);
    if (lua_type(L, -1) == LUA_TSTRING) {
        lua_pushliteral(L, "\n[called at]: ");
        luaL_traceback(L, L, NULL, 1);
        lua_concat(L, 3);
    } else {
        lua_pop(L, 1);
        luaL_traceback(L, L, NULL, 1);
    }
    if (!lua_isnil(L, top + 1))
        lull_keeptraceback(L, top + 1);
    else
        lua_pop(L, 1);
    return lua_error(L);
}
