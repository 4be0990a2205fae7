/* Ctrl-C.  The handler posts a message to the loop, whose waiter calls what cancels the
   script.  Where no await comes within half a second, Lua code computes: an alarm then
   sets a hook on whatever runs, which raises "interrupted!" as lua does.  SIGALRM is
   taken only from the Ctrl-C until the loop has heard of it. */
#include "program.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

enum {
    PATIENCE = 500 * 1000, /* us until computing code is interrupted */
    RETRY = 10 * 1000,     /* us until the next try: another coroutine may run then */
    ECHO = 20 * 1000000    /* ns: signals this close are one Ctrl-C, as from timeout(1),
                              which signals its child and then the group */
};

/* What a Ctrl-C ends: the script, and the second one at once; a line; all, at once. */
enum { SCRIPT, LINE, LEAVING };

static struct runtime *rt;
static lull_loop *loop; /* of the main task */
static lull_message message;
static const char canceller; /* key of the held function that cancels */
static lua_State *plain;     /* --plain: the state to interrupt */
static struct sigaction alarm_before;

static volatile sig_atomic_t came;   /* at least one Ctrl-C */
static volatile sig_atomic_t posted; /* the loop has not heard of it yet */
static volatile sig_atomic_t armed;  /* computing code is to be interrupted */
static volatile sig_atomic_t raised; /* it has been */
static volatile sig_atomic_t mode;
static int64_t last; /* when, on the monotonic clock */

static void on(int number, void (*handler)(int), struct sigaction *before)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = handler;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaddset(&action.sa_mask, SIGINT);
    sigaddset(&action.sa_mask, SIGALRM);
    sigaction(number, &action, before);
}

static void set_alarm(long first, long then)
{
    struct itimerval t = {{0, then}, {0, first}};
    setitimer(ITIMER_REAL, &t, NULL);
}

/* ---- code that computes ---------------------------------------------------------- */

static void disarm(void)
{
    if (!armed)
        return;
    set_alarm(0, 0);
    sigaction(SIGALRM, &alarm_before, NULL);
    armed = 0;
}

/* A hook; one that an earlier alarm has left behind in another coroutine does nothing. */
static void interrupt(lua_State *L, lua_Debug *ar)
{
    (void)ar;
    lua_sethook(L, NULL, 0, 0);
    if (armed || plain) {
        disarm();
        raised = 1;
        luaL_error(L, "interrupted!");
    }
}

static void set_hook(lua_State *L)
{
    int anything = LUA_MASKCALL | LUA_MASKRET | LUA_MASKLINE | LUA_MASKCOUNT;
    lua_sethook(L, interrupt, anything, 1);
}

static void on_alarm(int number)
{
    (void)number;
    lua_State *L = rt->running ? rt->running : rt->L;
    if (L)
        set_hook(L);
}

static void arm(void)
{
    if (armed)
        return;
    armed = 1;
    on(SIGALRM, on_alarm, &alarm_before);
    set_alarm(PATIENCE, RETRY);
}

/* ---- the signal ------------------------------------------------------------------ */

static bool echo(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    int64_t now = time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
    if (now - last < ECHO)
        return true;
    last = now;
    return false;
}

static void on_interrupt(int number)
{
    int error = errno;
    (void)number;
    bool repeated = echo(), again = came && mode == SCRIPT;
    if (repeated && again)
        return;
    if (again || mode == LEAVING)
        _exit(128 + SIGINT);
    came = 1;
    if (!posted) {
        posted = 1;
        lull_post(loop, &message);
    }
    arm();
    errno = error;
}

/* On the loop, in a protected call. */
static int cancel(lua_State *L)
{
    lull_pushheld(L, &canceller);
    lua_pushboolean(L, raised);
    raised = 0;
    lua_call(L, 1, 0);
    return 0;
}

static void heard(lull_loop *l, lull_waiter *w)
{
    (void)l, (void)w;
    disarm();
    posted = 0;
    lull_callback(rt, cancel, NULL);
}

static void on_plain(int number)
{
    signal(number, SIG_DFL);
    set_hook(plain);
    if (rt->running)
        set_hook(rt->running);
}

/* ---- from main ------------------------------------------------------------------- */

void lull_interrupt_open(lua_State *L)
{
    lull_hold(L, &canceller);
    rt = lull_pushruntime(L);
    lua_pop(L, 1);
    loop = rt->loop;
    lull_waiter_init(&message.waiter, heard);
    on(SIGINT, on_interrupt, NULL);
}

void lull_interrupt_plain(lua_State *L)
{
    rt = lull_pushruntime(L);
    lua_pop(L, 1);
    plain = L;
    on(SIGINT, on_plain, NULL);
}

void lull_interrupt_prompt(lua_State *L)
{
    lull_hold(L, &canceller);
    mode = LINE;
}

void lull_interrupt_leave(void)
{
    mode = LEAVING;
}

void lull_interrupt_typing(bool typing)
{
    if (plain && typing)
        signal(SIGINT, SIG_DFL);
    else if (plain)
        on(SIGINT, on_plain, NULL);
}

bool lull_interrupt_close(void)
{
    signal(SIGINT, SIG_DFL);
    disarm();
    return came && mode == SCRIPT;
}
