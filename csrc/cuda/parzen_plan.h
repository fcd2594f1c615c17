// How a call of the Parzen kernel is cut, and where in its workspace everything lies. Plain arithmetic for the host, and
// what the kernel needs of it.
//
// Points and samples are packed and multiplied in chunks, so that packed rows take a bounded part of memory. Within a
// chunk, a work item is one tile of 128 points against a range of sample tiles (a split); each of the two columns of
// warps hands over a partial result of its own, so that a point has 2·splits of them (parts).
#pragma once

#include <algorithm>
#include <cstdint>

#include "tiles.h"

namespace gancli::cuda {

constexpr std::int64_t MIB = std::int64_t(1) << 20;
constexpr std::int64_t PACKED_POINTS_BYTES = 48 * MIB;
constexpr std::int64_t PACKED_SAMPLES_BYTES = 96 * MIB;
constexpr std::int64_t PARTIAL_BYTES = 48 * MIB;
// More widths than this are worked through in several passes; what a block keeps per width bounds it.
constexpr int MAX_SIGMAS_PER_PASS = 64;
// Samples that give the centre of the data, evenly spread: it only has to be near them.
constexpr int CENTRE_SAMPLES = 64;
// Point tiles worked on at the same time, so that their packed rows stay in the second-level cache while all of
// them go through the same samples: 16 × 128 rows of 3,200 bytes are 6.5 MB.
constexpr int GROUP_TILES = 16;
// What starting and ending an item costs, in sample tiles.
constexpr double ITEM_OVERHEAD = 0.5;

// What one launch over a chunk of points and a chunk of samples works through. A chunk has fewer than 2^31 rows.
struct Items {
  int row_tiles, column_tiles, splits;

  GANCLI_INDEX int count() const { return row_tiles * splits; }

  struct Item {
    int row_tile, split;
    int first, last;  // column tiles
  };
  // Groups of row tiles one after another; in a group all tiles of a split, then the next split.
  GANCLI_INDEX Item at(int number) const {
    const int group = number / (GROUP_TILES * splits);
    const int left = row_tiles - group * GROUP_TILES;
    const int tiles = left < GROUP_TILES ? left : GROUP_TILES;
    const int within = number - group * GROUP_TILES * splits;
    const int split = within / tiles;
    return {group * GROUP_TILES + within % tiles, split, first_tile(split), first_tile(split + 1)};
  }

 private:
  GANCLI_INDEX int first_tile(int split) const { return int(std::int64_t(column_tiles) * split / splits); }
};

// Into how many splits to cut the samples so that `slots` blocks at once end at about the same time.
inline std::int64_t choose_splits(std::int64_t row_tiles, std::int64_t column_tiles, std::int64_t slots,
                                  std::int64_t most) {
  std::int64_t best = 1;
  double best_cost = 0;
  for (std::int64_t splits = 1; splits <= std::min(column_tiles, std::max<std::int64_t>(most, 1)); ++splits) {
    const std::int64_t waves = tiles::ceil_div(row_tiles * splits, slots);
    const double cost = double(waves) * (double(tiles::ceil_div(column_tiles, splits)) + ITEM_OVERHEAD);
    if (splits == 1 || cost < best_cost) {
      best = splits;
      best_cost = cost;
    }
    if (waves > 16) break;  // the last wave is a small part by now
  }
  return best;
}

// Equal chunks of at most `most` rows, whole tiles where there is more than one tile.
inline std::int64_t chunk_of(std::int64_t count, std::int64_t most) {
  const std::int64_t chunks = tiles::ceil_div(count, std::max<std::int64_t>(most, 1));
  const std::int64_t even = tiles::ceil_div(count, chunks);
  const std::int64_t whole = tiles::round_up(even, tiles::ROWS);
  return whole <= most ? whole : even;
}

struct Plan {
  std::int64_t steps;            // of 32 columns
  std::int64_t row_bytes;        // of a packed row
  std::int64_t points, samples;  // per chunk
  int sigmas;                    // per pass
  std::int64_t slots;            // blocks at once
  std::int64_t max_splits;

  Plan(std::int64_t m, std::int64_t n, std::int64_t d, int num_sigmas, std::int64_t slots)
      : steps(tiles::ceil_div(d, tiles::DEPTH)),
        row_bytes(steps * tiles::STEP_BYTES),
        sigmas(std::min(num_sigmas, MAX_SIGMAS_PER_PASS)),
        slots(slots) {
    samples = chunk_of(n, rows_in(PACKED_SAMPLES_BYTES));
    points = chunk_of(m, rows_in(PACKED_POINTS_BYTES));
    // Few points need many splits, many points few: splits · rows of partial results stay within their share.
    const std::int64_t rows_times_splits = PARTIAL_BYTES / (tiles::WARP_COLUMNS * part_bytes());
    points = std::min(points, chunk_of(m, std::max<std::int64_t>(rows_times_splits / 8, tiles::ROWS)));
    const std::int64_t column_tiles = tiles::ceil_div(samples, tiles::COLUMNS);
    max_splits = std::clamp<std::int64_t>(rows_times_splits / padded_points(), 1, column_tiles);
  }

  Items items(std::int64_t chunk_points, std::int64_t chunk_samples) const {
    const std::int64_t rows = tiles::ceil_div(chunk_points, tiles::ROWS);
    const std::int64_t columns = tiles::ceil_div(chunk_samples, tiles::COLUMNS);
    return {int(rows), int(columns), int(choose_splits(rows, columns, slots, max_splits))};
  }

  std::int64_t padded_points() const { return tiles::round_up(points, tiles::ROWS); }
  std::int64_t padded_samples() const { return tiles::round_up(samples, tiles::COLUMNS); }
  std::int64_t parts() const { return max_splits * tiles::WARP_COLUMNS; }

 private:
  std::int64_t rows_in(std::int64_t bytes) const { return std::max<std::int64_t>(bytes / row_bytes, 1); }
  // Of one part of one point: running maximum, the nearest sample's score and number, a sum per width.
  std::int64_t part_bytes() const { return 12 + std::int64_t(sizeof(float)) * sigmas; }
};

// Hands out pieces of the workspace; with no memory behind it, it only counts.
class Arena {
 public:
  explicit Arena(void* memory) : memory_(static_cast<unsigned char*>(memory)) {}

  template <typename T>
  T* take(std::int64_t count) {
    const std::int64_t at = used_;
    used_ += tiles::round_up(count * std::int64_t(sizeof(T)), 256);
    return memory_ ? reinterpret_cast<T*>(memory_ + at) : nullptr;
  }
  std::int64_t used() const { return used_; }

 private:
  unsigned char* memory_;
  std::int64_t used_ = 0;
};

}  // namespace gancli::cuda
