/* A host polls the descriptor of a runtime, with every selector that has one: it is
   readable whenever a step would find something, and at no other time. */
#include "embed/host.h"

#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static bool is_readable(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, 0) == 1;
}

static int step(lull *l)
{
    return lull_step(l, NULL);
}

/* NULL: there is no such selector here. */
static lull *open_on(const char *selector)
{
    lull_options o = {.size = sizeof o, .selector = selector, .virtual_clock = true};
    lull *l = NULL;
    if (!lull_has_selector(selector) || lull_open(&l, &o) < 0)
        return NULL;
    lua_register(lull_state(l), "say", say);
    return l;
}

static void call(lull *l, const char *script)
{
    CHECK(luaL_dostring(lull_state(l), script) == LUA_OK);
}

/* ---- what scripts wait for ------------------------------------------------------- */

static void it_is_in_step(const char *selector)
{
    lull *l = open_on(selector);
    if (l == NULL)
        return;
    int fd = lull_descriptor(l);
    CHECK(!is_readable(fd));
    start(l, "A, B = lull.net.pair() local t = lull.spawn(function() say(A:read(2)) "
             "lull.sleep(0) say(A:read(2)) end)");
    CHECK(step(l) == LULL_STEP_IDLE && !is_readable(fd));
    call(l, "assert(B:try_write 'abcd')");
    CHECK(is_readable(fd) && lull_next_wake(l) == LULL_FOREVER);
    CHECK(step(l) == LULL_STEP_IDLE && has_said("ab"));
    CHECK(step(l) == LULL_STEP_DONE && has_said("cd") && !is_readable(fd));
    lull_wakeup(lull_get_loop(l));
    CHECK(is_readable(fd) && lull_next_wake(l) == 0);
    for (int i = 0; i < 3; i++)
        step(l);
    CHECK(!is_readable(fd) && lull_next_wake(l) == LULL_FOREVER);
    call(l, "assert(B:try_write 'nobody waits')");
    for (int i = 0; i < 3; i++)
        step(l);
    CHECK(!is_readable(fd)); /* what nobody wants does not keep the host awake */
    lull_close(l, 0);
}

static void it_knows_what_began_before_it_was_asked_for(const char *selector)
{
    lull *l = open_on(selector);
    if (l == NULL)
        return;
    start(l, "A, B = lull.net.pair() say(A:read(2))");
    CHECK(step(l) == LULL_STEP_IDLE);
    call(l, "assert(B:try_write 'ab')");
    CHECK(is_readable(lull_descriptor(l)));
    CHECK(step(l) == LULL_STEP_DONE && has_said("ab"));
    lull_close(l, 0);
}

/* A conversation of some length: each message makes it readable, none keeps it so. */
static void it_is_readable_once_for_each_message(const char *selector)
{
    lull *l = open_on(selector);
    if (l == NULL)
        return;
    int fd = lull_descriptor(l);
    start(l, "A, B = lull.net.pair() while A:read_some() do end say 'end'");
    CHECK(step(l) == LULL_STEP_IDLE);
    for (int i = 0; i < 100; i++) {
        CHECK(!is_readable(fd));
        call(l, "assert(B:try_write(('x'):rep(3000)))");
        CHECK(is_readable(fd));
        CHECK(step(l) == LULL_STEP_IDLE);
        for (int again = 0; again < 9 && is_readable(fd); again++)
            step(l); /* of two pieces the second may be found by a second look */
    }
    call(l, "B:close()");
    CHECK(is_readable(fd) && step(l) == LULL_STEP_DONE && has_said("end"));
    for (int i = 0; i < 3; i++)
        step(l);
    CHECK(!is_readable(fd));
    lull_close(l, 0);
}

static void it_tells_of_callers(const char *selector)
{
    lull *l = open_on(selector);
    if (l == NULL)
        return;
    int fd = lull_descriptor(l);
    start(l, "local own = assert(lull.net.listen('127.0.0.1', 0)) "
             "host, port = own:local_address() "
             "for i = 1, 2 do own:accept():close() say(i) end own:close()");
    CHECK(step(l) == LULL_STEP_IDLE && !is_readable(fd));
    for (int i = 1; i <= 2; i++) {
        start(l, "lull.net.connect(host, port):close()");
        for (int n = 0; n < 1000 && (lull_task_count(l) > 2 - (unsigned)i || !*said); n++) {
            struct pollfd p = {.fd = fd, .events = POLLIN};
            CHECK(lull_next_wake(l) == 0 || poll(&p, 1, 10000) == 1);
            step(l);
        }
        CHECK(has_said(i == 1 ? "1" : "2"));
    }
    CHECK(!is_readable(fd));
    lull_close(l, 0);
}

/* ---- what the host waits for ----------------------------------------------------- */

static unsigned woken;

static void count(lull_loop *loop, lull_waiter *w)
{
    (void)loop, (void)w;
    woken++;
}

struct pipe {
    lull_io io;
    lull_waiter waiter;
    int out;
};

