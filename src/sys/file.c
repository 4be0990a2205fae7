/* Files, as threads of the pool see them: a descriptor that several may hold, and errands
   to it.  Reading and writing go by position (pread, pwrite), so nothing is shared with
   others that a cancelled call could leave in a strange state; only appending, and what
   has no positions, goes by the descriptor's own. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "file.h"

enum {
    PORTION = 4 << 20, /* bytes that one errand reads at most: then others have a turn */
    SMALLEST = 4096
};

void *sys_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud;
    (void)osize;
    if (nsize > 0)
        return realloc(ptr, nsize);
    free(ptr);
    return NULL;
}

/* ---- a shared descriptor --------------------------------------------------------- */

struct sys_file *sys_file_new(int fd)
{
    struct sys_file *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->fd = fd;
    atomic_init(&f->refs, 1);
    pthread_mutex_init(&f->lock, NULL);
    return f;
}

int sys_file_fd(const struct sys_file *f)
{
    return f->fd;
}

void sys_file_hold(struct sys_file *f)
{
    atomic_fetch_add(&f->refs, 1);
}

static int shut(struct sys_file *f)
{
    int rc = 0;
    if (f->dir)
        rc = closedir(f->dir);
    else if (f->fd >= 0)
        rc = close(f->fd);
    f->dir = NULL;
    f->fd = -1;
    return rc < 0 && errno != EINTR ? -errno : 0; /* Linux has closed it even then */
}

