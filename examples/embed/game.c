/* A game that owns its main loop: 60 frames a second, and in each of them 2 ms for the
   scripts of its characters, 10 000 Lua tasks that think, walk, sleep and die.

     game [--frames N] [--npcs N] [--fast] [--window]

   One of the scripts is in an endless loop.  It is set aside when the 2 ms are over and
   goes on in the next frame, behind those who waited; neither the frame nor the game
   stops, and the report names it.  With --fast no frame waits for the next, and the clock
   of the scripts goes a 60th of a second with each.  --window: where it was built with
   -DGAME_SDL2. */
#include <lauxlib.h>
#include <lull.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifdef GAME_SDL2
#include <SDL.h>
#endif

#define SECOND INT64_C(1000000000)
#define FRAME (SECOND / 60)
#define BUDGET (SECOND / 500)

struct npc {
    float x, y;
    unsigned life;       /* of all who have had this place, the how manieth */
    lull_group *scripts; /* what it does ends with it */
};

/* What a frame has cost. */
struct cost {
    int64_t frame, slice, cpu;
    unsigned thoughts;
};

static struct {
    lull *l;
    lull_clock *time;   /* that of the game, which the scripts see */
    lull_event *alarm;
    struct npc *npcs;
    struct cost *costs;
    unsigned count, frames, frame, thoughts, born, died, carried, dropped, errors;
    bool fast, window, open;
    char culprit[64], where[256];
} game = {.count = 10000, .frames = 600, .open = true};

static int64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec * SECOND + t.tv_nsec;
}

static double ms(int64_t ns)
{
    return (double)ns / 1e6;
}

/* ---- what the scripts do ----------------------------------------------------------- */

/* time: the clock of the game; alarm: an event; both are given to them below. */
static const char scripts[] =
    "local random, sleep = math.random, lull.sleep\n"
    "local function carry(npc)\n"
    "  npc:carry()\n"
    "  return lull.defer(npc.drop, npc)\n"
    "end\n"
    "function wanderer(npc)\n"
    "  local _ <close> = carry(npc)\n"
    "  while true do\n"
    "    npc:walk(random() - 0.5, random() - 0.5)\n"
    "    time:sleep(0.25 + random() / 2)\n"
    "  end\n"
    "end\n"
    "function guard(npc)\n"
    "  local _ <close> = carry(npc)\n"
    "  while true do\n"
    "    local x, y = alarm:wait()\n"
    "    for _ = 1, 30 do\n"
    "      npc:walk((x - npc:x()) / 30, (y - npc:y()) / 30)\n"
    "      sleep(0) -- the next frame\n"
    "    end\n"
    "  end\n"
    "end\n"
    "function madman(npc)\n"
    "  local n = 0\n"
    "  while true do n = n + 1 end\n"
    "end\n";

/* ---- what the scripts can call ----------------------------------------------------- */

/* A script may outlive its NPC: it cleans up, or was set aside in the midst of a line and
   moves a ghost until it comes to its next await. */
struct handle {
    struct npc *npc;
    unsigned life;
};

static struct npc ghost;

static struct npc *to_npc(lua_State *L, int i)
{
    struct handle *h = luaL_checkudata(L, i, "npc");
    return h->npc->life == h->life ? h->npc : &ghost;
}

static int npc_walk(lua_State *L)
{
    struct npc *n = to_npc(L, 1);
    n->x += (float)luaL_checknumber(L, 2);
    n->y += (float)luaL_checknumber(L, 3);
    game.thoughts++;
    return 0;
}

static int npc_x(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)to_npc(L, 1)->x);
    return 1;
}

static int npc_y(lua_State *L)
{
    lua_pushnumber(L, (lua_Number)to_npc(L, 1)->y);
    return 1;
}

static int npc_carry(lua_State *L)
{
    to_npc(L, 1);
    game.carried++;
    return 0;
}

static int npc_drop(lua_State *L)
{
    luaL_checkudata(L, 1, "npc"); /* which may be dead: now it lies in the grass */
    game.dropped++;
    return 0;
}

static void push_npc(lua_State *L, struct npc *n)
{
    struct handle *h = lua_newuserdatauv(L, sizeof *h, 0);
    *h = (struct handle){n, n->life};
    luaL_setmetatable(L, "npc");
}

static void open_game(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"walk", npc_walk},   {"x", npc_x},       {"y", npc_y},
        {"carry", npc_carry}, {"drop", npc_drop}, {NULL, NULL}};
    luaL_newmetatable(L, "npc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    lull_clock_push(L, game.time);
    lua_setglobal(L, "time");
    lull_event_push(L, game.alarm);
    lua_setglobal(L, "alarm");
}

/* ---- life and death ---------------------------------------------------------------- */

static void be_born(struct npc *n, const char *script)
{
    lua_State *L = lull_state(game.l);
    lull_task_options options = {.size = sizeof options, .name = script};
    n->x = (float)(rand() % 1000);
    n->y = (float)(rand() % 1000);
    n->life++;
    lua_getglobal(L, script);
    push_npc(L, n);
    if (lull_group_new(game.l, NULL, &n->scripts) < 0)
        abort();
    options.group = n->scripts;
    if (lull_task_spawn(game.l, L, 1, &options, NULL) < 0)
        abort();
    game.born++;
}

