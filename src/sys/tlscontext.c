/* What the connections of a client, or of a server, have in common: certificates, whom
   they trust, what they agree to; and the sessions that a client may resume.  Nothing is
   global: each context is on its own, and its servers' tickets are good there only. */
#ifdef LULL_HAVE_OPENSSL

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "tls.h"

enum {
    SESSIONS = 256,       /* kept in a context */
    SESSIONS_OF_A_KEY = 4,
    READ_BUFFER = 32768,  /* two records: fewer calls of the system */
    ID = 32               /* bytes of a session id context */
};

struct session {
    lull_list link;
    SSL_SESSION *ssl;
    size_t size; /* of the whole */
    char key[];
};

/* ---- OpenSSL itself -------------------------------------------------------------- */

#ifdef LULL_LOAD_OPENSSL
struct sys_openssl sys_openssl;
#endif

/* Without a context nobody calls it, hence this is the one place. */
static int load(char why[SYS_WHY])
{
#ifdef LULL_LOAD_OPENSSL
    static const char *const functions[] = {SYS_OPENSSL(LULL_LIBRARY_NAME) NULL};
    static struct lull_library library = {LULL_LOAD_OPENSSL, functions, &sys_openssl, false};
    return lull_library_load(&library, why, SYS_WHY) < 0 ? -SYS_ETLS : 0;
#else
    (void)why;
    return 0;
#endif
}

/* ---- failures -------------------------------------------------------------------- */

/* The oldest error is the cause, those behind it are where it was noticed; but that there
   was no memory some of OpenSSL's rooms only mention. */
int sys_tls_reason(char why[SYS_WHY], const char *otherwise)
{
    unsigned long e, first = ERR_peek_error();
    const char *reason = first ? ERR_reason_error_string(first) : NULL;
    int rc = -SYS_ETLS;
    if (first && ERR_SYSTEM_ERROR(first) && ERR_GET_REASON(first) != 0)
        rc = -ERR_GET_REASON(first);
    while ((e = ERR_get_error()) != 0)
        if (ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE)
            rc = -ENOMEM;
    snprintf(why, SYS_WHY, "%s", reason ? reason : otherwise);
    return rc;
}

/* ---- sessions -------------------------------------------------------------------- */

static void drop_session(struct sys_tls_context *c, struct session *s)
{
    list_remove(&s->link);
    c->session_count--;
    SSL_SESSION_free(s->ssl);
    c->alloc(c->ud, s, s->size, 0);
}

/* Makes room: few of one key, not too many in all. */
static void thin_out(struct sys_tls_context *c, const char *key)
{
    unsigned same = 0;
    for (lull_list *l = c->sessions.next, *next; l != &c->sessions; l = next) {
        struct session *s = container_of(l, struct session, link);
        next = l->next;
        if (strcmp(s->key, key) == 0 && ++same > SESSIONS_OF_A_KEY)
            drop_session(c, s);
    }
    if (c->session_count > SESSIONS)
        drop_session(c, container_of(c->sessions.prev, struct session, link));
}

/* OpenSSL has got a session that may be resumed; 1: we keep it. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
    struct sys_tls *t = SSL_get_app_data(ssl);
    struct sys_tls_context *c = t->context;
    if (t->key == NULL)
        return 0;
    size_t length = strlen(t->key) + 1, size = sizeof(struct session) + length;
    struct session *s = c->alloc(c->ud, NULL, 0, size);
    if (s == NULL)
        return 0;
    s->ssl = session;
    s->size = size;
    memcpy(s->key, t->key, length);
    list_push(c->sessions.next, &s->link);
    c->session_count++;
    thin_out(c, t->key);
    return 1;
}

static bool is_fresh(SSL_SESSION *session)
{
    long end = SSL_SESSION_get_time(session) + SSL_SESSION_get_timeout(session);
    return SSL_SESSION_is_resumable(session) && (long)time(NULL) < end;
}

/* A ticket of TLS 1.3 is used once, so that nobody can tell by it who comes again. */
SSL_SESSION *sys_tls_session(struct sys_tls_context *c, const char *key)
{
    for (lull_list *l = c->sessions.next, *next; l != &c->sessions; l = next) {
        struct session *s = container_of(l, struct session, link);
        next = l->next;
        if (strcmp(s->key, key) != 0)
            continue;
        SSL_SESSION *session = is_fresh(s->ssl) ? s->ssl : NULL;
        if (session)
            SSL_SESSION_up_ref(session);
        if (!session || SSL_SESSION_get_protocol_version(session) >= TLS1_3_VERSION)
            drop_session(c, s);
        if (session)
            return session;
    }
    return NULL;
}

