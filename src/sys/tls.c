/* A connection under TLS: its life, the handshake, receiving and sending.  OpenSSL reads
   and writes through the BIO of tlsbio.c, which takes whatever it writes.

   Of the caller's bytes those count as sent whose record has left `out`.  He keeps the
   rest, and shows it again: sys_tls_send remembers how much of it (`held`) is
   encrypted. */
#ifdef LULL_HAVE_OPENSSL

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "tls.h"

enum {
    RECORD = SSL3_RT_MAX_PLAIN_LENGTH,
    RECORDS = 16,    /* of one call before others get a turn */
    TALK = 256 << 10 /* what a peer may send without saying anything */
};

/* ---- life ------------------------------------------------------------------------ */

static int attach(struct sys_tls *t)
{
    ERR_clear_error();
    t->ssl = SSL_new(t->context->ssl);
    BIO *bio = t->ssl ? BIO_new(t->context->method) : NULL;
    if (bio == NULL) {
        ERR_clear_error();
        return -ENOMEM;
    }
    BIO_set_data(bio, t);
    SSL_set_bio(t->ssl, bio, bio);
    SSL_set_app_data(t->ssl, t);
    if (t->context->server)
        SSL_set_accept_state(t->ssl);
    else
        SSL_set_connect_state(t->ssl);
    return 0;
}

int sys_tls_new(struct sys_tls **out, struct sys_tls_context *c, lull_io *io,
                lull_list *list)
{
    struct sys_tls *t = c->alloc(c->ud, NULL, 0, sizeof *t);
    if (t == NULL)
        return -ENOMEM;
    *t = (struct sys_tls){.context = c, .io = io, .alloc = c->alloc, .ud = c->ud};
    c->references++;
    list_push(list, &t->link);
    int rc = attach(t);
    if (rc < 0)
        sys_tls_free(t);
    else
        *out = t;
    return rc;
}

static void forget(struct sys_tls *t, char **text)
{
    if (*text)
        t->alloc(t->ud, *text, strlen(*text) + 1, 0);
    *text = NULL;
}

void sys_tls_close(struct sys_tls *t)
{
    if (t->context == NULL)
        return;
    SSL_free(t->ssl);
    t->ssl = NULL;
    buffer_free(&t->early, t->alloc, t->ud);
    buffer_free(&t->out, t->alloc, t->ud);
    forget(t, &t->key);
    forget(t, &t->name);
    sys_tls_context_drop(t->context);
    t->context = NULL;
}

void sys_tls_free(struct sys_tls *t)
{
    sys_tls_close(t);
    list_remove(&t->link);
    t->alloc(t->ud, t, sizeof *t, 0);
}

void sys_tls_free_all(lull_list *list)
{
    while (!list_empty(list))
        sys_tls_free(container_of(list->next, struct sys_tls, link));
}

void sys_tls_feed(struct sys_tls *t, struct buffer *early)
{
    t->early = *early;
    *early = (struct buffer){0};
}

/* ---- how calls end --------------------------------------------------------------- */

static int reason(struct sys_tls *t)
{
    unsigned long e = ERR_peek_error();
    long verdict = SSL_get_verify_result(t->ssl);
    int rc = sys_tls_reason(t->why, "unknown failure");
    if (ERR_GET_REASON(e) == SSL_R_CERTIFICATE_VERIFY_FAILED)
        snprintf(t->why, sizeof t->why, "certificate verify failed: %s",
                 X509_verify_cert_error_string(verdict));
    return rc;
}

/* What n, returned by OpenSSL, means: 0 at the end, -EAGAIN: when there is more to read,
   or what has failed. */
static int outcome(struct sys_tls *t, int n)
{
    int rc;
    switch (SSL_get_error(t->ssl, n)) {
    case SSL_ERROR_WANT_READ:
    case SSL_ERROR_WANT_WRITE:
        rc = -EAGAIN;
        break;
    case SSL_ERROR_ZERO_RETURN:
        rc = 0;
        break;
    case SSL_ERROR_SSL:
        rc = reason(t);
        break;
    default:
        rc = t->ended && t->recv_error < 0 ? t->recv_error : -SYS_ETLS;
        snprintf(t->why, sizeof t->why, "%s",
                 t->shaken ? "stream truncated: it ended without close_notify"
                           : "handshake truncated: the peer has hung up");
    }
    ERR_clear_error();
    return rc;
}

/* ---- the calls ------------------------------------------------------------------- */

