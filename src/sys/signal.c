/* Signals: their names, and hearing of them on a loop.

   Dispositions belong to the process, and a handler runs on whatever thread.  So there is
   one handler for all who listen, in a list; it counts the signal for each and makes his
   descriptor readable, once until he has looked.  Changes of the list are made under a
   lock, by threads that have all signals blocked; a handler takes no lock, it is counted
   while it is inside, and who has left the list waits until nobody can still see him. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- names ------------------------------------------------------------------------- */

static const struct {
    const char *name;
    int number;
} names[] = {
#define SIGNAL(name) {#name, name}
    SIGNAL(SIGHUP),  SIGNAL(SIGINT),  SIGNAL(SIGQUIT), SIGNAL(SIGILL),    SIGNAL(SIGTRAP),
    SIGNAL(SIGABRT), SIGNAL(SIGBUS),  SIGNAL(SIGFPE),  SIGNAL(SIGKILL),   SIGNAL(SIGUSR1),
    SIGNAL(SIGSEGV), SIGNAL(SIGUSR2), SIGNAL(SIGPIPE), SIGNAL(SIGALRM),   SIGNAL(SIGTERM),
    SIGNAL(SIGCHLD), SIGNAL(SIGCONT), SIGNAL(SIGSTOP), SIGNAL(SIGTSTP),   SIGNAL(SIGTTIN),
    SIGNAL(SIGTTOU), SIGNAL(SIGURG),  SIGNAL(SIGXCPU), SIGNAL(SIGXFSZ),   SIGNAL(SIGPROF),
    SIGNAL(SIGWINCH), SIGNAL(SIGIO),  SIGNAL(SIGSYS),  SIGNAL(SIGVTALRM),
#ifdef SIGSTKFLT
    SIGNAL(SIGSTKFLT),
#endif
#ifdef SIGPWR
    SIGNAL(SIGPWR),
#endif
#undef SIGNAL
};

enum { NAMES = sizeof names / sizeof *names };

int sys_signal_number(const char *name)
{
    for (int i = 0; i < NAMES; i++)
        if (strcmp(names[i].name, name) == 0)
            return names[i].number;
    static const char real_time[] = "SIGRTMIN";
    if (strncmp(name, real_time, sizeof real_time - 1) != 0)
        return -EINVAL;
    const char *rest = name + sizeof real_time - 1;
    char *end;
    long n = *rest == '+' ? strtol(rest, &end, 10) : 0;
    if (*rest != '\0' && (*rest != '+' || end == rest + 1 || *end != '\0'))
        return -EINVAL;
    return n >= 0 && n <= SIGRTMAX - SIGRTMIN ? SIGRTMIN + (int)n : -EINVAL;
}

const char *sys_signal_name(int number, char text[SYS_SIGNAL])
{
    for (int i = 0; i < NAMES; i++)
        if (names[i].number == number)
            return names[i].name;
    if (number == SIGRTMIN)
        return "SIGRTMIN";
    if (number > SIGRTMIN && number <= SIGRTMAX)
        snprintf(text, SYS_SIGNAL, "SIGRTMIN+%d", number - SIGRTMIN);
    else
        snprintf(text, SYS_SIGNAL, "SIG%d", number);
    return text;
}

int sys_signal_raise(int number)
{
    return kill(getpid(), number) < 0 ? -errno : 0;
}

/* A handler that returns to a fault meets it again, for ever. */
bool sys_signal_fault(int number)
{
    return number == SIGSEGV || number == SIGBUS || number == SIGFPE || number == SIGILL;
}

/* ---- the handler ------------------------------------------------------------------- */

static _Atomic(struct sys_ear *) ears; /* all who listen */
static atomic_int inside;              /* handlers that run now */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    unsigned listeners;
    struct sigaction before;
} signals[SYS_SIGNALS];

static void tell(struct sys_ear *ear)
{
    if (atomic_exchange(&ear->told, true))
        return;
    while (write(ear->fd[1], "", 1) < 0 && errno == EINTR)
        ;
}