/* ---- options --------------------------------------------------------------------- */

/* Never ask the terminal for the password of a key. */
static int no_password(char *out, int size, int writing, void *ud)
{
    (void)out, (void)size, (void)writing, (void)ud;
    return -1;
}

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *size,
                       const unsigned char *theirs, unsigned theirs_size, void *ud)
{
    struct sys_tls_context *c = ud;
    (void)ssl;
    int rc = SSL_select_next_proto((unsigned char **)out, size,
                                   (const unsigned char *)c->alpn, (unsigned)c->alpn_size,
                                   theirs, theirs_size);
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* Any name will do, and belongs to its session then. */
static int accept_name(SSL *ssl, int *alert, void *ud)
{
    (void)ssl, (void)alert, (void)ud;
    return SSL_TLSEXT_ERR_OK;
}

static bool set_alpn(struct sys_tls_context *c, const struct sys_tls_options *o)
{
    if (o->alpn_size == 0)
        return true;
    if (!o->server)
        return SSL_CTX_set_alpn_protos(c->ssl, (const unsigned char *)o->alpn,
                                       (unsigned)o->alpn_size) == 0;
    c->alpn = c->alloc(c->ud, NULL, 0, o->alpn_size);
    if (c->alpn == NULL)
        return false;
    memcpy(c->alpn, o->alpn, o->alpn_size);
    c->alpn_size = o->alpn_size;
    SSL_CTX_set_alpn_select_cb(c->ssl, select_alpn, c);
    return true;
}

/* Names of TLS 1.3 ("TLS_...") go to one list, all others to the other. */
static bool set_ciphers(SSL_CTX *ssl, const char *names)
{
    char old[512] = "", new[512] = "";
    if (names == NULL)
        return true;
    while (*names) {
        size_t n = strcspn(names, ":, ");
        char *list = strncmp(names, "TLS_", 4) == 0 ? new : old;
        size_t used = strlen(list);
        if (used + n + 2 > sizeof old)
            return false;
        if (n > 0)
            snprintf(list + used, sizeof old - used, "%s%.*s", used ? ":" : "", (int)n,
                     names);
        names += n + (names[n] != '\0');
    }
    return (!*old || SSL_CTX_set_cipher_list(ssl, old)) &&
           (!*new || SSL_CTX_set_ciphersuites(ssl, new));
}

static bool set_versions(SSL_CTX *ssl, const struct sys_tls_options *o)
{
    return SSL_CTX_set_min_proto_version(ssl, TLS1_VERSION + o->min_version - 10) &&
           (o->max_version == 0 ||
            SSL_CTX_set_max_proto_version(ssl, TLS1_VERSION + o->max_version - 10));
}

static bool set_certificate(SSL_CTX *ssl, const struct sys_tls_options *o,
                            const char **where)
{
    if (o->cert_file == NULL)
        return true;
    *where = o->cert_file;
    if (SSL_CTX_use_certificate_chain_file(ssl, o->cert_file) != 1)
        return false;
    *where = o->key_file ? o->key_file : o->cert_file;
    return SSL_CTX_use_PrivateKey_file(ssl, *where, SSL_FILETYPE_PEM) == 1 &&
           SSL_CTX_check_private_key(ssl) == 1;
}

/* OpenSSL would only notice when it looks for somebody in there. */
static bool is_there(const char *path)
{
    struct stat st;
    if (stat(path, &st) == 0)
        return true;
    ERR_raise(ERR_LIB_SYS, errno);
    return false;
}

/* Whom to trust: those who are named, or else those whom the system trusts. */
static bool set_trust(SSL_CTX *ssl, const struct sys_tls_options *o, const char **where)
{
    *where = o->ca_file;
    if (o->ca_file && SSL_CTX_load_verify_file(ssl, o->ca_file) != 1)
        return false;
    if (o->ca_file && o->server) {
        STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(o->ca_file);
        if (names == NULL)
            return false;
        SSL_CTX_set_client_CA_list(ssl, names);
    }
    *where = o->ca_path;
    if (o->ca_path && !is_there(o->ca_path))
        return false;
    if (o->ca_path && SSL_CTX_load_verify_dir(ssl, o->ca_path) != 1)
        return false;
    *where = NULL;
    bool given = o->ca_file || o->ca_path || o->verify == SYS_VERIFY_NO;
    return given || SSL_CTX_set_default_verify_paths(ssl) == 1;
}

static int verify_mode(const struct sys_tls_options *o)
{
    if (o->verify == SYS_VERIFY_NO)
        return SSL_VERIFY_NONE;
    bool needed = o->server && o->verify == SYS_VERIFY;
    return SSL_VERIFY_PEER | (needed ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0);
}

/* Sessions of a server travel as tickets only.  One that was made under other options
   must not be resumed: it would skip what they ask for. */
static bool set_sessions(struct sys_tls_context *c, const struct sys_tls_options *o)
{
    unsigned char id[EVP_MAX_MD_SIZE];
    if (!o->server) {
        SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_CLIENT |
                                                   SSL_SESS_CACHE_NO_INTERNAL);
        SSL_CTX_sess_set_new_cb(c->ssl, keep_session);
        return true;
    }
    SSL_CTX_set_session_cache_mode(c->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_tlsext_servername_callback(c->ssl, accept_name);
    return EVP_Digest(o->id, o->id_size, id, NULL, EVP_sha256(), NULL) == 1 &&
           SSL_CTX_set_session_id_context(c->ssl, id, ID) == 1;
}

static void set_ways(SSL_CTX *ssl)
{
    SSL_CTX_set_options(ssl, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                 SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                              SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_clear_mode(ssl, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_default_passwd_cb(ssl, no_password);
    SSL_CTX_set_read_ahead(ssl, 1);
    SSL_CTX_set_default_read_buffer_len(ssl, READ_BUFFER);
    SSL_CTX_set_dh_auto(ssl, 1);
}

static bool configure(struct sys_tls_context *c, const struct sys_tls_options *o,
                      const char **where)
{
    set_ways(c->ssl);
    SSL_CTX_set_verify(c->ssl, verify_mode(o), NULL);
    *where = "min_version, max_version";
    if (!set_versions(c->ssl, o))
        return false;
    *where = "ciphers";
    if (!set_ciphers(c->ssl, o->ciphers))
        return false;
    return set_certificate(c->ssl, o, where) && set_trust(c->ssl, o, where) &&
           set_alpn(c, o) && set_sessions(c, o);
}

/* ---- life ------------------------------------------------------------------------ */

int sys_tls_context_new(struct sys_tls_context **out, const struct sys_tls_options *o,
                        const char **where, char why[SYS_WHY])
{
    *where = NULL;
    if (load(why) < 0)
        return -SYS_ETLS;
    struct sys_tls_context *c = o->alloc(o->ud, NULL, 0, sizeof *c);
    if (c == NULL)
        return -ENOMEM;
    *c = (struct sys_tls_context){.references = 1, .alloc = o->alloc, .ud = o->ud};
    c->server = o->server;
    c->verifies = o->verify != SYS_VERIFY_NO;
    list_init(&c->sessions);
    ERR_clear_error();
    c->method = sys_tls_method();
    c->ssl = c->method ? SSL_CTX_new(o->server ? TLS_server_method()
                                               : TLS_client_method())
                       : NULL;
    if (c->ssl && configure(c, o, where)) {
        *out = c;
        ERR_clear_error();
        return 0;
    }
    bool strange = ERR_peek_error() == 0;
    int rc = sys_tls_reason(why, "no memory, or a bad option");
    sys_tls_context_drop(c);
    return strange && *where == NULL ? -ENOMEM : rc;
}

void sys_tls_context_drop(struct sys_tls_context *c)
{
    if (--c->references > 0)
        return;
    while (!list_empty(&c->sessions))
        drop_session(c, container_of(c->sessions.next, struct session, link));
    SSL_CTX_free(c->ssl);
    BIO_meth_free(c->method);
    if (c->alpn)
        c->alloc(c->ud, c->alpn, c->alpn_size, 0);
    c->alloc(c->ud, c, sizeof *c, 0);
}

bool sys_tls_verifies(const struct sys_tls_context *c)
{
    return c->verifies && !c->server;
}

/* ---- files ----------------------------------------------------------------------- */

void sys_tls_stamp(const char *path, char out[SYS_STAMP])
{
    struct stat st;
    *out = '\0';
    if (path && stat(path, &st) == 0)
        snprintf(out, SYS_STAMP, "%llx.%llx.%llx.%lx", (unsigned long long)st.st_ino,
                 (unsigned long long)st.st_size, (unsigned long long)st.st_mtim.tv_sec,
                 (unsigned long)st.st_mtim.tv_nsec);
}

#else
extern const char sys_tls_is_not; /* ISO C wants something in every file */
#endif