int sys_tls_handshake(struct sys_tls *t, lull_loop *loop)
{
    if (t->shaken || t->failure)
        return t->failure;
    t->loop = loop;
    ERR_clear_error();
    int n = SSL_do_handshake(t->ssl);
    if (n == 1) {
        t->shaken = true;
        ERR_clear_error();
        return 0;
    }
    int rc = outcome(t, n);
    if (rc == -EAGAIN && t->out_error) /* nothing has come that would tell more */
        rc = t->out_error;
    if (rc == 0) {
        rc = -SYS_ETLS;
        snprintf(t->why, sizeof t->why, "the peer has closed during the handshake");
    }
    if (rc != -EAGAIN)
        t->failure = t->in_error = t->out_error = rc;
    return rc;
}

/* Everything after a failure of the protocol fails, either way. */
static int end_of_receiving(struct sys_tls *t, int rc)
{
    if (rc == -EAGAIN)
        return rc;
    if (rc == -SYS_ETLS && t->ended && t->recv_error == 0 && t->deaf)
        rc = 0;
    else if (rc < 0 && !t->ended)
        t->out_error = rc;
    t->in_ended = true;
    return t->in_error = rc;
}

/* OpenSSL comes back when its buffer has brought nothing.  Only where the system has no
   more either there is reason to wait. */
static bool goes_on(struct sys_tls *t)
{
    if (t->talk < TALK)
        return !t->dry;
    snprintf(t->why, sizeof t->why, "too many records without data");
    end_of_receiving(t, -SYS_ETLS);
    return true;
}

int sys_tls_recv(struct sys_tls *t, lull_loop *loop, char *data, size_t size)
{
    size_t done = 0, n;
    int rc = sys_tls_handshake(t, loop);
    if (rc < 0)
        return rc;
    t->loop = loop;
    ERR_clear_error();
    while (done < size && !t->in_ended) {
        int ok = SSL_read_ex(t->ssl, data + done, size - done, &n);
        if (ok == 1) {
            done += n;
            t->talk = 0;
            continue;
        }
        rc = end_of_receiving(t, outcome(t, ok));
        if (rc == -EAGAIN && !goes_on(t))
            return done > 0 ? (int)done : -EAGAIN;
    }
    return done > 0 ? (int)done : t->in_error;
}

/* Encrypts a record's worth, which cannot be refused; 0, or why it failed. */
static int encrypt(struct sys_tls *t, const char *data, size_t n)
{
    size_t taken = 0;
    int ok = SSL_write_ex(t->ssl, data, n, &taken);
    if (ok != 1 && t->out_error == 0) {
        int rc = outcome(t, ok);
        t->out_error = rc < 0 && rc != -EAGAIN ? rc : -EPIPE;
    }
    return t->out_error;
}

int sys_tls_send(struct sys_tls *t, lull_loop *loop, const char *data, size_t size)
{
    int rc = sys_tls_handshake(t, loop);
    t->loop = loop;
    if (rc == 0)
        rc = sys_tls_empty(t);
    if (rc < 0)
        return rc;
    size_t done = t->held < size ? t->held : size;
    t->held -= done;
    ERR_clear_error();
    for (int i = 0; done < size && i < RECORDS; i++) {
        size_t n = size - done < RECORD ? size - done : RECORD;
        rc = encrypt(t, data + done, n);
        if (rc < 0)
            return done > 0 ? (int)done : rc;
        if (buffer_size(&t->out) > 0) {
            t->held = n;
            break;
        }
        done += n;
    }
    return done > 0 ? (int)done : -EAGAIN;
}

int sys_tls_flush(struct sys_tls *t, lull_loop *loop)
{
    int rc = sys_tls_handshake(t, loop);
    t->loop = loop;
    int sent = sys_tls_empty(t);
    return rc == 0 || (rc == -EAGAIN && sent < 0) ? sent : rc;
}

int sys_tls_notify(struct sys_tls *t, lull_loop *loop)
{
    if (!t->shaken || t->out_error)
        return 0;
    if (!(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)) {
        t->loop = loop;
        ERR_clear_error();
        SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
    return sys_tls_unsent(t) ? -EAGAIN : 0;
}

void sys_tls_deafen(struct sys_tls *t)
{
    t->deaf = true;
}

/* ---- questions ------------------------------------------------------------------- */

bool sys_tls_shaken(const struct sys_tls *t)
{
    return t->shaken;
}

int sys_tls_failure(const struct sys_tls *t)
{
    return t->failure;
}

bool sys_tls_unsent(const struct sys_tls *t)
{
    return buffer_size(&t->out) > 0 && t->out_error == 0;
}

bool sys_tls_torn(const struct sys_tls *t)
{
    return t->held > 0;
}

const char *sys_tls_why(const struct sys_tls *t)
{
    return t->why;
}

#else
extern const char sys_tls_is_not; /* ISO C wants something in every file */
#endif
