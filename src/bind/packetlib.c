/* Transports over datagram sockets.  What the system does not take at once waits in a
   queue of its own; a datagram that it refuses is lost, as any may be, and the protocol
   is told: error_received. */
#include <errno.h>
#include <string.h>

#include "stream.h"
#include "transport.h"

enum {
    RECEIVES = 16, /* of one transport before others get a turn */
    HEADER = 8,    /* bytes that count for each in the queue: empty ones fill it too */
    LINGER = 10    /* seconds */
};

struct packet {
    struct packet *next;
    struct sys_address to; /* size 0: to whom the socket is connected */
    size_t size;
    char bytes[];
};

struct packet_transport {
    struct transport t; /* first */
    lull_io io;
    lull_waiter sender; /* waits for the system to take more */
    struct packet *head, *tail;
    size_t queued;
    int family;
    int refusal; /* of the system, to be told */
};

static struct packet_transport *packets(const struct transport *t)
{
    return (struct packet_transport *)(void *)(uintptr_t)t;
}

/* ---- telling the protocol ---------------------------------------------------------- */

static void describe(lua_State *L, struct transport *t, int rc)
{
    char text[SYS_TEXT];
    struct sys_address peer = lull_transport_peer(t);
    lull_pushfail(L, rc, peer.size > 0 ? sys_text(&peer, text) : NULL);
    lua_pop(L, 1);
    lua_replace(L, -2);
}

static void tell(lua_State *L, struct transport *t, int rc)
{
    describe(L, t, rc);
    lull_transport_call(L, t, "error_received", 1, false);
}

/* ---- receiving --------------------------------------------------------------------- */

/* Receives a datagram and hands it on; 0 or -errno. */
static int receive(lua_State *L, struct packet_transport *p)
{
    struct sys_address from = {.size = 0};
    char *to = lull_scratch(L, p->t.rt);
    if (to == NULL)
        return -ENOMEM;
    int n = sys_recvfrom(p->io.watch.fd, to, LULL_SCRATCH, &from);
    if (n < 0)
        return n;
    lua_pushlstring(L, to, (size_t)n);
    sys_unmap4(&from);
    int where = from.size > 0 ? lull_pushaddress(L, &from) : 0;
    lull_transport_call(L, &p->t, "datagram_received", 1 + where, false);
    return 0;
}

/* (transport): hands on what is there. */
static int read_all(lua_State *L)
{
    struct packet_transport *p = lua_touserdata(L, 1);
    struct transport *t = &p->t;
    int rc = 0;
    for (int i = 0; i < RECEIVES && rc != -EAGAIN && lull_transport_reads(t); i++) {
        rc = receive(L, p);
        if (rc < 0 && rc != -EAGAIN)
            tell(L, t, rc);
    }
    if (rc == -EAGAIN) {
        rc = lull_io_wait(t->home->core, &p->io, LULL_READ, &t->reader);
        if (rc < 0)
            lull_transport_end(t, rc);
    } else
        lull_transport_read(t);
    t->flags &= (uint16_t)~TRANSPORT_BUSY;
    return 0;
}

static void ready(lull_loop *loop, lull_waiter *w)
{
    struct transport *t = container_of(w, struct transport, reader);
    t->flags |= TRANSPORT_BUSY;
    lull_callback(lull_loop_user(loop), read_all, packets(t));
    if (t->flags & TRANSPORT_BUSY) /* a datagram was lost for want of memory */
        lull_transport_read(t);
    t->flags &= (uint16_t)~TRANSPORT_BUSY;
}

/* ---- sending ----------------------------------------------------------------------- */

static size_t queued(const struct transport *t)
{
    return packets(t)->queued;
}

static lua_Number linger(const struct transport *t)
{
    (void)t;
    return LINGER;
}

static int failure(const struct transport *t)
{
    (void)t;
    return 0;
}

/* The sender wakes it; one that was woken waits anew by itself. */
static void await_sent(struct transport *t)
{
    lull_waiter *w = &t->backlog->writer;
    if (w->status != LULL_PENDING && list_empty(&w->link))
        lull_wait(w);
}

static void remove_first(lua_State *L, struct packet_transport *p)
{
    struct packet *first = p->head;
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    p->head = first->next;
    p->queued -= first->size + HEADER;
    alloc(ud, first, sizeof *first + first->size, 0);
}

static int send_now(struct packet_transport *p, const char *data, size_t size,
                    const struct sys_address *to)
{
    int n = sys_sendto(p->io.watch.fd, data, size, to->size > 0 ? to : NULL);
    return n < 0 ? n : 0;
}

static int report_refusal(lua_State *L)
{
    struct packet_transport *p = lua_touserdata(L, 1);
    tell(L, &p->t, p->refusal);
    return 0;
}

