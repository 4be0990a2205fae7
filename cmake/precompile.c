/* Compiles a file of lua/ ahead of time, for modules.c: a program that starts has nothing
   to parse.  Names of variables and lines stay in it, for errors.
     precompile FROM TO NAME */
#include <lauxlib.h>
#include <lua.h>
#include <stdio.h>

static int write_out(lua_State *L, const void *data, size_t size, void *ud)
{
    (void)L;
    return fwrite(data, 1, size, ud) != size;
}

static int complain(lua_State *L, const char *what)
{
    fprintf(stderr, "precompile: %s\n", what);
    lua_close(L);
    return 1;
}

int main(int argc, char **argv)
{
    lua_State *L = luaL_newstate();
    luaL_Buffer text;
    if (L == NULL || argc != 4)
        return 1;
    FILE *in = fopen(argv[1], "rb");
    if (in == NULL)
        return complain(L, argv[1]);
    luaL_buffinit(L, &text);
    size_t n;
    while ((n = fread(luaL_prepbuffer(&text), 1, LUAL_BUFFERSIZE, in)) > 0)
        luaL_addsize(&text, n);
    fclose(in);
    luaL_pushresult(&text);
    lua_pushfstring(L, "@%s", argv[3]);
    if (luaL_loadbuffer(L, lua_tostring(L, 1), lua_rawlen(L, 1), lua_tostring(L, 2)))
        return complain(L, lua_tostring(L, -1));
    FILE *out = fopen(argv[2], "wb");
    if (out == NULL || lua_dump(L, write_out, out, 0) != 0 || fclose(out) != 0)
        return complain(L, argv[2]);
    lua_close(L);
    return 0;
}
