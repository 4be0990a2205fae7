/* Tasks and groups of a host: by number, with names, ends that are told, and owners. */
#include "embed/host.h"

/* ---- tasks ----------------------------------------------------------------------- */

static struct {
    unsigned times;
    lull_task task;
    int how, n;
    char values[64];
} end;

static void done(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    CHECK(user == &end && (how == LULL_TASK_LOST) == (L == NULL));
    end.times++;
    end.task = task;
    end.how = how;
    end.n = n;
    end.values[0] = '\0';
    for (int i = 1; L != NULL && i <= n; i++) {
        strncat(end.values, luaL_tolstring(L, i, NULL), 30);
        lua_pop(L, 1);
    }
    CHECK(l != NULL);
}

static bool ended(lull_task task, int how, int n, const char *values)
{
    bool well = end.times == 1 && end.task == task && end.how == how && end.n == n &&
                strcmp(end.values, values) == 0;
    if (!well)
        fprintf(stderr, "ended %u times, %d, %d: \"%s\"\n", end.times, end.how, end.n,
                end.values);
    memset(&end, 0, sizeof end);
    return well;
}

static lull_task_options telling(const char *name)
{
    lull_task_options o = {.size = sizeof o, .name = name, .done = done, .user = &end};
    return o;
}

static void tells_each_end_once(void)
{
    lull *l = open_with(NULL);
    lull_task_options o = telling(NULL);
    lull_task t;
    start_with(l, "return 1, nil, 'x'", &o, &t);
    CHECK(end.times == 0);
    CHECK(lull_step(l, NULL) == LULL_STEP_DONE && ended(t, LULL_TASK_FINISHED, 3, "1nilx"));
    start_with(l, "lull.sleep(0)", &o, &t);
    CHECK(lull_run(l) == LULL_STEP_DONE && ended(t, LULL_TASK_FINISHED, 0, ""));
    start_with(l, "error('e', 0)", &o, &t);
    CHECK(lull_run(l) == LULL_STEP_DONE && ended(t, LULL_TASK_FAILED, 1, "e"));
    start_with(l, "lull.sleep(9)", &o, &t);
    lull_step(l, NULL);
    CHECK(lull_task_cancel(l, t, "enough") == 0);
    CHECK(lull_run(l) == LULL_STEP_DONE && ended(t, LULL_TASK_CANCELLED, 1, "enough"));
    CHECK(lull_task_cancel(l, t, NULL) == -ESRCH);
    start_with(l, "say 'never'", &o, &t);
    CHECK(lull_task_cancel(l, t, NULL) == 0 && lull_run(l) == LULL_STEP_DONE);
    CHECK(ended(t, LULL_TASK_CANCELLED, 1, "nil") && has_said(""));
    start_with(l, "lull.sleep(9)", &o, &t);
    lull_close(l, 0);
    CHECK(ended(t, LULL_TASK_CANCELLED, 1, "the loop ends"));
}

static void tells_who_was_ended_by_force(void)
{
    lull *l = open_with(NULL);
    lull_task_options o = telling(NULL);
    lull_task t;
    start_with(l, "lull.shield(lull.sleep, 1e6)", &o, &t);
    lull_step(l, NULL);
    lull_close(l, 0);
    CHECK(ended(t, LULL_TASK_CANCELLED, 1, "the loop ends"));
}

static void loses_tasks_with_the_state(void)
{
    lua_State *L = luaL_newstate();
    luaL_openlibs(L);
    lull *l;
    CHECK(lull_attach(&l, L, NULL) == 0);
    lull_task_options o = telling(NULL);
    lull_task t;
    luaL_loadstring(L, "require 'lull'.sleep(9)");
    CHECK(lull_task_spawn(l, L, 0, &o, &t) == 0 && lull_step(l, NULL) == LULL_STEP_IDLE);
    lua_close(L);
    CHECK(ended(t, LULL_TASK_LOST, 0, "") && lull_state(l) == NULL);
    CHECK(lull_step(l, NULL) == -ECANCELED && lull_task_state(l, t) == LULL_TASK_GONE);
    CHECK(lull_close(l, 0) == 0);
}

