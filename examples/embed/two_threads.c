/* Two runtimes in two threads, which know nothing of each other, and work that goes to
   and fro.  The script of the first calls square(n); the question is put to the second,
   whose script thinks about it, with a sleep, and the answer goes back to who awaits it.

   What makes it safe: lull_call may be called from any thread, and so may
   lull_promise_resolve.  No Lua state is ever touched by two threads. */
#include <lauxlib.h>
#include <lull.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

enum { QUESTIONS = 1000, LIMIT = 256 };

/* What travels.  It belongs to whoever has it; the promise to its answer. */
struct question {
    lua_Integer n;
    lull_promise *answer;
};

/* ---- the second: it answers -------------------------------------------------------- */

static lull *thinker;

static const char thinks[] =
    "lull.spawn(function(stop) stop:await() end, ...)\n"
    "function think(n)\n"
    "  lull.sleep(n % 3 / 1000)\n"
    "  if n % 100 == 99 then error('I do not like ' .. n, 0) end\n"
    "  return n * n\n"
    "end\n";

/* On the first thread, in the end: L is its, or NULL when nobody waits any more. */
static int push_answer(lua_State *L, void *ud)
{
    struct question *q = ud;
    if (L != NULL)
        lua_pushinteger(L, q->n);
    free(q);
    return 1;
}

static int push_refusal(lua_State *L, void *ud)
{
    free(ud);
    return L != NULL ? luaL_error(L, "no answer") : 0;
}

/* The task that thinks has ended, on the second thread. */
static void thought(lull *l, lull_task task, int how, lua_State *L, int n, void *user)
{
    struct question *q = user;
    (void)l, (void)task, (void)n;
    if (how == LULL_TASK_FINISHED)
        q->n = lua_tointeger(L, 1);
    lull_promise_resolve(
        q->answer, how == LULL_TASK_FINISHED ? push_answer : push_refusal, q);
}

/* On the second thread; l NULL: it is closed, and nobody will think about it. */
static void receive(lull *l, void *ud)
{
    struct question *q = ud;
    lull_task_options options = {.size = sizeof options, .done = thought, .user = q};
    lua_State *L = l ? lull_state(l) : NULL;
    if (L != NULL) {
        lua_getglobal(L, "think");
        lua_pushinteger(L, q->n);
    }
    if (L == NULL || lull_task_spawn(l, L, 1, &options, NULL) < 0)
        lull_promise_resolve(q->answer, push_refusal, q);
}

/* It runs as long as its first task waits for the word to stop. */
static void *second_thread(void *arg)
{
    (void)arg;
    if (lull_run(thinker) != LULL_STEP_DONE)
        abort();
    return NULL;
}

/* ---- the first: it asks ------------------------------------------------------------ */

static const char asks[] =
    "local sum, refused, limit = 0, 0, lull.semaphore(100)\n"
    "local group <close> = lull.group()\n"
    "for n = 1, ... do\n"
    "  group:spawn(function()\n"
    "    local _ <close> = limit:acquire()\n"
    "    local ok, answer = lull.pcall(square, n)\n"
    "    if ok then sum = sum + answer else refused = refused + 1 end\n"
    "  end)\n"
    "end\n"
    "group:close()\n"
    "print(sum, refused)\n";

/* square (n) -> n * n, as the other thread has it */
static int square(lua_State *L)
{
    lua_Integer n = luaL_checkinteger(L, 1);
    lull_promise *promise = lull_promise_new(L, NULL, NULL);
    struct question *q = malloc(sizeof *q);
    if (q != NULL)
        *q = (struct question){n, promise};
    if (q == NULL || lull_call(thinker, receive, q, LIMIT) < 0) {
        lull_promise_drop(promise); /* too many wait there already */
        free(q);
    }
    return lull_await_own(L, NULL, 0);
}

/* ---- the host ---------------------------------------------------------------------- */

static void on_error(lull *l, const lull_failure *failure)
{
    fprintf(stderr, "%s: %s: %s\n", (const char *)lull_user(l), failure->name,
            failure->message);
}

static lull *open_named(const char *name)
{
    lull *l;
    lull_options options = {
        .size = sizeof options, .on_error = on_error, .user = (void *)name};
    if (lull_open(&l, &options) < 0)
        abort();
    return l;
}

/* Starts a script as a task; its argument is on top of the stack. */
static void start(lull *l, const char *script)
{
    lua_State *L = lull_state(l);
    if (luaL_loadstring(L, script) != LUA_OK)
        abort();
    lua_insert(L, -2);
    if (lull_task_spawn(l, L, 1, NULL, NULL) < 0)
        abort();
}

int main(void)
{
    pthread_t thread;
    lull *asker = open_named("asker");
    thinker = open_named("thinker");
    lull_promise *word = lull_promise_new(lull_state(thinker), NULL, NULL);
    start(thinker, thinks);
    if (pthread_create(&thread, NULL, second_thread, NULL) != 0)
        return 1;

    lua_register(lull_state(asker), "square", square);
    lua_pushinteger(lull_state(asker), QUESTIONS);
    start(asker, asks);
    int rc = lull_run(asker);
    lull_close(asker, 0); /* before the other, which it calls */

    lull_promise_resolve(word, NULL, NULL);
    pthread_join(thread, NULL);
    lull_close(thinker, 0);
    return rc != LULL_STEP_DONE;
}
