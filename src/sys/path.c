/* What is done to paths, and the listing of directories: errands for threads of the pool,
   see file.c. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"

enum { ENTRIES = 256 }; /* of a directory that are listed at a time */

static int result(int rc)
{
    return rc < 0 ? -errno : 0;
}

/* ---- what there is --------------------------------------------------------------- */

static int stat_at(struct sys_errand *e, int flags)
{
    struct stat st;
    if (fstatat(AT_FDCWD, e->path, &st, flags) < 0)
        return -errno;
    e->stat = (struct sys_stat){
        .kind = sys_kind_of(st.st_mode),
        .mode = st.st_mode & 07777,
        .uid = st.st_uid,
        .gid = st.st_gid,
        .size = (int64_t)st.st_size,
        .ino = (uint64_t)st.st_ino,
        .nlink = (uint64_t)st.st_nlink,
        .mtime = (double)st.st_mtim.tv_sec + (double)st.st_mtim.tv_nsec / 1e9,
    };
    return 0;
}

int sys_path_stat(struct sys_errand *e)
{
    return stat_at(e, 0);
}

int sys_path_lstat(struct sys_errand *e)
{
    return stat_at(e, AT_SYMLINK_NOFOLLOW);
}

int sys_path_realpath(struct sys_errand *e)
{
    e->text = realpath(e->path, NULL);
    return e->text ? 0 : -errno;
}

int sys_path_readlink(struct sys_errand *e)
{
    char text[PATH_MAX + 1];
    ssize_t n = readlink(e->path, text, sizeof text - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    e->text = strdup(text);
    return e->text ? 0 : -ENOMEM;
}

/* ---- what becomes of it ---------------------------------------------------------- */

int sys_path_mkdir(struct sys_errand *e)
{
    return result(mkdir(e->path, e->number));
}

int sys_path_rmdir(struct sys_errand *e)
{
    return result(rmdir(e->path));
}

int sys_path_remove(struct sys_errand *e)
{
    return result(remove(e->path));
}

int sys_path_rename(struct sys_errand *e)
{
    return result(rename(e->path, e->other));
}

int sys_path_symlink(struct sys_errand *e)
{
    return result(symlink(e->path, e->other));
}

int sys_path_chmod(struct sys_errand *e)
{
    return result(chmod(e->path, e->number));
}

int sys_path_tempdir(struct sys_errand *e)
{
    size_t size = strlen(e->path) + sizeof "XXXXXX";
    char *text = malloc(size);
    if (text == NULL)
        return -ENOMEM;
    snprintf(text, size, "%sXXXXXX", e->path);
    if (mkdtemp(text) == NULL) {
        int rc = -errno;
        free(text);
        return rc;
    }
    e->text = text;
    e->made = true;
    return 0;
}

/* ---- directories ----------------------------------------------------------------- */

int sys_directory_open(struct sys_errand *e)
{
    int fd = open(e->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return -errno;
    e->file->fd = fd;
    e->file->dir = fdopendir(fd);
    return e->file->dir ? sys_directory_list(e) : -errno;
}

/* Some file systems do not tell the kind with the name. */
static enum sys_kind kind_of(const struct sys_file *f, const struct dirent *d)
{
    struct stat st;
    if (d->d_type != DT_UNKNOWN)
        return sys_kind_of(DTTOIF(d->d_type));
    if (fstatat(f->fd, d->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return SYS_OTHER;
    return sys_kind_of(st.st_mode);
}

static bool is_dots(const char *name)
{
    return name[0] == '.' && (name[1] == '\0' || (name[1] == '.' && name[2] == '\0'));
}

static int add_entry(struct sys_errand *e, const struct dirent *d)
{
    size_t n = strlen(d->d_name) + 1;
    char *to = buffer_reserve(&e->data, n + 1, sys_alloc, NULL);
    if (to == NULL)
        return -ENOMEM;
    to[0] = (char)kind_of(e->file, d);
    memcpy(to + 1, d->d_name, n);
    buffer_commit(&e->data, n + 1);
    return 0;
}

int sys_directory_list(struct sys_errand *e)
{
    int rc = 0;
    for (int i = 0; i < ENTRIES && rc == 0;) {
        errno = 0;
        const struct dirent *d = readdir(e->file->dir);
        if (d == NULL) {
            e->ended = errno == 0;
            return -errno;
        }
        if (is_dots(d->d_name))
            continue;
        rc = add_entry(e, d);
        i++;
    }
    return rc;
}