/* Its tasks are cancelled; what they clean up they do in the next frames. */
static void die(struct npc *n)
{
    lull_group_free(n->scripts);
    n->scripts = NULL;
    n->life++;
    game.died++;
}

static const char *script_of(unsigned i)
{
    return i % 10 == 3 ? "guard" : "wanderer";
}

/* ---- what the host is told --------------------------------------------------------- */

static void on_error(lull *l, const lull_failure *failure)
{
    (void)l;
    if (game.errors++ < 5)
        fprintf(stderr, "%s: %s\n", failure->name, failure->message);
}

/* Somebody computes for so long that he was set aside: told once. */
static void on_slow(lull *l, const lull_slow *slow)
{
    (void)l;
    if (!slow->preempted || strstr(slow->name, "madman") == NULL)
        return; /* whom the end of the 2 ms has met by chance */
    snprintf(game.culprit, sizeof game.culprit, "%s", slow->name);
    snprintf(game.where, sizeof game.where, "%s", slow->traceback ? slow->traceback : "");
}

/* ---- a frame ----------------------------------------------------------------------- */

/* The story: a madman after a quarter, a second's pause after half, half speed after two
   thirds; ten deaths a second, and an alarm every five. */
static void direct(void)
{
    unsigned f = game.frame, n = game.frames;
    lua_State *L = lull_state(game.l);
    if (f == n / 4) {
        die(&game.npcs[0]);
        be_born(&game.npcs[0], "madman");
    }
    if (f == n / 2)
        lull_clock_pause(game.time, true);
    if (f == n / 2 + 60)
        lull_clock_pause(game.time, false);
    if (f == n * 2 / 3)
        lull_clock_scale(game.time, 0.5);
    if (f % 6 == 5) {
        unsigned i = 1 + (unsigned)rand() % (game.count - 1);
        die(&game.npcs[i]);
        be_born(&game.npcs[i], script_of(i));
    }
    if (f % 300 == 60) {
        lua_pushinteger(L, rand() % 1000);
        lua_pushinteger(L, rand() % 1000);
        lull_event_pulse(game.alarm, L, 2);
    }
}

/* The scripts' share of the frame. */
static void think(struct cost *c)
{
    static const lull_budget budget = {.size = sizeof budget, .ns = BUDGET};
    int64_t wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
    game.thoughts = 0;
    if (lull_step(game.l, &budget) < 0)
        abort();
    c->cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
    c->slice = now(CLOCK_MONOTONIC) - wall;
    c->thoughts = game.thoughts;
}

/* The rest of the game: nobody leaves the world. */
static void move(void)
{
    for (unsigned i = 0; i < game.count; i++) {
        struct npc *n = &game.npcs[i];
        n->x += n->x < 0 ? 1000.0f : n->x >= 1000 ? -1000.0f : 0;
        n->y += n->y < 0 ? 1000.0f : n->y >= 1000 ? -1000.0f : 0;
    }
}

#ifdef GAME_SDL2
static SDL_Window *window;
static SDL_Renderer *renderer;

static void draw(void)
{
    SDL_Event event;
    if (!game.window)
        return;
    if (window == NULL &&
        (SDL_Init(SDL_INIT_VIDEO) < 0 ||
         SDL_CreateWindowAndRenderer(1000, 1000, 0, &window, &renderer) < 0)) {
        game.window = false;
        return;
    }
    while (SDL_PollEvent(&event))
        game.open = game.open && event.type != SDL_QUIT;
    SDL_SetRenderDrawColor(renderer, 20, 30, 20, 255);
    SDL_RenderClear(renderer);
    SDL_SetRenderDrawColor(renderer, 220, 220, 160, 255);
    for (unsigned i = 0; i < game.count; i++)
        SDL_RenderDrawPointF(renderer, game.npcs[i].x, game.npcs[i].y);
    SDL_RenderPresent(renderer);
}
#else
static void draw(void) {}
#endif

/* With --fast the loop's clock is the number of the frame. */
static int64_t frame_time(void *ud)
{
    (void)ud;
    return game.frame * FRAME;
}

