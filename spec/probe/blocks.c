/* The arena and a region, given a random life of blocks that know what was written into
   them. */
#include <stdint.h>
#include <string.h>

#include "arena.h"
#include "probe.h"
#include "region.h"

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

/* ---- the region ---------------------------------------------------------------------- */

enum { FEW = 512, HUGE = 60000 };

static bool change(struct region *r, struct block *b, size_t size, unsigned char mark)
{
    size_t kept = size < b->size ? size : b->size;
    b->data = region_alloc(r, b->data, b->data ? b->size : 8, size);
    b->size = size;
    if (size == 0)
        return b->data == NULL;
    if (b->data == NULL || (uintptr_t)b->data % 16 != 0 || !holds(b, kept))
        return false;
    b->mark = mark;
    memset(b->data, mark, size);
    return true;
}

/* Small blocks most of the time, large ones now and then; end: none is left. */
static bool live_in(struct region *r, struct block *blocks, lua_Integer steps,
                    uint32_t *state)
{
    bool well = true;
    for (lua_Integer i = 0; well && i < steps; i++) {
        struct block *b = &blocks[draw(state) % FEW];
        size_t most = draw(state) % 100 == 0 ? HUGE : 200;
        size_t size = draw(state) % 4 == 0 ? 0 : draw(state) % most;
        well = change(r, b, size, (unsigned char)draw(state));
    }
    return well;
}

static bool drop_all(struct region *r, struct block *blocks)
{
    bool well = true;
    for (int i = 0; i < FEW; i++)
        well = change(r, &blocks[i], 0, 0) && well;
    return well && region_outside(r) == 0;
}

/* Drops the large blocks, which are not in the region. */
static void drop_large(struct region *r, struct block *blocks)
{
    for (int i = 0; region_outside(r) > 0 && i < FEW; i++)
        if (blocks[i].size >= 200)
            change(r, &blocks[i], 0, 0);
    for (int i = 0; region_outside(r) > 0 && i < FEW; i++)
        change(r, &blocks[i], 0, 0);
}

/* region (steps, seed) -> boolean */
static int live_again(lua_State *L)
{
    static struct block then[FEW], now[FEW];
    lua_Integer steps = luaL_checkinteger(L, 1);
    uint32_t state = (uint32_t)luaL_checkinteger(L, 2);
    struct region *r = region_new();
    memset(then, 0, sizeof then);
    bool well = r != NULL && live_in(r, then, steps / 100, &state);
    if (well) {
        drop_large(r, then);
        well = region_keep(r, 1) && region_keep(r, 0);
    }
    for (int round = 0; well && round < 5; round++) {
        memcpy(now, then, sizeof now);
        well = live_in(r, now, steps, &state) && drop_all(r, now);
        region_restore(r, round % 2);
        for (int i = 0; well && i < FEW; i++)
            well = holds(&then[i], then[i].size);
    }
    region_free(r);
    lua_pushboolean(L, well);
    return 1;
}

static const luaL_Reg functions[] = {
    {"arena", live}, {"region", live_again}, {NULL, NULL}};

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
