/* The reference of the tasks curve: a crowd of bare coroutines, which a loop in C resumes
   one after the other, or in the order in which a textbook heap says that they are due.
   Like crowd.lua it prints nanoseconds of CPU time per coroutine.  There are no futures:
   who would wait for one is resumed in order.  ns is the life of one that sleeps twice,
   as in million.lua: everything but future and switch.
     crowd N */
#define _GNU_SOURCE
#include "bench.h"
#include "textbook.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum { NOON = 1000, SPAN = 1000000000 };

struct sleeper {
    struct timer timer;
    lua_State *co;
};

static lua_State *L;
static struct sleeper *all, **woken; /* the latter in the order in which they were */
static long n, times;
static double life;

static void resume(lua_State *co, int end)
{
    lua_pushboolean(co, end);
    int results, status = lua_resume(co, L, 1, &results);
    if (status > LUA_YIELD)
        die(lua_tostring(co, -1));
    lua_pop(co, results);
}

static void resume_all(void)
{
    for (long i = 0; i < n; i++)
        resume(all[i].co, 0);
}

static void spawn(void)
{
    lua_newtable(L);
    if (luaL_dostring(L, "local yield = coroutine.yield "
                         "return function() repeat until yield() end"))
        die(lua_tostring(L, -1));
    for (long i = 0; i < n; i++) {
        all[i].co = lua_newthread(L);
        lua_rawseti(L, 1, i + 1);
        lua_pushvalue(L, 2);
        lua_xmove(L, all[i].co, 1);
        resume(all[i].co, 0);
    }
}

/* Those who are due by then go on. */
static void wake_until(int64_t now)
{
    while (count > 0 && heap[1]->deadline <= now) {
        struct sleeper *s = (struct sleeper *)heap[1];
        stop(&s->timer);
        resume(s->co, 0);
        woken[times++] = s;
    }
}

static void sleep_all(int in_turn)
{
    for (long i = 0; i < n; i++)
        start(&all[i].timer, in_turn ? i : NOON + (int64_t)(chance() % SPAN));
}

static void finish(void)
{
    for (long i = 0; i < n; i++) {
        resume(woken[i]->co, 1);
        lua_pushnil(L);
        lua_rawseti(L, 1, woken[i] - all + 1);
    }
}

static void measure_spawn(void)
{
    long before = resident_bytes((long)getpid());
    int64_t began = cpu_ns();
    spawn();
    double ns = life = per(began, n);
    long grown = resident_bytes((long)getpid()) - before;
    printf("row=crowd bytes=%.1f spawn=%.3f", (double)grown / (double)n, ns);
}

static void measure_switch(void)
{
    long turns = rounds(n);
    int64_t began = cpu_ns();
    for (long i = 0; i < turns; i++)
        resume_all();
    printf(" switch=%.3f", per(began, turns * n));
}

static void measure_future(void)
{
    int64_t began = cpu_ns();
    resume_all();
    printf(" future=%.3f", per(began, n));
}

static void measure_noon(void)
{
    int64_t bedtime = cpu_ns();
    sleep_all(1);
    int64_t began = cpu_ns();
    wake_until(n);
    printf(" noon=%.3f", per(began, n));
    life += per(bedtime, n);
}

static void measure_random(void)
{
    int64_t bedtime = cpu_ns();
    sleep_all(0);
    times = 0;
    int64_t began = cpu_ns();
    for (int64_t now = NOON, step = stride(SPAN, n); count > 0; now += step)
        wake_until(now);
    printf(" random=%.3f", per(began, n));
    life += per(bedtime, n);
}

static void measure_finish(void)
{
    int64_t began = cpu_ns();
    finish();
    double ns = per(began, n);
    printf(" finish=%.3f ns=%.3f\n", ns, life + ns);
}

int main(int argc, char **argv)
{
    n = argc > 1 ? atol(argv[1]) : 0;
    L = luaL_newstate();
    all = calloc((size_t)n, sizeof *all);
    woken = calloc((size_t)n, sizeof *woken);
    heap = calloc((size_t)n + 2, sizeof *heap);
    if (n < 1 || !L || !all || !woken || !heap)
        die("usage: crowd N");
    luaL_openlibs(L);
    measure_spawn();
    measure_future();
    measure_switch();
    measure_noon();
    measure_random();
    measure_finish();
    fflush(stdout);
    _exit(0);
}
