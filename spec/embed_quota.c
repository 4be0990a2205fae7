/* Scripts that nobody trusts: how long they may compute, how much they may have, and what
   they can reach. */
#include "embed/host.h"

#include <time.h>

enum { MS = 1000000 };

/* Of processor time: the machine may be busy with others. */
static int64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- instructions ---------------------------------------------------------------- */

static void an_endless_loop_gets_an_error(void)
{
    lull_options o = {.size = sizeof o, .instructions = 100000};
    lull *l = open_with(&o);
    lull_failure f = {.size = sizeof f};
    start(l, "while true do end");
    start(l, "for i = 1, 5 do for j = 1, 20000 do end lull.sleep(0) end say 'well'");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strstr(f.message, "script:1: instruction quota exceeded"));
    finish(l);
    CHECK(has_said("well"));
    start(l, "while true do pcall(function() while true do end end) end");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strstr(f.message, "quota exceeded"));
    start(l, "local co = coroutine.wrap(function() while true do end end) co()");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    start(l, "table.sort({3, 2, 1}, function() while true do end end)");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    start(l, "local _ <close> = setmetatable({}, {__close = function() while true do end end})");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    start(l, "lull.loop():call_soon(function() while true do end end)");
    CHECK(lull_run(l) == LULL_STEP_FAILED || lull_step(l, NULL) == LULL_STEP_FAILED);
    CHECK(lull_take_failure(l, &f));
    start(l, "for i = 1, 2000 do lull.spawn(function() for j = 1, 100 do end end) end say 'ok'");
    finish(l);
    CHECK(has_said("ok"));
    lull_task_options t = {.size = sizeof t, .instructions = 5000};
    start_with(l, "for i = 1, 20000 do end", &t, NULL);
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    lull_group *g;
    lull_limits limits = {.size = sizeof limits, .instructions = 5000};
    CHECK(lull_group_new(l, &limits, &g) == 0);
    t = (lull_task_options){.size = sizeof t, .group = g};
    start_with(l, "for i = 1, 20000 do end", &t, NULL);
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    lull_group_free(g);
    t.group = NULL;
    t.instructions = 1000000;
    start_with(l, "for i = 1, 400000 do end say 'more'", &t, NULL);
    finish(l);
    CHECK(has_said("more"));
    lull_close(l, 0);
}

static char slow_name[64];
static unsigned slow_times;

static void on_slow(lull *l, const lull_slow *slow)
{
    (void)l;
    slow_times++;
    snprintf(slow_name, sizeof slow_name, "%s", slow->name);
    CHECK(slow->preempted && slow->traceback && strstr(slow->traceback, "script:1"));
}

static lull *preemptive(unsigned how)
{
    lull_options o = {.size = sizeof o, .preempt = how, .on_slow = on_slow,
                      .instructions = how == LULL_PREEMPT_COUNT ? 20000 : 0};
    slow_times = 0;
    return open_with(&o);
}

static void sets_aside_who_computes(unsigned how)
{
    lull *l = preemptive(how);
    lull_budget b = {.size = sizeof b, .ns = 2 * MS};
    lull_task_options t = {.size = sizeof t, .name = "endless"};
    lull_task endless;
    start_with(l, "local _ <close> = lull.defer(say, 'cleaned') while true do end", &t,
               &endless);
    start(l, "for i = 1, 5 do lull.sleep(0) end say 'frames'");
    int64_t longest = 0;
    for (int i = 0; i < 8; i++) {
        int64_t before = now();
        int rc = lull_step(l, &b);
        CHECK(rc == LULL_STEP_SPENT || rc == LULL_STEP_IDLE);
        longest = now() - before > longest ? now() - before : longest;
    }
    CHECK(has_said("frames") && longest < 200 * MS);
    CHECK(slow_times == 1 && strcmp(slow_name, "task 1 \"endless\"") == 0);
    CHECK(lull_task_cancel(l, endless, "enough") == 0);
    for (int i = 0; i < 3 && lull_step(l, &b) != LULL_STEP_DONE; i++)
        ;
    CHECK(has_said("cleaned") && lull_task_count(l) == 0);
    lull_close(l, 0);
}

