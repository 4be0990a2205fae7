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

static void fail(struct sys_answer *answer, int code, int error)
{
    if (code == EAI_SYSTEM || code == EAI_MEMORY) {
        answer->rc = code == EAI_MEMORY || error == 0 ? -ENOMEM : -error;
        return;
    }
    answer->text = gai_strerror(code);
    answer->code = "EAI_FAIL";
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].code == code)
            answer->code = names[i].name;
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
        fail(&r->answer, code, errno);
        return;
    }
    for (const struct addrinfo *ai = all; ai != NULL; ai = ai->ai_next)
        sys_answer_add(&r->answer, ai->ai_addr, ai->ai_addrlen);
    freeaddrinfo(all);
}

static void release(sys_job *job)
{
    struct sys_resolve *r = (struct sys_resolve *)job;
    sys_answer_free(&r->answer);
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
