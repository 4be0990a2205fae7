/* A thread that waits for a descriptor or a moment in somebody's place, and tells him
   once each time he asked it to. */
#include "apart.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

struct sys_vigil {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    void (*wake)(void *ud);
    void *ud;
    int fd, control[2]; /* a byte in the pipe gets the thread out of its sleep */
    int64_t until;      /* on the monotonic clock, or LULL_FOREVER */
    bool armed, stopping, sleeping;
};

static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* Sleeps until fd is readable, the moment has come or somebody has changed his mind. */
static void sleep_until(struct sys_vigil *v, int64_t until)
{
    struct pollfd fds[2] = {{.fd = v->fd, .events = POLLIN},
                            {.fd = v->control[0], .events = POLLIN}};
    int64_t left = until == LULL_FOREVER ? 0 : until - now();
    struct timespec t = {.tv_sec = 0};
    if (left > 0)
        t = (struct timespec){(time_t)(left / 1000000000), (long)(left % 1000000000)};
    ppoll(fds, 2, until == LULL_FOREVER ? NULL : &t, NULL);
    char buffer[64];
    if (fds[1].revents)
        while (read(v->control[0], buffer, sizeof buffer) > 0)
            ;
}

/* Has it come to what is waited for?  Asked again, for the sleep may have been
   disturbed. */
static bool has_come(struct sys_vigil *v)
{
    struct pollfd fd = {.fd = v->fd, .events = POLLIN};
    return (v->until != LULL_FOREVER && now() >= v->until) || poll(&fd, 1, 0) > 0;
}

static void *watch(void *arg)
{
    struct sys_vigil *v = arg;
    pthread_mutex_lock(&v->lock);
    while (!v->stopping) {
        if (!v->armed) {
            pthread_cond_wait(&v->change, &v->lock);
            continue;
        }
        int64_t until = v->until;
        v->sleeping = true;
        pthread_mutex_unlock(&v->lock);
        sleep_until(v, until);
        pthread_mutex_lock(&v->lock);
        v->sleeping = false;
        if (!v->armed || v->stopping || !has_come(v))
            continue;
        v->armed = false;
        pthread_mutex_unlock(&v->lock);
        v->wake(v->ud);
        pthread_mutex_lock(&v->lock);
    }
    pthread_mutex_unlock(&v->lock);
    return NULL;
}

/* As with the threads of the pool, no signal shall find it. */
static int start(struct sys_vigil *v)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&v->thread, NULL, watch, v);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

int sys_vigil_start(struct sys_vigil **out, int fd, void (*wake)(void *ud), void *ud)
{
    struct sys_vigil *v = calloc(1, sizeof *v);
    if (v == NULL)
        return -ENOMEM;
    v->fd = fd;
    v->wake = wake;
    v->ud = ud;
    int rc = pipe(v->control) < 0 ? -errno : 0;
    if (rc < 0)
        goto no_pipe;
    for (int i = 0; i < 2; i++) {
        fcntl(v->control[i], F_SETFD, FD_CLOEXEC);
        fcntl(v->control[i], F_SETFL, O_NONBLOCK);
    }
    pthread_mutex_init(&v->lock, NULL);
    pthread_cond_init(&v->change, NULL);
    rc = start(v);
    if (rc < 0)
        goto no_thread;
    *out = v;
    return 0;
no_thread:
    pthread_cond_destroy(&v->change);
    pthread_mutex_destroy(&v->lock);
    close(v->control[0]);
    close(v->control[1]);
no_pipe:
    free(v);
    return rc;
}

/* The thread looks around; it holds no lock while it sleeps. */
static void disturb(struct sys_vigil *v)
{
    pthread_cond_signal(&v->change);
    if (v->sleeping)
        while (write(v->control[1], "", 1) < 0 && errno == EINTR)
            ;
}

void sys_vigil_arm(struct sys_vigil *v, int64_t ns)
{
    pthread_mutex_lock(&v->lock);
    v->until = ns == LULL_FOREVER ? LULL_FOREVER : now() + ns;
    v->armed = true;
    disturb(v);
    pthread_mutex_unlock(&v->lock);
}

void sys_vigil_disarm(struct sys_vigil *v)
{
    pthread_mutex_lock(&v->lock);
    v->armed = false;
    pthread_mutex_unlock(&v->lock);
}

void sys_vigil_stop(struct sys_vigil *v)
{
    pthread_mutex_lock(&v->lock);
    v->stopping = true;
    disturb(v);
    pthread_mutex_unlock(&v->lock);
    pthread_join(v->thread, NULL);
    pthread_cond_destroy(&v->change);
    pthread_mutex_destroy(&v->lock);
    close(v->control[0]);
    close(v->control[1]);
    free(v);
}
