// Stands between a daemon and its C library: counts the operations on files below one directory, lets one of them
// fail, and writes down what was done in which order. Never changes an operation that it was not told to fail.
//
//   SHIM_DIR      operations on files below it count, and no others
//   SHIM_KIND     ENOSPC EIO EMFILE EINTR (that error, nothing done), SHORT (half is read or written),
//                 TORN (half is written, and ENOSPC), DROP (a sync fails with EIO, and what was written to the
//                 file since the last one becomes zeros: the kernel has dropped the pages)
//   SHIM_FAIL_AT  the n-th operation, from 1, that can fail so does; 0 or nothing: none
//   SHIM_MATCH    CALL:TEXT, both may be empty: only this call counts, on paths that contain this text
//   SHIM_FIRED    file that then tells: call, path
//   SHIM_LOG      file with one line a call: begin end thread call descriptor offset length result path text
//
// Begin and end come from one counter, taken before the call is made and after it has returned: what ended with a
// lower number than another began with came before it, whatever the threads.
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define DESCRIPTORS 4096
#define TEXT_BYTES 200

enum { CAN_ENOSPC = 1, CAN_EIO = 2, CAN_EMFILE = 4, CAN_EINTR = 8, CAN_SHORT = 16, CAN_TORN = 32, CAN_DROP = 64 };

static char *paths[DESCRIPTORS];
static atomic_bool is_socket[DESCRIPTORS];
static pthread_mutex_t paths_lock = PTHREAD_MUTEX_INITIALIZER;
static char root[PATH_MAX];
static size_t root_bytes;
static int log_fd = -1;
static int kind;
static long fail_at;
static char match_call[32];
static char match_text[256];
static atomic_long counted;
static atomic_long sequence;
static const char *fired;

