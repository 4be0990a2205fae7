/* Which descriptors this process has open, for those who look for one left behind.  Where
   the system has no directory of them there is nothing to tell. */
#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int sys_descriptors(int *list, int size)
{
    DIR *dir = opendir("/dev/fd"); /* on Linux a link to /proc/self/fd */
    int n = 0;
    if (dir == NULL)
        return -errno;
    for (struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        int fd = atoi(e->d_name);
        if (e->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        if (n < size)
            list[n] = fd;
        n++;
    }
    closedir(dir);
    return n;
}

const char *sys_target(int fd, char text[SYS_TARGET])
{
    char path[32];
    snprintf(path, sizeof path, "/dev/fd/%d", fd);
    ssize_t n = readlink(path, text, SYS_TARGET - 1);
    text[n < 0 ? 0 : n] = '\0';
    return text;
}
