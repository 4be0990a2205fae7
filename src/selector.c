/* Which backends there are, best first, and the few things that several of them need.
   What a backend promises is said in selector.h; none of them is named anywhere else. */
#include "selector.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

const struct lull_backend *const lull_backends[] = {
#ifdef LULL_HAVE_EPOLL
    &lull_epoll,
#endif
    &lull_poll,
    &lull_select,
#ifdef LULL_HAVE_URING
    &lull_io_uring, /* who wants it says so: many a container forbids it */
#endif
    NULL,
};

const struct lull_backend *lull_backend_find(const char *name)
{
    if (name == NULL)
        return lull_backends[0];
    const struct lull_backend *const *b = lull_backends;
    while (*b != NULL && strcmp((*b)->name, name) != 0)
        b++;
    return *b;
}

bool lull_has_selector(const char *name)
{
    return lull_backend_find(name) != NULL;
}

/* epoll refuses files.  The older calls take them and say "ready"; refusing them here
   too makes all backends alike. */
int lull_pollable(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    return S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ? -EPERM : 0;
}

int lull_milliseconds(int64_t timeout)
{
    if (timeout < 0)
        return -1;
    int64_t ms = timeout / 1000000 + (timeout % 1000000 != 0);
    return ms > INT_MAX ? INT_MAX : (int)ms;
}
