/* A host drives a runtime: to the end, step by step, by time; and what it is told
   meanwhile.  By descriptor: embed_poll.c. */
#include "embed/host.h"

static int step(lull *l)
{
    return lull_step(l, NULL);
}

static void runs_to_the_end(void)
{
    lull *l = open_with(NULL);
    CHECK(lull_run(l) == LULL_STEP_DONE);
    start(l, "say 'a' lull.spawn(function() lull.sleep(0.002) say 'c' end) say 'b'");
    finish(l);
    CHECK(has_said("a,b,c"));
    start(l, "lull.spawn(function() lull.sleep(1000) end):daemon() say 'daemon'");
    finish(l);
    CHECK(has_said("daemon") && lull_task_count(l) == 1);
    CHECK(lull_close(l, 0) == 0);
}

static void gives_a_turn_in_the_next_step(void)
{
    lull *l = open_with(NULL);
    start(l, "for i = 1, 3 do say(i) lull.sleep(0) end say 'x' coroutine.yield() say 'y'");
    CHECK(step(l) == LULL_STEP_IDLE && has_said("1"));
    CHECK(lull_next_wake(l) == 0);
    CHECK(step(l) == LULL_STEP_IDLE && has_said("2"));
    CHECK(step(l) == LULL_STEP_IDLE && has_said("3"));
    CHECK(step(l) == LULL_STEP_IDLE && has_said("x"));
    CHECK(step(l) == LULL_STEP_DONE && has_said("y"));
    CHECK(step(l) == LULL_STEP_DONE && has_said(""));
    CHECK(lull_next_wake(l) == LULL_FOREVER);
    lull_close(l, 0);
}

static void runs_whom_tasks_make_ready_in_one_step(void)
{
    lull *l = open_with(NULL);
    start(l, "local q = lull.queue() lull.spawn(function() for v in q:items() do say(v) end "
             "end) for i = 1, 5 do q:put(i) end q:close()");
    CHECK(step(l) == LULL_STEP_DONE && has_said("1,2,3,4,5"));
    lull_close(l, 0);
}

static void a_cancellation_does_not_wait_for_the_next_step(void)
{
    lull *l = open_with(NULL);
    start(l, "local t = lull.spawn(function() local _ <close> = lull.defer(say, 'gone') "
             "lull.sleep(0) end) lull.future():await()");
    start(l, "local t = lull.spawn(function() lull.sleep(0) say 'never' end) "
             "lull.spawn(function() t:cancel() end) pcall(t.await, t) say 'cancelled'");
    CHECK(step(l) == LULL_STEP_IDLE && has_said("cancelled"));
    CHECK(step(l) == LULL_STEP_IDLE && has_said("gone"));
    lull_close(l, 0);
}

static void stops_when_the_budget_is_spent(void)
{
    lull *l = open_with(NULL);
    lull_budget few = {.size = sizeof few, .resumes = 2};
    for (int i = 0; i < 5; i++)
        start(l, "say(1) lull.sleep(0) say(2)");
    CHECK(lull_step(l, &few) == LULL_STEP_SPENT && has_said("1,1"));
    CHECK(lull_step(l, &few) == LULL_STEP_SPENT && has_said("1,1"));
    CHECK(lull_step(l, &few) == LULL_STEP_SPENT && has_said("1,2"));
    CHECK(step(l) == LULL_STEP_DONE && has_said("2,2,2,2"));
    lull_budget brief = {.size = sizeof brief, .ns = 1};
    start(l, "lull.spawn(say, 'b') say 'a'");
    CHECK(lull_step(l, &brief) == LULL_STEP_SPENT && has_said("a"));
    CHECK(step(l) == LULL_STEP_DONE && has_said("b"));
    lull_close(l, 0);
}

