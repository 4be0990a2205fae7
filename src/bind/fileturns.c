/* Whose turn it is with a file.  An operation that has to wait, for those before it or
   for a thread, takes a place in the line with a Turn on its stack; however the operation
   is left, the Turn is closed and the next one looks whether it can go on. */
#include "files.h"

/* ---- turns ----------------------------------------------------------------------- */

/* uservalue 1 is the File. */
struct turn {
    lull_list *line;
    lull_list link, waiters; /* the task that waits */
    lull_loop *loop;
};

static lull_list *line_of(struct file *f, bool adds)
{
    return &f->lines[adds && f->flags & FILE_PIPE];
}

void lull_file_rouse(lull_list *line)
{
    if (list_empty(line))
        return;
    struct turn *t = container_of(line->next, struct turn, link);
    if (!list_empty(&t->waiters))
        lull_wake(t->loop, container_of(t->waiters.next, lull_waiter, link), 0);
}

void lull_file_rouse_all(struct file *f)
{
    for (int i = 0; i < 2; i++)
        for (lull_list *l = f->lines[i].next; l != &f->lines[i]; l = l->next) {
            struct turn *t = container_of(l, struct turn, link);
            if (!list_empty(&t->waiters))
                lull_wake(t->loop, container_of(t->waiters.next, lull_waiter, link), 0);
        }
}

static int turn_close(lua_State *L)
{
    struct turn *t = lua_touserdata(L, 1);
    if (t->line == NULL)
        return 0;
    while (!list_empty(&t->waiters))
        list_pop(&t->waiters);
    list_remove(&t->link);
    lull_file_rouse(t->line);
    t->line = NULL;
    return 0;
}

static struct turn *take_turn(lua_State *L, struct file *f, bool adds)
{
    struct turn *t = lua_touserdata(L, FILE_TURN);
    if (t != NULL)
        return t;
    t = lull_newobject(L, LULL_TURN, sizeof *t, 1);
    list_init(&t->link);
    list_init(&t->waiters);
    lua_pushvalue(L, FILE_SELF);
    lua_setiuservalue(L, -2, 1);
    lua_replace(L, FILE_TURN);
    lua_toclose(L, FILE_TURN);
    t->loop = f->rt->loop;
    t->line = line_of(f, adds);
    list_push(t->line, &t->link);
    return t;
}

int lull_file_enter(lua_State *L, struct file *f, lua_KFunction k)
{
    lua_pushnil(L);
    lua_insert(L, FILE_TURN);
    if (f->errand == NULL && list_empty(&f->lines[0])) {
        f->ended = false; /* what was the end need not be it any more */
        f->in_error = 0;
    }
    return lull_enter(L, k);
}

int lull_file_await(lua_State *L, struct file *f, bool adds, lua_KFunction k)
{
    struct turn *t = take_turn(L, f, adds);
    lull_wait(&f->rt->task->waiter);
    list_push(&t->waiters, &f->rt->task->waiter.link);
    return lull_await(L, LULL_FOREVER, k);
}

int lull_file_await_pipe(lua_State *L, struct file *f, lua_KFunction k)
{
    take_turn(L, f, false);
    return lull_await_io(L, &f->io, LULL_READ, LULL_FOREVER, k);
}

int lull_file_ready(lua_State *L, struct file *f, bool adds)
{
    struct turn *t = lua_touserdata(L, FILE_TURN);
    lull_list *line = line_of(f, adds);
    if (!(f->flags & FILE_OPEN))
        return -ECANCELED;
    lull_file_settle(L, f);
    if (t ? line->next != &t->link : !list_empty(line))
        return 0;
    return f->errand == NULL || (adds && f->errand->act == sys_file_write);
}

void lull_file_disband(struct file *f)
{
    for (int i = 0; i < 2; i++)
        while (!list_empty(&f->lines[i]))
            container_of(list_pop(&f->lines[i]), struct turn, link)->line = NULL;
}

static const luaL_Reg turn_meta[] = {
    {"__close", turn_close}, {"__gc", turn_close}, {NULL, NULL}};

void lull_open_turn(lua_State *L)
{
    lull_newclass(L, LULL_TURN, "Turn", NULL, turn_meta);
}
