// How a call of the Parzen kernels is cut, with the reasons for the sizes.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "kernels.h"
#include "parallel.h"

namespace gancli {

// Share of the second-level cache for the packed points of a block. The rest is for the samples on their way through.
constexpr double POINTS_SHARE_OF_L2 = 0.6;
// With fewer row panels of samples than this, points are used too seldom to fill the cache with them: a third of that, and
// a block and the rows that it came from are there together.
constexpr std::int64_t FEW_PANELS = 16;
constexpr std::int64_t L2_IF_UNKNOWN = 512 << 10;
// At least so many panels, though they come from the third-level cache then: copying the samples costs as much for one
// panel as for many, a fifth of the time at d = 3072 and an L2 of 1 MiB, where one panel fits.
constexpr std::int64_t MIN_PANELS = 4;
// Beyond this many panels the tiles of a block leave the first-level cache, and copying samples is long amortised.
constexpr std::int64_t MAX_PANELS = 12;
static_assert(MIN_PANELS <= MAX_PANELS / 3, "the bounds that fit is held to are in order");
// Samples per chunk, at least: enough tiles to bury the merge, few enough that 20 points × 100,000 samples feed 16
// threads. At most MAX_CHUNKS chunks, so that what threads hand over stays bounded.
constexpr std::int64_t MIN_CHUNK = 2048;
constexpr std::int64_t MAX_CHUNKS = 64;
// An index within a chunk is held in a float lane.
constexpr std::int64_t MAX_CHUNK = std::int64_t(1) << 24;
// Work items per thread below which samples are split too.
constexpr std::int64_t ITEMS_PER_THREAD = 4;

inline std::int64_t second_level_cache() {
#if defined(_SC_LEVEL2_CACHE_SIZE)
  const long bytes = sysconf(_SC_LEVEL2_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return L2_IF_UNKNOWN;
}

// Samples per chunk where `rows` of them are scored at a time.
inline std::int64_t chunk_of(std::int64_t n, std::int64_t rows) {
  return std::clamp(ceil_div(n, MAX_CHUNKS), MIN_CHUNK, MAX_CHUNK) / rows * rows;
}

// How the work is cut. Only `chunk` may matter for the bits of the result, and it depends on n alone.
struct Plan {
  std::int64_t panels;            // lane panels that hold all points
  std::int64_t blocks;            // groups of panels
  std::int64_t panels_per_block;  // at most
  std::int64_t chunk;             // samples per chunk
  std::int64_t chunks;
  std::int64_t ranges;  // groups of chunks; 1 unless there are too few blocks for the threads
  // Groups of blocks that one thread works through in turn; as many as blocks unless samples are few.
  std::int64_t groups;

  Plan(const Kernels& kernels, const Slabs& slabs, std::int64_t m, std::int64_t n, int threads) {
    const std::int64_t panel_bytes = slabs.total() * kernels.lanes * std::int64_t(sizeof(float));
    const std::int64_t fit = std::int64_t(POINTS_SHARE_OF_L2 * double(second_level_cache())) / panel_bytes;
    panels = ceil_div(m, kernels.lanes);
    chunk = chunk_of(n, kernels.rows);
    chunks = ceil_div(n, chunk);
    const bool few_samples = n < FEW_PANELS * kernels.rows;
    const std::int64_t panels_worthwhile = few_samples ? MAX_PANELS / 3 : MAX_PANELS;
    blocks = ceil_div(panels, std::clamp<std::int64_t>(fit, MIN_PANELS, panels_worthwhile));
    const std::int64_t wanted = ITEMS_PER_THREAD * threads;
    if (blocks * chunks < wanted) blocks = std::min(panels, ceil_div(wanted, chunks));
    if (blocks >= threads) blocks = std::min(panels, ceil_div(blocks, threads) * threads);
    panels_per_block = ceil_div(panels, blocks);
    ranges = blocks >= wanted ? 1 : std::min(chunks, ceil_div(wanted, blocks));
    groups = few_samples ? std::min(blocks, wanted) : blocks;
  }
};

}  // namespace gancli
