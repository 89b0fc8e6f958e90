/* See body.h. Words and header fields look like mail, because a pattern matcher's cost depends on what it reads. */
#include "body.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_COLUMN 72
#define BASE64_LINE 76
#define TEXT_LIMIT_BYTES (64u << 10)
#define CLOSING_BOUNDARY "\r\n--=_bench_part--\r\n"

static const char *const WORDS[] = {
    "the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "as", "his", "on", "be", "at", "by",
    "this", "had", "not", "are", "but", "from", "or", "have", "an", "they", "which", "one", "you", "were", "her", "all",
    "she", "there", "would", "their", "we", "him", "been", "has", "when", "who", "will", "more", "no", "if", "out",
    "meeting", "report", "attached", "please", "review", "before", "Thursday", "invoice", "number", "project", "team",
    "schedule", "update", "customer", "delivery", "regards", "question", "answer", "budget", "quarter", "contract",
    "draft", "version", "comments", "changes", "office", "travel", "conference", "support", "ticket", "server",
    "network", "maintenance", "weekend", "morning", "afternoon", "tomorrow", "yesterday", "forward", "thanks",
    "minutes", "agenda", "appointment", "available", "possible", "confirm", "receive", "message", "address", "public",
    "between", "another", "because", "different", "important", "company", "department", "government", "university",
};

static const char HEADER[] =
    "Received: from mail-lj1-f181.sender.example (mail-lj1-f181.sender.example [192.0.2.181])\r\n"
    "\tby mx.relay.example (Postfix) with ESMTPS id 4Rk2Ts0Wq3z9sW1\r\n"
    "\tfor <user@example.test>; Tue, 14 Nov 2023 09:12:44 +0000 (UTC)\r\n"
    "Received: by mail-lj1-f181.sender.example with SMTP id 38308e7fff4ca-2c50906f941so77\r\n"
    "\tfor <user@example.test>; Tue, 14 Nov 2023 01:12:43 -0800 (PST)\r\n"
    "MIME-Version: 1.0\r\n"
    "From: Alice Sender <alice@sender.example>\r\n"
    "Date: Tue, 14 Nov 2023 10:12:31 +0100\r\n"
    "Message-ID: <CAJq5Z0+bench-7f3a@mail.sender.example>\r\n"
    "Subject: Minutes of the meeting and the schedule for next week\r\n"
    "To: Some User <user@example.test>\r\n"
    "User-Agent: Mozilla Thunderbird\r\n"
    "Content-Language: en-GB\r\n";

static const char TEXT_TYPE[] = "Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n";
static const char MIXED_TYPE[] = "Content-Type: multipart/mixed; boundary=\"=_bench_part\"\r\n\r\n"
                                 "--=_bench_part\r\n"
                                 "Content-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: 7bit\r\n\r\n";
static const char ATTACHMENT[] = "\r\n--=_bench_part\r\n"
                                 "Content-Type: application/octet-stream; name=\"figures.bin\"\r\n"
                                 "Content-Transfer-Encoding: base64\r\n"
                                 "Content-Disposition: attachment; filename=\"figures.bin\"\r\n\r\n";

static uint64_t next_random(uint64_t *state) {
    /* xorshift64*: the same octets from the same seed on every machine. */
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

static char *put(char *at, const char *text, size_t length) {
    memcpy(at, text, length);
    return at + length;
}

/* Lines of words from `at` to exactly `end`; the last two octets are CRLF. Needs at least 2 octets of room. */
static void fill_text(char *at, char *end, uint64_t *state) {
    size_t column = 0, sentence = 0;
    while (end - at > 2) {
        const char *word = WORDS[next_random(state) % (sizeof WORDS / sizeof *WORDS)];
        size_t length = strlen(word);
        if (column + length + 2 > TEXT_COLUMN && end - at > 4) {
            at = put(at, "\r\n", 2);
            column = 0;
            continue;
        }
        if (length + 2 > (size_t)(end - at - 2)) {
            *at++ = 'x'; /* the odd octets at the end */
            continue;
        }
        at = put(at, word, length);
        column += length;
        if (++sentence % 11 == 0) {
            *at++ = '.';
            column++;
        }
        *at++ = ' ';
        column++;
    }
    memcpy(end - 2, "\r\n", 2);
}

static void fill_base64(char *at, char *end, uint64_t *state) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t column = 0;
    uint64_t bits = 0;
    unsigned left = 0;
    while (at < end) {
        if (column == BASE64_LINE && end - at >= 2) {
            at = put(at, "\r\n", 2);
            column = 0;
            continue;
        }
        if (left == 0) {
            bits = next_random(state);
            left = 10;
        }
        *at++ = digits[bits & 63];
        bits >>= 6;
        left--;
        column++;
    }
}

struct message body_make(size_t size_bytes, enum body_kind kind, uint64_t seed) {
    if (size_bytes < BODY_MINIMUM_BYTES) {
        fprintf(stderr, "load: a message has at least %d octets\n", BODY_MINIMUM_BYTES);
        exit(2);
    }
    uint64_t state = seed * 2654435761u + 1;
    struct message message = {malloc(size_bytes + 3), size_bytes};
    if (!message.octets) {
        perror("load: message");
        exit(2);
    }
    char *at = message.octets, *end = at + size_bytes;
    at = put(at, HEADER, sizeof HEADER - 1);
    if (kind == BODY_TEXT || (kind == BODY_AUTO && size_bytes <= TEXT_LIMIT_BYTES)) {
        at = put(at, TEXT_TYPE, sizeof TEXT_TYPE - 1);
        fill_text(at, end, &state);
    } else {
        at = put(at, MIXED_TYPE, sizeof MIXED_TYPE - 1);
        size_t room = (size_t)(end - at) - (sizeof ATTACHMENT - 1) - (sizeof CLOSING_BOUNDARY - 1);
        size_t text = room > (16u << 10) ? 8u << 10 : room / 4;
        fill_text(at, at + text, &state);
        at = put(at + text, ATTACHMENT, sizeof ATTACHMENT - 1);
        fill_base64(at, end - (sizeof CLOSING_BOUNDARY - 1), &state);
        memcpy(end - (sizeof CLOSING_BOUNDARY - 1), CLOSING_BOUNDARY, sizeof CLOSING_BOUNDARY - 1);
    }
    memcpy(end, ".\r\n", 3);
    return message;
}