/* What is computed is right in spite of it, wherever it is interrupted. */
static void goes_on_as_if_nothing_had_happened(unsigned how)
{
    static const char script[] =
        "local function fib(n) if n < 2 then return n end return fib(n - 1) + fib(n - 2) end "
        "local function many(...) local s = 0 for _, v in ipairs{...} do s = s + v end "
        "return s end "
        "local t = {} for i = 1, 3000 do t[#t + 1] = tostring(i) .. 'x' end "
        "local s = #table.concat(t) "
        "local co = coroutine.wrap(function() for i = 1, 5 do local n = fib(17) "
        "coroutine.yield(n) lull.sleep(0) end end) "
        "local sum = 0 for i = 1, 5 do sum = sum + co() end "
        "coroutine.running() "
        "for i = 1, 300 do sum = sum + many(i, fib(6), table.unpack{1, 2, 3}) end "
        "local m = setmetatable({}, {__index = function(_, k) return fib(k) end, "
        "__add = function(a, b) return fib(b) end, __lt = function() return fib(9) > 0 end}) "
        "for i = 1, 14 do sum = sum + m[i] + (m + i) + (m < m and 1 or 0) end "
        "say(sum + s + select(2, pcall(fib, 20)) + coroutine.wrap(function() "
        "return select(2, pcall(fib, 18)) end)())";
    char expected[sizeof said] = "";
    for (int round = 0; round < 3; round++) {
        lull *l = round == 0 ? open_with(NULL) : preemptive(how);
        lull_budget b = {.size = sizeof b, .ns = round == 0 ? 0 : MS / 4,
                         .instructions = round == 2 && how == LULL_PREEMPT_COUNT ? 2000 : 0};
        lull_task_options t = {.size = sizeof t, .instructions = round ? 3000 : 0};
        unsigned steps = 0;
        start_with(l, script, &t, NULL);
        while (lull_step(l, &b) != LULL_STEP_DONE && ++steps < 1000000)
            if (steps % 16 == 0)
                lua_gc(lull_state(l), LUA_GCCOLLECT, 0);
        if (round == 0)
            strcpy(expected, said);
        else
            CHECK(steps > 5);
        CHECK(strlen(expected) > 0 && has_said(expected));
        lull_close(l, 0);
    }
}

static void ends_with_tasks_set_aside(unsigned how)
{
    for (int i = 0; i < 4; i++) {
        lull *l = preemptive(how);
        lull_budget b = {.size = sizeof b, .ns = MS};
        start(l, i & 1 ? "coroutine.wrap(function() while true do end end)()"
                       : "coroutine.running() while true do end");
        start(l, "while true do pcall(function() while true do end end) end");
        lull_step(l, &b);
        lull_step(l, &b);
        lull_close(l, i & 2 ? MS : 0);
    }
}

