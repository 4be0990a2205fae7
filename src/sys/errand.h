/* Files, paths and their changes as the system has them: errands for threads of the pool,
   and what is done at once.  Results are as in sys.h; nothing in here knows Lua. */
#ifndef LULL_ERRAND_H
#define LULL_ERRAND_H

#include "buffer.h"
#include "sys.h"

/* Malloc and free in Lua's signature: for memory that threads fill, and loops take. */
void *sys_alloc(void *ud, void *ptr, size_t osize, size_t nsize);

/* ---- a shared descriptor: file.c ------------------------------------------------- */

/* A descriptor that threads work on, one at a time.  It is closed when the last of those
   who hold it lets go: never while a thread is still busy with it. */
struct sys_file;
struct sys_file *sys_file_new(int fd); /* fd may be -1; NULL: no memory, fd stays open */
int sys_file_fd(const struct sys_file *f); /* -1: not open */
void sys_file_hold(struct sys_file *f);
void sys_file_release(struct sys_file *f);

/* ---- errands: file.c ------------------------------------------------------------- */

enum sys_kind {
    SYS_OTHER, SYS_REGULAR, SYS_DIRECTORY, SYS_LINK, SYS_FIFO, SYS_SOCKET, SYS_CHAR,
    SYS_BLOCK
};

struct sys_stat {
    enum sys_kind kind;
    unsigned mode, uid, gid; /* mode: permissions only */
    int64_t size;
    uint64_t ino, nlink;
    double mtime;
};

/* Something to be done about files, on SYS_FILES.  The owner fills in what act needs,
   sets job.done and submits job; dropping it gives back all that it holds. */
struct sys_errand {
    sys_job job; /* first: free releases the whole */
    int (*act)(struct sys_errand *e);
    int rc;      /* what came of it: >= 0 or -errno */
    bool begun;
    struct sys_file *file; /* what it works on, or what it has opened */
    struct buffer data;    /* of sys_alloc: read, to be written, or names */
    int64_t offset;        /* where; afterwards behind what was read or written */
    size_t need, ahead;    /* so many bytes are waited for; so many may be read */
    unsigned number;       /* flags, permissions */
    bool ended;            /* the end has been read */
    bool append, closes;   /* writes at the end; closes the file then */
    bool made;             /* what goes again with the errand, unless somebody takes it */
    struct sys_stat stat;
    char *text;            /* of malloc: a path that came of it */
    const char *path, *other;
    char names[];
};

/* path and other may be NULL.  file, if any, is held.  NULL: no memory. */
struct sys_errand *sys_errand_new(int (*act)(struct sys_errand *), struct sys_file *file,
                                  const char *path, const char *other);

/* Does it on the calling thread, blocking, or waits for the thread that has begun it.
   For files only, whose errands come one at a time. */
void sys_errand_now(struct sys_errand *e);

/* ---- files: file.c --------------------------------------------------------------- */

/* Reading appends to data: at least need bytes, but a portion of many; fewer before the
   end.  Writing writes all of data; what is left there has not been written. */
int sys_file_open(struct sys_errand *e); /* path, number: flags of open; stat; offset */
int sys_file_read(struct sys_errand *e);
int sys_file_write(struct sys_errand *e);
int sys_file_close(struct sys_errand *e);
int sys_file_sync(struct sys_errand *e);
int sys_file_truncate(struct sys_errand *e); /* to offset bytes */
int sys_file_size(struct sys_errand *e);     /* into offset */

/* For what can be waited for (pipes, terminals), on the loop's thread; -EAGAIN: wait. */
int sys_file_recv(int fd, void *data, size_t size);
int sys_file_send(int fd, const void *data, size_t size); /* raises no SIGPIPE */

/* Moves the descriptor's own offset, for others who will use it. */
int sys_file_seek(int fd, int64_t offset);
int64_t sys_file_tell(int fd); /* or -errno */

/* ---- paths and directories: path.c ----------------------------------------------- */

int sys_path_stat(struct sys_errand *e);
int sys_path_lstat(struct sys_errand *e);
int sys_path_mkdir(struct sys_errand *e); /* number: permissions */
int sys_path_rmdir(struct sys_errand *e);
int sys_path_remove(struct sys_errand *e);
int sys_path_rename(struct sys_errand *e);
int sys_path_symlink(struct sys_errand *e);
int sys_path_readlink(struct sys_errand *e); /* text */
int sys_path_realpath(struct sys_errand *e); /* text */
int sys_path_chmod(struct sys_errand *e);    /* number: permissions */
int sys_path_tempdir(struct sys_errand *e);  /* path: prefix; text */

/* Opened as a file, then listed in portions until ended; data is a run of entries, each
   the character of its kind and its name with a NUL. */
int sys_directory_open(struct sys_errand *e);
int sys_directory_list(struct sys_errand *e);

/* ---- changes: watch.c ------------------------------------------------------------ */

enum { /* what may have happened: bits of an event */
    SYS_CREATED = 1,
    SYS_MODIFIED = 2,
    SYS_DELETED = 4,
    SYS_MOVED_FROM = 8,
    SYS_MOVED_TO = 16,
    SYS_GONE = 32,     /* the watched one itself: removed, unmounted */
    SYS_MOVED = 64,    /* the watched one itself */
    SYS_IGNORED = 128, /* it is watched no more: its number is void */
    SYS_OVERFLOW = 256, /* events have been lost */
    SYS_IS_DIRECTORY = 512
};

struct sys_event {
    int watch; /* number of what is watched */
    unsigned what;
    uint32_t cookie; /* the same for both halves of a move */
    const char *name;
};

int sys_watch_new(void); /* a descriptor */
/* An errand: file is that descriptor, path what to watch; number 1: only a directory that
   is no link.  rc is the number of the watch. */
int sys_watch_add(struct sys_errand *e);
int sys_watch_remove(int fd, int watch);
/* Reads what has happened into data, which is aligned as an int; -EAGAIN: wait. */
int sys_watch_read(int fd, void *data, size_t size);
/* Takes the event at data (of n bytes) apart; returns how many bytes it uses. */
size_t sys_watch_event(const void *data, size_t n, struct sys_event *out);

#endif
