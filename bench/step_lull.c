/* What a host with a main loop of its own pays for scripts that do nothing: 10 000 tasks
   that sleep, and a step in which there is nothing to do.
     step_lull [N]      N steps of each kind; prints ns of processor time for one
   Alone: no descriptor is waited for, so no system is called.  With a listener: the step
   has to look, by one epoll_wait.  Guest: what a poll loop asks before it sleeps. */
#define _GNU_SOURCE
#include "bench.h"

#include <lauxlib.h>
#include <lull.h>

enum { SLEEPERS = 10000, HERTZ = 60 };

static const char script[] =
    "local function body() lull.sleep(1e6) end\n"
    "for _ = 1, ... do lull.spawn(body) end\n";

static const char listens[] =
    "local listener = assert(lull.net.listen('127.0.0.1', 0))\n"
    "listener:accept()\n";

static void start(lull *l, const char *text, lua_Integer argument)
{
    lua_State *L = lull_state(l);
    if (luaL_loadstring(L, text) != LUA_OK)
        die(lua_tostring(L, -1));
    lua_pushinteger(L, argument);
    if (lull_task_spawn(l, L, 1, NULL, NULL) < 0 || lull_step(l, NULL) < 0)
        die("lull_task_spawn");
    while (lull_next_wake(l) == 0)
        lull_step(l, NULL);
}

static double step(lull *l, long n, const lull_budget *budget)
{
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++)
        if (lull_step(l, budget) != LULL_STEP_IDLE)
            die("lull_step");
    return (double)(cpu_ns() - began) / (double)n;
}

static double ask(lull *l, long n)
{
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++)
        if (lull_next_wake(l) == 0)
            die("lull_next_wake");
    return (double)(cpu_ns() - began) / (double)n;
}

int main(int argc, char **argv)
{
    static const lull_budget budget = {.size = sizeof budget, .ns = 2000000};
    lull_options options = {.size = sizeof options, .preempt = LULL_PREEMPT_SIGNAL};
    long n = argc > 1 ? atol(argv[1]) : 1000000;
    lull *l;
    if (n <= 0 || lull_open(&l, &options) < 0)
        die("usage: step_lull [N]");
    start(l, script, SLEEPERS);
    if (lull_task_count(l) < SLEEPERS)
        die("sleepers");
    double alone = step(l, n, NULL), bounded = step(l, n, &budget), next = ask(l, n);
    start(l, listens, 0);
    double looking = step(l, n, &budget);
    printf("row=step tasks=%u alone=%.1f budget=%.1f listener=%.1f next_wake=%.1f\n",
           lull_task_count(l), alone, bounded, looking, next);
    printf("at %d Hz: %.4f %% of a processor, %.4f %% with a listener\n", HERTZ,
           bounded * HERTZ / 1e7, looking * HERTZ / 1e7);
    lull_close(l, 0);
    return 0;
}
