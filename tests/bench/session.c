/* See session.h. Every reply but the expected one fails the session. */
#include "session.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *const STAGE_NAME[] = {"closed", "connect", "TLS handshake", "greeting", "EHLO", "STARTTLS",
                                         "ready",  "MAIL",    "RCPT",          "DATA",     "final dot", "QUIT"};

void session_abort(struct session *session) {
    if (session->tls) {
        SSL_free(session->tls);
        session->tls = NULL;
    }
    if (session->fd >= 0) close(session->fd);
    session->fd = -1;
    session->stage = CLOSED;
    session->write_blocked = false;
    session->out_bytes = 0;
}

static enum event fail(struct session *session, const char *why) {
    snprintf(session->trouble, sizeof session->trouble, "at %s: %s", STAGE_NAME[session->stage], why);
    session_abort(session);
    return SESSION_FAILED;
}

static void queue_command(struct session *session, enum stage next, const char *command) {
    size_t length = strlen(command);
    memcpy(session->commands, command, length);
    session->out = session->commands;
    session->out_bytes = length;
    session->stage = next;
}

bool session_connect(struct session *session) {
    int one = 1;
    session->stage = CONNECTING;
    session->tls = NULL;
    session->in_bytes = session->out_bytes = 0;
    session->sent_messages = 0;
    session->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (session->fd < 0) {
        fail(session, strerror(errno));
        return false;
    }
    setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (connect(session->fd, (const struct sockaddr *)&session->plan->to, sizeof session->plan->to) < 0 &&
        errno != EINPROGRESS) {
        fail(session, strerror(errno));
        return false;
    }
    session->write_blocked = true; /* a connected socket says so by being writable */
    return true;
}

static void start_tls(struct session *session) {
    session->tls = SSL_new(session->plan->tls_context);
    SSL_set_fd(session->tls, session->fd);
    SSL_set_connect_state(session->tls);
    session->stage = HANDSHAKE;
}

void session_send_message(struct session *session) {
    const struct plan *plan = session->plan;
    char command[sizeof session->commands];
    int length = snprintf(command, sizeof command, "MAIL FROM:<%s>\r\n", plan->sender);
    if (plan->pipelining)
        snprintf(command + length, sizeof command - (size_t)length, "RCPT TO:<%s>\r\nDATA\r\n", plan->recipient);
    queue_command(session, MAIL, command);
}

void session_quit(struct session *session) { queue_command(session, QUIT, "QUIT\r\n"); }

/* Writes what is queued. False when the connection is lost. */
static bool flush_out(struct session *session) {
    session->write_blocked = false;
    while (session->out_bytes) {
        ssize_t wrote;
        if (session->tls) {
            int size = session->out_bytes > (1u << 30) ? 1 << 30 : (int)session->out_bytes;
            wrote = SSL_write(session->tls, session->out, size);
            if (wrote <= 0) {
                int why = SSL_get_error(session->tls, (int)wrote);
                session->write_blocked = why == SSL_ERROR_WANT_WRITE;
                return why == SSL_ERROR_WANT_WRITE || why == SSL_ERROR_WANT_READ;
            }
        } else {
            wrote = send(session->fd, session->out, session->out_bytes, MSG_NOSIGNAL);
            if (wrote < 0) {
                session->write_blocked = errno == EAGAIN;
                return errno == EAGAIN;
            }
        }
        session->out += wrote;
        session->out_bytes -= (size_t)wrote;
    }
    return true;
}

/* Reads once: octets, 0 at the end, -1 when there is nothing now, -2 when the connection is lost. */
static ssize_t read_some(struct session *session) {
    char *at = session->in + session->in_bytes;
    size_t room = sizeof session->in - session->in_bytes;
    if (session->tls) {
        int got = SSL_read(session->tls, at, (int)room);
        if (got > 0) return got;
        int why = SSL_get_error(session->tls, got);
        if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) return -1;
        return why == SSL_ERROR_ZERO_RETURN ? 0 : -2;
    }
    ssize_t got = recv(session->fd, at, room, 0);
    if (got >= 0) return got;
    return errno == EAGAIN ? -1 : -2;
}

