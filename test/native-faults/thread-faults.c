// Makes a thread of a process crash or hang in native code: load it with LD_PRELOAD.
//
// The memory-mapped file THREAD_FAULTS_CONTROL names a thread. On THREAD_FAULT_SIGNAL that thread causes the fault.

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// thread-faults.ts knows these numbers and the layout.
enum { THREAD_FAULT_SIGNAL = 60 };
enum fault { BAD_ADDRESS, TRUNCATED_MAP, ENDLESS_LOOP };

struct control {
  _Atomic uint32_t thread; // the kernel's id of the thread
  _Atomic uint32_t fault;
};

static struct control *control;

static void read_beyond_file(void) {
  const int file = memfd_create("truncated", MFD_CLOEXEC);
  if (ftruncate(file, 4096)) return;
  const volatile char *map = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
  if (map == MAP_FAILED || ftruncate(file, 0)) return;
  (void)*map;
}

static void cause(int signal) {
  // The kernel may deliver the signal to any thread of the process.
  if ((uint32_t)gettid() != control->thread) {
    syscall(SYS_tgkill, getpid(), control->thread, signal);
    return;
  }
  volatile int *volatile nowhere = NULL;
  switch ((enum fault)control->fault) {
    case BAD_ADDRESS:
      *nowhere = 1;
      break;
    case TRUNCATED_MAP:
      read_beyond_file();
      break;
    case ENDLESS_LOOP:
      for (volatile int forever = 1; forever;) continue;
  }
}

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("THREAD_FAULTS_CONTROL");
  const int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
  if (file < 0) return;
  control = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  const struct sigaction action = {.sa_handler = cause, .sa_flags = SA_RESTART};
  if (control != MAP_FAILED) sigaction(THREAD_FAULT_SIGNAL, &action, NULL);
}