/* Sends what is queued, as far as the system takes it. */
static void drain(lull_loop *loop, lull_waiter *w)
{
    struct packet_transport *p = container_of(w, struct packet_transport, sender);
    struct runtime *rt = lull_loop_user(loop);
    while (p->head != NULL && w->status == 0 && !(p->t.flags & TRANSPORT_ENDED)) {
        int rc = send_now(p, p->head->bytes, p->head->size, &p->head->to);
        if (rc == -EAGAIN)
            break;
        remove_first(rt->L, p);
        if (rc < 0) {
            p->refusal = rc;
            lull_callback(rt, report_refusal, p);
        }
    }
    if (p->t.flags & TRANSPORT_ENDED)
        return;
    if (p->t.backlog != &lull_no_backlog && p->queued <= lull_transport_low(&p->t))
        lull_wake(loop, &p->t.backlog->writer, 0);
    if (p->head != NULL && list_empty(&w->link)) {
        int rc = lull_io_wait(loop, &p->io, LULL_WRITE, w);
        if (rc < 0)
            lull_transport_end(&p->t, rc);
    }
}

/* Queues a copy; -ENOMEM. */
static int queue(lua_State *L, struct packet_transport *p, const char *data, size_t size,
                 const struct sys_address *to)
{
    void *ud;
    lua_Alloc alloc = lua_getallocf(L, &ud);
    struct packet *last = alloc(ud, NULL, 0, sizeof *last + size);
    if (last == NULL)
        return -ENOMEM;
    last->next = NULL;
    last->to = *to;
    last->size = size;
    memcpy(last->bytes, data, size);
    *(p->head ? &p->tail->next : &p->head) = last;
    p->tail = last;
    p->queued += size + HEADER;
    if (!list_empty(&p->sender.link))
        return 0;
    return lull_io_wait(p->t.home->core, &p->io, LULL_WRITE, &p->sender);
}

/* The address at 3, none where the socket is connected. */
static struct sys_address checkaddress(lua_State *L, struct packet_transport *p)
{
    struct sys_address to = {.size = 0};
    if (lua_isnoneornil(L, 3)) {
        luaL_argcheck(L, p->t.peer_size > 0, 3, "host expected: it is not connected");
        return to;
    }
    const char *host = luaL_checkstring(L, 3);
    lua_Integer port = luaL_checkinteger(L, 4);
    luaL_argcheck(L, port >= 0 && port <= 65535, 4, "not a port number");
    int rc = sys_parse(&to, (enum sys_family)p->family, host, (unsigned)port);
    if (rc < 0 && p->family == SYS_INET6) {
        rc = sys_parse(&to, SYS_INET, host, (unsigned)port);
        sys_map4(&to);
    }
    luaL_argcheck(L, rc == 0, 3, "numeric address expected: see net.resolve");
    return to;
}

/* transport:sendto (data [, host, port]): never suspends. */
static int sendto_(lua_State *L)
{
    struct packet_transport *p = lull_check(L, lull_runtime(L), 1, LULL_PACKETS);
    size_t size;
    const char *data = luaL_checklstring(L, 2, &size);
    struct sys_address to = checkaddress(L, p);
    if (p->t.flags & TRANSPORT_CLOSING)
        return 0;
    int rc = p->head ? -EAGAIN : send_now(p, data, size, &to);
    if (rc == -EAGAIN)
        rc = queue(L, p, data, size, &to);
    if (rc < 0)
        tell(L, &p->t, rc);
    lull_transport_wrote(L, &p->t);
    return 0;
}

/* ---- life -------------------------------------------------------------------------- */

static void drop(lua_State *L, struct packet_transport *p)
{
    if (p->io.watch.fd < 0)
        return;
    while (p->head)
        remove_first(L, p);
    lull_forget(&p->sender);
    lull_io_close(&p->io);
    lull_own(p->t.rt, p->io.watch.fd, false);
    sys_close(p->io.watch.fd);
    p->io.watch.fd = -1;
}

static void end(lua_State *L, struct transport *t, int i, bool abort)
{
    (void)i;
    (void)abort;
    drop(L, packets(t));
}

static const struct transport_kind over_packets = {
    sizeof(struct packet_transport), queued, await_sent, linger, failure, end, describe};

/* packets (socket, protocol [, on_end]) -> DatagramTransport: takes the descriptor of the
   Socket or Datagram, and calls connection_made. */
static int packets_(lua_State *L)
{
    struct runtime *rt = lull_runtime(L);
    luaL_checkany(L, 2);
    if (rt->loop == NULL)
        return luaL_error(L, "no loop is running");
    lua_settop(L, 3);
    size_t size = sizeof(struct packet_transport) + 2 * SYS_ADDRESS; /* whatever they are */
    struct packet_transport *p = lull_newobject(L, LULL_PACKETS, size, TRANSPORT_ON_END);
    lull_io_init(&p->io, -1);
    lull_waiter_init(&p->sender, drain);
    lull_waiter_init(&p->t.reader, ready);
    int fd = lull_stream_adopt(L, 1);
    p->io.watch.fd = fd;
    lull_own(rt, fd, true);
    struct transport_ends ends;
    lull_transport_ends(&ends, fd);
    p->family = sys_family(&ends.here);
    sys_unmap4(&ends.peer);
    lull_transport_open(L, &p->t, 2, &over_packets, &ends);
    lull_transport_begin(L, &p->t);
    return 1;
}

static const luaL_Reg methods[] = {{"sendto", sendto_}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"packets", packets_}, {NULL, NULL}};

void lull_open_packet_transport(lua_State *L)
{
    lull_newclass(L, LULL_PACKETS, "DatagramTransport", methods,
                  lull_transport_metamethods);
    lull_addmethods(L, LULL_PACKETS, lull_transport_methods);
    lull_setfuncs(L, functions);
}
