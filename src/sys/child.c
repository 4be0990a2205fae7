/* Children: a program in a process of its own, and how it ended.

   A child starts by vfork: nothing of ours is copied, and the parent goes on when the
   program runs.  Up to then both share one memory, so what the child does here neither
   allocates nor locks, and all signals are blocked until their handlers, which are the
   parent's, are gone.  What fails on the way comes back through a pipe that the program
   does not get.

   A child gets nothing that was not meant for it: no descriptor but 0, 1 and 2, whoever
   had forgotten to mark it, no signal blocked, ignored or handled, the limit of open
   files that this process was started with.

   Its end is told by a descriptor that becomes readable: a pidfd, or, where the system
   has none, a pipe whose other end a thread closes.  That thread leaves the child a
   zombie: it is reaped on the loop's thread only, where it is signalled too, so its
   number cannot have become somebody else's in between. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STACK = 128 * 1024 }; /* of a thread that waits */

/* ---- pipes ------------------------------------------------------------------------- */

/* No descriptor of ours may be one of the standard three: a child would take it. */
static int above_standard(int fd)
{
    if (fd < 0 || fd > STDERR_FILENO)
        return fd < 0 ? -errno : fd;
    int higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    int rc = higher < 0 ? -errno : higher;
    close(fd);
    return rc;
}

int sys_pipe(int fd[2])
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -errno;
    fd[0] = above_standard(ends[0]);
    fd[1] = above_standard(ends[1]);
    if (fd[0] >= 0 && fd[1] >= 0)
        return 0;
    int rc = fd[0] < 0 ? fd[0] : fd[1];
    for (int i = 0; i < 2; i++)
        if (fd[i] >= 0)
            close(fd[i]);
    return rc;
}

int sys_null(void)
{
    return above_standard(open("/dev/null", O_RDWR | O_CLOEXEC));
}

bool sys_write_only(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags >= 0 && (flags & O_ACCMODE) == O_WRONLY;
}

int sys_hang_up(int fd)
{
    int null = sys_null();
    if (null < 0)
        return null;
    int rc = dup3(null, fd, O_CLOEXEC) < 0 ? -errno : 0;
    close(null);
    return rc;
}

int sys_nonblocking(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return -errno;
    int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    return flags != wanted && fcntl(fd, F_SETFL, wanted) < 0 ? -errno : 0;
}

/* ---- in the child ------------------------------------------------------------------ */

/* What goes wrong in there. */
struct report {
    int error;
    bool in_cwd;
};

/* Some refuse, and have no handler to lose.  The C library keeps those that it uses
   itself from sigaction(3), but they may be ignored as well. */
static void default_signals(void)
{
#ifdef __linux__
    static const unsigned long nothing[16]; /* SIG_DFL, no flags, no mask */
    for (int n = 1; n < NSIG; n++)
        syscall(SYS_rt_sigaction, n, nothing, NULL, (size_t)(NSIG / 8));
#else
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (int n = 1; n < NSIG; n++)
        sigaction(n, &action, NULL);
#endif
}

/* Sources in the way of a target step aside first, so that they may be given in any order
   and more than once. */
static int place_descriptors(const struct sys_program *p)
{
    int from[3];
    for (int i = 0; i < 3; i++) {
        from[i] = p->fd[i];
        if (from[i] >= 0 && from[i] < 3 && from[i] != i)
            from[i] = fcntl(from[i], F_DUPFD_CLOEXEC, 3);
        if (p->fd[i] >= 0 && from[i] < 0)
            return -errno;
    }
    for (int i = 0; i < 3; i++) {
        if (from[i] < 0 || from[i] == i)
            fcntl(i, F_SETFD, 0);
        else if (dup2(from[i], i) < 0)
            return -errno;
        if (from[i] >= 0 && p->blocking[i])
            sys_nonblocking(i, false);
    }
    return 0;
}

