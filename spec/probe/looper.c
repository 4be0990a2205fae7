/* A loop that is driven from Lua.  It comes with a stock of sleepers, timers, ios,
   futures, scopes and messages, all named by small integers, so that a spec reads as a
   script and nothing has to be collected.  Every sleeper that runs is noted in a log. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "loop.h"
#include "probe.h"

enum { STOCK = 128, LOG = 16384 };

struct looper;

struct sleeper {
    lull_waiter waiter;
    struct looper *of;
    int id;
};

struct looper {
    lull_loop *loop;
    struct account account;
    struct sleeper sleepers[STOCK];
    lull_timer timers[STOCK];
    int64_t deadlines[STOCK]; /* of the timers, when started */
    lull_io ios[STOCK];
    lull_future futures[STOCK];
    lull_scope scopes[STOCK];
    lull_message messages[STOCK];
    struct lull_backend counting; /* the loop's backend, with arm and wait counted */
    struct {
        int id, status;
    } log[LOG];
    int logged;
    int left;  /* sleepers to run until the loop stops; 0: no end */
    int early; /* timers that came before their deadline */
    int64_t time, tick; /* of a clock of its own */
    lua_State *L;
    bool failed; /* a hook failed, its error is on top of L */
};

static struct looper *checklooper(lua_State *L)
{
    struct looper *p = luaL_checkudata(L, 1, "probe.loop");
    luaL_argcheck(L, p->loop != NULL, 1, "closed");
    return p;
}

static struct sleeper *checksleeper(lua_State *L, struct looper *p, int i)
{
    return &p->sleepers[checkplace(L, i, STOCK)];
}

