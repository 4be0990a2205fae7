/* Process groups: is anybody left of one?  Of members that are no children of ours nobody
   tells the end, and those that have ended count for the system until whoever adopted
   them has reaped them, which may be never: where there is a /proc it is asked who
   lives. */
#include "sys.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Has this process ended?  Its state stands behind its name, in which anything may be. */
static bool has_ended(const char *pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%.20s/stat", pid);
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f != NULL)
        fclose(f);
    text[n] = '\0';
    const char *name = strrchr(text, ')');
    return name == NULL || name[1] == '\0' || strchr("ZX", name[2]) != NULL;
}

bool sys_group_lives(int group)
{
    if (kill(-group, 0) < 0)
        return false;
    DIR *dir = opendir("/proc");
    if (dir == NULL)
        return true;
    bool proc = false, lives = false;
    for (struct dirent *e; !lives && (e = readdir(dir)) != NULL;) {
        int pid = atoi(e->d_name);
        proc = proc || pid > 0;
        lives = pid > 0 && getpgid(pid) == group && !has_ended(e->d_name);
    }
    closedir(dir);
    return lives || !proc;
}