static void tells_errors_from_the_step(void)
{
    lull *l = open_with(NULL);
    lull_failure f = {.size = sizeof f};
    lull_task task = start(l, "error 'no'"), last = start(l, "say 'other'");
    CHECK(step(l) == LULL_STEP_FAILED);
    CHECK(lull_take_failure(l, &f) && f.task == task && strcmp(f.message, "script:1: no") == 0);
    CHECK(strncmp(f.name, "task ", 5) == 0 && strstr(f.traceback, "script:1"));
    CHECK(!lull_take_failure(l, &f));
    CHECK(step(l) == LULL_STEP_DONE && has_said("other"));
    CHECK(lull_task_state(l, last) == LULL_TASK_GONE);
    start(l, "lull.loop():call_soon(error, 'callback')");
    CHECK(lull_run(l) == LULL_STEP_FAILED || lull_step(l, NULL) == LULL_STEP_FAILED);
    CHECK(lull_take_failure(l, &f) && f.task == 0 && strcmp(f.name, "callback") == 0);
    start(l, "error(setmetatable({}, {__tostring = function() error 'worse' end}))");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strstr(f.message, "cannot be shown"));
    lull_close(l, 0);
}

static lull_task failed_task;

static void on_error(lull *l, const lull_failure *failure)
{
    failed_task = failure->task;
    CHECK(failure->L != NULL && lua_istable(failure->L, -1));
    CHECK(lull_of(failure->L) == l && lull_user(l) == &failed_task);
    lull_stop(l);
}

static void tells_errors_to_a_callback(void)
{
    lull_options o = {.size = sizeof o, .on_error = on_error, .user = &failed_task};
    lull *l = open_with(&o);
    lull_task task = start(l, "error {}");
    start(l, "say 'after'");
    CHECK(step(l) == LULL_STEP_STOPPED && failed_task == task);
    CHECK(step(l) == LULL_STEP_DONE && has_said("after"));
    lull_close(l, 0);
}

static unsigned times_told;

static void count_error(lull *l, const lull_failure *failure)
{
    (void)l, (void)failure;
    times_told++;
}

static void tells_each_error_once(void)
{
    lull_options o = {.size = sizeof o, .on_error = count_error};
    lull *l = open_with(&o);
    start(l, "require 'lull.net' error 'one'"); /* servers look at reports, too */
    finish(l);
    CHECK(times_told == 1);
    start(l, "lull.loop():call_soon(error, 'two')");
    finish(l);
    CHECK(times_told == 2);
    lull_close(l, 0);
    l = open_with(NULL);
    start(l, "require 'lull.net' error 'one'");
    lull_failure f = {.size = sizeof f};
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(!lull_take_failure(l, &f));
    lull_close(l, 0);
}

static void tells_of_what_nobody_took_when_all_is_over(void)
{
    lull *l = open_with(NULL);
    lull_failure f = {.size = sizeof f};
    start(l, "lull.spawn(error, 'lost', 0)");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strcmp(f.message, "lost") == 0 && f.task != 0);
    CHECK(lull_run(l) == LULL_STEP_DONE && !lull_take_failure(l, &f));
    start(l, "lull.on_unhandled(function(e) lull.spawn(say, e) end)"
             "lull.spawn(error, 'again', 0)");
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(lull_run(l) == LULL_STEP_DONE && has_said("again"));
    lull_close(l, 0);
}

static void a_failure_that_is_awaited_is_none(void)
{
    lull *l = open_with(NULL);
    start(l, "local t = lull.spawn(error, 'x') say(select(2, pcall(t.await, t)))");
    finish(l);
    CHECK(has_said("x"));
    lull_close(l, 0);
}

static void reports_a_deadlock_in_a_run_and_not_in_a_step(void)
{
    lull *l = open_with(NULL);
    lull_failure f = {.size = sizeof f};
    start(l, "lull.future():await()");
    CHECK(step(l) == LULL_STEP_IDLE);
    CHECK(lull_run(l) == -EDEADLK && lull_take_failure(l, &f));
    CHECK(strstr(f.message, "deadlock") && strstr(f.message, "script:1"));
    CHECK(lull_run(l) == -EDEADLK && lull_task_count(l) == 1);
    start(l, "say 'on'");
    CHECK(step(l) == LULL_STEP_IDLE && has_said("on"));
    lull_close(l, 0);
}

