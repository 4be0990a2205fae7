/* A connection under TLS.  OpenSSL reads and writes through a BIO of ours:

   It reads from the stream's socket (first what had come before TLS began), and is told
   to wait where there is nothing.

   What it writes is taken always, whole: sent if the system takes it, else kept in `out`,
   of which there is never more than a record and what the protocol itself has to say.  So
   nothing has to be tried again with the same bytes, and no read ever waits for a write.

   Of the caller's bytes those count as sent whose record has left `out`.  He keeps the
   rest, and shows it again: sys_tls_send remembers how much of it (`held`) is
   encrypted. */
#ifdef LULL_HAVE_OPENSSL

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls.h"

enum {
    RECORD = SSL3_RT_MAX_PLAIN_LENGTH,
    RECORDS = 16,         /* of one call before others get a turn */
    TALK = 256 << 10,     /* what a peer may send without saying anything */
    OUT_LIMIT = 256 << 10 /* no peer makes us keep more answers than that */
};

/* ---- the BIO --------------------------------------------------------------------- */

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

static char *copy(struct sys_tls *t, const char *text)
{
    size_t size = strlen(text) + 1;
    char *to = t->alloc(t->ud, NULL, 0, size);
    return to ? memcpy(to, text, size) : NULL;
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

/* ---- whom a client expects ------------------------------------------------------- */

/* A number is looked for among the addresses of the certificate, and is no server name. */
static bool expect(struct sys_tls *t, const char *name)
{
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), name) == 1)
        return true;
    ERR_clear_error();
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    t->name = copy(t, name);
    return t->name && SSL_set1_host(t->ssl, name) == 1 &&
           SSL_set_tlsext_host_name(t->ssl, name) == 1;
}

static void offer_session(struct sys_tls *t)
{
    SSL_SESSION *session = sys_tls_session(t->context, t->key);
    if (session) {
        SSL_set_session(t->ssl, session);
        SSL_SESSION_free(session);
    }
}

int sys_tls_expect(struct sys_tls *t, const char *name, const char *key)
{
    char host[SYS_TLS_NAME];
    size_t n = strcspn(name, "%"); /* the zone of an IPv6 address */
    if (n > 0 && name[n] == '\0' && name[n - 1] == '.')
        n--;
    if (n == 0 || n >= sizeof host)
        return -EINVAL;
    memcpy(host, name, n);
    host[n] = '\0';
    if (!expect(t, host)) {
        ERR_clear_error();
        return -ENOMEM;
    }
    t->key = copy(t, key);
    if (t->key == NULL)
        return -ENOMEM;
    offer_session(t);
    return 0;
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

/* Sends what is in `out`: 0 when nothing is left. */
static int empty(struct sys_tls *t)
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
        rc = empty(t);
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
    int sent = empty(t);
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

void sys_tls_info(const struct sys_tls *t, struct sys_tls_info *info)
{
    const unsigned char *alpn;
    unsigned alpn_size;
    X509 *peer = SSL_get0_peer_certificate(t->ssl);
    *info = (struct sys_tls_info){.version = SSL_get_version(t->ssl),
                                  .cipher = SSL_get_cipher_name(t->ssl)};
    info->server_name = t->context->server
                            ? SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name)
                            : t->name;
    SSL_get0_alpn_selected(t->ssl, &alpn, &alpn_size);
    info->alpn = alpn ? (const char *)alpn : NULL;
    info->alpn_size = alpn_size;
    info->resumed = SSL_session_reused(t->ssl);
    info->verified = peer && t->context->verifies &&
                     SSL_get_verify_result(t->ssl) == X509_V_OK;
}

ptrdiff_t sys_tls_certificate(const struct sys_tls *t, char *out, size_t size)
{
    X509 *peer = SSL_get0_peer_certificate(t->ssl);
    if (peer == NULL)
        return 0;
    ERR_clear_error();
    BIO *bio = BIO_new(BIO_s_mem());
    char *text = NULL;
    ptrdiff_t n = bio && PEM_write_bio_X509(bio, peer) ? BIO_get_mem_data(bio, &text) : 0;
    if (n > 0 && (size_t)n <= size)
        memcpy(out, text, (size_t)n);
    BIO_free(bio);
    ERR_clear_error();
    return n > 0 ? n : -ENOMEM;
}

#else
extern const char sys_tls_is_not; /* ISO C wants something in every file */
#endif
