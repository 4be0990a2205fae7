/* Names from name servers: the protocol is c-ares', the waiting is the loop's.

   A lookup is a channel of c-ares of its own: so it can be dropped at any point, comes from
   a port that nobody can guess from another, and sees the configuration as it is now.
   c-ares gets its sockets from here.  Thus they are taken from the loop before they are
   closed, a new one with the same number is never mistaken for the old, and all of their
   traffic goes through the loop's backend.

   c-ares asks one server at a time; which one is asked next, and how long it has for an
   answer, is decided here, by the loop's clock: c-ares' own is a real one always, and
   when it retries differs from version to version.  The time begins anew with each question
   sent, for a search list or a truncated answer makes for several.

   Its callback may come before the call that asked returns, and comes from inside of it in
   any case: it only notes the outcome, settle() looks at it when c-ares has returned. */
#include "sys.h"

#ifdef LULL_HAVE_CARES

#define CARES_NO_DEPRECATED /* what 1.18 has, later versions still have */
#include <ares.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "list.h"

enum { ASKING = -1 };               /* the status of c-ares while it has none */
enum { MACHINE_SERVERS = 8 };       /* of those that the machine has, so many are asked */
enum { MILLISECOND = 1000 * 1000 }; /* ns */

const bool sys_has_dns = true;

struct sys_dns {
    lull_loop *loop;
    ares_channel channel; /* NULL: the lookup is over */
    struct ares_addr_port_node *servers;
    unsigned server_count, attempt, attempts;
    int64_t patience;
    int status; /* of c-ares: how the attempt ended, or ASKING */
    bool sent;  /* a question has been sent since settle() looked */
    int rc;     /* a descriptor could not be had, or not be waited for */
    lull_list links;
    lull_timer timer;
    lull_waiter expiry, end; /* the attempt's, the loop's */
    void (*done)(void *owner);
    void *owner;
    struct sys_answer answer;
    enum sys_family family;
    char host[];
};

/* ---- the sockets of c-ares ---------------------------------------------------------- */

struct link {
    lull_list node;
    struct sys_dns *dns;
    lull_io io;
    lull_waiter reader, writer;
    struct sys_address peer;
    int type, error;
    bool reads, writes; /* c-ares wants to know when it can */
    bool connecting;
};

static struct link *find(struct sys_dns *dns, int fd)
{
    for (lull_list *l = dns->links.next; l != &dns->links; l = l->next) {
        struct link *link = container_of(l, struct link, node);
        if (link->io.watch.fd == fd)
            return link;
    }
    return NULL;
}

static int refuse(int rc)
{
    errno = rc < 0 ? -rc : EBADF;
    return -1;
}

static void readable(lull_loop *loop, lull_waiter *w);
static void writable(lull_loop *loop, lull_waiter *w);

static ares_socket_t open_link(int domain, int type, int protocol, void *ud)
{
    struct sys_dns *dns = ud;
    (void)protocol;
    struct link *link = calloc(1, sizeof *link);
    if (link == NULL)
        return refuse(dns->rc = -ENOMEM);
    int fd = sys_socket(domain == AF_INET ? SYS_INET : SYS_INET6,
                        type == SOCK_DGRAM ? SYS_DGRAM : SYS_STREAM);
    if (fd < 0) {
        free(link);
        dns->rc = fd == -EAFNOSUPPORT ? dns->rc : fd;
        return refuse(fd);
    }
    link->dns = dns;
    link->type = type;
    lull_io_init(&link->io, fd);
    lull_waiter_init(&link->reader, readable);
    lull_waiter_init(&link->writer, writable);
    list_push(&dns->links, &link->node);
    return fd;
}

static int close_link(ares_socket_t fd, void *ud)
{
    struct link *link = find(ud, fd);
    if (link == NULL)
        return refuse(-EBADF);
    lull_forget(&link->reader);
    lull_forget(&link->writer);
    list_remove(&link->node);
    lull_io_close(&link->io);
    free(link);
    return sys_close(fd) < 0 ? -1 : 0;
}

