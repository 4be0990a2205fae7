/* What the programs of this room share: clocks, numeric options, the limit of open
   files, and one way to give up.  Everything is static, so that each program stays a
   single translation unit that can be read and built alone. */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static inline _Noreturn void die(const char *what)
{
    fprintf(stderr, "%s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static inline int64_t clock_ns(clockid_t id)
{
    struct timespec t;
    if (clock_gettime(id, &t) < 0)
        die("clock_gettime");
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline int64_t wall_ns(void) { return clock_ns(CLOCK_MONOTONIC); }
static inline int64_t cpu_ns(void) { return clock_ns(CLOCK_PROCESS_CPUTIME_ID); }

static inline double per(int64_t began, long n)
{
    return (double)(cpu_ns() - began) / (double)n;
}

/* Pseudo-random numbers, the same in every run. */
static inline uint64_t chance(void)
{
    static uint64_t x = 88172645463325252;
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    return x;
}

/* For the curves: TIMES operations are measured, and each of n things has its share; of n
   things that fall due at random moments within a span, some DENSE do so at a time. */
enum { TIMES = 1000000, DENSE = 100 };

static inline long rounds(long n) { return n < TIMES ? TIMES / n : 1; }

static inline int64_t stride(int64_t span, long n)
{
    return n > DENSE ? span / (n / DENSE) : span;
}

/* An option is --name NUMBER; `value` holds the default. */
struct option {
    const char *name;
    double *value;
    const char *help;
};

static inline _Noreturn void usage(const char *program, const struct option *o, size_t n)
{
    fprintf(stderr, "usage: %s", program);
    for (size_t i = 0; i < n; i++)
        fprintf(stderr, " [--%s %s]", o[i].name, o[i].help);
    fprintf(stderr, "\n");
    exit(2);
}

static inline void read_options(int argc, char **argv, const struct option *o, size_t n)
{
    for (int a = 1; a < argc; a += 2) {
        size_t i = 0;
        while (i < n && (strncmp(argv[a], "--", 2) || strcmp(argv[a] + 2, o[i].name)))
            i++;
        char *end = NULL;
        if (i < n && a + 1 < argc)
            *o[i].value = strtod(argv[a + 1], &end);
        if (!end || *end || end == argv[a + 1])
            usage(argv[0], o, n);
    }
}

/* As many descriptors as the system gives; returns how many that is. */
static inline long raise_file_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        die("getrlimit");
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) < 0)
        die("setrlimit");
    return (long)r.rlim_cur;
}

/* Resident bytes of a process.  smaps_rollup is exact where statm may lag behind. */
static inline long resident_bytes(long pid)
{
    char line[256];
    long kib = -1;
    snprintf(line, sizeof line, "/proc/%ld/smaps_rollup", pid);
    FILE *f = fopen(line, "r");
    if (!f)
        die(line);
    while (kib < 0 && fgets(line, sizeof line, f))
        if (sscanf(line, "Rss: %ld kB", &kib) != 1)
            kib = -1;
    fclose(f);
    return kib < 0 ? -1 : kib * 1024;
}

#endif
