/* Memory that runs out: runs scenarios in Lua (spec/memory, or those that are named) in a
   state whose allocator fails on demand, and looks whether all of it came back.

   A scenario arms with fails_at(n): the n-th allocation from now on fails; 0 disarms;
   failed() tells whether it came to that. */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "lull.h"

static struct {
    lua_Integer left; /* allocations until one fails; 0: none will */
    bool failed;
    long live;        /* bytes that are out */
} account;

static void *alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    (void)ud;
    size_t before = ptr ? osize : 0;
    if (nsize > before && account.left > 0 && --account.left == 0) {
        account.failed = true;
        return NULL;
    }
    void *p = NULL;
    if (nsize == 0)
        free(ptr);
    else if ((p = realloc(ptr, nsize)) == NULL)
        return NULL;
    account.live += (long)nsize - (long)before;
    return p;
}

static int fails_at(lua_State *L)
{
    account.left = luaL_checkinteger(L, 1);
    account.failed = account.failed && account.left == 0;
    return 0;
}

static int failed(lua_State *L)
{
    lua_pushboolean(L, account.failed);
    return 1;
}

static int run(const char *file)
{
    lua_State *L = lua_newstate(alloc, NULL);
    luaL_openlibs(L);
    luaL_requiref(L, "lull", luaopen_lull, 1);
    lua_register(L, "fails_at", fails_at);
    lua_register(L, "failed", failed);
    int rc = luaL_dofile(L, file);
    if (rc != LUA_OK)
        fprintf(stderr, "%s: %s\n", file, lua_tostring(L, -1));
    account.left = 0;
    lua_close(L);
    if (account.live != 0) {
        fprintf(stderr, "%s: %ld bytes did not come back\n", file, account.live);
        rc = 1;
    }
    return rc != LUA_OK;
}

int main(int argc, char **argv)
{
    int bad = 0;
    glob_t files = {0};
    if (argc < 2 && glob("spec/memory/*.lua", 0, NULL, &files) != 0)
        bad = 1;
    for (int i = 1; i < argc; i++)
        bad |= run(argv[i]);
    for (size_t i = 0; i < files.gl_pathc; i++)
        bad |= run(files.gl_pathv[i]);
    globfree(&files);
    return bad;
}
