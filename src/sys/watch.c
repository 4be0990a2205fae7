/* Changes of files, as inotify tells them.  What it says goes by the number of a watch,
   which stands for an inode and not for a path: which path that is now, who moved it and
   what is new below it is for others to know. */
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "file.h"

enum {
    WATCHED = IN_CREATE | IN_MODIFY | IN_DELETE | IN_MOVE | IN_DELETE_SELF | IN_MOVE_SELF
};

int sys_watch_new(void)
{
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

int sys_watch_add(struct sys_errand *e)
{
    uint32_t mask = WATCHED | (e->number ? IN_ONLYDIR | IN_DONT_FOLLOW : 0);
    int watch = inotify_add_watch(e->file->fd, e->path, mask);
    return watch < 0 ? -errno : watch;
}

int sys_watch_remove(int fd, int watch)
{
    return inotify_rm_watch(fd, watch) < 0 ? -errno : 0;
}

int sys_watch_read(int fd, void *data, size_t size)
{
    ssize_t n;
    do
        n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

static const struct {
    uint32_t mask;
    unsigned what;
} bits[] = {
    {IN_CREATE, SYS_CREATED},         {IN_MODIFY, SYS_MODIFIED},
    {IN_DELETE, SYS_DELETED},         {IN_MOVED_FROM, SYS_MOVED_FROM},
    {IN_MOVED_TO, SYS_MOVED_TO},      {IN_DELETE_SELF | IN_UNMOUNT, SYS_GONE},
    {IN_MOVE_SELF, SYS_MOVED},        {IN_IGNORED, SYS_IGNORED},
    {IN_Q_OVERFLOW, SYS_OVERFLOW},    {IN_ISDIR, SYS_IS_DIRECTORY},
};

size_t sys_watch_event(const void *data, size_t n, struct sys_event *out)
{
    const struct inotify_event *event = data;
    if (n < sizeof *event || n - sizeof *event < event->len)
        return 0;
    *out = (struct sys_event){.watch = event->wd, .cookie = event->cookie};
    out->name = event->len > 0 ? event->name : "";
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
        if (event->mask & bits[i].mask)
            out->what |= bits[i].what;
    return sizeof *event + event->len;
}
