// How a product of two tall matrices, rows · rowsᵀ, is cut for a block of 256 threads, and which thread holds what. Index
// arithmetic alone, for host and device.
//
// Rows lie packed: for every 32 columns 128 bytes, either 32 float32, or 32 upper and then 32 lower halves of the split
// (split.h); the last 32 are filled up with zeros. A block multiplies 128 rows by 128 rows, its 8 warps as 4 × 2,
// each 32 × 64. In a warp, lane = 4·group + member holds the elements that m16n8k16 gives it:
//   row  32·warp_row + 8·r + group,            r = 0 … 3 (r = 2·mi + h: fragment mi, its upper or lower half)
//   column  64·warp_column + 8·ni + 2·member + e,   ni = 0 … 7, e = 0, 1
// as sums[mi][ni][2·h + e].
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define GANCLI_INDEX __host__ __device__ __forceinline__
#else
#define GANCLI_INDEX inline
#endif

namespace gancli::tiles {

// Whether a candidate for a maximum displaces the best before it: strictly, so that the lowest keeps a tie. A NaN wins
// against every number.
GANCLI_INDEX bool wins(float value, float best) { return value > best || (value != value && best == best); }

constexpr int THREADS = 256;
constexpr int ROWS = 128;        // of the left matrix, per block
constexpr int COLUMNS = 128;     // rows of the right matrix, per block
constexpr int DEPTH = 32;        // columns of both per step
constexpr int STEP_BYTES = 128;  // of one row per step
constexpr int CHUNKS = STEP_BYTES / 16;
// From row to row in shared memory: 16 bytes more, so that eight neighbouring rows keep the same chunk in eight different
// groups of banks, and an address is a register and a constant.
constexpr int PITCH = STEP_BYTES + 16;
constexpr int STAGES = 3;  // steps in shared memory: two on their way while one is multiplied
constexpr int STAGE_BYTES = (ROWS + COLUMNS) * PITCH;
constexpr int SHARED_BYTES = STAGES * STAGE_BYTES;
constexpr int COPIES = (ROWS + COLUMNS) * CHUNKS / THREADS;  // of 16 bytes, per thread and step

constexpr int WARP_COLUMNS = 2;  // warps side by side
constexpr int WARP_TILE_ROWS = 32;
constexpr int WARP_TILE_COLUMNS = 64;
constexpr int ROWS_PER_LANE = 4;

GANCLI_INDEX std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
GANCLI_INDEX std::int64_t round_up(std::int64_t a, std::int64_t b) { return ceil_div(a, b) * b; }

// Where chunk `chunk` (16 bytes) of row `row` lies within a stage.
GANCLI_INDEX std::uint32_t place_in_stage(int row, int chunk) {
  return static_cast<std::uint32_t>(row * PITCH + chunk * 16);
}

// Which 16 bytes a thread copies first; rows 0 … 127 are the left tile's, 128 … 255 the right one's.
GANCLI_INDEX int copied_row(int thread) { return thread / CHUNKS; }
GANCLI_INDEX int copied_chunk(int thread) { return thread % CHUNKS; }

struct Place {
  int warp_row, warp_column;  // of the warp among the 4 × 2
  int lane, group, member;
};
GANCLI_INDEX Place place_of(int thread) {
  const int warp = thread / 32, lane = thread % 32;
  return {warp / WARP_COLUMNS, warp % WARP_COLUMNS, lane, lane / 4, lane % 4};
}

// Row of the tile that `r` = 2·mi + h stands for, and column that (ni, 2·member) begins at.
GANCLI_INDEX int row_of(const Place& place, int r) {
  return place.warp_row * WARP_TILE_ROWS + 8 * r + place.group;
}
GANCLI_INDEX int column_of(const Place& place, int ni) {
  return place.warp_column * WARP_TILE_COLUMNS + 8 * ni + 2 * place.member;
}
// The four members of a group share their rows; each keeps the books of one: r = member.
GANCLI_INDEX int own_row(const Place& place) { return row_of(place, place.member); }

// For load_fragments: the row that lane gives the address of, within the 16 rows of a fragment, and the chunk to add.
// Left (16 rows × 16 columns): matrices in the order (upper, first 8 columns), (lower, first), (upper, last), (lower,
// last). Right (two fragments of 8 rows × 16 columns): (first, first 8), (first, last 8), (second, first), (second, last).
GANCLI_INDEX int left_fragment_row(int lane) { return (lane & 7) + ((lane >> 3) & 1) * 8; }
GANCLI_INDEX int left_fragment_chunk(int lane) { return lane >> 4; }
GANCLI_INDEX int right_fragment_row(int lane) { return (lane & 7) + (lane >> 4) * 8; }
GANCLI_INDEX int right_fragment_chunk(int lane) { return (lane >> 3) & 1; }

}  // namespace gancli::tiles
