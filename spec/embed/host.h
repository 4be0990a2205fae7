/* What the specs of the embedding API share: a check that counts, a host that collects
   what its scripts say, and an allocator that fails on demand. */
#ifndef SPEC_EMBED_HOST_H
#define SPEC_EMBED_HOST_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <lull.h>

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned checks_failed;

#define CHECK(what)                                                              \
    ((what) ? (void)0                                                            \
            : (void)(checks_failed++,                                            \
                     fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what)))

/* What the scripts have said with say(...), with commas. */
static char said[4096];

static inline int say(lua_State *L)
{
    size_t used = strlen(said);
    luaL_tolstring(L, 1, NULL);
    snprintf(said + used, sizeof said - used, "%s%s", used ? "," : "", lua_tostring(L, -1));
    return 0;
}

static inline bool has_said(const char *text)
{
    bool same = strcmp(said, text) == 0;
    if (!same)
        fprintf(stderr, "said \"%s\", not \"%s\"\n", said, text);
    said[0] = '\0';
    return same;
}

static inline lull *open_with(const lull_options *options)
{
    lull *l = NULL;
    said[0] = '\0';
    int rc = lull_open(&l, options);
    if (rc < 0) {
        fprintf(stderr, "lull_open: %s\n", strerror(-rc));
        exit(EXIT_FAILURE);
    }
    lua_register(lull_state(l), "say", say);
    return l;
}

/* Spawns a script with options; 0 or -errno. */
static inline int start_with(lull *l, const char *script, const lull_task_options *options,
                             lull_task *task)
{
    lua_State *L = lull_state(l);
    if (luaL_loadbuffer(L, script, strlen(script), "=script") != LUA_OK) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(EXIT_FAILURE);
    }
    return lull_task_spawn(l, L, 0, options, task);
}

static inline lull_task start(lull *l, const char *script)
{
    lull_task task = 0;
    int rc = start_with(l, script, NULL, &task);
    CHECK(rc == 0);
    return task;
}

/* Runs to the end; complains of failures. */
static inline void finish(lull *l)
{
    lull_failure failure = {.size = sizeof failure};
    int rc = lull_run(l);
    while (lull_take_failure(l, &failure))
        fprintf(stderr, "%s: %s\n", failure.name, failure.message);
    CHECK(rc == LULL_STEP_DONE);
}

/* An allocator as Lua has it, with an account; the n-th growth from now on fails. */
struct account {
    size_t bytes;
    unsigned long count, fails_at, fails;
};

static inline void *allocate(void *ud, void *ptr, size_t osize, size_t nsize)
{
    struct account *a = ud;
    size_t old = ptr ? osize : 0;
    if (nsize > old && ++a->count >= a->fails_at && a->fails_at > 0 &&
        a->count < a->fails_at + a->fails)
        return NULL;
    void *p = NULL;
    if (nsize == 0)
        free(ptr);
    else if ((p = realloc(ptr, nsize)) == NULL)
        return NULL;
    a->bytes += nsize - old;
    return p;
}

static inline int report(const char *name)
{
    if (checks_failed)
        fprintf(stderr, "%s: %u checks failed\n", name, checks_failed);
    return checks_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#endif
