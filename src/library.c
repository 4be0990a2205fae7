/* See library.h.  Knows none of the libraries. */
#include "library.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;

static bool fill(const struct lull_library *library)
{
    void *handle = dlopen(library->file, RTLD_NOW | RTLD_LOCAL);
    char *to = library->table;
    for (size_t i = 0; handle && library->names[i]; i++, to += sizeof(void *)) {
        void *function = dlsym(handle, library->names[i]);
        if (function == NULL)
            return false;
        memcpy(to, &function, sizeof function); /* ISO C knows no cast for this */
    }
    return handle != NULL;
}

/* The dynamic linker says why in words only. */
static int cause(void)
{
    int fd = open("/", O_RDONLY | O_CLOEXEC);
    if (fd >= 0)
        close(fd);
    return fd < 0 && (errno == EMFILE || errno == ENFILE) ? -errno : -ENOSYS;
}

int lull_library_load(struct lull_library *library, char *why, size_t size)
{
    if (atomic_load_explicit(&library->loaded, memory_order_acquire))
        return 0;
    pthread_mutex_lock(&loading);
    bool loaded = atomic_load(&library->loaded) || fill(library);
    const char *error = loaded ? NULL : dlerror();
    if (error && why)
        snprintf(why, size, "%s", error);
    atomic_store(&library->loaded, loaded);
    pthread_mutex_unlock(&loading);
    return loaded ? 0 : cause();
}