void sys_file_release(struct sys_file *f)
{
    if (atomic_fetch_sub(&f->refs, 1) > 1)
        return;
    shut(f);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- errands --------------------------------------------------------------------- */

void sys_errand_now(struct sys_errand *e)
{
    if (e->file)
        pthread_mutex_lock(&e->file->lock);
    if (!e->begun) {
        e->begun = true;
        e->rc = e->act(e);
    }
    if (e->file)
        pthread_mutex_unlock(&e->file->lock);
}

static void work(sys_job *job)
{
    sys_errand_now((struct sys_errand *)job);
}

/* What was made for somebody who has gone, and whose name nobody knows, goes too. */
static void release(sys_job *job)
{
    struct sys_errand *e = (struct sys_errand *)job;
    if (e->made)
        remove(e->text ? e->text : e->path);
    buffer_free(&e->data, sys_alloc, NULL);
    if (e->file)
        sys_file_release(e->file);
    free(e->text);
    free(e);
}

struct sys_errand *sys_errand_new(int (*act)(struct sys_errand *), struct sys_file *file,
                                  const char *path, const char *other)
{
    size_t n = path ? strlen(path) + 1 : 0, m = other ? strlen(other) + 1 : 0;
    struct sys_errand *e = calloc(1, sizeof *e + n + m);
    if (e == NULL)
        return NULL;
    e->job.work = work;
    e->job.free = release;
    e->act = act;
    e->file = file;
    if (file)
        sys_file_hold(file);
    e->path = n ? memcpy(e->names, path, n) : NULL;
    e->other = m ? memcpy(e->names + n, other, m) : NULL;
    return e;
}

/* ---- opening and closing --------------------------------------------------------- */

enum sys_kind sys_kind_of(unsigned mode)
{
    switch (mode & S_IFMT) {
    case S_IFREG:
        return SYS_REGULAR;
    case S_IFDIR:
        return SYS_DIRECTORY;
    case S_IFLNK:
        return SYS_LINK;
    case S_IFIFO:
        return SYS_FIFO;
    case S_IFSOCK:
        return SYS_SOCKET;
    case S_IFCHR:
        return SYS_CHAR;
    case S_IFBLK:
        return SYS_BLOCK;
    default:
        return SYS_OTHER;
    }
}

/* The descriptor never blocks in open: a pipe without a peer is waited for elsewhere.
   Afterwards offset is -1 where there are no positions, else the size. */
int sys_file_open(struct sys_errand *e)
{
    struct stat st;
    int flags = (int)e->number | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, fd;
    do
        fd = open(e->path, flags, 0666);
    while (fd < 0 && errno == EINTR);
    if (fd < 0)
        return -errno;
    e->file->fd = fd;
    e->made = flags & O_EXCL;
    if (fstat(fd, &st) < 0)
        return -errno;
    e->stat.kind = sys_kind_of(st.st_mode);
    e->offset = e->stat.kind == SYS_REGULAR ? (int64_t)st.st_size
                                            : (int64_t)lseek(fd, 0, SEEK_END);
    return 0;
}

int sys_file_close(struct sys_errand *e)
{
    return shut(e->file);
}

/* ---- reading and writing --------------------------------------------------------- */

/* How much room to make at first for what is wanted: not more than there seems to be. */
static size_t room_for(const struct sys_errand *e, const struct stat *st)
{
    size_t want = e->need > e->ahead ? e->need : e->ahead;
    size_t room = e->ahead;
    if (S_ISREG(st->st_mode) && st->st_size > e->offset) {
        uint64_t left = (uint64_t)st->st_size - (uint64_t)e->offset + 1;
        room = left < want ? (size_t)left : want;
    }
    return room > SMALLEST ? room : SMALLEST;
}

/* One system call's worth; > 0, 0 at the end, or -errno. */
static int read_some(struct sys_errand *e)
{
    char *to = e->data.data + e->data.to;
    size_t room = buffer_room(&e->data);
    ssize_t n;
    do
        n = pread(e->file->fd, to, room < PORTION ? room : PORTION, e->offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    buffer_commit(&e->data, (size_t)n);
    e->offset += n;
    e->ended = n == 0;
    return (int)n;
}

int sys_file_read(struct sys_errand *e)
{
    struct stat st;
    if (fstat(e->file->fd, &st) < 0)
        return -errno;
    size_t got = 0, want = e->need > e->ahead ? e->need : e->ahead;
    size_t room = room_for(e, &st);
    while (got < want && got < PORTION) {
        bool full = buffer_room(&e->data) == 0 || e->data.data == NULL;
        if (full && buffer_reserve(&e->data, room, sys_alloc, NULL) == NULL)
            return got > 0 ? 0 : -ENOMEM;
        int n = read_some(e);
        if (n < 0)
            return got > 0 ? 0 : n; /* it will be met again */
        got += (size_t)n;
        room = e->ahead;
        if (n == 0 || (!S_ISREG(st.st_mode) && got >= e->need))
            break;
    }
    return 0;
}

static ssize_t write_some(struct sys_errand *e, size_t n)
{
    const char *from = buffer_bytes(&e->data);
    return e->append ? write(e->file->fd, from, n)
                     : pwrite(e->file->fd, from, n, e->offset);
}

int sys_file_write(struct sys_errand *e)
{
    while (buffer_size(&e->data) > 0) {
        ssize_t n = write_some(e, buffer_size(&e->data));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : -EIO;
        e->data.from += (size_t)n;
        e->offset += n;
    }
    if (e->append)
        e->offset = lseek(e->file->fd, 0, SEEK_CUR);
    return e->closes ? shut(e->file) : 0;
}

int sys_file_sync(struct sys_errand *e)
{
    return fsync(e->file->fd) < 0 ? -errno : 0;
}

int sys_file_truncate(struct sys_errand *e)
{
    int rc;
    do
        rc = ftruncate(e->file->fd, e->offset);
    while (rc < 0 && errno == EINTR);
    return rc < 0 ? -errno : 0;
}

int sys_file_size(struct sys_errand *e)
{
    struct stat st;
    if (fstat(e->file->fd, &st) < 0)
        return -errno;
    e->offset = S_ISREG(st.st_mode) ? (int64_t)st.st_size
                                    : (int64_t)lseek(e->file->fd, 0, SEEK_END);
    return e->offset < 0 ? -errno : 0;
}

int sys_file_seek(int fd, int64_t offset)
{
    return lseek(fd, offset, SEEK_SET) < 0 ? -errno : 0;
}

int64_t sys_file_tell(int fd)
{
    int64_t at = lseek(fd, 0, SEEK_CUR);
    return at < 0 ? -errno : at;
}

/* ---- what can be waited for ------------------------------------------------------ */

/* A pipe that nobody has opened for writing yet is not at its end. */
static int never_written(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 0;
}

int sys_file_recv(int fd, void *data, size_t size)
{
    ssize_t n;
    do
        n = read(fd, data, size);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return errno == EWOULDBLOCK ? -EAGAIN : -errno;
    return n == 0 && never_written(fd) ? -EAGAIN : (int)n;
}

/* Who has not chosen to ignore SIGPIPE must not die of a pipe of ours. */
int sys_file_send(int fd, const void *data, size_t size)
{
    sigset_t pipe, before;
    struct timespec now = {0};
    ssize_t n;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, &before);
    do
        n = write(fd, data, size);
    while (n < 0 && errno == EINTR);
    int rc = n < 0 ? -errno : (int)n;
    if (rc == -EPIPE && !sigismember(&before, SIGPIPE))
        sigtimedwait(&pipe, NULL, &now);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc == -EWOULDBLOCK ? -EAGAIN : rc;
}