/* Hooks are off in there, or do not come there, unless somebody sees to it. */
static void nothing_is_out_of_reach(unsigned how)
{
    static const char *const scripts[] = {
        "local spin = function() while true do end end xpcall(spin, spin)",
        "local spin = function() while true do end end while true do xpcall(spin, spin) end",
        "local co = coroutine.wrap(function() local _ <close> = setmetatable({}, "
        "{__close = function() while true do end end}) while true do end end) co()",
        "local co = coroutine.create(function() local _ <close> = setmetatable({}, "
        "{__close = function() while true do end end}) while true do end end) "
        "coroutine.resume(co) coroutine.close(co)",
        "local co = coroutine.create(function() local _ <close> = setmetatable({}, "
        "{__close = function() while true do end end}) coroutine.yield() end) "
        "coroutine.resume(co) coroutine.close(co)",
        "local m = {__close = function() while true do end end} "
        "local a <close>, b = setmetatable({}, m) local c <close> = setmetatable({}, m) "
        "lull.sleep(9)",
        "table.sort({1, 2}, function() coroutine.wrap(function() while true do end end)() end)",
        "while true do pcall(table.sort, {3, 2, 1}, function() while true do end end) end"};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        lull_options o = {.size = sizeof o, .preempt = how, .libraries = LULL_LIB_SAFE,
                          .instructions = how == LULL_PREEMPT_OFF ? 50000 : 0};
        lull_budget b = {.size = sizeof b, .ns = MS};
        lull_failure f = {.size = sizeof f};
        lull *l = open_with(&o);
        start(l, scripts[i]);
        for (int n = 0; n < 3; n++)
            lull_step(l, &b);
        start(l, "say 'well'");
        for (int n = 0; n < 3; n++)
            lull_step(l, &b);
        CHECK(has_said("well"));
        while (lull_take_failure(l, &f))
            CHECK(strstr(f.message, "quota exceeded"));
        lull_close(l, 0);
    }
}

/* What the host calls between two steps is watched, too. */
static void an_event_cannot_hold_the_host(unsigned how)
{
    static const char *const scripts[] = {
        "e.pulse = function() while true do end end",
        "e.pulse = function() while true do pcall(function() while true do end end) end end",
        "e.pulse = function() coroutine.wrap(function() while true do end end)() end"};
    for (size_t i = 0; i < sizeof scripts / sizeof *scripts; i++) {
        lull_options o = {.size = sizeof o, .preempt = how, .libraries = LULL_LIB_SAFE,
                          .instructions = how == LULL_PREEMPT_OFF ? 50000 : 0};
        lull *l = open_with(&o);
        lull_event *e;
        CHECK(lull_event_new(l, &e) == 0);
        lull_event_push(lull_state(l), e);
        lua_setglobal(lull_state(l), "e");
        start(l, scripts[i]);
        lull_step(l, NULL);
        CHECK(lull_event_pulse(e, lull_state(l), 0) == -EINVAL);
        start(l, "lull.spawn(function() e:wait() say 'set' end) lull.sleep(0)");
        lull_step(l, NULL);
        CHECK(lull_event_set(e, lull_state(l), 0) == 0);
        lull_step(l, NULL);
        CHECK(has_said("set"));
        lull_close(l, 0);
        lull_event_free(e);
    }
}

static void hook(lua_State *L, lua_Debug *ar)
{
    (void)L, (void)ar;
}

static void a_hook_of_the_host_comes_back(void)
{
    lull_options o = {.size = sizeof o, .preempt = LULL_PREEMPT_COUNT};
    lua_State *L = luaL_newstate();
    lull *l;
    lua_sethook(L, hook, LUA_MASKCOUNT, 77);
    CHECK(lull_attach(&l, L, &o) == 0 && lua_gethook(L) != hook && lull_close(l, 0) == 0);
    CHECK(lua_gethook(L) == hook && lua_gethookcount(L) == 77);
    lua_close(L);
}

static void a_step_tells_that_it_is_spent(void)
{
    lull_options o = {.size = sizeof o, .preempt = LULL_PREEMPT_COUNT};
    lull_budget b = {.size = sizeof b, .instructions = 5000};
    lull *l = open_with(&o);
    start(l, "for i = 1, 50000 do end"); /* alone, and set aside */
    unsigned steps = 0;
    int rc;
    while ((rc = lull_step(l, &b)) == LULL_STEP_SPENT)
        CHECK(lull_next_wake(l) == 0 && ++steps < 100);
    CHECK(rc == LULL_STEP_DONE && steps >= 5);
    lull_close(l, 0);
}

