/* The standard files, for streams of our own on them.

   What they are open on is often shared with other programs, and so is O_NONBLOCK, which
   belongs to the open file: setting it breaks those (a shell, the other end of a
   pipeline) long after we are gone.  A terminal and a pipe can be opened once more under
   the name that /proc has for them: that open file is ours alone and may be
   non-blocking.  Where this is refused, and for whatever else may block, there is a mere
   duplicate, to be asked whether it is ready before each call. */
#include "sys.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* A pipe that has no name elsewhere: of a named one, opening it anew would hide that its
   writers have gone. */
static bool is_pipe(int n)
{
    char text[SYS_TARGET];
    return strncmp(sys_target(n, text), "pipe:", 5) == 0;
}

static int open_anew(int n)
{
    char name[32];
    int access = n == STDIN_FILENO ? O_RDONLY : O_WRONLY, flags = fcntl(n, F_GETFL);
    bool allowed = (flags & O_ACCMODE) == O_RDWR || (flags & O_ACCMODE) == access;
    if (flags < 0 || !allowed)
        return -1;
    snprintf(name, sizeof name, "/proc/self/fd/%d", n);
    return open(name, access | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

int sys_standard(int n, bool *shared)
{
    struct stat info;
    if (fstat(n, &info) < 0)
        return -errno;
    *shared = !S_ISREG(info.st_mode) && !S_ISSOCK(info.st_mode);
    int fd = -1;
    if (is_pipe(n) || isatty(n))
        fd = open_anew(n);
    if (fd >= 0)
        *shared = false;
    else
        fd = fcntl(n, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    return fd < 0 ? -errno : fd;
}

void sys_await_write(int fd)
{
    struct pollfd ready = {.fd = fd, .events = POLLOUT};
    while (poll(&ready, 1, -1) < 0 && errno == EINTR)
        ;
}
