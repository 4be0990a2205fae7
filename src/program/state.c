/* The Lua state of the program: as luaL_newstate makes it, but for the allocator.  The
   warning function has to be here too, for lauxlib keeps its own to itself. */
#include <stdio.h>
#include <string.h>

#include "arena.h"
#include "program.h"

static struct arena *arena;

/* Warnings come in pieces: where one that is told stands. */
static struct {
    bool on, within;
} warnings;

/* "@on" and "@off", whole; other control messages are nobody's business. */
static bool control(const char *message, int to_be_continued)
{
    if (warnings.within || to_be_continued || message[0] != '@')
        return false;
    if (strcmp(message, "@on") == 0)
        warnings.on = true;
    else if (strcmp(message, "@off") == 0)
        warnings.on = false;
    return true;
}

static void warn(void *ud, const char *message, int to_be_continued)
{
    (void)ud;
    if (control(message, to_be_continued))
        return;
    if (warnings.on) {
        fprintf(stderr, "%s%s%s", warnings.within ? "" : "Lua warning: ", message,
                to_be_continued ? "" : "\n");
        fflush(stderr);
    }
    warnings.within = to_be_continued;
}

/* An error outside of any protected call: Lua aborts when this returns. */
static int panic(lua_State *L)
{
    const char *message = lua_tostring(L, -1);
    fprintf(stderr, "PANIC: unprotected error in call to Lua API (%s)\n",
            message ? message : "error object is not a string");
    fflush(stderr);
    return 0;
}

lua_State *lull_state_new(void)
{
    arena = arena_new();
    if (arena == NULL)
        return NULL;
    lua_State *L = lua_newstate(arena_alloc, arena);
    if (L == NULL)
        return NULL;
    lua_atpanic(L, panic);
    lua_setwarnf(L, warn, NULL);
    return L;
}

size_t lull_state_size(void)
{
    return arena_size(arena);
}

void lull_state_close(lua_State *L)
{
    lua_close(L);
    arena_free(arena);
}
