/* Bytes that nobody can foretell. */
#include <time.h>
#include <unistd.h>
#ifdef __APPLE__
#include <sys/random.h>
#endif

#include "sys.h"

void sys_entropy(void *data, size_t size)
{
    if (getentropy(data, size) == 0)
        return;
    struct timespec t; /* a kernel that has none to give: some that differ, at least */
    clock_gettime(CLOCK_MONOTONIC, &t);
    unsigned char *p = data;
    uint64_t x = (uint64_t)t.tv_nsec ^ (uint64_t)t.tv_sec << 32 ^ (uint64_t)(uintptr_t)data;
    for (size_t i = 0; i < size; i++) {
        x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        p[i] = (unsigned char)(x >> 56);
    }
}
