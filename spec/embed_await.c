/* C functions of a host that await, promises that it resolves from wherever, events that
   it pulses and clocks that it stops. */
#include "embed/host.h"

#include <unistd.h>

/* ---- awaiting -------------------------------------------------------------------- */

static int slept(lua_State *L, int status, intptr_t ctx)
{
    CHECK(status == 0 && lua_gettop(L) == 2 && lua_tointeger(L, 2) == 42);
    if (ctx > 0)
        return lull_await_sleep(L, 1000, slept, ctx - 1);
    lua_pushliteral(L, "slept");
    return 1;
}

static int c_sleep(lua_State *L) /* (times) */
{
    lua_settop(L, 1);
    lua_pushinteger(L, 42);
    return lull_await_sleep(L, 0, slept, (intptr_t)lua_tointeger(L, 1));
}

static int got(lua_State *L, int status, intptr_t ctx)
{
    CHECK(status == 0 && ctx == 7 && lua_tointeger(L, 1) == 11);
    return lua_gettop(L) - 1;
}

static int c_await(lua_State *L) /* (value) -> its results */
{
    lua_settop(L, 1);
    lua_pushinteger(L, 11);
    lua_insert(L, 1);
    return lull_await_value(L, got, 7);
}

static int c_plain(lua_State *L)
{
    return lull_await_value(L, NULL, 0);
}

static int c_readable(lua_State *L) /* (fd, seconds) -> "ready" or nil, message, code */
{
    int fd = (int)luaL_checkinteger(L, 1);
    int64_t ns = (int64_t)(luaL_optnumber(L, 2, 1e9) * 1e9);
    return lull_await_fd(L, fd, LULL_READ, ns, NULL, 0);
}

static int works, releases;

static void work(void *ud)
{
    *(int *)ud = 5;
    works++;
}

static void release(void *ud)
{
    (void)ud;
    releases++;
}

static int worked(lua_State *L, int status, intptr_t ctx)
{
    lua_pushinteger(L, status == 0 ? *(int *)ctx : status);
    return 1;
}

static int c_work(lua_State *L)
{
    static int result;
    return lull_await_work(L, work, release, &result, worked, (intptr_t)&result);
}

static int can(lua_State *L)
{
    lua_pushboolean(L, lull_can_await(L));
    return 1;
}

static lull *with_functions(const lull_options *o)
{
    lull *l = open_with(o);
    lua_State *L = lull_state(l);
    lua_register(L, "c_sleep", c_sleep);
    lua_register(L, "c_await", c_await);
    lua_register(L, "c_plain", c_plain);
    lua_register(L, "c_readable", c_readable);
    lua_register(L, "c_work", c_work);
    lua_register(L, "can", can);
    return l;
}

static void awaits_a_moment(void)
{
    lull *l = with_functions(NULL);
    start(l, "say(c_sleep(3)) say(select('#', coroutine.wrap(c_sleep)(0)))");
    finish(l);
    CHECK(has_said("slept,1"));
    start(l, "local t = lull.spawn(c_sleep, 1000000000) lull.sleep(0) t:cancel 'no' "
             "say(select(2, pcall(t.await, t)))");
    finish(l);
    CHECK(has_said("ECANCELED: no"));
    start(l, "say(pcall(table.sort, {2, 1}, function() c_sleep(1) end))");
    finish(l);
    CHECK(has_said("false"));
    CHECK(luaL_dostring(lull_state(l), "say(can()) c_sleep(1)") != LUA_OK);
    CHECK(strstr(lua_tostring(lull_state(l), -1), "outside of a task"));
    start(l, "say(can()) table.sort({2, 1}, function() say(can()) end)");
    finish(l);
    CHECK(has_said("false,true,false"));
    lull_close(l, 0);
}