static int connect_link(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t size,
                        void *ud)
{
    struct link *link = find(ud, fd);
    if (link == NULL || size > SYS_ADDRESS)
        return refuse(-EBADF);
    memcpy(link->peer.bytes, to, size);
    link->peer.size = size;
    int rc = lull_io_connect(link->dns->loop, &link->io, to, size);
    link->connecting = rc == -EAGAIN;
    return rc < 0 ? refuse(link->connecting ? -EINPROGRESS : rc) : 0;
}

/* An empty datagram means nothing, whereas c-ares would take it for the end.  What comes
   comes from the server: the socket is connected. */
static ares_ssize_t receive(ares_socket_t fd, void *data, size_t size, int flags,
                            struct sockaddr *from, ares_socklen_t *room, void *ud)
{
    struct link *link = find(ud, fd);
    (void)flags;
    if (link == NULL || link->error)
        return refuse(link ? link->error : -EBADF);
    int n;
    do {
        lull_io_retry(&link->io);
        n = lull_io_recv(link->dns->loop, &link->io, data, size);
    } while (n == 0 && link->type == SOCK_DGRAM);
    if (from && room && *room >= link->peer.size) {
        memcpy(from, link->peer.bytes, link->peer.size);
        *room = link->peer.size;
    }
    return n < 0 ? refuse(n) : n;
}

/* A datagram that the system has no room for is as good as lost on the way.  Any other
   error is kept until c-ares receives, for it is told of all questions then: that nobody
   listened to the first comes as an error of the second. */
static int send_part(struct link *link, const struct iovec *part)
{
    int n = lull_io_send(link->dns->loop, &link->io, part->iov_base, part->iov_len);
    if (n >= 0 || link->type != SOCK_DGRAM)
        return n;
    if (n != -EAGAIN && n != -ENOBUFS)
        link->error = n;
    return (int)part->iov_len;
}

static ares_ssize_t send_parts(ares_socket_t fd, const struct iovec *parts, int count,
                               void *ud)
{
    struct link *link = find(ud, fd);
    ares_ssize_t sum = 0;
    if (link == NULL)
        return refuse(-EBADF);
    link->dns->sent = true;
    for (int i = 0; i < count; i++) {
        int n = send_part(link, &parts[i]);
        if (n < 0)
            return sum > 0 ? sum : refuse(n);
        sum += n;
        if ((size_t)n < parts[i].iov_len)
            break;
    }
    return sum;
}

static const struct ares_socket_functions door = {open_link, close_link, connect_link,
                                                  receive, send_parts};

static void interest(void *ud, ares_socket_t fd, int reads, int writes)
{
    struct link *link = find(ud, fd);
    if (link) {
        link->reads = reads;
        link->writes = writes;
    }
}

/* ---- waiting for them --------------------------------------------------------------- */

static void settle(struct sys_dns *dns);

/* Waits for event, or no longer does.  One who was woken and has not run stays so; an
   error that is kept is an event. */
static int await(struct link *link, unsigned event, lull_waiter *w, bool wanted)
{
    bool idle = list_empty(&w->link);
    if (!wanted)
        lull_forget(w);
    else if (idle && !link->error)
        return lull_io_wait(link->dns->loop, &link->io, event, w);
    else if (link->error) {
        if (idle)
            lull_wait(w);
        lull_wake(link->dns->loop, w, 0);
    }
    return 0;
}

static int await_all(struct sys_dns *dns)
{
    int rc = 0;
    for (lull_list *l = dns->links.next; rc >= 0 && l != &dns->links; l = l->next) {
        struct link *link = container_of(l, struct link, node);
        bool reads = link->reads && !link->connecting;
        bool writes = link->writes || link->connecting;
        rc = await(link, LULL_READ, &link->reader, reads);
        if (rc >= 0)
            rc = await(link, LULL_WRITE, &link->writer, writes);
    }
    return rc;
}

