/* The references of the micro rows: what a bare Lua 5.4 costs when a few lines of C
   drive its coroutines, with no scheduler, no task and no cancellation around them.
     switch_lua switch|trip|queue|respawn|spawn|burst N      time of N operations
     switch_lua memory N                     size of N suspended coroutines
     switch_lua run FILE ARG...              a script with the stock libraries
   Linked with the same static liblua as lull, so that only lull makes the difference. */
#define _GNU_SOURCE
#include "bench.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

enum { RING = 100, MANY = 20000 };      /* alive at once, as in micro.lua */
enum { QUEUE = 16 };                    /* room in a queue, as there */

static int sleptk(lua_State *L, int status, lua_KContext k)
{
    (void)L, (void)status, (void)k;
    return 0;
}

static int sleep_(lua_State *L)
{
    return lua_yieldk(L, 0, 0, sleptk);
}

static int yieldk(lua_State *L, int status, lua_KContext k)
{
    (void)status, (void)k;
    return lua_gettop(L);
}

static int yield(lua_State *L)
{
    return lua_yieldk(L, lua_gettop(L), 0, yieldk);
}

/* A new coroutine for the chunk on the top of the stack, anchored in the table below. */
static lua_State *coroutine(lua_State *L, int i)
{
    lua_State *co = lua_newthread(L);
    lua_rawseti(L, -3, i);
    lua_pushvalue(L, -1);
    lua_xmove(L, co, 1);
    return co;
}

static int resume(lua_State *co, lua_State *L, int arguments)
{
    int results, status = lua_resume(co, L, arguments, &results);
    if (status > LUA_YIELD)
        die(lua_tostring(co, -1));
    return results;
}

/* Leaves a table and a compiled chunk, for coroutine(). */
static void stage(lua_State *L, const char *chunk)
{
    lua_settop(L, 0);
    lua_newtable(L);
    if (luaL_loadstring(L, chunk) != LUA_OK)
        die(lua_tostring(L, -1));
}

static void report(const char *row, int64_t began, double count)
{
    printf("row=%s ns=%.3f\n", row, (double)(cpu_ns() - began) / count);
}

/* RING coroutines take turns, in the very words of micro.lua. */
static void measure_switch(lua_State *L, long n)
{
    lua_State *ring[RING];
    stage(L, "local sleep = sleep "
             "return function(turns) for _ = 1, turns do sleep(0) end end");
    lua_call(L, 0, 1);
    for (int i = 0; i < RING; i++) {
        ring[i] = coroutine(L, i + 1);
        lua_pushinteger(ring[i], n);
        resume(ring[i], L, 1);
    }
    int64_t began = cpu_ns();
    for (long turn = 0; turn < n / RING; turn++)
        for (int i = 0; i < RING; i++)
            resume(ring[i], L, 0);
    report("switch", began, (double)(n / RING * RING));
}

/* Two coroutines hand a number to and fro: two switches that carry a value. */
static void measure_trip(lua_State *L, long n)
{
    stage(L, "local yield <const> = yield local v while true do v = yield(v) end");
    lua_State *a = coroutine(L, 1), *b = coroutine(L, 2);
    lua_pop(a, resume(a, L, 0));
    lua_pop(b, resume(b, L, 0));
    int64_t began = cpu_ns();
    for (long i = 0; i < n; i++) {
        lua_pushinteger(a, i);
        resume(a, L, 1);
        lua_xmove(a, b, 1);
        lua_pop(b, resume(b, L, 1));
    }
    report("trip", began, (double)n);
}

/* What two coroutines share: so many things, and the one put last. */
static struct {
    int count;
    lua_Integer last;
} queue;

/* put (x), and get () -> x: yield while there is no room, or nothing. */
static int putk(lua_State *L, int status, lua_KContext k)
{
    (void)status;
    if (queue.count == QUEUE)
        return lua_yieldk(L, 0, k, putk);
    queue.count++;
    queue.last = lua_tointeger(L, 1);
    return 0;
}

static int getk(lua_State *L, int status, lua_KContext k)
{
    (void)status;
    if (queue.count == 0)
        return lua_yieldk(L, 0, k, getk);
    queue.count--;
    lua_pushinteger(L, queue.last);
    return 1;
}

static int put(lua_State *L) { return putk(L, LUA_OK, 0); }
static int get(lua_State *L) { return getk(L, LUA_OK, 0); }

