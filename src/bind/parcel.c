/* Values packed in one Lua state and unpacked in another: nil, booleans, numbers,
   strings, and tables of those, which keep their shape, shared parts and cycles included.
    Whatever else there is is refused, with its place: a table with a metatable too, for
   without it it would be something else.

   The bytes are those of the values, then of the pairs of table 1, 2, ... in the order
   in which they were met; inside, a table is its number.  So nothing recurses, however
   deep the tables are nested.  A long string is packed once. */
#include "parcel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LONG = 256 }; /* strings from here on are remembered */

#define NAMES "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"

enum tag {
    NIL, FALSE, TRUE, INTEGER, FLOAT, STRING, LONG_STRING, SAME_STRING, TABLE, END
};

/* ---- bytes ------------------------------------------------------------------------- */

static bool reserve(struct parcel *p, size_t size)
{
    if (p->capacity - p->size >= size)
        return true;
    size_t capacity = p->capacity + p->capacity / 2 + size + 64;
    unsigned char *data = realloc(p->data, capacity);
    if (data == NULL)
        return false;
    p->data = data;
    p->capacity = capacity;
    return true;
}

static bool put(struct parcel *p, enum tag tag, const void *data, size_t size)
{
    if (size > SIZE_MAX / 4 || !reserve(p, size + 1))
        return false;
    p->data[p->size++] = (unsigned char)tag;
    if (size > 0)
        memcpy(p->data + p->size, data, size);
    p->size += size;
    return true;
}

static bool put_string(struct parcel *p, enum tag tag, const char *text, size_t size)
{
    if (!put(p, tag, &size, sizeof size) || !reserve(p, size))
        return false;
    memcpy(p->data + p->size, text, size);
    p->size += size;
    return true;
}

struct parcel *lull_pack_text(const char *text)
{
    struct parcel *p = calloc(1, sizeof *p);
    if (p == NULL)
        return NULL;
    list_init(&p->link);
    p->count = 1;
    if (put_string(p, STRING, text, strlen(text)))
        return p;
    lull_parcel_free(p);
    return NULL;
}

void lull_parcel_free(struct parcel *p)
{
    if (p == NULL)
        return;
    free(p->shapes);
    free(p->data);
    free(p);
}

/* ---- boxes ------------------------------------------------------------------------- */

struct parcel **lull_newbox(lua_State *L, struct runtime *rt)
{
    struct parcel **box = lua_newuserdatauv(L, sizeof *box, 0);
    *box = NULL;
    lua_rawgeti(L, LUA_REGISTRYINDEX, rt->metatables[LULL_PARCEL]);
    lua_setmetatable(L, -2);
    return box;
}

struct parcel *lull_unbox(lua_State *L, int i)
{
    struct parcel **box = lua_touserdata(L, i), *p = *box;
    *box = NULL;
    return p;
}

static int box_gc(lua_State *L)
{
    lull_parcel_free(lull_unbox(L, 1));
    return 0;
}

/* ---- packing ----------------------------------------------------------------------- */

/* Where packing stands. */
struct packing {
    lua_State *L;
    struct parcel *p;
    int first;       /* index of the first value */
    int seen;        /* of a table, once there is need for it: table or long string ->
                        number, number -> table */
    unsigned strings;
    const char *what;
    int number;
};

static void check(const struct packing *k, bool well)
{
    if (!well)
        luaL_error(k->L, "not enough memory");
}

/* Appends the name of a field to the path on top of the stack: 'a', 'a.b', 'a[1]'. */
static void append_key(lua_State *L, int key)
{
    int at = lua_gettop(L);
    const char *path = lua_tostring(L, at);
    const char *text = lua_type(L, key) == LUA_TSTRING ? lua_tostring(L, key) : "";
    if (*text != '\0' && text[strspn(text, NAMES)] == '\0')
        lua_pushfstring(L, *path ? "%s.%s" : "%s%s", path, text);
    else
        lua_pushfstring(L, "%s[%s]", path, luaL_tolstring(L, key, NULL));
    lua_replace(L, at);
    lua_settop(L, at);
}