static int nested(lua_State *L)
{
    lull *l = lull_of(L);
    lua_pushboolean(L, lull_step(l, NULL) == -EBUSY && lull_run(l) == -EBUSY);
    return 1;
}

static void does_not_nest(void)
{
    lull *l = open_with(NULL);
    lua_register(lull_state(l), "nested", nested);
    start(l, "say(nested()) say((pcall(lull.loop().run_forever, lull.loop())))");
    finish(l);
    CHECK(has_said("true,false"));
    lull_close(l, 0);
}

static void scripts_called_between_two_steps_may_spawn(void)
{
    lull *l = open_with(NULL);
    lua_State *L = lull_state(l);
    CHECK(luaL_dostring(L, "lull.spawn(function() lull.sleep(0) say 'b' end) say 'a' "
                           "say(pcall(lull.sleep, 0))") == LUA_OK);
    CHECK(has_said("a,false"));
    CHECK(luaL_dostring(L, "say(lull.run(function() lull.sleep(0.001) return 'own' end))") ==
          LUA_OK);
    CHECK(has_said("own") && lua_gettop(L) == 0);
    finish(l);
    CHECK(has_said("b"));
    lull_close(l, 0);
}

static int spawn_at_home(lua_State *L)
{
    lull *l = lull_of(L);
    CHECK(lull_task_spawn(l, L, 0, NULL, NULL) == 0);
    CHECK(lull_step(l, NULL) == -EBUSY);
    return 0;
}

static void a_loop_of_the_script_is_another_one(void)
{
    lull *l = open_with(NULL);
    lua_State *L = lull_state(l);
    lua_register(L, "spawn_at_home", spawn_at_home);
    CHECK(luaL_dostring(L, "lull.run(function() lull.spawn(say, 'there') "
                           "spawn_at_home(function() say(lull.loop() == home) end) "
                           "lull.sleep(0.001) end)") == LUA_OK);
    CHECK(has_said("there") && lull_task_count(l) == 1);
    CHECK(luaL_dostring(L, "home = lull.loop()") == LUA_OK);
    finish(l);
    CHECK(has_said("true"));
    lull_close(l, 0);
}

static void slow(lull *l, const lull_slow *s)
{
    (void)l;
    CHECK(s->ns > 0 && !s->preempted);
    snprintf(said, sizeof said, "%s%s", s->name, s->traceback ? "" : " ended");
}

static void names_who_is_slow(void)
{
    lull_options o = {.size = sizeof o, .on_slow = slow, .slow = 1000000,
                      .virtual_clock = true}; /* a busy machine makes nobody slow */
    lull *l = open_with(&o);
    start(l, "lull.sleep(0)");
    finish(l);
    CHECK(has_said(""));
    start(l, "lull.loop():advance(0.003)");
    finish(l);
    CHECK(has_said("task 2 ended"));
    start(l, "lull.current():name 'tired' lull.loop():advance(0.003) lull.sleep(0)");
    finish(l);
    CHECK(has_said("task 3 \"tired\""));
    start(l, "lull.loop():call_soon(function() lull.loop():advance(0.003) end) lull.sleep(0)");
    finish(l);
    CHECK(has_said("callback ended"));
    lull_close(l, 0);
}

static int64_t host_now(void *ud)
{
    return *(int64_t *)ud;
}

static void goes_by_the_clock_of_the_host(void)
{
    int64_t now = 7000000000;
    lull_time time = {.now = host_now, .ud = &now};
    lull_options o = {.size = sizeof o, .clock = &time};
    lull *l = open_with(&o);
    start(l, "say(lull.now()) lull.sleep(1) say(lull.now())");
    CHECK(step(l) == LULL_STEP_IDLE && lull_next_wake(l) == 1000000000);
    now += 999999999;
    CHECK(step(l) == LULL_STEP_IDLE && has_said("7.0"));
    now++;
    CHECK(step(l) == LULL_STEP_DONE && has_said("8.0"));
    lull_close(l, 0);
}

