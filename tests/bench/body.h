/* The message that the load generator sends: made once from a seed, shared by all sessions, never changed. */
#ifndef MAILWEIR_BENCH_BODY_H
#define MAILWEIR_BENCH_BODY_H

#include <stddef.h>
#include <stdint.h>

enum body_kind { BODY_AUTO, BODY_TEXT, BODY_BASE64 };

struct message {
    char *octets;      /* header section and body with CRLF line ends, then ".\r\n"; owned by the caller, free() it */
    size_t size_bytes; /* of the message, without the ".\r\n" */
};

/* A message of exactly `size_bytes` (at least BODY_MINIMUM_BYTES). BODY_AUTO is text up to 64 KiB, and above that a
 * short text with one base64 attachment. No line begins with a dot, so the stuffed form is the message itself. */
struct message body_make(size_t size_bytes, enum body_kind kind, uint64_t seed);

#define BODY_MINIMUM_BYTES 1536

#endif