/* Looks for table n in table m: pushes the key it has there, or the table as a key. */
static bool find_key(const struct packing *k, unsigned m, unsigned n)
{
    lua_State *L = k->L;
    lua_rawgeti(L, k->seen, m);
    lua_rawgeti(L, k->seen, n);
    for (lua_pushnil(L); lua_next(L, -3); lua_pop(L, 1))
        if (lua_rawequal(L, -1, -3) || lua_rawequal(L, -2, -3)) {
            lua_pop(L, 1);
            lua_replace(L, -3);
            lua_pop(L, 1);
            return true;
        }
    lua_pop(L, 2);
    return false;
}

/* Pushes the keys that lead from a value to table n, the last one first, and returns
   which value that is.  Who holds a table was met before it, so each step goes down. */
static int find_path(const struct packing *k, unsigned n)
{
    for (;;) {
        luaL_checkstack(k->L, 8, NULL);
        lua_rawgeti(k->L, k->seen, n);
        int i = 0;
        for (; i < (int)k->p->count; i++)
            if (lua_rawequal(k->L, k->first + i, -1))
                break;
        lua_pop(k->L, 1);
        if (i < (int)k->p->count)
            return i;
        unsigned m = 1;
        while (m < n && !find_key(k, m, n))
            m++;
        n = m;
    }
}

/* Pushes what kind of thing the value at i is: "a function", "a Stream". */
static void push_kind(lua_State *L, int i)
{
    const char *name = luaL_typename(L, i);
    if (lua_type(L, i) == LUA_TTHREAD)
        name = "coroutine";
    else if (lua_type(L, i) == LUA_TTABLE)
        name = "table with a metatable";
    else if (lua_type(L, i) == LUA_TLIGHTUSERDATA)
        name = "light userdata";
    else if (luaL_getmetafield(L, i, "__name") == LUA_TSTRING)
        name = lua_tostring(L, -1);
    lua_pushfstring(L, "cannot copy a %s", name);
}

/* Refuses the value at i: value number n if it stands for itself, else in table n under
   the key at `key` (0: it is itself a key). */
static void refuse(const struct packing *k, int i, unsigned n, int key)
{
    lua_State *L = k->L;
    luaL_checkstack(L, 16, NULL);
    push_kind(L, i);
    int message = lua_gettop(L), value = (int)n;
    if (k->p->tables > 0 && key != i) {
        value = find_path(k, n);
        int last = lua_gettop(L);
        lua_pushliteral(L, "");
        for (int j = last; j > message; j--)
            append_key(L, j);
        if (key != 0)
            append_key(L, key);
    } else
        lua_pushliteral(L, "");
    const char *path = lua_tostring(L, -1), *text = lua_tostring(L, message);
    const char *as = key == 0 ? "a key" : "field";
    if (*path == '\0' && key != 0)
        luaL_error(L, "%s (%s %d)", text, k->what, k->number + value);
    if (key == 0)
        luaL_error(L, *path ? "%s (%s %d, %s of '%s')" : "%s (%s %d, %s)", text, k->what,
                   k->number + value, as, path);
    luaL_error(L, "%s (%s %d, %s '%s')", text, k->what, k->number + value, as, path);
}

/* The number of the value at i if it was met before, else 0 and it is remembered as n. */
static unsigned meet(const struct packing *k, int i, unsigned n, bool table)
{
    lua_State *L = k->L;
    if (lua_isnil(L, k->seen)) {
        lua_newtable(L);
        lua_replace(L, k->seen);
    }
    if (table)
        lua_pushvalue(L, i);
    else
        lua_pushlightuserdata(L, (void *)(uintptr_t)lua_topointer(L, i));
    lua_rawget(L, k->seen);
    unsigned known = (unsigned)lua_tointeger(L, -1); /* nil: 0 */
    lua_pop(L, 1);
    if (known != 0)
        return known;
    lua_pushinteger(L, n);
    if (table)
        lua_pushvalue(L, i);
    else
        lua_pushlightuserdata(L, (void *)(uintptr_t)lua_topointer(L, i));
    lua_insert(L, -2);
    lua_rawset(L, k->seen);
    return 0;
}