static void open_pipe(struct pipe *p)
{
    int ends[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
    lull_io_init(&p->io, ends[0]);
    lull_waiter_init(&p->waiter, count);
    p->out = ends[1];
}

static void close_pipe(struct pipe *p)
{
    lull_io_close(&p->io);
    lull_forget(&p->waiter);
    close(p->io.watch.fd);
    close(p->out);
}

/* Also of what was closed while the news of it lay unread. */
static void it_knows_what_changes_between_two_steps(const char *selector)
{
    lull *l = open_on(selector);
    struct pipe p, q;
    char byte;
    if (l == NULL)
        return;
    lull_loop *loop = lull_get_loop(l);
    int fd = lull_descriptor(l);
    for (int round = 0; round < 4; round++) {
        woken = 0;
        open_pipe(&p);
        open_pipe(&q);
        if (round & 1) {
            lull_io_own(&p.io);
            lull_io_own(&q.io);
        }
        CHECK(lull_io_wait(loop, &p.io, LULL_READ, &p.waiter) == 0 && !is_readable(fd));
        CHECK(write(p.out, "x", 1) == 1 && is_readable(fd));
        CHECK(step(l) == LULL_STEP_DONE && woken == 1);
        CHECK(lull_io_recv(loop, &p.io, &byte, 1) == 1 && byte == 'x');
        CHECK(lull_io_recv(loop, &p.io, &byte, 1) == -EAGAIN);
        step(l);
        CHECK(!is_readable(fd));
        CHECK(lull_io_wait(loop, &p.io, LULL_WRITE, &p.waiter) == 0 && is_readable(fd));
        CHECK(step(l) == LULL_STEP_DONE && woken == 2);
        CHECK(lull_io_wait(loop, &p.io, LULL_READ, &p.waiter) == 0);
        CHECK(lull_io_wait(loop, &q.io, LULL_READ, &q.waiter) == 0);
        step(l);
        CHECK(!is_readable(fd));
        CHECK(write(p.out, "x", 1) == 1 && write(q.out, "y", 1) == 1);
        close_pipe(&p);
        CHECK(is_readable(fd)); /* of the other */
        if (round & 2) {
            CHECK(step(l) == LULL_STEP_DONE && woken == 3);
            CHECK(lull_io_recv(loop, &q.io, &byte, 1) == 1 && byte == 'y');
            CHECK(lull_io_recv(loop, &q.io, &byte, 1) == -EAGAIN && !is_readable(fd));
        }
        close_pipe(&q);
        CHECK(!is_readable(fd));
    }
    for (int i = 0; i < 3; i++)
        step(l);
    CHECK(woken == 3 && !is_readable(fd));
    lull_close(l, 0);
}

/* More at once than are told or answered at a time. */
static void it_knows_many(const char *selector)
{
    enum { MANY = 300 };
    static struct pipe pipes[MANY];
    lull *l = open_on(selector);
    if (l == NULL)
        return;
    lull_loop *loop = lull_get_loop(l);
    int fd = lull_descriptor(l);
    for (int i = 0; i < MANY; i++)
        open_pipe(&pipes[i]);
    for (int all = 0; all < 2; all++) {
        woken = 0;
        for (int i = 0; i < MANY; i++)
            CHECK(lull_io_wait(loop, &pipes[i].io, LULL_READ, &pipes[i].waiter) == 0);
        CHECK(!is_readable(fd));
        for (int i = 0; i < MANY; i++)
            if (all || i == MANY - 1)
                CHECK(write(pipes[i].out, "x", 1) == 1);
        for (unsigned n = 0; n < 10 * MANY && woken < (all ? MANY : 1); n++) {
            CHECK(is_readable(fd) || lull_next_wake(l) == 0);
            step(l);
        }
        CHECK(woken == (all ? MANY : 1));
        if (!all)
            CHECK(lull_io_recv(loop, &pipes[MANY - 1].io, &(char){0}, 1) == 1);
        for (int i = 0; i < MANY - 1 && !all; i++)
            lull_forget(&pipes[i].waiter);
    }
    for (int i = 0; i < MANY; i++)
        close_pipe(&pipes[i]);
    CHECK(!is_readable(fd));
    lull_close(l, 0);
}

/* ---- none ------------------------------------------------------------------------ */

static void allow_descriptors(int n)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = n < 0 ? limit.rlim_max : (rlim_t)n;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Nor is anything lost by that. */
static void it_may_be_one_too_many(const char *selector)
{
    lull *l = open_on(selector);
    if (l == NULL)
        return;
    start(l, "A, B = lull.net.pair() say(A:read(1))");
    CHECK(step(l) == LULL_STEP_IDLE);
    int next = dup(0);
    close(next);
    for (int n = 0; n < 2; n++) {
        allow_descriptors(next + n);
        int fd = lull_descriptor(l);
        CHECK(fd == -EMFILE || strcmp(selector, "epoll") == 0);
        allow_descriptors(-1);
    }
    CHECK(!is_readable(lull_descriptor(l)));
    call(l, "assert(B:try_write 'x')");
    CHECK(is_readable(lull_descriptor(l)));
    CHECK(step(l) == LULL_STEP_DONE && has_said("x"));
    lull_close(l, 0);
}

static void some_selectors_have_none(void)
{
    lull *l = open_on("poll");
    CHECK(l != NULL && lull_descriptor(l) == -ENOSYS);
    lull_close(l, 0);
}

int main(void)
{
    static const char *const selectors[] = {"epoll", "io_uring"};
    allow_descriptors(-1);
    for (int i = 0; i < 2; i++) {
        it_is_in_step(selectors[i]);
        it_knows_what_began_before_it_was_asked_for(selectors[i]);
        it_is_readable_once_for_each_message(selectors[i]);
        it_tells_of_callers(selectors[i]);
        it_knows_what_changes_between_two_steps(selectors[i]);
        it_knows_many(selectors[i]);
        it_may_be_one_too_many(selectors[i]);
    }
    some_selectors_have_none();
    return report("embed_poll");
}
