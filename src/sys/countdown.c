/* A descriptor that becomes readable when some real time has passed, whatever the clock
   of the loop says. */
#include "sys.h"

#include <errno.h>

#ifdef __linux__

#include <sys/timerfd.h>

int sys_countdown(int64_t ns)
{
    struct itimerspec t = {{0, 0}, {(time_t)(ns / 1000000000), (long)(ns % 1000000000)}};
    if (ns <= 0)
        t.it_value.tv_nsec = 1; /* 0 would be never */
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (timerfd_settime(fd, 0, &t, NULL) == 0)
        return fd;
    int rc = -errno;
    sys_close(fd);
    return rc;
}

#else

int sys_countdown(int64_t ns)
{
    (void)ns;
    return -ENOSYS;
}

#endif
