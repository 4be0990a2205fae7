/* The Lua room.  Every C function of the library has the runtime as upvalue 1; a task
   is a coroutine with a waiter inside; suspending is spelled in one way:

       check the arguments -> lull_enter(L, k) -> k: try; -EAGAIN: lull_await_io(..., k)

   The continuation is the state machine: k is both the first attempt (rc 0) and every
   retry, called inside the task with what woke it as its third argument: 0, or -errno
   (-ETIMEDOUT: the deadline of the wait has come, -ECANCELED: what was waited for has
   been closed).  Cancellation never reaches k: lull_enter and the return from lull_park
   raise it.  State that k needs stands in the function's own Lua stack. */
#ifndef LULL_BIND_H
#define LULL_BIND_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <string.h>

#include "lull.h"
#include "waiters.h"

/* ---- the modules in Lua, compiled in (generated) --------------------------------- */

struct lull_module {
    const char *name, *file, *code;
    size_t size;
};
extern const struct lull_module lull_modules[]; /* ends with a NULL name */

/* The globals of these modules, where they are not those of the scripts: see
   library.c. */
void lull_setprivate(lua_State *L); /* pops the table */
bool lull_pushprivate(lua_State *L); /* or nil, and false */

/* ---- classes ----------------------------------------------------------------------- */

enum lull_class {
    LULL_FUTURE, LULL_TASK, LULL_CANCEL, LULL_LOOP, LULL_HANDLE, LULL_SCOPE, LULL_LOT,
    LULL_SELECTOR, LULL_SOCKET, LULL_STREAM, LULL_LISTENER, LULL_REQUEST, LULL_GROUP,
    LULL_TICKET, LULL_MANY, LULL_TLS, LULL_DATAGRAM, LULL_PROCESS, LULL_SIGNAL,
    LULL_FILE, LULL_TURN, LULL_ERRAND, LULL_DIRECTORY, LULL_WATCHER, LULL_THREAD, LULL_CALL,
    LULL_PARCEL, LULL_CLOCK, LULL_TRANSPORT,
    LULL_PACKETS, LULL_QUEUE, LULL_LOCK, LULL_GUARD, LULL_SEMAPHORE, LULL_PERMIT,
    LULL_CLASSES
};

/* ---- the runtime: one per global state ------------------------------------------- */

enum { LULL_IDLE = 1024 };

struct task;
struct loop; /* a Loop userdata: looplib.c */

struct runtime {
    lua_State *running;  /* the coroutine that may suspend now, or NULL */
    struct task *task;   /* whose it is, or NULL */
    lull_loop *loop;     /* the running loop, or NULL */
    struct loop *object; /* its Lua object */
    lua_State *L;        /* who runs the loop; tasks are resumed from here */
    lua_State *base;     /* the task's outermost coroutine */
    lua_State *outer;    /* who resumed it, when it was resumed by the loop directly */
    lua_State *parked;   /* the innermost coroutine of the task that has just parked */
    lua_State *unwinding; /* the generator that is told to end, while it is resumed */
    int ending;          /* where the Task that is ended by force stands on L, or 0 */
    bool preempted;      /* it did not park but was set aside by a hook: quota.c */
    lua_Hook hook;       /* that every coroutine has, or NULL */
    lua_State *closing;  /* the coroutine that is being closed */
    lua_State *inner;    /* who runs where nobody may suspend: a signal looks for him */
    lua_CFunction pcall, xpcall; /* Lua's own */
    int budget;          /* operations that may still complete before a turn is due */
    bool locals;         /* some task local was set: tasks inherit them */
    int child_status, child_count; /* how the nested coroutine just ended or yielded */
    unsigned paused;     /* nested coroutines that are paused inside scopes of theirs */
    int64_t slow;        /* ns that a resume may take before it is told, or 0 */
    bool told;           /* the error about to be raised has its traceback already */
    unsigned failures;   /* reported by the default handler and not taken since */
    uint32_t ids;        /* of tasks, so far */
    uint32_t streams;    /* ids of streams, so far */
    const void *classes[LULL_CLASSES]; /* their metatables, to recognise objects */
    int metatables[LULL_CLASSES];      /* and where these are in the registry */
    int threads;         /* where the table of coroutines by slot is in the registry */
    struct {
        lua_State *co[LULL_IDLE]; /* coroutines whose task ended well, for the next spawn */
        uint32_t *slot;  /* where they, or none, are anchored: the slots that are free */
        uint32_t count, capacity, slots;
    } idle;
    struct {
        int scopes; /* where the table of those that were left is in the registry */
        lua_Integer count;
    } spare;
    unsigned char *owned; /* a bit for each descriptor that an object of lull owns */
    int owned_size;
    unsigned open, max_open; /* how many these are, and may be (0: any number) */
    struct loop *loops;  /* every open loop */
    lull_list tls;       /* of streams: a finalizer is lost where memory is short */
    lull_list outflows, backlogs; /* of streams and transports: the same */
    int pipe[2];         /* what relays pour through, empty; see pour.c */
    int pipe_size;       /* 0: there is none yet; -1: there can be none */
    char *scratch;       /* see lull_scratch; NULL while somebody has it */
    struct worker *worker; /* whose state this is, when it runs on a thread: worker.c */
};