/* Any choice of libraries makes a runtime. */
static void libraries_are_for_the_host_to_choose(void)
{
    for (unsigned i = 0; i < 2 * 13; i++) {
        unsigned one = 1u << i % 13;
        lull_options o = {.size = sizeof o, .libraries = i < 13 ? one : LULL_LIB_ALL & ~one};
        lull *l = open_with(&o);
        start(l, "say 'here'");
        finish(l);
        CHECK(has_said("here"));
        lull_close(l, 0);
    }
}

static void message_handlers_do_their_work(void)
{
    lull_options o = {.size = sizeof o, .instructions = 1000000};
    lull *l = open_with(&o);
    start(l, "say((select(2, xpcall(error, function(e) return e .. '!' end, 'a')))) "
             "say(xpcall(function(...) lull.sleep(0) return ... end, print, 'b')) "
             "say((select(2, xpcall(function(...) lull.sleep(0) return ... end, print, 'c')))) "
             "say((select(2, pcall(xpcall, error, nil)))) "
             "local co = coroutine.wrap(function(a) local b = coroutine.yield(a) "
             "lull.sleep(0) error(b) end) say(co 'd') say((select(2, pcall(co, {}))) ~= nil)");
    finish(l);
    CHECK(has_said("a!,true,c,bad argument #2 to 'xpcall' (function expected, got nil),d,true"));
    lull_close(l, 0);
}

static void a_run_is_fair_too(void)
{
    lull *l = preemptive(LULL_PREEMPT_COUNT);
    lull_task endless;
    start_with(l, "while true do end", NULL, &endless);
    start(l, "lull.sleep(0.001) lull.sleep(0) say 'came'");
    while (said[0] == '\0') {
        lull_budget b = {.size = sizeof b, .instructions = 100000};
        CHECK(lull_step(l, &b) >= 0);
    }
    CHECK(has_said("came"));
    lull_close(l, 0);
}

/* ---- memory ---------------------------------------------------------------------- */

static void memory_is_an_error(void)
{
    lull_options o = {.size = sizeof o, .memory = 4 << 20};
    lull *l = open_with(&o);
    lull_failure f = {.size = sizeof f};
    start(l, "local t = {} while true do t[#t + 1] = ('x'):rep(10000) .. #t end");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strcmp(f.message, "not enough memory") == 0 && lull_memory(l) <= o.memory);
    start(l, "say(pcall(string.rep, 'x', 1e8)) collectgarbage() lull.sleep(0) say 'alive'");
    finish(l);
    CHECK(has_said("false,alive"));
    lull_close(l, 0);
}

static void descriptors_are_an_error(void)
{
    lull_options o = {.size = sizeof o, .descriptors = 3};
    lull *l = open_with(&o);
    start(l, "local a, b = lull.net.pair() say(select(3, lull.net.pair())) "
             "local c = lull.net.listen('127.0.0.1', 0) "
             "say(select(3, lull.net.connect(c:local_address()))) "
             "say(select(3, lull.fs.open('/dev/null'))) a:close() lull.sleep(0) "
             "say(io.type(lull.fs.open('/dev/null')) or 'file') ");
    finish(l);
    CHECK(has_said("EMFILE,EMFILE,EMFILE,file"));
    lull_close(l, 0);
}

/* ---- reach ----------------------------------------------------------------------- */

