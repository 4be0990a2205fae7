/* The load of the TLS rows: one connection at a time, which shakes hands, asks for a path as
   a browser would, reads to the end and goes.  With --resume 1 each takes up the session of
   the one before it; with --bulk 1 the path is /bulk instead of /tiny.  After a tenth of
   them the CPU time of the server is read, from the clock of its process, and at the end.
   Certificates are not verified, for that is the client's work; version and cipher are the
   same for every server.
   Prints one line of key=value. */
#include "bench.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

enum { ATTEMPTS = 500, CHUNK = 1 << 16 }; /* to reach a server that is just starting */

static double port, connections = 500, server_pid, resume, bulk;
static SSL_CTX *context;
static SSL_SESSION *session;
static uint64_t received, resumed;
static char buffer[CHUNK];

static int dial(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    for (int i = 0; i < ATTEMPTS; i++) {
        int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0)
            die("socket");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0)
            return fd;
        close(fd);
        usleep(10000);
    }
    die("connect");
}

/* The end that a server announces, and the one that it does not, are both good enough. */
static void read_all(SSL *ssl)
{
    for (int n; (n = SSL_read(ssl, buffer, CHUNK)) > 0;)
        received += (uint64_t)n;
}

static void converse(void)
{
    const char *request = bulk > 0 ? "GET /bulk HTTP/1.0\r\n\r\n" : "GET /tiny HTTP/1.0\r\n\r\n";
    int fd = dial();
    uint64_t before = received;
    SSL *ssl = SSL_new(context);
    if (ssl == NULL || !SSL_set_fd(ssl, fd))
        die("SSL_new");
    if (resume > 0 && session != NULL)
        SSL_set_session(ssl, session);
    errno = 0;
    if (SSL_connect(ssl) != 1)
        die("SSL_connect");
    if (SSL_write(ssl, request, (int)strlen(request)) <= 0)
        die("SSL_write");
    read_all(ssl);
    if (received == before)
        die("the server said nothing");
    resumed += SSL_session_reused(ssl) != 0;
    SSL_SESSION_free(session);
    session = SSL_get1_session(ssl);
    SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN); /* may be taken up */
    SSL_free(ssl);
    close(fd);
}

static int64_t server_ns(void)
{
    clockid_t id;
    if (clock_getcpuclockid((pid_t)server_pid, &id) != 0)
        die("no such server");
    return clock_ns(id);
}

static void prepare(void)
{
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL || !SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) ||
        !SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256"))
        die("SSL_CTX_new");
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
}

int main(int argc, char **argv)
{
    const struct option options[] = {
        {"port", &port, "N"}, {"pid", &server_pid, "SERVER"},
        {"connections", &connections, "500"}, {"resume", &resume, "0"}, {"bulk", &bulk, "0"},
    };
    read_options(argc, argv, options, COUNT(options));
    if (port <= 0 || connections < 1 || server_pid <= 0)
        usage(argv[0], options, COUNT(options));
    prepare();
    int warm = (int)connections / 10 + 1, n = (int)connections;
    for (int i = 0; i < warm; i++)
        converse();
    received = resumed = 0;
    int64_t wall = wall_ns(), cpu = server_ns();
    for (int i = 0; i < n; i++)
        converse();
    wall = wall_ns() - wall;
    cpu = server_ns() - cpu;
    double mib = (double)received / (1 << 20);
    printf("connections=%d resumed=%.0f cpu_us=%.3f cpu_us_mib=%.3f pace=%.1f busy=%.3f\n", n,
           (double)resumed, (double)cpu / n / 1000, (double)cpu / mib / 1000,
           n / ((double)wall / 1e9), (double)cpu / (double)wall);
    return 0;
}
