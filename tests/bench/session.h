/* One SMTP client session of the load generator: a state machine over a non-blocking socket, clear or TLS.
 * It knows nothing of pacing or of other sessions; load.c owns the sessions and asks for steps. */
#ifndef MAILWEIR_BENCH_SESSION_H
#define MAILWEIR_BENCH_SESSION_H

#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>

#include "body.h"

enum tls_mode { TLS_NONE, TLS_STARTTLS, TLS_IMPLICIT };

struct plan { /* what all sessions of a run share; constant while it runs */
    struct sockaddr_in to;
    const char *sender, *recipient;
    struct message message;
    bool pipelining; /* MAIL, RCPT and DATA in one write (RFC 2920) */
    enum tls_mode tls;
    SSL_CTX *tls_context;
};

enum stage { CLOSED, CONNECTING, HANDSHAKE, GREETING, EHLO, STARTTLS, READY, MAIL, RCPT, DATA, FINAL, QUIT };

enum event { NOTHING, SESSION_READY, MESSAGE_ACCEPTED, SESSION_FAILED, SESSION_CLOSED };

struct session {
    const struct plan *plan;
    enum stage stage;
    int fd; /* -1 when CLOSED */
    SSL *tls;
    bool write_blocked;     /* the caller should wait for EPOLLOUT as well */
    uint64_t began_ns;      /* of the message under way: connect, or MAIL on a reused connection; set by the caller */
    uint32_t sent_messages; /* accepted on this connection */
    const char *out;        /* what is left to write; points into `commands` or the shared message */
    size_t out_bytes;
    char commands[1024];
    char in[4096];
    size_t in_bytes;
    char trouble[512]; /* why SESSION_FAILED */
};

/* Starts a connection. False, with `trouble`, if that fails at once. */
bool session_connect(struct session *session);

/* From READY: one message, or the end of the session. */
void session_send_message(struct session *session);
void session_quit(struct session *session);

/* Does what the socket allows, and returns the next thing that the caller must know. Call again until NOTHING.
 * After SESSION_FAILED and SESSION_CLOSED the socket is closed and the stage is CLOSED. */
enum event session_step(struct session *session);

/* Closes without a word. */
void session_abort(struct session *session);

#endif
