// Threads for a target without any: locks that are always free, and nobody to wait for.
//
// Verilator's library names these types even where a model has one thread, and the C++ library for
// WASI leaves them out.
#pragma once

#include <chrono>
#include <functional>
#include <mutex>
#include <ostream>

namespace std {

struct mutex {
  void lock() {}
  void unlock() {}
  bool try_lock() { return true; }
};

struct recursive_mutex : mutex {};

struct condition_variable_any {
  template <class Lock> void wait(Lock&) {}
  template <class Lock, class Until> void wait(Lock&, Until) {}
  void notify_one() {}
  void notify_all() {}
};

struct condition_variable : condition_variable_any {};

struct thread {
  struct id {
    bool operator==(const id&) const = default;
    bool operator<(const id&) const { return false; }
  };

  template <class... Arguments> explicit thread(Arguments&&...) {}
  void join() {}
  bool joinable() const { return false; }
  static unsigned hardware_concurrency() { return 1; }
};

namespace this_thread {
inline thread::id get_id() { return {}; }
inline void yield() {}
}  // namespace this_thread

template <> struct hash<thread::id> {
  size_t operator()(thread::id) const { return 0; }
};

inline ostream& operator<<(ostream& out, thread::id) { return out; }

}  // namespace std

// Objects of a thread are never destroyed, since it never ends.
extern "C" inline int __cxa_thread_atexit(void (*)(void*), void*, void*) { return 0; }
