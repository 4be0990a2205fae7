/* The core opened to specs: a Lua module with a core of its own, whose insides it sees.
   Here are the containers and what all parts share; looper.c has the loop and the three
   things to wait for, bare.c the selectors alone, toys.c descriptors of every kind,
   blocks.c the arena. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "heap.h"
#include "list.h"
#include "probe/probe.h"
#include "selector.h"

/* ---- what the parts share ------------------------------------------------------ */

enum { NOTE = 16 }; /* before each block stands its size */

void *account_alloc(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct account *a = ud;
    char *block = ptr ? (char *)ptr - NOTE : NULL;
    size_t size = 0;
    if (block != NULL)
        memcpy(&size, block, sizeof size);
    if (size != osize)
        a->wrong = true;
    if (nsize > 0 && ++a->calls == a->fail)
        return NULL;
    char *next = NULL;
    if (nsize > 0) { /* never in place: stale pointers show */
        next = malloc(nsize + NOTE);
        if (next == NULL)
            return NULL;
        memcpy(next, &nsize, sizeof nsize);
        if (block != NULL)
            memcpy(next + NOTE, ptr, size < nsize ? size : nsize);
    }
    if (block != NULL)
        memset(block, 0xdb, size + NOTE);
    free(block);
    a->live += nsize - size;
    return next ? next + NOTE : NULL;
}

int answer(lua_State *L, int rc)
{
    if (rc >= 0) {
        lua_pushinteger(L, rc);
        return 1;
    }
    lua_pushnil(L);
#ifdef __GLIBC__
    lua_pushstring(L, strerrorname_np(-rc));
#else
    lua_pushinteger(L, rc);
#endif
    return 2;
}

unsigned checkevents(lua_State *L, int i)
{
    const char *s = luaL_checkstring(L, i);
    return (strchr(s, 'r') ? LULL_READ : 0) | (strchr(s, 'w') ? LULL_WRITE : 0);
}

void pushevents(lua_State *L, unsigned events)
{
    lua_pushfstring(L, "%s%s", events & LULL_READ ? "r" : "",
                    events & LULL_WRITE ? "w" : "");
}

int checkplace(lua_State *L, int i, int count)
{
    lua_Integer n = luaL_checkinteger(L, i);
    luaL_argcheck(L, n >= 1 && n <= count, i, "no such one");
    return (int)n - 1;
}

void newclass(lua_State *L, const char *name, const luaL_Reg *methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

/* ---- heap ---------------------------------------------------------------------- */

struct probed_heap {
    struct heap heap;
    struct account account;
    int count;
    lull_timer nodes[];
};

static struct probed_heap *checkheap(lua_State *L)
{
    return luaL_checkudata(L, 1, "probe.heap");
}

static lull_timer *checknode(lua_State *L, struct probed_heap *h)
{
    return &h->nodes[checkplace(L, 2, h->count)];
}

/* probe.heap (n [, which allocation fails]): a heap and n nodes for it */
static int heap_new(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1), fail = luaL_optinteger(L, 2, 0);
    size_t size = sizeof(struct probed_heap) + (size_t)n * sizeof(lull_timer);
    struct probed_heap *h = lua_newuserdatauv(L, size, 0);
    memset(h, 0, size);
    h->count = (int)n;
    h->account.fail = fail;
    luaL_setmetatable(L, "probe.heap");
    return 1;
}

static int probe_set(lua_State *L)
{
    struct probed_heap *h = checkheap(L);
    return answer(L, heap_set(&h->heap, checknode(L, h), luaL_checkinteger(L, 3),
                              account_alloc, &h->account));
}

static int probe_remove(lua_State *L)
{
    struct probed_heap *h = checkheap(L);
    lull_timer *node = checknode(L, h);
    luaL_argcheck(L, node->index != 0, 2, "not in the heap");
    heap_remove(&h->heap, node);
    return 0;
}

/* h:first () -> node, key | nothing */
static int probe_first(lua_State *L)
{
    struct probed_heap *h = checkheap(L);
    if (h->heap.count == 0)
        return 0;
    lua_pushinteger(L, h->heap.entries[0].node - h->nodes + 1);
    lua_pushinteger(L, h->heap.entries[0].key);
    return 2;
}

