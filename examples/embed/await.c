/* A C function that awaits.  Scripts call device.measure(n), which asks a device and
   gives back what it answers; the device is slow and answers on a thread of its own.
   While one task waits the others run, and who is cancelled takes his request back. */
#include <lauxlib.h>
#include <lull.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* ---- the device: knows neither Lua nor lull -------------------------------------- */

struct request {
    int n;
    void (*answer)(struct request *r, int value);
    lull_promise *promise;
    int value;
};

static void *device(void *arg)
{
    struct request *r = arg;
    struct timespec moment = {0, r->n * 1000000};
    nanosleep(&moment, NULL);
    r->answer(r, r->n * r->n);
    return NULL;
}

/* ---- between the two: ten lines -------------------------------------------------- */

static int push(lua_State *L, void *ud) /* on the runtime's thread; L NULL: nobody waits */
{
    struct request *r = ud;
    if (L != NULL)
        lua_pushinteger(L, r->value);
    free(r);
    return 1;
}

static void answer(struct request *r, int value) /* on the device's thread */
{
    r->value = value;
    lull_promise_resolve(r->promise, push, r);
}

static int measure(lua_State *L) /* measure (n) -> value */
{
    struct request r = {.n = (int)luaL_checkinteger(L, 1), .answer = answer}, *request;
    pthread_t thread;
    request = malloc(sizeof *request);
    if (request == NULL)
        return luaL_error(L, "not enough memory");
    *request = r;
    request->promise = lull_promise_new(L, NULL, NULL); /* pushes the future */
    if (pthread_create(&thread, NULL, device, request) != 0) {
        lull_promise_drop(request->promise);
        free(request);
    } else
        pthread_detach(thread);
    return lull_await_own(L, NULL, 0); /* returns what the answer has pushed */
}

/* ---- the host -------------------------------------------------------------------- */

static const char script[] =
    "local function ask(n) print(n .. ' squared is ' .. measure(n)) end\n"
    "local slow, quick = lull.spawn(ask, 30), lull.spawn(ask, 10)\n"
    "print('asked')\n"
    "quick:await() slow:await()\n"
    "print(select(3, lull.timeout(0.005, measure, 900)))\n";

static void on_error(lull *l, const lull_failure *failure)
{
    (void)l;
    fprintf(stderr, "%s: %s\n", failure->name, failure->message);
}

int main(void)
{
    lull *l;
    lull_options options = {.size = sizeof options, .on_error = on_error};
    if (lull_open(&l, &options) < 0)
        return 1;
    lua_State *L = lull_state(l);
    lua_register(L, "measure", measure);
    if (luaL_loadstring(L, script) != LUA_OK || lull_task_spawn(l, L, 0, NULL, NULL) < 0)
        return 1;
    int rc = lull_run(l);
    lull_close(l, 0);
    return rc != LULL_STEP_DONE;
}