/* Takes one whole reply off the buffer into `line`. Returns its code, 0 if it is not whole yet, -1 if it is no reply. */
static int take_reply(struct session *session, char *line, size_t line_size) {
    size_t start = 0;
    for (;;) {
        char *end = memchr(session->in + start, '\n', session->in_bytes - start);
        if (!end) return session->in_bytes == sizeof session->in ? -1 : 0;
        size_t length = (size_t)(end - session->in) - start;
        if (length < 4) return -1;
        snprintf(line, line_size, "%.*s", (int)length - 1, session->in + start);
        char separator = session->in[start + 3];
        start += length + 1;
        if (separator == '-') continue; /* RFC 5321 §4.2.1: more lines of the same reply */
        memmove(session->in, session->in + start, session->in_bytes - start);
        session->in_bytes -= start;
        return atoi(line);
    }
}

static int expected_code(enum stage stage) {
    switch (stage) {
    case GREETING:
    case STARTTLS: return 220;
    case DATA: return 354;
    case QUIT: return 221;
    default: return 250;
    }
}

/* The state table: what follows the expected reply at each stage. */
static enum event advance(struct session *session) {
    const struct plan *plan = session->plan;
    char command[sizeof session->commands];
    switch (session->stage) {
    case GREETING: queue_command(session, EHLO, "EHLO load.bench.example\r\n"); return NOTHING;
    case EHLO:
        if (plan->tls == TLS_STARTTLS && !session->tls) {
            queue_command(session, STARTTLS, "STARTTLS\r\n");
            return NOTHING;
        }
        session->stage = READY;
        return SESSION_READY;
    case STARTTLS: start_tls(session); return NOTHING;
    case MAIL:
        session->stage = RCPT;
        snprintf(command, sizeof command, "RCPT TO:<%s>\r\n", plan->recipient);
        if (!plan->pipelining) queue_command(session, RCPT, command);
        return NOTHING;
    case RCPT:
        session->stage = DATA;
        if (!plan->pipelining) queue_command(session, DATA, "DATA\r\n");
        return NOTHING;
    case DATA:
        session->stage = FINAL;
        session->out = plan->message.octets;
        session->out_bytes = plan->message.size_bytes + 3;
        return NOTHING;
    case FINAL:
        session->stage = READY;
        session->sent_messages++;
        return MESSAGE_ACCEPTED;
    case QUIT: session_abort(session); return SESSION_CLOSED;
    default: return fail(session, "a reply that nothing asked for");
    }
}

static enum event handshake(struct session *session) {
    char why[256];
    int done = SSL_do_handshake(session->tls);
    if (done == 1) {
        session->write_blocked = false;
        if (session->plan->tls == TLS_IMPLICIT)
            session->stage = GREETING;
        else
            queue_command(session, EHLO, "EHLO load.bench.example\r\n");
        return NOTHING;
    }
    int error = SSL_get_error(session->tls, done);
    session->write_blocked = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return NOTHING;
    ERR_error_string_n(ERR_get_error(), why, sizeof why);
    return fail(session, why);
}

static enum event connected(struct session *session) {
    int error = 0;
    socklen_t size = sizeof error;
    struct sockaddr_in peer;
    socklen_t peer_size = sizeof peer;
    getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) return fail(session, strerror(error));
    if (getpeername(session->fd, (struct sockaddr *)&peer, &peer_size) < 0) return NOTHING; /* still under way */
    session->write_blocked = false;
    session->stage = GREETING;
    if (session->plan->tls == TLS_IMPLICIT) start_tls(session);
    return NOTHING;
}

enum event session_step(struct session *session) {
    char line[400];
    if (session->stage == CLOSED) return NOTHING;
    if (session->stage == CONNECTING) {
        enum event event = connected(session);
        if (event != NOTHING || session->stage == CONNECTING) return event;
    }
    for (;;) {
        if (session->stage == HANDSHAKE) {
            enum event event = handshake(session);
            if (event != NOTHING || session->stage == HANDSHAKE) return event;
        }
        if (!flush_out(session)) return fail(session, "connection lost while writing");
        int code = take_reply(session, line, sizeof line);
        if (code == 0) {
            ssize_t got = read_some(session);
            if (got == -1) return NOTHING;
            if (got <= 0 && session->stage == QUIT) { /* closed after QUIT without a word: nothing is lost */
                session_abort(session);
                return SESSION_CLOSED;
            }
            if (got <= 0) return fail(session, got ? "connection lost" : "connection closed by the server");
            session->in_bytes += (size_t)got;
            continue;
        }
        if (code != expected_code(session->stage)) return fail(session, code < 0 ? "not an SMTP reply" : line);
        if (session->stage == FINAL && session->out_bytes) return fail(session, "250 before the final dot was sent");
        enum event event = advance(session);
        if (event != NOTHING) return event;
    }
}
