/* Runtimes and other threads: several of the one in several of the others, answers and
   calls that come from outside, a guest that is woken.  Short, for it also runs under a
   sanitizer that keeps count of all that is ever interrupted. */
#include "embed/host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

/* ---- runtimes in threads --------------------------------------------------------- */

static void *live(void *ud)
{
    lull *l;
    CHECK(lull_open(&l, ud) == 0);
    start(l, "local q, n = lull.queue(1), 0 lull.spawn(function() for i = 1, 200 do q:put(i) "
             "end q:close() end) for v in q:items() do n = n + v lull.sleep(0) end "
             "assert(n == 20100) local a, b = lull.net.pair() lull.spawn(function() "
             "a:write 'x' end) assert(b:read(1) == 'x')");
    CHECK(lull_run(l) == LULL_STEP_DONE);
    lull_close(l, 0);
    return NULL;
}

static void threads_know_nothing_of_each_other(void)
{
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, live, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
}

static void *drive(void *ud)
{
    CHECK(lull_run(ud) == LULL_STEP_DONE);
    return NULL;
}

static void a_runtime_may_move(void)
{
    lull *l = open_with(NULL);
    pthread_t thread;
    start(l, "lull.sleep(0) lull.sleep(0.001) say 'moved'");
    lull_step(l, NULL);
    pthread_create(&thread, NULL, drive, l);
    pthread_join(thread, NULL);
    CHECK(has_said("moved"));
    lull_close(l, 0);
}

/* ---- answers --------------------------------------------------------------------- */

enum { ASKED = 32 };

static pthread_t threads[ASKED];
static unsigned started;
static atomic_int freed;

static int push(lua_State *L, void *ud)
{
    if (L == NULL)
        atomic_fetch_add((atomic_int *)ud, 1);
    else
        lua_pushinteger(L, 1);
    return 1;
}

static void *answer(void *ud)
{
    lull_promise_resolve(ud, push, &freed);
    return NULL;
}

static int ask(lua_State *L)
{
    lull_promise *p = lull_promise_new(L, NULL, NULL);
    pthread_create(&threads[started++], NULL, answer, p);
    return lull_await_own(L, NULL, 0);
}

static void threads_answer(void)
{
    for (int closing = 0; closing < 2; closing++) {
        lull *l = open_with(NULL);
        lua_register(lull_state(l), "ask", ask);
        start(l, "local n = 0 lull.group(function(g) for i = 1, 32 do "
                 "g:spawn(function() local one = ask() n = n + one end) end end) say(n)");
        started = 0;
        if (closing) {
            lull_step(l, NULL);
            lull_step(l, NULL);
        } else {
            finish(l);
            CHECK(has_said("32"));
        }
        lull_close(l, 0);
        for (unsigned i = 0; i < started; i++)
            pthread_join(threads[i], NULL);
        CHECK(started == ASKED);
    }
}

/* ---- calls ----------------------------------------------------------------------- */

static atomic_int calls;

static void count(lull *l, void *ud)
{
    (void)ud;
    if (l != NULL && atomic_fetch_add(&calls, 1) == 4 * 500 - 1)
        lull_stop(l);
}

static void *call(void *ud)
{
    for (int i = 0; i < 500; i++)
        while (lull_call(ud, count, NULL, 100) == -EAGAIN)
            usleep(10);
    return NULL;
}

static void calls_come_from_everywhere(void)
{
    pthread_t callers[4];
    lull *l = open_with(NULL);
    start(l, "lull.sleep(1000)");
    for (int i = 0; i < 4; i++)
        pthread_create(&callers[i], NULL, call, l);
    CHECK(lull_run(l) == LULL_STEP_STOPPED && atomic_load(&calls) == 4 * 500);
    for (int i = 0; i < 4; i++)
        pthread_join(callers[i], NULL);
    lull_close(l, 0);
}

/* ---- guest ----------------------------------------------------------------------- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t change = PTHREAD_COND_INITIALIZER;
static unsigned wakes;

static void wake(void *ud)
{
    pthread_mutex_lock(&lock);
    wakes++;
    pthread_cond_signal(&change);
    pthread_mutex_unlock(&lock);
    (void)ud;
}

/* Waits as a GUI's loop would, until it is told. */
static void wait_for_wake(void)
{
    pthread_mutex_lock(&lock);
    while (wakes == 0)
        pthread_cond_wait(&change, &lock);
    CHECK(wakes == 1);
    wakes = 0;
    pthread_mutex_unlock(&lock);
}

static void is_a_guest(const char *selector)
{
    lull_options o = {.size = sizeof o, .selector = selector};
    lull *l = NULL;
    if (!lull_has_selector(selector) || lull_open(&l, &o) < 0)
        return;
    lua_register(lull_state(l), "say", say);
    atomic_store(&calls, 0);
    CHECK(lull_guest_start(l, wake, NULL) == 0);
    CHECK(lull_guest_start(l, wake, NULL) == -EALREADY);
    start(l, "local a, b = lull.net.pair() lull.spawn(function() lull.sleep(0.002) "
             "b:write 'x' end) say(a:read(1)) lull.sleep(0) say 'y'");
    int rc;
    unsigned steps = 0;
    do {
        wait_for_wake();
        rc = lull_step(l, NULL);
        steps++;
    } while (rc == LULL_STEP_IDLE);
    CHECK(rc == LULL_STEP_DONE && has_said("x,y") && steps <= 6);
    CHECK(lull_call(l, count, NULL, 0) == 0);
    wait_for_wake();
    lull_step(l, NULL);
    CHECK(atomic_load(&calls) == 1);
    start(l, "lull.sleep(100) say 'cancelled?'");
    wait_for_wake();
    lull_step(l, NULL);
    static const char *const scripts[] = {
        "lull.spawn(function() lull.sleep(0.001) say 'spawned' end)",
        "event = lull.event() lull.spawn(function() event:wait() say 'set' end)",
        "event:set()"};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        CHECK(luaL_dostring(lull_state(l), scripts[i]) == LUA_OK); /* between two steps */
        do {
            wait_for_wake();
            lull_step(l, NULL);
        } while (i != 1 && said[0] == '\0');
        CHECK(has_said(i == 0 ? "spawned" : i == 1 ? "" : "set"));
    }
    lull_guest_stop(l);
    lull_close(l, 0);
}

int main(void)
{
    threads_know_nothing_of_each_other();
    a_runtime_may_move();
    threads_answer();
    calls_come_from_everywhere();
    is_a_guest("epoll");
    is_a_guest("io_uring");
    return report("embed_threads");
}
