// Injects storage faults into a process: load it with LD_PRELOAD.
//
// It counts the writes, flushes and size changes of files whose path starts with STORAGE_FAULTS_PATH. The memory-mapped
// file STORAGE_FAULTS_CONTROL says which of these calls get a fault. Another process may change that file at any time.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum kind { WRITE = 1, FLUSH = 2, RESIZE = 4 };
enum action { NONE, FAIL, KILL_BEFORE, KILL_AFTER, KILL_HALFWAY, SHORTEN, DELAY };

// storage-faults.ts knows this layout.
struct control {
  _Atomic uint32_t action;
  _Atomic uint32_t kinds; // the kinds of calls that are counted
  _Atomic uint32_t first; // the first call that gets the fault, from 1
  _Atomic uint32_t times; // how many calls get the fault, from the first on
  _Atomic uint32_t error; // FAIL: errno
  _Atomic uint32_t delay; // DELAY: milliseconds; it ends early if the action changes
  _Atomic uint32_t calls; // how many calls were counted
  _Atomic uint32_t faults; // how many of them got the fault
};

static struct control *control;
static const char *prefix;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("STORAGE_FAULTS_CONTROL");
  prefix = getenv("STORAGE_FAULTS_PATH");
  int file = path && prefix ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (map != MAP_FAILED) control = map;
}

static int is_under_prefix(const char *path) { return strncmp(path, prefix, strlen(prefix)) == 0; }

static int is_watched_file(int file) {
  char link[32], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length < 0) return 0;
  path[length] = 0;
  return is_under_prefix(path);
}

static int is_watched_memory(uintptr_t address) {
  FILE *maps = fopen("/proc/self/maps", "re");
  char line[4096 + 128], path[4096];
  uintptr_t start, end;
  int found = 0;
  while (maps && !found && fgets(line, sizeof line, maps))
    found = sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %*s %*s %4095[^\n]", &start, &end, path) == 3 &&
            start <= address && address < end && is_under_prefix(path);
  if (maps) fclose(maps);
  return found;
}

/** Counts a call on a watched file. @returns the fault that the call gets */
static enum action count_call(enum kind kind) {
  if (!(control->kinds & kind)) return NONE;
  uint32_t call = atomic_fetch_add(&control->calls, 1) + 1;
  uint32_t first = control->first;
  if (control->action == NONE || call < first || call - first >= control->times) return NONE;
  atomic_fetch_add(&control->faults, 1);
  return control->action;
}

static void wait_for_delay(void) {
  const struct timespec millisecond = {.tv_nsec = 1000000};
  for (uint32_t waited = 0; waited < control->delay && control->action == DELAY; waited++) nanosleep(&millisecond, NULL);
}

static void end_process(void) {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

// Replaces a function of the C library. HALF has the arguments of a call that does half of the work.
#define REPLACE(RESULT, NAME, PARAMETERS, ARGUMENTS, HALF, IS_WATCHED, KIND)     \
  RESULT NAME PARAMETERS {                                                       \
    static RESULT(*real) PARAMETERS;                                             \
    if (!real) real = (RESULT(*) PARAMETERS)dlsym(RTLD_NEXT, #NAME);             \
    const enum action action = control && IS_WATCHED ? count_call(KIND) : NONE;  \
    if (action == FAIL) {                                                        \
      errno = (int)control->error;                                               \
      return -1;                                                                 \
    }                                                                            \
    if (action == DELAY) wait_for_delay();                                       \
    if (action == KILL_BEFORE) end_process();                                    \
    const RESULT result = action == SHORTEN || action == KILL_HALFWAY ? real HALF : real ARGUMENTS; \
    if (action == KILL_HALFWAY || action == KILL_AFTER) end_process();           \
    return result;                                                               \
  }

#define REPLACE_WRITE(NAME, PARAMETERS, ARGUMENTS, HALF) \
  REPLACE(ssize_t, NAME, PARAMETERS, ARGUMENTS, HALF, is_watched_file(file), WRITE)
#define REPLACE_FLUSH(NAME) REPLACE(int, NAME, (int file), (file), (file), is_watched_file(file), FLUSH)
#define REPLACE_RESIZE(NAME, PARAMETERS, ARGUMENTS) \
  REPLACE(int, NAME, PARAMETERS, ARGUMENTS, ARGUMENTS, is_watched_file(file), RESIZE)

REPLACE_WRITE(write, (int file, const void *data, size_t size), (file, data, size), (file, data, size / 2))
REPLACE_WRITE(pwrite, (int file, const void *data, size_t size, off_t at), (file, data, size, at),
              (file, data, size / 2, at))
REPLACE_WRITE(pwrite64, (int file, const void *data, size_t size, off64_t at), (file, data, size, at),
              (file, data, size / 2, at))

typedef const struct iovec *Parts;
// Half of the parts, or half of the only one.
#define HALF_OF_PARTS \
  count > 1 ? parts : &(struct iovec){parts->iov_base, parts->iov_len / 2}, count > 1 ? count / 2 : count
REPLACE_WRITE(writev, (int file, Parts parts, int count), (file, parts, count), (file, HALF_OF_PARTS))
REPLACE_WRITE(pwritev, (int file, Parts parts, int count, off_t at), (file, parts, count, at),
              (file, HALF_OF_PARTS, at))
REPLACE_WRITE(pwritev64, (int file, Parts parts, int count, off64_t at), (file, parts, count, at),
              (file, HALF_OF_PARTS, at))

REPLACE_FLUSH(fsync)
REPLACE_FLUSH(fdatasync)
REPLACE(int, msync, (void *address, size_t size, int flags), (address, size, flags), (address, size, flags),
        is_watched_memory((uintptr_t)address), FLUSH)

REPLACE_RESIZE(ftruncate, (int file, off_t size), (file, size))
REPLACE_RESIZE(ftruncate64, (int file, off64_t size), (file, size))
REPLACE_RESIZE(fallocate, (int file, int mode, off_t at, off_t size), (file, mode, at, size))
REPLACE_RESIZE(fallocate64, (int file, int mode, off64_t at, off64_t size), (file, mode, at, size))
