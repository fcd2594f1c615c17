// Scratch memory that a thread keeps between calls, so that a call pays for no fresh pages.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdlib>

#include "kernels.h"

namespace gancli {

// One aligned block, handed out piece by piece; it only grows.
class Workspace {
 public:
  Workspace() = default;
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;
  ~Workspace() { std::free(block_); }

  // Make room for `bytes` in all and start handing out from the beginning. Returns false if there is no memory.
  bool reset(std::size_t bytes) {
    used_ = 0;
    if (bytes <= size_) return true;
    std::free(block_);
    block_ = nullptr;
    size_ = 0;
    bytes = (bytes + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    void* fresh = nullptr;
    if (posix_memalign(&fresh, HUGE_PAGE, bytes) != 0) return false;
#if defined(MADV_HUGEPAGE)
    // Fewer translations, and neighbours in the block are neighbours in the cache. Only a wish: no answer is needed.
    madvise(fresh, bytes, MADV_HUGEPAGE);
#endif
    block_ = static_cast<char*>(fresh);
    size_ = bytes;
    return true;
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
  static constexpr std::size_t HUGE_PAGE = std::size_t(2) << 20;

  char* block_ = nullptr;
  std::size_t size_ = 0, used_ = 0;
};

}  // namespace gancli
