/* What stands in for TLS where there is no OpenSSL: no context can be made, so nobody
   ever gets to call the rest. */
#ifndef LULL_HAVE_OPENSSL

#include <errno.h>

#include "sys.h"

int sys_tls_context_new(struct sys_tls_context **out, const struct sys_tls_options *o,
                        const char **where, char why[SYS_WHY])
{
    (void)out, (void)o, (void)why;
    *where = NULL;
    return -ENOSYS;
}

void sys_tls_context_drop(struct sys_tls_context *c)
{
    (void)c;
}

bool sys_tls_verifies(const struct sys_tls_context *c)
{
    return c != NULL;
}

void sys_tls_stamp(const char *path, char out[SYS_STAMP])
{
    (void)path;
    *out = '\0';
}

int sys_tls_new(struct sys_tls **out, struct sys_tls_context *c, lull_io *io,
                lull_list *list)
{
    (void)out, (void)c, (void)io, (void)list;
    return -ENOSYS;
}

void sys_tls_close(struct sys_tls *t)
{
    (void)t;
}

void sys_tls_free_all(lull_list *list)
{
    (void)list;
}

void sys_tls_free(struct sys_tls *t)
{
    (void)t;
}

void sys_tls_feed(struct sys_tls *t, struct buffer *early)
{
    (void)t, (void)early;
}

int sys_tls_expect(struct sys_tls *t, const char *name, const char *key)
{
    (void)t, (void)name, (void)key;
    return -ENOSYS;
}

int sys_tls_handshake(struct sys_tls *t, lull_loop *loop)
{
    (void)t, (void)loop;
    return -ENOSYS;
}

int sys_tls_recv(struct sys_tls *t, lull_loop *loop, char *data, size_t size)
{
    (void)t, (void)loop, (void)data, (void)size;
    return -ENOSYS;
}

int sys_tls_send(struct sys_tls *t, lull_loop *loop, const char *data, size_t size)
{
    (void)t, (void)loop, (void)data, (void)size;
    return -ENOSYS;
}

int sys_tls_flush(struct sys_tls *t, lull_loop *loop)
{
    (void)t, (void)loop;
    return -ENOSYS;
}

int sys_tls_notify(struct sys_tls *t, lull_loop *loop)
{
    (void)t, (void)loop;
    return -ENOSYS;
}

void sys_tls_deafen(struct sys_tls *t)
{
    (void)t;
}

bool sys_tls_shaken(const struct sys_tls *t)
{
    return t != NULL;
}

int sys_tls_failure(const struct sys_tls *t)
{
    (void)t;
    return 0;
}

bool sys_tls_unsent(const struct sys_tls *t)
{
    return t == NULL;
}

bool sys_tls_torn(const struct sys_tls *t)
{
    return t == NULL;
}

const char *sys_tls_why(const struct sys_tls *t)
{
    (void)t;
    return "";
}

void sys_tls_info(const struct sys_tls *t, struct sys_tls_info *info)
{
    (void)t;
    *info = (struct sys_tls_info){0};
}

ptrdiff_t sys_tls_certificate(const struct sys_tls *t, char *out, size_t size)
{
    (void)t, (void)out, (void)size;
    return 0;
}

#else
extern const char sys_tls_is_there; /* ISO C wants something in every file */
#endif