static void pack_string(struct packing *k, int i)
{
    size_t size;
    const char *text = lua_tolstring(k->L, i, &size);
    if (size < LONG) {
        check(k, put_string(k->p, STRING, text, size));
        return;
    }
    unsigned known = meet(k, i, k->strings + 1, false);
    if (known == 0)
        k->strings++;
    else
        k->p->repeats = true;
    check(k, known ? put(k->p, SAME_STRING, &known, sizeof known)
                   : put_string(k->p, LONG_STRING, text, size));
}

static bool add_shape(struct parcel *p)
{
    if ((p->tables & (p->tables - 1)) == 0) { /* full: its room is a power of two */
        size_t room = p->tables ? 2 * (size_t)p->tables : 1;
        struct parcel_shape *shapes = realloc(p->shapes, room * sizeof *shapes);
        if (shapes == NULL)
            return false;
        p->shapes = shapes;
    }
    p->shapes[p->tables++] = (struct parcel_shape){0, 0};
    return true;
}

static void pack_table(struct packing *k, int i)
{
    unsigned n = meet(k, i, k->p->tables + 1, true);
    if (n == 0) {
        check(k, add_shape(k->p));
        n = k->p->tables;
        lua_pushvalue(k->L, i);
        lua_rawseti(k->L, k->seen, n);
    }
    check(k, put(k->p, TABLE, &n, sizeof n));
}

/* Packs the value at i; n and key as in refuse. */
static void pack_value(struct packing *k, int i, unsigned n, int key)
{
    lua_State *L = k->L;
    switch (lua_type(L, i)) {
    case LUA_TNIL:
        check(k, put(k->p, NIL, NULL, 0));
        return;
    case LUA_TBOOLEAN:
        check(k, put(k->p, lua_toboolean(L, i) ? TRUE : FALSE, NULL, 0));
        return;
    case LUA_TNUMBER:
        if (lua_isinteger(L, i)) {
            lua_Integer number = lua_tointeger(L, i);
            check(k, put(k->p, INTEGER, &number, sizeof number));
        } else {
            lua_Number number = lua_tonumber(L, i);
            check(k, put(k->p, FLOAT, &number, sizeof number));
        }
        return;
    case LUA_TSTRING:
        pack_string(k, i);
        return;
    case LUA_TTABLE:
        if (!lua_getmetatable(L, i)) {
            pack_table(k, i);
            return;
        }
        lua_pop(L, 1);
    }
    refuse(k, i, n, key);
}

static void pack_pairs(struct packing *k, unsigned n)
{
    lua_State *L = k->L;
    lua_rawgeti(L, k->seen, n);
    int t = lua_gettop(L);
    unsigned list = (unsigned)lua_rawlen(L, t), pairs = 0;
    for (lua_pushnil(L); lua_next(L, t); lua_pop(L, 1), pairs++) {
        pack_value(k, t + 1, n, 0);
        pack_value(k, t + 2, n, t + 1);
    }
    check(k, put(k->p, END, NULL, 0));
    list = list < pairs ? list : pairs;
    k->p->shapes[n - 1] = (struct parcel_shape){list, pairs - list};
    lua_pop(L, 1);
}

void lull_pack_into(lua_State *L, struct parcel **out, int i, int n, const char *what,
                    int number)
{
    i = lua_absindex(L, i);
    luaL_checkstack(L, 16, NULL);
    struct packing k = {.L = L, .first = i, .what = what, .number = number};
    k.p = *out = calloc(1, sizeof *k.p);
    check(&k, k.p != NULL);
    list_init(&k.p->link);
    k.p->count = (unsigned)n;
    lua_pushnil(L);
    k.seen = lua_gettop(L);
    for (int j = 0; j < n; j++)
        pack_value(&k, i + j, (unsigned)j, i + j);
    for (unsigned j = 1; j <= k.p->tables; j++)
        pack_pairs(&k, j);
    lua_pop(L, 1);
}