static void a_sandbox_has_no_way_out(void)
{
    lull_options o = {.size = sizeof o, .libraries = LULL_LIB_SAFE, .instructions = 1000000,
                      .memory = 8 << 20};
    lull *l = open_with(&o);
    start(l, "for _, name in ipairs{'io', 'os', 'package', 'require', 'debug', 'dofile', "
             "'loadfile', 'collectgarbage'} do assert(_G[name] == nil, name) end "
             "for _, name in ipairs{'net', 'fs', 'process', 'signal', 'thread', 'protocol', "
             "'loop', 'new_loop', 'selectors', 'run', 'tasks', 'test', 'stdin', 'methods', "
             "'on_unhandled'} do assert(lull[name] == nil, name) end "
             "assert(getmetatable(lull) == false) "
             "assert(getmetatable(lull.future()) == false) "
             "assert(getmetatable(lull.current()) == false) "
             "assert(not load(string.dump(function() end))) "
             "assert(load 'return 1'() == 1) "
             "assert(load('return x', 'n', 't', {x = 2})() == 2) "
             "assert(not pcall(setmetatable, {}, {__gc = print})) "
             "assert(getmetatable(setmetatable({}, {__index = _G}))) "
             "for _, object in ipairs{lull.event(), lull.lock(), lull.condition(), "
             "lull.semaphore(1), lull.barrier(1), lull.queue(), lull.lifo_queue(), "
             "lull.priority_queue(), lull.task_local(), lull.defer(print)} do "
             "assert(object.__index == nil, tostring(object)) end say 'safe'");
    finish(l);
    CHECK(has_said("safe"));
    start(l, "local q = lull.queue() lull.spawn(q.put, q, 'x') say(q:get()) "
             "local e = lull.event() lull.spawn(e.set, e) e:wait() "
             "say((lull.gather(function() lull.sleep(0) return 1 end))) "
             "say(coroutine.wrap(function() lull.sleep(0) return 2 end)()) "
             "say(select(3, lull.timeout(0.001, lull.sleep, 1))) lull.clock():sleep(0) "
             "for v in lull.generator(function() coroutine.yield(3) end) do say(v) end "
             "local l <close> = lull.lock():acquire() say(lull.version)");
    finish(l);
    CHECK(has_said("x,1,2,ETIMEDOUT,3," LULL_VERSION));
    lull_close(l, 0);
    o.libraries = LULL_LIB_SAFE | LULL_LIB_NETWORK;
    l = open_with(&o);
    start(l, "local a, b = lull.net.pair() a:write 'n' say(b:read(1)) say(lull.fs == nil)");
    finish(l);
    CHECK(has_said("n,true"));
    lull_close(l, 0);
    o.libraries = LULL_LIB_BASE;
    l = open_with(&o);
    start(l, "say(lull == nil and string == nil and coroutine == nil)");
    finish(l);
    CHECK(has_said("true"));
    lull_close(l, 0);
}

static void sandboxes_do_not_spoil_the_modules(void)
{
    lull_options o = {.size = sizeof o, .libraries = LULL_LIB_SAFE};
    lull *l = open_with(&o);
    start(l, "for _, t in ipairs{table, string, math, coroutine} do for k in pairs(t) do "
             "t[k] = function() return nil end end end "
             "local G = _G for k in pairs(G) do if k ~= 'say' and k ~= 'lull' then G[k] = nil end "
             "end "
             "local q = lull.queue() lull.spawn(q.put, q, 'still works') say(q:get())");
    finish(l);
    CHECK(has_said("still works"));
    lull_close(l, 0);
}

int main(void)
{
    an_endless_loop_gets_an_error();
    for (unsigned how = LULL_PREEMPT_COUNT; how <= LULL_PREEMPT_SIGNAL; how++) {
        sets_aside_who_computes(how);
        goes_on_as_if_nothing_had_happened(how);
        ends_with_tasks_set_aside(how);
    }
    for (unsigned how = LULL_PREEMPT_OFF; how <= LULL_PREEMPT_SIGNAL; how++)
        nothing_is_out_of_reach(how), an_event_cannot_hold_the_host(how);
    message_handlers_do_their_work();
    a_hook_of_the_host_comes_back();
    a_step_tells_that_it_is_spent();
    libraries_are_for_the_host_to_choose();
    a_run_is_fair_too();
    memory_is_an_error();
    descriptors_are_an_error();
    a_sandbox_has_no_way_out();
    sandboxes_do_not_spoil_the_modules();
    return report("embed_quota");
}
