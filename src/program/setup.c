/* What the process needs before Lua starts: standard files, descriptors in plenty, and
   broken pipes as errors.  Children shall not notice. */
#include "program.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

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

static void ignore(int number)
{
    (void)number;
}

void lull_setup_process(void)
{
    open_standard_files();
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
