/* What a runtime never does unasked: exit, print, fork, start a thread, install a signal
   handler.  The functions that do so are caught here on their way to the system; each is
   seen once to be caught, by asking for it. */
#include "embed/host.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/types.h>
#include <unistd.h>

static bool watching;
static unsigned exits, forks, threads, handlers;

static void *next(const char *name)
{
    return dlsym(RTLD_NEXT, name);
}

/* Functions have no common pointer: through a union. */
#define NEXT(name)          \
    union {                 \
        void *p;            \
        __typeof__(&name) f; \
    } real = {next(#name)}

_Noreturn void exit(int status)
{
    NEXT(exit);
    exits += watching;
    real.f(status);
    for (;;)
        ;
}

_Noreturn void abort(void)
{
    NEXT(abort);
    exits += watching;
    real.f();
    for (;;)
        ;
}

pid_t fork(void)
{
    NEXT(fork);
    forks += watching;
    return real.f();
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *),
                   void *arg)
{
    NEXT(pthread_create);
    threads += watching;
    return real.f(thread, attr, fn, arg);
}

int sigaction(int number, const struct sigaction *action, struct sigaction *before)
{
    NEXT(sigaction);
    handlers += watching && action != NULL;
    return real.f(number, action, before);
}

/* ---- a busy life ----------------------------------------------------------------- */

static const char busy[] =
    "local a, b = lull.net.pair() lull.spawn(function() a:write 'x' end) b:read(1) "
    "local s = lull.net.listen('127.0.0.1', 0) lull.spawn(function() s:accept():close() end) "
    "lull.net.connect(s:local_address()):close() s:close() "
    "pcall(lull.timeout, 0.001, lull.sleep, 1) lull.generator(function() end)() "
    "local q = lull.queue() lull.spawn(q.get, q) lull.clock():sleep(0.001) "
    "lull.spawn(error, 'nobody looks') lull.spawn(error, {}) "
    "lull.loop():call_soon(error, 'a callback') "
    "pcall(lull.run, error) collectgarbage() lull.future():await()";

static void live(void)
{
    for (unsigned how = LULL_PREEMPT_OFF; how <= LULL_PREEMPT_COUNT; how++) {
        lull_options o = {.size = sizeof o, .preempt = how};
        lull *l = open_with(&o);
        lull_failure f = {.size = sizeof f};
        for (int i = 0; i < 2; i++)
            start(l, busy);
        for (int i = 0; i < 50; i++)
            lull_step(l, NULL);
        while (lull_run(l) == LULL_STEP_FAILED)
            ;
        while (lull_take_failure(l, &f))
            ;
        lull_close(l, 1000000);
    }
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lull *l;
    lull_attach(&l, L, NULL);
    luaL_loadstring(L, "require 'lull'.spawn(error, 'lost') error 'lost too'");
    lull_task_spawn(l, L, 0, NULL, NULL);
    lull_step(l, NULL);
    lua_close(L);
    lull_close(l, 0);
}

static void wake(void *ud)
{
    (void)ud;
}

static void ask_for_all(void)
{
    lull_options o = {.size = sizeof o, .preempt = LULL_PREEMPT_SIGNAL};
    lull *l = open_with(&o);
    CHECK(handlers == 1);
    lull_guest_start(l, wake, NULL);
    CHECK(threads == 1);
    lull_close(l, 0);
    CHECK(handlers == 2); /* what was there before is there again */
}

int main(void)
{
    FILE *out = tmpfile();
    int kept[2] = {dup(1), dup(2)};
    fflush(NULL);
    dup2(fileno(out), 1);
    dup2(fileno(out), 2);
    watching = true;
    live();
    bool quiet = exits + forks + threads + handlers == 0;
    fflush(NULL);
    long printed = (long)lseek(fileno(out), 0, SEEK_END);
    ask_for_all();
    watching = false;
    fflush(NULL);
    dup2(kept[0], 1);
    dup2(kept[1], 2);
    if (printed > 0 || checks_failed) {
        char text[2000];
        rewind(out);
        fprintf(stderr, "%.*s\n", (int)fread(text, 1, sizeof text, out), text);
    }
    CHECK(quiet);
    CHECK(printed == 0);
    fclose(out);
    return report("embed_quiet");
}