#define REAL(name)                                                                              \
    static __typeof__(name) *real_##name;                                                       \
    if (!real_##name) real_##name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

static long next(void) { return log_fd < 0 ? 0 : atomic_fetch_add(&sequence, 1); }

__attribute__((constructor)) static void shim_start(void) {
    const char *text = getenv("SHIM_DIR");
    if (!text) return;
    snprintf(root, sizeof root, "%s", text);
    root_bytes = strlen(root);
    fired = getenv("SHIM_FIRED");
    if ((text = getenv("SHIM_FAIL_AT"))) fail_at = atol(text);
    if ((text = getenv("SHIM_KIND"))) {
        const char *names[] = {"ENOSPC", "EIO", "EMFILE", "EINTR", "SHORT", "TORN", "DROP"};
        for (int at = 0; at < 7; at++)
            if (!strcmp(text, names[at])) kind = 1 << at;
    }
    if ((text = getenv("SHIM_MATCH"))) {
        const char *colon = strchr(text, ':');
        if (colon) {
            snprintf(match_call, sizeof match_call, "%.*s", (int)(colon - text), text);
            snprintf(match_text, sizeof match_text, "%s", colon + 1);
        }
    }
    if ((text = getenv("SHIM_LOG")))
        log_fd = syscall(SYS_openat, AT_FDCWD, text, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
}

static void note(long begin, const char *call, int fd, long offset, long length, long result, const char *path,
                 const char *text, size_t text_bytes) {
    if (log_fd < 0) return;
    int saved = errno;
    char line[PATH_MAX + 4 * TEXT_BYTES + 200];
    int used = snprintf(line, sizeof line, "%ld\t%ld\t%ld\t%s\t%d\t%ld\t%ld\t%ld\t%s\t", begin, next(),
                        (long)syscall(SYS_gettid), call, fd, offset, length, result, path ? path : "");
    for (size_t at = 0; at < text_bytes && at < TEXT_BYTES; at++) {
        unsigned char byte = text[at];
        if (byte < ' ' || byte > '~' || byte == '\\') used += snprintf(line + used, 5, "\\x%02x", byte);
        else line[used++] = byte;
    }
    line[used++] = '\n';
    syscall(SYS_write, log_fd, line, used);
    errno = saved;
}

// Whether this operation is the one that fails.
static int fails(const char *call, const char *path, int can) {
    if (!path || !fail_at || !(can & kind)) return 0;
    if (match_call[0] && strcmp(match_call, call)) return 0;
    if (match_text[0] && !strstr(path, match_text)) return 0;
    if (atomic_fetch_add(&counted, 1) + 1 != fail_at) return 0;
    if (fired) {
        char line[PATH_MAX + 64];
        int used = snprintf(line, sizeof line, "%s %s\n", call, path);
        int fd = syscall(SYS_openat, AT_FDCWD, fired, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        syscall(SYS_write, fd, line, used);
        syscall(SYS_close, fd);
    }
    errno = kind == CAN_EIO || kind == CAN_DROP ? EIO : kind == CAN_EMFILE ? EMFILE : kind == CAN_EINTR ? EINTR : ENOSPC;
    return 1;
}

// The path if it counts. Relative ones are taken from the working directory or from a descriptor that counts.
static const char *below(int directory, const char *path, char *whole) {
    if (!root_bytes || !path) return NULL;
    if (path[0] != '/') {
        char base[PATH_MAX] = "";
        if (directory == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return NULL;
        } else if (directory >= 0 && directory < DESCRIPTORS) {
            pthread_mutex_lock(&paths_lock);
            if (paths[directory]) snprintf(base, sizeof base, "%s", paths[directory]);
            pthread_mutex_unlock(&paths_lock);
        }
        if (!base[0]) return NULL;
        if (snprintf(whole, PATH_MAX, "%s%s%s", base, path[0] ? "/" : "", path) >= PATH_MAX) return NULL;
    } else {
        if (snprintf(whole, PATH_MAX, "%s", path) >= PATH_MAX) return NULL;
    }
    size_t bytes = strlen(whole);
    while (bytes > 1 && whole[bytes - 1] == '/') whole[--bytes] = 0;
    if (strncmp(whole, root, root_bytes)) return NULL;
    return whole[root_bytes] == 0 || whole[root_bytes] == '/' ? whole : NULL;
}

static const char *path_of(int fd, char *whole) {
    if (fd < 0 || fd >= DESCRIPTORS) return NULL;
    pthread_mutex_lock(&paths_lock);
    const char *found = NULL;
    if (paths[fd]) {
        snprintf(whole, PATH_MAX, "%s", paths[fd]);
        found = whole;
    }
    pthread_mutex_unlock(&paths_lock);
    return found;
}

static void track(int fd, const char *path) {
    if (fd < 0) return;
    if (fd >= DESCRIPTORS) {
        static const char say[] = "shim: a descriptor beyond its table\n";
        syscall(SYS_write, 2, say, sizeof say - 1);
        abort();
    }
    pthread_mutex_lock(&paths_lock);
    free(paths[fd]);
    paths[fd] = path ? strdup(path) : NULL;
    pthread_mutex_unlock(&paths_lock);
    is_socket[fd] = 0;
}

// Names.

static int open_any(int directory, const char *path, int flags, mode_t mode) {
    REAL(openat);
    char whole[PATH_MAX];
    const char *known = below(directory, path, whole);
    if (!known) {
        int fd = real_openat(directory, path, flags, mode);
        if (fd >= 0 && fd < DESCRIPTORS && paths[fd]) track(fd, NULL);
        return fd;
    }
    int makes = flags & (O_CREAT | O_TRUNC);
    const char *call = flags & O_CREAT && flags & O_EXCL ? "create" : makes ? "openmake" : "open";
    long begin = next();
    int can = CAN_EIO | CAN_EMFILE | CAN_EINTR | (makes ? CAN_ENOSPC : 0);
    int fd = fails(call, known, can) ? -1 : real_openat(directory, path, flags, mode);
    int saved = errno;
    track(fd, known);
    errno = saved;
    note(begin, call, fd, 0, 0, fd, known, NULL, 0);
    return fd;
}

#define MODE(flags)                                                                             \
    mode_t mode = 0;                                                                            \
    if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {                              \
        va_list rest;                                                                           \
        va_start(rest, flags);                                                                  \
        mode = va_arg(rest, mode_t);                                                            \
        va_end(rest);                                                                           \
    }

int open(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE(flags) return open_any(AT_FDCWD, path, flags | O_LARGEFILE, mode); }
int openat(int at, const char *path, int flags, ...) { MODE(flags) return open_any(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE(flags) return open_any(at, path, flags | O_LARGEFILE, mode); }
int creat(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }
int creat64(const char *path, mode_t mode) { return open_any(AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, mode); }

int close(int fd) {
    REAL(close);
    char whole[PATH_MAX];
    const char *known = path_of(fd, whole);
    int was_socket = fd >= 0 && fd < DESCRIPTORS && is_socket[fd];
    long begin = next();
    // Forgotten first: another thread may have the number as soon as it is free.
    if (known || was_socket) track(fd, NULL);
    int result = real_close(fd);
    if (known || was_socket) note(begin, "close", fd, 0, 0, result, known, NULL, 0);
    return result;
}

#define ON_PATH(call_name, can, directory, path, real_call)                                     \
    do {                                                                                        \
        char whole[PATH_MAX];                                                                   \
        const char *known = below(directory, path, whole);                                      \
        if (!known) return real_call;                                                           \
        long begin = next();                                                                    \
        int result = fails(call_name, known, can) ? -1 : real_call;                             \
        note(begin, call_name, -1, 0, 0, result, known, NULL, 0);                               \
        return result;                                                                          \
    } while (0)

int mkdir(const char *path, mode_t mode) { REAL(mkdir); ON_PATH("mkdir", CAN_EIO | CAN_ENOSPC, AT_FDCWD, path, real_mkdir(path, mode)); }
int mkdirat(int at, const char *path, mode_t mode) { REAL(mkdirat); ON_PATH("mkdir", CAN_EIO | CAN_ENOSPC, at, path, real_mkdirat(at, path, mode)); }
int rmdir(const char *path) { REAL(rmdir); ON_PATH("rmdir", CAN_EIO, AT_FDCWD, path, real_rmdir(path)); }
int unlink(const char *path) { REAL(unlink); ON_PATH("unlink", CAN_EIO, AT_FDCWD, path, real_unlink(path)); }
int unlinkat(int at, const char *path, int flags) { REAL(unlinkat); ON_PATH("unlink", CAN_EIO, at, path, real_unlinkat(at, path, flags)); }
int rename(const char *from, const char *to) { REAL(rename); ON_PATH("rename", CAN_EIO | CAN_ENOSPC, AT_FDCWD, to, real_rename(from, to)); }
int renameat(int a, const char *from, int b, const char *to) { REAL(renameat); ON_PATH("rename", CAN_EIO | CAN_ENOSPC, b, to, real_renameat(a, from, b, to)); }
int renameat2(int a, const char *from, int b, const char *to, unsigned flags) { REAL(renameat2); ON_PATH("rename", CAN_EIO | CAN_ENOSPC, b, to, real_renameat2(a, from, b, to, flags)); }
int link(const char *from, const char *to) { REAL(link); ON_PATH("link", CAN_EIO | CAN_ENOSPC, AT_FDCWD, to, real_link(from, to)); }
int linkat(int a, const char *from, int b, const char *to, int flags) { REAL(linkat); ON_PATH("link", CAN_EIO | CAN_ENOSPC, b, to, real_linkat(a, from, b, to, flags)); }
int chmod(const char *path, mode_t mode) { REAL(chmod); ON_PATH("chmod", CAN_EIO, AT_FDCWD, path, real_chmod(path, mode)); }
int access(const char *path, int mode) { REAL(access); ON_PATH("stat", CAN_EIO, AT_FDCWD, path, real_access(path, mode)); }
int stat(const char *path, struct stat *to) { REAL(stat); ON_PATH("stat", CAN_EIO, AT_FDCWD, path, real_stat(path, to)); }
int stat64(const char *path, struct stat64 *to) { REAL(stat64); ON_PATH("stat", CAN_EIO, AT_FDCWD, path, real_stat64(path, to)); }
int lstat(const char *path, struct stat *to) { REAL(lstat); ON_PATH("stat", CAN_EIO, AT_FDCWD, path, real_lstat(path, to)); }
int lstat64(const char *path, struct stat64 *to) { REAL(lstat64); ON_PATH("stat", CAN_EIO, AT_FDCWD, path, real_lstat64(path, to)); }
int fstatat(int at, const char *path, struct stat *to, int flags) { REAL(fstatat); ON_PATH("stat", CAN_EIO, at, path, real_fstatat(at, path, to, flags)); }
int fstatat64(int at, const char *path, struct stat64 *to, int flags) { REAL(fstatat64); ON_PATH("stat", CAN_EIO, at, path, real_fstatat64(at, path, to, flags)); }
int statx(int at, const char *path, int flags, unsigned mask, struct statx *to) { REAL(statx); ON_PATH("stat", CAN_EIO, at, path, real_statx(at, path, flags, mask, to)); }
int statvfs(const char *path, struct statvfs *to) { REAL(statvfs); ON_PATH("statvfs", CAN_EIO, AT_FDCWD, path, real_statvfs(path, to)); }
int statvfs64(const char *path, struct statvfs64 *to) { REAL(statvfs64); ON_PATH("statvfs", CAN_EIO, AT_FDCWD, path, real_statvfs64(path, to)); }

// Directories.

DIR *opendir(const char *path) {
    REAL(opendir);
    char whole[PATH_MAX];
    const char *known = below(AT_FDCWD, path, whole);
    if (!known) return real_opendir(path);
    long begin = next();
    DIR *listing = fails("opendir", known, CAN_EIO | CAN_EMFILE) ? NULL : real_opendir(path);
    if (listing) track(dirfd(listing), known);
    note(begin, "opendir", listing ? dirfd(listing) : -1, 0, 0, listing ? 0 : -1, known, NULL, 0);
    return listing;
}

int closedir(DIR *listing) {
    REAL(closedir);
    int fd = dirfd(listing);
    if (fd >= 0 && fd < DESCRIPTORS && paths[fd]) track(fd, NULL);
    return real_closedir(listing);
}

#define READDIR(type, name)                                                                     \
    struct type *name(DIR *listing) {                                                           \
        REAL(name);                                                                             \
        char whole[PATH_MAX];                                                                   \
        const char *known = path_of(dirfd(listing), whole);                                     \
        if (fails("readdir", known, CAN_EIO)) {                                                 \
            note(next(), "readdir", dirfd(listing), 0, 0, -1, known, NULL, 0);                  \
            return NULL;                                                                        \
        }                                                                                       \
        return real_##name(listing);                                                            \
    }
READDIR(dirent, readdir)
READDIR(dirent64, readdir64)

// What was written and not synced: only kept when it is to be dropped.

struct range {
    char *path;
    off_t from;
    off_t bytes;
    struct range *next;
};
static struct range *unsynced;
static pthread_mutex_t unsynced_lock = PTHREAD_MUTEX_INITIALIZER;

static void remember(int fd, const char *path, off_t from, long bytes) {
    if (kind != CAN_DROP || bytes <= 0) return;
    int saved = errno;
    // Without an offset the file's own has moved on already.
    if (from < 0) from = syscall(SYS_lseek, fd, 0, SEEK_CUR) - bytes;
    struct range *range = malloc(sizeof *range);
    pthread_mutex_lock(&unsynced_lock);
    *range = (struct range){strdup(path), from, bytes, unsynced};
    unsynced = range;
    pthread_mutex_unlock(&unsynced_lock);
    errno = saved;
}

// What was written before a sync that succeeds is not dropped any more; what comes meanwhile waits.
static int forget_unsynced(const char *path, int fd, int (*real)(int)) {
    if (kind != CAN_DROP) return real(fd);
    pthread_mutex_lock(&unsynced_lock);
    int result = real(fd);
    for (struct range **at = &unsynced; *at;) {
        struct range *range = *at;
        if (result || strcmp(range->path, path)) {
            at = &range->next;
            continue;
        }
        *at = range->next;
        free(range->path);
        free(range);
    }
    pthread_mutex_unlock(&unsynced_lock);
    return result;
}

static void drop_unsynced(const char *path) {
    int saved = errno;
    pthread_mutex_lock(&unsynced_lock);
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
    for (struct range *range = unsynced; fd >= 0 && range; range = range->next) {
        if (strcmp(range->path, path)) continue;
        void *zeros = calloc(1, range->bytes);
        syscall(SYS_pwrite64, fd, zeros, range->bytes, range->from);
        free(zeros);
    }
    if (fd >= 0) syscall(SYS_close, fd);
    pthread_mutex_unlock(&unsynced_lock);
    errno = saved;
}

// Open files.

#define ON_FD(call_name, can, fd, offset, length, real_call)                                    \
    do {                                                                                        \
        char whole[PATH_MAX];                                                                   \
        const char *known = path_of(fd, whole);                                                 \
        if (!known) return real_call;                                                           \
        long begin = next();                                                                    \
        long result = fails(call_name, known, can) ? -1 : (long)(real_call);                    \
        note(begin, call_name, fd, offset, length, result, known, NULL, 0);                     \
        return result;                                                                          \
    } while (0)

static int sync_it(const char *call, int fd, int (*real)(int)) {
    char whole[PATH_MAX];
    const char *known = path_of(fd, whole);
    if (!known) return real(fd);
    long begin = next();
    int failed = fails(call, known, CAN_EIO | CAN_ENOSPC | CAN_EINTR | CAN_DROP), result = -1;
    if (failed && kind == CAN_DROP) drop_unsynced(known);
    if (!failed) result = forget_unsynced(known, fd, real);
    note(begin, call, fd, 0, 0, result, known, NULL, 0);
    return result;
}

int fsync(int fd) { REAL(fsync); return sync_it("fsync", fd, real_fsync); }
int fdatasync(int fd) { REAL(fdatasync); return sync_it("fdatasync", fd, real_fdatasync); }
int sync_file_range(int fd, off64_t offset, off64_t length, unsigned flags) { REAL(sync_file_range); ON_FD("sync_file_range", CAN_EIO | CAN_ENOSPC, fd, offset, length, real_sync_file_range(fd, offset, length, flags)); }
int fallocate(int fd, int mode, off_t offset, off_t length) { REAL(fallocate); ON_FD("fallocate", CAN_EIO | CAN_ENOSPC | CAN_EINTR, fd, offset, length, real_fallocate(fd, mode, offset, length)); }
int fallocate64(int fd, int mode, off64_t offset, off64_t length) { REAL(fallocate64); ON_FD("fallocate", CAN_EIO | CAN_ENOSPC | CAN_EINTR, fd, offset, length, real_fallocate64(fd, mode, offset, length)); }
int ftruncate(int fd, off_t length) { REAL(ftruncate); ON_FD("ftruncate", CAN_EIO | CAN_EINTR | CAN_ENOSPC, fd, 0, length, real_ftruncate(fd, length)); }
int ftruncate64(int fd, off64_t length) { REAL(ftruncate64); ON_FD("ftruncate", CAN_EIO | CAN_EINTR | CAN_ENOSPC, fd, 0, length, real_ftruncate64(fd, length)); }
int fstat(int fd, struct stat *to) { REAL(fstat); ON_FD("fstat", CAN_EIO, fd, 0, 0, real_fstat(fd, to)); }
int fstat64(int fd, struct stat64 *to) { REAL(fstat64); ON_FD("fstat", CAN_EIO, fd, 0, 0, real_fstat64(fd, to)); }
int fchmod(int fd, mode_t mode) { REAL(fchmod); ON_FD("fchmod", CAN_EIO, fd, 0, 0, real_fchmod(fd, mode)); }
off_t lseek(int fd, off_t offset, int from) { REAL(lseek); ON_FD("lseek", CAN_EIO, fd, offset, 0, real_lseek(fd, offset, from)); }
off64_t lseek64(int fd, off64_t offset, int from) { REAL(lseek64); ON_FD("lseek", CAN_EIO, fd, offset, 0, real_lseek64(fd, offset, from)); }
int flock(int fd, int operation) { REAL(flock); ON_FD("flock", 0, fd, 0, 0, real_flock(fd, operation)); }

// A descriptor that is doubled stands for the same file.
static int doubled(int fd, int copy) {
    char whole[PATH_MAX];
    const char *known = path_of(fd, whole);
    int saved = errno;
    if (copy >= 0 && known) track(copy, known);
    errno = saved;
    return copy;
}

int dup(int fd) { REAL(dup); return doubled(fd, real_dup(fd)); }

int fcntl(int fd, int command, ...) {
    REAL(fcntl);
    va_list rest;
    va_start(rest, command);
    void *argument = va_arg(rest, void *);
    va_end(rest);
    int result = real_fcntl(fd, command, argument);
    return command == F_DUPFD || command == F_DUPFD_CLOEXEC ? doubled(fd, result) : result;
}

// Nothing of the store is mapped: what went past the shim that way would not be proven.
static void refuse_to_map(int flags, int fd) {
    char whole[PATH_MAX];
    if (flags & MAP_ANONYMOUS || !path_of(fd, whole)) return;
    static const char say[] = "shim: a file of the store is mapped\n";
    syscall(SYS_write, 2, say, sizeof say - 1);
    abort();
}

void *mmap(void *address, size_t length, int protection, int flags, int fd, off_t offset) {
    REAL(mmap);
    refuse_to_map(flags, fd);
    return real_mmap(address, length, protection, flags, fd, offset);
}

void *mmap64(void *address, size_t length, int protection, int flags, int fd, off64_t offset) {
    REAL(mmap64);
    refuse_to_map(flags, fd);
    return real_mmap64(address, length, protection, flags, fd, offset);
}

// Reads and writes: `go(bytes)` does the operation with that many bytes.

#define CAN_READ (CAN_EIO | CAN_EINTR | (length > 1 ? CAN_SHORT : 0))
#define CAN_WRITE (CAN_EIO | CAN_EINTR | CAN_ENOSPC | (length > 1 ? CAN_SHORT | CAN_TORN : 0))

#define TRANSFER(call_name, can, fd, offset, length, go)                                        \
    do {                                                                                        \
        char whole[PATH_MAX];                                                                   \
        const char *known = path_of(fd, whole);                                                 \
        if (!known) return go(length);                                                          \
        long begin = next(), result;                                                            \
        if (!fails(call_name, known, can)) {                                                    \
            result = go(length);                                                                \
        } else if (kind == CAN_SHORT) {                                                         \
            result = go(length / 2);                                                            \
        } else {                                                                                \
            int saved = errno;                                                                  \
            if (kind == CAN_TORN) (void)!(go(length / 2));                                      \
            errno = saved;                                                                      \
            result = -1;                                                                        \
        }                                                                                       \
        if ((can) & CAN_ENOSPC) remember(fd, known, offset, result);                            \
        note(begin, call_name, fd, offset, length, result, known, NULL, 0);                     \
        return result;                                                                          \
    } while (0)

#define GO_READ(bytes) real_read(fd, buffer, bytes)
#define GO_PREAD(bytes) real_pread(fd, buffer, bytes, offset)
#define GO_PREAD64(bytes) real_pread64(fd, buffer, bytes, offset)
#define GO_PWRITE(bytes) real_pwrite(fd, buffer, bytes, offset)
#define GO_PWRITE64(bytes) real_pwrite64(fd, buffer, bytes, offset)
#define GO_WRITE(bytes) real_write(fd, buffer, bytes)

static long log_socket(long begin, const char *call, int fd, long length, long result, const void *text) {
    size_t shown = result > 0 ? result : 0;
    note(begin, call, fd, 0, length, result, NULL, text, shown);
    return result;
}

static int on_socket(int fd) { return fd >= 0 && fd < DESCRIPTORS && is_socket[fd]; }

ssize_t read(int fd, void *buffer, size_t length) {
    REAL(read);
    if (on_socket(fd)) {
        long begin = next();
        return log_socket(begin, "recv", fd, length, real_read(fd, buffer, length), buffer);
    }
    TRANSFER("read", CAN_READ, fd, -1, length, GO_READ);
}

ssize_t write(int fd, const void *buffer, size_t length) {
    REAL(write);
    if (on_socket(fd)) {
        long begin = next();
        return log_socket(begin, "send", fd, length, real_write(fd, buffer, length), buffer);
    }
    TRANSFER("write", CAN_WRITE, fd, -1, length, GO_WRITE);
}

ssize_t pread(int fd, void *buffer, size_t length, off_t offset) { REAL(pread); TRANSFER("read", CAN_READ, fd, offset, length, GO_PREAD); }
ssize_t pread64(int fd, void *buffer, size_t length, off64_t offset) { REAL(pread64); TRANSFER("read", CAN_READ, fd, offset, length, GO_PREAD64); }
ssize_t pwrite(int fd, const void *buffer, size_t length, off_t offset) { REAL(pwrite); TRANSFER("write", CAN_WRITE, fd, offset, length, GO_PWRITE); }
ssize_t pwrite64(int fd, const void *buffer, size_t length, off64_t offset) { REAL(pwrite64); TRANSFER("write", CAN_WRITE, fd, offset, length, GO_PWRITE64); }

static long bytes_of(const struct iovec *parts, int count) {
    long bytes = 0;
    for (int at = 0; at < count; at++) bytes += parts[at].iov_len;
    return bytes;
}

// Vectors fail as a whole; a short one is cut to its first part.
#define VECTOR(call_name, can, fd, offset, parts, count, real_name, ...)                        \
    do {                                                                                        \
        long length = bytes_of(parts, count);                                                   \
        char whole[PATH_MAX];                                                                   \
        const char *known = path_of(fd, whole);                                                 \
        if (!known) return real_name(fd, parts, count __VA_ARGS__);                             \
        long begin = next(), result;                                                            \
        if (!fails(call_name, known, (can) & ~CAN_TORN)) result = real_name(fd, parts, count __VA_ARGS__); \
        else result = kind == CAN_SHORT ? real_name(fd, parts, 1 __VA_ARGS__) : -1;             \
        if ((can) & CAN_ENOSPC) remember(fd, known, offset, result);                            \
        note(begin, call_name, fd, offset, length, result, known, NULL, 0);                     \
        return result;                                                                          \
    } while (0)

ssize_t readv(int fd, const struct iovec *parts, int count) { REAL(readv); VECTOR("read", CAN_READ, fd, -1, parts, count, real_readv); }
ssize_t preadv(int fd, const struct iovec *parts, int count, off_t offset) { REAL(preadv); VECTOR("read", CAN_READ, fd, offset, parts, count, real_preadv, , offset); }
ssize_t preadv64(int fd, const struct iovec *parts, int count, off64_t offset) { REAL(preadv64); VECTOR("read", CAN_READ, fd, offset, parts, count, real_preadv64, , offset); }
ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) { REAL(pwritev); VECTOR("write", CAN_WRITE, fd, offset, parts, count, real_pwritev, , offset); }
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) { REAL(pwritev64); VECTOR("write", CAN_WRITE, fd, offset, parts, count, real_pwritev64, , offset); }

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REAL(writev);
    if (on_socket(fd)) {
        long begin = next();
        long result = real_writev(fd, parts, count);
        note(begin, "send", fd, 0, bytes_of(parts, count), result, NULL, parts->iov_base, parts->iov_len);
        return result;
    }
    VECTOR("write", CAN_WRITE, fd, -1, parts, count, real_writev);
}

// Connections that were taken in.

int accept4(int listener, struct sockaddr *address, socklen_t *bytes, int flags) {
    REAL(accept4);
    int fd = real_accept4(listener, address, bytes, flags);
    if (fd >= 0 && log_fd >= 0) {
        track(fd, NULL);
        is_socket[fd] = 1;
        note(next(), "accept", fd, 0, 0, fd, NULL, NULL, 0);
    }
    return fd;
}

int accept(int listener, struct sockaddr *address, socklen_t *bytes) { return accept4(listener, address, bytes, 0); }

#define ON_SOCKET(call_name, length, text, real_call)                                           \
    do {                                                                                        \
        if (!on_socket(fd)) return real_call;                                                   \
        long begin = next();                                                                    \
        return log_socket(begin, call_name, fd, length, real_call, text);                       \
    } while (0)

ssize_t send(int fd, const void *buffer, size_t length, int flags) { REAL(send); ON_SOCKET("send", length, buffer, real_send(fd, buffer, length, flags)); }
ssize_t recv(int fd, void *buffer, size_t length, int flags) { REAL(recv); ON_SOCKET("recv", length, buffer, real_recv(fd, buffer, length, flags)); }
ssize_t sendto(int fd, const void *buffer, size_t length, int flags, const struct sockaddr *to, socklen_t bytes) { REAL(sendto); ON_SOCKET("send", length, buffer, real_sendto(fd, buffer, length, flags, to, bytes)); }
ssize_t recvfrom(int fd, void *buffer, size_t length, int flags, struct sockaddr *from, socklen_t *bytes) { REAL(recvfrom); ON_SOCKET("recv", length, buffer, real_recvfrom(fd, buffer, length, flags, from, bytes)); }

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    REAL(sendmsg);
    if (!on_socket(fd)) return real_sendmsg(fd, message, flags);
    long begin = next();
    long result = real_sendmsg(fd, message, flags);
    note(begin, "send", fd, 0, bytes_of(message->msg_iov, message->msg_iovlen), result, NULL,
         message->msg_iov->iov_base, message->msg_iov->iov_len);
    return result;
}
