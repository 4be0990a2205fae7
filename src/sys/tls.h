/* What the files of TLS tell each other: tlscontext.c (what is agreed on beforehand),
   tls.c (a connection), tlsbio.c (its socket) and tlspeer.c (its other end).  They know
   OpenSSL, nobody else does. */
#ifndef LULL_TLS_H
#define LULL_TLS_H

#include "buffer.h"
#include "list.h"
#include "openssl.h"
#include "sys.h"

struct sys_tls_context {
    SSL_CTX *ssl;
    BIO_METHOD *method;
    unsigned references; /* its connections, and who made it */
    bool server, verifies;
    lull_alloc alloc;
    void *ud;
    char *alpn; /* a server's, in the order of its preference */
    size_t alpn_size;
    lull_list sessions; /* a client's, the newest first */
    unsigned session_count;
};

struct sys_tls {
    lull_list link; /* in the list that it was made for */
    SSL *ssl; /* NULL: closed */
    struct sys_tls_context *context;
    lull_alloc alloc;
    void *ud;
    lull_io *io;
    lull_loop *loop;      /* during a call */
    struct buffer early;  /* what had come before TLS began */
    struct buffer out;    /* encrypted, and not sent yet */
    size_t held;          /* bytes of the caller that are in there, or sent since */
    int failure;          /* 0, or what ended the handshake */
    int in_error;         /* what ended receiving */
    int out_error;        /* what ended sending */
    int recv_error;       /* what the system said last */
    size_t talk;          /* received since the last byte for the caller */
    bool shaken;          /* the handshake is done */
    bool ended, in_ended; /* no more comes from the system; from the peer */
    bool dry;             /* the system had nothing when last asked */
    bool deaf;            /* receiving was shut down by ourselves */
    char *key;            /* for sessions to be resumed */
    char *name;           /* that a client has sent, or NULL */
    char why[SYS_WHY];
};

/* Notes why OpenSSL failed, and forgets it there: -ENOMEM, -errno, or -SYS_ETLS with the
   reason in why. */
int sys_tls_reason(char why[SYS_WHY], const char *otherwise);

/* A session for key that can be resumed, owned by the caller then; or NULL. */
SSL_SESSION *sys_tls_session(struct sys_tls_context *c, const char *key);

/* tlsbio.c: the functions of the BIO of a connection; sends what that has kept in `out`:
   0 when nothing is left. */
BIO_METHOD *sys_tls_method(void);
int sys_tls_empty(struct sys_tls *t);

#endif
