/* Runtimes are made and end, in every order that a host may think of. */
#include "embed/host.h"

#include <fcntl.h>

static unsigned open_descriptors(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 256; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* ---- in a state of the host's ---------------------------------------------------- */

static int count_globals(lua_State *L)
{
    int n = 0;
    lua_pushglobaltable(L);
    for (lua_pushnil(L); lua_next(L, -2); lua_pop(L, 1))
        n++;
    lua_pop(L, 1);
    return n;
}

static void attaches_without_a_trace(void)
{
    lull *l, *second;
    lua_State *L = luaL_newstate();
    CHECK(lull_of(L) == NULL);
    CHECK(lull_attach(&l, L, NULL) == 0 && lull_of(L) == l && lull_state(l) == L);
    CHECK(count_globals(L) == 0 && lua_gettop(L) == 0);
    CHECK(lull_attach(&second, L, NULL) == -EEXIST);
    CHECK(luaL_loadstring(L, "local i = 0 while i < 3 do i = i + 1 end return i") == LUA_OK);
    CHECK(lull_task_spawn(l, L, 0, NULL, NULL) == 0 && lull_run(l) == LULL_STEP_DONE);
    CHECK(lull_close(l, 0) == 0 && lull_of(L) == NULL && count_globals(L) == 0);
    CHECK(lull_attach(&l, L, NULL) == 0 && lull_of(L) == l); /* once more */
    lua_close(L);
    lull_close(l, 0);
}

static lua_CFunction field(lua_State *L, const char *table, const char *name)
{
    lua_getglobal(L, table);
    lua_getfield(L, -1, name);
    lua_CFunction f = lua_tocfunction(L, -1);
    lua_pop(L, 2);
    return f;
}

static void leaves_libraries_alone_unless_asked(void)
{
    for (unsigned flags = 0; flags < 4; flags++) {
        lull *l;
        lull_options o = {.size = sizeof o, .flags = flags};
        lua_State *L = luaL_newstate();
        luaL_openlibs(L);
        lua_register(L, "say", say);
        said[0] = '\0';
        lua_CFunction wrap = field(L, "coroutine", "wrap");
        lua_getglobal(L, "require");
        lua_CFunction require = lua_tocfunction(L, -1);
        lua_pop(L, 1);
        int before = count_globals(L);
        CHECK(lull_attach(&l, L, &o) == 0);
        CHECK((field(L, "coroutine", "wrap") == wrap) == !(flags & LULL_REPLACE));
        lua_getglobal(L, "require");
        CHECK((lua_tocfunction(L, -1) == require) == !(flags & LULL_REPLACE));
        lua_pop(L, 1);
        CHECK(count_globals(L) == before + ((flags & LULL_GLOBAL) != 0));
        luaL_loadstring(L, "local lull = require 'lull' lull.sleep(0) say(lull.queue() ~= nil) "
                           "for v in lull.generator(function() lull.sleep(0) "
                           "coroutine.yield(1) end) do say(v) end "
                           "say((pcall(coroutine.wrap(lull.sleep), 0)))");
        CHECK(lull_task_spawn(l, L, 0, NULL, NULL) == 0);
        CHECK(lull_run(l) == LULL_STEP_DONE);
        CHECK(has_said(flags & LULL_REPLACE ? "true,1,true" : "true,1,false"));
        lull_close(l, 0);
        lua_close(L);
    }
}

static void joins_what_a_script_has_required(void)
{
    lull *l = NULL;
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    luaL_requiref(L, "lull", luaopen_lull, 1);
    lua_pop(L, 1);
    lua_register(L, "say", say);
    CHECK(lull_of(L) == NULL && lull_attach(&l, L, NULL) == 0);
    start(l, "lull.sleep(0) say(lull.run(function() return 'in' end))");
    finish(l);
    CHECK(has_said("in") && lull_close(l, 0) == 0);
    CHECK(luaL_dostring(L, "say(lull.run(function() lull.sleep(0) return 'on' end))") == 0);
    CHECK(has_said("on"));
    lua_close(L);
}

/* ---- the end --------------------------------------------------------------------- */

static const char busy[] =
    "local a, b = lull.net.pair() lull.spawn(a.read, a) "
    "lull.spawn(lull.sleep, 5) lull.every(1) lull.spawn(lull.await, lull.future()) "
    "lull.spawn(function() local _ <close> = lull.defer(lull.shield, lull.sleep, 3) "
    "lull.sleep(9) end) "
    "lull.spawn(function() while true do pcall(lull.sleep, 1) end end) "
    "lull.clock():sleep(7)";

static int cleaned;

static int clean(lua_State *L)
{
    (void)L;
    cleaned++;
    return 0;
}

static void gives_time_to_clean_up(void)
{
    lull *l = open_with(NULL);
    lua_register(lull_state(l), "clean", clean);
    start(l, "local _ <close> = lull.defer(function() lull.shield(lull.sleep, 0.002) clean() "
             "end) lull.sleep(9)");
    lull_step(l, NULL);
    lull_close(l, LULL_FOREVER);
    CHECK(cleaned == 1);
    l = open_with(NULL);
    lua_register(lull_state(l), "clean", clean);
    start(l, "local _ <close> = lull.defer(function() lull.shield(lull.sleep, 1000) clean() "
             "end) local _ <close> = lull.defer(clean) lull.sleep(9)");
    lull_step(l, NULL);
    lull_close(l, 1000000);
    CHECK(cleaned == 2);
}

static void ends_in_every_order(void)
{
    for (int order = 0; order < 24; order++) {
        lull_options o = {.size = sizeof o, .virtual_clock = order & 1};
        lua_State *L = order % 3 ? NULL : luaL_newstate();
        lull *l;
        lull_group *g;
        lull_event *e;
        lull_clock *c;
        o.flags = LULL_REPLACE | LULL_GLOBAL;
        if (L != NULL)
            luaL_openlibs(L);
        CHECK((L ? lull_attach(&l, L, &o) : lull_open(&l, &o)) == 0);
        CHECK(lull_group_new(l, NULL, &g) == 0 && lull_event_new(l, &e) == 0 &&
              lull_clock_new(l, &c) == 0);
        lull_task_options t = {.size = sizeof t, .group = order & 2 ? g : NULL};
        start_with(l, busy, &t, NULL);
        lull_step(l, NULL);
        lull_step(l, NULL);
        if (order & 4) {
            lull_group_free(g);
            lull_event_free(e);
            lull_clock_free(c);
            if (order & 8)
                lull_step(l, NULL);
        }
        if (L != NULL && order & 1)
            lua_close(L);
        lull_close(l, order & 8 ? 0 : 1000000);
        if (L != NULL && !(order & 1))
            lua_close(L);
        if (!(order & 4)) {
            lull_group_free(g);
            lull_event_free(e);
            lull_clock_free(c);
        }
    }
}

static int close_me(lua_State *L)
{
    CHECK(lull_close(lull_of(L), 0) == -EINPROGRESS);
    return 0;
}

static void close_failed(lull *l, const lull_failure *failure)
{
    (void)failure;
    CHECK(lull_close(l, 0) == -EINPROGRESS);
}

static void done(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    (void)task, (void)how, (void)n, (void)L;
    (*(int *)user)++;
    CHECK(lull_close(l, 0) == -EINPROGRESS);
}

static void closes_from_inside(void)
{
    int told = 0;
    lull *l = open_with(NULL);
    lua_register(lull_state(l), "close_me", close_me);
    start(l, "lull.spawn(lull.sleep, 9) close_me() say 'goes on' lull.sleep(0) say 'never'");
    CHECK(lull_step(l, NULL) == LULL_STEP_CLOSED && has_said("goes on"));
    l = open_with(NULL);
    lua_register(lull_state(l), "close_me", close_me);
    start(l, "lull.spawn(close_me) lull.sleep(9)");
    CHECK(lull_run(l) == LULL_STEP_CLOSED);
    lull_options o = {.size = sizeof o, .on_error = close_failed};
    l = open_with(&o);
    start(l, "error 'x'");
    CHECK(lull_step(l, NULL) == LULL_STEP_CLOSED);
    lull_task_options t = {.size = sizeof t, .done = done, .user = &told};
    l = open_with(NULL);
    start_with(l, "", &t, NULL);
    start_with(l, "lull.sleep(9)", &t, NULL);
    CHECK(lull_step(l, NULL) == LULL_STEP_CLOSED && told == 2);
    CHECK(lull_close(NULL, 0) == 0);
}

static lull_promise *promised;

static int promise(lua_State *L)
{
    promised = lull_promise_new(L, NULL, NULL);
    return 1;
}

/* The virtual clock stands while the host has something to answer; the grace is over all
   the same. */
static void closes_on_a_clock_that_stands(void)
{
    lull_options o = {.size = sizeof o, .virtual_clock = true};
    lull *l = open_with(&o);
    lua_register(lull_state(l), "promise", promise);
    start(l, "lull.shield(lull.await, promise())");
    CHECK(lull_step(l, NULL) == LULL_STEP_IDLE);
    CHECK(lull_close(l, 1000000) == 0);
    lull_promise_drop(promised);
}

/* ---- where one would not think of it --------------------------------------------- */

static int quit(lua_State *L)
{
    lua_pushinteger(L, lull_close(lull_of(L), 0));
    return 1;
}

static int attach(lua_State *L)
{
    lull *l;
    lua_pushinteger(L, lull_attach(&l, L, NULL));
    return 1;
}

static lua_State *open_state(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lua_register(L, "say", say);
    lua_register(L, "quit", quit);
    lua_register(L, "attach", attach);
    luaL_requiref(L, "lull", luaopen_lull, 1);
    lua_settop(L, 0);
    said[0] = '\0';
    return L;
}

/* A script that the host calls between two steps, or one in a loop of its own. */
static void closes_where_nobody_drives(void)
{
    lull *l = open_with(NULL);
    lua_register(lull_state(l), "quit", quit);
    start(l, "lull.sleep(1)");
    CHECK(lull_step(l, NULL) == LULL_STEP_IDLE);
    CHECK(luaL_dostring(lull_state(l), "say(quit() < 0)") == LUA_OK);
    CHECK(lull_step(l, NULL) == LULL_STEP_CLOSED && has_said("true"));
    lua_State *L = open_state();
    CHECK(luaL_dostring(L, "lull.run(function() lull.sleep(0) say(attach()) end)") == 0);
    CHECK(said[0] == '-');
    said[0] = '\0';
    CHECK(lull_attach(&l, L, NULL) == 0);
    CHECK(luaL_dostring(L, "lull.run(function() lull.sleep(0) say(quit() < 0) "
                           "lull.sleep(0.001) say 'on' end)") == LUA_OK);
    CHECK(has_said("true,on") && lull_run(l) == LULL_STEP_CLOSED && lull_of(L) == NULL);
    lua_close(L);
}

enum place { ON_THE_STACK, IN_THE_REGISTRY, IN_A_TABLE, IN_A_GLOBAL, PLACES };

/* Puts the coroutine on top of the stack of L where a host may keep it. */
static void keep(lua_State *L, enum place place)
{
    if (place == IN_THE_REGISTRY)
        luaL_ref(L, LUA_REGISTRYINDEX);
    else if (place == IN_A_GLOBAL)
        lua_setglobal(L, "worker");
    else if (place == IN_A_TABLE) {
        luaL_getsubtable(L, LUA_REGISTRYINDEX, "the host's");
        lua_insert(L, -2);
        luaL_ref(L, -2);
        lua_pop(L, 1);
    }
}

/* The state must not be freed under a coroutine that the host resumes, not lull, nor
   under one that this has resumed in its turn. */
static void closes_from_a_coroutine_of_the_host(void)
{
    for (int place = 0; place < 2 * PLACES; place++) {
        lull *l = open_with(NULL);
        lua_State *L = lull_state(l), *co = lua_newthread(L);
        int n;
        lua_register(L, "quit", quit);
        keep(L, place % PLACES);
        start(l, "lull.sleep(1)");
        CHECK(lull_step(l, NULL) == LULL_STEP_IDLE);
        CHECK(luaL_loadstring(co, place < PLACES ? "say(quit() < 0)"
                                                 : "coroutine.wrap(function()"
                                                   " say(quit() < 0) end)()") == LUA_OK);
        CHECK(lua_resume(co, L, 0, &n) == LUA_OK && has_said("true"));
        CHECK(lull_step(l, NULL) == LULL_STEP_CLOSED);
    }
}

/* Those that are suspended, dead or new keep nobody from closing. */
static void closes_beside_coroutines_that_rest(void)
{
    static const char *const rest[] = {"coroutine.yield()", "error 'x'", "", NULL};
    lull *l = open_with(NULL);
    lua_State *L = lull_state(l);
    for (int i = 0, n; rest[i] != NULL; i++) {
        lua_State *co = lua_newthread(L);
        CHECK(luaL_loadstring(co, rest[i]) == LUA_OK);
        lua_resume(co, L, 0, &n);
    }
    luaL_loadstring(lua_newthread(L), "new()");
    start(l, "co = coroutine.create(lull.sleep) coroutine.resume(co, 9)");
    CHECK(lull_step(l, NULL) == LULL_STEP_IDLE);
    CHECK(lull_close(l, 0) == 0);
}

static void spawn_again(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    unsigned *count = user;
    lull_task_options o = {.size = sizeof o, .done = spawn_again, .user = user};
    (void)task, (void)how, (void)L, (void)n;
    if (++*count > 10 || lull_state(l) == NULL)
        return;
    lua_pushcfunction(lull_state(l), say);
    CHECK(lull_task_spawn(l, lull_state(l), 0, &o, NULL) == -ECANCELED);
    CHECK(lull_close(l, 0) == -EINPROGRESS);
}

static bool close_it(const lull_task_info *info, void *ud)
{
    (void)info;
    CHECK(lull_close(ud, 0) == -EINPROGRESS);
    return true;
}

static void nobody_begins_while_it_ends(void)
{
    unsigned count = 0;
    lull *l;
    lull_task_options o = {.size = sizeof o, .done = spawn_again, .user = &count};
    lua_State *L = open_state();
    CHECK(lull_attach(&l, L, NULL) == 0);
    CHECK(start_with(l, "lull.sleep(1)", &o, NULL) == 0 && lull_step(l, NULL) >= 0);
    lua_close(L); /* the runtime goes with it, for it was told to */
    CHECK(count == 1);
    l = open_with(NULL);
    start(l, "lull.sleep(1)");
    CHECK(lull_task_each(l, close_it, l) == 0 && lull_step(l, NULL) == LULL_STEP_CLOSED);
}

static void thousands_come_and_go(void)
{
    unsigned before = open_descriptors();
    struct account account = {0};
    lull_options o = {.size = sizeof o, .alloc = allocate, .alloc_ud = &account};
    lull *alive[8] = {NULL};
    for (int i = 0; i < 1000; i++) {
        lull **l = &alive[i % 8];
        lull_close(*l, 0);
        CHECK(lull_open(l, &o) == 0);
        start(*l, "lull.spawn(lull.sleep, 1) lull.sleep(0)");
        if (i % 2)
            lull_step(*l, NULL);
    }
    for (int i = 0; i < 8; i++)
        lull_close(alive[i], 0);
    CHECK(account.bytes == 0 && open_descriptors() == before);
}

static void refuses_what_it_cannot(void)
{
    lull *l = NULL;
    lull_options o = {.size = sizeof o, .selector = "nonsense"};
    CHECK(lull_open(&l, &o) == -ENOSYS);
    o = (lull_options){.size = sizeof o, .preempt = 77};
    CHECK(lull_open(&l, &o) == -EINVAL);
    o = (lull_options){.size = offsetof(lull_options, user), .user = &o};
    CHECK(lull_open(&l, &o) == 0 && lull_user(l) == NULL); /* from a host of old */
    lull_close(l, 0);
    lua_State *L = luaL_newstate();
    o = (lull_options){.size = sizeof o, .selector = "nonsense"};
    CHECK(lull_attach(&l, L, &o) == -ENOSYS && lull_attach(&l, L, NULL) == 0);
    lull_close(l, 0);
    lua_close(L);
}

int main(void)
{
    attaches_without_a_trace();
    leaves_libraries_alone_unless_asked();
    joins_what_a_script_has_required();
    gives_time_to_clean_up();
    ends_in_every_order();
    closes_from_inside();
    closes_on_a_clock_that_stands();
    closes_where_nobody_drives();
    closes_from_a_coroutine_of_the_host();
    closes_beside_coroutines_that_rest();
    nobody_begins_while_it_ends();
    thousands_come_and_go();
    refuses_what_it_cannot();
    return report("embed_life");
}