static void wait_until(int64_t moment)
{
    struct timespec t = {moment / SECOND, moment % SECOND};
    if (!game.fast)
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void play(void)
{
    int64_t start = now(CLOCK_MONOTONIC);
    for (game.frame = 0; game.frame < game.frames && game.open; game.frame++) {
        struct cost *c = &game.costs[game.frame];
        int64_t began = now(CLOCK_MONOTONIC);
        direct();
        think(c);
        move();
        draw();
        c->frame = now(CLOCK_MONOTONIC) - began;
        wait_until(start + (game.frame + 1) * FRAME);
    }
    game.frames = game.frame;
}

/* ---- the report -------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* On a busy machine the longest slice is that of the frame which others have interrupted
   longest; what the scripts had of it is the processor time. */
static void tell_slices(void)
{
    unsigned n = game.frames, over = 0;
    int64_t *slices = calloc(n + 1, sizeof *slices), cpu = 0;
    if (slices == NULL || n == 0)
        abort();
    for (unsigned i = 0; i < n; i++) {
        slices[i] = game.costs[i].slice;
        cpu = game.costs[i].cpu > cpu ? game.costs[i].cpu : cpu;
        over += game.costs[i].cpu > BUDGET + BUDGET / 10;
    }
    qsort(slices, n, sizeof *slices, ascending);
    printf("slice: budget %.3f ms, p50 %.3f, p99 %.3f, max %.3f\n", ms(BUDGET),
           ms(slices[n / 2]), ms(slices[n * 99 / 100]), ms(slices[n - 1]));
    printf("of processor time: max %.3f; %u of %u frames took more than %.3f\n", ms(cpu),
           over, n, ms(BUDGET + BUDGET / 10));
    free(slices);
}

/* What a resume costs: in the frames without the madman, who takes all that is left. */
static void tell_resumes(void)
{
    uint64_t all = 0, sane = 0;
    int64_t ns = 0;
    for (unsigned i = 0; i < game.frames; i++) {
        all += game.costs[i].thoughts;
        if (i >= game.frames / 4)
            continue;
        sane += game.costs[i].thoughts;
        ns += game.costs[i].cpu;
    }
    printf("resumed: %.0f tasks a frame, %.0f ns of processor time each\n",
           (double)all / game.frames, (double)ns / (sane ? (double)sane : 1));
}

static void tell_histogram(void)
{
    static const double bounds[] = {0.25, 0.5, 1, 2, 3, 4, 8, 16.7, 1e9};
    printf("frames, without the time until the next:\n");
    for (unsigned b = 0; b < sizeof bounds / sizeof *bounds; b++) {
        unsigned n = 0;
        for (unsigned i = 0; i < game.frames; i++)
            n += ms(game.costs[i].frame) < bounds[b] &&
                 (b == 0 || ms(game.costs[i].frame) >= bounds[b - 1]);
        int width = (int)(60.0 * n / game.frames + 0.99);
        printf(bounds[b] < 1e9 ? "  < %5.2f ms" : "     longer", bounds[b]);
        printf(" %6u  %.*s\n", n, width,
               "############################################################");
    }
}

static void tell(void)
{
    printf("%u NPCs, %u frames, %.2f s of the game\n", game.count, game.frames,
           (double)lull_clock_now(game.time) / 1e9);
    tell_slices();
    tell_resumes();
    printf("in an endless loop: %s\n", game.culprit[0] ? game.culprit : "nobody");
    if (game.where[0])
        printf("%s\n", game.where);
    printf("%u were born and %u died, %u have taken up something, %u dropped it again\n",
           game.born, game.died, game.carried, game.dropped);
    tell_histogram();
}

/* ---- main -------------------------------------------------------------------------- */

static bool read_options(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--fast") == 0)
            game.fast = true;
        else if (strcmp(argv[i], "--window") == 0)
            game.window = true;
        else if (i + 1 < argc && strcmp(argv[i], "--frames") == 0)
            game.frames = (unsigned)atoi(argv[++i]);
        else if (i + 1 < argc && strcmp(argv[i], "--npcs") == 0)
            game.count = (unsigned)atoi(argv[++i]);
        else
            return false;
    return game.count >= 2 && game.frames >= 4;
}

static bool open_all(void)
{
    lull_time clock = {.now = frame_time};
    lull_options options = {.size = sizeof options,
                            .clock = game.fast ? &clock : NULL,
                            .on_error = on_error,
                            .on_slow = on_slow,
                            .preempt = LULL_PREEMPT_SIGNAL};
    game.npcs = calloc(game.count, sizeof *game.npcs);
    game.costs = calloc(game.frames, sizeof *game.costs);
    if (game.npcs == NULL || game.costs == NULL || lull_open(&game.l, &options) < 0 ||
        lull_clock_new(game.l, &game.time) < 0 || lull_event_new(game.l, &game.alarm) < 0)
        return false;
    open_game(lull_state(game.l));
    return luaL_dostring(lull_state(game.l), scripts) == LUA_OK;
}

int main(int argc, char **argv)
{
    if (!read_options(argc, argv)) {
        fprintf(stderr, "usage: game [--frames N] [--npcs N] [--fast] [--window]\n");
        return 2;
    }
    if (!open_all())
        return 1;
    for (unsigned i = 0; i < game.count; i++)
        be_born(&game.npcs[i], script_of(i));
    play();
    tell();
    for (unsigned i = 0; i < game.count; i++)
        lull_group_free(game.npcs[i].scripts);
    lull_event_free(game.alarm);
    lull_clock_free(game.time);
    lull_close(game.l, SECOND);
    printf("at the world's end %u had taken up something, %u dropped it; %u errors\n",
           game.carried, game.dropped, game.errors);
    free(game.npcs);
    free(game.costs);
    return game.errors > 0;
}
