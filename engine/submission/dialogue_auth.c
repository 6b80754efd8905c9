/* dialogue_auth.c - AUTH (RFC 4954) with PLAIN (RFC 4616) and LOGIN: collects a user and a password. Whether
 * they are right is for the owner to find out; one reply for an unknown user and a wrong password. */
#include "engine/message/decode.h"
#include "engine/submission/dialogue_parts.h"

#include <stdlib.h>

bool auth_offered(const struct dialogue *dialogue)
{
    return dialogue->rules->has_users && (dialogue->secured || dialogue->rules->config->plaintext_auth);
}

void auth_forget(struct dialogue *dialogue)
{
    if (dialogue->login != NULL)
        explicit_bzero(dialogue->login, sizeof *dialogue->login);
    free(dialogue->login);
    dialogue->login = NULL;
    if (dialogue->state == DIALOGUE_AUTH)
        dialogue->state = DIALOGUE_COMMAND;
}

static void give_up(struct turn *turn, const char *line)
{
    auth_forget(turn->dialogue);
    turn_refuse(turn, line);
}

/* One line's worth; "=" stands for nothing (RFC 4954 4). */
static bool is_base64(struct str text)
{
    size_t padding = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
                      c == '+' || c == '/';
        if ((!letter && c != '=') || (letter && padding > 0))
            return false;
        padding += c == '=';
    }
    return text.n % 4 == 0 && padding <= 2;
}

static bool take_text(char *to, size_t max, struct str text)
{
    if (text.n > max || memchr(text.p, '\0', text.n) != NULL)
        return false;
    memcpy(to, text.p, text.n);
    to[text.n] = '\0';
    return true;
}

/* authorization identity NUL user NUL password: the first empty, or the user's own. */
static bool take_plain(struct dialogue_login *login, struct str text)
{
    size_t first = str_find(text, '\0', 0);
    size_t second = first == SIZE_MAX ? SIZE_MAX : str_find(text, '\0', first + 1);
    if (second == SIZE_MAX)
        return false;
    struct str identity = str_make(text.p, first);
    struct str user = str_make(text.p + first + 1, second - first - 1);
    return (identity.n == 0 || str_eq(identity, user)) && take_text(login->user, SUBMISSION_USER_MAX, user) &&
           take_text(login->password, SUBMISSION_PASSWORD_MAX,
                     str_make(text.p + second + 1, text.n - second - 1));
}

/* A decoded answer of the client. */
static void take_answer(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    struct dialogue_login *login = dialogue->login;
    bool good = false;
    switch (login->awaits) {
    case LOGIN_PLAIN:
        good = take_plain(login, text);
        break;
    case LOGIN_USER:
        if (take_text(login->user, SUBMISSION_USER_MAX, text)) {
            login->awaits = LOGIN_PASSWORD;
            answer(turn->out, "334 UGFzc3dvcmQ6"); /* "Password:" */
            return;
        }
        break;
    case LOGIN_PASSWORD:
        good = take_text(login->password, SUBMISSION_PASSWORD_MAX, text);
        break;
    }
    if (good)
        turn_wait(turn, DIALOGUE_LOGIN);
    else
        give_up(turn, "501 5.5.2 this holds no user and password");
}

void auth_line(struct turn *turn, struct str line)
{
    struct buf text;
    if (str_eq(line, STR("*"))) {
        give_up(turn, "501 5.7.0 given up, as you wish");
        return;
    }
    if (str_eq(line, STR("=")))
        line.n = 0;
    buf_init(&text, SUBMISSION_LINE_MAX);
    if (!is_base64(line) || !base64_decode(line, &text) || !buf_add_char(&text, '\0'))
        give_up(turn, "501 5.5.2 this is no base64");
    else
        take_answer(turn, str_make(text.data, text.len - 1));
    if (text.data != NULL)
        explicit_bzero(text.data, text.cap);
    buf_free(&text);
}

/* Known, and refused: they give too little, or nothing that a file of hashes could check. */
static bool is_weak(struct str mechanism)
{
    static const struct str weak[] = {{"CRAM-MD5", 8}, {"DIGEST-MD5", 10}, {"NTLM", 4}, {"ANONYMOUS", 9}};
    for (size_t i = 0; i < sizeof weak / sizeof *weak; i++)
        if (str_eq_nocase(mechanism, weak[i]))
            return true;
    return false;
}

static bool may_begin(struct turn *turn, struct str mechanism)
{
    const struct dialogue *dialogue = turn->dialogue;
    if (!dialogue->rules->has_users)
        return turn_refuse(turn, "502 5.5.1 there is no AUTH here: no users are configured");
    if (dialogue->helo == NULL || !dialogue->extended)
        return turn_refuse(turn, "503 5.5.1 say EHLO first");
    if (dialogue->user != NULL)
        return turn_refuse(turn, "503 5.5.1 you are logged in already");
    if (dialogue->parcel.begun)
        return turn_refuse(turn, "503 5.5.1 not within a transaction");
    if (mechanism.n == 0)
        return turn_refuse(turn, "501 5.5.4 expected a mechanism: PLAIN or LOGIN");
    if (!auth_offered(dialogue))
        return turn_refuse(turn, "538 5.7.11 not in the clear: STARTTLS first");
    if (is_weak(mechanism))
        return turn_refuse(turn, "534 5.7.9 this mechanism is too weak: PLAIN or LOGIN, through TLS");
    return true;
}

bool auth_command(struct turn *turn, struct str text)
{
    struct dialogue *dialogue = turn->dialogue;
    size_t blank = str_find(text, ' ', 0);
    struct str mechanism = str_make(text.p, blank == SIZE_MAX ? text.n : blank);
    struct str initial = str_trim(str_make(text.p + mechanism.n, text.n - mechanism.n));
    bool plain = str_eq_nocase(mechanism, STR("PLAIN"));
    if (!may_begin(turn, mechanism))
        return false;
    if (!plain && !str_eq_nocase(mechanism, STR("LOGIN")))
        return turn_refuse(turn, "504 5.5.4 this mechanism is not known: PLAIN or LOGIN");
    dialogue->login = calloc(1, sizeof *dialogue->login);
    if (dialogue->login == NULL)
        return turn_refuse(turn, "454 4.7.0 no memory: try again later");
    dialogue->login->awaits = plain ? LOGIN_PLAIN : LOGIN_USER;
    dialogue->state = DIALOGUE_AUTH;
    if (initial.n > 0)
        auth_line(turn, initial);
    else
        answer(turn->out, plain ? "334 " : "334 VXNlcm5hbWU6"); /* "Username:" */
    return true;
}

enum dialogue_event dialogue_login(struct dialogue *dialogue, enum login_result result, struct buf *out)
{
    struct turn turn = {.dialogue = dialogue, .out = out};
    dialogue->state = DIALOGUE_COMMAND;
    if (result == LOGIN_GOOD && (dialogue->user = str_dup(str_of(dialogue->login->user))) == NULL)
        result = LOGIN_FAILED;
    auth_forget(dialogue);
    if (result == LOGIN_GOOD)
        answer(out, "235 2.7.0 welcome");
    else
        turn_refuse(&turn, result == LOGIN_WRONG
                               ? "535 5.7.8 wrong user or password"
                               : "454 4.7.0 the users can't be looked up now: try again later");
    return turn.event;
}