static int64_t real_time(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- what happens when somebody wakes ------------------------------------------ */

static void note(struct looper *p, int id, int status)
{
    if (p->logged < LOG) {
        p->log[p->logged].id = id;
        p->log[p->logged++].status = status;
    }
    if (p->left > 0 && --p->left == 0)
        lull_loop_stop(p->loop);
}

/* Calls what the spec wants done when sleeper id runs; the looper is L's value 1. */
static void call_hook(struct looper *p, int id)
{
    lua_State *L = p->L;
    lua_getiuservalue(L, 1, 1);
    if (p->failed || lua_rawgeti(L, -1, id) == LUA_TNIL) {
        lua_pop(L, p->failed ? 1 : 2);
        return;
    }
    lua_remove(L, -2);
    p->failed = lua_pcall(L, 0, 0, 0) != LUA_OK;
    if (p->failed)
        lull_loop_stop(p->loop);
}

static void woke(lull_loop *loop, lull_waiter *w)
{
    struct sleeper *s = container_of(w, struct sleeper, waiter);
    struct looper *p = s->of;
    int64_t deadline = p->deadlines[s->id - 1];
    if (deadline != 0 && w->status == -ETIMEDOUT) {
        int64_t now = loop->clock.jump || p->tick > 0 ? lull_now(loop) : real_time();
        p->early += now < deadline;
    }
    note(p, s->id, w->status);
    call_hook(p, s->id);
}

static void came(lull_loop *loop, lull_waiter *w)
{
    struct looper *p = lull_loop_user(loop);
    note(p, -(int)(container_of(w, lull_message, waiter) - p->messages) - 1, w->status);
}

/* ---- counting what the kernel is asked ----------------------------------------- */

static struct {
    struct looper *of;
    int arms, looks, sleeps;
    int fd, when; /* the look that finds a byte by way of fd; -1: the first that sleeps */
} asked;
static const struct lull_backend *counted; /* one backend at a time is enough here */

static int count_arm(struct lull_selector *s, lull_watch *w, unsigned events)
{
    asked.arms++;
    return counted->arm(s, w, events);
}

static int count_wait(struct lull_selector *s, int64_t timeout, struct lull_fact *f,
                      int max)
{
    asked.looks++;
    asked.sleeps += timeout != 0;
    bool now = asked.when > 0 ? --asked.when == 0 : asked.when < 0 && timeout != 0;
    if (now && write(asked.fd, "x", 1) != 1)
        return -errno;
    if (now)
        asked.when = 0;
    if (timeout <= 0 || asked.of->tick == 0)
        return counted->wait(s, timeout, f, max);
    int n = counted->wait(s, 0, f, max);
    asked.of->time += n == 0 ? timeout : 0; /* so long did it sleep, by that clock */
    return n;
}

/* p:asked () -> calls of arm, calls of wait, how many of these could sleep: all since the
   last time it was called */
static int looper_asked(lua_State *L)
{
    struct looper *p = checklooper(L);
    if (p->loop->backend != &p->counting) {
        asked.of = p;
        counted = p->loop->backend;
        p->counting = *counted;
        p->counting.arm = count_arm;
        p->counting.wait = count_wait;
        p->loop->backend = &p->counting;
    }
    lua_pushinteger(L, asked.arms);
    lua_pushinteger(L, asked.looks);
    lua_pushinteger(L, asked.sleeps);
    asked.arms = asked.looks = asked.sleeps = 0;
    return 3;
}

/* p:write_at (n, fd): a byte is written to fd just before the kernel is asked for the n-th
   time from now, or (-1) before it may sleep; to be called after p:asked */
static int looper_write_at(lua_State *L)
{
    checklooper(L);
    asked.when = (int)luaL_checkinteger(L, 2);
    asked.fd = (int)luaL_checkinteger(L, 3);
    return 0;
}

/* A clock that goes on by so much whenever it is read. */
static int64_t tick(void *ud)
{
    struct looper *p = ud;
    return p->time += p->tick;
}

/* ---- life ---------------------------------------------------------------------- */

static lua_Integer option(lua_State *L, const char *name)
{
    lua_getfield(L, 1, name);
    lua_Integer n =
        lua_isboolean(L, -1) ? lua_toboolean(L, -1) : luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return n;
}

static void stock(struct looper *p)
{
    for (int i = 0; i < STOCK; i++) {
        struct sleeper *s = &p->sleepers[i];
        s->of = p;
        s->id = i + 1;
        lull_waiter_init(&s->waiter, woke);
        lull_timer_init(&p->timers[i], &s->waiter);
        lull_io_init(&p->ios[i], -1);
        lull_future_init(&p->futures[i]);
        lull_waiter_init(&p->messages[i].waiter, came);
    }
}

/* probe.loop {selector =, virtual =, seed =, spin =, tick =, fail =}: tick: by how much time
   goes on when it is read; fail: which allocation fails */
static int looper_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct looper *p = lua_newuserdatauv(L, sizeof *p, 1);
    memset(p, 0, sizeof *p);
    luaL_setmetatable(L, "probe.loop");
    lua_newtable(L);
    lua_setiuservalue(L, -2, 1);
    stock(p);
    p->account.fail = option(L, "fail");
    p->tick = option(L, "tick");
    const lull_time clock = {.now = tick, .ud = p};
    lua_getfield(L, 1, "selector");
    lull_options o = {.size = sizeof o, .alloc = account_alloc, .alloc_ud = &p->account,
                      .selector = lua_tostring(L, -1), .user = p,
                      .virtual_clock = option(L, "virtual") != 0,
                      .clock = p->tick > 0 ? &clock : NULL,
                      .spin = option(L, "spin"),
                      .seed = (uint64_t)option(L, "seed")};
    int rc = lull_loop_new(&p->loop, &o);
    lua_pop(L, 1);
    if (rc < 0 && p->account.live > 0)
        return luaL_error(L, "a loop that was not made holds memory");
    return rc < 0 ? answer(L, rc) : 1;
}

/* p:close () -> bytes that are still out, nil where somebody gave a wrong size */
static int looper_close(lua_State *L)
{
    struct looper *p = luaL_checkudata(L, 1, "probe.loop");
    if (p->loop != NULL)
        lull_loop_free(p->loop);
    p->loop = NULL;
    if (p->account.wrong)
        return 0;
    lua_pushinteger(L, (lua_Integer)p->account.live);
    return 1;
}

/* ---- waiters ------------------------------------------------------------------- */

static int looper_wait(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_wait(&checksleeper(L, p, 2)->waiter);
    return 0;
}

/* p:wake (w [, status]) -> boolean */
static int looper_wake(lua_State *L)
{
    struct looper *p = checklooper(L);
    lua_pushboolean(L, lull_wake(p->loop, &checksleeper(L, p, 2)->waiter,
                                 (int)luaL_optinteger(L, 3, 0)));
    return 1;
}

static int looper_forget(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_forget(&checksleeper(L, p, 2)->waiter);
    return 0;
}

/* p:on (w, fn): fn() is called whenever w runs */
static int looper_on(lua_State *L)
{
    struct looper *p = checklooper(L);
    int id = checksleeper(L, p, 2)->id;
    lua_getiuservalue(L, 1, 1);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, id);
    return 0;
}

