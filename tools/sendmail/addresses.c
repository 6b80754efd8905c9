/* addresses.c - see addresses.h. One pass: what stands outside comments and quotes is kept in `text` until
 * an address is over; what stands in <> takes its place. */
#include "tools/sendmail/addresses.h"

#include "engine/limits.h"

struct walk {
    struct str value;
    size_t at;
    struct buf text, angle; /* of the address under way; what stood in <> */
    bool has_angle;
    address_found *found;
    void *user;
};

/* Past a comment, which may hold others. */
static void skip_comment(struct walk *walk)
{
    unsigned depth = 0;
    for (; walk->at < walk->value.n; walk->at++) {
        char c = walk->value.p[walk->at];
        if (c == '\\')
            walk->at++;
        else if (c == '(')
            depth++;
        else if (c == ')' && --depth == 0)
            break;
    }
}

/* A quoted string, with its quotes. */
static void take_quoted(struct walk *walk, struct buf *to)
{
    do {
        char c = walk->value.p[walk->at];
        buf_add_char(to, c);
        if (c == '\\' && walk->at + 1 < walk->value.n)
            buf_add_char(to, walk->value.p[++walk->at]);
        walk->at++;
    } while (walk->at < walk->value.n && walk->value.p[walk->at] != '"');
    if (walk->at < walk->value.n)
        buf_add_char(to, '"');
}

static void take_angle(struct walk *walk)
{
    buf_clear(&walk->angle);
    walk->has_angle = true;
    for (walk->at++; walk->at < walk->value.n && walk->value.p[walk->at] != '>'; walk->at++) {
        char c = walk->value.p[walk->at];
        if (c == '"')
            take_quoted(walk, &walk->angle);
        else if (c == '(')
            skip_comment(walk);
        else if (c == ':') /* what stood before was a route */
            buf_clear(&walk->angle);
        else if (c != ' ' && c != '\t')
            buf_add_char(&walk->angle, c);
    }
}

static void end_address(struct walk *walk)
{
    const struct buf *from = walk->has_angle ? &walk->angle : &walk->text;
    struct str address = str_trim(buf_str(from));
    if (address.n > 0 && !from->failed)
        walk->found(address, walk->user);
    buf_clear(&walk->text);
    buf_clear(&walk->angle);
    walk->has_angle = false;
}

void addresses_in(struct str value, address_found *found, void *user)
{
    struct walk walk = {.value = value, .found = found, .user = user};
    buf_init(&walk.text, CONTENT_MAX);
    buf_init(&walk.angle, CONTENT_MAX);
    for (; walk.at < value.n; walk.at++) {
        switch (value.p[walk.at]) {
        case '(':
            skip_comment(&walk);
            break;
        case '"':
            take_quoted(&walk, &walk.text);
            break;
        case '<':
            take_angle(&walk);
            break;
        case ':': /* what stood before is a group's name */
            buf_clear(&walk.text);
            break;
        case ',':
        case ';':
            end_address(&walk);
            break;
        case ' ':
        case '\t':
            break; /* "ada @ example.com" is an address */
        default:
            buf_add_char(&walk.text, value.p[walk.at]);
        }
    }
    end_address(&walk);
    buf_free(&walk.text);
    buf_free(&walk.angle);
}