static void awaits_values(void)
{
    lull *l = with_functions(NULL);
    start(l, "local f = lull.future() f:set_result(1, 2) say(select('#', c_await(f))) "
             "local t = lull.spawn(function() lull.sleep(0) return 'x', 'y' end) "
             "say(table.concat({c_await(t)})) say(table.concat({c_plain(t)}))");
    finish(l);
    CHECK(has_said("2,xy,xy"));
    start(l, "local t = lull.spawn(function() lull.sleep(0) error('bad', 0) end) "
             "say(select(2, pcall(c_await, t)))");
    finish(l);
    CHECK(has_said("bad"));
    start(l, "local o = setmetatable({}, {__await = function() lull.sleep(0) return 1, 2, 3 "
             "end}) say(#{c_await(o)}) say(#{c_plain(o)}) say((pcall(c_plain, 7)))");
    finish(l);
    CHECK(has_said("3,3,false"));
    start(l, "local f = lull.future() say(lull.timeout(0.001, c_plain, f)) say(f:status()) "
             "say((lull.timeout(0, function() pcall(c_plain, f) return 1 end)))");
    finish(l);
    CHECK(has_said("nil,pending,1"));
    lull_close(l, 0);
}

static void awaits_descriptors(void)
{
    lull *l = with_functions(NULL);
    int ends[2];
    CHECK(pipe(ends) == 0);
    lua_pushinteger(lull_state(l), ends[0]);
    lua_setglobal(lull_state(l), "fd");
    start(l, "say(select(3, c_readable(fd, 0.001))) "
             "local t = lull.spawn(c_readable, fd) lull.sleep(0) t:cancel() lull.sleep(0) "
             "say(select('#', c_readable(fd))) say(select(3, c_readable(-1)))");
    lull_step(l, NULL);
    while (lull_step(l, NULL) == LULL_STEP_IDLE)
        if (strstr(said, "ETIMEDOUT") && write(ends[1], "x", 1) < 0)
            CHECK(!"written");
    CHECK(has_said("ETIMEDOUT,0,EBADF"));
    lull_close(l, 0);
    close(ends[0]);
    close(ends[1]);
}

static void awaits_work(void)
{
    lull *l = with_functions(NULL);
    start(l, "say(c_work()) local t = lull.spawn(c_work) t:cancel() "
             "local t = lull.spawn(c_work) lull.sleep(0) t:cancel()");
    finish(l);
    CHECK(has_said("5"));
    CHECK(luaL_dostring(lull_state(l), "c_work()") != LUA_OK);
    lull_close(l, LULL_FOREVER);
    CHECK(releases >= 2 && works >= 1);
}

/* ---- promises -------------------------------------------------------------------- */

static lull_promise *promise;
static int cancels, frees;

static void on_cancel(void *ud)
{
    CHECK(ud == &cancels);
    cancels++;
}

static int c_promise(lua_State *L)
{
    promise = lull_promise_new(L, on_cancel, &cancels);
    return 1;
}

static int c_own(lua_State *L)
{
    promise = lull_promise_new(L, on_cancel, &cancels);
    return lull_await_own(L, NULL, 0);
}

static int push_two(lua_State *L, void *ud)
{
    frees += L == NULL;
    if (L == NULL)
        return 0;
    lua_pushinteger(L, 1);
    lua_pushstring(L, ud);
    return 2;
}

static int push_error(lua_State *L, void *ud)
{
    return L ? luaL_error(L, "%s", (const char *)ud) : 0;
}

static lull *with_promises(void)
{
    lull *l = open_with(NULL);
    lua_register(lull_state(l), "promise", c_promise);
    lua_register(lull_state(l), "own", c_own);
    cancels = frees = 0;
    return l;
}