static void knows_tasks_by_number(void)
{
    lull *l = open_with(NULL);
    int mine;
    lull_task_options o = {.size = sizeof o, .name = "worker", .user = &mine};
    lull_task a, b;
    start_with(l, "say(tostring(lull.current()):match '\"(.-)\"') lull.sleep(0)", &o, &a);
    CHECK(lull_task_state(l, a) == LULL_TASK_READY && lull_task_user(l, a) == &mine);
    lull_step(l, NULL);
    CHECK(has_said("worker") && lull_task_state(l, a) == LULL_TASK_WAITING);
    lull_step(l, NULL);
    CHECK(lull_task_state(l, a) == LULL_TASK_GONE && lull_task_user(l, a) == NULL);
    start_with(l, "lull.sleep(9)", NULL, &b);
    CHECK(b != a && lull_task_state(l, a) == LULL_TASK_GONE && lull_task_user(l, b) == NULL);
    CHECK(lull_task_state(l, 0) == LULL_TASK_GONE && lull_task_cancel(l, 12345, "") == -ESRCH);
    CHECK(lull_task_cancel(l, (lull_task)UINT32_MAX << 32, NULL) == -ESRCH);
    lull_close(l, 0);
}

static int look_at_me(lua_State *L)
{
    lull *l = lull_of(L);
    lull_task me = lull_task_current(l);
    lua_pushboolean(L, lull_task_state(l, me) == LULL_TASK_RUNNING);
    CHECK(lull_task_cancel(l, me, "by myself") == 0);
    return 1;
}

static void a_task_may_cancel_itself_through_the_host(void)
{
    lull *l = open_with(NULL);
    lull_task_options o = telling(NULL);
    lull_task t;
    lua_register(lull_state(l), "look_at_me", look_at_me);
    start_with(l, "say(look_at_me()) lull.sleep(0)", &o, &t);
    finish(l);
    CHECK(has_said("true") && ended(t, LULL_TASK_CANCELLED, 1, "by myself"));
    CHECK(lull_task_current(l) == 0);
    lull_close(l, 0);
}

static void refuses_what_is_no_function(void)
{
    lull *l = open_with(NULL);
    lua_State *L = lull_state(l);
    lua_pushinteger(L, 7);
    lua_pushinteger(L, 8);
    CHECK(lull_task_spawn(l, L, 1, NULL, NULL) == -EINVAL && lua_gettop(L) == 0);
    lull_close(l, 0);
    lull_options o = {.size = sizeof o, .tasks = 2};
    l = open_with(&o);
    start(l, "lull.sleep(0) say(select(2, pcall(lull.spawn, say))) say 'a'");
    start(l, "lull.sleep(0) lull.sleep(0)");
    CHECK(start_with(l, "", NULL, NULL) == -EAGAIN && lua_gettop(lull_state(l)) == 0);
    lull_step(l, NULL);
    lull_step(l, NULL);
    CHECK(has_said("task quota exceeded (2 live),a"));
    CHECK(start_with(l, "say 'b'", NULL, NULL) == 0);
    finish(l);
    CHECK(has_said("b"));
    lull_close(l, 0);
}

static int spawn_from_a_task(lua_State *L)
{
    lull_task_options o = {.size = sizeof o, .name = "inner"};
    int n = lua_gettop(L) - 1;
    CHECK(lull_task_spawn(lull_of(L), L, n, &o, NULL) == 0 && lua_gettop(L) == 0);
    return 0;
}

static void spawns_from_any_coroutine(void)
{
    lull *l = open_with(NULL);
    lua_register(lull_state(l), "go", spawn_from_a_task);
    start(l, "go(say, 1) coroutine.wrap(function() go(say, 2) end)() say(0)");
    finish(l);
    CHECK(has_said("0,1,2"));
    lull_close(l, 0);
}

static unsigned seen;

static bool look(const lull_task_info *info, void *ud)
{
    lull *l = ud;
    seen++;
    if (strstr(info->name, "parent")) {
        CHECK(info->parent == 0 && info->state == LULL_TASK_WAITING && info->user == &seen);
        CHECK(strcmp(info->awaiting, "waiting: sleep, script:1") == 0 && !info->daemon);
    } else {
        CHECK(info->parent != 0 && info->daemon && strstr(info->awaiting, "await future"));
        CHECK(strstr(info->traceback, "spawned at script:1"));
    }
    CHECK(lull_task_cancel(l, info->task, "seen") == 0);
    return true;
}

