/* The guest of a GLib main loop, as in a GTK program: lull is a source among others.
   GLib polls its descriptor and sleeps no longer than it says; when there is something to
   do it calls lull_step, for at most 2 ms at a time, so that windows stay quick.

   (A program whose main loop can do neither would use lull_guest_start, with a wake that
   calls g_idle_add: there a thread of lull's does the waiting.  Here none is needed.) */
#include <glib.h>
#include <lauxlib.h>
#include <lull.h>

#include <stdio.h>

/* ---- lull as a GSource: thirty lines to take along --------------------------------- */

struct source {
    GSource base;
    lull *l;
};

/* GLib is about to sleep: how long may it? */
static gboolean prepare(GSource *base, gint *milliseconds)
{
    int64_t ns = lull_next_wake(((struct source *)base)->l);
    *milliseconds = ns / 1000000 >= G_MAXINT ? -1 : (gint)((ns + 999999) / 1000000);
    return ns == 0;
}

/* It has slept: is there something to do?  The descriptor GLib looks at by itself. */
static gboolean check(GSource *base)
{
    return lull_next_wake(((struct source *)base)->l) == 0;
}

static gboolean dispatch(GSource *base, GSourceFunc done, gpointer data)
{
    static const lull_budget budget = {.size = sizeof budget, .ns = 2000000};
    lull *l = ((struct source *)base)->l;
    lull_failure failure = {.size = sizeof failure};
    int rc = lull_step(l, &budget);
    while (rc == LULL_STEP_FAILED && lull_take_failure(l, &failure))
        g_printerr("%s: %s\n", failure.name, failure.message);
    return rc == LULL_STEP_DONE && done != NULL ? done(data) : rc >= 0;
}

static GSource *source_new(lull *l)
{
    static GSourceFuncs functions = {
        .prepare = prepare, .check = check, .dispatch = dispatch};
    GSource *base = g_source_new(&functions, sizeof(struct source));
    ((struct source *)base)->l = l;
    g_source_add_unix_fd(base, lull_descriptor(l), G_IO_IN);
    return base;
}

/* ---- the host ---------------------------------------------------------------------- */

static const char script[] =
    "local net = lull.net\n"
    "local listener = assert(net.listen('127.0.0.1', 0))\n"
    "local server = lull.spawn(function()\n"
    "  listener:serve(function(stream)\n"
    "    for line in stream:lines() do stream:write(line:upper(), '\\n') end\n"
    "  end)\n"
    "end):daemon()\n"
    "local stream = assert(net.connect(listener:local_address()))\n"
    "stream:write 'one round trip\\n'\n"
    "print(stream:read 'l')\n"
    "stream:close()\n"
    "for i = 1, 3 do lull.sleep(0.02) print('script', i) end\n"
    "print('clicked at', clicked:wait())\n"
    "server:close()\n"
    "listener:close()\n";

struct host {
    GMainLoop *loop;
    lull_event *clicked;
    lull *l;
    int ticks;
};

/* A time-out of GLib's own; the fifth plays the user, who clicks. */
static gboolean tick(gpointer data)
{
    struct host *h = data;
    if (++h->ticks < 5)
        return G_SOURCE_CONTINUE;
    lua_State *L = lull_state(h->l);
    lua_pushinteger(L, 640);
    lua_pushinteger(L, 480);
    lull_event_set(h->clicked, L, 2);
    return G_SOURCE_REMOVE;
}

/* Every task has ended; a GUI would go on. */
static gboolean all_done(gpointer data)
{
    struct host *h = data;
    printf("done, and GLib has had %d ticks\n", h->ticks);
    g_main_loop_quit(h->loop);
    return G_SOURCE_REMOVE;
}

int main(void)
{
    struct host h = {.loop = g_main_loop_new(NULL, FALSE)};
    lull_options options = {.size = sizeof options, .selector = "epoll"};
    if (lull_open(&h.l, &options) < 0 || lull_event_new(h.l, &h.clicked) < 0)
        return 1;
    lua_State *L = lull_state(h.l);
    lull_event_push(L, h.clicked);
    lua_setglobal(L, "clicked");
    if (luaL_loadstring(L, script) != LUA_OK ||
        lull_task_spawn(h.l, L, 0, NULL, NULL) < 0)
        return 1;

    GSource *source = source_new(h.l);
    g_source_set_callback(source, all_done, &h, NULL);
    g_source_attach(source, NULL);
    g_timeout_add(20, tick, &h);
    g_main_loop_run(h.loop);

    g_source_destroy(source); /* before the runtime, whose descriptor it polls */
    g_source_unref(source);
    lull_event_free(h.clicked);
    lull_close(h.l, 0);
    g_main_loop_unref(h.loop);
    return 0;
}
