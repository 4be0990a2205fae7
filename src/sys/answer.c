/* What becomes of a name: a list of addresses in which each is once.  And which names are
   none: those that no host can have are not asked for. */
#include "sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool known(const struct sys_answer *answer, const struct sys_address *a)
{
    for (unsigned i = 0; i < answer->count; i++)
        if (answer->list[i].size == a->size &&
            memcmp(answer->list[i].bytes, a->bytes, a->size) == 0)
            return true;
    return false;
}

static bool grow(struct sys_answer *answer)
{
    unsigned capacity = answer->capacity ? answer->capacity * 2 : 4;
    struct sys_address *list = realloc(answer->list, capacity * sizeof *list);
    if (list == NULL) {
        answer->rc = -ENOMEM;
        return false;
    }
    answer->list = list;
    answer->capacity = capacity;
    return true;
}

void sys_answer_add(struct sys_answer *answer, const void *sockaddr, unsigned size)
{
    struct sys_address a = {.size = size};
    if (size > SYS_ADDRESS || answer->count == SYS_ANSWERS)
        return;
    memcpy(a.bytes, sockaddr, size);
    if (sys_family(&a) == SYS_ANY || known(answer, &a))
        return;
    if (answer->count < answer->capacity || grow(answer))
        answer->list[answer->count++] = a;
}

void sys_answer_free(struct sys_answer *answer)
{
    free(answer->list);
    *answer = (struct sys_answer){0};
}

static bool letter(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           c == '-' || c == '_' || c >= 0x80;
}

/* A name that ends in a number is an address that somebody has mistyped. */
bool sys_hostname(const char *host)
{
    size_t label = 0, digits = 0, size = strlen(host);
    if (size == 0 || size > 254)
        return false;
    for (const char *p = host; *p != '\0'; p++) {
        if (*p == '.' && label == 0)
            return false;
        if (*p == '.' && p[1] == '\0')
            break;
        if (*p != '.' && !letter((unsigned char)*p))
            return false;
        bool dot = *p == '.', digit = *p >= '0' && *p <= '9';
        label = dot ? 0 : label + 1;
        digits = dot ? 0 : digits + digit;
        if (label > 63)
            return false;
    }
    return digits < label;
}
