// Items of work handed to threads as they come free.
#pragma once

#include <atomic>
#include <cstdint>
#include <new>

#include "workspace.h"

namespace gancli {

inline std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// Part i of `parts` even parts of 0 .. count begins here; part i + 1 begins where it ends.
inline std::int64_t part(std::int64_t count, std::int64_t parts, std::int64_t i) { return count * i / parts; }

// Make room for `bytes` in a workspace; what was in it is lost.
inline void reserve(Workspace& workspace, std::size_t bytes) {
  if (!workspace.reset(bytes)) throw std::bad_alloc();
}

// Run body(workspace, item) for item = 0 .. items − 1, each once. The workspace belongs to the thread and keeps its
// memory between items and calls. Which thread runs an item is chance, so results may depend on the item alone.
//
// The team has always `threads` members, however few the items: libgomp ends surplus threads and starts them anew when
// the size of the team changes from region to region.
template <typename Body>
void parallel_for(int threads, std::int64_t items, const Body& body) {
  std::atomic<std::int64_t> next{0};
  bool out_of_memory = false;
#pragma omp parallel num_threads(threads) reduction(|| : out_of_memory)
  {
    static thread_local Workspace workspace;
    try {  // an exception may not leave a parallel region
      for (std::int64_t item; (item = next.fetch_add(1, std::memory_order_relaxed)) < items;)
        body(workspace, item);
    } catch (const std::bad_alloc&) {
      out_of_memory = true;
    }
  }
  if (out_of_memory) throw std::bad_alloc();
}

// The workspace for what the threads of one call share; it belongs to the thread that makes the call.
inline Workspace& shared_workspace() {
  static thread_local Workspace workspace;
  return workspace;
}

}  // namespace gancli
