/* The growth of buffers: see buffer.h.  Every byte is moved a bounded number of times: a
   block at least doubles when it is replaced, and bytes slide to its front only when no
   more of them are left than were taken. */
#include "buffer.h"

#include <stdint.h>
#include <string.h>

enum { SMALLEST = 256 };

static bool slide(struct buffer *b, size_t size)
{
    size_t n = buffer_size(b);
    if (b->from < n || b->capacity - n < size)
        return false;
    memmove(b->data, b->data + b->from, n);
    b->from = 0;
    b->to = n;
    return true;
}

static size_t larger(const struct buffer *b, size_t size)
{
    size_t need = buffer_size(b) + size;
    if (need < size)
        return 0;
    size_t twice = b->capacity <= SIZE_MAX / 2 ? b->capacity * 2 : b->capacity;
    size_t capacity = need > twice ? need : twice;
    return capacity > SMALLEST ? capacity : SMALLEST;
}

char *buffer_reserve(struct buffer *b, size_t size, lull_alloc alloc, void *ud)
{
    if (buffer_room(b) >= size && b->data)
        return b->data + b->to;
    if (b->data && slide(b, size))
        return b->data + b->to;
    size_t n = buffer_size(b), capacity = larger(b, size);
    char *data = capacity ? alloc(ud, NULL, 0, capacity) : NULL;
    if (data == NULL)
        return NULL;
    if (n > 0)
        memcpy(data, b->data + b->from, n);
    buffer_free(b, alloc, ud);
    *b = (struct buffer){.data = data, .to = n, .capacity = capacity};
    return data + n;
}

void buffer_take(struct buffer *b, size_t size, lull_alloc alloc, void *ud)
{
    b->from += size;
    if (b->from == b->to)
        buffer_free(b, alloc, ud);
}

void buffer_free(struct buffer *b, lull_alloc alloc, void *ud)
{
    if (b->data)
        alloc(ud, b->data, b->capacity, 0);
    *b = (struct buffer){0};
}