static void promises_are_kept(void)
{
    lull *l = with_promises();
    start(l, "say(table.concat({own()}))");
    lull_step(l, NULL);
    lull_promise_resolve(promise, push_two, (char *)"two");
    CHECK(lull_next_wake(l) == 0);
    finish(l);
    CHECK(has_said("1two"));
    start(l, "say(select(2, pcall(own)))");
    lull_step(l, NULL);
    lull_promise_resolve(promise, push_error, (char *)"failed");
    finish(l);
    CHECK(has_said("failed"));
    start(l, "say(select(2, pcall(own)))");
    lull_step(l, NULL);
    lull_promise_drop(promise);
    finish(l);
    CHECK(has_said("ECANCELED: dropped by the host") && cancels == 0);
    start(l, "say(select('#', own()))");
    lull_step(l, NULL);
    lull_promise_resolve(promise, NULL, NULL);
    finish(l);
    CHECK(has_said("0"));
    lull_close(l, 0);
}

static void nobody_wants_the_answer(void)
{
    lull *l = with_promises();
    start(l, "local t = lull.spawn(own) lull.sleep(0) t:cancel()");
    finish(l);
    CHECK(cancels == 1);
    lull_promise_resolve(promise, push_two, (char *)"x"); /* all the same */
    lull_step(l, NULL);
    CHECK(frees == 1);
    start(l, "promise():cancel()");
    finish(l);
    CHECK(cancels == 2);
    lull_promise_drop(promise);
    start(l, "local t = lull.spawn(function() lull.await(promise()) end) lull.sleep(0) "
             "t:cancel()");
    lull_step(l, NULL);
    lull_step(l, NULL);
    CHECK(cancels == 2); /* awaiting observes */
    lull_close(l, 0);
    CHECK(cancels == 3);
    lull_promise_resolve(promise, push_two, (char *)"late");
    CHECK(frees == 2);
    l = with_promises();
    start(l, "promise()");
    lull_step(l, NULL);
    lull_promise_resolve(promise, push_two, (char *)"under way");
    lull_close(l, 0);
    CHECK(cancels <= 1 && frees == 1);
}

/* ---- events ---------------------------------------------------------------------- */

static void pulses_events(void)
{
    lull *l = open_with(NULL);
    lua_State *L = lull_state(l);
    lull_event *e;
    CHECK(lull_event_new(l, &e) == 0);
    lull_event_push(L, e);
    lua_setglobal(L, "event");
    start(l, "for i = 1, 2 do say(event:wait()) end say(select('#', event:wait()))");
    lull_step(l, NULL);
    lua_pushliteral(L, "one");
    CHECK(lull_event_pulse(e, L, 1) == 0 && lull_next_wake(l) == 0);
    lull_step(l, NULL);
    lua_pushliteral(L, "two");
    CHECK(lull_event_set(e, L, 1) == 0 && lull_event_clear(e) == 0 && lua_gettop(L) == 0);
    lull_step(l, NULL);
    CHECK(lull_event_set(e, L, 0) == 0);
    finish(l);
    CHECK(has_said("one,two,0"));
    lull_close(l, 0);
    CHECK(lull_event_clear(e) == -ECANCELED);
    lull_event_free(e);
}

/* ---- clocks ---------------------------------------------------------------------- */

enum { SECOND = 1000000000 };