/* p:log () -> {"1", "2:ETIMEDOUT", "-1"}: who has run; messages are negative */
static int looper_log(lua_State *L)
{
    struct looper *p = checklooper(L);
    lua_createtable(L, p->logged, 0);
    for (int i = 0; i < p->logged; i++) {
        lua_pushfstring(L, "%d", p->log[i].id);
        if (p->log[i].status < 0) {
            answer(L, p->log[i].status);
            lua_remove(L, -2);
            lua_pushliteral(L, ":");
            lua_insert(L, -2);
            lua_concat(L, 3);
        }
        lua_rawseti(L, -2, i + 1);
    }
    p->logged = 0;
    return 1;
}

/* ---- driving ------------------------------------------------------------------- */

static int finish(lua_State *L, struct looper *p, int rc)
{
    if (p->failed) {
        p->failed = false;
        return lua_error(L);
    }
    lua_settop(L, 1);
    return answer(L, rc);
}

/* p:run ([n]) -> 0 | nil, "EDEADLK": until n sleepers have run or none can be woken */
static int looper_run(lua_State *L)
{
    struct looper *p = checklooper(L);
    p->left = (int)luaL_optinteger(L, 2, 0);
    lua_settop(L, 1);
    p->L = L;
    return finish(L, p, lull_loop_run(p->loop));
}

/* p:turn () -> how many ran */
static int looper_turn(lua_State *L)
{
    struct looper *p = checklooper(L);
    lua_settop(L, 1);
    p->L = L;
    return finish(L, p, lull_loop_turn(p->loop));
}

static int looper_stop(lua_State *L)
{
    lull_loop_stop(checklooper(L)->loop);
    return 0;
}

static int looper_ref(lua_State *L)
{
    lull_loop_ref(checklooper(L)->loop);
    return 0;
}

static int looper_unref(lua_State *L)
{
    lull_loop_unref(checklooper(L)->loop);
    return 0;
}

/* p:check (): raises where a heap or a list is not sound */
static int looper_check(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_list *heads[] = {&p->loop->ready, &p->loop->batch, &p->loop->ios};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++)
        for (lull_list *l = heads[i]->next; l != heads[i]; l = l->next)
            if (l->prev->next != l || l->next->prev != l)
                return luaL_error(L, "a broken ring");
    if (heap_check(&p->loop->timers) < 0)
        return luaL_error(L, "a heap out of order");
    return 0;
}

/* ---- time ---------------------------------------------------------------------- */

static int looper_now(lua_State *L)
{
    lua_pushinteger(L, lull_now(checklooper(L)->loop));
    return 1;
}

static int looper_advance(lua_State *L)
{
    struct looper *p = checklooper(L);
    return answer(L, lull_loop_advance(p->loop, luaL_checkinteger(L, 2)));
}

/* p:start (t, deadline [, status]): timer t wakes sleeper t, with -ETIMEDOUT */
static int looper_start(lua_State *L)
{
    struct looper *p = checklooper(L);
    int i = checkplace(L, 2, STOCK);
    int status = (int)luaL_optinteger(L, 4, -ETIMEDOUT);
    p->deadlines[i] = luaL_checkinteger(L, 3);
    if (p->sleepers[i].waiter.status != LULL_PENDING)
        lull_wait(&p->sleepers[i].waiter);
    return answer(L, lull_timer_start(p->loop, &p->timers[i], p->deadlines[i], status));
}

static int looper_stop_timer(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_timer_stop(p->loop, &p->timers[checkplace(L, 2, STOCK)]);
    return 0;
}

/* p:timer (t) -> deadline | nil */
static int looper_timer(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_timer *t = &p->timers[checkplace(L, 2, STOCK)];
    if (!lull_timer_started(t))
        return 0;
    lua_pushinteger(L, lull_timer_deadline(p->loop, t));
    return 1;
}

/* p:early () -> how many timers fell due before their deadline */
static int looper_early(lua_State *L)
{
    lua_pushinteger(L, checklooper(L)->early);
    return 1;
}

/* ---- descriptors --------------------------------------------------------------- */

static lull_io *checkio(lua_State *L, struct looper *p)
{
    return &p->ios[checkplace(L, 2, STOCK)];
}

/* p:open (io, fd) */
static int looper_open(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_io_init(checkio(L, p), (int)luaL_checkinteger(L, 3));
    return 0;
}

static int looper_shut(lua_State *L)
{
    lull_io_close(checkio(L, checklooper(L)));
    return 0;
}

