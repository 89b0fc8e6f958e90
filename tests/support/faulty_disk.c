/* A disk that fails on order, for processes run with LD_PRELOAD.
 *
 * While the file named by FAULTY_DISK_CONTROL exists, it says what fails below FAULTY_DISK_ROOT: one word, `eio-sync`
 * (fsync and fdatasync answer EIO), `enospc` (writes and new files answer ENOSPC) or `erofs` (the same with EROFS).
 * Without the file everything works, so that a test can break and mend the disk of a running process. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static int (*real_open)(const char *, int, ...);

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

static void fault(char *word, size_t size)
{
    const char *path = getenv("FAULTY_DISK_CONTROL");
    int saved = errno, fd;
    ssize_t got = 0;

    if (!real_open)
        real_open = (int (*)(const char *, int, ...))real("open64");
    if (path && (fd = real_open(path, O_RDONLY | O_CLOEXEC)) >= 0) {
        got = read(fd, word, size - 1);
        close(fd);
    }
    word[got > 0 ? got : 0] = 0;
    errno = saved;
}

static int below_root(const char *path)
{
    const char *root = getenv("FAULTY_DISK_ROOT");
    return root && strncmp(path, root, strlen(root)) == 0;
}

static int concerns(int fd)
{
    char link[64], path[4096];
    ssize_t length;

    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return below_root(path);
}

static int write_error(void)
{
    char word[32];

    fault(word, sizeof word);
    return strcmp(word, "enospc") == 0 ? ENOSPC : strcmp(word, "erofs") == 0 ? EROFS : 0;
}

static int sync_fails(int fd)
{
    char word[32];

    fault(word, sizeof word);
    return strcmp(word, "eio-sync") == 0 && concerns(fd);
}

#define FAIL_WRITE(fd)                              \
    do {                                            \
        int error = write_error();                  \
        if (error && concerns(fd)) {                \
            errno = error;                          \
            return -1;                              \
        }                                           \
    } while (0)

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t offset)
{
    FAIL_WRITE(fd);
    return ((ssize_t(*)(int, const struct iovec *, int, off64_t))real("pwritev64"))(fd, iov, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *iov, int count, off_t offset) { return pwritev64(fd, iov, count, offset); }

ssize_t pwritev64v2(int fd, const struct iovec *iov, int count, off64_t offset, int flags)
{
    FAIL_WRITE(fd);
    return ((ssize_t(*)(int, const struct iovec *, int, off64_t, int))real("pwritev64v2"))(fd, iov, count, offset, flags);
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
    return pwritev64v2(fd, iov, count, offset, flags);
}

ssize_t pwrite64(int fd, const void *octets, size_t size, off64_t offset)
{
    FAIL_WRITE(fd);
    return ((ssize_t(*)(int, const void *, size_t, off64_t))real("pwrite64"))(fd, octets, size, offset);
}

int fdatasync(int fd)
{
    if (sync_fails(fd)) {
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))real("fdatasync"))(fd);
}

int fsync(int fd)
{
    if (sync_fails(fd)) {
        errno = EIO;
        return -1;
    }
    return ((int (*)(int))real("fsync"))(fd);
}

int open64(const char *path, int flags, ...)
{
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
        if (below_root(path)) {
            int error = write_error();
            if (error) {
                errno = error;
                return -1;
            }
        }
    }
    if (!real_open)
        real_open = (int (*)(const char *, int, ...))real("open64");
    return real_open(path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_list rest;
        va_start(rest, flags);
        mode = va_arg(rest, mode_t);
        va_end(rest);
    }
    return open64(path, flags, mode);
}