static void hide_descriptors(void)
{
#ifdef SYS_close_range
    enum { UPON_EXEC = 4 };
    if (syscall(SYS_close_range, 3u, ~0u, UPON_EXEC) == 0)
        return;
#endif
    struct rlimit limit;
    rlim_t end = 65536;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < end)
        end = limit.rlim_cur;
    for (int fd = 3; fd < (int)end; fd++)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void limit_files(int64_t soft)
{
    struct rlimit limit;
    if (soft < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    limit.rlim_cur = (rlim_t)soft < limit.rlim_max ? (rlim_t)soft : limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* As execvp looks along PATH: a file that may not be run is remembered, others tried. */
static int run_first(const struct sys_program *p)
{
    int rc = -ENOENT;
    for (char *const *path = p->paths; *path; path++) {
        execve(*path, p->argv, p->env);
        if (errno == EACCES)
            rc = -EACCES;
        else if (errno != ENOENT && errno != ENOTDIR)
            return -errno;
    }
    return rc;
}

/* Returns why it could not be run, or not at all. */
static int become(const struct sys_program *p, bool *in_cwd)
{
    sigset_t none;
    default_signals();
    if (p->group && setpgid(0, 0) < 0)
        return -errno;
    int rc = place_descriptors(p);
    if (rc < 0)
        return rc;
    *in_cwd = p->cwd != NULL && chdir(p->cwd) < 0;
    if (*in_cwd)
        return -errno;
    hide_descriptors();
    limit_files(p->nofile);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    return run_first(p);
}

static void child(const struct sys_program *p, int pipe)
{
    struct report report = {0};
    report.error = -become(p, &report.in_cwd);
    ssize_t written;
    do
        written = write(pipe, &report, sizeof report);
    while (written < 0 && errno == EINTR);
    _exit(127);
}

/* ---- starting one ------------------------------------------------------------------ */

/* Sanitizers and valgrind make a fork of it, which is as good but returns earlier;
   *shared tells whether the child has run in our memory. */
__attribute__((noinline)) static pid_t fork_off(const struct sys_program *p, int pipe,
                                                volatile bool *shared)
{
    pid_t pid = vfork();
    if (pid == 0) {
        *shared = true;
        child(p, pipe);
    }
    return pid;
}

/* What the child has to say; false: its program runs.  After a vfork it has said it, and
   who holds the pipe open then is the fork of somebody else: not to be waited for. */
static bool hear(int pipe, bool said, struct report *report)
{
    ssize_t n;
    for (;;) {
        n = read(pipe, report, sizeof *report);
        if (n >= 0 || (errno != EINTR && (errno != EAGAIN || said)))
            return n == (ssize_t)sizeof *report;
        struct pollfd look = {.fd = pipe, .events = POLLIN};
        poll(&look, 1, -1);
    }
}

int sys_spawn(const struct sys_program *p, bool *in_cwd)
{
    int pipe[2], rc = sys_pipe(pipe);
    volatile bool shared = false;
    struct report report;
    sigset_t all, before;
    if (rc < 0)
        return rc;
    sys_nonblocking(pipe[0], true);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork_off(p, pipe[1], &shared);
    rc = pid < 0 ? -errno : (int)pid;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    close(pipe[1]);
    *in_cwd = false;
    if (rc > 0 && hear(pipe[0], shared, &report)) {
        *in_cwd = report.in_cwd;
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
        rc = -report.error;
    }
    close(pipe[0]);
    return rc;
}

/* ---- its end ----------------------------------------------------------------------- */

struct watcher {
    pid_t pid;
    int fd;
};

static void *wait_for_end(void *arg)
{
    struct watcher w = *(struct watcher *)arg;
    siginfo_t info;
    free(arg);
    while (waitid(P_PID, (id_t)w.pid, &info, WEXITED | WNOWAIT) < 0 && errno == EINTR)
        ;
    close(w.fd);
    return NULL;
}

/* With all signals blocked: they are the loop's, or the host's. */
static int start_thread(struct watcher *w)
{
    pthread_t id;
    pthread_attr_t attributes;
    sigset_t all, before;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&id, &attributes, wait_for_end, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -rc;
}

static int watch_by_thread(int pid)
{
    int fd[2], rc = sys_pipe(fd);
    if (rc < 0)
        return rc;
    struct watcher *w = malloc(sizeof *w);
    if (w != NULL)
        *w = (struct watcher){pid, fd[1]};
    rc = w ? start_thread(w) : -ENOMEM;
    if (rc == 0)
        return fd[0];
    free(w);
    close(fd[0]);
    close(fd[1]);
    return rc;
}

int sys_child_watch(int pid, bool *pidfd)
{
#ifdef SYS_pidfd_open
    int fd = *pidfd ? above_standard((int)syscall(SYS_pidfd_open, pid, 0)) : -1;
    if (fd >= 0)
        return fd;
#endif
    *pidfd = false;
    return watch_by_thread(pid);
}

int sys_child_end(int pid, bool wait, int *code, int *number)
{
    siginfo_t info = {0};
    int rc, options = wait ? WEXITED : WEXITED | WNOHANG;
    do
        rc = waitid(P_PID, (id_t)pid, &info, options);
    while (rc < 0 && errno == EINTR);
    if (rc < 0)
        return -errno;
    if (info.si_pid == 0)
        return 0;
    *code = info.si_code == CLD_EXITED ? info.si_status : -1;
    *number = info.si_code == CLD_EXITED ? 0 : info.si_status;
    return 1;
}

bool sys_child_told(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) > 0;
}

int sys_child_signal(int pid, int pidfd, bool group, int number)
{
    int rc;
    if (group)
        rc = kill(-pid, number);
#ifdef SYS_pidfd_send_signal
    else if (pidfd >= 0)
        rc = (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
#endif
    else
        rc = kill(pid, number);
    return rc < 0 ? -errno : 0;
}
