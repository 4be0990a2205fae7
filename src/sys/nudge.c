/* A nudge: has a function called on a thread that is busy with something else, between
   two of its instructions.

   There is one way to do that to a thread which does not look: a signal to that thread
   alone.  Writing into what it works with from outside is none: Lua allows its
   lua_sethook in the middle of anything, but on the same thread.  From another one it
   reads the list of calls while these come and go; it may hit memory just freed, or,
   between its look at a call and its mark on it, turn another call's error handler into a
   wild pointer (both are one union).  A count hook that is there from the beginning makes
   everything 2.2 times as slow.

   So the first thread that wants to be nudged takes one real-time signal for this
   process, the highest that nobody uses.  Only threads that have listened once have it
   unblocked, it restarts system calls, and it does nothing where nobody listens.
   Programs that run no Lua on other threads never get here. */
#include "nudge.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int number; /* the signal, once taken; -1: there is none to be had */

static _Thread_local struct {
    void (*fn)(void *ud);
    void *ud;
    bool open; /* the signal gets through to this thread, from its first use on */
} ear;

static void on_signal(int signal)
{
    (void)signal;
    int error = errno;
    void (*fn)(void *ud) = ear.fn;
    if (fn)
        fn(ear.ud);
    errno = error;
}

static bool is_free(int n)
{
    struct sigaction now;
    return sigaction(n, NULL, &now) == 0 && !(now.sa_flags & SA_SIGINFO) &&
           now.sa_handler == SIG_DFL;
}

static int take_signal(void)
{
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigfillset(&action.sa_mask);
    for (int n = SIGRTMAX - 1; n >= SIGRTMIN; n--)
        if (is_free(n) && sigaction(n, &action, NULL) == 0)
            return n;
    return -1;
}

static int signal_number(void)
{
    pthread_mutex_lock(&lock);
    if (number == 0)
        number = take_signal();
    int n = number;
    pthread_mutex_unlock(&lock);
    return n;
}

/* Opening and shutting it each time would be two system calls. */
static bool open_ear(void)
{
    if (ear.open)
        return true;
    int n = signal_number();
    if (n < 0)
        return false;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, n);
    ear.open = pthread_sigmask(SIG_UNBLOCK, &set, NULL) == 0;
    return ear.open;
}

int sys_listen_nudge(void (*fn)(void *ud), void *ud)
{
    if (!open_ear())
        return -EAGAIN;
    ear.ud = ud;
    atomic_signal_fence(memory_order_seq_cst); /* fn last: a nudge may come any time */
    ear.fn = fn;
    return 0;
}

void sys_ignore_nudge(void)
{
    ear.fn = NULL;
    atomic_signal_fence(memory_order_seq_cst);
}

int sys_nudge(pthread_t thread)
{
    int n = signal_number();
    return n < 0 ? -EAGAIN : -pthread_kill(thread, n);
}

int sys_thread_start(pthread_t *out, void *(*run)(void *ud), void *ud)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(out, NULL, run, ud);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}
