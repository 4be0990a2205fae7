/* Names into addresses: getaddrinfo on a thread of the pool.  The order of the addresses
   is the system's (RFC 6724), and each comes once. */
#include "sys.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define NAME(code) \
    { \
        code, #code \
    }
static const struct {
    int code;
    const char *name;
} names[] = {
    NAME(EAI_AGAIN),      NAME(EAI_BADFLAGS), NAME(EAI_FAIL),     NAME(EAI_FAMILY),
    NAME(EAI_NONAME),     NAME(EAI_SERVICE),  NAME(EAI_SOCKTYPE),
#ifdef EAI_NODATA
    NAME(EAI_NODATA),
#endif
#ifdef EAI_ADDRFAMILY
    NAME(EAI_ADDRFAMILY),
#endif
};
#undef NAME

static void fail(struct sys_resolve *r, int code, int error)
{
    if (code == EAI_SYSTEM || code == EAI_MEMORY) {
        r->rc = code == EAI_MEMORY || error == 0 ? -ENOMEM : -error;
        return;
    }
    r->text = gai_strerror(code);
    r->code = "EAI_FAIL";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            r->code = names[i].name;
}

static bool known(const struct sys_resolve *r, const struct sys_address *a)
{
    for (unsigned i = 0; i < r->count; i++)
        if (r->list[i].size == a->size &&
            memcmp(r->list[i].bytes, a->bytes, a->size) == 0)
            return true;
    return false;
}

static void keep(struct sys_resolve *r, const struct addrinfo *all)
{
    unsigned n = 0;
    for (const struct addrinfo *ai = all; ai != NULL; ai = ai->ai_next)
        n++;
    r->list = calloc(n, sizeof *r->list);
    if (r->list == NULL) {
        r->rc = -ENOMEM;
        return;
    }
    for (const struct addrinfo *ai = all; ai != NULL; ai = ai->ai_next) {
        struct sys_address *a = &r->list[r->count];
        if (ai->ai_addrlen > SYS_ADDRESS)
            continue;
        memcpy(a->bytes, ai->ai_addr, ai->ai_addrlen);
        a->size = ai->ai_addrlen;
        if (sys_family(a) != SYS_ANY && !known(r, a))
            r->count++;
    }
}

static void work(sys_job *job)
{
    static const int families[] = {
        [SYS_ANY] = AF_UNSPEC, [SYS_INET] = AF_INET, [SYS_INET6] = AF_INET6};
    struct sys_resolve *r = (struct sys_resolve *)job;
    struct addrinfo hints = {.ai_family = families[r->family],
                             .ai_socktype = SOCK_STREAM};
    struct addrinfo *all = NULL;
    errno = 0;
    int code = getaddrinfo(r->host, NULL, &hints, &all);
    if (code != 0) {
        fail(r, code, errno);
        return;
    }
    keep(r, all);
    freeaddrinfo(all);
}

static void release(sys_job *job)
{
    struct sys_resolve *r = (struct sys_resolve *)job;
    free(r->list);
    free(r);
}

struct sys_resolve *sys_resolve_new(const char *host, enum sys_family family)
{
    size_t size = strlen(host) + 1;
    struct sys_resolve *r = calloc(1, sizeof *r + size);
    if (r == NULL)
        return NULL;
    r->job.work = work;
    r->job.free = release;
    r->family = family;
    memcpy(r->host, host, size);
    return r;
}
