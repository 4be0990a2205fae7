/* Names from name servers: the protocol is c-ares', the waiting is the loop's.

   A lookup is a channel of c-ares of its own: so it can be dropped at any point, comes
   from a port that nobody can guess from another, and sees the configuration as it is
   now.  Its sockets are in links.c.

   c-ares asks one server at a time; which one is asked next, and how long it has for an
   answer, is decided here, by the loop's clock: c-ares' own is a real one always, and
   when it retries differs from version to version.  The time begins anew with each
   question sent, for a search list or a truncated answer makes for several.

   Its callback may come before the call that asked returns, and comes from inside of it
   in any case: it only notes the outcome, settle() looks at it when c-ares has
   returned. */
#include "sys.h"

#ifdef LULL_HAVE_CARES

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "links.h"

enum { ASKING = -1 };               /* the status of c-ares while it has none */
enum { MACHINE_SERVERS = 8 };       /* of those that the machine has, so many are asked */
enum { MILLISECOND = 1000 * 1000 }; /* ns */

#ifdef LULL_LOAD_CARES
struct sys_cares sys_cares;
#endif

static int load(void)
{
#ifdef LULL_LOAD_CARES
    static const char *const functions[] = {SYS_CARES(LULL_LIBRARY_NAME) NULL};
    static struct lull_library library = {LULL_LOAD_CARES, functions, &sys_cares, false};
    return lull_library_load(&library, NULL, 0);
#else
    return 0;
#endif
}

bool sys_has_dns(void)
{
    return load() != -ENOSYS;
}

struct sys_dns {
    lull_loop *loop;
    ares_channel channel; /* NULL: the lookup is over */
    struct ares_addr_port_node *servers;
    unsigned server_count, attempt, attempts;
    int64_t patience;
    int status; /* of c-ares: how the attempt ended, or ASKING */
    struct sys_links links;
    lull_timer timer;
    lull_waiter expiry, end; /* the attempt's, the loop's */
    void (*done)(void *owner);
    void *owner;
    struct sys_answer answer;
    enum sys_family family;
    char host[];
};

/* ---- asking ---------------------------------------------------------------------- */

static void settle(struct sys_dns *dns);

static int start_timer(struct sys_dns *dns)
{
    lull_forget(&dns->expiry);
    lull_wait(&dns->expiry);
    return lull_timer_start(dns->loop, &dns->timer, lull_now(dns->loop) + dns->patience,
                            -ETIMEDOUT);
}

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
    dns->links.rc = 0;
    dns->links.sent = true;
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

/* ---- how it ends ----------------------------------------------------------------- */

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
        answer->rc = dns->status == ARES_ENOMEM ? -ENOMEM : dns->links.rc;
        answer->code = o->code;
        answer->text = o->text;
    }
    dns->done(dns->owner);
}

static bool over(struct sys_dns *dns)
{
    if (dns->status == ASKING)
        return false;
    return dns->answer.count > 0 || dns->answer.rc < 0 || dns->links.rc < 0 ||
           dns->attempt >= dns->attempts || !outcome(dns->status)->again;
}

/* Goes on from wherever c-ares has come to.  Not to be called from inside of it. */
static void settle(struct sys_dns *dns)
{
    while (dns->status != ASKING && !over(dns))
        ask(dns);
    int rc = 0;
    if (dns->status == ASKING) {
        rc = sys_links_await(&dns->links);
        if (rc >= 0 && dns->links.sent)
            rc = start_timer(dns);
        dns->links.sent = false;
    }
    if (rc < 0) {
        dns->links.rc = rc;
        dns->status = ARES_ECONNREFUSED;
    }
    if (dns->status != ASKING)
        finish(dns);
}

static void moved(struct sys_links *links)
{
    settle(container_of(links, struct sys_dns, links));
}

static void loop_ends(lull_loop *loop, lull_waiter *w)
{
    (void)loop;
    leave(container_of(w, struct sys_dns, end));
}

/* ---- making it ------------------------------------------------------------------- */

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
        .sock_state_cb = sys_links_interest,
        .sock_state_cb_data = &dns->links,
    };
    int mask = ARES_OPT_FLAGS | ARES_OPT_LOOKUPS | ARES_OPT_TRIES | ARES_OPT_TIMEOUTMS |
               ARES_OPT_SOCK_STATE_CB;
    mask |= alone ? ARES_OPT_RESOLVCONF : 0;
    mask |= alone || o->ndots >= 0 ? ARES_OPT_NDOTS : 0;
    mask |= alone || o->search_count >= 0 ? ARES_OPT_DOMAINS : 0;
    int status = ares_init_options(&dns->channel, &a, mask);
    if (status != ARES_SUCCESS) {
        dns->channel = NULL;
        return status == ARES_EFILE ? -EMFILE : -ENOMEM;
    }
    sys_links_serve(&dns->links, dns->channel);
    return alone ? given_servers(dns, o) : machine_servers(dns);
}

int sys_dns_start(struct sys_dns **out, lull_loop *loop, const char *host,
                  enum sys_family family, const struct sys_dns_options *o,
                  void (*done)(void *owner), void *owner)
{
    int rc = load();
    if (rc < 0)
        return rc;
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
    sys_links_init(&dns->links, loop, moved);
    lull_waiter_init(&dns->end, loop_ends);
    lull_waiter_init(&dns->expiry, expired);
    lull_timer_init(&dns->timer, &dns->expiry);
    rc = open_channel(dns, o);
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

bool sys_has_dns(void)
{
    return false;
}

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