static void clocks_stop_and_turn(void)
{
    lull_options o = {.size = sizeof o, .virtual_clock = true};
    lull *l = open_with(&o);
    lua_State *L = lull_state(l);
    lull_loop *loop = lull_get_loop(l);
    lull_clock *c;
    CHECK(lull_clock_new(l, &c) == 0);
    lull_clock_push(L, c);
    lua_setglobal(L, "game");
    start(l, "game:sleep(1) say(game:now())");
    start(l, "lull.sleep(1) say 'real'");
    lull_step(l, NULL);
    lull_clock_pause(c, true);
    lull_loop_advance(loop, 10 * (int64_t)SECOND);
    lull_step(l, NULL);
    CHECK(has_said("real") && lull_clock_now(c) == 0 && lull_next_wake(l) == LULL_FOREVER);
    lull_clock_pause(c, false);
    CHECK(lull_clock_scale(c, 0.5) == 0 && lull_next_wake(l) == 2 * (int64_t)SECOND);
    lull_loop_advance(loop, SECOND);
    lull_step(l, NULL);
    CHECK(has_said("") && lull_clock_now(c) == SECOND / 2);
    lull_loop_advance(loop, SECOND);
    CHECK(lull_step(l, NULL) == LULL_STEP_DONE && has_said("1.0"));
    start(l, "local ok, message, code = game:timeout(2, lull.sleep, 100) say(code) "
             "say(game:timeout(2, function(...) game:sleep(1) return ... end, 'in time'))");
    lull_step(l, NULL);
    lull_clock_pause(c, true);
    CHECK(lull_clock_advance(c, 2 * (int64_t)SECOND) == 0);
    lull_step(l, NULL);
    CHECK(has_said("ETIMEDOUT") && lull_clock_advance(c, -1) == -EINVAL);
    lull_clock_advance(c, SECOND);
    CHECK(lull_step(l, NULL) == LULL_STEP_DONE && has_said("in time"));
    CHECK(lull_clock_scale(c, 0) == -EINVAL && lull_clock_scale(c, -1) == -EINVAL);
    start(l, "local t = lull.spawn(game.sleep, game, 5) lull.sleep(0) t:cancel() "
             "local c = lull.clock{scale = 2} say(c:scale()) c:sleep(0) c:pause() "
             "say(c:paused()) c:advance(3) say(c:now()) lull.spawn(c.sleep, c, 4)");
    lull_step(l, NULL);
    lull_step(l, NULL);
    lull_step(l, NULL);
    CHECK(has_said("2.0,true,3.0"));
    start(l, "lull.shield(game.sleep, game, 4)"); /* ended by force, on its clock */
    lull_step(l, NULL);
    lull_close(l, 0);
    CHECK(lull_clock_now(c) == 0 && lull_clock_advance(c, 1) == -ECANCELED);
    lull_clock_free(c);
}

static void clocks_stop_at_the_end_of_time(void)
{
    lull_options o = {.size = sizeof o, .virtual_clock = true};
    lull *l = open_with(&o);
    lull_loop *loop = lull_get_loop(l);
    lull_clock *c;
    CHECK(lull_clock_new(l, &c) == 0 && lull_clock_scale(c, 1e6) == 0);
    int64_t before = 0;
    for (int hour = 0; hour < 5; hour++) {
        lull_loop_advance(loop, 3600 * (int64_t)SECOND);
        CHECK(lull_clock_now(c) > before || before == INT64_MAX);
        before = lull_clock_now(c);
    }
    CHECK(before == INT64_MAX && lull_clock_scale(c, 1) == 0);
    lull_loop_advance(loop, SECOND);
    CHECK(lull_clock_advance(c, INT64_MAX) == 0 && lull_clock_now(c) == INT64_MAX);
    lull_close(l, 0);
    lull_clock_free(c);
}

static void clocks_wake_in_order(void)
{
    lull_options o = {.size = sizeof o, .virtual_clock = true};
    lull *l = open_with(&o);
    start(l, "local c = lull.clock() for i = 1, 50 do lull.spawn(function() "
             "c:sleep((i * 7 % 50 + 1) / 10) "
             "assert(c:now() >= (i * 7 % 50 + 1) / 10) n = (n or 0) + 1 "
             "assert(n == i * 7 % 50 + 1) end) end "
             "lull.sleep(0.01) c:scale(3) lull.sleep(10) say(n)");
    finish(l);
    CHECK(has_said("50"));
    lull_close(l, 0);
}

int main(void)
{
    awaits_a_moment();
    awaits_values();
    awaits_descriptors();
    awaits_work();
    promises_are_kept();
    nobody_wants_the_answer();
    pulses_events();
    clocks_stop_and_turn();
    clocks_stop_at_the_end_of_time();
    clocks_wake_in_order();
    return report("embed_await");
}