/* p:await (io, "r" | "w", w) */
static int looper_await(lua_State *L)
{
    struct looper *p = checklooper(L);
    return answer(L, lull_io_wait(p->loop, checkio(L, p), checkevents(L, 3),
                                  &checksleeper(L, p, 4)->waiter));
}

/* p:armed (io) -> "rw" */
static int looper_armed(lua_State *L)
{
    pushevents(L, checkio(L, checklooper(L))->watch.armed);
    return 1;
}

static int looper_recv(lua_State *L)
{
    struct looper *p = checklooper(L);
    char data[4096];
    size_t size = (size_t)luaL_optinteger(L, 3, sizeof data);
    int n = lull_io_recv(p->loop, checkio(L, p), data,
                         size < sizeof data ? size : sizeof data);
    if (n < 0)
        return answer(L, n);
    lua_pushlstring(L, data, (size_t)n);
    return 1;
}

static int looper_send(lua_State *L)
{
    struct looper *p = checklooper(L);
    size_t size;
    const char *data = luaL_checklstring(L, 3, &size);
    return answer(L, lull_io_send(p->loop, checkio(L, p), data, size));
}

/* ---- futures and scopes -------------------------------------------------------- */

static lull_future *checkfuture(lua_State *L, struct looper *p)
{
    return &p->futures[checkplace(L, 2, STOCK)];
}

/* p:future_wait (f, w) */
static int looper_future_wait(lua_State *L)
{
    struct looper *p = checklooper(L);
    return answer(L, lull_future_wait(p->loop, checkfuture(L, p),
                                      &checksleeper(L, p, 3)->waiter));
}

static int looper_settle(lua_State *L)
{
    struct looper *p = checklooper(L);
    return answer(L, lull_future_settle(p->loop, checkfuture(L, p), 1));
}

static lull_scope *checkscope(lua_State *L, struct looper *p, int i)
{
    return luaL_optinteger(L, i, 0) == 0 ? NULL : &p->scopes[checkplace(L, i, STOCK)];
}

/* p:scope (s, parent | 0 [, member | 0 [, shield]]) */
static int looper_scope(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_scope *s = checkscope(L, p, 2);
    lull_scope_open(p->loop, s, checkscope(L, p, 3),
                    lua_toboolean(L, 5) ? LULL_SHIELD : 0);
    if (luaL_optinteger(L, 4, 0) != 0)
        s->member = &checksleeper(L, p, 4)->waiter;
    return 0;
}

static int looper_scope_cancel(lua_State *L)
{
    struct looper *p = checklooper(L);
    lua_pushboolean(L, lull_scope_cancel(p->loop, checkscope(L, p, 2), -ECANCELED));
    return 1;
}

static int looper_scope_close(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_scope_close(p->loop, checkscope(L, p, 2));
    return 0;
}

static int looper_scope_detach(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_scope_detach(p->loop, checkscope(L, p, 2));
    return 0;
}

static int looper_scope_attach(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_scope_attach(p->loop, checkscope(L, p, 2), checkscope(L, p, 3));
    return 0;
}

/* p:scope_state (s) -> cancelled, the scope whose cancellation counts | nil */
static int looper_scope_state(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_scope *s = checkscope(L, p, 2), *culprit = lull_scope_culprit(s);
    lua_pushboolean(L, s->cancelled != 0);
    if (culprit == NULL)
        return 1;
    lua_pushinteger(L, culprit - p->scopes + 1);
    return 2;
}

/* ---- posts --------------------------------------------------------------------- */

/* p:post (m) */
static int looper_post(lua_State *L)
{
    struct looper *p = checklooper(L);
    lull_post(p->loop, &p->messages[checkplace(L, 2, STOCK)]);
    return 0;
}

static int looper_wakeup(lua_State *L)
{
    lull_wakeup(checklooper(L)->loop);
    return 0;
}

static lull_loop *rung;
static lull_message *ring;
static volatile sig_atomic_t polite; /* errno was left as it was */

static void ring_up(int signal)
{
    (void)signal;
    int saved = errno;
    errno = 12345;
    lull_post(rung, ring);
    lull_wakeup(rung);
    polite = errno == 12345;
    errno = saved;
}

/* p:alarm (m, microseconds) -> polite: a signal handler posts m then; polite is about the
   last one that did */
static int looper_alarm(lua_State *L)
{
    struct looper *p = checklooper(L);
    struct sigaction action = {.sa_handler = ring_up};
    lua_pushboolean(L, polite);
    rung = p->loop;
    ring = &p->messages[checkplace(L, 2, STOCK)];
    sigaction(SIGALRM, &action, NULL);
    struct itimerval t = {.it_value.tv_usec = (suseconds_t)luaL_checkinteger(L, 3)};
    setitimer(ITIMER_REAL, &t, NULL);
    return 1;
}

