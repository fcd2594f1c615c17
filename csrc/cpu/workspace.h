// Scratch memory that a thread keeps between calls, so that a call pays for no fresh pages.
#pragma once

#include <cstddef>
#include <cstdlib>
#include <new>

#include "kernels.h"

namespace gancli {

// One aligned block, handed out piece by piece; it only grows.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() { std::free(block_); }

  // Make room for `bytes` in all and start handing out from the beginning.
  void reset(std::size_t bytes) {
    used_ = 0;
    if (bytes <= size_) return;
    std::free(block_);
    block_ = nullptr;
    size_ = 0;
    void* fresh = nullptr;
    if (posix_memalign(&fresh, ALIGNMENT, bytes) != 0) throw std::bad_alloc();
    block_ = static_cast<char*>(fresh);
    size_ = bytes;
  }

  // Room for `count` T, aligned to a cache line. The sum of all pieces must fit what reset() was told.
  template <typename T>
  T* take(std::size_t count) {
    T* piece = reinterpret_cast<T*>(block_ + used_);
    used_ += bytes_for<T>(count);
    return piece;
  }

  // What take<T>(count) uses up.
  template <typename T>
  static std::size_t bytes_for(std::size_t count) {
    return (count * sizeof(T) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

 private:
  char* block_ = nullptr;
  std::size_t size_ = 0, used_ = 0;
};

}  // namespace gancli