/* Nobody waits for it and one is kept already: then it is his who had it before. */
static bool refused(struct sys_ear *ear, int n)
{
    return n == SIGINT && atomic_load(&ear->wanted[n]) == 0 &&
           atomic_load(&ear->count[n]) != atomic_load(&ear->taken[n]);
}

static void hear(int n)
{
    int saved = errno;
    bool mine = false, his = false;
    atomic_fetch_add(&inside, 1);
    for (struct sys_ear *ear = atomic_load(&ears); ear; ear = atomic_load(&ear->next)) {
        if (!atomic_load(&ear->open[n]))
            continue;
        if (refused(ear, n)) {
            his = true;
            continue;
        }
        mine = true;
        atomic_fetch_add(&ear->count[n], 1);
        tell(ear);
    }
    void (*before)(int) = signals[n].before.sa_handler;
    bool callable = !(signals[n].before.sa_flags & SA_SIGINFO) && before != SIG_DFL &&
                    before != SIG_IGN;
    atomic_fetch_sub(&inside, 1);
    if (his && !mine && callable)
        before(n);
    errno = saved;
}

static int install(int n)
{
    struct sigaction action = {.sa_handler = hear, .sa_flags = SA_RESTART | SA_ONSTACK};
    sigfillset(&action.sa_mask);
    if (signals[n].listeners == 0) {
        struct sigaction before;
        if (sigaction(n, NULL, &before) < 0)
            return -errno;
        signals[n].before = before; /* where the handler looks for it */
        if (sigaction(n, &action, NULL) < 0)
            return -errno;
    }
    signals[n].listeners++;
    return 0;
}

/* What somebody has installed meanwhile stays. */
static void uninstall(int n)
{
    struct sigaction now;
    if (--signals[n].listeners == 0 && sigaction(n, NULL, &now) == 0 &&
        now.sa_handler == hear)
        sigaction(n, &signals[n].before, NULL);
}

static void enter(sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
    pthread_mutex_lock(&lock);
}

static void leave(const sigset_t *before)
{
    pthread_mutex_unlock(&lock);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

/* ---- listening --------------------------------------------------------------------- */

int sys_ear_open(struct sys_ear *ear)
{
    sigset_t before;
    memset(ear, 0, sizeof *ear);
    int rc = sys_pipe(ear->fd);
    if (rc < 0)
        return rc;
    sys_nonblocking(ear->fd[0], true);
    sys_nonblocking(ear->fd[1], true);
    enter(&before);
    atomic_store(&ear->next, atomic_load(&ears));
    atomic_store(&ears, ear);
    leave(&before);
    return 0;
}

int sys_ear_listen(struct sys_ear *ear, int n)
{
    sigset_t before;
    int rc = 0;
    enter(&before);
    if (!atomic_load(&ear->open[n])) {
        rc = install(n);
        if (rc == 0)
            atomic_store(&ear->open[n], true);
    }
    leave(&before);
    return rc;
}

void sys_ear_shut(struct sys_ear *ear, int n)
{
    sigset_t before;
    enter(&before);
    if (atomic_exchange(&ear->open[n], false))
        uninstall(n);
    leave(&before);
}

void sys_ear_close(struct sys_ear *ear)
{
    sigset_t before;
    enter(&before);
    for (int n = 1; n < SYS_SIGNALS; n++)
        if (atomic_exchange(&ear->open[n], false))
            uninstall(n);
    _Atomic(struct sys_ear *) *link = &ears;
    while (atomic_load(link) != ear)
        link = &atomic_load(link)->next;
    atomic_store(link, atomic_load(&ear->next));
    while (atomic_load(&inside) > 0)
        sched_yield();
    leave(&before);
    close(ear->fd[0]);
    close(ear->fd[1]);
}

void sys_ear_drain(struct sys_ear *ear)
{
    char bytes[16];
    while (read(ear->fd[0], bytes, sizeof bytes) < 0 && errno == EINTR)
        ;
    atomic_store(&ear->told, false);
}