static void shows_all_that_live(void)
{
    lull *l = open_with(NULL);
    lull_task_options o = {.size = sizeof o, .name = "parent", .user = &seen};
    start_with(l, "lull.spawn(function() lull.future():await() end):daemon() lull.sleep(9)",
               &o, NULL);
    lull_step(l, NULL);
    CHECK(lull_task_each(l, look, l) == 0 && seen == 2);
    CHECK(lull_step(l, NULL) == LULL_STEP_DONE && lull_task_count(l) == 0);
    lull_close(l, 0);
}

/* ---- groups ---------------------------------------------------------------------- */

static void owners_cancel_their_tasks(void)
{
    lull *l = open_with(NULL);
    lull_group *g, *other;
    CHECK(lull_group_new(l, NULL, &g) == 0 && lull_group_new(l, NULL, &other) == 0);
    lull_task_options o = {.size = sizeof o, .group = g};
    const char *npc = "local _ <close> = lull.defer(function() lull.shield(lull.sleep, 0) "
                      "say 'cleaned' end) lull.sleep(100)";
    for (int i = 0; i < 3; i++)
        start_with(l, npc, &o, NULL);
    o.group = other;
    start_with(l, "lull.sleep(0.001) say 'other'", &o, NULL);
    lull_step(l, NULL);
    CHECK(lull_group_count(g) == 3 && lull_group_count(other) == 1);
    lull_group_cancel(g, "it died");
    CHECK(start_with(l, "", &(lull_task_options){.size = sizeof o, .group = g}, NULL) ==
          -ECANCELED);
    lull_group_free(g);
    finish(l);
    CHECK(has_said("cleaned,cleaned,cleaned,other"));
    lull_close(l, 0);
    CHECK(lull_group_count(other) == 0);
    lull_group_cancel(other, "late");
    lull_group_free(other);
    lull_group_free(NULL);
}

static lull_group *mine;

static int die(lua_State *L)
{
    lull_group_free(mine);
    mine = NULL;
    (void)L;
    return 0;
}

static void a_task_may_free_its_own_group(void)
{
    lull *l = open_with(NULL);
    lull_group_new(l, NULL, &mine);
    lull_task_options o = telling(NULL);
    o.group = mine;
    lull_task t;
    lua_register(lull_state(l), "die", die);
    start_with(l, "die() collectgarbage() say 'dead' lull.sleep(0) say 'never'", &o, &t);
    finish(l);
    CHECK(has_said("dead") && ended(t, LULL_TASK_CANCELLED, 1, "nil"));
    lull_close(l, 0);
}

static void a_child_that_fails_fails_alone(void)
{
    lull *l = open_with(NULL);
    lull_group *g;
    lull_limits limits = {.size = sizeof limits, .tasks = 2};
    lull_failure f = {.size = sizeof f};
    lull_group_new(l, &limits, &g);
    lull_task_options o = {.size = sizeof o, .group = g, .name = "bad"};
    start_with(l, "error 'bad'", &o, NULL);
    o.name = "good";
    start_with(l, "lull.sleep(0.001) say 'good'", &o, NULL);
    CHECK(start_with(l, "", &o, NULL) == -EAGAIN);
    CHECK(lull_run(l) == LULL_STEP_FAILED && lull_take_failure(l, &f));
    CHECK(strcmp(f.name, "task 1 \"bad\"") == 0);
    finish(l);
    CHECK(has_said("good"));
    lull_group_free(g);
    lull_close(l, 0);
}

int main(void)
{
    tells_each_end_once();
    tells_who_was_ended_by_force();
    loses_tasks_with_the_state();
    knows_tasks_by_number();
    a_task_may_cancel_itself_through_the_host();
    refuses_what_is_no_function();
    spawns_from_any_coroutine();
    shows_all_that_live();
    owners_cancel_their_tasks();
    a_task_may_free_its_own_group();
    a_child_that_fails_fails_alone();
    return report("embed_tasks");
}