enum { LULL_SCRATCH = 64 * 1024 };

/* The runtime whose loop this thread runs, or NULL: a short cut and never the truth.  Who
   asks compares its running coroutine, for a loop may run within the loop of another. */
extern _Thread_local struct runtime *lull_here;

/* The runtime, in any function that was registered with lull_setfuncs.  In a task it is
   at hand; the look at the upvalue costs as much as a tenth of a task switch. */
static inline struct runtime *lull_runtime(lua_State *L)
{
    struct runtime *rt = lull_here;
    if (rt != NULL && rt->running == L)
        return rt;
    return (struct runtime *)lua_touserdata(L, lua_upvalueindex(1));
}

/* LULL_SCRATCH bytes to receive into, anyone's after a suspension; NULL: no memory.  Who
   makes a string of them takes them away for that moment (rt->scratch = NULL): if that
   raises, the bytes are still his, to be freed with Lua's allocator. */
static inline char *lull_scratch(lua_State *L, struct runtime *rt)
{
    if (rt->scratch == NULL) {
        void *ud;
        lua_Alloc alloc = lua_getallocf(L, &ud);
        rt->scratch = (char *)alloc(ud, NULL, 0, LULL_SCRATCH);
    }
    return rt->scratch;
}

/* Closes the pipe of the relays, if there is one. */
void lull_close_pipe(struct runtime *rt);

/* Pushes the runtime userdata, anywhere (a look-up; not for hot paths). */
struct runtime *lull_pushruntime(lua_State *L);

/* luaL_setfuncs with the runtime as upvalue 1. */
void lull_setfuncs(lua_State *L, const luaL_Reg *functions);

/* Makes class c: a metatable called name with these methods (reachable by __index) and
   metamethods; remembers it in rt->classes.  Leaves the stack as it was. */
void lull_newclass(lua_State *L, enum lull_class c, const char *name,
                   const luaL_Reg *methods, const luaL_Reg *metamethods);

/* Adds methods to class c. */
void lull_addmethods(lua_State *L, enum lull_class c, const luaL_Reg *methods);

/* Pushes a new userdata of class c.  Born zeroed, so that __gc finds it closed and
   safe. */
void *lull_newobject(lua_State *L, enum lull_class c, size_t size, int uservalues);

/* The same as it comes, neither zeroed nor with its metatable. */
static inline void *lull_newbare(lua_State *L, const struct runtime *rt, enum lull_class c,
                                 size_t size, int uservalues)
{
    char *object = lua_newuserdatauv(L, size + sizeof rt->classes[c], uservalues);
    memcpy(object + size, &rt->classes[c], sizeof rt->classes[c]);
    return object;
}

/* What stands behind value i, a userdata at *object, or NULL: behind an object of lull it
   is the metatable that its class has.  Asking Lua for the metatable takes four calls and
   twice the time, and a script can set another (debug.setmetatable). */
static inline const void *lull_classof(lua_State *L, int i, void **object)
{
    const void *class = NULL;
    char *p = *object = lua_touserdata(L, i);
    size_t size = lua_rawlen(L, i); /* of a light userdata: 0 */
    if (p != NULL && size >= sizeof class)
        memcpy(&class, p + size - sizeof class, sizeof class);
    return class;
}

/* task.c.  Is value i a Task?  NULL when not.  There may be millions of them, so they have
   nothing behind them. */
struct task *lull_totask(lua_State *L, int i);

/* Is value i an object of class c?  NULL when not. */
static inline void *lull_test(lua_State *L, struct runtime *rt, int i, enum lull_class c)
{
    void *object;
    if (c == LULL_TASK)
        return lull_totask(L, i);
    const void *class = lull_classof(L, i, &object);
    return class != NULL && class == rt->classes[c] ? object : NULL;
}

/* The same, but raises the usual argument error ("Stream expected, got nil"). */
void *lull_check(lua_State *L, struct runtime *rt, int i, enum lull_class c);

/* lull_check of argument 1, for hot paths. */
static inline void *lull_self(lua_State *L, struct runtime *rt, enum lull_class c)
{
    void *object;
    const void *class = lull_classof(L, 1, &object);
    return class == rt->classes[c] ? object : lull_check(L, rt, 1, c);
}

/* Notes that a descriptor belongs to an object of lull, or does no more; who owns one
   says so as long as it is open. */