static int start_timer(struct sys_dns *dns)
{
    lull_forget(&dns->expiry);
    lull_wait(&dns->expiry);
    return lull_timer_start(dns->loop, &dns->timer, lull_now(dns->loop) + dns->patience,
                            -ETIMEDOUT);
}

static void readable(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct link *link = container_of(w, struct link, reader);
    struct sys_dns *dns = link->dns;
    ares_process_fd(dns->channel, link->io.watch.fd, ARES_SOCKET_BAD);
    settle(dns);
}

/* c-ares finds out that it is connected, or is not, when it goes on. */
static void writable(lull_loop *loop, lull_waiter *w)
{
    struct link *link = container_of(w, struct link, writer);
    struct sys_dns *dns = link->dns;
    int fd = link->io.watch.fd;
    if (link->connecting) {
        int rc = lull_io_connect(loop, &link->io, link->peer.bytes, link->peer.size);
        link->connecting = rc == -EAGAIN;
        link->error = rc == -EAGAIN ? 0 : rc;
    }
    if (!link->connecting)
        ares_process_fd(dns->channel, link->error ? fd : ARES_SOCKET_BAD, fd);
    settle(dns);
}

/* ---- asking ------------------------------------------------------------------------- */

static void answered(void *ud, int status, int timeouts, struct ares_addrinfo *all)
{
    struct sys_dns *dns = ud;
    (void)timeouts;
    dns->status = status;
    if (all == NULL)
        return;
    for (struct ares_addrinfo_node *n = all->nodes; n && dns->channel; n = n->ai_next)
        sys_answer_add(&dns->answer, n->ai_addr, (unsigned)n->ai_addrlen);
    ares_freeaddrinfo(all);
}

/* One attempt.  A server that has told c-ares of addresses of one family and keeps silent
   on the other has answered. */
static void ask(struct sys_dns *dns)
{
    static const int families[] = {
        [SYS_ANY] = AF_UNSPEC, [SYS_INET] = AF_INET, [SYS_INET6] = AF_INET6};
    struct ares_addrinfo_hints hints = {.ai_family = families[dns->family],
                                        .ai_socktype = SOCK_STREAM};
    struct ares_addr_port_node server = dns->servers[dns->attempt % dns->server_count];
    dns->attempt++;
    dns->rc = 0;
    dns->sent = true;
    dns->status = ares_set_servers_ports(dns->channel, &server);
    if (dns->status != ARES_SUCCESS)
        return;
    dns->status = ASKING;
    ares_getaddrinfo(dns->channel, dns->host, NULL, &hints, answered, dns);
}

