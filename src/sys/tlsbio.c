/* Between OpenSSL and the stream's socket: a BIO of ours.

   It reads from the socket (first what had come before TLS began), and is told to wait
   where there is nothing.

   What it writes is taken always, whole: sent if the system takes it, else kept in `out`,
   of which there is never more than a record and what the protocol itself has to say.  So
   nothing has to be tried again with the same bytes, and no read ever waits for a
   write. */
#ifdef LULL_HAVE_OPENSSL

#include <errno.h>
#include <string.h>

#include "tls.h"

enum { OUT_LIMIT = 256 << 10 }; /* no peer makes us keep more answers than that */

static int bio_read(BIO *bio, char *data, int size)
{
    struct sys_tls *t = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t early = buffer_size(&t->early);
    if (early > 0) {
        early = early < (size_t)size ? early : (size_t)size;
        memcpy(data, buffer_bytes(&t->early), early);
        buffer_take(&t->early, early, t->alloc, t->ud);
        return (int)early;
    }
    int n = t->ended ? t->recv_error : lull_io_recv(t->loop, t->io, data, (size_t)size);
    t->dry = n == -EAGAIN;
    if (t->dry) {
        BIO_set_retry_read(bio);
        return -1;
    }
    if (n <= 0) {
        t->ended = true;
        t->recv_error = n;
    } else
        t->talk += (size_t)n;
    return n;
}

/* Keeps what the system did not take. */
static void keep(struct sys_tls *t, const char *data, size_t n)
{
    bool much = buffer_size(&t->out) + n > OUT_LIMIT;
    char *to = much ? NULL : buffer_reserve(&t->out, n, t->alloc, t->ud);
    if (to == NULL) {
        t->out_error = much ? -ENOBUFS : -ENOMEM;
        return;
    }
    memcpy(to, data, n);
    buffer_commit(&t->out, n);
}

/* Failures are kept for who sends: there may still be something to read. */
static int bio_write(BIO *bio, const char *data, int size)
{
    struct sys_tls *t = BIO_get_data(bio);
    int n = 0;
    BIO_clear_retry_flags(bio);
    if (t->out_error)
        return size;
    if (buffer_size(&t->out) == 0)
        n = lull_io_send(t->loop, t->io, data, (size_t)size);
    if (n < 0 && n != -EAGAIN)
        t->out_error = n;
    n = n < 0 ? 0 : n;
    if (n < size && t->out_error == 0)
        keep(t, data + n, (size_t)(size - n));
    return size;
}

static long bio_ctrl(BIO *bio, int command, long n, void *data)
{
    (void)bio, (void)n, (void)data;
    return command == BIO_CTRL_FLUSH;
}

static int bio_create(BIO *bio)
{
    BIO_set_init(bio, 1);
    return 1;
}

BIO_METHOD *sys_tls_method(void)
{
    BIO_METHOD *m = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "lull stream");
    if (m) {
        BIO_meth_set_read(m, bio_read);
        BIO_meth_set_write(m, bio_write);
        BIO_meth_set_ctrl(m, bio_ctrl);
        BIO_meth_set_create(m, bio_create);
    }
    return m;
}

int sys_tls_empty(struct sys_tls *t)
{
    while (t->out_error == 0 && buffer_size(&t->out) > 0) {
        int n = lull_io_send(t->loop, t->io, buffer_bytes(&t->out), buffer_size(&t->out));
        if (n == -EAGAIN)
            return n;
        if (n < 0)
            t->out_error = n;
        else
            buffer_take(&t->out, (size_t)n, t->alloc, t->ud);
    }
    return t->out_error;
}

#else
extern const char sys_tlsbio_is_not; /* ISO C wants something in every file */
#endif
