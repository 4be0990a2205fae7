/* What the process needs before Lua starts: standard files, memory that stays for a while,
   descriptors in plenty, and broken pipes as errors.  Children shall not notice. */
#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#ifdef __GLIBC__
#include <malloc.h>
#endif

/* Standard files that are closed become /dev/null: no descriptor of the loop, and no
   connection, may be taken for one of them. */
static void open_standard_files(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd >= 0)
        close(fd);
}

/* What a collection has freed at the end of the heap is wanted again soon.  Given back at
   each, as malloc does by itself with 128 KiB, all of it costs page faults. */
static void keep_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_TRIM_THRESHOLD, 4 * 1024 * 1024);
    mallopt(M_MMAP_THRESHOLD, 2 * 1024 * 1024); /* or it would stay at 128 KiB now */
#endif
}

static void ignore(int number)
{
    (void)number;
}

void lull_setup_process(void)
{
    open_standard_files();
    keep_memory();
    /* No SIG_IGN: that would be handed on to the children of os.execute. */
    signal(SIGPIPE, ignore);
    /* Who has us ignore it, has the system reap our children behind our back. */
    signal(SIGCHLD, SIG_DFL);
}

/* The soft limit of open files becomes the hard one.  Children get the old one back: the
   registry keeps it for those who start them. */
void lull_setup_limits(lua_State *L)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return;
    lua_pushinteger(L, (lua_Integer)limit.rlim_cur);
    lua_setfield(L, LUA_REGISTRYINDEX, "lull.nofile");
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}
