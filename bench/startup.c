/* How long a program takes to begin and to end, and how large it grows meanwhile:
     startup N COMMAND...      runs it N times and prints row=startup ms=... kib=...
   The time is the median of the wall time; what the command prints is dropped. */
#define _GNU_SOURCE
#include "bench.h"

#include <fcntl.h>
#include <sys/wait.h>

static int64_t run(char **command)
{
    int64_t began = wall_ns();
    int status, null;
    pid_t child = fork();
    if (child < 0)
        die("fork");
    if (child == 0) {
        null = open("/dev/null", O_RDWR);
        dup2(null, STDOUT_FILENO);
        execvp(command[0], command);
        die(command[0]);
    }
    if (waitpid(child, &status, 0) < 0 || status != 0)
        die(command[0]);
    return wall_ns() - began;
}

static int compare(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    static int64_t times[1000];
    size_t n = argc > 2 ? (size_t)atol(argv[1]) : 0;
    if (n < 1 || n > COUNT(times))
        die("usage: startup N COMMAND...");
    for (size_t i = 0; i < n; i++)
        times[i] = run(argv + 2);
    qsort(times, n, sizeof *times, compare);
    struct rusage usage;
    getrusage(RUSAGE_CHILDREN, &usage);
    printf("row=startup ms=%.3f kib=%ld\n", (double)times[n / 2] / 1e6, usage.ru_maxrss);
    return 0;
}
