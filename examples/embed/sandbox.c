/* Scripts that nobody trusts: players' bots, each in a runtime of its own.  A bot sees
   Lua's harmless libraries and lull's tasks, but neither files nor processes nor sockets;
   it has 1 MiB and 50 tasks, and 10 000 instructions in each round of the game.  Who
   wants more is set aside until the next round, and who catches whatever is thrown at it
   is ended all the same.

   What is left to a bad bot is a call into C that takes long, as string.find with a nasty
   pattern: nothing can interrupt that.  A host whom it hurts takes the functions away, or
   gives the bots a thread or a process of their own. */
#include <lauxlib.h>
#include <lull.h>

#include <stdio.h>
#include <string.h>

enum { ROUNDS = 200, MEMORY = 1 << 20, TASKS = 50, INSTRUCTIONS = 10000 };

struct bot {
    const char *name, *script;
    lull *l;
    lull_task task;
    unsigned round, moves, set_aside;
    char end[100];
};

static struct bot bots[] = {
    {.name = "fair", .script = "while true do move() end"},
    {.name = "busy", .script = "while true do for i = 1, 2000 do x = i end move() end"},
    {.name = "slow", .script = "while true do for i = 1, 20000 do x = i end move() end"},
    {.name = "many", .script = "local function f() while true do move() end end "
                               "for i = 1, 30 do lull.spawn(f) end f()"},
    {.name = "endless", .script = "while true do end"},
    {.name = "stubborn",
     .script = "while true do pcall(function() move() while true do end end) end"},
    {.name = "hungry",
     .script = "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end"},
    {.name = "huge", .script = "return ('x'):rep(1e15)"},
    {.name = "prolific", .script = "local function f() lull.spawn(f) lull.spawn(f) "
                                   "lull.sleep(1000) end f()"},
    {.name = "deep", .script = "local function f() return 1 + f() end return f()"},
    {.name = "binary", .script = "\x1bLua, or so it says"},
};

enum { BOTS = sizeof bots / sizeof *bots };

/* ---- what a bot can do ------------------------------------------------------------- */

/* move (): one in each round, for all the tasks of a bot; so it awaits the next. */
static int move(lua_State *L)
{
    struct bot *b = lull_user(lull_of(L));
    if (b->round > b->moves)
        b->moves++;
    return lull_await_sleep(L, 0, NULL, 0);
}

/* ---- what the host is told --------------------------------------------------------- */

static void on_slow(lull *l, const lull_slow *slow)
{
    struct bot *b = lull_user(l);
    b->set_aside += slow->preempted;
}

static void note(struct bot *b, const char *how, const char *why)
{
    if (b->end[0] == '\0')
        snprintf(b->end, sizeof b->end, "%s%s", how, why ? why : "something unspeakable");
}

/* Of its other tasks: the first error is the one that counts. */
static void on_error(lull *l, const lull_failure *failure)
{
    note(lull_user(l), "failed: ", failure->message);
}

static void ended(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    struct bot *b = user;
    const char *why = n > 0 ? lua_tostring(L, 1) : "lost";
    (void)l, (void)task;
    b->task = 0;
    if (how == LULL_TASK_FINISHED)
        note(b, "ended", "");
    else
        note(b, how == LULL_TASK_FAILED ? "failed: " : "ended: ", why);
}

/* ---- sandboxes --------------------------------------------------------------------- */

/* (function, name): what may raise for want of memory, in protected mode. */
static int prepare(lua_State *L)
{
    struct bot *b = lull_user(lull_of(L));
    lua_register(L, "move", move);
    const char *name = lua_pushfstring(L, "=%s", b->name);
    if (luaL_loadbufferx(L, b->script, strlen(b->script), name, "t") != LUA_OK)
        return lua_error(L);
    return 1;
}

