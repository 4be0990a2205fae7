/* Addresses: sockaddr of any family from text and back.  Only numbers are understood
   here; names are for resolve.c. */
#include "sys.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

static_assert(sizeof(struct sockaddr_storage) <= SYS_ADDRESS, "too small");

/* ---- from text ----------------------------------------------------------------- */

static int domain(const struct sys_address *a)
{
    struct sockaddr head;
    if (a->size < sizeof head.sa_family)
        return AF_UNSPEC;
    memcpy(&head, a->bytes, sizeof head);
    return head.sa_family;
}

static int store(struct sys_address *a, const void *from, size_t size)
{
    memcpy(a->bytes, from, size);
    a->size = (unsigned)size;
    return 0;
}

static int parse4(struct sys_address *a, const char *host, unsigned port)
{
    struct sockaddr_in in = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    if (inet_pton(AF_INET, host, &in.sin_addr) != 1)
        return -EINVAL;
    return store(a, &in, sizeof in);
}

/* The number of a zone: of an interface by name, or written as digits. */
static unsigned zone(const char *text)
{
    unsigned index = if_nametoindex(text);
    return index ? index : (unsigned)strtoul(text, NULL, 10);
}

static int parse6(struct sys_address *a, const char *host, unsigned port)
{
    struct sockaddr_in6 in = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port)};
    char digits[INET6_ADDRSTRLEN];
    const char *percent = strchr(host, '%');
    size_t size = percent ? (size_t)(percent - host) : strlen(host);
    if (size >= sizeof digits)
        return -EINVAL;
    memcpy(digits, host, size);
    digits[size] = '\0';
    if (inet_pton(AF_INET6, digits, &in.sin6_addr) != 1)
        return -EINVAL;
    if (percent && (in.sin6_scope_id = zone(percent + 1)) == 0)
        return -EINVAL;
    return store(a, &in, sizeof in);
}

int sys_parse(struct sys_address *a, enum sys_family family, const char *host,
              unsigned port)
{
    if (strcmp(host, "*") == 0)
        host = family == SYS_INET ? "0.0.0.0" : "::";
    int rc = -EINVAL;
    if (family == SYS_INET || family == SYS_ANY)
        rc = parse4(a, host, port);
    if (rc < 0 && (family == SYS_INET6 || family == SYS_ANY))
        rc = parse6(a, host, port);
    return rc;
}

int sys_unix(struct sys_address *a, const char *path, size_t size)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    bool abstract = size > 0 && *path == '\0';
    if (size == 0 || (!abstract && memchr(path, '\0', size)))
        return -EINVAL;
    if (size + !abstract > sizeof un.sun_path)
        return -ENAMETOOLONG;
    memcpy(un.sun_path, path, size);
    return store(a, &un, offsetof(struct sockaddr_un, sun_path) + size + !abstract);
}

/* ---- to text ------------------------------------------------------------------- */

static size_t host6(const struct sockaddr_in6 *in, char out[SYS_HOST])
{
    inet_ntop(AF_INET6, &in->sin6_addr, out, SYS_HOST);
    size_t size = strlen(out);
    char name[IF_NAMESIZE];
    if (in->sin6_scope_id == 0)
        return size;
    if (if_indextoname(in->sin6_scope_id, name) == NULL)
        snprintf(name, sizeof name, "%u", (unsigned)in->sin6_scope_id);
    return size + (size_t)snprintf(out + size, SYS_HOST - size, "%%%s", name);
}

/* The name of a Unix socket ends where the address does, or at a NUL that is not first. */
static size_t path(const struct sys_address *a, char out[SYS_HOST])
{
    size_t start = offsetof(struct sockaddr_un, sun_path);
    size_t size = a->size > start ? a->size - start : 0;
    const unsigned char *name = a->bytes + start;
    if (size > 0 && name[0] != '\0') {
        const unsigned char *nul = memchr(name, '\0', size);
        size = nul ? (size_t)(nul - name) : size;
    }
    memcpy(out, name, size);
    out[size] = '\0';
    return size;
}

size_t sys_host(const struct sys_address *a, char out[SYS_HOST])
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
    out[0] = '\0';
    switch (domain(a)) {
    case AF_INET:
        memcpy(&in, a->bytes, sizeof in);
        inet_ntop(AF_INET, &in.sin_addr, out, SYS_HOST);
        return strlen(out);
    case AF_INET6:
        memcpy(&in6, a->bytes, sizeof in6);
        return host6(&in6, out);
    case AF_UNIX:
        return path(a, out);
    default:
        return 0;
    }
}

const char *sys_text(const struct sys_address *a, char out[SYS_TEXT])
{
    char host[SYS_HOST];
    size_t size = sys_host(a, host);
    switch (domain(a)) {
    case AF_INET:
        snprintf(out, SYS_TEXT, "%s:%u", host, sys_port(a));
        break;
    case AF_INET6:
        snprintf(out, SYS_TEXT, "[%s]:%u", host, sys_port(a));
        break;
    default:
        for (size_t i = 0; i < size; i++)
            host[i] = host[i] ? host[i] : '@';
        snprintf(out, SYS_TEXT, "%s", size > 0 ? host : "unnamed");
    }
    return out;
}

unsigned sys_port(const struct sys_address *a)
{
    struct sockaddr_in in; /* the port stands in the same place in both families */
    if (domain(a) != AF_INET && domain(a) != AF_INET6)
        return 0;
    memcpy(&in, a->bytes, sizeof in);
    return ntohs(in.sin_port);
}

enum sys_family sys_family(const struct sys_address *a)
{
    switch (domain(a)) {
    case AF_INET:
        return SYS_INET;
    case AF_INET6:
        return SYS_INET6;
    case AF_UNIX:
        return SYS_UNIX;
    default:
        return SYS_ANY;
    }
}

/* ---- IPv4 in IPv6 ---------------------------------------------------------------- */

static const unsigned char mapped[12] = {[10] = 0xff, [11] = 0xff};

void sys_map4(struct sys_address *a)
{
    struct sockaddr_in in;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    if (domain(a) != AF_INET)
        return;
    memcpy(&in, a->bytes, sizeof in);
    in6.sin6_port = in.sin_port;
    memcpy(in6.sin6_addr.s6_addr, mapped, sizeof mapped);
    memcpy(in6.sin6_addr.s6_addr + sizeof mapped, &in.sin_addr, sizeof in.sin_addr);
    store(a, &in6, sizeof in6);
}

void sys_unmap4(struct sys_address *a)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6;
    if (domain(a) != AF_INET6)
        return;
    memcpy(&in6, a->bytes, sizeof in6);
    if (memcmp(in6.sin6_addr.s6_addr, mapped, sizeof mapped) != 0)
        return;
    in.sin_port = in6.sin6_port;
    memcpy(&in.sin_addr, in6.sin6_addr.s6_addr + sizeof mapped, sizeof in.sin_addr);
    store(a, &in, sizeof in);
}