struct parcel *lull_pack(lua_State *L, struct runtime *rt, int i, int n, const char *what,
                         int number)
{
    i = lua_absindex(L, i);
    luaL_checkstack(L, 2, NULL);
    struct parcel **box = lull_newbox(L, rt);
    lull_pack_into(L, box, i, n, what, number);
    return *box;
}

/* ---- unpacking --------------------------------------------------------------------- */

/* Where unpacking stands. */
struct unpacking {
    lua_State *L;
    const unsigned char *at;
    int made;        /* index of a table: number -> table, -number -> long string; or 0 */
    bool repeats;
    lua_Integer strings;
};

static void get(struct unpacking *u, void *out, size_t size)
{
    memcpy(out, u->at, size);
    u->at += size;
}

static void unpack_string(struct unpacking *u)
{
    size_t size;
    get(u, &size, sizeof size);
    lua_pushlstring(u->L, (const char *)u->at, size);
    u->at += size;
}

static void push_made(struct unpacking *u, int sign)
{
    unsigned n;
    get(u, &n, sizeof n);
    lua_rawgeti(u->L, u->made, sign * (lua_Integer)n);
}

/* Pushes the next value; false at the end of a table. */
static bool unpack_value(struct unpacking *u)
{
    lua_Integer integer;
    lua_Number number;
    switch ((enum tag)*u->at++) {
    case NIL:
        lua_pushnil(u->L);
        break;
    case FALSE:
        lua_pushboolean(u->L, false);
        break;
    case TRUE:
        lua_pushboolean(u->L, true);
        break;
    case INTEGER:
        get(u, &integer, sizeof integer);
        lua_pushinteger(u->L, integer);
        break;
    case FLOAT:
        get(u, &number, sizeof number);
        lua_pushnumber(u->L, number);
        break;
    case STRING:
        unpack_string(u);
        break;
    case LONG_STRING:
        unpack_string(u);
        if (!u->repeats)
            break;
        lua_pushvalue(u->L, -1);
        lua_rawseti(u->L, u->made, --u->strings);
        break;
    case SAME_STRING:
        push_made(u, -1);
        break;
    case TABLE:
        push_made(u, 1);
        break;
    case END:
        return false;
    }
    return true;
}

int lull_unpack(lua_State *L, const struct parcel *p)
{
    luaL_checkstack(L, (int)p->count + 8, "too many values");
    struct unpacking u = {.L = L, .at = p->data, .repeats = p->repeats};
    if (p->tables > 0 || p->repeats) {
        lua_createtable(L, (int)p->tables, 0);
        u.made = lua_gettop(L);
    }
    for (unsigned i = 0; i < p->tables; i++) {
        lua_createtable(L, (int)p->shapes[i].list, (int)p->shapes[i].rest);
        lua_rawseti(L, u.made, (lua_Integer)i + 1);
    }
    for (unsigned i = 0; i < p->count; i++)
        unpack_value(&u);
    for (unsigned i = 1; i <= p->tables; i++) {
        lua_rawgeti(L, u.made, i);
        while (unpack_value(&u)) {
            unpack_value(&u);
            lua_rawset(L, -3);
        }
        lua_pop(L, 1);
    }
    if (u.made != 0)
        lua_remove(L, u.made);
    return (int)p->count;
}

/* ---- for specs --------------------------------------------------------------------- */

/* copy (...) -> the same values, packed and unpacked */
static int copy(lua_State *L)
{
    int n = lua_gettop(L);
    const struct parcel *p = lull_pack(L, lull_runtime(L), 1, n, "argument", 1);
    return lull_unpack(L, p);
}

static const luaL_Reg metamethods[] = {{"__gc", box_gc}, {NULL, NULL}};

static const luaL_Reg functions[] = {{"copy", copy}, {NULL, NULL}};

void lull_open_parcel(lua_State *L)
{
    lull_newclass(L, LULL_PARCEL, "Parcel", NULL, metamethods);
    lull_setfuncs(L, functions);
}
