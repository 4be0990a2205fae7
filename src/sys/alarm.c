/* A signal for one thread, when it has taken too long: a timer of the kernel that asks
   the thread which set it.  The handler is installed with the first alarm of a signal
   number and what was there before comes back with the last, so it is the one thing here
   that processes have only once. */
#include "apart.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SIGNALS = 65 }; /* numbers that there may be */

int64_t sys_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

#if defined(__linux__) && defined(SIGEV_THREAD_ID)

#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

struct sys_alarm {
    timer_t timer;
    pid_t thread; /* whose signal it is; 0: there is no timer yet */
    int signal;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    unsigned users;
    struct sigaction before;
} signals[SIGNALS];
static void (*_Atomic handler)(void);

static void on_signal(int number)
{
    (void)number;
    int saved = errno;
    void (*fn)(void) = handler;
    if (fn != NULL)
        fn();
    errno = saved;
}

static int install(int number)
{
    int rc = 0;
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    action.sa_flags = SA_RESTART;
    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&lock);
    if (signals[number].users == 0)
        rc = sigaction(number, &action, &signals[number].before) < 0 ? -errno : 0;
    if (rc == 0)
        signals[number].users++;
    pthread_mutex_unlock(&lock);
    return rc;
}

static void uninstall(int number)
{
    pthread_mutex_lock(&lock);
    if (--signals[number].users == 0)
        sigaction(number, &signals[number].before, NULL);
    pthread_mutex_unlock(&lock);
}

int sys_alarm_new(struct sys_alarm **out, int number, void (*fn)(void))
{
    if (number == 0)
        number = SIGURG;
    if (number < 0 || number >= SIGNALS)
        return -EINVAL;
    struct sys_alarm *a = calloc(1, sizeof *a);
    if (a == NULL)
        return -ENOMEM;
    handler = fn;
    a->signal = number;
    int rc = install(number);
    if (rc < 0) {
        free(a);
        return rc;
    }
    *out = a;
    return 0;
}

/* The timer of the thread that calls: runtimes may move. */
static int move(struct sys_alarm *a)
{
    pid_t me = (pid_t)syscall(SYS_gettid);
    if (a->thread == me)
        return 0;
    if (a->thread != 0)
        timer_delete(a->timer);
    a->thread = 0;
    struct sigevent e;
    memset(&e, 0, sizeof e);
    e.sigev_notify = SIGEV_THREAD_ID;
    e.sigev_signo = a->signal;
    e.sigev_notify_thread_id = me;
    if (timer_create(CLOCK_MONOTONIC, &e, &a->timer) < 0)
        return -errno;
    a->thread = me;
    return 0;
}

int sys_alarm_set(struct sys_alarm *a, int64_t first, int64_t again)
{
    int rc = move(a);
    if (rc < 0)
        return rc;
    struct itimerspec t = {{(time_t)(again / 1000000000), (long)(again % 1000000000)},
                           {(time_t)(first / 1000000000), (long)(first % 1000000000)}};
    return timer_settime(a->timer, 0, &t, NULL) < 0 ? -errno : 0;
}

void sys_alarm_free(struct sys_alarm *a)
{
    if (a->thread != 0)
        timer_delete(a->timer);
    uninstall(a->signal);
    free(a);
}

#else

int sys_alarm_new(struct sys_alarm **out, int number, void (*fn)(void))
{
    (void)out, (void)number, (void)fn;
    return -ENOSYS;
}

int sys_alarm_set(struct sys_alarm *a, int64_t first, int64_t again)
{
    (void)a, (void)first, (void)again;
    return -ENOSYS;
}

void sys_alarm_free(struct sys_alarm *a)
{
    (void)a;
}

#endif