/* One coroutine fills the queue, then another empties it, n things in all. */
static void measure_queue(lua_State *L, long n)
{
    lua_State *ends[2];
    lua_register(L, "put", put);
    lua_register(L, "get", get);
    stage(L, "local n, feeds = ... local put <const>, get <const> = put, get "
             "if feeds then for i = 1, n do put(i) end "
             "else for _ = 1, n do get() end end");
    for (int i = 0; i < 2; i++) {
        ends[i] = coroutine(L, i + 1);
        lua_pushinteger(ends[i], n);
        lua_pushboolean(ends[i], i == 0);
    }
    int64_t began = cpu_ns();
    for (int i = 0; i < 2; i++)
        resume(ends[i], L, 2);
    while (lua_status(ends[1]) == LUA_YIELD)
        for (int i = 0; i < 2; i++)
            if (lua_status(ends[i]) == LUA_YIELD)
                resume(ends[i], L, 0);
    report("queue", began, (double)n);
}

/* Ended coroutines given a new body, RING of them at a time. */
static void measure_respawn(lua_State *L, long n)
{
    lua_State *ring[RING];
    stage(L, "return");
    for (int i = 0; i < RING; i++)
        resume(ring[i] = coroutine(L, i + 1), L, 0);
    int64_t began = cpu_ns();
    for (long turn = 0; turn < n / RING; turn++) {
        for (int i = 0; i < RING; i++) {
            lua_pushvalue(L, 2);
            lua_xmove(L, ring[i], 1);
        }
        for (int i = 0; i < RING; i++)
            resume(ring[i], L, 0);
    }
    report("respawn", began, (double)(n / RING * RING));
}

/* Coroutines made, run to their end and dropped, so many of them alive at once. */
static void spawn(lua_State *L, const char *row, long n, int batch)
{
    static lua_State *all[MANY];
    stage(L, "local running <const> = coroutine.running "
             "return function() running() end");
    lua_call(L, 0, 1);
    int64_t began = cpu_ns();
    for (long turn = 0; turn < n / batch; turn++) {
        for (int i = 0; i < batch; i++)
            all[i] = coroutine(L, i + 1);
        for (int i = 0; i < batch; i++) {
            resume(all[i], L, 0);
            lua_pushnil(L);
            lua_rawseti(L, 1, i + 1);
        }
    }
    report(row, began, (double)(n / batch * batch));
}

static void measure_spawn(lua_State *L, long n) { spawn(L, "spawn", n, RING); }
static void measure_burst(lua_State *L, long n) { spawn(L, "burst", n, MANY); }

static double lua_bytes(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    return lua_gc(L, LUA_GCCOUNT) * 1024.0 + lua_gc(L, LUA_GCCOUNTB);
}

static void measure_memory(lua_State *L, long n)
{
    stage(L, "yield()");
    double bytes = lua_bytes(L);
    long rss = resident_bytes((long)getpid());
    for (long i = 1; i <= n; i++)
        resume(coroutine(L, (int)i), L, 0);
    printf("row=memory bytes=%.1f", (lua_bytes(L) - bytes) / (double)n);
    printf(" rss=%.1f\n", (double)(resident_bytes((long)getpid()) - rss) / (double)n);
}

/* As lua FILE ARG... would run it; argv[0] is the word "run". */
static void run_script(lua_State *L, int argc, char **argv)
{
    lua_createtable(L, argc, 1);
    for (int i = 1; i < argc; i++) {
        lua_pushstring(L, argv[i]);
        lua_rawseti(L, -2, i - 1);
    }
    lua_setglobal(L, "arg");
    if (luaL_dofile(L, argv[1]) != LUA_OK)
        die(lua_tostring(L, -1));
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*measure)(lua_State *L, long n);
    } rows[] = {
        {"switch", measure_switch}, {"trip", measure_trip}, {"queue", measure_queue},
        {"respawn", measure_respawn}, {"spawn", measure_spawn}, {"burst", measure_burst},
        {"memory", measure_memory},
    };
    lua_State *L = luaL_newstate();
    if (!L || argc < 3)
        die("usage: switch_lua switch|trip|queue|respawn|spawn|burst|memory N, "
            "or run FILE ARG...");
    luaL_openlibs(L);
    lua_register(L, "sleep", sleep_);
    lua_register(L, "yield", yield);
    if (strcmp(argv[1], "run") == 0)
        run_script(L, argc - 1, argv + 1);
    for (size_t i = 0; i < COUNT(rows); i++)
        if (strcmp(argv[1], rows[i].name) == 0)
            rows[i].measure(L, atol(argv[2]));
    lua_close(L);
    return 0;
}
