/* Looking for an item in a run of bytes: what is asked for, whether it is there, and how
   much of it is known not to be.  Knows neither streams nor Lua. */
#ifndef LULL_SCAN_H
#define LULL_SCAN_H

#include <stdbool.h>
#include <stddef.h>

enum kind { SOME, LINE, LINE_KEPT, NUMBER, ALL, COUNT, EXACTLY, UNTIL };

struct want {
    enum kind kind;
    size_t count;     /* bytes: wanted, or at most */
    const char *mark; /* what it ends with */
    size_t length;    /* of the mark */
};

/* An item in a run of bytes, and how many of them it uses up. */
struct item {
    size_t size, from, used;
};

enum verdict {
    FOUND,
    MORE,    /* not complete */
    NOTHING, /* the end, and no bytes before it */
    EARLY,   /* the end came before the item was complete */
    LONG     /* it is longer than it may be */
};

enum { LULL_NUMERAL = 200 }; /* the longest numeral, as in io */

/* Is the item complete in these n bytes, behind which the end has come or not?  searched
   tells how many of them are done with: 0 at first, then as the last look has left it. */
enum verdict lull_scan(const struct want *w, const char *p, size_t n, bool ended,
                       size_t *searched, struct item *item);

#endif
