/* The echo server in C on libuv: one buffer lent to whoever reads, replies tried at once
   and queued where the peer is slow.  Prints "port N" and serves until killed. */
#define _GNU_SOURCE
#include "bench.h"

#include <arpa/inet.h>
#include <uv.h>

static char *buffer;
static double port, backlog = 4096, buffer_size = 65536;

struct reply {
    uv_write_t request;
    char data[];
};

static void check(int rc, const char *what)
{
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(rc));
        exit(1);
    }
}

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle, (void)suggested;
    *out = uv_buf_init(buffer, (unsigned)buffer_size);
}

static void closed(uv_handle_t *handle) { free(handle); }

static void written(uv_write_t *request, int status)
{
    (void)status;
    free(request);
}

static void reply(uv_stream_t *client, const char *data, size_t size)
{
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)size);
    int n = uv_try_write(client, &buf, 1);
    size_t done = n > 0 ? (size_t)n : 0;
    if (done == size)
        return;
    struct reply *r = malloc(sizeof *r + size - done);
    if (!r)
        die("malloc");
    memcpy(r->data, data + done, size - done);
    buf = uv_buf_init(r->data, (unsigned)(size - done));
    check(uv_write(&r->request, client, &buf, 1, written), "uv_write");
}

static void came(uv_stream_t *client, ssize_t n, const uv_buf_t *buf)
{
    if (n < 0)
        uv_close((uv_handle_t *)client, closed);
    else if (n > 0)
        reply(client, buf->base, (size_t)n);
}

static void called(uv_stream_t *server, int status)
{
    check(status, "accept");
    uv_tcp_t *client = malloc(sizeof *client);
    if (!client)
        die("malloc");
    check(uv_tcp_init(server->loop, client), "uv_tcp_init");
    check(uv_accept(server, (uv_stream_t *)client), "uv_accept");
    check(uv_tcp_nodelay(client, 1), "uv_tcp_nodelay");
    check(uv_read_start((uv_stream_t *)client, lend, came), "uv_read_start");
}

int main(int argc, char **argv)
{
    const struct option options[] = {{"port", &port, "0"},
                                     {"backlog", &backlog, "4096"},
                                     {"buffer", &buffer_size, "65536"}};
    read_options(argc, argv, options, COUNT(options));
    raise_file_limit();
    buffer = malloc((size_t)buffer_size);
    uv_tcp_t server;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    check(uv_tcp_init(uv_default_loop(), &server), "uv_tcp_init");
    check(uv_tcp_bind(&server, (struct sockaddr *)&a, 0), "uv_tcp_bind");
    check(uv_listen((uv_stream_t *)&server, (int)backlog, called), "uv_listen");
    int size = sizeof a;
    check(uv_tcp_getsockname(&server, (struct sockaddr *)&a, &size), "getsockname");
    printf("port %d\n", ntohs(a.sin_port));
    fflush(stdout);
    return uv_run(uv_default_loop(), UV_RUN_DEFAULT);
}