static void expired(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    struct sys_dns *dns = container_of(w, struct sys_dns, expiry);
    ares_process_fd(dns->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    if (dns->status == ASKING)
        ares_cancel(dns->channel);
    if (dns->status == ASKING || dns->status == ARES_ECANCELLED)
        dns->status = ARES_ETIMEOUT;
    settle(dns);
}

/* ---- how it ends -------------------------------------------------------------------- */

/* What c-ares says, as getaddrinfo would; what is to be had from another server, or from
   the same one later, is to be tried again. */
static const struct outcome {
    int status;
    bool again;
    const char *code, *text;
} outcomes[] = {
    {ARES_ENODATA, false, "EAI_NODATA", "no address associated with the name"},
    {ARES_ENOTFOUND, false, "EAI_NONAME", "name not known"},
    {ARES_EBADNAME, false, "EAI_NONAME", "not a host name"},
    {ARES_ETIMEOUT, true, "EAI_AGAIN", "no name server answers"},
    {ARES_ESERVFAIL, true, "EAI_AGAIN", "failure of the name server"},
    {ARES_ECONNREFUSED, true, "EAI_AGAIN", "no name server can be reached"},
    {ARES_EREFUSED, true, "EAI_FAIL", "the name server refuses to answer"},
    {ARES_ENOTIMP, true, "EAI_FAIL", "the name server does not know how to answer"},
    {ARES_EFORMERR, true, "EAI_FAIL", "the name server does not understand"},
    {ARES_EBADRESP, true, "EAI_FAIL", "the name server answers nonsense"},
    {0, false, "EAI_FAIL", "name resolution failed"},
};

static const struct outcome *outcome(int status)
{
    const struct outcome *o = outcomes;
    while (o->status != 0 && o->status != status)
        o++;
    return o;
}

/* No more of the loop, the kernel and c-ares. */
static void leave(struct sys_dns *dns)
{
    ares_channel channel = dns->channel;
    if (channel == NULL)
        return;
    dns->channel = NULL;
    lull_forget(&dns->end);
    lull_forget(&dns->expiry);
    lull_timer_stop(dns->loop, &dns->timer);
    ares_destroy(channel);
    free(dns->servers);
}

static void finish(struct sys_dns *dns)
{
    struct sys_answer *answer = &dns->answer;
    const struct outcome *o = outcome(dns->status);
    leave(dns);
    if (answer->rc == 0 && answer->count == 0) {
        answer->rc = dns->status == ARES_ENOMEM ? -ENOMEM : dns->rc;
        answer->code = o->code;
        answer->text = o->text;
    }
    dns->done(dns->owner);
}

static bool over(struct sys_dns *dns)
{
    if (dns->status == ASKING)
        return false;
    return dns->answer.count > 0 || dns->answer.rc < 0 || dns->rc < 0 ||
           dns->attempt >= dns->attempts || !outcome(dns->status)->again;
}

/* Goes on from wherever c-ares has come to.  Not to be called from inside of it. */
static void settle(struct sys_dns *dns)
{
    while (dns->status != ASKING && !over(dns))
        ask(dns);
    int rc = 0;
    if (dns->status == ASKING) {
        rc = await_all(dns);
        if (rc >= 0 && dns->sent)
            rc = start_timer(dns);
        dns->sent = false;
    }
    if (rc < 0) {
        dns->rc = rc;
        dns->status = ARES_ECONNREFUSED;
    }
    if (dns->status != ASKING)
        finish(dns);
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    leave(container_of(w, struct sys_dns, end));
}

/* ---- making it ---------------------------------------------------------------------- */

static void name_server(struct ares_addr_port_node *to, const struct sys_address *a)
{
    struct sockaddr_in in = {0};
    struct sockaddr_in6 in6 = {0};
    to->udp_port = to->tcp_port = (int)sys_port(a);
    if (sys_family(a) == SYS_INET6) {
        memcpy(&in6, a->bytes, sizeof in6);
        to->family = AF_INET6;
        memcpy(&to->addr.addr6, &in6.sin6_addr, sizeof in6.sin6_addr);
    } else {
        memcpy(&in, a->bytes, sizeof in);
        to->family = AF_INET;
        to->addr.addr4 = in.sin_addr;
    }
}

static int given_servers(struct sys_dns *dns, const struct sys_dns_options *o)
{
    dns->servers = calloc(o->server_count, sizeof *dns->servers);
    if (dns->servers == NULL)
        return -ENOMEM;
    for (unsigned i = 0; i < o->server_count; i++)
        name_server(&dns->servers[i], &o->servers[i]);
    dns->server_count = o->server_count;
    return 0;
}

static int machine_servers(struct sys_dns *dns)
{
    struct ares_addr_port_node *list = NULL, *node;
    int rc = ares_get_servers_ports(dns->channel, &list);
    dns->servers = calloc(MACHINE_SERVERS, sizeof *dns->servers);
    for (node = list; dns->servers && node; node = node->next) {
        if (dns->server_count == MACHINE_SERVERS)
            break;
        dns->servers[dns->server_count] = *node;
        dns->servers[dns->server_count++].next = NULL;
    }
    ares_free_data(list);
    return rc == ARES_SUCCESS && dns->server_count > 0 ? 0 : -ENOMEM;
}

/* c-ares gives a server up by its own clock too, when it happens to look: never before
   the loop's.  A file without a line is no configuration. */
static int open_channel(struct sys_dns *dns, const struct sys_dns_options *o)
{
    static char lookups[] = "b", nothing[] = "/dev/null";
    bool alone = o->server_count > 0;
    struct ares_options a = {
        .flags = ARES_FLAG_NOCHECKRESP | (alone ? ARES_FLAG_NOALIASES : 0),
        .lookups = lookups,
        .tries = 1,
        .timeout = (int)(o->patience / MILLISECOND) + 1,
        .ndots = o->ndots < 0 ? 1 : o->ndots,
        .domains = (char **)o->search,
        .ndomains = o->search_count < 0 ? 0 : o->search_count,
        .resolvconf_path = nothing,
        .sock_state_cb = interest,
        .sock_state_cb_data = dns,
    };
    int mask = ARES_OPT_FLAGS |
        ARES_OPT_LOOKUPS | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS | ARES_OPT_SOCK_STATE_CB;
    mask |= alone ? ARES_OPT_RESOLVCONF : 0;
    mask |= alone || o->ndots >= 0 ? ARES_OPT_NDOTS : 0;
    mask |= alone || o->search_count >= 0 ? ARES_OPT_DOMAINS : 0;
    int status = ares_init_options(&dns->channel, &a, mask);
    if (status != ARES_SUCCESS) {
        dns->channel = NULL;
        return status == ARES_EFILE ? -EMFILE : -ENOMEM;
    }
    ares_set_socket_functions(dns->channel, &door, dns);
    return alone ? given_servers(dns, o) : machine_servers(dns);
}

int sys_dns_start(struct sys_dns **out, lull_loop *loop, const char *host,
                  enum sys_family family, const struct sys_dns_options *o,
                  void (*done)(void *owner), void *owner)
{
    size_t size = strlen(host) + 1;
    struct sys_dns *dns = calloc(1, sizeof *dns + size);
    if (dns == NULL)
        return -ENOMEM;
    memcpy(dns->host, host, size);
    dns->loop = loop;
    dns->family = family;
    dns->patience = o->patience;
    dns->done = done;
    dns->owner = owner;
    list_init(&dns->links);
    lull_waiter_init(&dns->end, loop_ends);
    lull_waiter_init(&dns->expiry, expired);
    lull_timer_init(&dns->timer, &dns->expiry);
    int rc = open_channel(dns, o);
    if (rc < 0) {
        sys_dns_drop(dns);
        return rc;
    }
    dns->attempts = o->attempts * dns->server_count;
    *out = dns;
    lull_loop_end(loop, &dns->end);
    ask(dns);
    settle(dns);
    return 0;
}

const struct sys_answer *sys_dns_answer(const struct sys_dns *dns)
{
    return &dns->answer;
}

void sys_dns_drop(struct sys_dns *dns)
{
    leave(dns);
    sys_answer_free(&dns->answer);
    free(dns);
}

#else

#include <errno.h>

const bool sys_has_dns = false;

int sys_dns_start(struct sys_dns **out, lull_loop *loop, const char *host,
                  enum sys_family family, const struct sys_dns_options *o,
                  void (*done)(void *owner), void *owner)
{
    (void)out, (void)loop, (void)host, (void)family, (void)o, (void)done, (void)owner;
    return -ENOSYS;
}

const struct sys_answer *sys_dns_answer(const struct sys_dns *dns)
{
    (void)dns;
    return NULL;
}

void sys_dns_drop(struct sys_dns *dns)
{
    (void)dns;
}

#endif