/* h:state () -> count, capacity, bytes, sound */
static int probe_state(lua_State *L)
{
    struct probed_heap *h = checkheap(L);
    lua_pushinteger(L, h->heap.count);
    lua_pushinteger(L, h->heap.capacity);
    lua_pushinteger(L, (lua_Integer)h->account.live);
    lua_pushboolean(L, heap_check(&h->heap) == 0 && !h->account.wrong);
    return 4;
}

static int probe_free(lua_State *L)
{
    struct probed_heap *h = checkheap(L);
    heap_free(&h->heap, account_alloc, &h->account);
    return 0;
}

static const luaL_Reg heap_methods[] = {
    {"set", probe_set},     {"remove", probe_remove}, {"first", probe_first},
    {"state", probe_state}, {"free", probe_free},     {"__gc", probe_free},
    {NULL, NULL}};

/* ---- list ---------------------------------------------------------------------- */

/* Some lists and some links that stand in them: places 1..lists, 1..links. */
struct probed_lists {
    int lists, links;
    lull_list rings[]; /* the heads, then the links */
};

static struct probed_lists *checklists(lua_State *L)
{
    return luaL_checkudata(L, 1, "probe.lists");
}

static lull_list *checkhead(lua_State *L, struct probed_lists *s, int i)
{
    return &s->rings[checkplace(L, i, s->lists)];
}

static lull_list *checklink(lua_State *L, struct probed_lists *s, int i)
{
    return &s->rings[s->lists + checkplace(L, i, s->links)];
}

/* probe.lists (lists, links) */
static int lists_new(lua_State *L)
{
    int lists = (int)luaL_checkinteger(L, 1), links = (int)luaL_checkinteger(L, 2);
    size_t count = (size_t)(lists + links);
    struct probed_lists *s =
        lua_newuserdatauv(L, sizeof *s + count * sizeof(lull_list), 0);
    s->lists = lists;
    s->links = links;
    for (size_t i = 0; i < count; i++)
        list_init(&s->rings[i]);
    luaL_setmetatable(L, "probe.lists");
    return 1;
}

static int lists_push(lua_State *L)
{
    struct probed_lists *s = checklists(L);
    list_push(checkhead(L, s, 2), checklink(L, s, 3));
    return 0;
}

static int lists_remove(lua_State *L)
{
    list_remove(checklink(L, checklists(L), 2));
    return 0;
}

static int lists_pop(lua_State *L)
{
    struct probed_lists *s = checklists(L);
    lua_pushinteger(L, list_pop(checkhead(L, s, 2)) - &s->rings[s->lists] + 1);
    return 1;
}

static int lists_move(lua_State *L)
{
    struct probed_lists *s = checklists(L);
    list_move(checkhead(L, s, 2), checkhead(L, s, 3));
    return 0;
}

/* s:items (list) -> {link, ...}; raises where the ring is not whole */
static int lists_items(lua_State *L)
{
    struct probed_lists *s = checklists(L);
    lull_list *head = checkhead(L, s, 2);
    lua_newtable(L);
    for (lull_list *l = head->next; l != head; l = l->next) {
        if (l->prev->next != l || l->next->prev != l)
            return luaL_error(L, "a broken ring");
        lua_pushinteger(L, l - &s->rings[s->lists] + 1);
        lua_rawseti(L, -2, (lua_Integer)lua_rawlen(L, -2) + 1);
    }
    return 1;
}

/* s:free (link): it is in no list */
static int lists_free(lua_State *L)
{
    lua_pushboolean(L, list_empty(checklink(L, checklists(L), 2)));
    return 1;
}

static const luaL_Reg list_methods[] = {
    {"push", lists_push}, {"remove", lists_remove}, {"pop", lists_pop},
    {"move", lists_move}, {"items", lists_items},   {"free", lists_free},
    {NULL, NULL}};

/* ---- opening ------------------------------------------------------------------- */

/* probe.backends () -> {name, ...} */
static int backends(lua_State *L)
{
    lua_newtable(L);
    for (int i = 0; lull_backends[i] != NULL; i++) {
        lua_pushstring(L, lull_backends[i]->name);
        lua_rawseti(L, -2, i + 1);
    }
    return 1;
}

static const luaL_Reg functions[] = {
    {"heap", heap_new}, {"lists", lists_new}, {"backends", backends}, {NULL, NULL}};

int luaopen_probe(lua_State *L)
{
    newclass(L, "probe.heap", heap_methods);
    newclass(L, "probe.lists", list_methods);
    luaL_newlib(L, functions);
    open_looper(L);
    open_bare(L);
    open_toys(L);
    open_blocks(L);
    return 1;
}
