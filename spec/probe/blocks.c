/* The arena, given a random life of blocks that know what was written into them. */
#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "probe.h"

enum { BLOCKS = 4096, LARGEST = 1500 };

struct block {
    unsigned char *data;
    size_t size;
    unsigned char mark;
};

static uint32_t draw(uint32_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 17;
    *state ^= *state << 5;
    return *state;
}

static bool holds(const struct block *b, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (b->data[i] != b->mark)
            return false;
    return true;
}

/* Gives the block another size; what fits of its bytes has to survive that. */
static bool resize(struct arena *a, struct block *b, size_t size, unsigned char mark)
{
    size_t kept = size < b->size ? size : b->size;
    b->data = arena_alloc(a, b->data, b->data ? b->size : 8 /* a kind of object */, size);
    b->size = size;
    if (size == 0)
        return b->data == NULL;
    if (b->data == NULL || (uintptr_t)b->data % 16 != 0 || !holds(b, kept))
        return false;
    b->mark = mark;
    memset(b->data, mark, size);
    return true;
}

/* live (steps, seed) -> boolean: a random life, and an end in which all is given back */
static int live(lua_State *L)
{
    static struct block blocks[BLOCKS];
    lua_Integer steps = luaL_checkinteger(L, 1);
    uint32_t state = (uint32_t)luaL_checkinteger(L, 2);
    struct arena *a = arena_new();
    bool well = a != NULL;
    memset(blocks, 0, sizeof blocks);
    for (lua_Integer i = 0; well && i < steps; i++) {
        uint32_t some = i / 10000 % 2 ? BLOCKS : BLOCKS / 16; /* grows and shrinks */
        struct block *b = &blocks[draw(&state) % BLOCKS];
        bool ends = (size_t)(b - blocks) >= some || draw(&state) % 4 == 0;
        well = resize(a, b, ends ? 0 : draw(&state) % LARGEST, (unsigned char)draw(&state));
    }
    for (size_t i = 0; a != NULL && i < BLOCKS; i++)
        well = resize(a, &blocks[i], 0, 0) && well;
    if (a != NULL)
        arena_free(a);
    lua_pushboolean(L, well);
    return 1;
}

static const luaL_Reg functions[] = {{"arena", live}, {NULL, NULL}};

void open_blocks(lua_State *L)
{
    luaL_setfuncs(L, functions, 0);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    lua_pushboolean(L, true); /* the arena stands aside there */
#else
    lua_pushboolean(L, false);
#endif
    lua_setfield(L, -2, "sanitized");
}
