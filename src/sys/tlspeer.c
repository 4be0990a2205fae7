/* The other end of a connection under TLS: whom a client expects there, and who it is. */
#ifdef LULL_HAVE_OPENSSL

#include <errno.h>
#include <string.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "tls.h"

/* ---- expected -------------------------------------------------------------------- */

static char *copy(struct sys_tls *t, const char *text)
{
    size_t size = strlen(text) + 1;
    char *to = t->alloc(t->ud, NULL, 0, size);
    return to ? memcpy(to, text, size) : NULL;
}

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

/* ---- found ----------------------------------------------------------------------- */

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
extern const char sys_tlspeer_is_not; /* ISO C wants something in every file */
#endif
