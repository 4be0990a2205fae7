/* How each format tells whether its item is there: see scan.h.  No byte is searched
   twice, however many pieces an item comes in. */
#include "scan.h"

#include <ctype.h>
#include <string.h>

/* ---- lines and delimiters ---------------------------------------------------------- */

static enum verdict scan_line(const struct want *w, const char *p, size_t n, bool ended,
                              size_t *searched, struct item *item)
{
    const char *end = memchr(p + *searched, '\n', n - *searched);
    size_t size = end ? (size_t)(end - p) : n;
    bool cr = size > 0 && p[size - 1] == '\r' && (end || !ended);
    if (size - cr > w->count)
        return LONG;
    if (!end && !ended) {
        *searched = n;
        return MORE;
    }
    item->used = size + (end != NULL);
    item->size = w->kind == LINE_KEPT ? item->used : size - cr;
    return FOUND;
}

static enum verdict scan_until(const struct want *w, const char *p, size_t n, bool ended,
                               size_t *searched, struct item *item)
{
    size_t back = *searched >= w->length ? *searched - (w->length - 1) : 0;
    const char *end = memmem(p + back, n - back, w->mark, w->length);
    item->size = item->used = end ? (size_t)(end - p) + w->length : n;
    if (item->used > w->count || (!end && n == w->count))
        return LONG;
    if (end)
        return FOUND;
    *searched = n;
    return ended ? EARLY : MORE;
}

/* ---- numerals ---------------------------------------------------------------------- */

/* Goes over the characters of a numeral. */
struct cursor {
    const char *at, *end, *stop; /* stop: where it gets too long */
    bool more, overlong;         /* came to the end of what is there; to stop */
};

static int look(struct cursor *c)
{
    if (c->at == c->end)
        c->more = true;
    return c->at == c->end ? 0 : (unsigned char)*c->at;
}

static bool step(struct cursor *c)
{
    if (c->at == c->stop)
        c->overlong = true;
    else
        c->at++;
    return !c->overlong;
}

static bool skip(struct cursor *c, const char *set)
{
    int here = look(c);
    return here != 0 && strchr(set, here) && step(c);
}

static int skip_digits(struct cursor *c, bool hex)
{
    const char *from = c->at;
    while ((hex ? isxdigit(look(c)) : isdigit(look(c))) && step(c))
        ;
    return c->at > from;
}

/* As far as these characters could be a numeral; whether they are one lua_stringtonumber
   knows.  As in io, what has been looked at is used up even if they are not. */
static void walk(struct cursor *c)
{
    skip(c, "+-");
    bool zero = skip(c, "0"), hex = zero && skip(c, "xX");
    int digits = zero && !hex;
    digits |= skip_digits(c, hex);
    if (skip(c, "."))
        digits |= skip_digits(c, hex);
    if (digits && skip(c, hex ? "pP" : "eE")) {
        skip(c, "+-");
        skip_digits(c, false);
    }
}

static enum verdict scan_number(const struct want *w, const char *p, size_t n, bool ended,
                                size_t *searched, struct item *item)
{
    size_t from = *searched;
    while (from < n && isspace((unsigned char)p[from]))
        from++;
    *searched = from;
    if (from > w->count)
        return LONG;
    struct cursor c = {.at = p + from, .end = p + n, .stop = p + from + LULL_NUMERAL};
    walk(&c);
    if (c.more && !ended)
        return MORE;
    item->from = from;
    item->used = (size_t)(c.at - p);
    item->size = c.overlong ? 0 : item->used - from;
    return FOUND;
}

/* ---- all of them ------------------------------------------------------------------- */

/* Where there are no bytes. */
static enum verdict scan_nothing(const struct want *w, bool ended, struct item *item)
{
    *item = (struct item){0};
    return !ended ? MORE : w->kind == ALL ? FOUND : NOTHING;
}

enum verdict lull_scan(const struct want *w, const char *p, size_t n, bool ended,
                       size_t *searched, struct item *item)
{
    if (n == 0)
        return scan_nothing(w, ended, item);
    *item = (struct item){.size = n < w->count ? n : w->count};
    item->used = item->size;
    switch (w->kind) {
    case SOME:
        return FOUND;
    case LINE:
    case LINE_KEPT:
        return scan_line(w, p, n, ended, searched, item);
    case NUMBER:
        return scan_number(w, p, n, ended, searched, item);
    case ALL:
        return ended ? FOUND : MORE;
    case COUNT:
        return n >= w->count || ended ? FOUND : MORE;
    case EXACTLY:
        return n >= w->count ? FOUND : ended ? EARLY : MORE;
    default:
        return scan_until(w, p, n, ended, searched, item);
    }
}