void lull_own(struct runtime *rt, int fd, bool owned);
bool lull_owned(const struct runtime *rt, int fd);
/* May n more be opened?  -EMFILE: the host does not allow it; else 0. */
int lull_admit(const struct runtime *rt, unsigned n);

/* Keeps the value on top of the stack alive under a key (pops it), pushes it, lets it
   go.  lull_release allocates nothing, so it is safe anywhere. */
void lull_hold(lua_State *L, const void *key);
int lull_pushheld(lua_State *L, const void *key); /* the type of what was pushed */
void lull_release(lua_State *L, const void *key);
lua_Integer lull_countheld(lua_State *L);
void lull_pushallheld(lua_State *L); /* the table of what is kept alive so, by key */

/* Lets the value on top of the stack (popped) be found under a key for as long as
   somebody else keeps it alive. */
void lull_know(lua_State *L, const void *key);
int lull_pushknown(lua_State *L, const void *key); /* the type of what was pushed */

/* The Lua values that belong to an object but are rarely there (names, callbacks, task
   locals): pushes the object's table of them, made at need.  i is the object. */
void lull_pushextra(lua_State *L, int i);
/* The same where there are some; false, and nothing pushed, where there are none. */
bool lull_hasextra(lua_State *L, int i);

/* ---- suspending: task.c ------------------------------------------------------------ */

/* May this call suspend?  Raises when not, or when the scope is cancelled; gives the
   others a turn when one is due; then calls k(L, LUA_OK, 0). */
int lull_enter(lua_State *L, lua_KFunction k);

/* Suspends the running task, whose waiter (&rt->task->waiter) has been told what it waits
   for.  When it is woken k(L, LUA_YIELD, status) goes on.  return lull_park(L, k); */
int lull_park(lua_State *L, lua_KFunction k);

/* Waits until io is ready for event or deadline has come, then k.  Where the wait cannot
   begin k is called at once with that -errno. */
int lull_await_io(lua_State *L, lull_io *io, unsigned event, int64_t deadline,
                  lua_KFunction k);

/* Waits until something wakes the task's waiter (put it into a list of yours before), or
   deadline has come. */
int lull_await(lua_State *L, int64_t deadline, lua_KFunction k);

/* tasklib.c.  now + seconds for the functions above; a negative or absent time is
   LULL_FOREVER. */
int64_t lull_after(lull_loop *loop, lua_Number seconds);

/* tasklib.c.  Raises the usual argument error unless value i can be called. */
void lull_checkcallable(lua_State *L, int i);

/* options.c.  Raises unless all names in the table at i are known; NULL ends them. */
void lull_checkoptions(lua_State *L, int i, const char *function,
                       const char *const known[]);

/* ---- futures and tasks ----------------------------------------------------------- */

enum { LULL_CANCELLED = 1, LULL_RESULT, LULL_ERROR }; /* states of a settled future */

/* flags of a future */
enum {
    LULL_TAKEN = 1,     /* somebody has looked, or will look, at how it ends */
    LULL_IS_TASK = 2,
    LULL_CALLBACKS = 4, /* has done callbacks, among its extras */
    LULL_DAEMON = 8,
    LULL_ESCAPED = 16,  /* the script has its coroutine: never used again */
    LULL_NESTED = 32,   /* waits in a nested coroutine */
    LULL_CONDEMNED = 64, /* ignored its cancellation too often */
    LULL_REPORTED = 128 /* told by the default handler, and counted */
};

/* A Future userdata is a lull_future; once settled its uservalue 1 is its value, or a
   table of them with n where count is not 1, its error, or the reason of its cancel. */

struct task {
    lull_future future; /* first: a Task is a Future */
    lull_waiter waiter; /* running it resumes the coroutine */
    lua_State *co;      /* its innermost coroutine that waits; NULL once it has ended */
    lull_timer timer;   /* a sleep, or the time limit of a wait */
    uint32_t id, slot;
    lull_scope own;     /* what task:cancel cancels */
    lull_scope *scope;  /* the innermost it is in now; last, for this is no class */
};

/* Starts a task that runs function and arguments (the top nargs + 1 values, which it
   pops), its scope below parent (or NULL).  Pushes the Task.  Raises without a loop. */
struct task *lull_spawn(lua_State *L, struct runtime *rt, int nargs, lull_scope *parent);

/* Settles the Future at i with the top n values (popped), for results any number, for
   the other states one.  Returns as lull_future_settle. */
int lull_settle(lua_State *L, struct runtime *rt, int i, unsigned state, int n);

/* The loop that f is bound to (the running one when unbound); NULL: it is closed. */
lull_loop *lull_loop_of(struct runtime *rt, lull_future *f);

/* ---- outside of tasks -------------------------------------------------------- */

/* report.c.  From a waiter's run: calls function (light) in protected mode on the loop's
   own state with ud as its argument 1; an error is reported as that of a callback. */