static void let_in(struct bot *b)
{
    lull_options options = {.size = sizeof options,
                            .user = b,
                            .libraries = LULL_LIB_SAFE,
                            .memory = MEMORY,
                            .tasks = TASKS,
                            .preempt = LULL_PREEMPT_COUNT,
                            .on_slow = on_slow,
                            .on_error = on_error};
    lull_task_options task = {
        .size = sizeof task, .name = b->name, .user = b, .done = ended};
    int rc = lull_open(&b->l, &options);
    if (rc < 0) {
        note(b, "", "it could not be let in");
        return;
    }
    lua_State *L = lull_state(b->l);
    lua_pushcfunction(L, prepare);
    if (lua_pcall(L, 0, 1, 0) != LUA_OK) {
        note(b, "refused: ", lua_tostring(L, -1));
        lua_settop(L, 0);
    } else if (lull_task_spawn(b->l, L, 0, &task, &b->task) < 0)
        note(b, "refused", "");
}

static void play(unsigned round)
{
    static const lull_budget share = {.size = sizeof share, .instructions = INSTRUCTIONS};
    for (struct bot *b = bots; b < bots + BOTS; b++) {
        b->round = round;
        if (b->l != NULL)
            lull_step(b->l, &share);
    }
}

/* The game is over for all, be they stubborn or endless. */
static void end_all(void)
{
    for (struct bot *b = bots; b < bots + BOTS; b++) {
        size_t memory = b->l ? lull_memory(b->l) : 0;
        unsigned tasks = b->l ? lull_task_count(b->l) : 0;
        printf("%-9s %3u moves, %2u tasks, %s%s\n", b->name, b->moves, tasks,
               b->set_aside ? "set aside, " : "", b->task ? "still played" : b->end);
        if (memory > MEMORY)
            printf("%s has more memory than there is\n", b->name);
        lull_close(b->l, 100000000);
        b->l = NULL;
        if (b->task != 0)
            printf("%s has not been ended\n", b->name);
    }
}

/* ---- ways out ---------------------------------------------------------------------- */

/* Each would give something that is not false. */
static const char *const ways[] = {
    "io", "os", "require", "package", "debug", "dofile", "loadfile", "collectgarbage",
    "lull.fs", "lull.net", "lull.process", "lull.thread", "lull.signal", "lull.stdin",
    "lull.run", "lull.tasks", "lull.loop", "lull.new_loop", "lull.on_unhandled",
    "(load(string.dump(function() return 1 end)))", "getmetatable(lull)",
    "getmetatable(lull.spawn(type, 1))", "getmetatable(lull.event())", "getmetatable('')",
    "pcall(setmetatable, {}, {__gc = print})", "rawget(_G, 'lull').core",
    "pcall(rawset, lull.spawn(type, 1), 'x', 1)", "load('\\27Lua', 'x', 'b')",
};

static unsigned open_ways;

static void tried(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    (void)l, (void)task;
    if (how != LULL_TASK_FINISHED || n == 0 || !lua_toboolean(L, 1))
        return;
    printf("this way is open: %s\n", (const char *)user);
    open_ways++;
}

static void try_all(void)
{
    unsigned n = sizeof ways / sizeof *ways;
    lull_options options = {.size = sizeof options, .libraries = LULL_LIB_SAFE};
    lull_task_options task = {.size = sizeof task, .done = tried};
    lull *l;
    if (lull_open(&l, &options) < 0)
        return;
    lua_State *L = lull_state(l);
    for (unsigned i = 0; i < n; i++) {
        task.user = (void *)ways[i];
        lua_pushfstring(L, "return %s", ways[i]);
        if (luaL_loadstring(L, lua_tostring(L, -1)) == LUA_OK)
            lull_task_spawn(l, L, 0, &task, NULL);
        else
            lua_pop(L, 1);
        lua_pop(L, 1);
    }
    lull_run(l);
    lull_close(l, 0);
    printf("%u ways out, %u open\n", n, open_ways);
}

int main(void)
{
    for (unsigned i = 0; i < BOTS; i++)
        let_in(&bots[i]);
    for (unsigned round = 1; round <= ROUNDS; round++)
        play(round);
    end_all();
    try_all();
    return open_ways > 0;
}