/* ---- between two steps ----------------------------------------------------------- */

static void says_how_long_the_host_may_sleep(void)
{
    lull_options o = {.size = sizeof o, .virtual_clock = true};
    lull *l = open_with(&o);
    start(l, "lull.sleep(5) say 'woke'");
    CHECK(lull_next_wake(l) == 0);
    CHECK(step(l) == LULL_STEP_IDLE && lull_next_wake(l) == 5000000000);
    CHECK(step(l) == LULL_STEP_IDLE && lull_next_wake(l) == 5000000000);
    lull_loop_advance(lull_get_loop(l), 4999999999);
    CHECK(lull_next_wake(l) == 1 && step(l) == LULL_STEP_IDLE);
    lull_loop_advance(lull_get_loop(l), 1);
    CHECK(lull_next_wake(l) == 0 && step(l) == LULL_STEP_DONE && has_said("woke"));
    lull_close(l, 0);
}

static void called(lull *l, void *ud)
{
    CHECK(l != NULL);
    strcat(said, ud);
}

static void late(lull *l, void *ud)
{
    CHECK(l == NULL);
    *(bool *)ud = true;
}

static void fails(lull *l, void *ud)
{
    (void)ud;
    lua_pushinteger(lull_state(l), 1);
    luaL_error(lull_state(l), "the call failed");
}

static void calls_may_fail(void)
{
    lull *l = open_with(NULL);
    lull_failure f = {.size = sizeof f};
    CHECK(lull_call(l, fails, NULL, 0) == 0 && lull_call(l, called, (char *)"on", 0) == 0);
    CHECK(lull_step(l, NULL) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strcmp(f.message, "the call failed") == 0 && lua_gettop(lull_state(l)) == 0);
    CHECK(lull_step(l, NULL) == LULL_STEP_DONE && has_said("on"));
    lull_close(l, 0);
}

static void may_be_called_from_anywhere(void)
{
    lull *l = open_with(NULL);
    bool freed = false;
    CHECK(lull_call(l, called, (char *)"1", 2) == 0 && lull_call(l, called, (char *)"2", 2) == 0);
    CHECK(lull_call(l, called, (char *)"3", 2) == -EAGAIN && lull_next_wake(l) == 0);
    step(l);
    CHECK(has_said("12") && lull_call(l, called, (char *)"4", 2) == 0);
    step(l);
    CHECK(has_said("4"));
    CHECK(lull_call(l, late, &freed, 0) == 0);
    lua_State *L = luaL_newstate();
    lull_close(l, 0);
    lull_attach(&l, L, NULL);
    freed = false;
    CHECK(lull_call(l, late, &freed, 0) == 0);
    lua_close(L);
    CHECK(freed);
    lull_close(l, 0);
}

int main(void)
{
    runs_to_the_end();
    gives_a_turn_in_the_next_step();
    runs_whom_tasks_make_ready_in_one_step();
    a_cancellation_does_not_wait_for_the_next_step();
    stops_when_the_budget_is_spent();
    tells_errors_from_the_step();
    tells_errors_to_a_callback();
    tells_each_error_once();
    tells_of_what_nobody_took_when_all_is_over();
    a_failure_that_is_awaited_is_none();
    reports_a_deadlock_in_a_run_and_not_in_a_step();
    does_not_nest();
    scripts_called_between_two_steps_may_spawn();
    a_loop_of_the_script_is_another_one();
    names_who_is_slow();
    goes_by_the_clock_of_the_host();
    says_how_long_the_host_may_sleep();
    calls_may_fail();
    may_be_called_from_anywhere();
    return report("embed_drive");
}