void lull_callback(struct runtime *rt, lua_CFunction function, void *ud);

/* handlelib.c.  Runs the function and arguments on top of the stack (nargs + 1 values,
   popped) in a later turn, outside of any task; on the loop of that serial number, 0: the
   running one. */
void lull_call_soon(lua_State *L, struct runtime *rt, uint32_t loop, int nargs);

/* looplib.c.  A closed stream of this loop that still sends (+1) or is through (-1): who
   runs the loop to its end waits for it. */
void lull_linger(lull_loop *loop, int change);
/* streamlib.c.  Closes the streams of a loop that have something to send; true when there
   were some. */
bool lull_close_streams(lua_State *L, struct runtime *rt, lull_loop *loop);

/* report.c.  Reports an error that nobody will look at: pops error and traceback (string
   or nil); i is the task or 0. */
void lull_report(lua_State *L, struct runtime *rt, int i);

/* ---- errors: error.c ------------------------------------------------------------- */

/* Pushes nil, "ECONNREFUSED: connection refused (127.0.0.1:9)", "ECONNREFUSED" for a
   failure rc = -errno; where may be NULL.  Returns 3. */
int lull_pushfail(lua_State *L, int rc, const char *where);

/* The same for codes that are no errno ("EOF", "ETLS", "EAI_NONAME"). */
int lull_pushcode(lua_State *L, const char *code, const char *text, const char *where);

/* The message handler of everything that lull calls: returns the error as it is and keeps
   the traceback beside it, for lull_pushtraceback. */
int lull_handler(lua_State *L);
/* Pushes the traceback kept for the error at i, or nil. */
void lull_pushtraceback(lua_State *L, int i);
/* Raises the error on top of the stack again, its first traceback with it. */
int lull_reraise(lua_State *L);
/* Keeps the string on top (popped) as the traceback of the error at i. */
void lull_keeptraceback(lua_State *L, int i);

/* Raises the cancellation that holds for the running task. */
int lull_raisecancel(lua_State *L, struct runtime *rt);
/* Raises the cancellation that unwinds a generator whose loop was left. */
int lull_raiseleft(lua_State *L);
/* The cancelled scope that raised the error at i, or NULL when it is no cancellation. */
lull_scope *lull_cancelof(lua_State *L, struct runtime *rt, int i);
/* Cancels scope with the reason at i (0: none) to be told by the errors. */
bool lull_cancel(lua_State *L, lull_loop *loop, lull_scope *scope, int status, int i);
/* Pushes "ECANCELED: reason" (or ETIMEDOUT) for a cancelled scope, and returns the
   code. */
const char *lull_pushreason(lua_State *L, lull_scope *scope);

/* ---- sockets: socklib.c; threads ----------------------------------------------- */

/* Takes the descriptor from the Socket at i, which is closed then; -1: it was closed. */
int lull_sock_detach(lua_State *L, struct runtime *rt, int i);

/* resolvelib.c.  The thread pool of the runtime, made at first use. */
struct sys_pool;
struct sys_pool *lull_pool(lua_State *L);

/* ---- opening: each adds its functions to the table on top of the stack ----------- */

void lull_open_error(lua_State *L);
void lull_open_task(lua_State *L);
void lull_open_future(lua_State *L);
void lull_open_scope(lua_State *L);
void lull_open_group(lua_State *L);
void lull_open_many(lua_State *L);
void lull_open_lot(lua_State *L);
void lull_open_queue(lua_State *L);
void lull_open_lock(lua_State *L);
void lull_open_semaphore(lua_State *L);
void lull_open_local(lua_State *L);
void lull_open_test(lua_State *L);
void lull_open_co(lua_State *L); /* replaces functions of the global coroutine */
void lull_open_loop(lua_State *L);
void lull_open_selector(lua_State *L); /* field selectors */
void lull_open_sock(lua_State *L);     /* sockets */
void lull_open_resolve(lua_State *L);  /* names, the pool; called by the former */
void lull_open_stream(lua_State *L);   /* streams, listeners */
void lull_open_tls(lua_State *L);
void lull_open_datagram(lua_State *L);
void lull_open_process(lua_State *L);
void lull_open_signal(lua_State *L);
void lull_open_stdio(lua_State *L); /* standard streams */
void lull_open_fs(lua_State *L);
void lull_open_parcel(lua_State *L);
void lull_open_thread(lua_State *L);
void lull_open_call(lua_State *L); /* called by the former */
void lull_open_clock(lua_State *L); /* clocks of the host */
void lull_open_transport(lua_State *L); /* transports of protocols */

/* core.c: has require find "lull" and its modules in a new state, and opens of the core what
   is needed without them; the rest is opened when somebody asks for it. */
void lull_open_preloaded(lua_State *L);

#endif
