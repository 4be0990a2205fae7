/* The exact size of a sleeping task: a Lua state whose allocator counts, lull opened in
   it, N tasks of one closure asleep.  `bytes` is what Lua and lull asked of the
   allocator, `heap` what malloc took for it (and for anything that went past it).
     memory_lull N */
#define _GNU_SOURCE
#include "bench.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lull.h>
#include <malloc.h>

static size_t counted;

static void *count(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud;
    size_t old = ptr ? osize : 0;
    void *p = NULL;
    if (nsize == 0)
        free(ptr);
    else if (!(p = realloc(ptr, nsize)))
        return NULL;
    counted += nsize - old;
    return p;
}

/* size () -> bytes, heap */
static int size(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT);
    lua_pushinteger(L, (lua_Integer)counted);
    lua_pushinteger(L, (lua_Integer)mallinfo2().uordblks);
    return 2;
}

static int leave(lua_State *L)
{
    (void)L;
    fflush(stdout);
    _exit(0);                   /* at once: nobody wants the sleepers cancelled */
}

static const char script[] =
    "local lull, n, size, leave = ...\n"
    "lull.run(function()\n"
    "  local function body() lull.sleep(1e6) end\n"
    "  local bytes, heap = size()\n"
    "  for _ = 1, n do lull.spawn(body) end\n"
    "  lull.sleep(0)\n"
    "  local bytes_after, heap_after = size()\n"
    "  print(('row=memory bytes=%.1f heap=%.1f'):format((bytes_after - bytes) / n,\n"
    "    (heap_after - heap) / n))\n"
    "  leave()\n"
    "end)\n";

int main(int argc, char **argv)
{
    lua_State *L = lua_newstate(count, NULL);
    if (!L || argc != 2)
        die("usage: memory_lull N");
    luaL_openlibs(L);
    if (luaL_loadstring(L, script) != LUA_OK)
        die(lua_tostring(L, -1));
    luaL_requiref(L, "lull", luaopen_lull, 0);
    lua_pushinteger(L, atol(argv[1]));
    lua_pushcfunction(L, size);
    lua_pushcfunction(L, leave);
    if (lua_pcall(L, 4, 0, 0) != LUA_OK)
        die(lua_tostring(L, -1));
    return 0;
}