/* A thread that posts messages, all at once or each after the one before it has run. */
struct sender {
    struct crowd *of;
    pthread_t thread;
    struct letter *letters;
    int sent, came;
    atomic_int answered;
};

struct letter {
    lull_message message;
    struct sender *from;
    int number;
};

struct crowd {
    struct looper *of;
    int senders, letters, left;
    bool slowly, disorder;
};

static void letter_came(lull_loop *loop, lull_waiter *w)
{
    struct letter *l = container_of(w, struct letter, message.waiter);
    struct crowd *c = l->from->of;
    if (l->number != l->from->came++)
        c->disorder = true;
    atomic_fetch_add(&l->from->answered, 1);
    if (--c->left == 0)
        lull_loop_stop(loop);
}

static void *send_letters(void *ud)
{
    struct sender *s = ud;
    struct crowd *c = s->of;
    for (; s->sent < c->letters; s->sent++) {
        while (c->slowly && atomic_load(&s->answered) < s->sent)
            sched_yield();
        lull_post(c->of->loop, &s->letters[s->sent].message);
    }
    return NULL;
}

static int correspond(struct crowd *c, struct sender *senders, struct letter *letters)
{
    int rc = 0, n = 0;
    for (int i = 0; i < c->senders * c->letters; i++) {
        letters[i] =
            (struct letter){.from = &senders[i / c->letters], .number = i % c->letters};
        lull_waiter_init(&letters[i].message.waiter, letter_came);
    }
    for (; rc == 0 && n < c->senders; n++) {
        senders[n] = (struct sender){.of = c, .letters = letters + n * c->letters};
        rc = -pthread_create(&senders[n].thread, NULL, send_letters, &senders[n]);
    }
    lull_loop_ref(c->of->loop);
    if (rc == 0)
        rc = lull_loop_run(c->of->loop);
    lull_loop_unref(c->of->loop);
    while (n > 0)
        pthread_join(senders[--n].thread, NULL);
    return rc == 0 && c->disorder ? -EILSEQ : rc;
}

/* p:threads (n, count [, slowly]) -> 0 | nil, code: n threads post count messages each */
static int looper_threads(lua_State *L)
{
    struct looper *p = checklooper(L);
    struct crowd c = {.of = p, .slowly = lua_toboolean(L, 4)};
    c.senders = (int)luaL_checkinteger(L, 2);
    c.letters = (int)luaL_checkinteger(L, 3);
    c.left = c.senders * c.letters;
    struct sender *senders = calloc((size_t)c.senders, sizeof *senders);
    struct letter *letters = calloc((size_t)c.left, sizeof *letters);
    int rc = senders && letters ? correspond(&c, senders, letters) : -ENOMEM;
    free(senders);
    free(letters);
    return answer(L, rc);
}

/* ---- opening ------------------------------------------------------------------- */

static const luaL_Reg methods[] = {
    {"close", looper_close},     {"__gc", looper_close},
    {"wait", looper_wait},       {"wake", looper_wake},
    {"forget", looper_forget},   {"on", looper_on},
    {"log", looper_log},         {"run", looper_run},
    {"turn", looper_turn},       {"stop", looper_stop},
    {"ref", looper_ref},         {"unref", looper_unref},
    {"check", looper_check},     {"asked", looper_asked},
    {"now", looper_now},         {"advance", looper_advance},
    {"start", looper_start},     {"stop_timer", looper_stop_timer},
    {"timer", looper_timer},     {"early", looper_early},
    {"open", looper_open},       {"shut", looper_shut},
    {"await", looper_await},     {"armed", looper_armed},
    {"recv", looper_recv},       {"send", looper_send},
    {"settle", looper_settle},   {"future_wait", looper_future_wait},
    {"scope", looper_scope},     {"scope_cancel", looper_scope_cancel},
    {"post", looper_post},       {"scope_close", looper_scope_close},
    {"wakeup", looper_wakeup},   {"scope_detach", looper_scope_detach},
    {"threads", looper_threads}, {"scope_attach", looper_scope_attach},
    {"alarm", looper_alarm},     {"scope_state", looper_scope_state},
    {"write_at", looper_write_at},
    {NULL, NULL}};

void open_looper(lua_State *L)
{
    newclass(L, "probe.loop", methods);
    lua_pushcfunction(L, looper_new);
    lua_setfield(L, -2, "loop");
}
