/* Memory runs out under a host, at every request that there is: opening, spawning, stepping,
   closing.  Whatever fails says so, whatever was spawned is told of once, nothing is left
   and nothing aborts.
     embed_memory [n [length]]      one point */
#include "embed/host.h"

static struct account account;
static unsigned long wrong;
static unsigned spawned, ended;

static void refuse(unsigned long n, unsigned long length)
{
    account.count = 0;
    account.fails_at = n;
    account.fails = length;
}

static bool is_fine(int rc)
{
    return rc >= 0 || rc == -ENOMEM;
}

static void expect(bool what, const char *text)
{
    if (what)
        return;
    wrong++;
    fprintf(stderr, "%s\n", text);
}

static void done(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    (void)l, (void)task, (void)user;
    ended++;
    expect((L == NULL) == (how == LULL_TASK_LOST), "no state");
    if (L == NULL)
        return;
    expect(n == lua_gettop(L) && (n == 1 || how == LULL_TASK_FINISHED), "values");
    lua_pushfstring(L, "%s", n ? luaL_typename(L, 1) : "nothing"); /* may raise */
}

static void on_error(lull *l, const lull_failure *f)
{
    (void)l;
    expect(strstr(f->message, "not enough memory") || strstr(f->message, "ENOMEM") ||
               strstr(f->message, "meant"),
           f->message);
}

static lull_promise *promise;

static int ask(lua_State *L)
{
    promise = lull_promise_new(L, NULL, NULL);
    return lull_await_own(L, NULL, 0);
}

static int push(lua_State *L, void *ud)
{
    (void)ud;
    if (L != NULL)
        lua_pushfstring(L, "answer %d", 42);
    return 1;
}

static int c_sleep(lua_State *L)
{
    return lull_await_sleep(L, 1000, NULL, 0);
}

/* What a host loads before, with memory in plenty. */
static void prepare(lull *l)
{
    static const char *const scripts[] = {
        ("local q = lull.queue(1) lull.spawn(function() for i = 1, 3 do q:put(i) end "
         "q:close() end) for v in q:items() do lull.sleep(0) end return 'a', 'b'"),
        "return tostring(ask()) .. 'x'",
        "error 'meant'",
        "local _ <close> = lull.defer(lull.shield, lull.sleep, 0) c_sleep() lull.sleep(100)",
        "game:sleep(0.001) event:wait() lull.timeout(0.001, lull.sleep, 1)"};
    lua_State *L = lull_state(l);
    luaL_checkstack(L, 20, NULL);
    lua_register(L, "ask", ask);
    lua_register(L, "c_sleep", c_sleep);
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++)
        if (luaL_loadbuffer(L, scripts[i], strlen(scripts[i]), "=script") != LUA_OK)
            expect(false, lua_tostring(L, -1));
    luaL_dostring(L, "local _ = lull.queue, lull.clock, lull.event");
}

static void play(lull *l)
{
    lua_State *L = lull_state(l);
    lull_group *g = NULL;
    lull_event *e = NULL;
    lull_clock *c = NULL;
    promise = NULL;
    expect(is_fine(lull_group_new(l, NULL, &g)), "group");
    expect(is_fine(lull_event_new(l, &e)), "event");
    expect(is_fine(lull_clock_new(l, &c)), "clock");
    for (int i = 0; i < 5; i++) {
        lull_task_options o = {.size = sizeof o, .name = "worker", .done = done,
                               .group = i & 1 ? g : NULL};
        lull_task t = 0;
        if (i == 2)
            o.done = NULL;
        int rc = lull_task_spawn(l, L, 0, &o, &t);
        expect(is_fine(rc), "spawn");
        if (rc == 0 && o.done != NULL)
            spawned++;
    }
    for (int i = 0; i < 12; i++) {
        lull_budget b = {.size = sizeof b, .resumes = 20};
        expect(lull_step(l, &b) >= 0, "step");
        if (e != NULL && i == 6)
            expect(is_fine(lull_event_pulse(e, L, 0)), "pulse");
        if (promise != NULL && i == 4) {
            lull_promise_resolve(promise, push, NULL);
            promise = NULL;
        }
        if (c != NULL)
            lull_clock_advance(c, 1000000);
    }
    if (promise != NULL)
        lull_promise_drop(promise);
    lull_group_free(g);
    lull_step(l, NULL);
    lull_close(l, 0);
    lull_event_free(e);
    lull_clock_free(c);
}

/* Does request n come after all is over? */
static bool untouched(unsigned long n)
{
    return account.count < n;
}

static lull *open_fully(const lull_options *o)
{
    lull *l = NULL;
    expect(lull_open(&l, o) == 0, "open");
    lua_State *L = lull_state(l);
    prepare(l);
    lua_pushnil(L); /* globals that are there before memory is short */
    lua_setglobal(L, "game");
    luaL_dostring(L, "game, event = lull.clock(), lull.event()");
    return l;
}

static bool scenario(unsigned long n, unsigned long length)
{
    lull_options o = {.size = sizeof o, .alloc = allocate, .alloc_ud = &account,
                      .on_error = on_error};
    unsigned long before = wrong;
    spawned = ended = 0;
    refuse(0, 0);
    lull *l = open_fully(&o);
    refuse(n, length);
    play(l);
    bool over = untouched(n);
    refuse(0, 0);
    expect(spawned == ended, "not every end was told, or one twice");
    expect(account.bytes == 0, "memory is left");
    account.bytes = 0;
    if (wrong > before)
        fprintf(stderr, "  embed_memory %lu %lu\n", n, length);
    return over;
}

static bool opening(unsigned long n, unsigned long length)
{
    lull *l = NULL;
    lull_options o = {.size = sizeof o, .alloc = allocate, .alloc_ud = &account,
                      .libraries = n & 1 ? LULL_LIB_SAFE : LULL_LIB_ALL};
    refuse(n, length);
    int rc = lull_open(&l, &o);
    bool over = untouched(n);
    refuse(0, 0);
    expect(rc == 0 || rc == -ENOMEM, "open");
    if (rc == 0)
        lull_close(l, 0);
    expect(account.bytes == 0, "memory is left by opening");
    account.bytes = 0;
    return over;
}

int main(int argc, char **argv)
{
    unsigned long points = 0;
    if (argc > 1) {
        scenario(strtoul(argv[1], NULL, 10), argc > 2 ? strtoul(argv[2], NULL, 10) : 1);
        return wrong != 0;
    }
    for (unsigned long length = 1; length <= 40; length += 39) {
        for (unsigned long n = 1; !opening(n, length); n += 37)
            points++;
        for (unsigned long n = 1; !scenario(n, length); n++)
            points++;
    }
    printf("%lu requests refused, %lu times wrong\n", points, wrong);
    return wrong != 0;
}
